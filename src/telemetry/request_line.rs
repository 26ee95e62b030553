//! Forms the line of a closed record: for reading in a terminal, as JSON elsewhere.
//!
//! The names of the JSON fields never change. Callers appear under their alias, keys as
//! fingerprints; a client's own text (the model name) is freed of control characters, which could
//! forge lines or colour the terminal.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use jiff::Timestamp;

use super::plain::{Plain, escape_json};
use super::visit_line::clipped;
use crate::values::Closed;

// === text ===

/// A record as a line for reading, without its newline.
pub(super) struct TextLine<'a> {
    pub(super) closed: &'a Closed,
    /// Whether the outcome is coloured.
    pub(super) colour: bool,
}

pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const RESET: &str = "\x1b[0m";

impl fmt::Display for TextLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.closed.entry;
        let paint = |code: &'static str| if self.colour { code } else { "" };
        let mood = match (entry.outcome(), entry.status.as_u16()) {
            ("ok", _) => GREEN,
            ("client_gone", _) | (_, 400..=499) => YELLOW,
            _ => RED,
        };
        write!(f, "{}{}{} ", paint(DIM), Clock(entry.arrived + entry.elapsed), paint(RESET))?;
        write!(f, "{}{} {:<14}{} ", paint(mood), entry.status.as_u16(), entry.outcome(), paint(RESET))?;
        write!(f, "{:>8}  ", Span(entry.elapsed).to_string())?;
        write!(f, "{} {}", entry.endpoint.kind.label(), Plain(self.closed.model()))?;
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
                let model = attempt.side_call.as_deref();
                write!(
                    f,
                    "{comma}{}{}{}{}{}: {} {}",
                    Plain(attempt.channel.as_str()),
                    if attempt.place.is_some() { " in " } else { "" },
                    Plain(attempt.place.as_deref().unwrap_or_default()),
                    if model.is_some() { "/" } else { "" },
                    Plain(model.unwrap_or_default()),
                    attempt.outcome,
                    Span(attempt.elapsed)
                )?;
            }
            f.write_str("]")?;
        }
        if let Some(reason) = &entry.reason {
            write!(f, "  ({})", Plain(clipped(reason)))?;
        }
        write!(f, "  {}{}{}", paint(DIM), entry.id.as_str(), paint(RESET))
    }
}

/// The clock of all lines for reading.
pub(super) struct Clock(pub(super) SystemTime);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", Timestamp::try_from(self.0).unwrap_or_default())
    }
}

/// A duration with the three digits that matter.
pub(super) struct Span(pub(super) Duration);

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

fn dollars(picodollars: i128) -> f64 {
    picodollars as f64 / 1e12
}

// === JSON ===

/// A writer of lines as JSON. By hand, because names need no escaping and numbers no formatting
/// traits: this is the largest single cost beside the request itself.
#[derive(Default)]
pub(super) struct JsonLines {
    /// The last second that was written out, and its text.
    second: Option<(i64, String)>,
}

impl JsonLines {
    /// Writes a line. The names of its fields are part of the program's interface: they never change.
    pub(super) fn write(&mut self, line: &mut Vec<u8>, closed: &Closed) {
        let entry = &closed.entry;
        let usage = entry.usage.as_ref();
        name(line, "{\"timestamp\":\"");
        self.time(line, entry.arrived + entry.elapsed);
        name(line, "\",\"level\":\"");
        name(line, level(entry.status, entry.failure));
        name(line, "\",\"message\":\"request\",\"request_id\":");
        text(line, entry.id.as_str());
        if let Some(trace) = &entry.trace {
            let _ = write!(line, ",\"trace_id\":\"{}\"", trace.id_digits());
        }
        name(line, ",\"operation\":\"");
        name(line, entry.endpoint.kind.label());
        name(line, "\",\"outcome\":\"");
        name(line, entry.outcome());
        name(line, "\",\"model\":");
        text(line, closed.model());
        name(line, ",\"channel\":");
        or_null(line, closed.channel(), text);
        name(line, ",\"caller\":");
        text(line, &entry.caller.alias);
        name(line, ",\"key_id\":\"");
        line.extend_from_slice(entry.caller.fingerprint.as_bytes());
        name(line, "\",\"client_ip\":");
        or_null(line, entry.client, address);
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
        money(line, closed.cost);
        name(line, ",\"attempts\":[");
        for (n, attempt) in entry.attempts.iter().enumerate() {
            name(line, if n == 0 { "{\"channel\":" } else { ",{\"channel\":" });
            text(line, attempt.channel.as_str());
            if let Some(place) = &attempt.place {
                name(line, ",\"place\":");
                text(line, place);
            }
            if let Some(model) = &attempt.side_call {
                name(line, ",\"model\":");
                text(line, model);
            }
            name(line, ",\"provider_key_id\":");
            or_null(line, attempt.key.as_ref(), |line, key| {
                line.push(b'"');
                line.extend_from_slice(key.as_bytes());
                line.push(b'"');
            });
            name(line, ",\"outcome\":\"");
            name(line, attempt.outcome);
            name(line, "\"");
            if let Some(fault) = &attempt.fault {
                if let Some(status) = fault.status {
                    name(line, ",\"upstream_status\":");
                    number(line, status.as_u16());
                }
                if let Some(cause) = &fault.cause {
                    name(line, ",\"cause\":");
                    text(line, clipped(cause));
                }
            }
            name(line, ",\"began_seconds\":");
            seconds(line, attempt.began);
            name(line, ",\"seconds\":");
            seconds(line, attempt.elapsed);
            name(line, "}");
        }
        name(line, "]");
        if let Some(reason) = &entry.reason {
            name(line, ",\"reason\":");
            text(line, clipped(reason));
        }
        name(line, "}\n");
    }

    /// A time as RFC 3339 has it, in UTC and to the microsecond. Its second is that of the line
    /// before, mostly.
    pub(super) fn time(&mut self, line: &mut Vec<u8>, time: SystemTime) {
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

/// How loud a line is: what was refused for the client's own fault wakes nobody, a fault of ours or
/// of the upstreams does.
pub(super) fn level(status: StatusCode, failure: Option<&'static str>) -> &'static str {
    match failure {
        Some(_) if !status.is_client_error() => "WARN",
        _ => "INFO",
    }
}

/// Text of ours, which needs no escaping.
pub(super) fn name(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

/// Text of others.
pub(super) fn text(line: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        line.push(b'"');
        name(line, text);
        line.push(b'"');
    } else {
        let from = line.len();
        serde_json::to_writer(&mut *line, text).expect("a text can be written as JSON");
        escape_json(line, from);
    }
}

/// Whether JSON writes a text as it is: letters, digits and signs of ASCII but quotes and backslashes.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).all(|word| is_plain_word(u64::from_le_bytes(*word)))
}

/// Whether eight bytes are such: one subtraction looks at all of them, and lends from the next only where it has found
/// one that is not.
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let of = |byte: u8| word ^ (ONES * u64::from(byte));
    let below_space = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
    let odd = word | below_space | zero(of(b'"')) | zero(of(b'\\')) | zero(of(0x7f));
    odd & (ONES << 7) == 0
}

pub(super) fn number(line: &mut Vec<u8>, number: impl itoa::Integer) {
    name(line, itoa::Buffer::new().format(number));
}

pub(super) fn or_null<T>(line: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(line, value),
        None => name(line, "null"),
    }
}

/// An address in quotes.
pub(super) fn address(line: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(v4) = address else {
        let _ = write!(line, "\"{address}\"");
        return;
    };
    for (n, octet) in v4.octets().into_iter().enumerate() {
        line.push(if n == 0 { b'"' } else { b'.' });
        number(line, octet);
    }
    line.push(b'"');
}

/// Seconds, exact to the microsecond.
pub(super) fn seconds(line: &mut Vec<u8>, duration: Duration) {
    const SECOND: u32 = 1_000_000;
    match (duration.as_secs(), duration.subsec_micros()) {
        // Nearly all: with a one in front, which keeps the zeros behind it, their digits are found at once.
        (whole @ 0..10, rest) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(10 * SECOND + SECOND * whole as u32 + rest).as_bytes();
            line.push(digits[1]);
            fraction(line, &digits[2..]);
        }
        (whole, rest) => {
            number(line, whole);
            fraction(line, &itoa::Buffer::new().format(SECOND + rest).as_bytes()[1..]);
        }
    }
}

/// Picodollars as dollars.
fn money(line: &mut Vec<u8>, picodollars: i128) {
    const DOLLAR: u64 = 1_000_000_000_000;
    // What is more than 18 million dollars saturates.
    let picodollars = u64::try_from(picodollars.max(0)).unwrap_or(u64::MAX);
    number(line, picodollars / DOLLAR);
    fraction(line, &itoa::Buffer::new().format(DOLLAR + picodollars % DOLLAR).as_bytes()[1..]);
}

/// What stands behind the decimal point, without needless zeros.
fn fraction(line: &mut Vec<u8>, digits: &[u8]) {
    if let Some(last) = digits.iter().rposition(|digit| *digit != b'0') {
        line.push(b'.');
        line.extend_from_slice(&digits[..=last]);
    }
}

#[cfg(test)]
mod tests {
    use layers::ledger::Fault;
    use layers::request_id::RequestId;

    use super::*;
    use crate::values::Price;
    use crate::values::testing::{attempt, entry};

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

    #[test]
    fn the_text_line_tells_outcome_time_route_tokens_cost_and_caller() {
        let line = text(&closed(|_| {}), false);

        assert_eq!(
            line,
            "2026-01-01T00:00:00.500Z 200 ok                1.50s  chat gpt-4o → served  first 250ms  10+5 tokens  $0.000020  alice  req-1"
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
    fn an_attempt_in_a_place_is_told_with_it() {
        let closed = closed(|entry| {
            entry.attempts = vec![attempt("wide", "upstream_error"), attempt("wide", "ok")];
            entry.attempts[0].place = Some("east".into());
        });

        let mut line = Vec::new();
        JsonLines::default().write(&mut line, &closed);

        assert!(text(&closed, false).contains("  [wide in east: upstream_error 250ms, wide: ok 250ms]  "));
        let places = |line: &[u8]| {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            line["attempts"].as_array().unwrap().iter().map(|one| one["place"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(places(&line), ["east".into(), serde_json::Value::Null]);
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
        let closed = closed(|entry| entry.model = "x\n200 ok\x1b[2J\u{9b}2J\u{2028}\u{202e}".into());
        let mut json = Vec::new();
        JsonLines::default().write(&mut json, &closed);

        for line in [text(&closed, false), String::from_utf8(json).unwrap().trim_end().to_owned()] {
            for steering in ['\n', '\x1b', '\u{9b}', '\u{2028}', '\u{202e}'] {
                assert!(!line.contains(steering), "{line:?}");
            }
        }
    }

    #[test]
    fn a_text_is_plain_if_all_its_bytes_are() {
        for byte in 0..=u8::MAX {
            let is_plain_byte = (b' '..0x7f).contains(&byte) && !b"\"\\".contains(&byte);
            for length in 1..18 {
                for at in 0..length {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(is_plain(&text), is_plain_byte, "{text:?}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn fractions_lose_their_zeros_at_the_end_and_no_others() {
        let written = |whole: u64, micros: u32| {
            let mut line = Vec::new();
            seconds(&mut line, Duration::new(whole, micros * 1000));
            String::from_utf8(line).unwrap()
        };

        assert_eq!(
            [0, 1, 500_000, 120_300, 999_999].map(|micros| written(7, micros)),
            ["7", "7.000001", "7.5", "7.1203", "7.999999"]
        );
        assert_eq!(
            [written(0, 0), written(9, 10), written(10, 10), written(4711, 0)],
            ["0", "9.00001", "10.00001", "4711"]
        );
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
            r#""attempts":[{"channel":"served","provider_key_id":"bbbbbbbbbbbbbbbb","outcome":"ok","began_seconds":0.001,"seconds":0.25}]}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    fn json(closed: &Closed) -> serde_json::Value {
        let mut line = Vec::new();
        JsonLines::default().write(&mut line, closed);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_failed_attempt_is_told_with_the_upstream_s_status_or_the_cause() {
        let closed = closed(|entry| {
            entry.attempts = vec![attempt("a", "upstream_error"), attempt("b", "connect_failed")];
            entry.attempts[0].fault =
                Some(Box::new(Fault { status: Some(StatusCode::BAD_GATEWAY), cause: None }));
            entry.attempts[1].fault = Some(Box::new(Fault { status: None, cause: Some("refused".into()) }));
        });

        let line = json(&closed);

        assert_eq!(line["attempts"][0]["upstream_status"], 502);
        assert_eq!(line["attempts"][1]["cause"], "refused");
        assert!(
            line["attempts"][0].get("cause").is_none()
                && line["attempts"][1].get("upstream_status").is_none()
        );
    }

    #[test]
    fn a_fault_that_is_not_the_client_s_is_a_warning_and_tells_its_reason() {
        let failed = |status: u16, failure| {
            json(&closed(|entry| {
                entry.status = StatusCode::from_u16(status).unwrap();
                entry.failure = failure;
                entry.reason = failure.map(Into::into);
            }))
        };

        for (status, failure, level) in [
            (200, None, "INFO"),
            (502, Some("upstream_error"), "WARN"),
            // Its answer broke off behind the status.
            (200, Some("truncated_answer"), "WARN"),
            (429, Some("rate_limited"), "INFO"),
            (499, Some("client_gone"), "INFO"),
        ] {
            let line = failed(status, failure);
            assert_eq!(line["level"], level, "{status} {failure:?}");
            assert_eq!(line.get("reason").and_then(|reason| reason.as_str()), failure);
        }
    }

    #[test]
    fn the_json_line_is_json_whatever_clients_write() {
        let closed = closed(|entry| entry.model = "a\"b\\c\nd".into());

        let mut line = Vec::new();
        JsonLines::default().write(&mut line, &closed);

        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["model"], "a\"b\\c\nd");
    }
}
