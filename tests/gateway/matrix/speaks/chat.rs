//! OpenAI's chat completions, and makers that speak them with differences of their own.

use serde_json::{Value, json};

use super::super::model::{
    Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, THINKING, Thought, Turn, refuse,
};
use super::{Speaks, bearer, inline, list, only, parsed, path, pieces, text, tool};
use crate::harness::*;

/// Whose variant it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Maker {
    OpenAi,
    Azure,
    Groq,
    DeepSeek,
    Mistral,
    Databricks,
    /// Newer models of Workers AI.
    Cloudflare,
}

/// OpenAI's format at one maker.
pub(crate) struct Chat(pub(crate) Maker);

const KNOWN: [&str; 13] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "thinking",
];

impl Chat {
    fn at(&self, seen: &Seen) -> Result<(), Refusal> {
        match self.0 {
            Maker::Azure => {
                path(seen, "/openai/deployments/gpt-5-mini/chat/completions?api-version=2024-10-21")?;
                match seen.header("api-key") {
                    Some("key-of-azure") => Ok(()),
                    _ => Err(Refusal { status: 401, message: "no api-key".into() }),
                }
            }
            Maker::Databricks => {
                path(seen, "/serving-endpoints/databricks-claude-sonnet-4/invocations")?;
                bearer(seen, "key-of-databricks")
            }
            Maker::Cloudflare => {
                path(seen, "/client/v4/accounts/ID/ai/run/@cf/moonshotai/kimi-k2.6")?;
                bearer(seen, "key-of-cloudflare-newer")
            }
            Maker::OpenAi | Maker::Groq | Maker::DeepSeek | Maker::Mistral => {
                path(seen, "/v1/chat/completions")
            }
        }
    }

    /// A thought of an earlier turn.
    fn thought(&self, message: &Value) -> Result<Option<Thought>, Refusal> {
        let field = if self.0 == Maker::Cloudflare { "reasoning" } else { "reasoning_content" };
        match (self.0, &message[field]) {
            (_, Value::Null) => Ok(None),
            // They take it and do not look at it, or want it.
            (Maker::OpenAi | Maker::Azure | Maker::DeepSeek | Maker::Cloudflare, Value::String(text)) => {
                Ok(Some(Thought { text: text.clone(), seal: String::new() }))
            }
            (_, other) => refuse(format!("property '{field}' is unsupported: {other}")),
        }
    }

    fn content(&self, content: &Value) -> Result<Vec<Part>, Refusal> {
        if let Some(text) = content.as_str() {
            return Ok(vec![Part::Text(text.to_owned())]);
        }
        let Some(parts) = content.as_array() else {
            return refuse(format!("content should be a text or an array: {content}"));
        };
        let part = |part: &Value| match part["type"].as_str() {
            Some("text") => Ok(Part::Text(text(part, "text")?)),
            Some("image_url") if self.0 == Maker::DeepSeek => {
                refuse("unknown variant `image_url`, expected `text`")
            }
            Some("image_url") => Ok(Part::Image(inline(&text(&part["image_url"], "url")?)?)),
            _ => refuse(format!("a part of an unknown type: {part}")),
        };
        parts.iter().map(part).collect()
    }

    fn message(&self, message: &Value, asked: &mut Asked) -> Result<(), Refusal> {
        let allowed: &[&str] = match self.0 {
            Maker::Mistral | Maker::Databricks => &["role", "content", "name", "tool_calls", "tool_call_id"],
            Maker::Groq => &["role", "content", "name", "tool_calls", "tool_call_id", "reasoning"],
            _ => &[
                "role",
                "content",
                "name",
                "tool_calls",
                "tool_call_id",
                "reasoning_content",
                "reasoning",
                "refusal",
                "annotations",
                "audio",
                "function_call",
            ],
        };
        only(message, allowed, "message")?;
        match message["role"].as_str() {
            Some("system") => asked.system.push_str(&texts(&self.content(&message["content"])?)),
            Some("developer") if matches!(self.0, Maker::OpenAi | Maker::Azure) => {
                asked.system.push_str(&texts(&self.content(&message["content"])?));
            }
            Some("user") => asked.turns.push(Turn::User(self.content(&message["content"])?)),
            Some("assistant") => {
                let said = match &message["content"] {
                    Value::Null => String::new(),
                    content => texts(&self.content(content)?),
                };
                let mut spoken = Spoken { thought: self.thought(message)?, text: said, ..Spoken::default() };
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    only(call, &["id", "type", "function", "index", "extra_content"], "tool call")?;
                    spoken.calls.push(Call {
                        id: text(call, "id")?,
                        name: text(&call["function"], "name")?,
                        arguments: parsed(&text(&call["function"], "arguments")?)?,
                    });
                }
                if self.0 == Maker::Mistral
                    && spoken
                        .calls
                        .iter()
                        .any(|call| call.id.len() != 9 || !call.id.bytes().all(|b| b.is_ascii_alphanumeric()))
                {
                    return refuse("tool call id must be a-z, A-Z, 0-9, with a length of 9");
                }
                if self.0 == Maker::DeepSeek
                    && spoken.thought.is_none()
                    && !spoken.calls.is_empty()
                    && asked.thinks
                {
                    return refuse("Missing `reasoning_content` field in the assistant message");
                }
                asked.turns.push(Turn::Model(spoken));
            }
            Some("tool") => {
                let told = texts(&self.content(&message["content"])?);
                asked.result(&text(message, "tool_call_id")?, told)?;
            }
            _ => return refuse(format!("a message of an unknown role: {message}")),
        }
        Ok(())
    }

    fn usage(&self, spoken: &Spoken) -> Value {
        let thinking = if spoken.thought.is_some() { THINKING } else { 0 };
        json!({
            "prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
            "completion_tokens_details": { "reasoning_tokens": thinking },
        })
    }

    /// What a message, or its piece, says; thoughts stand where the maker has them.
    fn said(&self, thought: Option<&str>, content: Option<&str>) -> Value {
        let mut said = json!({ "role": "assistant", "content": content });
        let Some(thought) = thought else { return said };
        match self.0 {
            Maker::OpenAi | Maker::Azure => {}
            Maker::Groq | Maker::Cloudflare => said["reasoning"] = thought.into(),
            Maker::DeepSeek => said["reasoning_content"] = thought.into(),
            Maker::Mistral | Maker::Databricks => {
                let part = match self.0 {
                    Maker::Mistral => {
                        json!({ "type": "thinking", "thinking": [{ "type": "text", "text": thought }] })
                    }
                    _ => {
                        json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": thought, "signature": "" }] })
                    }
                };
                let mut parts = vec![part];
                parts.extend(content.map(|text| json!({ "type": "text", "text": text })));
                said["content"] = parts.into();
            }
        }
        said
    }

    fn piece(&self, delta: &Value, finish: Option<&str>) -> String {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        event(&json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice],
        }))
    }

    fn stream(&self, spoken: &Spoken) -> Vec<String> {
        let mut events = vec![self.piece(&json!({ "role": "assistant", "content": "" }), None)];
        for piece in spoken.thought.iter().flat_map(|thought| pieces(&thought.text)) {
            let mut delta = self.said(Some(&piece), None);
            delta.as_object_mut().unwrap().retain(|name, value| name != "role" && !value.is_null());
            if delta != json!({}) {
                events.push(self.piece(&delta, None));
            }
        }
        events
            .extend(pieces(&spoken.text).iter().map(|piece| self.piece(&json!({ "content": piece }), None)));
        for (index, call) in spoken.calls.iter().enumerate() {
            let function = json!({ "name": call.name, "arguments": "" });
            let start = json!({ "index": index, "id": call.id, "type": "function", "function": function });
            events.push(self.piece(&json!({ "tool_calls": [start] }), None));
            for piece in pieces(&call.arguments.to_string()) {
                let part = json!({ "index": index, "function": { "arguments": piece } });
                events.push(self.piece(&json!({ "tool_calls": [part] }), None));
            }
        }
        events.push(self.piece(&json!({}), Some(finish(spoken))));
        let usage = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
            "usage": self.usage(spoken),
        });
        events.extend([event(&usage), DONE.to_owned()]);
        events
    }
}

fn texts(parts: &[Part]) -> String {
    parts
        .iter()
        .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
        .collect()
}

fn finish(spoken: &Spoken) -> &'static str {
    if spoken.calls.is_empty() { "stop" } else { "tool_calls" }
}

impl Speaks for Chat {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        self.at(seen)?;
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream: body["stream"] == true, ..Asked::default() };
        asked.thinks = match self.0 {
            Maker::Databricks => body["thinking"]["type"] == "enabled",
            _ => body["reasoning_effort"].is_string(),
        };
        match (self.0, body.get("thinking"), body.get("stream_options")) {
            (Maker::Databricks, _, None) => {}
            (Maker::Databricks | Maker::Mistral, _, Some(_)) => return refuse("stream_options is unknown"),
            (_, Some(_), _) => return refuse("thinking is unknown"),
            _ => {}
        }
        for message in list(&body, "messages")? {
            self.message(message, &mut asked)?;
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            only(offered, &["type", "function"], "tool")?;
            asked.tools.push(tool(&offered["function"]["name"], &offered["function"]["parameters"])?);
        }
        if body["response_format"]["type"] == "json_schema" {
            if self.0 == Maker::DeepSeek {
                return refuse("This response_format type is unavailable now");
            }
            asked.schema = Some(body["response_format"]["json_schema"]["schema"].clone());
        }
        let asked = asked.complete()?;
        if self.0 == Maker::Databricks && asked.thinks && matches!(asked.turns.last(), Some(Turn::Results(_)))
        {
            return refuse("Expected `thinking` or `redacted_thinking`, but found `tool_use`.");
        }
        Ok(asked)
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        if stream {
            return Script::events(self.stream(spoken));
        }
        let thought = spoken.thought.as_ref().map(|thought| thought.text.as_str());
        let mut message = self.said(thought, Some(spoken.text.as_str()).filter(|text| !text.is_empty()));
        if !spoken.calls.is_empty() {
            let call = |call: &Call| {
                let function = json!({ "name": call.name, "arguments": call.arguments.to_string() });
                json!({ "id": call.id, "type": "function", "function": function })
            };
            message["tool_calls"] = spoken.calls.iter().map(call).collect();
        }
        let answer = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{ "index": 0, "message": message, "finish_reason": finish(spoken) }],
            "usage": self.usage(spoken),
        });
        match self.0 {
            Maker::Cloudflare => {
                Script::json(&json!({ "result": answer, "success": true, "errors": [], "messages": [] }))
            }
            _ => Script::json(&answer),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        let body = match self.0 {
            Maker::Cloudflare => json!({
                "result": null, "success": false, "messages": [],
                "errors": [{ "code": if refusal.status == 429 { 3040 } else { 5006 }, "message": refusal.message }],
            }),
            Maker::Databricks => json!({
                "error_code": if refusal.status == 429 { "REQUEST_LIMIT_EXCEEDED" } else { "BAD_REQUEST" },
                "message": refusal.message,
            }),
            Maker::Mistral => json!({
                "object": "error", "message": refusal.message, "type": "invalid_request_error", "param": null,
                "code": if refusal.status == 429 { "1300" } else { "3051" },
            }),
            _ => json!({ "error": {
                "message": refusal.message, "param": null, "code": null,
                "type": if refusal.status == 429 { "rate_limit_error" } else { "invalid_request_error" },
            } }),
        };
        Script::status(refusal.status, &body)
    }

    fn tear(&self) -> Script {
        let error = json!({ "error": { "message": "the script tears", "type": "server_error", "param": null, "code": null } });
        Script::events([
            self.piece(&json!({ "role": "assistant", "content": GREETING }), None),
            event(&error),
        ])
    }
}
