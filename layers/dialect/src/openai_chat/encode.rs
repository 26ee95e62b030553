//! Writes the streamed answers of OpenAI chat.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>. Times are unix seconds, positions in the
//! text are in characters.

use std::io::Write;

use bytes::{BufMut, BytesMut};
use serde_json::{Value, json};

use crate::ir::{Error, Event, FinishReason, Usage};
use crate::{EncodeEvents, ErrorShape, Identity, Manner, media};

/// An encoder of chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    include_usage: bool,
    identity: Identity,
    /// Everything before `delta`, written once.
    head: Vec<u8>,
    failed: bool,
    /// The candidates, in the order in which they came; never empty.
    choices: Vec<Told>,
    /// The place of the candidate that events are about.
    current: usize,
    usage: Option<Usage>,
}

/// The state of a candidate that is being told.
#[derive(Debug, Default)]
struct Told {
    number: u32,
    role_sent: bool,
    called: bool,
    /// Characters of text so far.
    characters: usize,
    /// Those before the block that is being told: where citations count from.
    block: usize,
    finish: Option<FinishReason>,
}

impl Encoder {
    pub(crate) fn new(manner: &Manner, identity: &Identity) -> Self {
        let mut identity = identity.clone();
        identity.id = super::answer_id(&identity.id);
        Self {
            include_usage: manner.include_usage,
            identity,
            head: Vec::new(),
            failed: false,
            choices: vec![Told::default()],
            current: 0,
            usage: None,
        }
    }

    fn told(&mut self) -> &mut Told {
        &mut self.choices[self.current]
    }

    /// The fields that all chunks of an answer share.
    fn head(&mut self, out: &mut BytesMut) {
        if self.head.is_empty() {
            let shared = json!({
                "id": self.identity.id,
                "object": "chat.completion.chunk",
                "created": self.identity.created,
                "model": self.identity.model,
            });
            self.head = format!("data: {shared}").into_bytes();
            self.head.pop();
        }
        out.extend_from_slice(&self.head);
    }

    /// Says whose answer it is, once for each candidate.
    fn role(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.told().role_sent, true) {
            self.open(out);
            out.extend_from_slice(br#""role":"assistant","content":null"#);
            self.close(out, None);
        }
    }

    /// A chunk up to the inside of its delta.
    fn open(&mut self, out: &mut BytesMut) {
        self.head(out);
        match self.told().number {
            0 => out.extend_from_slice(br#","choices":[{"index":0,"delta":{"#),
            number => {
                let _ = write!(out.writer(), r#","choices":[{{"index":{number},"delta":{{"#);
            }
        }
    }

    /// The rest of a chunk.
    fn close(&mut self, out: &mut BytesMut, finish: Option<&str>) {
        out.extend_from_slice(br#"},"logprobs":null,"finish_reason":"#);
        match finish {
            Some(reason) => string(out, reason),
            None => out.extend_from_slice(b"null"),
        }
        match finish.and(self.usage).and_then(|usage| usage.tier) {
            // It is known at the end only.
            Some(tier) => {
                out.extend_from_slice(br#"}],"service_tier":"#);
                string(out, tier.as_str());
                self.end_behind_choices(out);
            }
            None => self.end(out),
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b"}]");
        self.end_behind_choices(out);
    }

    fn end_behind_choices(&mut self, out: &mut BytesMut) {
        if self.include_usage {
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

    /// A picture within the text.
    fn picture(&mut self, out: &mut BytesMut, url: &str) {
        let picture = super::picture(url);
        self.told().characters += picture.chars().count();
        self.field(out, "content", &picture);
    }

    fn switch(&mut self, number: u32) {
        let known = self.choices.iter().position(|told| told.number == number);
        self.current = match known {
            Some(place) => place,
            // Nothing was said in the name of the first.
            None if self.choices.len() == 1 && !self.choices[0].role_sent => {
                self.choices[0].number = number;
                0
            }
            None => {
                self.choices.push(Told { number, ..Told::default() });
                self.choices.len() - 1
            }
        };
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
                    self.identity.id = super::answer_id(id);
                }
                self.identity.created = created.unwrap_or(self.identity.created);
                self.role(out);
            }
            Event::Choice(number) => self.switch(*number),
            Event::Text(text) => {
                self.told().characters += text.chars().count();
                self.field(out, "content", text);
            }
            Event::Thinking(text) => self.field(out, "reasoning_content", text),
            Event::Refusal(text) => self.field(out, "refusal", text),
            Event::BlockEnd => {
                let told = self.told();
                told.block = told.characters;
            }
            Event::ToolStart { index, id, name, seal } => {
                self.told().called = true;
                let function = json!({ "name": name, "arguments": "" });
                let mut call = json!({ "index": index, "id": id, "type": "function", "function": function });
                super::seals::put_beside(&mut call, seal.as_ref());
                self.value(out, "tool_calls", &json!([call]));
            }
            Event::ToolArgs { index, fragment } => self.chunk(out, None, |out| {
                let _ = write!(out.writer(), r#""tool_calls":[{{"index":{index},"function":{{"arguments":"#);
                string(out, fragment);
                out.extend_from_slice(b"}}]");
            }),
            Event::Image { mime, data, .. } => {
                let data = std::str::from_utf8(data).unwrap_or_default();
                self.picture(out, &format!("data:{mime};base64,{data}"));
            }
            Event::ImageUrl(url) => self.picture(out, url),
            Event::Audio { id, data, transcript, expires_at, .. } => {
                let mut audio = serde_json::Map::new();
                let data = media::encode(data);
                for (name, text) in
                    [("id", id.as_deref().unwrap_or("")), ("data", &data), ("transcript", transcript)]
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
                let told = self.told();
                if let Some(annotation) = super::annotation(citation, told.block, told.characters) {
                    self.value(out, "annotations", &json!([annotation]));
                }
            }
            Event::Logprobs(logprobs) => {
                self.role(out);
                self.open(out);
                out.extend_from_slice(br#"},"logprobs":"#);
                write(out, &super::logprobs(logprobs));
                out.extend_from_slice(br#","finish_reason":null"#);
                self.end(out);
            }
            Event::Usage(usage) => self.usage.get_or_insert_default().merge(*usage),
            Event::Finish { reason, .. } => self.told().finish = Some(*reason),
            Event::Error(error) => self.fail(error, out),
            Event::KeepAlive => self.keepalive(out),
            // Other seals and blocks of other dialects have no place in this one, and calls end by themselves.
            Event::Seal(_) | Event::RedactedThinking(_) | Event::ToolEnd { .. } | Event::Opaque { .. } => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if self.failed || self.choices.iter().all(|told| told.finish.is_none()) {
            return;
        }
        for place in 0..self.choices.len() {
            self.current = place;
            let Some(finish) = self.told().finish.take() else { continue };
            let called = self.told().called;
            self.chunk(out, Some(finish.to_openai(called)), |_| {});
        }
        if self.include_usage {
            self.head(out);
            out.extend_from_slice(br#","choices":[],"usage":"#);
            write(out, &self.usage.unwrap_or_default().to_openai());
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.failed, true) {
            out.extend_from_slice(&ErrorShape::OpenAi.event(error));
        }
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(ErrorShape::OpenAi.keepalive());
    }
}

fn string(out: &mut BytesMut, text: &str) {
    serde_json::to_writer(out.writer(), text).expect("a buffer takes everything");
}

fn write(out: &mut BytesMut, value: &Value) {
    serde_json::to_writer(out.writer(), value).expect("a buffer takes everything");
}
