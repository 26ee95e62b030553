//! Reads the streamed answers of Anthropic.
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use serde_json::Value;

use super::wire::{Block, Citation, Delta, Envelope, Tally};
use crate::ir::{self, CitationKind, Error, Event, FinishReason, Maker, Raw, Seal};
use crate::rekey::Rekey;
use crate::surrogates::{self, mended};
use crate::{Correspondence, DecodeEvents, Dialect, Frame, Malformed, names};

/// A decoder of events; whole answers are read block by block with the same functions.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    correspondence: Correspondence,
    seed: String,
    tally: Tally,
    calls: usize,
    /// Blocks of text that were complete.
    texts: u32,
    /// Content blocks under way, by the upstream's index.
    open: Vec<(u64, Open)>,
    finish: Option<(FinishReason, String, Option<String>)>,
    ended: bool,
}

/// A content block under way that needs an end.
#[derive(Debug)]
enum Open {
    /// A tool call, with the arguments that stood in its start, and what gives its parameters their names back.
    Call { index: usize, initial: String, any: bool, rekey: Option<Box<Rekey>> },
    /// The answer itself, wrapped in a tool call.
    Answer { initial: String, any: bool },
    /// Text, with the sources that are told before it is complete.
    Text { citations: Vec<ir::Citation> },
    /// Reasoning.
    Thinking,
    /// A block that only this dialect knows, with the arguments that were added to it.
    Opaque { json: Value, arguments: String },
}

impl Decoder {
    pub(crate) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    fn event(&mut self, event: &Envelope<'_>, out: &mut Vec<Event>) {
        match event.kind.text() {
            "message_start" => {
                let Some(message) = &event.message.0 else { return };
                self.start(message, out);
            }
            "content_block_start" => {
                if let Some(block) = &event.content_block.0 {
                    self.open(event.index.0, block, out);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = &event.delta.0 {
                    self.delta(event.index.0, delta, out);
                }
            }
            "content_block_stop" => self.close(event.index.0, out),
            "message_delta" => {
                if let Some(delta) = &event.delta.0 {
                    self.stop(delta.stop_reason.full(), delta.stop_sequence.owned());
                }
                if let Some(usage) = &event.usage.0 {
                    self.tally.add(usage);
                    out.push(Event::Usage(self.tally.normal()));
                }
            }
            "message_stop" => self.end(out),
            "ping" => out.push(Event::KeepAlive),
            // Kinds to come.
            _ => {}
        }
    }

    pub(crate) fn start(&mut self, message: &super::wire::Message<'_>, out: &mut Vec<Event>) {
        self.seed = message.id.text().to_owned();
        out.push(Event::Start { id: message.id.owned(), model: message.model.owned(), created: None });
        if let Some(usage) = &message.usage.0 {
            self.tally.add(usage);
            out.push(Event::Usage(self.tally.normal()));
        }
        self.stop(message.stop_reason.full(), message.stop_sequence.owned());
    }

    fn stop(&mut self, reason: Option<&str>, sequence: Option<String>) {
        if let Some(raw) = reason {
            self.finish = Some((FinishReason::from_anthropic(raw), raw.to_owned(), sequence));
        }
    }

    pub(crate) fn open(&mut self, index: u64, block: &Block<'_>, out: &mut Vec<Event>) {
        let push = |text: &str, out: &mut Vec<Event>, event: fn(String) -> Event| {
            if !text.is_empty() {
                out.push(event(text.to_owned()));
            }
        };
        match block.kind.text() {
            "text" => {
                push(block.text.text(), out, Event::Text);
                let citations = block.citations().iter().map(citation).collect();
                self.open.push((index, Open::Text { citations }));
            }
            "thinking" => {
                push(block.thinking.text(), out, Event::Thinking);
                push(block.signature.text(), out, seal);
                self.open.push((index, Open::Thinking));
            }
            "redacted_thinking" => push(block.data.text(), out, Event::RedactedThinking),
            "tool_use" => {
                let initial = block.arguments().to_owned();
                if self.correspondence.answer_tool.as_deref() == block.name.full()
                    && block.name.full().is_some()
                {
                    self.open.push((index, Open::Answer { initial, any: false }));
                    return;
                }
                let place = self.calls;
                self.calls += 1;
                let id = block.id.owned().unwrap_or_else(|| names::call_id(&self.seed, place));
                let name = self.correspondence.tool(block.name.text()).to_owned();
                let keys = self.correspondence.parameters(block.name.text());
                let rekey = keys.map(|keys| Box::new(Rekey::new(keys.clone())));
                out.push(Event::ToolStart { index: place, id, name, seal: None });
                self.open.push((index, Open::Call { index: place, initial, any: false, rekey }));
            }
            // Tools that run at the provider, and their results, are not for the client to answer.
            "" => {}
            _ => self.open.push((index, Open::Opaque { json: block.json(), arguments: String::new() })),
        }
    }

    fn delta(&mut self, index: u64, delta: &Delta<'_>, out: &mut Vec<Event>) {
        let push = |text: &str, out: &mut Vec<Event>, event: fn(String) -> Event| {
            if !text.is_empty() {
                out.push(event(text.to_owned()));
            }
        };
        match delta.kind.text() {
            "text_delta" => push(delta.text.text(), out, Event::Text),
            "thinking_delta" => push(delta.thinking.text(), out, Event::Thinking),
            "signature_delta" => push(delta.signature.text(), out, seal),
            "citations_delta" => {
                // The source may come before the words that draw on it.
                if let (Some((_, Open::Text { citations })), Some(found)) =
                    (self.open.iter_mut().rev().find(|(open, _)| *open == index), delta.citation())
                {
                    citations.push(citation(&found));
                }
            }
            "input_json_delta" => {
                // An empty fragment always comes first.
                let Some(fragment) = delta.partial_json.owned() else { return };
                match self.open.iter_mut().rev().find(|(open, _)| *open == index) {
                    Some((_, Open::Call { index, any, rekey, .. })) => {
                        *any = true;
                        let fragment = match rekey {
                            None => fragment,
                            Some(rekey) => {
                                let mut renamed = String::with_capacity(fragment.len());
                                rekey.push(&fragment, &mut renamed);
                                renamed
                            }
                        };
                        if !fragment.is_empty() {
                            out.push(Event::ToolArgs { index: *index, fragment });
                        }
                    }
                    Some((_, Open::Answer { any, .. })) => {
                        *any = true;
                        out.push(Event::Text(fragment));
                    }
                    Some((_, Open::Opaque { arguments, .. })) => arguments.push_str(&fragment),
                    Some((_, Open::Text { .. } | Open::Thinking)) | None => {}
                }
            }
            _ => {}
        }
    }

    pub(crate) fn close(&mut self, index: u64, out: &mut Vec<Event>) {
        let Some(place) = self.open.iter().rposition(|(open, _)| *open == index) else { return };
        let whole = |initial: String| if initial.is_empty() { "{}".to_owned() } else { initial };
        match self.open.remove(place).1 {
            Open::Call { index, initial, any, rekey } => {
                let mut fragment = if any { String::new() } else { whole(initial) };
                if let Some(mut rekey) = rekey {
                    let mut renamed = String::with_capacity(fragment.len());
                    rekey.push(&fragment, &mut renamed);
                    rekey.finish(&mut renamed);
                    fragment = renamed;
                }
                if !fragment.is_empty() {
                    out.push(Event::ToolArgs { index, fragment });
                }
                out.push(Event::ToolEnd { index });
            }
            Open::Answer { initial, any } => {
                if !any {
                    out.push(Event::Text(whole(initial)));
                }
                self.texts += 1;
                out.push(Event::BlockEnd);
            }
            Open::Text { citations } => {
                let block = self.texts;
                self.texts += 1;
                out.extend(
                    citations.into_iter().map(|citation| Event::Citation(ir::Citation { block, ..citation })),
                );
                out.push(Event::BlockEnd);
            }
            Open::Thinking => out.push(Event::BlockEnd),
            Open::Opaque { mut json, arguments } => {
                if let Ok(input) = surrogates::read::<Value>(arguments.as_bytes()) {
                    json["input"] = input;
                }
                out.push(Event::Opaque { dialect: Dialect::Anthropic, json });
            }
        }
    }

    /// Ends the answer after its terminal marker.
    pub(crate) fn end(&mut self, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        while let Some((index, _)) = self.open.first() {
            self.close(*index, out);
        }
        let (reason, raw, stop_sequence) = match self.finish.take() {
            Some((reason, raw, sequence)) => (reason, Some(raw), sequence),
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
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ended {
            return Ok(());
        }
        // Some relays close streams with OpenAI's marker.
        if payload.is_empty() || payload == b"[DONE]" {
            out.push(Event::KeepAlive);
            return Ok(());
        }
        match Envelope::read(&mended(payload)) {
            Ok(Some(event)) => self.event(&event, out),
            Ok(None) => return Err(Malformed::new("upstream sent an event that is no message event")),
            Err(error) => {
                self.ended = true;
                out.push(Event::Error(error));
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended || self.finish.is_some()
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        // Once the reason is told only the terminal marker is missing.
        if self.finish.is_some() {
            self.end(out);
        } else if !std::mem::replace(&mut self.ended, true) {
            out.push(Event::Error(Error::truncated()));
        }
    }
}

fn seal(data: String) -> Event {
    Event::Seal(Seal { maker: Maker::Anthropic, data })
}

/// A citation of the block that it stands in, all of it.
fn citation((citation, json): &(Citation<'_>, Value)) -> ir::Citation {
    ir::Citation {
        kind: match citation.kind.text() {
            "web_search_result_location" => CitationKind::Web,
            "search_result_location" => CitationKind::SearchResult,
            _ => CitationKind::Document,
        },
        block: 0,
        span: None,
        url: citation.url.owned(),
        title: citation.title.owned().or_else(|| citation.document_title.owned()),
        cited_text: citation.cited_text.owned(),
        raw: Some(Raw { dialect: Dialect::Anthropic, json: json.clone() }),
    }
}
