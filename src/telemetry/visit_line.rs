//! Forms the line of a request that has no closed record: who asked for what, and why not.
//!
//! The fields that a request of the pipeline has too are called the same.

use std::fmt;

use dialect::Kind;
use layers::visit::Visit;

use super::plain::Plain;
use super::request_line::{
    Clock, DIM, GREEN, JsonLines, RED, RESET, Span, YELLOW, address, level, name, number, or_null, seconds,
    text,
};

/// Most bytes of a reason: a client's own text may stand in it.
pub(super) const LONGEST_REASON: usize = 200;

/// What stands for the operation of a path that is none of the pipeline: a fixed set of words.
pub(super) fn operation(visit: &Visit) -> &'static str {
    const PATHS: [(&str, &str); 3] =
        [("/v1/models", "models"), ("/metrics", "metrics"), ("/v1/route/explain", "explain")];
    let known =
        || PATHS.iter().find(|(path, _)| visit.path.starts_with(path)).map(|(_, operation)| *operation);
    visit.endpoint.map(|endpoint| endpoint.kind).map(Kind::label).or_else(known).unwrap_or("other")
}

/// Whether the line is one of those of which there may be a flood.
pub(super) fn is_refused(visit: &Visit) -> bool {
    visit.failure.is_some()
}

/// The beginning of a reason.
pub(super) fn clipped(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(LONGEST_REASON)]
}

/// A visit as a line for reading, without its newline.
pub(super) struct TextVisit<'a> {
    pub(super) visit: &'a Visit,
    /// Whether the outcome is coloured.
    pub(super) colour: bool,
}

impl fmt::Display for TextVisit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let visit = self.visit;
        let paint = |code: &'static str| if self.colour { code } else { "" };
        let mood = match visit.status.as_u16() {
            500.. => RED,
            400..=499 => YELLOW,
            _ => GREEN,
        };
        write!(f, "{}{}{} ", paint(DIM), Clock(visit.ended), paint(RESET))?;
        write!(f, "{}{} {:<14}{} ", paint(mood), visit.status.as_u16(), visit.outcome(), paint(RESET))?;
        write!(f, "{:>8}  ", Span(visit.elapsed).to_string())?;
        write!(f, "{} {}", Plain(visit.method.as_str()), Plain(&visit.path))?;
        match (&visit.caller, &visit.unknown_key) {
            (Some(caller), _) => write!(f, "  {}", Plain(&caller.alias))?,
            (None, Some(key)) => write!(f, "  unknown key {}", key.as_str())?,
            (None, None) => f.write_str("  no key")?,
        }
        if let Some(client) = visit.client {
            write!(f, "  from {client}")?;
        }
        if let Some(reason) = &visit.reason {
            write!(f, "  ({})", Plain(clipped(reason)))?;
        }
        write!(f, "  {}{}{}", paint(DIM), visit.id.as_str(), paint(RESET))
    }
}

/// Writes a visit as JSON. The names of its fields are part of the program's interface.
pub(super) fn write_json(lines: &mut JsonLines, line: &mut Vec<u8>, visit: &Visit) {
    name(line, "{\"timestamp\":\"");
    lines.time(line, visit.ended);
    name(line, "\",\"level\":\"");
    name(line, level(visit.status, visit.failure));
    name(line, "\",\"message\":\"request\",\"request_id\":");
    text(line, visit.id.as_str());
    name(line, ",\"operation\":\"");
    name(line, operation(visit));
    name(line, "\",\"outcome\":\"");
    name(line, visit.outcome());
    name(line, "\",\"method\":");
    text(line, visit.method.as_str());
    name(line, ",\"path\":");
    text(line, &visit.path);
    name(line, ",\"caller\":");
    or_null(line, visit.caller.as_deref(), |line, caller| text(line, &caller.alias));
    let key = visit.caller.as_ref().map(|caller| &caller.fingerprint).or(visit.unknown_key.as_ref());
    name(line, ",\"key_id\":");
    or_null(line, key, |line, key| text(line, key.as_str()));
    name(line, ",\"client_ip\":");
    or_null(line, visit.client, address);
    name(line, ",\"status\":");
    number(line, visit.status.as_u16());
    name(line, ",\"duration_seconds\":");
    seconds(line, visit.elapsed);
    if let Some(reason) = &visit.reason {
        name(line, ",\"reason\":");
        text(line, clipped(reason));
    }
    name(line, "}\n");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::{Method, Request};
    use layers::Failure;
    use layers::endpoint::find;
    use layers::policy::Fingerprint;
    use layers::request_id::RequestId;
    use layers::stage::Peer;
    use tokio::time::Instant;

    use super::*;
    use crate::values::testing::caller;

    fn visit(method: Method, path: &str) -> Visit {
        let request = Request::builder().header("x-request-id", "req-1").uri(path).body(()).unwrap();
        let mut extensions = http::Extensions::new();
        extensions.insert(RequestId::of(&request));
        extensions.insert(find(&method, path));
        extensions.insert(Peer([203, 0, 113, 9].into()));
        let ended = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Visit { ended, ..Visit::of(&method, request.uri(), &extensions) }
    }

    fn json(visit: &Visit) -> String {
        let mut line = Vec::new();
        write_json(&mut JsonLines::default(), &mut line, visit);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_stranger_is_told_by_what_stands_for_the_key() {
        let mut visit = visit(Method::POST, "/v1/chat/completions").refused(&Failure::Unauthenticated);
        visit.unknown_key = Some(Fingerprint::new("cccccccccccccccc"));

        let text = TextVisit { visit: &visit, colour: false }.to_string();

        assert_eq!(
            text,
            "2026-01-01T00:00:00.000Z 401 unauthenticated      0µs  POST /v1/chat/completions  unknown key \
             cccccccccccccccc  from 203.0.113.9  (Invalid or missing API Key)  req-1"
        );
        let expected = concat!(
            r#"{"timestamp":"2026-01-01T00:00:00.000000Z","level":"INFO","message":"request","request_id":"req-1","#,
            r#""operation":"chat","outcome":"unauthenticated","method":"POST","path":"/v1/chat/completions","#,
            r#""caller":null,"key_id":"cccccccccccccccc","client_ip":"203.0.113.9","status":401,"#,
            r#""duration_seconds":0,"reason":"Invalid or missing API Key"}"#,
            "\n",
        );
        assert_eq!(json(&visit), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_key_that_was_answered_is_told_by_its_alias_and_without_a_reason() {
        let visit = visit(Method::GET, "/v1/models").by(&caller("alice"), Instant::now());

        let line: serde_json::Value = serde_json::from_str(&json(&visit)).unwrap();

        assert_eq!((&line["caller"], &line["operation"]), (&"alice".into(), &"models".into()));
        assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"ok".into()));
        assert!(line.get("reason").is_none());
    }

    #[test]
    fn our_own_faults_are_warnings_and_a_path_can_forge_no_line() {
        let mut visit = visit(Method::POST, "/v1/x").refused(&Failure::Overloaded);
        visit.path = "/a\n200 ok\x1b[2J".into();
        visit.reason = Some("b\nc".repeat(500));

        let text = TextVisit { visit: &visit, colour: false }.to_string();

        assert!(!text.contains(['\n', '\x1b']) && text.len() < 500, "{text:?}");
        let line: serde_json::Value = serde_json::from_str(&json(&visit)).unwrap();
        assert_eq!((&line["level"], &line["operation"]), (&"WARN".into(), &"other".into()));
    }
}
