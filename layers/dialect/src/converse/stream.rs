//! Reads the streamed answers of Converse.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>. The count of tokens
//! comes behind the reason to stop, so an answer ends with the later of the two.

use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::{
    Additional, Block, Citation, Delta, Image, Payload, Reasoning, Served, Start, ToolUse, WireUsage,
};
use crate::ir::{self, CitationKind, Error, Event, FinishReason, Raw, Seal};
use crate::lenient::{Obj, Str};
use crate::rekey::Rekey;
use crate::surrogates::{self, mended};
use crate::{Correspondence, DecodeEvents, Dialect, Frame, Malformed, aws_error, error_body, names};

/// A decoder of events; whole answers are read block by block with the same functions.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    correspondence: Correspondence,
    calls: usize,
    /// Blocks of text that hold something.
    texts: u32,
    /// The last of them is complete, but its sources may still come: Nova tells them in a block of their own.
    closing: bool,
    /// Content blocks under way, by the upstream's index.
    open: Vec<(u64, Open)>,
    counted: bool,
    finish: Option<(FinishReason, String, Option<String>)>,
    ended: bool,
}

/// A content block under way.
#[derive(Debug)]
enum Open {
    /// Text, whether any came, and the sources that are told before it is complete.
    Text { any: bool, citations: Vec<ir::Citation> },
    /// Reasoning.
    Thinking,
    /// A tool call, and what gives its parameters their names back.
    Call { index: usize, any: bool, rekey: Option<Box<Rekey>> },
    /// The answer itself, wrapped in a tool call.
    Answer { any: bool },
    /// A call that the provider made itself, with the arguments that were added to it.
    Server { json: Value, arguments: String },
    /// What came of such a call.
    Result { json: Value },
    /// A picture, and its base64 so far.
    Image { mime: String, data: String },
}

impl Decoder {
    pub(super) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    pub(super) fn start(out: &mut Vec<Event>) {
        out.push(Event::Start { id: None, model: None, created: None });
    }

    pub(super) fn stop(&mut self, reason: &Str<'_>, additional: Option<&Additional<'_>>) {
        let raw = reason.text();
        let sequence = additional.and_then(Additional::stop_sequence);
        self.finish = Some((FinishReason::from_converse(raw), raw.to_owned(), sequence));
    }

    pub(super) fn count(&mut self, usage: Option<&WireUsage>, served: &Obj<Served>, out: &mut Vec<Event>) {
        if let Some(usage) = usage {
            self.counted = true;
            let tier = served.0.as_ref().and_then(|served| served.class.0);
            out.push(Event::Usage(ir::Usage { tier, ..usage.normal() }));
        }
    }

    /// A block of a whole answer.
    pub(super) fn whole(&mut self, index: u64, block: &Block<'_>, out: &mut Vec<Event>) {
        if let Some(call) = &block.tool_use.0 {
            self.call(index, call, out);
            self.input(index, call.arguments(), out);
        } else if let Some(result) = block.tool_result {
            self.open.push((index, Open::Result { json: json(result) }));
        } else if let Some(reasoning) = &block.reasoning_content.0 {
            self.reason(index, reasoning, out);
        } else if let Some(image) = &block.image.0 {
            self.image(index, image);
        } else if let Some(cited) = &block.citations_content.0 {
            cited.sources().into_iter().for_each(|source| self.cite(index, source));
            cited.content.0.iter().for_each(|piece| self.text(index, &piece.text, out));
        } else {
            self.text(index, &block.text, out);
        }
        self.close(index, out);
    }

    fn opened(&mut self, index: u64, start: &Start<'_>, out: &mut Vec<Event>) {
        if let Some(call) = &start.tool_use.0 {
            self.call(index, call, out);
        } else if let Some(result) = start.tool_result {
            let mut json = json(result);
            json["content"] = Value::Array(Vec::new());
            self.open.push((index, Open::Result { json }));
        } else if let Some(image) = &start.image.0 {
            self.image(index, image);
        }
    }

    fn delta(&mut self, index: u64, delta: &Delta<'_>, out: &mut Vec<Event>) {
        if delta.text.0.is_some() {
            self.text(index, &delta.text, out);
        }
        if let Some(call) = &delta.tool_use.0 {
            self.input(index, call.input.text(), out);
        }
        if let Some(reasoning) = &delta.reasoning_content.0 {
            self.reason(index, reasoning, out);
        }
        if let Some(source) = delta.citation {
            self.cite(index, source);
        }
        if let Some(image) = &delta.image.0 {
            self.image(index, image);
        }
        if let Some(result) = delta.tool_result
            && let Some(Open::Result { json: whole }) = self.block(index)
            && let (Some(Value::Array(all)), Value::Array(more)) = (whole.get_mut("content"), json(result))
        {
            all.extend(more);
        }
    }

    /// The block of this index that is under way.
    fn block(&mut self, index: u64) -> Option<&mut Open> {
        self.open.iter_mut().rev().find(|(open, _)| *open == index).map(|(_, block)| block)
    }

    /// Something else begins: the text before it is complete with its sources.
    fn settle(&mut self, out: &mut Vec<Event>) {
        if std::mem::take(&mut self.closing) {
            out.push(Event::BlockEnd);
        }
    }

    fn text(&mut self, index: u64, text: &Str<'_>, out: &mut Vec<Event>) {
        let text = text.text();
        match self.block(index) {
            None => self.open.push((index, Open::Text { any: !text.is_empty(), citations: Vec::new() })),
            Some(Open::Text { any, .. }) => *any |= !text.is_empty(),
            Some(_) => return,
        }
        if !text.is_empty() {
            self.settle(out);
            out.push(Event::Text(text.to_owned()));
        }
    }

    fn cite(&mut self, index: u64, source: &RawValue) {
        let Some(found) = citation(source) else { return };
        match self.block(index) {
            None => self.open.push((index, Open::Text { any: false, citations: vec![found] })),
            Some(Open::Text { citations, .. }) => citations.push(found),
            Some(_) => {}
        }
    }

    fn reason(&mut self, index: u64, reasoning: &Reasoning<'_>, out: &mut Vec<Event>) {
        if let Some(data) = reasoning.redacted_content.full() {
            self.settle(out);
            out.push(Event::RedactedThinking(data.to_owned()));
            return;
        }
        let whole = reasoning.reasoning_text.0.as_ref();
        let (text, signature) = match whole {
            Some(whole) => (&whole.text, &whole.signature),
            None => (&reasoning.text, &reasoning.signature),
        };
        if text.full().is_none() && signature.full().is_none() {
            return;
        }
        if self.block(index).is_none() {
            self.settle(out);
            self.open.push((index, Open::Thinking));
        }
        if let Some(text) = text.full() {
            out.push(Event::Thinking(text.to_owned()));
        }
        // Of whom nobody knows cannot come back, and nobody else can read it.
        if let (Some(maker), Some(data)) = (self.correspondence.sealed_by, signature.full()) {
            out.push(Event::Seal(Seal { maker, data: data.to_owned() }));
        }
    }

    fn call(&mut self, index: u64, call: &ToolUse<'_>, out: &mut Vec<Event>) {
        let name = call.name.text();
        if call.is_of_server() {
            let json = serde_json::json!({ "toolUse": {
                "toolUseId": call.tool_use_id.text(), "name": name, "type": call.kind.text(), "input": {},
            }});
            self.open.push((index, Open::Server { json, arguments: String::new() }));
            return;
        }
        self.settle(out);
        if self.correspondence.answer_tool.as_deref() == Some(name) {
            self.open.push((index, Open::Answer { any: false }));
            return;
        }
        let place = self.calls;
        self.calls += 1;
        let id = call.tool_use_id.owned().unwrap_or_else(|| names::call_id(name, place));
        let rekey = self.correspondence.parameters(name);
        let rekey = rekey.map(|keys| Box::new(Rekey::new(keys.clone())));
        let name = self.correspondence.tool(name).to_owned();
        out.push(Event::ToolStart { index: place, id, name, seal: None });
        self.open.push((index, Open::Call { index: place, any: false, rekey }));
    }

    /// More of a call's arguments.
    fn input(&mut self, index: u64, fragment: &str, out: &mut Vec<Event>) {
        if fragment.is_empty() {
            return;
        }
        match self.block(index) {
            Some(Open::Call { index, any, rekey }) => {
                *any = true;
                let fragment = match rekey {
                    None => fragment.to_owned(),
                    Some(rekey) => {
                        let mut renamed = String::with_capacity(fragment.len());
                        rekey.push(fragment, &mut renamed);
                        renamed
                    }
                };
                if !fragment.is_empty() {
                    out.push(Event::ToolArgs { index: *index, fragment });
                }
            }
            Some(Open::Answer { any }) => {
                *any = true;
                out.push(Event::Text(fragment.to_owned()));
            }
            Some(Open::Server { arguments, .. }) => arguments.push_str(fragment),
            _ => {}
        }
    }

    fn image(&mut self, index: u64, image: &Image<'_>) {
        let bytes = image.source.0.as_ref().map_or("", |source| source.bytes.text());
        match self.block(index) {
            Some(Open::Image { data, .. }) => data.push_str(bytes),
            Some(_) => {}
            None => {
                let mime = format!("image/{}", image.format.full().unwrap_or("png"));
                self.open.push((index, Open::Image { mime, data: bytes.to_owned() }));
            }
        }
    }

    fn close(&mut self, index: u64, out: &mut Vec<Event>) {
        let Some(place) = self.open.iter().rposition(|(open, _)| *open == index) else { return };
        match self.open.remove(place).1 {
            Open::Text { any, citations } => {
                if any {
                    self.texts += 1;
                    self.closing = true;
                }
                // Sources without a text of their own are those of the text before.
                let block = self.texts.saturating_sub(1);
                out.extend(
                    citations.into_iter().map(|citation| Event::Citation(ir::Citation { block, ..citation })),
                );
            }
            Open::Thinking => out.push(Event::BlockEnd),
            Open::Call { index, any, rekey } => {
                let mut rest = String::new();
                match rekey {
                    Some(mut rekey) => {
                        if !any {
                            rekey.push("{}", &mut rest);
                        }
                        rekey.finish(&mut rest);
                    }
                    // Clients parse arguments as JSON, and a call without any means none.
                    None if !any => rest.push_str("{}"),
                    None => {}
                }
                if !rest.is_empty() {
                    out.push(Event::ToolArgs { index, fragment: rest });
                }
                out.push(Event::ToolEnd { index });
            }
            Open::Answer { any } => {
                if !any {
                    out.push(Event::Text("{}".to_owned()));
                }
                self.texts += 1;
                self.closing = true;
            }
            Open::Server { mut json, arguments } => {
                if let Ok(input) = surrogates::read::<Value>(arguments.as_bytes()) {
                    json["toolUse"]["input"] = input;
                }
                self.settle(out);
                out.push(Event::Opaque { dialect: Dialect::Converse, json });
            }
            Open::Result { json } => {
                self.settle(out);
                let json = serde_json::json!({ "toolResult": json });
                out.push(Event::Opaque { dialect: Dialect::Converse, json });
            }
            Open::Image { mime, data } => {
                self.settle(out);
                if !data.is_empty() {
                    out.push(Event::Image { mime, data: data.into(), seal: None });
                }
            }
        }
    }

    /// Ends the answer.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        while let Some((index, _)) = self.open.first() {
            self.close(*index, out);
        }
        self.settle(out);
        let (reason, raw, stop_sequence) = match self.finish.take() {
            Some((reason, raw, sequence)) => (reason, Some(raw).filter(|raw| !raw.is_empty()), sequence),
            None => (FinishReason::Stop, None, None),
        };
        let reason = match reason {
            // The call was only the wrapping of the answer.
            FinishReason::ToolCalls if self.calls == 0 => FinishReason::Stop,
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            reason => reason,
        };
        out.push(Event::Finish { reason, raw, stop_sequence });
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.ended = true;
        out.push(Event::Error(error));
    }
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        if self.ended {
            return Ok(());
        }
        if frame.exception {
            self.fail(aws_error::exception(&frame), out);
            return Ok(());
        }
        let payload = mended(frame.payload());
        let read = |payload| match serde_json::from_slice::<Obj<Payload<'_>>>(payload) {
            Ok(Obj(Some(event))) => Ok(event),
            _ => Err(Malformed::new("upstream sent an event that is none of Converse")),
        };
        match frame.event {
            b"messageStart" => Self::start(out),
            b"contentBlockStart" => {
                let event = read(&payload)?;
                if let Some(start) = &event.start.0 {
                    self.opened(event.content_block_index.0, start, out);
                }
            }
            b"contentBlockDelta" => {
                let event = read(&payload)?;
                if let Some(delta) = &event.delta.0 {
                    self.delta(event.content_block_index.0, delta, out);
                }
            }
            b"contentBlockStop" => self.close(read(&payload)?.content_block_index.0, out),
            b"messageStop" => {
                let event = read(&payload)?;
                self.stop(&event.stop_reason, event.additional_model_response_fields.0.as_ref());
                if self.counted {
                    self.end(out);
                }
            }
            b"metadata" => {
                let event = read(&payload)?;
                self.count(event.usage.0.as_ref(), &event.service_tier, out);
                if self.finish.is_some() {
                    self.end(out);
                }
            }
            // An error that something in between put there, or a kind to come.
            _ => {
                let error = serde_json::from_slice(&payload).ok().as_ref().and_then(error_body::in_band);
                if let Some(error) = error {
                    self.fail(error, out);
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended || self.finish.is_some()
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        // Once the reason is told only the count is missing.
        if self.finish.is_some() {
            self.end(out);
        } else if !std::mem::replace(&mut self.ended, true) {
            out.push(Event::Error(Error::truncated()));
        }
    }
}

fn json(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// A citation of the block that it stands in, all of it.
fn citation(source: &RawValue) -> Option<ir::Citation> {
    let found = serde_json::from_str::<Obj<Citation<'_>>>(source.get()).ok()?.0?;
    let location = found.location.0.as_ref();
    let web = location.and_then(|location| location.web.0.as_ref());
    let is_search = location.is_some_and(|location| location.search_result_location.is_some());
    let url = web.map_or_else(|| found.source.owned(), |web| web.url.owned());
    Some(ir::Citation {
        kind: match () {
            () if web.is_some() => CitationKind::Web,
            () if is_search => CitationKind::SearchResult,
            () => CitationKind::Document,
        },
        block: 0,
        span: None,
        url,
        title: found.title.owned().or_else(|| web.and_then(|web| web.domain.owned())),
        cited_text: found.cited_text(),
        raw: Some(Raw { dialect: Dialect::Converse, json: json(source) }),
    })
}
