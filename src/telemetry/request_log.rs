//! Writes one line per request, and the program's own log, beside the request path.
//!
//! A closed record goes into a bounded queue as it is; a thread of its own forms the text and
//! writes many lines at once. When the output is slower than the requests, lines are dropped and
//! counted, and nothing waits. The thread looks at the queue some fifty times a second rather than
//! at each line, so a line costs no wake-up.
//!
//! In a terminal a line is for reading; elsewhere it is JSON whose field names do not change.
//! Callers appear under their alias, keys as fingerprints; a client's own text (the model name) is
//! freed of control characters, which could forge lines or colour the terminal.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::accounting::Closed;

/// Lines that may wait.
const QUEUE: usize = 8192;

/// Between looks at the queue while lines come.
const PERIOD: Duration = Duration::from_millis(20);

/// Bytes that are collected before they are written.
const CHUNK: usize = 64 * 1024;

/// At most one note about dropped lines in this time.
const QUIET: Duration = Duration::from_secs(60);

/// How long the end of the program waits for an output that takes nothing.
const FAREWELL: Duration = Duration::from_secs(2);

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For reading.
    Text {
        /// Whether the outcome is coloured.
        colour: bool,
    },
    /// One JSON object a line.
    Json,
}

impl Format {
    /// `LOG_FORMAT` where it says `json` or `text`, else text in a terminal and JSON elsewhere.
    pub fn choose(wish: Option<&str>, terminal: bool) -> Self {
        match wish.map(str::trim) {
            Some(wish) if wish.eq_ignore_ascii_case("json") => Self::Json,
            Some(wish) if wish.eq_ignore_ascii_case("text") => Self::Text { colour: terminal },
            _ if terminal => Self::Text { colour: true },
            _ => Self::Json,
        }
    }
}

enum Message {
    Request(Arc<Closed>),
    Line(Vec<u8>),
    Flush(SyncSender<()>),
    End,
}

/// The way into the log. Clones share one queue.
#[derive(Clone)]
pub struct RequestLog {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    format: Format,
}

/// Keeps the log's thread; dropped, it writes what waits and ends it.
pub struct LogThread {
    log: RequestLog,
    thread: Option<JoinHandle<()>>,
}

/// Starts the log's thread, which writes to `output`.
pub fn start(format: Format, output: impl Write + Send + 'static) -> io::Result<(RequestLog, LogThread)> {
    start_with(format, output, QUEUE)
}

fn start_with(
    format: Format,
    output: impl Write + Send + 'static,
    queue: usize,
) -> io::Result<(RequestLog, LogThread)> {
    let (queue, messages) = sync_channel(queue);
    let log = RequestLog { queue, dropped: Arc::default(), format };
    let printer = Printer {
        output,
        format,
        buffer: Vec::with_capacity(CHUNK),
        json: JsonLines::default(),
        dropped: log.dropped.clone(),
        told: 0,
        quiet_until: None,
    };
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || printer.run(&messages))?;
    Ok((log.clone(), LogThread { log, thread: Some(thread) }))
}

impl RequestLog {
    /// How lines look.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Takes a record. Never waits.
    pub fn record(&self, closed: Arc<Closed>) {
        self.send(Message::Request(closed));
    }

    /// Takes a line that is formed already, its newline included. Never waits.
    pub fn line(&self, line: Vec<u8>) {
        self.send(Message::Line(line));
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn send(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LogThread {
    /// Waits until everything logged so far is written, or the output has taken nothing for too long.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.insist(Message::Flush(done)) {
            let _ = wait.recv_timeout(FAREWELL);
        }
    }

    /// Sends although the queue may be full for a moment.
    fn insist(&self, mut message: Message) -> bool {
        let end = Instant::now() + FAREWELL;
        loop {
            match self.log.queue.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if Instant::now() >= end => return false,
                Err(TrySendError::Full(back)) => message = back,
            }
            std::thread::sleep(PERIOD);
        }
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.flush();
        if self.insist(Message::End)
            && let Some(thread) = self.thread.take()
        {
            let end = Instant::now() + FAREWELL;
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

struct Printer<W> {
    output: W,
    format: Format,
    buffer: Vec<u8>,
    json: JsonLines,
    dropped: Arc<AtomicU64>,
    told: u64,
    quiet_until: Option<Instant>,
}

impl<W: Write> Printer<W> {
    fn run(mut self, messages: &Receiver<Message>) {
        // Ends when the last sender is gone, or when told to.
        while let Ok(message) = messages.recv() {
            let hurried = matches!(message, Message::Flush(_) | Message::End);
            if !self.take(message) {
                return;
            }
            if !hurried {
                std::thread::sleep(PERIOD);
            }
            while let Ok(message) = messages.try_recv() {
                if !self.take(message) {
                    return;
                }
            }
            self.tell_drops();
            self.write();
        }
    }

    /// False when it was told to end.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Request(closed) => match self.format {
                Format::Text { colour } => {
                    let line = TextLine { closed: &closed, colour };
                    let _ = writeln!(self.buffer, "{line}");
                }
                Format::Json => {
                    self.json.write(&mut self.buffer, &closed);
                }
            },
            Message::Line(line) => self.buffer.extend_from_slice(&line),
            Message::Flush(done) => {
                self.write();
                let _ = done.try_send(());
            }
            Message::End => {
                self.write();
                return false;
            }
        }
        if self.buffer.len() >= CHUNK {
            self.write();
        }
        true
    }

    fn write(&mut self) {
        // There is nowhere left to complain when the log itself cannot be written.
        let _ = self.output.write_all(&self.buffer).and_then(|()| self.output.flush());
        self.buffer.clear();
    }

    fn tell_drops(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped == self.told || self.quiet_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let lines = dropped - self.told;
        let _ = match self.format {
            Format::Text { .. } => {
                writeln!(self.buffer, "{lines} log lines were dropped: the output is too slow")
            }
            Format::Json => writeln!(
                self.buffer,
                r#"{{"timestamp":"{}","level":"WARN","message":"log lines were dropped: the output is too slow","lines":{lines}}}"#,
                Timestamp::now()
            ),
        };
        self.told = dropped;
        self.quiet_until = Some(Instant::now() + QUIET);
    }
}

// === text ===

struct TextLine<'a> {
    closed: &'a Closed,
    colour: bool,
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

impl fmt::Display for TextLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.closed.entry;
        let paint = |code: &'static str| if self.colour { code } else { "" };
        let mood = match (entry.outcome(), entry.status.as_u16()) {
            ("ok", _) => GREEN,
            ("client_gone", _) | (_, 400..=499) => YELLOW,
            _ => RED,
        };
        let time = Timestamp::try_from(entry.arrived + entry.elapsed).unwrap_or_default();
        write!(f, "{}{}{} ", paint(DIM), time.strftime("%H:%M:%S%.3f"), paint(RESET))?;
        write!(f, "{}{} {:<14}{} ", paint(mood), entry.status.as_u16(), entry.outcome(), paint(RESET))?;
        write!(f, "{:>8}  ", Span(entry.elapsed).to_string())?;
        write!(f, "{} {}", entry.operation.label(), Plain(self.closed.model()))?;
        if let Some(channel) = self.closed.channel() {
            write!(f, " → {}", Plain(channel))?;
        }
        if let Some(accepted) = entry.accepted.filter(|_| entry.stream) {
            write!(f, "  first {}", Span(accepted))?;
        }
        match &entry.usage {
            Some(usage) => write!(f, "  {}+{} tokens", usage.input_total, usage.output_total)?,
            None if self.closed.estimated => f.write_str("  no usage")?,
            None => {}
        }
        if self.closed.cost > 0 {
            let about = if self.closed.estimated { "~" } else { "" };
            write!(f, "  {about}${:.6}", dollars(self.closed.cost))?;
        }
        write!(f, "  {}", Plain(&entry.caller.alias))?;
        if entry.attempts.len() > 1 || entry.attempts.iter().any(|attempt| attempt.outcome != "ok") {
            f.write_str("  [")?;
            for (n, attempt) in entry.attempts.iter().enumerate() {
                let comma = if n == 0 { "" } else { ", " };
                let model = attempt.beside.as_deref();
                write!(
                    f,
                    "{comma}{}{}{}: {} {}",
                    Plain(attempt.channel.as_str()),
                    if model.is_some() { "/" } else { "" },
                    Plain(model.unwrap_or_default()),
                    attempt.outcome,
                    Span(attempt.elapsed)
                )?;
            }
            f.write_str("]")?;
        }
        write!(f, "  {}{}{}", paint(DIM), entry.id.as_str(), paint(RESET))
    }
}

/// A duration with the three digits that matter.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            s if s < 0.001 => write!(f, "{:.0}µs", s * 1e6),
            s if s < 1.0 => write!(f, "{:.0}ms", s * 1e3),
            s if s < 100.0 => write!(f, "{s:.2}s"),
            s => write!(f, "{s:.0}s"),
        }
    }
}

/// Text without control characters.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c.is_control() { '·' } else { c }))
    }
}

fn dollars(picodollars: i128) -> f64 {
    picodollars as f64 / 1e12
}

// === JSON ===

/// Writes lines as JSON. By hand, because names need no escaping and numbers no formatting traits:
/// this is the largest single cost beside the request itself.
#[derive(Default)]
struct JsonLines {
    /// The last second that was written out, and its text.
    second: Option<(i64, String)>,
}

impl JsonLines {
    /// Writes a line. The names of its fields are part of the program's interface: they never change.
    fn write(&mut self, line: &mut Vec<u8>, closed: &Closed) {
        let entry = &closed.entry;
        let usage = entry.usage.as_ref();
        name(line, "{\"timestamp\":\"");
        self.time(line, entry.arrived + entry.elapsed);
        name(line, "\",\"level\":\"INFO\",\"message\":\"request\",\"request_id\":");
        text(line, entry.id.as_str());
        name(line, ",\"operation\":\"");
        name(line, entry.operation.label());
        name(line, "\",\"outcome\":\"");
        name(line, entry.outcome());
        name(line, "\",\"model\":");
        text(line, closed.model());
        name(line, ",\"channel\":");
        or_null(line, closed.channel(), text);
        name(line, ",\"caller\":");
        text(line, &entry.caller.alias);
        name(line, ",\"key_id\":\"");
        name(line, entry.caller.fingerprint.as_str());
        name(line, "\",\"client_ip\":");
        or_null(line, entry.client, |line, client| {
            let _ = write!(line, "\"{client}\"");
        });
        name(line, ",\"status\":");
        number(line, entry.status.as_u16());
        for (field, truth) in [
            (",\"stream\":", entry.stream),
            (",\"abandoned\":", entry.abandoned),
            (",\"estimated\":", closed.estimated),
        ] {
            name(line, field);
            name(line, if truth { "true" } else { "false" });
        }
        name(line, ",\"request_bytes\":");
        number(line, entry.body_bytes);
        name(line, ",\"answer_bytes\":");
        number(line, entry.answer_bytes);
        for (field, time) in [
            (",\"duration_seconds\":", Some(entry.elapsed)),
            (",\"first_response_seconds\":", entry.accepted),
            (",\"overhead_seconds\":", Some(closed.overhead())),
        ] {
            name(line, field);
            or_null(line, time, seconds);
        }
        for (field, tokens) in [
            (",\"input_tokens\":", usage.map(|usage| usage.input_total)),
            (",\"output_tokens\":", usage.map(|usage| usage.output_total)),
            (",\"cached_tokens\":", usage.map(|usage| usage.cached_read)),
            (",\"reasoning_tokens\":", usage.map(|usage| usage.reasoning)),
        ] {
            name(line, field);
            or_null(line, tokens, number);
        }
        name(line, ",\"cost_usd\":");
        fraction(line, u128::try_from(closed.cost).unwrap_or(0), 12);
        name(line, ",\"attempts\":[");
        for (n, attempt) in entry.attempts.iter().enumerate() {
            name(line, if n == 0 { "{\"channel\":" } else { ",{\"channel\":" });
            text(line, attempt.channel.as_str());
            if let Some(model) = &attempt.beside {
                name(line, ",\"model\":");
                text(line, model);
            }
            name(line, ",\"key_id\":");
            or_null(line, attempt.key.as_ref(), |line, key| text(line, key.as_str()));
            name(line, ",\"outcome\":\"");
            name(line, attempt.outcome);
            name(line, "\",\"seconds\":");
            seconds(line, attempt.elapsed);
            name(line, "}");
        }
        name(line, "]}\n");
    }

    /// A time as RFC 3339 has it, in UTC and to the microsecond. Its second is that of the line
    /// before, mostly.
    fn time(&mut self, line: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        if self.second.as_ref().is_none_or(|(written, _)| *written != second) {
            let stamp = Timestamp::from_second(second).unwrap_or_default();
            self.second = Some((second, stamp.strftime("%Y-%m-%dT%H:%M:%S").to_string()));
        }
        name(line, self.second.as_ref().map_or("", |(_, text)| text));
        // A one in front keeps the zeros behind it.
        let from = line.len();
        number(line, 1_000_000 + since.subsec_micros());
        line[from] = b'.';
        name(line, "Z");
    }
}

/// Text of ours, which needs no escaping.
fn name(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

/// Text of others.
fn text(line: &mut Vec<u8>, text: &str) {
    let plain =
        text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'));
    if plain {
        line.push(b'"');
        name(line, text);
        line.push(b'"');
    } else {
        serde_json::to_writer(line, text).expect("a text can be written as JSON");
    }
}

fn number(line: &mut Vec<u8>, number: impl itoa::Integer) {
    name(line, itoa::Buffer::new().format(number));
}

fn or_null<T>(line: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(line, value),
        None => name(line, "null"),
    }
}

/// Seconds, exact to the microsecond.
fn seconds(line: &mut Vec<u8>, duration: Duration) {
    fraction(line, duration.as_micros(), 6);
}

/// A decimal number of this many places, without needless zeros.
fn fraction(line: &mut Vec<u8>, units: u128, places: u32) {
    let one = 10_u64.pow(places);
    // Whole numbers beyond this do not occur, and saturate.
    let units = u64::try_from(units).unwrap_or(u64::MAX);
    number(line, units / one);
    let rest = units % one;
    if rest > 0 {
        // A one in front keeps the zeros behind it.
        let from = line.len();
        number(line, one + rest);
        line[from] = b'.';
        while line.ends_with(b"0") {
            line.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use http::StatusCode;
    use layers::request_id::RequestId;

    use super::*;
    use crate::accounting::Price;
    use crate::accounting::testing::{attempt, entry};

    fn closed(change: impl FnOnce(&mut layers::ledger::Entry)) -> Closed {
        let mut entry = entry("gpt-4o");
        entry.arrived = UNIX_EPOCH + Duration::from_secs(1_767_225_599);
        let request = http::Request::builder().header("x-request-id", "req-1").body(()).unwrap();
        entry.id = RequestId::of(&request);
        change(&mut entry);
        Closed::new(entry, Price::flat(1_000_000, 2_000_000))
    }

    fn text(closed: &Closed, colour: bool) -> String {
        TextLine { closed, colour }.to_string()
    }

    /// An output that tests can read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_text_line_tells_outcome_time_route_tokens_cost_and_caller() {
        let line = text(&closed(|_| {}), false);

        assert_eq!(
            line,
            "00:00:00.500 200 ok                1.50s  chat gpt-4o → served  first 250ms  10+5 tokens  $0.000020  alice  req-1"
        );
    }

    #[test]
    fn the_text_line_lists_the_attempts_when_there_was_more_than_success() {
        let closed = closed(|entry| {
            entry.attempts = vec![attempt("first", "timeout"), attempt("served", "ok")];
        });

        assert!(text(&closed, false).contains("  [first: timeout 250ms, served: ok 250ms]  "));
    }

    #[test]
    fn the_colour_is_that_of_the_outcome() {
        let broken = closed(|entry| {
            entry.status = StatusCode::BAD_GATEWAY;
            entry.failure = Some("upstream_error");
        });

        assert!(text(&broken, true).contains("\x1b[31m502 upstream_error\x1b[0m"));
        assert!(text(&closed(|_| {}), true).contains("\x1b[32m200 ok"));
        assert!(!text(&broken, false).contains('\x1b'));
    }

    #[test]
    fn a_model_name_can_forge_neither_lines_nor_colours() {
        let line = text(&closed(|entry| entry.model = "x\n200 ok\x1b[2J".into()), false);

        assert!(!line.contains('\n') && !line.contains('\x1b'), "{line:?}");
    }

    #[test]
    fn the_json_line_keeps_its_field_names() {
        let closed = closed(|_| {});

        let mut line = Vec::new();
        JsonLines::default().write(&mut line, &closed);

        let expected = concat!(
            r#"{"timestamp":"2026-01-01T00:00:00.500000Z","level":"INFO","message":"request","request_id":"req-1","#,
            r#""operation":"chat","outcome":"ok","model":"gpt-4o","channel":"served","caller":"alice","#,
            r#""key_id":"aaaaaaaaaaaaaaaa","client_ip":"203.0.113.9","status":200,"stream":true,"abandoned":false,"#,
            r#""estimated":false,"request_bytes":1000,"answer_bytes":0,"duration_seconds":1.5,"#,
            r#""first_response_seconds":0.2501,"overhead_seconds":0.0001,"input_tokens":10,"output_tokens":5,"#,
            r#""cached_tokens":4,"reasoning_tokens":2,"cost_usd":0.00002,"#,
            r#""attempts":[{"channel":"served","key_id":"bbbbbbbbbbbbbbbb","outcome":"ok","seconds":0.25}]}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn the_json_line_is_json_whatever_clients_write() {
        let closed = closed(|entry| entry.model = "a\"b\\c\nd".into());

        let mut line = Vec::new();
        JsonLines::default().write(&mut line, &closed);

        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["model"], "a\"b\\c\nd");
    }

    #[test]
    fn lines_are_written_in_order_and_all_of_them_before_the_thread_ends() {
        let page = Page::default();
        let (log, thread) = start(Format::Text { colour: false }, page.clone()).unwrap();

        log.line(b"first\n".to_vec());
        log.record(Arc::new(closed(|_| {})));
        log.line(b"last\n".to_vec());
        drop(thread);

        let text = page.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "first", "last"));
        assert!(lines[1].contains("gpt-4o"));
    }

    #[test]
    fn a_slow_output_loses_lines_and_counts_them() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = sync_channel(0);
        let (log, thread) = start_with(Format::Json, Stuck(stuck), 4).unwrap();

        for _ in 0..100 {
            log.line(b"{}\n".to_vec());
        }

        assert!((95..=96).contains(&log.dropped()), "{}", log.dropped());
        drop(release);
        drop(thread);
    }

    #[test]
    fn the_wish_wins_over_the_terminal() {
        assert_eq!(Format::choose(None, true), Format::Text { colour: true });
        assert_eq!(Format::choose(None, false), Format::Json);
        assert_eq!(Format::choose(Some("json"), true), Format::Json);
        assert_eq!(Format::choose(Some("TEXT"), false), Format::Text { colour: false });
    }
}
