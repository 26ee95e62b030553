//! Sends the program's own events (`tracing`) to the log.
//!
//! Events are formed where they happen, which is rare, and written by the same thread as the
//! request lines, so that a blocked terminal or pipe stops nobody and lines never interleave.

use std::io::{self, Write};
use std::time::SystemTime;

use tracing::Subscriber;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::plain::{PlainFields, escape_json};
use super::request_line::Clock;
use super::request_log::{Format, RequestLog};
use super::traces::{PROCESS, Traces};

/// What is logged when nothing is said.
const USUAL: &str = "info,sqlx=warn";

/// What is logged with `DEBUG`: our own details, not every step of the libraries.
const DEBUG: &str = "debug,hyper=info,hyper_util=info,h2=info,rustls=info,sqlx=info,tower=info";

/// Starts logging. `wish` is `RUST_LOG`, which wins over `debug` (`DEBUG`); a wish that cannot be
/// read is told and ignored. With `traces` the process's own spans are sent. Fails when something else
/// receives the events already.
pub fn init(
    wish: Option<&str>,
    debug: bool,
    log: &RequestLog,
    traces: Option<&Traces>,
) -> Result<(), tracing_subscriber::util::TryInitError> {
    let usual = if debug { DEBUG } else { USUAL };
    let (filter, problem) = match wish.map(str::trim).filter(|wish| !wish.is_empty()).map(EnvFilter::try_new)
    {
        None => (EnvFilter::new(usual), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(usual), Some(error)),
    };
    let filter = filter.add_directive(silent(PROCESS));
    match traces.and_then(Traces::layer) {
        None => tracing_subscriber::registry().with(filter).with(lines(log)).try_init()?,
        Some(spans) => {
            let lines = lines(log).with_filter(filter);
            tracing_subscriber::registry().with(lines).with(spans).try_init()?;
        }
    }
    if let Some(error) = problem {
        tracing::warn!(%error, "RUST_LOG cannot be read and is ignored.");
    }
    Ok(())
}

/// Keeps spans with this target, which are of traces, out of the lines.
fn silent(target: &str) -> Directive {
    format!("{target}={}", LevelFilter::OFF).parse().expect("a word and a level are a directive")
}

/// The layer that writes events as lines.
fn lines<S>(log: &RequestLog) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(Lines(log.clone()));
    match log.format() {
        Format::Json => layer.json().flatten_event(true).boxed(),
        Format::Text { colour } => {
            let layer = layer.with_ansi(colour).with_target(false).with_timer(OneClock);
            layer.fmt_fields(PlainFields).boxed()
        }
    }
}

/// The clock that the request lines have too.
struct OneClock;

impl FormatTime for OneClock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", Clock(SystemTime::now()))
    }
}

/// A maker of a writer for each event.
struct Lines(RequestLog);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::new(), log: self.0.clone() }
    }
}

/// A writer that collects one event and hands it over when dropped.
struct Line {
    text: Vec<u8>,
    log: RequestLog,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if matches!(self.log.format(), Format::Json) {
            escape_json(&mut self.text, 0);
        }
        if !self.text.is_empty() {
            self.log.line(&self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::telemetry::request_log;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn words_of_others_can_neither_forge_a_line_nor_steer_a_terminal() {
        let words = "bad\r\nFAKE 200 ok\u{1b}[31m\u{9b}2J\u{2028}\u{202e}\u{85}";
        let lines = |format| {
            let page = Page::default();
            let (log, thread) = request_log::start(format, page.clone()).unwrap();
            let builder = tracing_subscriber::fmt().with_writer(Lines(log));
            let tell = || {
                let _span = tracing::info_span!("span", %words).entered();
                tracing::info!(%words, quoted = ?words, "Told: {words}");
            };
            match format {
                Format::Json => {
                    tracing::subscriber::with_default(builder.json().flatten_event(true).finish(), tell);
                }
                Format::Text { colour } => {
                    let text = builder.with_ansi(colour).fmt_fields(PlainFields).finish();
                    tracing::subscriber::with_default(text, tell);
                }
            }
            drop(thread);
            String::from_utf8(std::mem::take(&mut page.0.lock().unwrap())).unwrap()
        };

        for format in [Format::Json, Format::Text { colour: false }] {
            let told = lines(format);
            assert!(told.contains("FAKE") && told.lines().count() == 1, "{told:?}");
            let line = told.trim_end_matches('\n');
            for steering in ['\r', '\n', '\u{1b}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{85}'] {
                assert!(!line.contains(steering), "{line:?}");
            }
        }
        assert!(!lines(Format::Text { colour: true }).contains("\u{1b}[31mFAKE"));
    }

    #[test]
    fn events_become_json_lines_of_the_log_with_their_fields_on_top() {
        let page = Page::default();
        let (log, thread) = request_log::start(Format::Json, page.clone()).unwrap();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(Lines(log)).finish();

        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(channel = "main", "Channel cooling.")
        });
        drop(thread);

        let line: serde_json::Value = serde_json::from_slice(&page.0.lock().unwrap()).unwrap();
        assert_eq!((&line["level"], &line["channel"]), (&"INFO".into(), &"main".into()));
        assert_eq!(line["message"], "Channel cooling.");
    }
}
