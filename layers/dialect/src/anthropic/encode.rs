//! Writes the streamed answers of Anthropic.
//!
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>. Blocks come strictly one behind the other:
//! each is begun, told and ended before the next one begins. What upstreams tell of a later block before that waits.

use std::collections::VecDeque;
use std::io::Write;

use bytes::{BufMut, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::carried::{self, Place};
use super::{answer_id, told};
use crate::ir::{Error, Event, FinishReason, Seal, Usage};
use crate::{Dialect, EncodeEvents, ErrorShape, Identity, Manner};

/// Most of later blocks that waits for the end of a call, in bytes.
const MOST_WAITING: usize = 16 << 20;

/// An encoder of events.
#[derive(Debug)]
pub(crate) struct Encoder {
    identity: Identity,
    carries_seals_of_text: bool,
    begun: bool,
    failed: bool,
    /// Events are about another candidate than the first, and this dialect knows no other.
    elsewhere: bool,
    usage: Usage,
    /// The number of the block that is open, or else of the next one.
    index: u64,
    open: Open,
    /// What was told while a call was open, and is not of it.
    waiting: VecDeque<Waiting>,
    /// How many bytes that are.
    waits: usize,
    called: bool,
    refused: bool,
    finish: Option<(FinishReason, Option<String>)>,
}

/// The block that is being told.
#[derive(Debug)]
enum Open {
    None,
    /// Words, of a refusal or not.
    Text {
        refuses: bool,
        seal: Option<Seal>,
    },
    Thinking {
        /// Something was told of it.
        begun: bool,
        seal: Option<Seal>,
    },
    Call(usize),
}

/// A thing that waits for the end of a call.
#[derive(Debug)]
enum Waiting {
    Call { index: usize, id: String, name: String, seal: Option<Seal>, arguments: String, ended: bool },
    Other(Event),
}

impl Encoder {
    pub(crate) fn new(manner: &Manner, identity: &Identity) -> Self {
        let mut identity = identity.clone();
        identity.id = answer_id(&identity.id);
        Self {
            identity,
            carries_seals_of_text: manner.carries_seals_of_text,
            begun: false,
            failed: false,
            elsewhere: false,
            usage: Usage::default(),
            index: 0,
            open: Open::None,
            waiting: VecDeque::new(),
            waits: 0,
            called: false,
            refused: false,
            finish: None,
        }
    }

    /// Tells whose answer it is, once: as late as possible, since usage that is told first stands in it.
    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": self.identity.id,
            "type": "message",
            "role": "assistant",
            "model": self.identity.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage.to_anthropic(),
        });
        event(out, "message_start", &json!({ "type": "message_start", "message": message }));
    }

    /// Begins a block.
    fn start(&mut self, block: &Value, out: &mut BytesMut) {
        self.begin(out);
        let start = json!({ "type": "content_block_start", "index": self.index, "content_block": block });
        event(out, "content_block_start", &start);
    }

    /// Ends the block that was begun.
    fn stop(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(
            b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":",
        );
        let _ = write!(out.writer(), "{}", self.index);
        out.extend_from_slice(b"}\n\n");
        self.index += 1;
    }

    /// A block that is told at once.
    fn whole(&mut self, block: &Value, out: &mut BytesMut) {
        self.close(out);
        self.start(block, out);
        self.stop(out);
    }

    /// More of the block that is open: one text of a delta of this kind.
    fn more(&self, kind: &str, field: &str, text: &str, out: &mut BytesMut) {
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        let _ = write!(out.writer(), "{},\"delta\":{{\"type\":\"{kind}\",\"{field}\":", self.index);
        serde_json::to_writer(out.writer(), text).expect("a buffer takes everything");
        out.extend_from_slice(b"}}\n\n");
    }

    /// Ends what is open, if anything is.
    fn close(&mut self, out: &mut BytesMut) {
        match std::mem::replace(&mut self.open, Open::None) {
            Open::None => {}
            Open::Call(_) => self.stop(out),
            Open::Text { seal, .. } => {
                self.stop(out);
                if let Some(seal) = seal.filter(|_| self.carries_seals_of_text) {
                    self.whole(&told::redacted(&carried::written(&seal, Place::Last)), out);
                }
            }
            Open::Thinking { begun, seal } => {
                let signature = seal.map(|seal| carried::written(&seal, Place::Own));
                match signature {
                    // There is nothing to show.
                    Some(signature) if !begun && signature.starts_with(carried::MARK) => {
                        self.whole(&told::redacted(&signature), out);
                    }
                    signature => {
                        if !begun {
                            self.start(&told::thinking("", ""), out);
                        }
                        let signature = signature.as_deref().unwrap_or(carried::UNSEALED);
                        self.more("signature_delta", "signature", signature, out);
                        self.stop(out);
                    }
                }
            }
        }
    }

    fn text(&mut self, words: &str, refusal: bool, out: &mut BytesMut) {
        if words.is_empty() {
            return;
        }
        if !matches!(self.open, Open::Text { refuses, .. } if refuses == refusal) {
            self.close(out);
            self.start(&told::text(""), out);
            self.open = Open::Text { refuses: refusal, seal: None };
        }
        self.more("text_delta", "text", words, out);
    }

    fn think(&mut self, words: &str, out: &mut BytesMut) {
        if words.is_empty() {
            return;
        }
        // Behind its seal a thought is complete.
        if !matches!(self.open, Open::Thinking { seal: None, .. }) {
            self.close(out);
            self.open = Open::Thinking { begun: false, seal: None };
        }
        if let Open::Thinking { begun, .. } = &mut self.open
            && !std::mem::replace(begun, true)
        {
            self.start(&told::thinking("", ""), out);
        }
        self.more("thinking_delta", "thinking", words, out);
    }

    fn seal(&mut self, more: &Seal, out: &mut BytesMut) {
        if !matches!(self.open, Open::Text { .. } | Open::Thinking { .. }) {
            self.close(out);
            self.open = Open::Thinking { begun: false, seal: None };
        }
        if let Open::Text { seal, .. } | Open::Thinking { seal, .. } = &mut self.open {
            match seal {
                Some(seal) if seal.maker == more.maker => seal.data.push_str(&more.data),
                seal => *seal = Some(more.clone()),
            }
        }
    }

    fn call(&mut self, index: usize, id: &str, name: &str, seal: Option<&Seal>, out: &mut BytesMut) {
        self.close(out);
        self.called = true;
        if let Some(seal) = seal {
            self.whole(&told::redacted(&carried::written(seal, Place::Next)), out);
        }
        self.start(&json!({ "type": "tool_use", "id": id, "name": name, "input": {} }), out);
        self.open = Open::Call(index);
    }

    fn arguments(&self, fragment: &str, out: &mut BytesMut) {
        if !fragment.is_empty() {
            self.more("input_json_delta", "partial_json", fragment, out);
        }
    }

    /// A block that only this dialect knows. Clients collect arguments from deltas.
    fn opaque(&mut self, block: &Value, out: &mut BytesMut) {
        self.close(out);
        match block.get("input").filter(|input| input.as_object().is_some_and(|input| !input.is_empty())) {
            Some(input) => {
                let mut start = block.clone();
                start["input"] = json!({});
                self.start(&start, out);
                self.more("input_json_delta", "partial_json", &input.to_string(), out);
            }
            None => self.start(block, out),
        }
        self.stop(out);
    }

    /// Takes an event that has to wait because a call is open which it is not about; the event otherwise.
    fn wait<'a>(&mut self, told: &'a Event) -> Option<&'a Event> {
        let Open::Call(open) = self.open else { return Some(told) };
        let size = match told {
            Event::ToolArgs { index, .. } | Event::ToolEnd { index } if *index == open => return Some(told),
            Event::ToolStart { index, id, name, seal } => {
                let (id, name, seal) = (id.clone(), name.clone(), seal.clone());
                let size = id.len() + name.len() + seal.as_ref().map_or(0, |seal| seal.data.len());
                let arguments = String::new();
                self.waiting.push_back(Waiting::Call {
                    index: *index,
                    id,
                    name,
                    seal,
                    arguments,
                    ended: false,
                });
                size
            }
            Event::ToolArgs { index, fragment } => {
                if let Some(Waiting::Call { arguments, .. }) = self.waiting_call(*index) {
                    arguments.push_str(fragment);
                }
                fragment.len()
            }
            Event::ToolEnd { index } => {
                if let Some(Waiting::Call { ended, .. }) = self.waiting_call(*index) {
                    *ended = true;
                }
                0
            }
            Event::Text(more) => {
                match self.waiting.back_mut() {
                    Some(Waiting::Other(Event::Text(text))) => text.push_str(more),
                    _ => self.waiting.push_back(Waiting::Other(told.clone())),
                }
                more.len()
            }
            other => {
                self.waiting.push_back(Waiting::Other(other.clone()));
                length_of(other)
            }
        };
        self.waits += size + size_of::<Waiting>();
        None
    }

    fn waiting_call(&mut self, wanted: usize) -> Option<&mut Waiting> {
        self.waiting
            .iter_mut()
            .rev()
            .find(|waiting| matches!(waiting, Waiting::Call { index, .. } if *index == wanted))
    }

    /// Tells what has waited, up to the next call that is not complete. With `all` nothing more comes.
    fn tell_waiting(&mut self, all: bool, out: &mut BytesMut) {
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting {
                Waiting::Call { index, id, name, seal, arguments, ended } => {
                    self.call(index, &id, &name, seal.as_ref(), out);
                    self.arguments(&arguments, out);
                    if ended || all {
                        self.close(out);
                    } else {
                        return;
                    }
                }
                Waiting::Other(event) => self.tell(&event, out),
            }
        }
        self.waits = 0;
    }

    /// Tells what may be told now.
    fn tell(&mut self, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Text(words) => self.text(words, false, out),
            Event::Refusal(words) => {
                self.refused = true;
                self.text(words, true, out);
            }
            Event::Thinking(words) => self.think(words, out),
            Event::Seal(seal) => self.seal(seal, out),
            Event::BlockEnd => self.close(out),
            Event::RedactedThinking(data) => self.whole(&told::redacted(data), out),
            Event::ToolStart { index, id, name, seal } => self.call(*index, id, name, seal.as_ref(), out),
            Event::ToolArgs { fragment, .. } => self.arguments(fragment, out),
            Event::ToolEnd { index } => {
                if matches!(self.open, Open::Call(open) if open == *index) {
                    self.close(out);
                    self.tell_waiting(false, out);
                }
            }
            Event::Image { mime, data, .. } => {
                let data = std::str::from_utf8(data).unwrap_or_default();
                self.apart(&told::picture(&format!("data:{mime};base64,{data}")), out);
            }
            Event::ImageUrl(url) => self.apart(&told::picture(url), out),
            // Sound itself cannot be asked for here.
            Event::Audio { transcript, .. } => self.text(transcript, false, out),
            Event::Citation(citation) => {
                if matches!(self.open, Open::Text { refuses: false, .. }) {
                    if let Some(source) = told::citation(citation) {
                        let delta = json!({ "type": "citations_delta", "citation": source });
                        let delta =
                            json!({ "type": "content_block_delta", "index": self.index, "delta": delta });
                        self::event(out, "content_block_delta", &delta);
                    }
                } else if let Some(words) = told::worded(citation) {
                    self.apart(&words, out);
                }
            }
            Event::Opaque { dialect: Dialect::Anthropic, json } => self.opaque(json, out),
            // What only other dialects know, likelihoods, and what is no content.
            Event::Opaque { .. }
            | Event::Logprobs(_)
            | Event::Start { .. }
            | Event::Choice(_)
            | Event::Usage(_)
            | Event::Finish { .. }
            | Event::Error(_)
            | Event::KeepAlive => {}
        }
    }

    /// Words in a block of their own.
    fn apart(&mut self, words: &str, out: &mut BytesMut) {
        self.close(out);
        self.text(words, false, out);
        self.close(out);
    }
}

impl EncodeEvents for Encoder {
    fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        if self.failed {
            return;
        }
        match event {
            Event::Choice(number) => self.elsewhere = *number > 0,
            Event::Usage(usage) => self.usage.merge(*usage),
            Event::Error(error) => self.fail(error, out),
            Event::KeepAlive => self.keepalive(out),
            _ if self.elsewhere => {}
            Event::Start { id, .. } => {
                if let Some(id) = id.as_deref().filter(|_| !self.begun) {
                    self.identity.id = answer_id(id);
                }
            }
            Event::Finish { reason, stop_sequence, .. } => {
                self.finish = Some((*reason, stop_sequence.clone()));
            }
            event => {
                if let Some(event) = self.wait(event) {
                    self.tell(event, out);
                } else if self.waits > MOST_WAITING {
                    let error = Error::new(StatusCode::BAD_GATEWAY, "upstream mixes calls that are too long");
                    self.fail(&error, out);
                }
            }
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if self.failed {
            return;
        }
        let Some((reason, sequence)) = self.finish.take() else { return };
        self.begin(out);
        self.close(out);
        self.tell_waiting(true, out);
        self.close(out);
        let reason = if self.refused { told::refused(reason) } else { reason };
        let sequence = sequence.filter(|_| reason == FinishReason::StopSequence);
        let delta = json!({ "stop_reason": reason.to_anthropic(self.called), "stop_sequence": sequence });
        let delta = json!({ "type": "message_delta", "delta": delta, "usage": self.usage.to_anthropic() });
        event(out, "message_delta", &delta);
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.failed, true) {
            out.extend_from_slice(&ErrorShape::Anthropic.event(error));
        }
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(ErrorShape::Anthropic.keepalive());
    }
}

/// One event.
fn event(out: &mut BytesMut, name: &str, data: &Value) {
    let _ = write!(out.writer(), "event: {name}\ndata: {data}\n\n");
}

/// How many bytes an event holds that waits.
fn length_of(event: &Event) -> usize {
    match event {
        Event::Thinking(text)
        | Event::Refusal(text)
        | Event::RedactedThinking(text)
        | Event::ImageUrl(text) => text.len(),
        Event::Image { data, .. } => data.len(),
        Event::Audio { data, transcript, .. } => data.len() + transcript.len(),
        Event::Opaque { json, .. } => json.to_string().len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Maker;

    /// The types of what was told, and the payloads.
    fn told(events: &[Event]) -> (String, Vec<Value>) {
        let manner = Manner { carries_seals_of_text: true, ..Manner::default() };
        let mut encoder = Encoder::new(&manner, &Identity::default());
        let mut out = BytesMut::new();
        events.iter().for_each(|event| encoder.encode(event, &mut out));
        encoder.finish(&mut out);
        let payloads: Vec<Value> = crate::frames(&out)
            .map(|frame| {
                let payload: Value = serde_json::from_slice(frame.payload()).unwrap();
                assert_eq!(frame.event, payload["type"].as_str().unwrap().as_bytes());
                payload
            })
            .collect();
        let word = |payload: &Value| match payload["type"].as_str().unwrap() {
            "content_block_start" => format!("{}[", payload["content_block"]["type"].as_str().unwrap()),
            "content_block_stop" => "]".to_owned(),
            "content_block_delta" => {
                let delta = payload["delta"].as_object().unwrap();
                delta.values().nth(1).and_then(Value::as_str).unwrap_or("source").to_owned()
            }
            other => other.trim_start_matches("message_").to_owned(),
        };
        (payloads.iter().map(word).collect::<Vec<_>>().join(" "), payloads)
    }

    fn text(words: &str) -> Event {
        Event::Text(words.into())
    }

    fn start(index: usize) -> Event {
        Event::ToolStart { index, id: format!("c{index}"), name: "f".into(), seal: None }
    }

    fn more(index: usize, fragment: &str) -> Event {
        Event::ToolArgs { index, fragment: fragment.into() }
    }

    fn end() -> Event {
        Event::Finish { reason: FinishReason::Stop, raw: None, stop_sequence: None }
    }

    #[test]
    fn blocks_of_calls_that_interleave_come_one_behind_the_other() {
        let (words, payloads) = told(&[
            start(0),
            more(0, "{\"a\""),
            start(1),
            more(1, "{\"b\""),
            text("said"),
            more(0, ":1}"),
            more(1, ":2}"),
            Event::ToolEnd { index: 0 },
            more(1, " "),
            Event::ToolEnd { index: 1 },
            end(),
        ]);

        assert_eq!(words, "start tool_use[ {\"a\" :1} ] tool_use[ {\"b\":2}   ] text[ said ] delta stop");
        let indexes: Vec<u64> = payloads.iter().filter_map(|payload| payload["index"].as_u64()).collect();
        assert!(indexes.is_sorted() && indexes.last() == Some(&2), "{indexes:?}");
        assert_eq!(payloads[payloads.len() - 2]["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn calls_that_nobody_ended_are_told_when_the_answer_ends() {
        let (words, _) = told(&[text("A"), start(0), start(1), more(1, "{}"), more(0, "[]"), end()]);

        assert_eq!(words, "start text[ A ] tool_use[ [] ] tool_use[ {} ] delta stop");
    }

    #[test]
    fn a_thought_is_signed_by_whoever_made_it_or_by_nobody() {
        let seal = |maker| Event::Seal(Seal { maker, data: "S".into() });
        let signed = |events: &[Event]| {
            let (words, _) = told(&[events, &[end()]].concat());
            words.strip_prefix("start ").unwrap().strip_suffix(" delta stop").unwrap().to_owned()
        };
        let thought = Event::Thinking("T".into());

        assert_eq!(signed(&[thought.clone(), text("A")]), "thinking[ T uni-api:none ] text[ A ]");
        let sealed = [thought.clone(), seal(Maker::Anthropic), Event::BlockEnd];
        assert_eq!(signed(&sealed), "thinking[ T S ]");
        let sealed = [thought.clone(), seal(Maker::Google), thought];
        assert_eq!(signed(&sealed), "thinking[ T uni-api:google:own:S ] thinking[ T uni-api:none ]");
        // Without words there is nothing to show.
        assert_eq!(signed(&[seal(Maker::OpenAi)]), "redacted_thinking[ ]");
        assert_eq!(signed(&[seal(Maker::Anthropic)]), "thinking[ S ]");
        assert_eq!(signed(&[text("A"), seal(Maker::Google)]), "text[ A ] redacted_thinking[ ]");
    }

    #[test]
    fn usage_stands_in_the_beginning_where_it_is_known_and_always_at_the_end() {
        let usage =
            |input_total, output_total| Event::Usage(Usage { input_total, output_total, ..Usage::default() });
        let start = Event::Start { id: Some("x".into()), model: None, created: None };

        let (_, payloads) = told(&[start, usage(7, 1), text("A"), end(), usage(0, 9)]);

        let told = |payload: &Value| (payload["input_tokens"].as_u64(), payload["output_tokens"].as_u64());
        assert_eq!(payloads[0]["message"]["id"], "msg_x");
        assert_eq!(told(&payloads[0]["message"]["usage"]), (Some(7), Some(1)));
        assert_eq!(told(&payloads[payloads.len() - 2]["usage"]), (Some(7), Some(9)));
    }

    #[test]
    fn an_answer_without_an_end_or_with_an_error_has_no_last_event() {
        assert_eq!(told(&[text("A")]).0, "start text[ A");
        let failed = Event::Error(Error::truncated());
        assert_eq!(told(&[text("A"), failed, text("B"), end()]).0, "start text[ A error");
        assert_eq!(told(&[end()]).0, "start delta stop");
        assert_eq!(
            told(&[Event::Choice(1), text("B"), Event::Choice(0), text("A"), end()]).0,
            "start text[ A ] delta stop"
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut encoder = Encoder::new(&Manner::default(), &Identity::default());
        let mut out = BytesMut::new();
        let long = "x".repeat(1 << 20);
        [start(0), start(1)].iter().for_each(|event| encoder.encode(event, &mut out));
        for _ in 0..17 {
            encoder.encode(&more(1, &long), &mut out);
        }

        assert!(
            encoder.failed && out.ends_with(b"}}\n\n") && !out.windows(11).any(|at| at == b"message_sto")
        );
    }
}
