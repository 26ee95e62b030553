//! Reads the streamed answers of Workers AI.
//!
//! Source: <https://developers.cloudflare.com/workers-ai/features/streaming/>, and recordings.

use super::wire::{Answer, ToolCall};
use super::{error, openai};
use crate::ir::{Error, Event, FinishReason, Usage};
use crate::lenient::Obj;
use crate::names;
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Frame, Malformed};

/// A decoder of events; whole answers of the older form are read as an event of their own.
pub(super) struct Decoder {
    correspondence: Correspondence,
    /// The decoder of a model that answers in OpenAI's format.
    newer: Option<Box<dyn DecodeEvents>>,
    started: bool,
    thinks: bool,
    speaks: bool,
    calls: Vec<Call>,
    usage: Usage,
    ended: bool,
}

/// A call of a tool. Its place in the list is its dense index.
#[derive(Debug, Default)]
struct Call {
    /// The upstream's index.
    index: Option<u64>,
    any: bool,
    ended: bool,
}

impl Decoder {
    pub(super) fn new(correspondence: Correspondence) -> Self {
        Self {
            correspondence,
            newer: None,
            started: false,
            thinks: false,
            speaks: false,
            calls: Vec::new(),
            usage: Usage::default(),
            ended: false,
        }
    }

    /// Reads what an answer of the older form, or an event of one, says.
    pub(super) fn read(&mut self, answer: &Answer<'_>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            out.push(Event::Start { id: None, model: None, created: None });
        }
        if let Some(thought) = answer.reasoning_content.owned() {
            self.thinks = true;
            out.push(Event::Thinking(thought));
        }
        let text = answer.text();
        if !text.is_empty() {
            if std::mem::take(&mut self.thinks) {
                out.push(Event::BlockEnd);
            }
            self.speaks = true;
            out.push(Event::Text(text.into_owned()));
        }
        for call in &answer.tool_calls.0 {
            self.call(call, out);
        }
        if let Some(usage) = &answer.usage.0 {
            let usage = usage.normal();
            if !usage.is_empty() {
                self.usage.merge(usage);
                out.push(Event::Usage(usage));
            }
        }
    }

    /// A call in the older form is whole. One that is written as OpenAI does may be a fragment.
    fn call(&mut self, call: &ToolCall<'_>, out: &mut Vec<Event>) {
        let (name, arguments) = (call.name(), call.arguments());
        let is_whole = call.function.0.is_none();
        let index = call.index.map(|index| index.0);
        let known = match index {
            Some(_) => self.calls.iter().rposition(|known| known.index == index && !known.ended),
            None if name.is_empty() => self.calls.iter().rposition(|known| !known.ended),
            None => None,
        };
        let place = match known {
            Some(place) => place,
            None if name.is_empty() => return,
            None => {
                self.close(out);
                let place = self.calls.len();
                let id = call.id.owned();
                let id = id.unwrap_or_else(|| names::call_id(&format!("{name}{arguments}"), place));
                self.calls.push(Call { index, ..Call::default() });
                let name = self.correspondence.tool(name).to_owned();
                out.push(Event::ToolStart { index: place, id, name, seal: None });
                place
            }
        };
        let says_none = arguments.is_empty() || arguments == "null" && !self.calls[place].any;
        if !says_none {
            self.calls[place].any = true;
            out.push(Event::ToolArgs { index: place, fragment: arguments.into_owned() });
        }
        if is_whole {
            self.end_call(place, out);
        }
    }

    fn end_call(&mut self, place: usize, out: &mut Vec<Event>) {
        let call = &mut self.calls[place];
        if std::mem::replace(&mut call.ended, true) {
            return;
        }
        if !call.any {
            out.push(Event::ToolArgs { index: place, fragment: "{}".to_owned() });
        }
        out.push(Event::ToolEnd { index: place });
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if std::mem::take(&mut self.speaks) | std::mem::take(&mut self.thinks) {
            out.push(Event::BlockEnd);
        }
    }

    /// Ends the answer after its terminal marker. Why it ended is not told: that it reached its limit is seen by what
    /// it took.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.close(out);
        (0..self.calls.len()).for_each(|place| self.end_call(place, out));
        let is_cut = self.correspondence.limit.is_some_and(|limit| self.usage.output_total >= limit);
        let reason = match () {
            () if !self.calls.is_empty() => FinishReason::ToolCalls,
            () if is_cut => FinishReason::Length,
            () => FinishReason::Stop,
        };
        out.push(Event::Finish { reason, raw: None, stop_sequence: None });
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Event::Error(error));
        }
    }
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        if self.ended {
            return Ok(());
        }
        if let Some(newer) = &mut self.newer {
            return newer.decode(frame, out);
        }
        let payload = frame.payload();
        match payload {
            b"" => out.push(Event::KeepAlive),
            b"[DONE]" => self.end(out),
            _ => {
                let mended = mended(payload);
                match serde_json::from_slice::<Obj<Answer<'_>>>(&mended) {
                    Ok(Obj(Some(answer))) if answer.choices.is_some() && !self.started => {
                        let mut newer = openai().events(&self.correspondence);
                        newer.decode(frame.clone(), out)?;
                        self.newer = Some(newer);
                    }
                    Ok(Obj(Some(answer))) if answer.is_older() || answer.usage.0.is_some() => {
                        self.read(&answer, out);
                    }
                    Ok(Obj(Some(_))) => match told_error(&mended) {
                        Some(error) => self.fail(error, out),
                        // Padding, and fields to come.
                        None => out.push(Event::KeepAlive),
                    },
                    _ => return Err(Malformed::new("upstream sent an event that is no answer")),
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended || self.newer.as_ref().is_some_and(|newer| newer.is_over())
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        match &mut self.newer {
            Some(newer) => newer.finish(out),
            None => self.fail(Error::truncated(), out),
        }
    }
}

/// The error that stands where an answer should.
pub(super) fn told_error(body: &[u8]) -> Option<Error> {
    let told = crate::error_body::in_band(&serde_json::from_slice(body).ok()?)?;
    // Its codes are judged by its status, which they alone tell here.
    let status = match told.code.as_deref() {
        Some("3036" | "3040") => http::StatusCode::TOO_MANY_REQUESTS,
        Some("5007" | "3042" | "7003") => http::StatusCode::NOT_FOUND,
        Some("10000" | "9109") => http::StatusCode::UNAUTHORIZED,
        Some("3006") => http::StatusCode::PAYLOAD_TOO_LARGE,
        Some("3003" | "5004" | "5006" | "5023" | "5024" | "5025") => http::StatusCode::BAD_REQUEST,
        _ => told.status,
    };
    Some(error(status, body))
}
