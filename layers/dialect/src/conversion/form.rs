//! The form of an answer: what its body is, whatever it claims.

use crate::Framing;

/// The form of the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// A stream of events, cut like this.
    Events(Framing),
    /// One JSON value.
    Json,
    /// A page for people, of whatever stands in between.
    Page,
    /// Anything else: sound, pictures, text.
    Bytes,
}

/// What a body is, from its content type, its first bytes, and what was asked for.
///
/// The first byte that is not blank decides wherever it can, because relays label answers as they please: `{` and `[`
/// are JSON, the field names and comments of server-sent events are events, `<` is a page. Where the two of them
/// could be either (an array of events or one of values, sound that begins like a comment), or nothing came, the
/// content type breaks the tie, and where that says nothing the wish of who asked.
pub fn answer_form(content_type: Option<&[u8]>, first_bytes: &[u8], asked: AnswerForm) -> AnswerForm {
    let claimed = content_type.and_then(claimed);
    let first = unmarked(first_bytes).trim_ascii_start();
    let framed = match (claimed, asked) {
        (Some(AnswerForm::Events(framing)), _) | (_, AnswerForm::Events(framing)) => Some(framing),
        _ => None,
    };
    match first.first() {
        None => claimed.unwrap_or(asked),
        // Binary framings begin with a length, and bytes of any kind with anything: nothing can be told of them.
        Some(_)
            if asked == AnswerForm::Bytes
                && !matches!(claimed, Some(AnswerForm::Json | AnswerForm::Events(_))) =>
        {
            match claimed {
                Some(AnswerForm::Page) if first.starts_with(b"<") => AnswerForm::Page,
                // An error that nobody labelled.
                None if content_type.is_none() && first.starts_with(b"{") => AnswerForm::Json,
                _ => AnswerForm::Bytes,
            }
        }
        // The lengths of messages, of which none is as long as 16 MiB. No text begins so.
        Some(0) => AnswerForm::Events(Framing::EventStream),
        // Lines and arrays of values begin like one value, and nothing names an array of them.
        Some(b'[') if framed == Some(Framing::JsonArray) => AnswerForm::Events(Framing::JsonArray),
        Some(b'{') if is_lines(claimed, asked) => AnswerForm::Events(Framing::JsonLines),
        Some(b'{' | b'[') => AnswerForm::Json,
        Some(b'<') => AnswerForm::Page,
        Some(_) if is_event_line(first) => AnswerForm::Events(Framing::Sse),
        Some(_) => claimed.unwrap_or(asked),
    }
}

/// Whether values that begin like one may be those of lines: where either says so, and nothing says that it is one.
fn is_lines(claimed: Option<AnswerForm>, asked: AnswerForm) -> bool {
    const LINES: AnswerForm = AnswerForm::Events(Framing::JsonLines);
    claimed == Some(LINES) || asked == LINES && claimed != Some(AnswerForm::Json)
}

/// Whether a beginning is long enough for [`answer_form`]: whatever follows, it tells the same.
pub fn tells_its_form(first_bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"\xEF\xBB\xBF";
    const LONGEST_FIELD: usize = "event:".len();
    if first_bytes.len() < MARK.len() && MARK.starts_with(first_bytes) {
        return false;
    }
    let first = unmarked(first_bytes).trim_ascii_start();
    match first.first() {
        None => false,
        Some(b'd' | b'e' | b'i' | b'r') => {
            first.len() >= LONGEST_FIELD || first.contains(&b':') || first.contains(&b'\n')
        }
        Some(_) => true,
    }
}

/// A text without the byte order mark in front of it, which a reader of JSON need not know.
pub(super) fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

/// What a content type claims, as it is written.
fn claimed(content_type: &[u8]) -> Option<AnswerForm> {
    // Nearly all are written so.
    match content_type {
        b"application/json" => return Some(AnswerForm::Json),
        b"text/event-stream" => return Some(AnswerForm::Events(Framing::Sse)),
        _ => {}
    }
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    match essence.iter().any(u8::is_ascii_uppercase) {
        true => claim(&essence.to_ascii_lowercase()),
        false => claim(essence),
    }
}

/// What a content type in small letters claims; none for those that claim nothing, such as `text/plain`.
fn claim(essence: &[u8]) -> Option<AnswerForm> {
    if let Some(framing) = Framing::of_content_type(essence) {
        return Some(AnswerForm::Events(framing));
    }
    match essence {
        b"application/json" => Some(AnswerForm::Json),
        b"text/html" | b"application/xhtml+xml" => Some(AnswerForm::Page),
        _ if essence.ends_with(b"+json") => Some(AnswerForm::Json),
        _ if essence.starts_with(b"audio/")
            || essence.starts_with(b"image/")
            || essence.starts_with(b"video/") =>
        {
            Some(AnswerForm::Bytes)
        }
        b"application/octet-stream" => Some(AnswerForm::Bytes),
        _ => None,
    }
}

/// Whether a text begins with a line of server-sent events.
fn is_event_line(text: &[u8]) -> bool {
    [&b":"[..], b"data:", b"event:", b"id:", b"retry:"].iter().any(|field| text.starts_with(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_tells_the_form_tells_the_same_as_all_of_it() {
        for text in [
            "data: {}\n\n",
            "\u{feff}data: 1",
            " \r\n{\"a\":1}",
            "event: x\n",
            "id:\n",
            "retry: 1",
            ": ping\n\n",
            "<html>",
            "data",
            "enough",
            "dear all",
            "[1]",
            "\u{feff}",
            "  ",
            "",
        ] {
            for label in
                [Some(&b"application/json"[..]), Some(b"text/event-stream"), Some(b"text/plain"), None]
            {
                for asked in [EVENTS, AnswerForm::Json, AnswerForm::Bytes] {
                    let form = answer_form(label, text.as_bytes(), asked);
                    for end in (0..=text.len()).filter(|end| tells_its_form(&text.as_bytes()[..*end])) {
                        let begun = answer_form(label, &text.as_bytes()[..end], asked);

                        assert_eq!(begun, form, "{text:?} {end} {label:?} {asked:?}");
                    }
                }
            }
        }
        assert!(
            tells_its_form(b"{")
                && tells_its_form(b":")
                && !tells_its_form(b"dat")
                && !tells_its_form(b"\xEF\xBB")
        );
    }

    const EVENTS: AnswerForm = AnswerForm::Events(Framing::Sse);
    const LINES: AnswerForm = AnswerForm::Events(Framing::JsonLines);
    const ARRAY: AnswerForm = AnswerForm::Events(Framing::JsonArray);
    const MESSAGES: AnswerForm = AnswerForm::Events(Framing::EventStream);

    #[test]
    fn the_first_byte_decides_and_the_content_type_breaks_ties() {
        for (content_type, first, asked, form) in [
            // What was asked for, labelled right.
            (Some("text/event-stream"), "data: {}", EVENTS, EVENTS),
            (Some("application/json"), "{\"a\":1}", AnswerForm::Json, AnswerForm::Json),
            (Some("audio/mpeg"), "ID3", AnswerForm::Bytes, AnswerForm::Bytes),
            // Labelled wrong.
            (Some("application/json"), "data: {}", EVENTS, EVENTS),
            (Some("text/plain; charset=utf-8"), ": hi", EVENTS, EVENTS),
            (Some("text/event-stream"), " \n{\"error\":1}", EVENTS, AnswerForm::Json),
            (Some("text/plain"), "[1]", AnswerForm::Json, AnswerForm::Json),
            (Some("application/json"), "<html>", AnswerForm::Json, AnswerForm::Page),
            (Some("text/event-stream"), "<html>", EVENTS, AnswerForm::Page),
            (Some("Text/HTML; charset=x"), "<!doctype", AnswerForm::Bytes, AnswerForm::Page),
            // The other of the two.
            (Some("text/event-stream"), "event: a", AnswerForm::Json, EVENTS),
            (Some("application/json"), "{", EVENTS, AnswerForm::Json),
            (None, "\u{FEFF}data:1", AnswerForm::Json, EVENTS),
            (None, "id: 7", EVENTS, EVENTS),
            // Nothing came yet, or nothing that tells.
            (Some("text/event-stream"), "", AnswerForm::Json, EVENTS),
            (Some("application/problem+json"), "", EVENTS, AnswerForm::Json),
            (None, "", EVENTS, EVENTS),
            (None, "  ", AnswerForm::Json, AnswerForm::Json),
            (Some("text/plain"), "no such thing", EVENTS, EVENTS),
            // Bytes may begin with anything.
            (Some("audio/pcm"), ": looks like a comment", AnswerForm::Bytes, AnswerForm::Bytes),
            (Some("audio/pcm"), "{", AnswerForm::Bytes, AnswerForm::Bytes),
            (Some("text/plain"), "{spoken in braces}", AnswerForm::Bytes, AnswerForm::Bytes),
            (Some("application/json"), "{\"error\":1}", AnswerForm::Bytes, AnswerForm::Json),
            (None, "{\"error\":1}", AnswerForm::Bytes, AnswerForm::Json),
            (Some("text/event-stream"), "data: {}", AnswerForm::Bytes, EVENTS),
            (Some("image/svg+xml"), "<svg", AnswerForm::Bytes, AnswerForm::Bytes),
            // Framings whose frames are JSON begin as one value does.
            (Some("application/x-ndjson"), "{\"a\":1}\n", EVENTS, AnswerForm::Events(Framing::JsonLines)),
            (Some("text/plain"), "{\"a\":1}\n", LINES, LINES),
            (Some("application/json"), "{\"error\":1}", LINES, AnswerForm::Json),
            (Some("application/json"), "[{", ARRAY, ARRAY),
            (Some("application/json"), "{\"error\":1}", ARRAY, AnswerForm::Json),
            (Some("application/json"), "[1]", AnswerForm::Json, AnswerForm::Json),
            (Some("application/vnd.amazon.eventstream"), "\0\0", EVENTS, MESSAGES),
            (None, "\0\0", MESSAGES, MESSAGES),
            (Some("application/json"), "\0\0", MESSAGES, MESSAGES),
            (Some("text/event-stream"), "\0\0", AnswerForm::Json, MESSAGES),
            (Some("audio/pcm"), "\0\0", AnswerForm::Bytes, AnswerForm::Bytes),
            (Some("text/event-stream"), "{\"a\":1}\n", LINES, LINES),
            (Some("application/json"), "{\"message\":1}", MESSAGES, AnswerForm::Json),
        ] {
            let found = answer_form(content_type.map(str::as_bytes), first.as_bytes(), asked);

            assert_eq!(found, form, "{content_type:?} {first:?} {asked:?}");
        }
    }
}
