//! Watches OpenAI chat streams that are forwarded as they are.
//!
//! While relaying, ordinary chunks are recognised by a walk over their keys; everything else is parsed.

use bytes::BytesMut;

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
    let mut failed = !body.trim_ascii_start().starts_with(b"{");
    walk(body, |_, key, value| match key {
        b"content" => content = content.or(Some(value)),
        b"finish_reason" => finish = finish.or(Some(value)),
        b"usage" => usage = Some(value),
        b"error" => failed |= !is_empty(value),
        _ => {}
    })?;
    if failed {
        return None;
    }
    let delivered = string_length(content?).filter(|length| *length > 0)?;
    let finish = finish?.strip_prefix(b"\"")?;
    let finish = &finish[..finish.iter().position(|&byte| byte == b'"')?];
    let finish = FinishReason::from_openai(std::str::from_utf8(finish).ok()?)?;
    if finish == FinishReason::Error {
        return None;
    }
    let usage = usage?;
    let usage = WireUsage::at(usage)?;
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
