//! Watches responses that are forwarded as they are.
//!
//! While relaying, ordinary pieces are recognised by a walk over their keys; everything else is parsed.

use std::mem;

use bytes::BytesMut;

use super::encode;
use super::wire::{Answer, Envelope, Item, error_of};
use super::words::failure;
use crate::ir::{Error, FinishReason};
use crate::json_scan::{members, string_length};
use crate::sighting::{Depth, Sighting};
use crate::surrogates::mended;
use crate::{ErrorShape, Frame};

/// A probe, and what it knows of its stream so far.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    begun: encode::Begun,
    /// Its name was told.
    named: bool,
    /// Something was said.
    said: bool,
    /// Calls of the provider's own tools.
    server_calls: u64,
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
            && let Some((delivered, number)) = ordinary(payload)
        {
            self.said = true;
            self.begun.number(number);
            return Sighting { content: true, delivered, ..Sighting::default() };
        }
        let want_text = depth == Depth::Opening { want_text: true };
        let mut sighting = self.read(&mended(payload), frame.event, want_text);
        self.said |= sighting.content;
        sighting.settle();
        sighting
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        mem::take(&mut self.begun).fail(error, out);
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(ErrorShape::Responses.keepalive());
    }
}

impl Probe {
    fn read(&mut self, payload: &[u8], event: &[u8], want_text: bool) -> Sighting {
        let mut sighting = Sighting::default();
        let Some(told) = Envelope::read(payload) else { return sighting };
        // Some relays leave the name to the line before.
        let name = told.kind.full().or_else(|| std::str::from_utf8(event).ok()).unwrap_or_default();
        self.begun.number(told.sequence_number.map(|number| number.0));
        match name {
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(answer) = told.response.and_then(|json| Answer::read(json.get())) {
                    self.begin(&answer, &mut sighting);
                }
            }
            "response.completed" | "response.incomplete" | "response.done" => {
                let json = told.response.map(|json| json.get()).unwrap_or_default();
                if let Some(answer) = Answer::read(json) {
                    self.begin(&answer, &mut sighting);
                    end(&answer, self.server_calls, !self.said, want_text, &mut sighting);
                }
                sighting.finished = true;
                sighting.done = true;
            }
            "response.failed" | "response.cancelled" => {
                let json = told.response.map(|json| json.get()).unwrap_or_default();
                sighting.detail().error = Some(failure(json.as_bytes()));
            }
            "error" => sighting.detail().error = Some(failure(payload)),
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(item) = told.item.and_then(Item::read) {
                    let kind = item.kind.text();
                    sighting.content = is_call_of_client(kind) || item.result.full().is_some();
                    let is_server = kind.ends_with("_call") && !is_call_of_client(kind);
                    if name.ends_with(".done") {
                        self.server_calls += u64::from(is_server);
                        sighting.detail().items.extend(item.id.owned());
                    }
                }
            }
            "response.audio.delta" => sighting.content = !told.delta.text().is_empty(),
            _ if name.ends_with(".delta") => sighting.deliver(told.delta.text(), want_text),
            "" => sighting.detail().error = error_of(payload),
            _ => {}
        }
        sighting
    }

    fn begin(&mut self, answer: &Answer<'_>, sighting: &mut Sighting) {
        if !mem::replace(&mut self.named, true) {
            let detail = sighting.detail();
            detail.id = answer.id.owned();
            detail.model = answer.model.owned();
            self.begun.answer(answer.id.text(), answer.model.text(), answer.created_at.0);
        }
    }
}

/// What a whole answer tells.
pub(crate) fn whole(body: &[u8], want_text: bool) -> Sighting {
    let body = mended(body);
    let mut sighting = Sighting::default();
    let answer = std::str::from_utf8(&body).ok().and_then(Answer::read);
    match answer {
        Some(answer) => {
            let detail = sighting.detail();
            detail.id = answer.id.owned();
            detail.model = answer.model.owned();
            match answer.status.text() {
                "failed" => sighting.detail().error = Some(failure(&body)),
                // It is under way elsewhere, or was; that is what was asked for.
                "queued" | "in_progress" | "cancelled" => {
                    sighting.content = true;
                    sighting.done = true;
                    sighting.finished = true;
                }
                "" if error_of(&body).is_some() => sighting.detail().error = error_of(&body),
                _ => {
                    end(&answer, 0, true, want_text, &mut sighting);
                    sighting.finished = true;
                    sighting.done = true;
                }
            }
        }
        // What is told of a kept response is an object of another kind.
        None => match error_of(&body) {
            Some(error) => sighting.detail().error = Some(error),
            None => sighting.done = is_object(&body),
        },
    }
    sighting.settle();
    sighting
}

/// Whether it is an object that says of what kind it is.
fn is_object(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        object: crate::lenient::Str<'a>,
    }
    // What is skipped must be text too.
    let text = std::str::from_utf8(body).unwrap_or_default();
    serde_json::from_str::<Object<'_>>(text).is_ok_and(|one| one.object.full().is_some())
}

/// What the end of a response tells: its counts, its reason, and, where nothing came before, its words.
fn end(answer: &Answer<'_>, calls: u64, all: bool, want_text: bool, sighting: &mut Sighting) {
    let mut server_calls = 0;
    let mut called = false;
    for item in answer.items().into_iter().filter_map(Item::read) {
        let kind = item.kind.text();
        let is_call = is_call_of_client(kind);
        called |= is_call;
        server_calls += u64::from(kind.ends_with("_call") && !is_call);
        if !all {
            continue;
        }
        sighting.detail().items.extend(item.id.owned());
        sighting.content |= is_call || item.result.full().is_some();
        sighting.deliver(&item.arguments(), want_text);
        sighting.deliver(item.input.text(), want_text);
        sighting.deliver(&item.thoughts(), want_text);
        if kind == "message" {
            for part in &*item.parts() {
                sighting.deliver(part.text.text(), want_text);
                sighting.deliver(part.refusal.text(), want_text);
                sighting.content |= part.data.full().is_some();
            }
        }
    }
    let finish = match (answer.status.text(), called) {
        ("incomplete", _) => {
            let reason = answer.incomplete_details.0.as_ref().map(|details| details.reason.text());
            FinishReason::from_incomplete(reason.unwrap_or_default())
        }
        (_, true) => FinishReason::ToolCalls,
        (_, false) => FinishReason::Stop,
    };
    let detail = sighting.detail();
    detail.finish = Some(finish);
    detail.usage = answer.usage(calls.max(server_calls));
}

/// Whether an item is a call of one of the client's tools: the provider's own are no answer yet.
fn is_call_of_client(kind: &str) -> bool {
    matches!(
        kind,
        "function_call"
            | "custom_tool_call"
            | "local_shell_call"
            | "shell_call"
            | "apply_patch_call"
            | "computer_call"
    )
}

/// The length and the number of an event that adds to words or arguments; none calls for a closer look.
fn ordinary(payload: &[u8]) -> Option<(u32, Option<u64>)> {
    let (mut is_delta, mut length, mut number) = (false, None, None);
    for (key, value) in members(payload) {
        match key {
            b"type" if !is_delta => {
                let name = value.get(1..=string_length(value)?)?;
                is_delta = name.starts_with(b"response.") && name.ends_with(b".delta");
                if !is_delta {
                    return None;
                }
            }
            b"delta" => length = length.or(string_length(value)),
            b"sequence_number" => {
                let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
                number = digits.fold(None, |number: Option<u64>, digit| {
                    number.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit - b'0'))
                });
            }
            _ => {}
        }
    }
    let length = length.filter(|length| is_delta && *length > 0)?;
    Some((u32::try_from(length).unwrap_or(u32::MAX), number))
}
