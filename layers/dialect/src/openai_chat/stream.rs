//! Reads and writes the streamed answers of OpenAI chat.

use std::io::Write;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use super::wire::{Chunk, Function, Message, Part};
use crate::framing::Frame;
use crate::ir::{Citation, Error, Event, FinishReason, Source, Usage};
use crate::lenient::TextOr;
use crate::{Correspondence, DecodeEvents, EncodeEvents, ErrorShape, Malformed, StreamStyle, media, names};

/// Reads chunks, and whole answers as a chunk of their own.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    correspondence: Correspondence,
    started: bool,
    ended: bool,
    /// Prefix of identities that the upstream left out.
    seed: String,
    calls: Vec<Call>,
    finish: Option<(FinishReason, String)>,
}

/// A tool call under way. Its place in the list is its dense index.
#[derive(Debug, Default)]
struct Call {
    /// The index the upstream gives it, if any.
    index: Option<u64>,
    id: String,
    name: String,
    /// Arguments that came before the name.
    early: String,
    announced: bool,
    any_arguments: bool,
}

impl Decoder {
    pub(crate) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    /// Reads what a chunk, or a whole answer, says.
    pub(crate) fn read(&mut self, chunk: &Chunk<'_>, out: &mut Vec<Event>) {
        // Azure opens with a chunk that has neither id nor choices.
        if !self.started && (chunk.id.full().is_some() || !chunk.choices.0.is_empty()) {
            self.started = true;
            self.seed = chunk.id.text().to_owned();
            let created = Some(chunk.created.0).filter(|created| *created > 0);
            out.push(Event::Start { id: chunk.id.owned(), model: chunk.model.owned(), created });
        }
        // Further candidates have no place in other dialects.
        for choice in chunk.choices.0.iter().filter(|choice| choice.index.0 == 0) {
            if let Some(message) = choice.message() {
                self.read_message(message, out);
            }
            push_text(choice.text.text(), out, Event::Text);
            match FinishReason::from_openai(choice.finish_reason.text()) {
                Some(FinishReason::Error) => return self.fail(super::failed_choice(), out),
                Some(reason) => self.finish = Some((reason, choice.finish_reason.text().to_owned())),
                None => {}
            }
        }
        out.extend(chunk.usage().map(Event::Usage));
    }

    fn read_message(&mut self, message: &Message<'_>, out: &mut Vec<Event>) {
        push_text(message.thinking(), out, Event::Thinking);
        match &message.content {
            TextOr::Text(text) => push_text(text, out, Event::Text),
            TextOr::Parts(parts) => parts.iter().for_each(|part| read_part(part, out)),
            TextOr::Absent => {}
        }
        push_text(message.refusal.text(), out, Event::Refusal);
        message.images.0.iter().for_each(|image| read_part(image, out));
        if let Some(audio) = &message.audio.0 {
            out.push(Event::Audio {
                id: audio.id.owned(),
                base64: audio.data.text().to_owned(),
                transcript: audio.transcript.text().to_owned(),
                expires_at: Some(audio.expires_at.0).filter(|until| *until > 0),
            });
        }
        for call in &message.tool_calls.0 {
            let Some(function) = &call.function.0 else { continue };
            let place = self.place(call.index.map(|index| index.0), call.id.text(), function);
            self.advance(place, call.id.text(), function, out);
        }
        // The form before tool calls; there is at most one.
        if let Some(function) = &message.function_call.0 {
            let place = self.place(Some(u64::MAX), "", function);
            self.advance(place, "", function, out);
        }
        for annotation in &message.annotations.0 {
            if let Some(source) = &annotation.url_citation.0 {
                out.push(Event::Citation(Citation {
                    url: source.url.owned(),
                    title: source.title.owned(),
                    cited_text: source.content.owned(),
                    raw: Value::Null,
                }));
            }
        }
    }

    /// Which call a fragment belongs to. Some providers number no calls, or all of them 0.
    fn place(&mut self, index: Option<u64>, id: &str, function: &Function<'_>) -> usize {
        let known = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.id == id),
            None if function.name.full().is_some() => None,
            None => self.calls.len().checked_sub(1),
        };
        let same = |place: &usize| {
            let call = &self.calls[*place];
            id.is_empty() || call.id.is_empty() || call.id == id
        };
        known.filter(same).unwrap_or_else(|| {
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        })
    }

    fn advance(&mut self, place: usize, id: &str, function: &Function<'_>, out: &mut Vec<Event>) {
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        // A provider that repeats the name in every fragment must not start the call again.
        if !call.announced {
            call.name.push_str(function.name.text());
        }
        call.early.push_str(&function.arguments());
        if !call.name.is_empty() {
            self.announce(place, out);
        }
    }

    /// Gives out a call's start, and the arguments that have come.
    fn announce(&mut self, place: usize, out: &mut Vec<Event>) {
        let call = &mut self.calls[place];
        if !call.announced {
            call.announced = true;
            if call.id.is_empty() {
                call.id = names::call_id(&self.seed, place);
            }
            out.push(Event::ToolStart {
                index: place,
                id: call.id.clone(),
                name: self.correspondence.tool(&call.name).to_owned(),
                signature: None,
            });
        }
        if !call.early.is_empty() {
            call.any_arguments = true;
            out.push(Event::ToolArgs { index: place, fragment: std::mem::take(&mut call.early) });
        }
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.ended = true;
        out.push(Event::Error(error));
    }

    /// Ends the answer: with what the upstream said, or, after its terminal marker, with a plain stop.
    pub(crate) fn end(&mut self, marked: bool, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (reason, raw) = match self.finish.take() {
            Some((reason, raw)) => (reason, Some(raw)),
            None if marked => (FinishReason::Stop, None),
            None => return out.push(Event::Error(Error::truncated())),
        };
        for place in 0..self.calls.len() {
            self.announce(place, out);
            if !self.calls[place].any_arguments {
                out.push(Event::ToolArgs { index: place, fragment: "{}".to_owned() });
            }
            out.push(Event::ToolEnd { index: place });
        }
        let reason = match reason {
            FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
            reason => reason,
        };
        out.push(Event::Finish { reason, raw, stop_sequence: None });
    }
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ended {
            return Ok(());
        }
        match payload {
            b"" => out.push(Event::KeepAlive),
            b"[DONE]" => self.end(true, out),
            _ => match Chunk::read(payload) {
                Ok(Some(chunk)) => self.read(&chunk, out),
                Ok(None) => return Err(Malformed::new("upstream sent an event that is no chat chunk")),
                Err(error) => self.fail(error, out),
            },
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.end(false, out);
    }
}

fn push_text(text: &str, out: &mut Vec<Event>, event: impl FnOnce(String) -> Event) {
    if !text.is_empty() {
        out.push(event(text.to_owned()));
    }
}

fn read_part(part: &Part<'_>, out: &mut Vec<Event>) {
    push_text(&part.thoughts(), out, Event::Thinking);
    push_text(part.text.text(), out, Event::Text);
    push_text(part.refusal.text(), out, Event::Refusal);
    if let Some(address) = &part.image_url.0 {
        match media::source(address.url.text(), "image/png") {
            Ok(Source::Base64 { mime, data }) => {
                out.push(Event::Image { mime, base64: data, signature: None });
            }
            Ok(Source::Url(url)) => out.push(Event::ImageUrl(url)),
            _ => {}
        }
    }
}

/// Writes chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    style: StreamStyle,
    /// Everything before `delta`, written once.
    head: Vec<u8>,
    role_sent: bool,
    called: bool,
    failed: bool,
    /// Characters of text so far: where citations point.
    characters: usize,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

impl Encoder {
    pub(crate) fn new(style: &StreamStyle) -> Self {
        let mut style = style.clone();
        style.id = super::answer_id(&style.id);
        Self {
            style,
            head: Vec::new(),
            role_sent: false,
            called: false,
            failed: false,
            characters: 0,
            finish: None,
            usage: None,
        }
    }

    /// The fields that all chunks of an answer share.
    fn head(&mut self, out: &mut BytesMut) {
        if self.head.is_empty() {
            let shared = json!({
                "id": self.style.id,
                "object": "chat.completion.chunk",
                "created": self.style.created,
                "model": self.style.model,
            });
            self.head = format!("data: {shared}").into_bytes();
            self.head.pop();
        }
        out.extend_from_slice(&self.head);
    }

    /// Says whose answer it is, once.
    fn role(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.role_sent, true) {
            self.open(out);
            out.extend_from_slice(br#""role":"assistant","content":null"#);
            self.close(out, None);
        }
    }

    /// A chunk up to the inside of its delta.
    fn open(&mut self, out: &mut BytesMut) {
        self.head(out);
        out.extend_from_slice(br#","choices":[{"index":0,"delta":{"#);
    }

    /// The rest of a chunk.
    fn close(&mut self, out: &mut BytesMut, finish: Option<&str>) {
        out.extend_from_slice(br#"},"logprobs":null,"finish_reason":"#);
        match finish {
            Some(reason) => string(out, reason),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}]");
        if self.style.include_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// One chunk; `delta` writes the inside of the braces.
    fn chunk(&mut self, out: &mut BytesMut, finish: Option<&str>, delta: impl FnOnce(&mut BytesMut)) {
        self.role(out);
        self.open(out);
        delta(out);
        self.close(out, finish);
    }

    fn field(&mut self, out: &mut BytesMut, name: &str, text: &str) {
        self.chunk(out, None, |out| {
            string(out, name);
            out.put_u8(b':');
            string(out, text);
        });
    }

    fn value(&mut self, out: &mut BytesMut, name: &str, value: &Value) {
        self.chunk(out, None, |out| {
            string(out, name);
            out.put_u8(b':');
            write(out, value);
        });
    }
}

impl EncodeEvents for Encoder {
    fn encode(&mut self, event: &Event, out: &mut BytesMut) {
        if self.failed {
            return;
        }
        match event {
            Event::Start { id, created, .. } => {
                if let Some(id) = id {
                    self.style.id = super::answer_id(id);
                }
                self.style.created = created.unwrap_or(self.style.created);
                self.role(out);
            }
            Event::Text(text) => {
                self.characters += text.chars().count();
                self.field(out, "content", text);
            }
            Event::Thinking(text) => self.field(out, "reasoning_content", text),
            Event::Refusal(text) => self.field(out, "refusal", text),
            Event::ToolStart { index, id, name, .. } => {
                self.called = true;
                let function = json!({ "name": name, "arguments": "" });
                let call = json!({ "index": index, "id": id, "type": "function", "function": function });
                self.value(out, "tool_calls", &json!([call]));
            }
            Event::ToolArgs { index, fragment } => self.chunk(out, None, |out| {
                let _ = write!(out.writer(), r#""tool_calls":[{{"index":{index},"function":{{"arguments":"#);
                string(out, fragment);
                out.extend_from_slice(b"}}]");
            }),
            Event::Image { mime, base64, .. } => {
                self.field(out, "content", &super::picture(&format!("data:{mime};base64,{base64}")));
            }
            Event::ImageUrl(url) => self.field(out, "content", &super::picture(url)),
            Event::Audio { id, base64, transcript, expires_at } => {
                let mut audio = serde_json::Map::new();
                for (name, text) in
                    [("id", id.as_deref().unwrap_or("")), ("data", base64), ("transcript", transcript)]
                {
                    if !text.is_empty() {
                        audio.insert(name.into(), text.into());
                    }
                }
                if let Some(until) = expires_at {
                    audio.insert("expires_at".into(), (*until).into());
                }
                self.value(out, "audio", &Value::Object(audio));
            }
            Event::Citation(citation) => {
                if let Some(annotation) = super::annotation(citation, self.characters) {
                    self.value(out, "annotations", &json!([annotation]));
                }
            }
            Event::Usage(usage) => self.usage.get_or_insert_default().merge(*usage),
            Event::Finish { reason, .. } => self.finish = Some(*reason),
            Event::Error(error) => {
                self.failed = true;
                out.extend_from_slice(&ErrorShape::OpenAi.event(error));
            }
            Event::KeepAlive => out.extend_from_slice(ErrorShape::OpenAi.keepalive()),
            // Seals have no place in this dialect, and calls end by themselves.
            Event::ThinkingSignature(_) | Event::RedactedThinking(_) | Event::ToolEnd { .. } => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        let Some(finish) = self.finish.take().filter(|_| !self.failed) else { return };
        self.chunk(out, Some(finish.to_openai(self.called)), |_| {});
        if self.style.include_usage {
            self.head(out);
            out.extend_from_slice(br#","choices":[],"usage":"#);
            write(out, &self.usage.unwrap_or_default().to_openai());
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

fn string(out: &mut BytesMut, text: &str) {
    serde_json::to_writer(out.writer(), text).expect("a buffer takes everything");
}

fn write(out: &mut BytesMut, value: &Value) {
    serde_json::to_writer(out.writer(), value).expect("a buffer takes everything");
}
