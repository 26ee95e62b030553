//! Reads the streamed answers of Cohere, version 2.
//!
//! Source: <https://docs.cohere.com/docs/streaming>.

use super::ending::Ending;
use super::told_error;
use super::wire::{Content, Event as WireEvent, ToolCall, WireCitation, WireLogprob};
use crate::ir::{self, Error, Event};
use crate::lenient::Obj;
use crate::names;
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Frame, Malformed};

/// A decoder of events; whole answers are read block by block with the same functions.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    correspondence: Correspondence,
    seed: String,
    /// The block under way.
    open: Option<Open>,
    /// Blocks of text that were begun: the upstream's index of each.
    texts: Vec<u64>,
    calls: Vec<Call>,
    pub(super) ending: Ending,
}

/// A block under way.
#[derive(Debug)]
enum Open {
    /// Text, with the sources that are told before it is complete.
    Text(Vec<ir::Citation>),
    /// Reasoning, or the plan before calls.
    Thinking,
}

/// A call of a tool. Its place in the list is its dense index.
#[derive(Debug, Default)]
struct Call {
    /// The upstream's index.
    index: u64,
    arguments: Arguments,
    ended: bool,
}

/// Arguments that come in fragments, and may be the word `null`, which stands for none.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// What may still become that word.
    held: String,
    any: bool,
}

impl Arguments {
    /// What is to be told of a further fragment.
    pub(super) fn push(&mut self, fragment: &str) -> Option<String> {
        if fragment.is_empty() {
            return None;
        }
        if self.any {
            return Some(fragment.to_owned());
        }
        self.held.push_str(fragment);
        if "null".starts_with(self.held.trim()) {
            return None;
        }
        self.any = true;
        Some(std::mem::take(&mut self.held))
    }

    /// What is to be told at the end.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!std::mem::replace(&mut self.any, true)).then(|| "{}".to_owned())
    }
}

impl Decoder {
    pub(super) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    fn event(&mut self, event: &WireEvent<'_>, out: &mut Vec<Event>) {
        let message = event.delta.0.as_ref().and_then(|delta| delta.message.0.as_ref());
        match event.kind.text() {
            "message-start" => self.start(event.id.owned(), out),
            "content-start" => {
                if let Some(content) = message.and_then(|message| message.content.as_slice().first()) {
                    self.begin(event.index.0, content, out);
                }
            }
            "content-delta" => {
                if let Some(content) = message.and_then(|message| message.content.as_slice().first()) {
                    self.content(event.index.0, content, out);
                }
                self.logprobs(event.logprobs.as_slice(), out);
            }
            "tool-plan-delta" => {
                if let Some(message) = message {
                    self.think(message.tool_plan.text(), out);
                }
            }
            "tool-call-start" => {
                if let Some(call) = message.and_then(|message| message.tool_calls.as_slice().first()) {
                    self.call(event.index.0, call, out);
                }
            }
            "tool-call-delta" => {
                let call = message.and_then(|message| message.tool_calls.as_slice().first());
                if let Some(function) = call.and_then(|call| call.function.0.as_ref()) {
                    self.arguments(event.index.0, function.arguments.text(), out);
                }
            }
            "tool-call-end" => self.end_call(event.index.0, out),
            "citation-start" => {
                if let Some(message) = message {
                    message.citations.as_slice().iter().for_each(|citation| self.cite(citation, out));
                }
            }
            "message-end" => {
                let Some(delta) = &event.delta.0 else { return self.end(out) };
                if let Some(usage) = &delta.usage.0 {
                    out.push(Event::Usage(usage.normal()));
                }
                self.ending.stop(delta.finish_reason.text(), delta.error.full(), out);
                self.end(out);
            }
            // `content-end` comes before late citations, `citation-end` and `debug` tell nothing; kinds to come.
            _ => out.push(Event::KeepAlive),
        }
    }

    pub(super) fn start(&mut self, id: Option<String>, out: &mut Vec<Event>) {
        self.seed = id.clone().unwrap_or_default();
        out.push(Event::Start { id, model: None, created: None });
    }

    /// Begins a block.
    pub(super) fn begin(&mut self, index: u64, content: &Content<'_>, out: &mut Vec<Event>) {
        self.close(out);
        self.open_block(index, content.is_thinking());
        self.content(index, content, out);
    }

    fn open_block(&mut self, index: u64, is_thinking: bool) {
        self.open = Some(match is_thinking {
            true => Open::Thinking,
            false => {
                self.texts.push(index);
                Open::Text(Vec::new())
            }
        });
    }

    /// More of a block.
    fn content(&mut self, index: u64, content: &Content<'_>, out: &mut Vec<Event>) {
        self.think(content.thinking.text(), out);
        if let Some(text) = content.text.owned() {
            if !matches!(self.open, Some(Open::Text(_))) {
                self.close(out);
                self.open_block(index, false);
            }
            out.push(Event::Text(text));
        }
    }

    /// More reasoning.
    pub(super) fn think(&mut self, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Thinking)) {
            self.close(out);
            self.open = Some(Open::Thinking);
        }
        out.push(Event::Thinking(text.to_owned()));
    }

    pub(super) fn logprobs(&self, logprobs: &[WireLogprob<'_>], out: &mut Vec<Event>) {
        if !logprobs.is_empty() {
            out.push(Event::Logprobs(logprobs.iter().filter_map(WireLogprob::normal).collect()));
        }
    }

    /// The sources of a part of the text, told when its block is complete.
    pub(super) fn cite(&mut self, citation: &WireCitation<'_>, out: &mut Vec<Event>) {
        if !citation.is_of_text() {
            return;
        }
        let last = self.texts.len().saturating_sub(1);
        let named = citation.content_index.and_then(|at| self.texts.iter().position(|text| *text == at.0));
        let block = named.unwrap_or(last);
        let span = citation.span();
        let cited = citation.sources().map(|source| ir::Citation {
            block: u32::try_from(block).unwrap_or(u32::MAX),
            span: span.clone(),
            ..source
        });
        match &mut self.open {
            Some(Open::Text(citations)) if block == last => citations.extend(cited),
            _ => out.extend(cited.map(Event::Citation)),
        }
    }

    /// How many blocks of text were begun.
    pub(super) fn texts(&self) -> usize {
        self.texts.len()
    }

    /// Ends the block under way.
    pub(super) fn close(&mut self, out: &mut Vec<Event>) {
        match self.open.take() {
            Some(Open::Text(citations)) => {
                out.extend(citations.into_iter().map(Event::Citation));
                out.push(Event::BlockEnd);
            }
            Some(Open::Thinking) => out.push(Event::BlockEnd),
            None => {}
        }
    }

    /// Begins a call.
    pub(super) fn call(&mut self, index: u64, call: &ToolCall<'_>, out: &mut Vec<Event>) {
        self.close(out);
        let place = self.calls.len();
        let id = call.id.owned().unwrap_or_else(|| names::call_id(&self.seed, place));
        let function = call.function.0.as_ref();
        let name = function.map(|function| function.name.text()).unwrap_or_default();
        let name = self.correspondence.tool(name).to_owned();
        self.calls.push(Call { index, ..Call::default() });
        out.push(Event::ToolStart { index: place, id, name, seal: None });
        if let Some(function) = function {
            self.arguments(index, function.arguments.text(), out);
        }
    }

    fn arguments(&mut self, index: u64, fragment: &str, out: &mut Vec<Event>) {
        let Some(place) = self.place(index) else { return };
        if let Some(fragment) = self.calls[place].arguments.push(fragment) {
            out.push(Event::ToolArgs { index: place, fragment });
        }
    }

    /// The call of an index that is not complete.
    fn place(&self, index: u64) -> Option<usize> {
        self.calls.iter().rposition(|call| call.index == index && !call.ended)
    }

    pub(super) fn end_call(&mut self, index: u64, out: &mut Vec<Event>) {
        let Some(place) = self.place(index) else { return };
        let call = &mut self.calls[place];
        call.ended = true;
        if let Some(fragment) = call.arguments.finish() {
            out.push(Event::ToolArgs { index: place, fragment });
        }
        out.push(Event::ToolEnd { index: place });
    }

    /// Ends the answer.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        if self.ending.is_over() {
            return;
        }
        self.close(out);
        for index in (0..self.calls.len()).map(|place| self.calls[place].index).collect::<Vec<_>>() {
            self.end_call(index, out);
        }
        self.ending.finish(!self.calls.is_empty(), out);
    }
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ending.is_over() {
            return Ok(());
        }
        if payload.is_empty() || payload == b"[DONE]" {
            out.push(Event::KeepAlive);
            return Ok(());
        }
        let payload = mended(payload);
        match serde_json::from_slice::<Obj<WireEvent<'_>>>(&payload) {
            Ok(Obj(Some(event))) if event.kind.full().is_some() => self.event(&event, out),
            Ok(Obj(Some(_))) => self.ending.fail(told_error(&payload), out),
            _ => return Err(Malformed::new("upstream sent an event that is no chat event")),
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ending.is_over()
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.ending.fail(Error::truncated(), out);
    }
}
