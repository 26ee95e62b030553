//! Reads the streamed answers of this dialect; whole ones are read item by item with the same functions.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde_json::value::RawValue;

use super::model;
use super::told::{Kind, Told, rest};
use super::wire::{Answer, Envelope, Item, arguments, error_of};
use super::words::failure;
use crate::ir::{Error, Event, FinishReason, Maker};
use crate::lenient::Str;
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Frame, Malformed, media};

/// A decoder of events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pub(super) correspondence: Correspondence,
    started: bool,
    ended: bool,
    /// Prefix of identities that the upstream left out.
    pub(super) seed: String,
    /// Who can read the seals of the answer, by its model's name.
    maker: Option<Maker>,
    /// The items, in the order in which they came.
    pub(super) items: Vec<Told>,
    /// Calls of the client's tools.
    pub(super) calls: usize,
    /// Calls of the provider's own.
    pub(super) server_calls: u64,
    /// Blocks of text that are complete, and whether one is under way.
    pub(super) texts: u32,
    pub(super) in_text: bool,
    sound: media::Pieces,
}

impl Decoder {
    pub(crate) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    fn event(&mut self, name: &str, mut event: Envelope<'_>, payload: &[u8], out: &mut Vec<Event>) {
        match name {
            "response.output_text.delta" | "response.refusal.delta" => {
                let Some(at) = self.speaking(&event, out) else { return };
                self.say(at, owned(&mut event.delta), name == "response.refusal.delta", out);
                self.weigh(at, event.logprobs, out);
            }
            "response.output_text.done" | "response.refusal.done" => {
                let Some(at) = self.speaking(&event, out) else { return };
                let refuses = name == "response.refusal.done";
                let whole = if refuses { event.refusal.text() } else { event.text.text() };
                let left = rest(whole, self.items[at].in_part).to_owned();
                self.say(at, left, refuses, out);
                if !self.items[at].likely {
                    self.weigh(at, event.logprobs, out);
                }
            }
            "response.content_part.done" => {
                let Some(part) = event.part.0.take().filter(|part| part.kind.text() != "reasoning_text")
                else {
                    return;
                };
                let Some(at) = self.speaking(&event, out) else { return };
                self.part(at, &part, out);
                self.end_part(at, out);
            }
            "response.output_text.annotation.added" => {
                let Some(at) = self.speaking(&event, out) else { return };
                // Before its words it would point to nothing; it comes again behind them.
                if self.items[at].in_part > 0 {
                    self.cite(at, event.annotation, out);
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                let Some(at) = self.thinking(name, &event) else { return };
                self.think(at, owned(&mut event.delta), out);
            }
            "response.reasoning_summary_text.done" | "response.reasoning_text.done" => {
                let Some(at) = self.thinking(name, &event) else { return };
                let left = rest(event.text.text(), self.items[at].in_part).to_owned();
                self.think(at, left, out);
            }
            "response.function_call_arguments.delta" => {
                let Some(at) = self.find(&event) else { return };
                self.give(at, event.delta.text(), out);
            }
            "response.function_call_arguments.done" => {
                let Some(at) = self.find(&event) else { return };
                let left = arguments(event.arguments);
                self.give(at, rest(&left, self.items[at].bytes), out);
            }
            "response.output_item.added" => {
                let Some(item) = event.item.and_then(Item::read) else { return };
                self.held(&event, &item, out);
            }
            "response.output_item.done" => {
                let Some((item, json)) = event.item.and_then(|json| Item::read(json).zip(Some(json))) else {
                    return;
                };
                if let Some(at) = self.held(&event, &item, out) {
                    self.complete(at, item, json, out);
                }
            }
            "response.audio.delta" => {
                let data = self.sound.push(event.delta.text().as_bytes());
                self.hear(data, String::new(), out);
            }
            "response.audio.transcript.delta" => self.hear(Vec::new(), owned(&mut event.delta), out),
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(answer) = event.response.and_then(|json| Answer::read(json.get())) {
                    self.start(&answer, out);
                }
            }
            "response.completed" | "response.incomplete" | "response.done" => {
                let Some(json) = event.response.map(RawValue::get) else { return self.close(None, out) };
                match Answer::read(json) {
                    Some(answer) => self.whole(&answer, json, out),
                    None => self.close(None, out),
                }
            }
            "response.failed" | "response.cancelled" => {
                let json = event.response.map(RawValue::get).unwrap_or_default();
                self.fail(failure(json.as_bytes()), out);
            }
            "error" => self.fail(failure(payload), out),
            "keepalive" | "ping" => out.push(Event::KeepAlive),
            // The beginnings of parts, the steps of tools that run at the provider, and kinds to come.
            _ => {}
        }
    }

    /// Who can read the seals of this answer; none where nobody can.
    pub(super) fn maker(&self) -> Option<Maker> {
        if self.started { self.maker } else { model::maker("") }
    }

    fn start(&mut self, answer: &Answer<'_>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        answer.id.text().clone_into(&mut self.seed);
        self.maker = model::maker(answer.model.text());
        let created = Some(answer.created_at.0).filter(|created| *created > 0);
        out.push(Event::Start { id: answer.id.owned(), model: answer.model.owned(), created });
    }

    /// Reads a response that is over, and tells what of it was not told: all of it, where nothing came before.
    pub(crate) fn whole(&mut self, answer: &Answer<'_>, json: &str, out: &mut Vec<Event>) {
        self.start(answer, out);
        let finish = match answer.status.text() {
            "completed" => None,
            "" => match error_of(json.as_bytes()) {
                Some(error) => return self.fail(error, out),
                None => None,
            },
            "incomplete" => {
                let reason = answer.incomplete_details.0.as_ref().map(|details| details.reason.text());
                let reason = reason.unwrap_or_default();
                Some((FinishReason::from_incomplete(reason), reason.to_owned()))
            }
            "in_progress" | "queued" => return self.fail(Error::truncated(), out),
            _ => return self.fail(failure(json.as_bytes()), out),
        };
        // Neither places nor names can be trusted here: the first item of a kind is the first that was told.
        let (before, mut next) = (self.items.len(), [0; Kind::COUNT]);
        for json in answer.items() {
            let Some(item) = Item::read(json) else { continue };
            let kind = Kind::of(&item).place();
            let told = (next[kind]..before).find(|at| self.items[*at].kind.place() == kind);
            next[kind] = told.map_or(before, |at| at + 1);
            if let Some(at) = told.or_else(|| self.begin(None, &item, out)) {
                self.complete(at, item, json, out);
            }
        }
        self.end_items(out);
        if let Some(usage) = answer.usage(self.server_calls) {
            out.push(Event::Usage(usage));
        }
        self.close(finish, out);
    }

    /// Ends the answer after its terminal event.
    fn close(&mut self, finish: Option<(FinishReason, String)>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.end_items(out);
        let data = self.sound.finish();
        if !data.is_empty() {
            self.hear(data, String::new(), out);
        }
        let (reason, raw) = match finish {
            Some((reason, raw)) => (reason, Some(raw).filter(|raw| !raw.is_empty())),
            None if self.calls > 0 => (FinishReason::ToolCalls, None),
            None => (FinishReason::Stop, None),
        };
        out.push(Event::Finish { reason, raw, stop_sequence: None });
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Event::Error(error));
        }
    }

    fn end_items(&mut self, out: &mut Vec<Event>) {
        for at in 0..self.items.len() {
            self.end_item(at, out);
        }
    }
}

fn owned(text: &mut Str<'_>) -> String {
    text.0.take().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ended {
            return Ok(());
        }
        match payload {
            b"" => out.push(Event::KeepAlive),
            // Some relays close streams with OpenAI's older marker.
            b"[DONE]" => self.marked(out),
            _ => {
                let text = mended(payload);
                let malformed = || Malformed::new("upstream sent an event that is no response event");
                let mut event = Envelope::read(&text).ok_or_else(malformed)?;
                let kind = std::mem::take(&mut event.kind);
                // Some relays leave the name to the line before.
                match kind.full().or_else(|| std::str::from_utf8(frame.event).ok()) {
                    None | Some("") => self.fail(error_of(&text).ok_or_else(malformed)?, out),
                    Some(name) => self.event(name, event, &text, out),
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.fail(Error::truncated(), out);
    }
}

impl Decoder {
    /// Ends the answer after a marker that tells no reason: what was begun must be complete, and be something.
    fn marked(&mut self, out: &mut Vec<Event>) {
        let told = |item: &&Told| matches!(item.kind, Kind::Message | Kind::Call { .. });
        let is_whole = self.items.iter().all(|item| item.closed) && self.items.iter().any(|item| told(&item));
        match is_whole {
            true => self.close(None, out),
            false => self.fail(Error::truncated(), out),
        }
    }
}
