//! The items of an answer that is being told: what came of each, and how much of it was told.

use bytes::BytesMut;
use serde_json::{Map, Value, json};

use super::super::carried::Carried;
use super::super::ids;
use super::super::manner::ClientTool;
use super::voice::{Voice, member};

/// An item under way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// Its identity; empty before it was announced.
    id: String,
    /// Nothing of it is to come.
    pub(super) ended: bool,
    /// It is not whole.
    pub(super) is_cut: bool,
}

/// The kinds of items.
#[derive(Debug)]
pub(super) enum Kind {
    Message(Vec<Part>),
    Reasoning {
        text: String,
        told: usize,
        carried: Option<Carried>,
    },
    Call {
        /// Which call of the candidate.
        index: usize,
        call_id: String,
        tool: ClientTool,
        arguments: String,
        told: usize,
    },
    Picture {
        format: String,
        data: String,
    },
    /// As its provider has told it.
    Other(Value),
}

/// A part of a message.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) text: String,
    pub(super) is_refusal: bool,
    pub(super) notes: Vec<Value>,
    pub(super) likely: Vec<Value>,
    pub(super) ended: bool,
    /// How much was told: that it began, of its text, of its sources, and that it ended.
    is_announced: bool,
    told: usize,
    noted: usize,
    is_closed: bool,
}

impl Part {
    pub(super) fn new(text: &str, is_refusal: bool) -> Self {
        Self {
            text: text.to_owned(),
            is_refusal,
            notes: Vec::new(),
            likely: Vec::new(),
            ended: false,
            is_announced: false,
            told: 0,
            noted: 0,
            is_closed: false,
        }
    }

    /// The part as it stands in the message, or as it begins.
    fn value(&self, begins: bool) -> Value {
        let text = if begins { "" } else { &self.text };
        match self.is_refusal {
            true => json!({ "type": "refusal", "refusal": text }),
            false if begins => {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
            }
            false => json!({
                "type": "output_text", "text": text, "annotations": self.notes, "logprobs": self.likely,
            }),
        }
    }

    /// Tells what is new of it; `place` writes where it stands.
    fn tell(&mut self, voice: &mut Voice, place: impl Fn(&mut BytesMut), out: &mut BytesMut) {
        if !std::mem::replace(&mut self.is_announced, true) {
            let part = self.value(true);
            voice.event(out, "response.content_part.added", |out| {
                place(out);
                member(out, "part", &part);
            });
        }
        if self.told < self.text.len() {
            let name = if self.is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
            let (text, is_refusal) = (&self.text[self.told..], self.is_refusal);
            voice.event(out, name, |out| {
                place(out);
                member(out, "delta", text);
                if !is_refusal {
                    out.extend_from_slice(b",\"logprobs\":[]");
                }
            });
            self.told = self.text.len();
        }
        for (number, note) in self.notes.iter().enumerate().skip(self.noted) {
            voice.event(out, "response.output_text.annotation.added", |out| {
                place(out);
                member(out, "annotation_index", &number);
                member(out, "annotation", note);
            });
        }
        self.noted = self.notes.len();
        if self.ended && !std::mem::replace(&mut self.is_closed, true) {
            let (text, likely) = (&self.text, &self.likely);
            match self.is_refusal {
                true => voice.event(out, "response.refusal.done", |out| {
                    place(out);
                    member(out, "refusal", text);
                }),
                false => voice.event(out, "response.output_text.done", |out| {
                    place(out);
                    member(out, "text", text);
                    member(out, "logprobs", likely);
                }),
            }
            let part = self.value(false);
            voice.event(out, "response.content_part.done", |out| {
                place(out);
                member(out, "part", &part);
            });
        }
    }
}

impl Kind {
    pub(super) fn reasoning(words: &str, carried: Option<Carried>) -> Self {
        Self::Reasoning { text: words.to_owned(), told: 0, carried }
    }

    pub(super) fn call(index: usize, call_id: String, tool: ClientTool) -> Self {
        Self::Call { index, call_id, tool, arguments: String::new(), told: 0 }
    }

    /// What stands before an identity.
    fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { tool, .. } if tool.is_custom => "ctc",
            Self::Call { .. } => "fc",
            Self::Picture { .. } => "ig",
            Self::Other(_) => "item",
        }
    }
}

impl Item {
    pub(super) fn new(kind: Kind, ended: bool) -> Self {
        Self { kind, id: String::new(), ended, is_cut: false }
    }

    /// Tells what is new of it, at this place of the output.
    pub(super) fn tell(&mut self, at: usize, response: &str, voice: &mut Voice, out: &mut BytesMut) {
        if self.id.is_empty() {
            self.id = ids::item(self.kind.prefix(), response, at);
            let item = self.value(true);
            voice.event(out, "response.output_item.added", |out| {
                member(out, "output_index", &at);
                member(out, "item", &item);
            });
        }
        let id = &self.id;
        let place = |out: &mut BytesMut| {
            member(out, "item_id", id);
            member(out, "output_index", &at);
        };
        match &mut self.kind {
            Kind::Message(parts) => {
                if self.ended {
                    parts.iter_mut().for_each(|part| part.ended = true);
                }
                for (number, part) in parts.iter_mut().enumerate() {
                    let place = |out: &mut BytesMut| {
                        place(out);
                        member(out, "content_index", &number);
                    };
                    part.tell(voice, place, out);
                }
            }
            Kind::Reasoning { text, told, .. } => {
                let place = |out: &mut BytesMut| {
                    place(out);
                    out.extend_from_slice(b",\"summary_index\":0");
                };
                let part = |text: &str| json!({ "type": "summary_text", "text": text });
                if *told < text.len() {
                    if *told == 0 {
                        voice.event(out, "response.reasoning_summary_part.added", |out| {
                            place(out);
                            member(out, "part", &part(""));
                        });
                    }
                    voice.event(out, "response.reasoning_summary_text.delta", |out| {
                        place(out);
                        member(out, "delta", &text[*told..]);
                    });
                    *told = text.len();
                }
                if self.ended && !text.is_empty() {
                    voice.event(out, "response.reasoning_summary_text.done", |out| {
                        place(out);
                        member(out, "text", text);
                    });
                    voice.event(out, "response.reasoning_summary_part.done", |out| {
                        place(out);
                        member(out, "part", &part(text));
                    });
                }
            }
            // What a tool without a schema is given stands within the arguments, so it is told when they are whole.
            Kind::Call { tool, arguments, .. } if tool.is_custom => {
                if !self.ended {
                    return;
                }
                let input = input_of(arguments);
                if !input.is_empty() {
                    voice.event(out, "response.custom_tool_call_input.delta", |out| {
                        place(out);
                        member(out, "delta", &input);
                    });
                }
                voice.event(out, "response.custom_tool_call_input.done", |out| {
                    place(out);
                    member(out, "input", &input);
                });
            }
            Kind::Call { tool, arguments, told, .. } => {
                if self.ended && arguments.trim().is_empty() {
                    // Clients parse arguments as JSON, and a call without any means none.
                    "{}".clone_into(arguments);
                    *told = 0;
                }
                if *told < arguments.len() {
                    voice.event(out, "response.function_call_arguments.delta", |out| {
                        place(out);
                        member(out, "delta", &arguments[*told..]);
                    });
                    *told = arguments.len();
                }
                if self.ended {
                    voice.event(out, "response.function_call_arguments.done", |out| {
                        place(out);
                        member(out, "name", &tool.name);
                        member(out, "arguments", arguments);
                    });
                }
            }
            Kind::Picture { .. } => {
                for name in ["in_progress", "generating", "completed"] {
                    let name = format!("response.image_generation_call.{name}");
                    voice.event(out, &name, place);
                }
            }
            Kind::Other(_) => {}
        }
    }

    /// Tells that it is complete, and puts it among those that are.
    pub(super) fn close(&mut self, at: usize, voice: &mut Voice, output: &mut Vec<u8>, out: &mut BytesMut) {
        let start = self.write(output);
        let written = &output[start..];
        voice.event(out, "response.output_item.done", |out| {
            member(out, "output_index", &at);
            out.extend_from_slice(b",\"item\":");
            out.extend_from_slice(written);
        });
    }

    /// Puts it among the items of the output, at this place.
    pub(super) fn put(&mut self, at: usize, response: &str, output: &mut Vec<u8>) {
        if self.id.is_empty() {
            self.id = ids::item(self.kind.prefix(), response, at);
        }
        self.write(output);
    }

    /// Writes it behind the others. Gives back where it begins.
    fn write(&self, output: &mut Vec<u8>) -> usize {
        if !output.is_empty() {
            output.push(b',');
        }
        let start = output.len();
        serde_json::to_writer(&mut *output, &self.value(false)).expect("a buffer takes everything");
        start
    }

    /// The item as it is, or as it begins.
    fn value(&self, begins: bool) -> Value {
        let status = match (begins, self.is_cut) {
            (true, _) => "in_progress",
            (false, true) => "incomplete",
            (false, false) => "completed",
        };
        let id = &self.id;
        match &self.kind {
            Kind::Message(parts) => {
                let content: Vec<Value> = match begins {
                    true => Vec::new(),
                    false => parts.iter().map(|part| part.value(false)).collect(),
                };
                json!({
                    "id": id, "type": "message", "status": status, "role": "assistant", "content": content,
                })
            }
            Kind::Reasoning { text, carried, .. } => {
                let mut item = json!({ "id": id, "type": "reasoning", "summary": [] });
                if !begins && !text.is_empty() {
                    item["summary"] = json!([{ "type": "summary_text", "text": text }]);
                }
                if !begins && let Some(carried) = carried {
                    item["encrypted_content"] = carried.write().into();
                }
                if self.is_cut {
                    item["status"] = status.into();
                }
                item
            }
            Kind::Call { call_id, tool, arguments, .. } if tool.is_custom => {
                let input = if begins { String::new() } else { input_of(arguments) };
                let mut item = json!({
                    "id": id, "type": "custom_tool_call", "status": status, "call_id": call_id,
                    "name": tool.name, "input": input,
                });
                if let Some(space) = &tool.namespace {
                    item["namespace"] = space.as_str().into();
                }
                item
            }
            Kind::Call { call_id, tool, arguments, .. } => {
                let arguments = if begins { "" } else { arguments.as_str() };
                let mut item = json!({
                    "id": id, "type": "function_call", "status": status, "call_id": call_id,
                    "name": tool.name, "arguments": arguments,
                });
                if let Some(space) = &tool.namespace {
                    item["namespace"] = space.as_str().into();
                }
                item
            }
            Kind::Picture { format, data } => {
                let mut item = json!({
                    "id": id, "type": "image_generation_call", "status": status, "result": null,
                });
                if !begins {
                    item["result"] = data.as_str().into();
                    item["output_format"] = format.as_str().into();
                }
                item
            }
            Kind::Other(json) => json.clone(),
        }
    }
}

/// What a tool without a schema is given, out of the arguments of the function that stands for it.
pub(super) fn input_of(arguments: &str) -> String {
    match serde_json::from_str::<Map<String, Value>>(arguments) {
        Ok(mut members) => {
            let own = members.shift_remove(ClientTool::INPUT);
            match own.or_else(|| members.into_iter().next().map(|(_, value)| value)) {
                Some(Value::String(input)) => input,
                Some(other) => other.to_string(),
                None => String::new(),
            }
        }
        // Models that know no schema write the input itself.
        Err(_) => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_of_a_freeform_tool_is_found_however_a_model_writes_it() {
        for (arguments, input) in [
            (r#"{"input":"*** Begin\n\"x\""}"#, "*** Begin\n\"x\""),
            (r#"{"patch":"p"}"#, "p"),
            (r#"{"a":"x","input":"y"}"#, "y"),
            ("*** Begin", "*** Begin"),
            ("{}", ""),
            ("", ""),
            (r#"{"input":{"a":1}}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(input_of(arguments), input, "{arguments}");
        }
    }
}
