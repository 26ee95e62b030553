//! Reads the streamed answers of Cohere, version 1: one JSON object a line, or an event each.
//!
//! Source: <https://docs.cohere.com/v1/reference/chat-stream>.

use super::response;
use super::wire::{Citation, Event as WireEvent, ToolCall, Whole};
use crate::cohere::ending::Ending;
use crate::cohere::stream::Arguments;
use crate::cohere::told_error;
use crate::cohere::wire::Fields;
use crate::ir::{self, CitationKind, Error, Event};
use crate::lenient::Obj;
use crate::names;
use crate::rekey::Rekey;
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Frame, Malformed};

/// A decoder of events; whole answers are read with the same functions.
#[derive(Debug, Default)]
pub(in crate::cohere) struct Decoder {
    correspondence: Correspondence,
    seed: String,
    started: bool,
    /// The block under way.
    open: Option<Open>,
    said: bool,
    cited: bool,
    calls: Vec<Call>,
    /// Documents that may be cited, by name.
    documents: Vec<(String, ir::Citation)>,
    ending: Ending,
}

/// A block under way.
#[derive(Debug)]
enum Open {
    /// Text, with its sources.
    Text(Vec<ir::Citation>),
    /// The plan before calls.
    Plan,
}

/// A call of a tool. Its place in the list is its dense index.
#[derive(Debug)]
struct Call {
    index: u64,
    arguments: Arguments,
    rekey: Option<Box<Rekey>>,
    ended: bool,
}

impl Decoder {
    pub(in crate::cohere) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    fn event(&mut self, event: &WireEvent<'_>, out: &mut Vec<Event>) {
        self.known(&event.documents.0);
        match event.event_type.text() {
            "stream-start" => self.start(event.generation_id.owned(), out),
            "text-generation" => self.text(event.text.text(), out),
            "citation-generation" => self.cite(&event.citations.0, out),
            "tool-calls-chunk" => {
                self.plan(event.text.text(), out);
                if let Some(delta) = &event.tool_call_delta.0 {
                    self.plan(delta.text.text(), out);
                    if let Some(name) = delta.name.full() {
                        self.call(delta.index.0, name, out);
                    }
                    self.arguments(delta.index.0, delta.parameters.text(), out);
                }
            }
            "tool-calls-generation" => self.whole_calls(event.text.text(), &event.tool_calls.0, out),
            _ if event.is_last() => {}
            _ => out.push(Event::KeepAlive),
        }
        if event.is_last() {
            self.last(event, out);
        }
    }

    /// The last event holds the whole answer once more.
    fn last(&mut self, event: &WireEvent<'_>, out: &mut Vec<Event>) {
        let told = event.error.full().or(event.message.full());
        let reason = match &event.response.0 {
            Some(answer) => {
                self.rest(answer, out);
                answer.finish_reason.full()
            }
            None => None,
        };
        let reason = event.finish_reason.full().or(reason).unwrap_or_default();
        self.ending.stop(reason, told, out);
        self.end(out);
    }

    /// What of a whole answer was not told yet.
    fn rest(&mut self, answer: &Whole<'_>, out: &mut Vec<Event>) {
        self.start(answer.generation_id.owned(), out);
        self.known(&answer.documents.0);
        if answer.tool_calls.0.is_empty() {
            if !self.said {
                self.text(answer.text.text(), out);
            }
        } else {
            self.whole_calls(answer.text.text(), &answer.tool_calls.0, out);
        }
        if !self.cited {
            self.cite(&answer.citations.0, out);
        }
        if let Some(meta) = &answer.meta.0 {
            out.push(Event::Usage(meta.normal()));
        }
    }

    /// A whole answer.
    pub(super) fn read(&mut self, answer: &Whole<'_>, out: &mut Vec<Event>) {
        self.rest(answer, out);
        self.ending.stop(answer.finish_reason.text(), answer.error.full(), out);
        self.end(out);
    }

    fn start(&mut self, id: Option<String>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            self.seed = id.clone().unwrap_or_default();
            out.push(Event::Start { id, model: None, created: None });
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Text(_))) {
            self.close(out);
            self.open = Some(Open::Text(Vec::new()));
        }
        self.said = true;
        out.push(Event::Text(text.to_owned()));
    }

    fn plan(&mut self, text: &str, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Plan)) {
            self.close(out);
            self.open = Some(Open::Plan);
        }
        self.said = true;
        out.push(Event::Thinking(text.to_owned()));
    }

    /// Remembers documents that may be cited.
    fn known(&mut self, documents: &[Fields<'_>]) {
        for document in documents {
            let Some(id) = document.id.owned() else { continue };
            if !self.documents.iter().any(|(known, _)| *known == id) {
                self.documents.push((id, document.cited(CitationKind::Document)));
            }
        }
    }

    fn cite(&mut self, citations: &[Citation<'_>], out: &mut Vec<Event>) {
        for citation in citations.iter().filter(|citation| citation.is_of_text()) {
            self.cited = true;
            let span = citation.span();
            for name in citation.documents() {
                let known = self.documents.iter().find(|(known, _)| *known == name);
                let source = known
                    .map(|(_, source)| source.clone())
                    .unwrap_or(ir::Citation { kind: CitationKind::Document, ..ir::Citation::default() });
                let source = ir::Citation { span: span.clone(), ..source };
                match &mut self.open {
                    Some(Open::Text(citations)) => citations.push(source),
                    _ => out.push(Event::Citation(source)),
                }
            }
        }
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        match self.open.take() {
            Some(Open::Text(citations)) => {
                out.extend(citations.into_iter().map(Event::Citation));
                out.push(Event::BlockEnd);
            }
            Some(Open::Plan) => out.push(Event::BlockEnd),
            None => {}
        }
    }

    /// Begins a call. Its identity is made of the answer's and its place.
    fn call(&mut self, index: u64, name: &str, out: &mut Vec<Event>) {
        if self.place(index).is_some() {
            return;
        }
        self.close(out);
        let place = self.calls.len();
        let keys = self.correspondence.parameters(name);
        let rekey = keys.map(|keys| Box::new(Rekey::new(keys.clone())));
        self.calls.push(Call { index, arguments: Arguments::default(), rekey, ended: false });
        let (id, name) = (names::call_id(&self.seed, place), self.correspondence.tool(name).to_owned());
        out.push(Event::ToolStart { index: place, id, name, seal: None });
    }

    /// The call of an index that is not complete.
    fn place(&self, index: u64) -> Option<usize> {
        self.calls.iter().rposition(|call| call.index == index && !call.ended)
    }

    fn arguments(&mut self, index: u64, fragment: &str, out: &mut Vec<Event>) {
        let Some(place) = self.place(index) else { return };
        let call = &mut self.calls[place];
        let Some(mut fragment) = call.arguments.push(fragment) else { return };
        if let Some(rekey) = &mut call.rekey {
            let mut renamed = String::with_capacity(fragment.len());
            rekey.push(&fragment, &mut renamed);
            fragment = renamed;
        }
        if !fragment.is_empty() {
            out.push(Event::ToolArgs { index: place, fragment });
        }
    }

    fn end_call(&mut self, place: usize, out: &mut Vec<Event>) {
        let call = &mut self.calls[place];
        if std::mem::replace(&mut call.ended, true) {
            return;
        }
        let mut fragment = call.arguments.finish().unwrap_or_default();
        if let Some(rekey) = &mut call.rekey {
            rekey.finish(&mut fragment);
        }
        if !fragment.is_empty() {
            out.push(Event::ToolArgs { index: place, fragment });
        }
        out.push(Event::ToolEnd { index: place });
    }

    /// All calls, some of which may have come in fragments before.
    fn whole_calls(&mut self, plan: &str, calls: &[ToolCall<'_>], out: &mut Vec<Event>) {
        if !self.said {
            self.plan(plan, out);
        }
        for (index, call) in (0u64..).zip(calls) {
            let place = index as usize;
            if place >= self.calls.len() {
                self.call(index, call.name.text(), out);
                self.arguments(index, call.arguments(), out);
            }
            self.end_call(place, out);
        }
    }

    /// Ends the answer.
    fn end(&mut self, out: &mut Vec<Event>) {
        if self.ending.is_over() {
            return;
        }
        self.close(out);
        (0..self.calls.len()).for_each(|place| self.end_call(place, out));
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
            Ok(Obj(Some(event))) if event.event_type.full().is_some() || event.is_last() => {
                self.event(&event, out);
            }
            // An answer that was to come in events and came as a whole, or an error.
            Ok(Obj(Some(_))) => match response::whole(&payload) {
                Some(answer) => self.read(&answer, out),
                None => self.ending.fail(told_error(&payload), out),
            },
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
