//! Cohere's chat, version 2.

use serde_json::{Value, json};

use super::super::model::{
    Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, Thought, Turn, refuse,
};
use super::{Speaks, bearer, inline, list, named, only, parsed, path, pieces, text, tool};
use crate::harness::*;

/// An upstream of Cohere.
pub(crate) struct Cohere;

const KNOWN: [&str; 9] = [
    "model",
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "thinking",
    "max_tokens",
    "temperature",
    "stream",
];

fn user(content: &Value) -> Result<Vec<Part>, Refusal> {
    if let Some(text) = content.as_str() {
        return Ok(vec![Part::Text(text.to_owned())]);
    }
    let part = |part: &Value| match part["type"].as_str() {
        Some("text") => Ok(Part::Text(text(part, "text")?)),
        Some("image_url") => Ok(Part::Image(inline(&text(&part["image_url"], "url")?)?)),
        _ => refuse(format!("a part of an unknown type: {part}")),
    };
    content.as_array().into_iter().flatten().map(part).collect()
}

fn texts(content: &Value) -> Result<String, Refusal> {
    match content.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => content.as_array().into_iter().flatten().map(|part| text(part, "text")).collect(),
    }
}

fn model(message: &Value) -> Result<Spoken, Refusal> {
    only(message, &["role", "content", "tool_calls", "tool_plan"], "message")?;
    let mut spoken =
        Spoken { text: message["tool_plan"].as_str().unwrap_or_default().into(), ..Spoken::default() };
    match &message["content"] {
        Value::Array(parts) => {
            for part in parts {
                match part["type"].as_str() {
                    Some("thinking") => {
                        spoken.thought = Some(Thought { text: text(part, "thinking")?, seal: String::new() });
                    }
                    _ => spoken.text.push_str(&text(part, "text")?),
                }
            }
        }
        content => spoken.text.push_str(content.as_str().unwrap_or_default()),
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        only(call, &["id", "type", "function"], "tool call")?;
        spoken.calls.push(Call {
            id: text(call, "id")?,
            name: text(&call["function"], "name")?,
            arguments: parsed(&text(&call["function"], "arguments")?)?,
        });
    }
    if spoken.calls.is_empty() && spoken.text.is_empty() {
        return refuse("invalid request: an assistant message must have content or tool calls");
    }
    Ok(spoken)
}

fn finish(spoken: &Spoken) -> &'static str {
    if spoken.calls.is_empty() { "COMPLETE" } else { "TOOL_CALL" }
}

fn usage() -> Value {
    json!({
        "billed_units": { "input_tokens": 1, "output_tokens": 1 },
        "tokens": { "input_tokens": INPUT, "output_tokens": OUTPUT },
    })
}

fn call(call: &Call, arguments: &str) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
}

/// An event whose piece stands within `delta.message`.
fn told(kind: &str, index: Option<usize>, message: &Value) -> String {
    let mut event = json!({ "type": kind, "delta": { "message": message } });
    if let Some(index) = index {
        event["index"] = index.into();
    }
    named(kind, &event)
}

fn start(id: &str) -> String {
    let message =
        json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] });
    named("message-start", &json!({ "id": id, "type": "message-start", "delta": { "message": message } }))
}

fn stream(spoken: &Spoken) -> Vec<String> {
    let mut events = vec![start(&spoken.id)];
    let mut block = |kind: &str, text: &str| {
        let index = events.len();
        let content = json!({ "type": kind, kind: "" });
        events.push(told("content-start", Some(index), &json!({ "content": content })));
        for piece in pieces(text) {
            events.push(told("content-delta", Some(index), &json!({ "content": { kind: piece } })));
        }
        events.push(named("content-end", &json!({ "type": "content-end", "index": index })));
    };
    if let Some(thought) = &spoken.thought {
        block("thinking", &thought.text);
    }
    if spoken.calls.is_empty() {
        block("text", &spoken.text);
    } else {
        let plan = |piece: &String| told("tool-plan-delta", None, &json!({ "tool_plan": piece }));
        events.extend(pieces(&spoken.text).iter().map(plan));
    }
    for (index, one) in spoken.calls.iter().enumerate() {
        events.push(told("tool-call-start", Some(index), &json!({ "tool_calls": call(one, "") })));
        for piece in pieces(&one.arguments.to_string()) {
            let part = json!({ "tool_calls": { "function": { "arguments": piece } } });
            events.push(told("tool-call-delta", Some(index), &part));
        }
        events.push(named("tool-call-end", &json!({ "type": "tool-call-end", "index": index })));
    }
    let delta = json!({ "finish_reason": finish(spoken), "usage": usage() });
    events.push(named("message-end", &json!({ "type": "message-end", "delta": delta })));
    events.push(DONE.to_owned());
    events
}

impl Speaks for Cohere {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        path(seen, "/v2/chat")?;
        bearer(seen, "key-of-cohere")?;
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream: body["stream"] == true, ..Asked::default() };
        asked.thinks = body["thinking"]["type"] == "enabled";
        for message in list(&body, "messages")? {
            match message["role"].as_str() {
                Some("system") if asked.turns.is_empty() => {
                    asked.system.push_str(&texts(&message["content"])?)
                }
                Some("user") => asked.turns.push(Turn::User(user(&message["content"])?)),
                Some("assistant") => asked.turns.push(Turn::Model(model(message)?)),
                Some("tool") => {
                    only(message, &["role", "content", "tool_call_id"], "message")?;
                    let told = texts(&message["content"])?;
                    if told.is_empty() {
                        return refuse("invalid request: tool results must not be empty");
                    }
                    asked.result(&text(message, "tool_call_id")?, told)?;
                }
                _ => return refuse(format!("a message of an unknown role, or at a wrong place: {message}")),
            }
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            only(offered, &["type", "function"], "tool")?;
            asked.tools.push(tool(&offered["function"]["name"], &offered["function"]["parameters"])?);
        }
        if body["response_format"]["type"] == "json_object" {
            if !asked.tools.is_empty() {
                return refuse("response_format is not supported together with tools");
            }
            only(&body["response_format"], &["type", "json_schema"], "response_format")?;
            asked.schema = Some(body["response_format"]["json_schema"].clone());
        }
        asked.complete()
    }

    fn tell(&self, spoken: &Spoken, is_stream: bool) -> Script {
        if is_stream {
            return Script::events(stream(spoken));
        }
        let mut content = Vec::new();
        if let Some(thought) = &spoken.thought {
            content.push(json!({ "type": "thinking", "thinking": thought.text }));
        }
        let mut message = json!({ "role": "assistant" });
        if spoken.calls.is_empty() {
            content.push(json!({ "type": "text", "text": spoken.text }));
        } else {
            if !spoken.text.is_empty() {
                message["tool_plan"] = spoken.text.clone().into();
            }
            let written = spoken.calls.iter().map(|one| call(one, &one.arguments.to_string()));
            message["tool_calls"] = written.collect();
        }
        if !content.is_empty() {
            message["content"] = content.into();
        }
        Script::json(
            &json!({ "id": spoken.id, "message": message, "finish_reason": finish(spoken), "usage": usage() }),
        )
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        Script::status(refusal.status, &json!({ "id": "e1", "message": refusal.message }))
    }

    fn tear(&self) -> Script {
        let content = json!({ "type": "text", "text": "" });
        let failed = json!({ "finish_reason": "ERROR", "error": "the script tears" });
        Script::events([
            start("torn"),
            told("content-start", Some(0), &json!({ "content": content })),
            told("content-delta", Some(0), &json!({ "content": { "text": GREETING } })),
            named("message-end", &json!({ "type": "message-end", "delta": failed })),
        ])
    }
}
