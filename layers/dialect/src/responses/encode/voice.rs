//! The events of a response by their numbers, and the response itself as it is told at its beginning and its end.

use std::io::Write;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::words::response_error;
use crate::Manner;
use crate::ir::Error;

/// A writer of events.
#[derive(Debug, Default)]
pub(super) struct Voice {
    next: u64,
    /// Nothing is said: only what is told at the end is wanted.
    pub(super) is_mute: bool,
}

impl Voice {
    /// An event; `fields` writes its members behind the first two, each behind a comma.
    pub(super) fn event(&mut self, out: &mut BytesMut, name: &str, fields: impl FnOnce(&mut BytesMut)) {
        if self.is_mute {
            return;
        }
        let number = self.next;
        self.next += 1;
        let _ =
            write!(out.writer(), "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{number}");
        fields(out);
        out.extend_from_slice(b"}\n\n");
    }
}

/// A member of an object that is being written, with the comma before it.
pub(super) fn member(out: &mut BytesMut, name: &str, value: &(impl Serialize + ?Sized)) {
    out.put_u8(b',');
    json_into(out, name);
    out.put_u8(b':');
    json_into(out, value);
}

pub(super) fn json_into(out: &mut BytesMut, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out.writer(), value).expect("a buffer takes everything");
}

/// A response as it tells of itself beside its items.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: String,
    pub(super) created: u64,
    model: String,
    status: &'static str,
    error: Value,
    incomplete: Value,
    usage: Value,
    /// What the request asked for, told again.
    asked: Map<String, Value>,
}

impl Object {
    pub(super) fn new(manner: &Manner, model: &str) -> Self {
        let said = manner.echo.as_deref();
        let mut asked = Map::new();
        for (name, otherwise) in defaults() {
            let own = said.and_then(|said| said.get(name)).filter(|value| !value.is_null()).cloned();
            asked.insert(name.to_owned(), own.unwrap_or(otherwise));
        }
        asked.insert("previous_response_id".to_owned(), manner.previous.as_deref().into());
        asked.insert("store".to_owned(), manner.keeps.into());
        Self {
            id: String::new(),
            created: 0,
            model: model.to_owned(),
            status: "in_progress",
            error: Value::Null,
            incomplete: Value::Null,
            usage: Value::Null,
            asked,
        }
    }

    /// It ended like this.
    pub(super) fn end(&mut self, status: &'static str, reason: Option<&str>, usage: Value) {
        self.status = status;
        self.incomplete = reason.map_or(Value::Null, |reason| json!({ "reason": reason }));
        self.usage = usage;
    }

    /// It failed.
    pub(super) fn fail(&mut self, error: Value) {
        self.status = "failed";
        self.error = error;
    }

    /// The member of an event that tells of its beginning.
    pub(super) fn write_beginning(&self, out: &mut BytesMut) {
        self.write_member(&[], out);
    }

    /// The same with these items.
    pub(super) fn write_member(&self, output: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(b",\"response\":");
        self.write(output, out);
    }

    /// Itself with these items.
    pub(super) fn write(&self, output: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(b"{\"id\":");
        json_into(out, &self.id);
        out.extend_from_slice(b",\"object\":\"response\"");
        member(out, "created_at", &self.created);
        member(out, "status", self.status);
        member(out, "background", &false);
        member(out, "error", &self.error);
        member(out, "incomplete_details", &self.incomplete);
        member(out, "model", &self.model);
        out.extend_from_slice(b",\"output\":[");
        out.extend_from_slice(output);
        out.put_u8(b']');
        for (name, value) in &self.asked {
            member(out, name, value);
        }
        member(out, "usage", &self.usage);
        out.put_u8(b'}');
    }
}

/// The fields of a request that its response tells again, with what stands there where the client said nothing.
fn defaults() -> [(&'static str, Value); 19] {
    [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", true.into()),
        ("previous_response_id", Value::Null),
        ("prompt_cache_key", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("safety_identifier", Value::Null),
        ("service_tier", "default".into()),
        ("store", false.into()),
        ("temperature", Value::Null),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", "auto".into()),
        ("tools", json!([])),
        ("top_logprobs", 0.into()),
        ("top_p", Value::Null),
        ("truncation", "disabled".into()),
        ("user", Value::Null),
    ]
}

/// A response that somebody else tells, as far as it is known, for the case that we have to tell its end.
#[derive(Debug, Default)]
pub(in super::super) struct Begun {
    voice: Voice,
    id: String,
    model: String,
    created: u64,
}

impl Begun {
    /// An event with this number went by.
    pub(in super::super) fn number(&mut self, number: Option<u64>) {
        if let Some(number) = number {
            self.voice.next = self.voice.next.max(number.saturating_add(1));
        }
    }

    /// It said who it is.
    pub(in super::super) fn answer(&mut self, id: &str, model: &str, created: u64) {
        (self.id, self.model, self.created) = (id.to_owned(), model.to_owned(), created);
    }

    /// Tells that it failed; first of all that it had begun, where nothing was told.
    pub(in super::super) fn fail(mut self, error: &Error, out: &mut BytesMut) {
        let mut object = Object::new(&Manner::default(), &self.model);
        object.id = if self.id.is_empty() { ids::response("") } else { self.id };
        object.created = self.created;
        if self.voice.next == 0 {
            self.voice.event(out, "response.created", |out| object.write_beginning(out));
        }
        object.fail(response_error(error));
        self.voice.event(out, "response.failed", |out| object.write_member(&[], out));
    }
}
