//! Watches OpenAI chat streams that are forwarded as they are.
//!
//! While relaying, ordinary chunks are recognised by a walk over their keys; everything else is parsed.

use bytes::BytesMut;
use memchr::{memchr, memchr2};

use super::usage::WireUsage;
use super::wire::{Chunk, Message};
use crate::ir::{Error, FinishReason, Usage};
use crate::json_scan::{is_empty, members, string_length, walk};
use crate::lenient::TextOr;
use crate::sighting::{Depth, Sighting};
use crate::surrogates::mended;
use crate::{ErrorShape, Frame};

/// A probe, and what it knows of its stream so far.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    usage: Usage,
    named: bool,
    /// Something was said.
    said: bool,
}

impl crate::Probe for Probe {
    fn observe(&mut self, frame: Frame<'_>, depth: Depth) -> Sighting {
        let payload = frame.payload();
        match payload {
            b"" => return Sighting::machinery(),
            b"[DONE]" => return Sighting { done: true, ..Sighting::machinery() },
            _ => {}
        }
        if depth == Depth::Relay
            && let Some(delivered) = ordinary(payload)
        {
            self.said = true;
            return Sighting { content: true, delivered, ..Sighting::default() };
        }
        let want_text = depth == Depth::Opening { want_text: true };
        if let Some(sighting) = self.documented(payload, want_text) {
            return sighting;
        }
        let mut sighting = match Chunk::read(&mended(payload)) {
            Ok(Some(chunk)) => self.read(&chunk, want_text),
            Ok(None) => Sighting::default(),
            Err(error) => failed(error),
        };
        sighting.settle();
        sighting
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        out.extend_from_slice(&ErrorShape::OpenAi.event(error));
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(ErrorShape::OpenAi.keepalive());
    }
}

impl Probe {
    /// What an event tells that holds what OpenAI documents for one that says something, or nothing yet, or why it
    /// ends; found on one walk. `None` calls for a closer look: some field is another, or twice there, or more than a
    /// plain value of its kind.
    ///
    /// The first events of every stream are such, and its last: to read every field of them costs more than to forward
    /// the stream.
    fn documented(&mut self, payload: &[u8], want_text: bool) -> Option<Sighting> {
        let mut seen = Seen::default();
        let event = std::str::from_utf8(payload).ok()?;
        walk(event, |depth, key, at| seen.note(depth, key, &event[at..]))?;
        // With no other array in it, what is four levels deep is the delta.
        let is_lone = memchr(b'[', &seen.choices?.as_bytes()[1..]).is_none();
        if seen.is_odd || !is_lone || seen.index.is_none() {
            return None;
        }
        let (said, finish) = (plain_text(seen.content)?, plain_text(seen.finish_reason)?);
        let (id, model) = (plain_text(seen.id)?, plain_text(seen.model)?);
        let finish = FinishReason::from_openai(finish);
        if finish == Some(FinishReason::Error) || plain_text(seen.object)? == "error" {
            return None;
        }
        let mut sighting = Sighting { finished: finish.is_some(), ..Sighting::default() };
        sighting.deliver(said, want_text);
        self.said |= sighting.content;
        if finish.is_some() {
            sighting.detail().finish = finish;
        }
        if !(self.named || id.is_empty() && model.is_empty()) {
            self.named = true;
            let owned = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let detail = sighting.detail();
            (detail.id, detail.model) = (owned(id), owned(model));
        }
        sighting.settle();
        Some(sighting)
    }

    fn read(&mut self, chunk: &Chunk<'_>, want_text: bool) -> Sighting {
        let mut sighting = Sighting::default();
        read_choices(chunk, self.said, want_text, &mut sighting);
        self.said |= sighting.content;
        if let Some(usage) = chunk.usage() {
            self.usage.merge(usage);
            sighting.detail().usage = Some(self.usage);
            sighting.usage_only = chunk.choices.0.is_empty();
        }
        if !self.named && (chunk.id.full().is_some() || chunk.model.full().is_some()) {
            self.named = true;
            let detail = sighting.detail();
            detail.id = chunk.id.owned();
            detail.model = chunk.model.owned();
        }
        sighting
    }
}

/// The values of an event that OpenAI documents, as they are written.
#[derive(Default)]
struct Seen<'a> {
    id: Option<&'a str>,
    object: Option<&'a str>,
    model: Option<&'a str>,
    choices: Option<&'a str>,
    index: Option<&'a str>,
    delta: Option<&'a str>,
    finish_reason: Option<&'a str>,
    content: Option<&'a str>,
    /// Something else is in it, or not where it belongs.
    is_odd: bool,
}

impl<'a> Seen<'a> {
    /// Notes a member: those of the event are one level deep, those of its choice three, those of its delta four.
    fn note(&mut self, depth: u32, key: &[u8], value: &'a str) {
        let (place, kinds): (_, &[u8]) = match (depth, key) {
            (1, b"id") => (&mut self.id, b"\"n"),
            (1, b"object") => (&mut self.object, b"\"n"),
            (1, b"model") => (&mut self.model, b"\"n"),
            (1, b"choices") => (&mut self.choices, b"["),
            (3, b"index") => (&mut self.index, b"0"),
            (3, b"delta") => (&mut self.delta, b"{"),
            (3, b"finish_reason") => (&mut self.finish_reason, b"\"n"),
            (4, b"content") if self.delta.is_some() => (&mut self.content, b"\"n"),
            // A repeated field that nobody reads is none the worse for it.
            (1, b"created") => {
                return self.is_odd |= !value.starts_with(|first: char| first.is_ascii_digit());
            }
            (1, b"system_fingerprint" | b"service_tier" | b"obfuscation") | (4, b"role") => {
                return self.is_odd |= !value.starts_with(['"', 'n']);
            }
            (1, b"usage") | (3, b"logprobs") | (4, b"refusal") => {
                return self.is_odd |= !value.starts_with('n');
            }
            _ => return self.is_odd = true,
        };
        let is_known = place.is_none() && value.as_bytes().first().is_some_and(|first| kinds.contains(first));
        self.is_odd |= !is_known;
        *place = Some(value);
    }
}

/// The text at the beginning of a value, where nothing in it is escaped; no text where there is no value.
fn plain_text(value: Option<&str>) -> Option<&str> {
    let value = value.filter(|value| !value.starts_with('n'));
    let Some(value) = value else { return Some("") };
    let text = value.strip_prefix('"')?;
    let end = memchr2(b'"', b'\\', text.as_bytes())?;
    text.get(..end).filter(|_| text.as_bytes().get(end) == Some(&b'"'))
}

/// What a whole answer tells.
pub(crate) fn whole(body: &[u8], want_text: bool) -> Sighting {
    if !want_text && let Some(sighting) = plain(body) {
        return sighting;
    }
    let mut sighting = Sighting::default();
    match Chunk::read(&mended(body)) {
        Ok(Some(chunk)) => {
            read_choices(&chunk, false, want_text, &mut sighting);
            sighting.content |= chunk.other_content();
            sighting.done = true;
            let detail = sighting.detail();
            detail.usage = chunk.usage();
            detail.id = chunk.id.owned();
            detail.model = chunk.model.owned();
        }
        Ok(None) => {}
        Err(error) => sighting = failed(error),
    }
    sighting.settle();
    sighting
}

/// What an ordinary whole answer tells, found on one walk that also sees that it is JSON: it has text, a finish
/// reason and a usage, and no error. `None` calls for a closer look.
///
/// Reading every field costs several times as much as forwarding the answer.
fn plain(body: &[u8]) -> Option<Sighting> {
    let (mut content, mut finish, mut usage) = (None, None, None);
    let body = std::str::from_utf8(body).ok()?;
    let mut failed = !body.trim_ascii_start().starts_with('{');
    walk(body, |_, key, at| match key {
        b"content" => content = content.or(Some(at)),
        b"finish_reason" => finish = finish.or(Some(at)),
        b"usage" => usage = Some(at),
        b"error" => failed |= !is_empty(&body.as_bytes()[at..]),
        _ => {}
    })?;
    if failed {
        return None;
    }
    let delivered = string_length(&body.as_bytes()[content?..]).filter(|length| *length > 0)?;
    let finish = FinishReason::from_openai(plain_text(Some(&body[finish?..]))?)?;
    if finish == FinishReason::Error {
        return None;
    }
    let usage = WireUsage::at(&body.as_bytes()[usage?..])?;
    let mut sighting = Sighting {
        content: true,
        finished: true,
        done: true,
        delivered: u32::try_from(delivered).unwrap_or(u32::MAX),
        ..Sighting::default()
    };
    let detail = sighting.detail();
    detail.usage = Some(usage);
    detail.finish = Some(finish);
    Some(sighting)
}

fn failed(error: Error) -> Sighting {
    let mut sighting = Sighting::default();
    sighting.detail().error = Some(error);
    sighting
}

fn read_choices(chunk: &Chunk<'_>, said: bool, want_text: bool, sighting: &mut Sighting) {
    for choice in &chunk.choices.0 {
        if let Some(message) = choice.message(said) {
            read_message(message, want_text, sighting);
        }
        sighting.deliver(choice.text.text(), want_text);
        match FinishReason::from_openai(choice.finish_reason.text()) {
            // OpenRouter ends failed streams like this; the error itself may stand in the chunk before.
            Some(FinishReason::Error) => {
                sighting.detail().error = Some(super::failed_choice());
            }
            Some(reason) => {
                sighting.finished = true;
                sighting.detail().finish = Some(reason);
            }
            None => {}
        }
    }
}

fn read_message(message: &Message<'_>, want_text: bool, sighting: &mut Sighting) {
    match &message.content {
        TextOr::Text(text) => sighting.deliver(text, want_text),
        TextOr::Parts(parts) => {
            for part in parts {
                sighting.deliver(part.text.text(), want_text);
                sighting.deliver(part.refusal.text(), want_text);
                sighting.deliver(&part.thoughts(), want_text);
                sighting.content |= part.image_url.0.is_some();
            }
        }
        TextOr::Absent => {}
    }
    sighting.deliver(message.thinking(), want_text);
    sighting.deliver(message.refusal.text(), want_text);
    for function in message
        .tool_calls
        .0
        .iter()
        .filter_map(|call| call.function.0.as_ref())
        .chain(&message.function_call.0)
    {
        sighting.content |= function.name.full().is_some();
        sighting.deliver(&function.arguments(), want_text);
    }
    sighting.content |= !message.tool_calls.0.is_empty() || !message.images.0.is_empty();
    if let Some(audio) = &message.audio.0 {
        sighting.deliver(audio.transcript.text(), want_text);
        sighting.content |= audio.data.full().is_some();
    }
}

/// The length of the content of a chunk that holds nothing else worth knowing; `None` calls for a closer look.
fn ordinary(payload: &[u8]) -> Option<u32> {
    let (mut said, mut thought) = (0, 0);
    for (key, value) in members(payload) {
        match key {
            b"content" | b"arguments" => said += string_length(value).unwrap_or_default(),
            // Some providers give the same thought under both names.
            b"reasoning_content" | b"reasoning" => {
                thought = thought.max(string_length(value).unwrap_or_default());
            }
            b"usage" | b"finish_reason" | b"error" if !is_empty(value) => return None,
            _ => {}
        }
    }
    let length = said + thought;
    (length > 0).then(|| u32::try_from(length).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Probe as _;

    /// What one event tells, found on a walk, and by the parser.
    fn both(payload: &str, want_text: bool) -> (Option<Sighting>, Sighting) {
        let walked = Probe::default().documented(payload.as_bytes(), want_text);
        let chunk = Chunk::read(payload.as_bytes()).unwrap().unwrap_or_default();
        let mut parsed = Probe::default().read(&chunk, want_text);
        parsed.settle();
        (walked, parsed)
    }

    #[test]
    fn a_walk_finds_in_a_documented_event_what_the_parser_finds_or_leaves_it_to_it() {
        let ids =
            [r#""id":"c1","model":"m","#, r#""id":"","model":null,"#, "", r#""id":7,"#, r#""id":"a\n","#];
        let objects =
            [r#""object":"chat.completion.chunk","created":1,"#, r#""service_tier":null,"#, r#""x":1,"#];
        let deltas = [
            r#"{"role":"assistant","content":"","refusal":null}"#,
            r#"{"content":"some text é"}"#,
            r#"{"content":"text"}"#,
            r#"{"content":null}"#,
            r#"{"content":["a"]}"#,
            r#"{"content":"a","content":"b"}"#,
            r#"{"content":"a","reasoning":"b"}"#,
            r#"{"refusal":"no"}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}"#,
            "{}",
            "null",
        ];
        let ends = [
            r#","finish_reason":null}]"#,
            r#","finish_reason":"stop"}]"#,
            r#","finish_reason":"strange","logprobs":null}]"#,
            r#"}],"usage":null"#,
            r#"}],"usage":{"prompt_tokens":3}"#,
            r#"},{"index":0,"delta":{"content":"of another"}}]"#,
            r#"},[{"content":"of nobody"}]]"#,
        ];
        let mut found = 0;
        for (id, object) in ids.iter().flat_map(|id| objects.iter().map(move |object| (id, object))) {
            for (delta, end) in deltas.iter().flat_map(|delta| ends.iter().map(move |end| (delta, end))) {
                let payload = format!(r#"{{{id}{object}"choices":[{{"index":0,"delta":{delta}{end}}}"#);
                for want_text in [true, false] {
                    let (walked, parsed) = both(&payload, want_text);
                    if let Some(walked) = walked {
                        assert_eq!(walked, parsed, "{payload}");
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 100, "{found}");
    }

    #[test]
    fn what_no_walk_can_tell_is_left_to_the_parser() {
        for payload in [
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"error"}]}"#,
            r#"{"object":"error","choices":[{"index":0,"delta":{}}]}"#,
            r#"{"error":{"message":"m"},"choices":[{"index":0,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#,
            r#"{"choices":[[{"content":"a"}]]}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}}]"#,
            r#"[]"#,
        ] {
            assert_eq!(Probe::default().documented(payload.as_bytes(), false), None, "{payload}");
        }
    }

    #[test]
    fn the_first_events_of_a_stream_name_the_answer_once() {
        let mut probe = Probe::default();
        let event =
            r#"{"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
        let depth = Depth::Opening { want_text: false };
        let mut observe = || {
            let text = format!("data: {event}\n\n");
            crate::frames(text.as_bytes()).map(|frame| probe.observe(frame, depth)).next().unwrap()
        };

        let (first, second) = (observe(), observe());

        assert_eq!(first.detail.and_then(|detail| detail.id).as_deref(), Some("c1"));
        assert_eq!((second.content, second.detail), (true, None));
    }
}
