//! Workers AI of Cloudflare, with a model of the older form.

use serde_json::{Value, json};

use super::super::model::{Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, Turn, refuse};
use super::{Speaks, bearer, inline, list, only, parsed, path, pieces, text, tool};
use crate::harness::*;

/// An upstream of Workers AI.
pub(crate) struct Cloudflare;

const KNOWN: [&str; 6] = ["messages", "tools", "max_tokens", "response_format", "temperature", "stream"];

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

fn model(message: &Value) -> Result<Spoken, Refusal> {
    only(message, &["role", "content", "tool_calls"], "message")?;
    let mut spoken = Spoken { text: text(message, "content")?, ..Spoken::default() };
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let id = text(call, "id")?;
        if id.len() != 9 {
            return refuse("Tool call IDs should be alphanumeric strings with length 9!");
        }
        spoken.calls.push(Call {
            id,
            name: text(&call["function"], "name")?,
            arguments: parsed(&text(&call["function"], "arguments")?)?,
        });
    }
    Ok(spoken)
}

fn usage() -> Value {
    json!({ "prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT })
}

fn calls(spoken: &Spoken) -> Value {
    let call = |call: &Call| json!({ "name": call.name, "arguments": call.arguments });
    spoken.calls.iter().map(call).collect()
}

impl Speaks for Cloudflare {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        path(seen, "/client/v4/accounts/ID/ai/run/@cf/meta/llama-4-scout-17b-16e-instruct")?;
        bearer(seen, "key-of-cloudflare")?;
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream: body["stream"] == true, ..Asked::default() };
        for message in list(&body, "messages")? {
            match message["role"].as_str() {
                Some("system") => asked.system.push_str(&text(message, "content")?),
                Some("user") => asked.turns.push(Turn::User(user(&message["content"])?)),
                Some("assistant") => asked.turns.push(Turn::Model(model(message)?)),
                Some("tool") => {
                    only(message, &["role", "content", "tool_call_id", "name"], "message")?;
                    asked.result(&text(message, "tool_call_id")?, text(message, "content")?)?;
                }
                _ => return refuse(format!("a message of an unknown role: {message}")),
            }
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            asked.tools.push(tool(&offered["function"]["name"], &offered["function"]["parameters"])?);
        }
        if body["response_format"]["type"] == "json_schema" {
            if asked.stream {
                return refuse("JSON Mode currently doesn't support streaming");
            }
            asked.schema = Some(body["response_format"]["json_schema"].clone());
        }
        let mut asked = asked.complete()?;
        // Their identities are made here; the model knows of none.
        for turn in &mut asked.turns {
            match turn {
                Turn::Model(spoken) => spoken.calls.iter_mut().for_each(|call| call.id.clear()),
                Turn::Results(results) => results.iter_mut().for_each(|(call, _)| call.id.clear()),
                Turn::User(_) => {}
            }
        }
        Ok(asked)
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        if !stream {
            let parsed = serde_json::from_str::<Value>(&spoken.text).ok().filter(Value::is_object);
            let mut result = json!({ "response": spoken.text, "usage": usage() });
            if let Some(parsed) = parsed {
                // In JSON mode the answer is a value.
                result["response"] = parsed;
            }
            if !spoken.calls.is_empty() {
                result["tool_calls"] = calls(spoken);
            }
            return Script::json(&json!({ "result": result, "success": true, "errors": [], "messages": [] }));
        }
        let mut events: Vec<String> = pieces(&spoken.text)
            .iter()
            .map(|piece| event(&json!({ "response": piece, "p": "abcd" })))
            .collect();
        if !spoken.calls.is_empty() {
            events.push(event(&json!({ "response": "", "tool_calls": calls(spoken), "p": "ab" })));
        }
        events.push(event(&json!({ "response": "", "usage": usage() })));
        events.push(DONE.to_owned());
        Script::events(events)
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        let code = if refusal.status == 429 { 3040 } else { 5006 };
        let errors = json!([{ "code": code, "message": refusal.message }]);
        let body = json!({ "result": null, "success": false, "errors": errors, "messages": [] });
        Script::status(refusal.status, &body)
    }

    fn tear(&self) -> Script {
        // It is cut off without its marker.
        Script::events([event(&json!({ "response": GREETING, "p": "abcd" }))])
    }
}
