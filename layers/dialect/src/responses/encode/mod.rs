//! Writes answers of this dialect, streamed and whole.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>. Every event has the next number. An
//! item is complete before the next one begins: of calls that the upstream tells side by side, the later ones wait. At
//! the end, and at a failure, the whole response is told once more, so what was said is kept until then.

mod items;
mod voice;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

pub(super) use self::voice::Begun;

use self::items::{Item, Kind, Part};
use self::voice::{Object, Voice};
use super::carried::Carried;
use super::ids;
use super::manner::ClientTool;
use super::words::response_error;
use crate::ir::{self, Citation, Error, Event, FinishReason, Logprob, Seal, Usage};
use crate::{Dialect, EncodeEvents, ErrorShape, Identity, Manner, names};

/// Most bytes of one answer that are kept, for all of it is told again at its end.
const LONGEST: usize = 32 << 20;

/// An encoder of one response.
#[derive(Debug)]
pub(super) struct Encoder {
    identity: Identity,
    tools: Option<Arc<[ClientTool]>>,
    keeps_name: bool,
    /// What the response says of itself, whatever is in it.
    object: Object,
    voice: Voice,
    begun: bool,
    /// It ended, well or not.
    over: bool,
    /// Events are about another candidate than the first, for which there is no place here.
    elsewhere: bool,
    /// Items under way; the first of them is being told.
    queue: VecDeque<Item>,
    /// Items that are complete, as JSON with commas between them, and how many they are.
    output: Vec<u8>,
    told: usize,
    /// Bytes that came.
    size: usize,
    usage: Usage,
    finish: Option<FinishReason>,
}

impl Encoder {
    pub(super) fn new(manner: &Manner, identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            tools: manner.client_tools.clone(),
            keeps_name: manner.keeps_name,
            object: Object::new(manner, &identity.model),
            voice: Voice::default(),
            begun: false,
            over: false,
            elsewhere: false,
            queue: VecDeque::new(),
            output: Vec::new(),
            told: 0,
            size: 0,
            usage: Usage::default(),
            finish: None,
        }
    }

    /// The whole answer.
    pub(super) fn whole(answer: &ir::Response, manner: &Manner, identity: &Identity) -> Bytes {
        let mut encoder = Self::new(manner, identity);
        encoder.voice.is_mute = true;
        let mut out = BytesMut::new();
        answer.events().iter().for_each(|event| encoder.encode(event, &mut out));
        encoder.finish(&mut out);
        encoder.told().unwrap_or_default()
    }

    /// Says that the response has begun, once.
    fn begin(&mut self, upstream_id: &str, created: Option<u64>, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let created = created.unwrap_or(self.identity.created);
        self.object.created = created;
        self.object.id = match upstream_id {
            own if self.keeps_name && !own.is_empty() => own.to_owned(),
            other => ids::response(&format!("{} {other} {created}", self.identity.id)),
        };
        for name in ["response.created", "response.in_progress"] {
            let object = &self.object;
            self.voice.event(out, name, |out| object.write_beginning(out));
        }
    }

    /// The item that more may be added to, if it is not complete.
    fn open(&mut self) -> Option<&mut Item> {
        self.queue.back_mut().filter(|item| !item.ended)
    }

    /// A further item. Only calls may be told beside what comes behind them.
    fn push(&mut self, kind: Kind, ended: bool) {
        if let Some(last) = self.open()
            && !matches!(last.kind, Kind::Call { .. })
        {
            last.ended = true;
        }
        self.queue.push_back(Item::new(kind, ended));
    }

    /// More words of the message, in a part of their own unless the last one is of this kind.
    fn say(&mut self, words: &str, is_refusal: bool) {
        if words.is_empty() {
            return;
        }
        if !matches!(self.open(), Some(Item { kind: Kind::Message(_), .. })) {
            self.push(Kind::Message(Vec::new()), false);
        }
        let Some(Item { kind: Kind::Message(parts), .. }) = self.queue.back_mut() else { return };
        match parts.last_mut().filter(|part| !part.ended && part.is_refusal == is_refusal) {
            Some(part) => part.text.push_str(words),
            None => {
                parts.iter_mut().for_each(|part| part.ended = true);
                parts.push(Part::new(words, is_refusal));
            }
        }
    }

    fn end_part(&mut self) {
        match self.open() {
            Some(Item { kind: Kind::Message(parts), .. }) => {
                parts.iter_mut().for_each(|part| part.ended = true);
            }
            Some(item @ Item { kind: Kind::Reasoning { .. }, .. }) => item.ended = true,
            _ => {}
        }
    }

    fn think(&mut self, words: &str) {
        match self.open() {
            Some(Item { kind: Kind::Reasoning { text, carried: None, .. }, .. }) => text.push_str(words),
            _ => self.push(Kind::reasoning(words, None), false),
        }
    }

    /// The seal of what is open, or of a thought without words.
    fn seal(&mut self, seal: &Seal) {
        match self.open() {
            Some(Item { kind: Kind::Reasoning { carried, .. }, .. }) => match carried {
                Some(Carried::Thought(before) | Carried::Text(before)) if before.maker == seal.maker => {
                    before.data.push_str(&seal.data);
                }
                carried => *carried = Some(Carried::Thought(seal.clone())),
            },
            Some(Item { kind: Kind::Message(parts), .. })
                if parts.last().is_some_and(|part| !part.ended && !part.is_refusal) =>
            {
                self.push(Kind::reasoning("", Some(Carried::Text(seal.clone()))), false);
            }
            _ => self.push(Kind::reasoning("", Some(Carried::Thought(seal.clone()))), false),
        }
    }

    fn call(&mut self, index: usize, id: &str, name: &str, seal: Option<&Seal>) {
        if let Some(seal) = seal {
            self.push(Kind::reasoning("", Some(Carried::Call(seal.clone()))), true);
        }
        let tool = self.tools.iter().flat_map(|tools| tools.iter()).find(|tool| tool.flat == name).cloned();
        let tool = tool.unwrap_or_else(|| ClientTool::function(name));
        let id = match id {
            "" => names::call_id(&self.identity.id, index),
            id => id.to_owned(),
        };
        self.push(Kind::call(index, id, tool), false);
    }

    fn call_of(&mut self, index: usize) -> Option<&mut Item> {
        self.queue
            .iter_mut()
            .rev()
            .find(|item| matches!(&item.kind, Kind::Call { index: own, .. } if *own == index))
    }

    fn cite(&mut self, citation: &Citation) {
        if let Some(Item { kind: Kind::Message(parts), .. }) = self.queue.back_mut()
            && let Some(part) = parts.last_mut()
            && let Some(note) = annotation(citation, &part.text)
        {
            part.notes.push(note);
        }
    }

    /// Tells what is new of the first item, and of those behind it as far as it is complete.
    fn advance(&mut self, out: &mut BytesMut) {
        while let Some(item) = self.queue.front_mut() {
            item.tell(self.told, &self.object.id, &mut self.voice, out);
            if !item.ended {
                return;
            }
            item.close(self.told, &mut self.voice, &mut self.output, out);
            self.told += 1;
            self.queue.pop_front();
        }
    }
}

impl EncodeEvents for Encoder {
    fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, created, .. } => {
                return self.begin(id.as_deref().unwrap_or_default(), *created, out);
            }
            Event::Choice(number) => self.elsewhere = *number > 0,
            Event::Usage(usage) => self.usage.merge(*usage),
            Event::Error(error) => return self.fail(error, out),
            Event::KeepAlive => return self.keepalive(out),
            _ if self.elsewhere => return,
            Event::Text(words) => {
                self.size += words.len();
                self.say(words, false);
            }
            Event::Refusal(words) => {
                self.size += words.len();
                self.say(words, true);
            }
            Event::Thinking(words) => {
                self.size += words.len();
                self.think(words);
            }
            Event::Seal(seal) => {
                self.size += seal.data.len();
                self.seal(seal);
            }
            Event::BlockEnd => self.end_part(),
            Event::RedactedThinking(data) => {
                self.size += data.len();
                self.push(Kind::reasoning("", Some(Carried::Redacted(data.clone()))), true);
            }
            Event::ToolStart { index, id, name, seal } => self.call(*index, id, name, seal.as_ref()),
            Event::ToolArgs { index, fragment } => {
                self.size += fragment.len();
                if let Some(Item { kind: Kind::Call { arguments, .. }, ended: false, .. }) =
                    self.call_of(*index)
                {
                    arguments.push_str(fragment);
                }
            }
            Event::ToolEnd { index } => {
                if let Some(call) = self.call_of(*index) {
                    call.ended = true;
                }
            }
            Event::Image { mime, data, .. } => {
                self.size += data.len();
                let format = mime.rsplit('/').next().unwrap_or("png").to_owned();
                let picture = String::from_utf8_lossy(data).into_owned();
                self.push(Kind::Picture { format, data: picture }, true);
            }
            Event::ImageUrl(url) => {
                self.end_part();
                self.say(&format!("![image]({url})"), false);
                self.end_part();
            }
            // There is no place for the sound itself, which no client of this dialect can ask for.
            Event::Audio { transcript, .. } => {
                self.size += transcript.len();
                self.say(transcript, false);
            }
            Event::Citation(citation) => self.cite(citation),
            Event::Logprobs(likely) => {
                if let Some(Item { kind: Kind::Message(parts), .. }) = self.queue.back_mut()
                    && let Some(part) = parts.last_mut()
                {
                    part.likely.extend(likely.iter().map(logprob));
                }
            }
            Event::Opaque { dialect: Dialect::Responses, json } => {
                self.push(Kind::Other(json.clone()), true);
            }
            // What other providers did by themselves stands in their own words, which nobody here reads.
            Event::Opaque { .. } => {}
            Event::Finish { reason, .. } => self.finish = Some(*reason),
        }
        if self.size > LONGEST {
            let error = Error::malformed("the answer is longer than 32 MiB");
            return self.fail(&error, out);
        }
        if !self.queue.is_empty() {
            self.begin("", None, out);
            self.advance(out);
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let Some(finish) = self.finish.filter(|_| !self.over) else { return };
        self.begin("", None, out);
        let (status, reason) = finish.to_responses();
        if reason.is_some()
            && let Some(last) = self.open()
        {
            last.is_cut = true;
        }
        self.queue.iter_mut().for_each(|item| item.ended = true);
        self.advance(out);
        self.over = true;
        let name = if reason.is_some() { "response.incomplete" } else { "response.completed" };
        let usage = self.usage.to_responses();
        self.object.end(status, reason, usage);
        let (object, output) = (&self.object, &self.output);
        self.voice.event(out, name, |out| object.write_member(output, out));
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        if self.over {
            return;
        }
        self.begin("", None, out);
        self.over = true;
        self.finish = None;
        // What was begun stays, and says that it is not whole.
        for item in &mut self.queue {
            item.is_cut = true;
            item.put(self.told, &self.object.id, &mut self.output);
            self.told += 1;
        }
        self.object.fail(response_error(error));
        let (object, output) = (&self.object, &self.output);
        self.voice.event(out, "response.failed", |out| object.write_member(output, out));
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(ErrorShape::Responses.keepalive());
    }

    fn told(&mut self) -> Option<Bytes> {
        let is_whole = self.over && self.finish.is_some();
        is_whole.then(|| {
            let mut out = BytesMut::with_capacity(self.output.len() + 1024);
            self.object.write(&self.output, &mut out);
            out.freeze()
        })
    }
}

/// A source of a text; only addresses, and what is told in this dialect's own words, can be expressed.
fn annotation(citation: &Citation, text: &str) -> Option<Value> {
    if let Some(own) = citation.raw.as_ref().and_then(|raw| raw.of(Dialect::Responses)) {
        return Some(own.clone());
    }
    let url = citation.url.as_deref()?;
    let (start, end) = match &citation.span {
        Some(span) => (span.start as usize, span.end as usize),
        None => (0, text.chars().count()),
    };
    Some(json!({
        "type": "url_citation",
        "start_index": start,
        "end_index": end,
        "title": citation.title.as_deref().unwrap_or(url),
        "url": url,
    }))
}

fn logprob(likely: &Logprob) -> Value {
    let one = |likely: &Logprob| {
        let bytes = likely.bytes.clone().unwrap_or_else(|| likely.token.as_bytes().to_vec());
        json!({ "token": likely.token, "logprob": likely.logprob, "bytes": bytes })
    };
    let mut value = one(likely);
    value["top_logprobs"] = likely.top.iter().map(one).collect();
    value
}
