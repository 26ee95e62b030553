//! OpenAI's Responses, which keep nothing here: thoughts come sealed and have to come back.

use serde_json::{Value, json};

use super::super::model::{
    Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, THINKING, Thought, Turn, refuse,
};
use super::{Speaks, bearer, inline, list, named, only, parsed, path, pieces, text, tool};
use crate::harness::*;

/// An upstream of Responses.
pub(crate) struct Responses;

const KNOWN: [&str; 13] = [
    "model",
    "input",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "max_output_tokens",
    "include",
    "store",
    "stream",
    "parallel_tool_calls",
    "temperature",
    "stream_options",
];

fn content(item: &Value, of: &str) -> Result<Vec<Part>, Refusal> {
    if let Some(text) = item["content"].as_str() {
        return Ok(vec![Part::Text(text.to_owned())]);
    }
    let part = |part: &Value| match part["type"].as_str() {
        Some(kind) if kind == format!("{of}_text") => Ok(Part::Text(text(part, "text")?)),
        Some("input_image") if of == "input" => Ok(Part::Image(inline(&text(part, "image_url")?)?)),
        _ => refuse(format!("a part of an unknown type: {part}")),
    };
    list(item, "content")?.iter().map(part).collect()
}

fn texts(parts: Vec<Part>) -> String {
    parts.into_iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }).collect()
}

/// The model's turn that items go on with, or a new one.
fn turn(asked: &mut Asked) -> &mut Spoken {
    if !matches!(asked.turns.last(), Some(Turn::Model(_))) {
        asked.turns.push(Turn::Model(Spoken::default()));
    }
    match asked.turns.last_mut() {
        Some(Turn::Model(spoken)) => spoken,
        _ => unreachable!("it was pushed"),
    }
}

fn item(item: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    match item["type"].as_str().or(item["role"].as_str().map(|_| "message")) {
        Some("message") => {
            only(item, &["type", "role", "content", "status", "phase"], "message")?;
            match item["role"].as_str() {
                Some("system" | "developer") => asked.system.push_str(&texts(content(item, "input")?)),
                Some("user") => asked.turns.push(Turn::User(content(item, "input")?)),
                Some("assistant") => turn(asked).text.push_str(&texts(content(item, "output")?)),
                _ => return refuse(format!("a message of an unknown role: {item}")),
            }
        }
        Some("reasoning") => {
            only(item, &["type", "summary", "encrypted_content", "content"], "reasoning")?;
            let summary = list(item, "summary")?;
            let thought: Result<String, Refusal> = summary.iter().map(|part| text(part, "text")).collect();
            turn(asked).thought = Some(Thought { text: thought?, seal: text(item, "encrypted_content")? });
        }
        Some("function_call") => {
            only(item, &["type", "call_id", "name", "arguments", "status"], "function_call")?;
            let call = Call {
                id: text(item, "call_id")?,
                name: text(item, "name")?,
                arguments: parsed(&text(item, "arguments")?)?,
            };
            turn(asked).calls.push(call);
        }
        Some("function_call_output") => {
            only(item, &["type", "call_id", "output", "status"], "function_call_output")?;
            asked.result(&text(item, "call_id")?, text(item, "output")?)?;
        }
        _ => return refuse(format!("an item of an unknown type: {item}")),
    }
    Ok(())
}

fn items(spoken: &Spoken) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(thought) = &spoken.thought {
        items.push(json!({
            "id": "rs_1", "type": "reasoning", "encrypted_content": thought.seal,
            "summary": [{ "type": "summary_text", "text": thought.text }],
        }));
    }
    if !spoken.text.is_empty() {
        items.push(json!({
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": spoken.text, "annotations": [], "logprobs": [] }],
        }));
    }
    for (at, call) in spoken.calls.iter().enumerate() {
        items.push(json!({
            "id": format!("fc_{at}"), "type": "function_call", "status": "completed", "call_id": call.id,
            "name": call.name, "arguments": call.arguments.to_string(),
        }));
    }
    items
}

fn response(status: &str, output: &[Value], usage: &Value) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "gpt-5-mini", "error": null,
        "incomplete_details": null, "output": output, "usage": usage, "parallel_tool_calls": true, "store": false,
    })
}

/// Events, numbered as they are told.
struct Events(Vec<String>);

impl Events {
    fn tell(&mut self, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.0.len().into();
        self.0.push(named(kind, &event));
    }

    fn item(&mut self, index: usize, item: &Value) {
        let mut begun = item.clone();
        let kind = item["type"].as_str().unwrap();
        let deltas = |name: &str, text: &Value, more: Value| -> Vec<(String, Value)> {
            let delta = |piece: String| {
                let mut event = json!({ "output_index": index, "item_id": item["id"], "delta": piece });
                event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                (format!("response.{name}.delta"), event)
            };
            pieces(text.as_str().unwrap()).into_iter().map(delta).collect()
        };
        let told = match kind {
            "reasoning" => {
                begun["summary"] = json!([]);
                deltas("reasoning_summary_text", &item["summary"][0]["text"], json!({ "summary_index": 0 }))
            }
            "message" => {
                begun["content"] = json!([]);
                deltas("output_text", &item["content"][0]["text"], json!({ "content_index": 0 }))
            }
            _ => {
                begun["arguments"] = json!("");
                deltas("function_call_arguments", &item["arguments"], json!({}))
            }
        };
        self.tell("response.output_item.added", json!({ "output_index": index, "item": begun }));
        for (name, event) in told {
            self.tell(&name, event);
        }
        self.tell("response.output_item.done", json!({ "output_index": index, "item": item }));
    }
}

impl Speaks for Responses {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        path(seen, "/v1/responses")?;
        bearer(seen, "key-of-responses")?;
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream: body["stream"] == true, ..Asked::default() };
        if body["store"] != false || body["include"] != json!(["reasoning.encrypted_content"]) {
            return refuse("thoughts are neither kept nor sealed");
        }
        asked.thinks = body["reasoning"]["effort"].is_string() && body["reasoning"]["summary"].is_string();
        for one in list(&body, "input")? {
            item(one, &mut asked)?;
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            only(offered, &["type", "name", "description", "parameters", "strict"], "tool")?;
            asked.tools.push(tool(&offered["name"], &offered["parameters"])?);
        }
        let format = &body["text"]["format"];
        if format["type"] == "json_schema" {
            only(format, &["type", "name", "schema", "strict", "description"], "text.format")?;
            text(format, "name")?;
            asked.schema = Some(format["schema"].clone());
        }
        asked.complete()
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        let thinking = if spoken.thought.is_some() { THINKING } else { 0 };
        let usage = json!({
            "input_tokens": INPUT, "input_tokens_details": { "cached_tokens": 0 }, "output_tokens": OUTPUT,
            "output_tokens_details": { "reasoning_tokens": thinking }, "total_tokens": INPUT + OUTPUT,
        });
        let items = items(spoken);
        let whole = response("completed", &items, &usage);
        if !stream {
            return Script::json(&whole);
        }
        let mut events = Events(Vec::new());
        events.tell("response.created", json!({ "response": response("in_progress", &[], &Value::Null) }));
        for (index, item) in items.iter().enumerate() {
            events.item(index, item);
        }
        events.tell("response.completed", json!({ "response": whole }));
        Script::events(events.0)
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        let kind = if refusal.status == 429 { "rate_limit_error" } else { "invalid_request_error" };
        let error = json!({ "message": refusal.message, "type": kind, "param": null, "code": null });
        Script::status(refusal.status, &json!({ "error": error }))
    }

    fn tear(&self) -> Script {
        let mut events = Events(Vec::new());
        events.tell("response.created", json!({ "response": response("in_progress", &[], &Value::Null) }));
        let delta = json!({ "output_index": 0, "item_id": "msg_1", "content_index": 0, "delta": GREETING });
        let begun = json!({ "id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": [] });
        events.tell("response.output_item.added", json!({ "output_index": 0, "item": begun }));
        events.tell("response.output_text.delta", delta);
        let mut failed = response("failed", &[], &Value::Null);
        failed["error"] = json!({ "code": "server_error", "message": "the script tears" });
        events.tell("response.failed", json!({ "response": failed }));
        Script::events(events.0)
    }
}
