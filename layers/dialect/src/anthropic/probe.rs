//! Watches Anthropic streams that are forwarded as they are.

use bytes::BytesMut;

use super::wire::{Block, Envelope, Message, Tally};
use crate::ir::{Error, FinishReason};
use crate::json_scan::{members, string_length};
use crate::sighting::{Depth, Sighting};
use crate::surrogates::mended;
use crate::{ErrorShape, Frame};

/// A probe, and what it knows of its stream so far.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    tally: Tally,
}

impl crate::Probe for Probe {
    fn observe(&mut self, frame: Frame<'_>, depth: Depth) -> Sighting {
        let payload = frame.payload();
        if payload.is_empty() {
            return Sighting::machinery();
        }
        // Relays that drop the event's name are read like rare events.
        if depth == Depth::Relay
            && frame.event == b"content_block_delta"
            && let Some(delivered) = ordinary(payload)
        {
            return Sighting { content: true, delivered, ..Sighting::default() };
        }
        let want_text = depth == Depth::Opening { want_text: true };
        let mut sighting = Sighting::default();
        match Envelope::read(&mended(payload)) {
            Ok(Some(event)) => self.read(&event, want_text, &mut sighting),
            Ok(None) => {}
            Err(error) => sighting.detail().error = Some(error),
        }
        sighting.settle();
        sighting
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        out.extend_from_slice(&ErrorShape::Anthropic.event(error));
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(ErrorShape::Anthropic.keepalive());
    }
}

/// The length of what a delta adds.
fn ordinary(payload: &[u8]) -> Option<u32> {
    let (_, value) =
        members(payload).find(|(key, _)| matches!(*key, b"text" | b"partial_json" | b"thinking"))?;
    let length = string_length(value).filter(|length| *length > 0)?;
    Some(u32::try_from(length).unwrap_or(u32::MAX))
}

impl Probe {
    fn read(&mut self, event: &Envelope<'_>, want_text: bool, sighting: &mut Sighting) {
        match event.kind.text() {
            "message_start" => {
                let Some(message) = &event.message.0 else { return };
                if let Some(usage) = &message.usage.0 {
                    self.tally.add(usage);
                }
                let detail = sighting.detail();
                detail.usage = Some(self.tally.normal());
                detail.id = message.id.owned();
                detail.model = message.model.owned();
            }
            "content_block_start" => {
                if let Some(block) = &event.content_block.0 {
                    read_block(block, want_text, sighting);
                }
            }
            "content_block_delta" => {
                let Some(delta) = &event.delta.0 else { return };
                for text in [&delta.text, &delta.thinking, &delta.partial_json] {
                    sighting.deliver(text.text(), want_text);
                }
            }
            "message_delta" => {
                if let Some(usage) = &event.usage.0 {
                    self.tally.add(usage);
                    sighting.detail().usage = Some(self.tally.normal());
                }
                if let Some(reason) = event.delta.0.as_ref().and_then(|delta| delta.stop_reason.full()) {
                    sighting.finished = true;
                    sighting.detail().finish = Some(FinishReason::from_anthropic(reason));
                }
            }
            "message_stop" => sighting.done = true,
            _ => {}
        }
    }
}

/// What a whole answer tells.
pub(crate) fn whole(body: &[u8], want_text: bool) -> Sighting {
    let mut sighting = Sighting::default();
    match Message::read(&mended(body)) {
        Ok(Some(message)) => {
            for block in &message.content.0 {
                read_block(block, want_text, &mut sighting);
            }
            sighting.done = true;
            // Counting tokens is an operation of its own, and its number is the answer.
            sighting.content |= message.input_tokens.is_some();
            let detail = sighting.detail();
            detail.usage = message.usage.0.as_ref().map(|usage| {
                let mut tally = Tally::default();
                tally.add(usage);
                tally.normal()
            });
            detail.id = message.id.owned();
            detail.model = message.model.owned();
            detail.finish = message.stop_reason.full().map(FinishReason::from_anthropic);
            sighting.finished = detail.finish.is_some();
        }
        Ok(None) => {}
        Err(error) => sighting.detail().error = Some(error),
    }
    sighting.settle();
    sighting
}

fn read_block(block: &Block<'_>, want_text: bool, sighting: &mut Sighting) {
    match block.kind.text() {
        "text" => sighting.deliver(block.text.text(), want_text),
        "thinking" => sighting.deliver(block.thinking.text(), want_text),
        "" => {}
        // Calls, sealed reasoning, server tools and their results, and kinds to come.
        _ => {
            sighting.content = true;
            sighting.deliver(block.arguments(), want_text);
        }
    }
}
