//! Writes one line per request, and the program's own log, beside the request path.
//!
//! A line is formed at once, into a bounded buffer: handing the record to another thread costs more
//! than writing it down while it is at hand. A thread of its own looks some fifty times a second and
//! writes what is there in one go, so nothing waits for the output. Only after a silence does it wait
//! to be rung: a wake-up costs the request that has to give it more than all else a line does. When
//! the output is slower than the requests, lines are dropped and counted.
//!
//! In a terminal a line is for reading; elsewhere it is JSON (`request_line`).

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layers::visit::Visit;

use super::request_line::{JsonLines, TextLine};
use super::throttle::Throttle;
use super::visit_line::{self, TextVisit};
use crate::values::Closed;

/// Bytes that may wait: some eight thousand lines.
const MOST: usize = 4 << 20;

/// Between looks at the buffer while lines come.
const PERIOD: Duration = Duration::from_millis(20);

/// Looks that find nothing before the thread goes to sleep: five seconds of silence.
const PATIENCE: u32 = 250;

/// Room for lines that is kept between writes.
const CHUNK: usize = 64 * 1024;

/// Lines a second about requests that were refused before they were read; the others are counted.
const MOST_REFUSED: u32 = 20;

/// At most one note about dropped lines in this time.
const QUIET: Duration = Duration::from_secs(60);

/// How long the end of the program waits for an output that takes nothing.
const FAREWELL: Duration = Duration::from_secs(2);

/// The look of the lines.
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

/// The way into the log. Clones share one buffer.
#[derive(Clone)]
pub struct RequestLog {
    desk: Arc<Desk>,
    format: Format,
}

/// The place where lines are formed and wait.
struct Desk {
    sheet: Mutex<Sheet>,
    /// Rung for the thread.
    bell: Condvar,
    /// Rung when something was written.
    done: Condvar,
    /// Bytes that may wait.
    most: usize,
    dropped: AtomicU64,
}

struct Sheet {
    text: Vec<u8>,
    json: JsonLines,
    /// Strangers may send more requests than anybody reads lines of.
    refused: Throttle,
    /// Bytes that were ever put in, and how many of them were written.
    taken: u64,
    written: u64,
    /// The thread waits for a line.
    asleep: bool,
    /// Somebody waits for what is there to be written.
    hurried: bool,
    ended: bool,
}

/// The keeper of the log's thread; dropped, it writes what waits and ends it.
pub struct LogThread {
    log: RequestLog,
    thread: Option<JoinHandle<()>>,
}

/// Starts the log's thread, which writes to `output`.
pub fn start(format: Format, output: impl Write + Send + 'static) -> io::Result<(RequestLog, LogThread)> {
    start_with(format, output, MOST)
}

fn start_with(
    format: Format,
    output: impl Write + Send + 'static,
    most: usize,
) -> io::Result<(RequestLog, LogThread)> {
    let desk = Arc::new(Desk {
        sheet: Mutex::new(Sheet {
            text: Vec::new(),
            json: JsonLines::default(),
            refused: Throttle::new(MOST_REFUSED),
            taken: 0,
            written: 0,
            asleep: false,
            hurried: false,
            ended: false,
        }),
        bell: Condvar::new(),
        done: Condvar::new(),
        most,
        dropped: AtomicU64::new(0),
    });
    let log = RequestLog { desk: desk.clone(), format };
    let printer = Printer { desk, output, format, buffer: Vec::new(), told: 0, quiet_until: None };
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || printer.run())?;
    Ok((log.clone(), LogThread { log, thread: Some(thread) }))
}

impl RequestLog {
    /// How lines look.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Takes a record. Never waits for the output.
    pub fn record(&self, closed: &Closed) {
        self.put(|sheet| match self.format {
            Format::Text { colour } => {
                let _ = writeln!(sheet.text, "{}", TextLine { closed, colour });
            }
            Format::Json => sheet.json.write(&mut sheet.text, closed),
        });
    }

    /// Takes what is known of a request without a record. Never waits for the output.
    pub fn visit(&self, visit: &Visit) {
        let now = tokio::time::Instant::now();
        self.put(|sheet| {
            if visit_line::is_refused(visit) {
                match sheet.refused.pass(now) {
                    Some(0) => {}
                    Some(more) => sheet.tell_refused(more, self.format),
                    None => return,
                }
            }
            match self.format {
                Format::Text { colour } => {
                    let _ = writeln!(sheet.text, "{}", TextVisit { visit, colour });
                }
                Format::Json => visit_line::write_json(&mut sheet.json, &mut sheet.text, visit),
            }
        });
    }

    /// Takes a line that is formed already, its newline included. Never waits for the output.
    pub fn line(&self, line: &[u8]) {
        self.put(|sheet| sheet.text.extend_from_slice(line));
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.desk.dropped.load(Ordering::Relaxed)
    }

    /// Bytes of lines that wait to be written.
    pub fn waiting(&self) -> u64 {
        let sheet = self.desk.sheet();
        sheet.taken - sheet.written
    }

    fn put(&self, form: impl FnOnce(&mut Sheet)) {
        let mut sheet = self.desk.sheet();
        let before = sheet.text.len();
        if before >= self.desk.most {
            drop(sheet);
            self.desk.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        form(&mut sheet);
        sheet.taken += (sheet.text.len() - before) as u64;
        if std::mem::take(&mut sheet.asleep) {
            drop(sheet);
            self.desk.bell.notify_one();
        }
    }
}

impl Sheet {
    /// Writes how many requests were refused of which there is no line.
    fn tell_refused(&mut self, more: u64, format: Format) {
        let now = Timestamp::now();
        let _ = match format {
            Format::Text { .. } => writeln!(self.text, "{now:.3} … and {more} more refused requests"),
            Format::Json => writeln!(
                self.text,
                r#"{{"timestamp":"{now:.6}","level":"INFO","message":"… and {more} more refused requests","requests":{more}}}"#
            ),
        };
    }

    /// Whether the thread has something to do.
    fn has_work(&self) -> bool {
        !self.text.is_empty() || self.hurried || self.ended
    }
}

impl Desk {
    fn sheet(&self) -> MutexGuard<'_, Sheet> {
        // A line that was half formed in a panic is no reason to write none any more.
        self.sheet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogThread {
    /// Waits until everything logged so far is written, or the output has taken nothing for too long.
    pub fn flush(&self) {
        let mut sheet = self.log.desk.sheet();
        let due = sheet.taken;
        sheet.hurried = true;
        self.log.desk.bell.notify_one();
        let waiting = self.log.desk.done.wait_timeout_while(sheet, FAREWELL, |sheet| sheet.written < due);
        drop(waiting);
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.flush();
        self.log.desk.sheet().ended = true;
        self.log.desk.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            let end = Instant::now() + FAREWELL;
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

struct Printer<W> {
    desk: Arc<Desk>,
    output: W,
    format: Format,
    /// What is being written, while the desk has room for more.
    buffer: Vec<u8>,
    told: u64,
    quiet_until: Option<Instant>,
}

impl<W: Write> Printer<W> {
    /// Writes until it is told to end.
    fn run(mut self) {
        loop {
            let (taken, ended) = self.fetch();
            self.tell_drops();
            // There is nowhere left to complain when the log itself cannot be written.
            let _ = self.output.write_all(&self.buffer).and_then(|()| self.output.flush());
            self.buffer.clear();
            self.buffer.shrink_to(CHUNK);
            self.desk.sheet().written = taken;
            self.desk.done.notify_all();
            if ended {
                return;
            }
        }
    }

    /// Waits until there are lines, and takes them all.
    fn fetch(&mut self) -> (u64, bool) {
        let desk = self.desk.clone();
        let mut sheet = desk.sheet();
        for _ in 0..PATIENCE {
            let pause = desk.bell.wait_timeout_while(sheet, PERIOD, |sheet| !sheet.hurried && !sheet.ended);
            sheet = pause.unwrap_or_else(PoisonError::into_inner).0;
            let (before, is_end) = (sheet.text.len(), sheet.ended);
            if let Some(more) = sheet.refused.rest(tokio::time::Instant::now(), is_end) {
                sheet.tell_refused(more, self.format);
                sheet.taken += (sheet.text.len() - before) as u64;
            }
            if sheet.has_work() {
                break;
            }
        }
        let waits = |sheet: &mut Sheet| {
            sheet.asleep = !sheet.has_work();
            sheet.asleep
        };
        let mut sheet = desk.bell.wait_while(sheet, waits).unwrap_or_else(PoisonError::into_inner);
        sheet.hurried = false;
        std::mem::swap(&mut sheet.text, &mut self.buffer);
        (sheet.taken, sheet.ended)
    }

    fn tell_drops(&mut self) {
        let dropped = self.desk.dropped.load(Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::values::Price;
    use crate::values::testing::entry;

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
    fn lines_are_written_in_order_and_all_of_them_before_the_thread_ends() {
        let page = Page::default();
        let (log, thread) = start(Format::Text { colour: false }, page.clone()).unwrap();

        log.line(b"first\n");
        log.record(&Closed::new(entry("gpt-4o"), Price::flat(1, 2)));
        log.line(b"last\n");
        drop(thread);

        let text = page.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "first", "last"));
        assert!(lines[1].contains("gpt-4o"));
    }

    #[test]
    fn of_a_flood_of_refused_requests_twenty_a_second_are_told_and_the_others_counted() {
        let page = Page::default();
        let (log, thread) = start(Format::Json, page.clone()).unwrap();
        let request = http::Request::post("/v1/chat/completions").body(()).unwrap();
        let visit = Visit::of(request.method(), request.uri(), request.extensions());
        let refused = visit.clone().refused(&layers::Failure::Unauthenticated);

        for _ in 0..61 {
            log.visit(&refused);
        }
        // Answered requests are no flood of strangers.
        (0..30).for_each(|_| log.visit(&visit));

        // Nobody comes behind it, so the thread tells of the rest by itself.
        let told = |text: &str, what: &str| text.lines().filter(|line| line.contains(what)).count();
        let began = Instant::now();
        while told(&page.text(), "more refused requests") == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "{}", page.text());
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(thread);
        let text = page.text();
        assert_eq!((told(&text, "unauthenticated"), told(&text, "\"outcome\":\"ok\"")), (20, 30));
        assert!(text.contains("… and 41 more refused requests\",\"requests\":41}"), "{text}");
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
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
        let (log, thread) = start_with(Format::Json, Stuck(stuck), 12).unwrap();

        for _ in 0..100 {
            log.line(b"{}\n");
        }

        // Four fit; four more when the thread took the first ones meanwhile.
        assert!((92..=96).contains(&log.dropped()), "{}", log.dropped());
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
