//! Anthropic's Messages, at Anthropic, on Vertex AI and on Bedrock, where events are wrapped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::model::{
    Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, Thought, Turn, refuse,
};
use super::converse::frame;
use super::{Speaks, bearer, list, named, only, path, pieces, text, tool};
use crate::harness::*;

/// Who serves Claude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Host {
    Anthropic,
    Vertex,
    Bedrock,
}

/// Anthropic's format at one host.
pub(crate) struct Anthropic(pub(crate) Host);

const KNOWN: [&str; 13] = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "tools",
    "tool_choice",
    "thinking",
    "stream",
    "temperature",
    "output_config",
    "output_format",
    "anthropic_version",
    "anthropic_beta",
];

impl Anthropic {
    /// Where the request goes, with what; whether it is for a stream.
    fn at(&self, seen: &Seen, body: &Value) -> Result<bool, Refusal> {
        let stream = seen.path.contains("stream") || seen.path.contains("Stream");
        match self.0 {
            Host::Anthropic => {
                path(seen, "/v1/messages")?;
                if seen.header("x-api-key") != Some("key-of-anthropic") {
                    return Err(Refusal { status: 401, message: "invalid x-api-key".into() });
                }
                if seen.header("anthropic-version") != Some("2023-06-01") {
                    return refuse("anthropic-version: header is required");
                }
                text(body, "model")?;
                return Ok(body["stream"] == true);
            }
            Host::Vertex => {
                let way = if body["stream"] == true { "streamRawPredict" } else { "rawPredict" };
                let models = "/v1/projects/p/locations/us-east5/publishers/anthropic/models";
                path(seen, &format!("{models}/claude-sonnet-4-5@20250929:{way}"))?;
                bearer(seen, "token-of-account")?;
                if body["anthropic_version"] != "vertex-2023-10-16" || !body["model"].is_null() {
                    return refuse(
                        "anthropic_version: Field required; model: Extra inputs are not permitted",
                    );
                }
            }
            Host::Bedrock => {
                let way = if stream { "invoke-with-response-stream" } else { "invoke" };
                path(seen, &format!("/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/{way}"))?;
                if !seen.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 ")) {
                    return Err(Refusal { status: 403, message: "Missing Authentication Token".into() });
                }
                if body["anthropic_version"] != "bedrock-2023-05-31"
                    || !body["model"].is_null()
                    || !body["stream"].is_null()
                {
                    return refuse("model, stream: Extra inputs are not permitted");
                }
            }
        }
        Ok(stream)
    }

    fn script(&self, events: &[Value]) -> Script {
        if self.0 == Host::Bedrock {
            let wrapped = |event: &Value| {
                let payload = json!({ "bytes": STANDARD.encode(event.to_string()), "p": "abcdef" });
                frame("event", "chunk", &payload)
            };
            return Script::events(events.iter().map(wrapped))
                .header("content-type", "application/vnd.amazon.eventstream");
        }
        Script::events(events.iter().map(|event| named(event["type"].as_str().unwrap(), event)))
    }
}

fn user(blocks: &[Value], asked: &mut Asked) -> Result<(), Refusal> {
    let mut parts = Vec::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("tool_result") => {
                only(block, &["type", "tool_use_id", "content", "is_error", "cache_control"], "tool_result")?;
                if !parts.is_empty() {
                    return refuse("tool_result blocks must come first");
                }
                let told = match block["content"].as_str() {
                    Some(text) => text.to_owned(),
                    None => texts(list(block, "content")?)?,
                };
                asked.result(&text(block, "tool_use_id")?, told)?;
            }
            Some("text") => {
                let text = text(block, "text")?;
                if text.trim().is_empty() {
                    return refuse("text content blocks must contain non-whitespace text");
                }
                parts.push(Part::Text(text));
            }
            Some("image")
                if block["source"]["type"] == "base64" && block["source"]["media_type"] == "image/png" =>
            {
                parts.push(Part::Image(text(&block["source"], "data")?));
            }
            _ => return refuse(format!("a block of an unknown type: {block}")),
        }
    }
    if !parts.is_empty() {
        asked.turns.push(Turn::User(parts));
    }
    Ok(())
}

fn texts(blocks: &[Value]) -> Result<String, Refusal> {
    blocks.iter().map(|block| text(block, "text")).collect()
}

fn model(blocks: &[Value]) -> Result<Spoken, Refusal> {
    let mut spoken = Spoken::default();
    for (at, block) in blocks.iter().enumerate() {
        match block["type"].as_str() {
            Some("thinking") if at == 0 => {
                only(block, &["type", "thinking", "signature"], "thinking")?;
                spoken.thought =
                    Some(Thought { text: text(block, "thinking")?, seal: text(block, "signature")? });
            }
            Some("text") => {
                let text = text(block, "text")?;
                if text.trim().is_empty() {
                    return refuse("text content blocks must be non-empty");
                }
                spoken.text.push_str(&text);
            }
            Some("tool_use") => {
                only(block, &["type", "id", "name", "input", "cache_control"], "tool_use")?;
                if !block["input"].is_object() {
                    return refuse("tool_use.input: Input should be a valid dictionary");
                }
                spoken.calls.push(Call {
                    id: text(block, "id")?,
                    name: text(block, "name")?,
                    arguments: block["input"].clone(),
                });
            }
            _ => return refuse(format!("a block of an unknown type, or at a wrong place: {block}")),
        }
    }
    Ok(spoken)
}

fn blocks(spoken: &Spoken) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(thought) = &spoken.thought {
        blocks.push(json!({ "type": "thinking", "thinking": thought.text, "signature": thought.seal }));
    }
    if !spoken.text.is_empty() {
        blocks.push(json!({ "type": "text", "text": spoken.text }));
    }
    for call in &spoken.calls {
        blocks.push(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments }));
    }
    blocks
}

fn start() -> Value {
    json!({ "type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": INPUT, "output_tokens": 1 },
    } })
}

fn stop_reason(spoken: &Spoken) -> &'static str {
    if spoken.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn events(spoken: &Spoken) -> Vec<Value> {
    let mut events = vec![start(), json!({ "type": "ping" })];
    for (index, block) in blocks(spoken).into_iter().enumerate() {
        let mut begun = block.clone();
        let told = match block["type"].as_str().unwrap() {
            "thinking" => {
                begun["thinking"] = "".into();
                begun["signature"] = "".into();
                let mut told: Vec<Value> = pieces(block["thinking"].as_str().unwrap())
                    .iter()
                    .map(|piece| json!({ "type": "thinking_delta", "thinking": piece }))
                    .collect();
                told.push(json!({ "type": "signature_delta", "signature": block["signature"] }));
                told
            }
            "text" => {
                begun["text"] = "".into();
                let delta = |piece: &String| json!({ "type": "text_delta", "text": piece });
                pieces(block["text"].as_str().unwrap()).iter().map(delta).collect()
            }
            _ => {
                begun["input"] = json!({});
                let text =
                    if block["input"] == json!({}) { String::new() } else { block["input"].to_string() };
                let delta = |piece: &String| json!({ "type": "input_json_delta", "partial_json": piece });
                pieces(&text).iter().map(delta).collect::<Vec<_>>()
            }
        };
        events.push(json!({ "type": "content_block_start", "index": index, "content_block": begun }));
        let delta = |delta| json!({ "type": "content_block_delta", "index": index, "delta": delta });
        events.extend(told.into_iter().map(delta));
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(json!({
        "type": "message_delta", "delta": { "stop_reason": stop_reason(spoken), "stop_sequence": null },
        "usage": { "output_tokens": OUTPUT },
    }));
    events.push(json!({ "type": "message_stop" }));
    events
}

impl Speaks for Anthropic {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream: self.at(seen, &body)?, ..Asked::default() };
        let limit = body["max_tokens"].as_u64();
        let Some(limit) = limit else { return refuse("max_tokens: Field required") };
        asked.system = match &body["system"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            _ => texts(list(&body, "system")?)?,
        };
        match body["thinking"]["type"].as_str() {
            Some("enabled") => {
                let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or_default();
                if budget < 1024 || budget >= limit {
                    return refuse(
                        "max_tokens must be greater than thinking.budget_tokens, which is 1024 at least",
                    );
                }
                if body.get("temperature").is_some_and(|temperature| temperature.as_f64() != Some(1.0)) {
                    return refuse("temperature may only be set to 1 when thinking is enabled");
                }
                asked.thinks = true;
            }
            None | Some("disabled") => {}
            Some(_) => return refuse("thinking: this model knows enabled and disabled"),
        }
        let mut before = "";
        for message in list(&body, "messages")? {
            only(message, &["role", "content"], "message")?;
            let written;
            let blocks = match message["content"].as_str() {
                Some(text) => {
                    written = vec![json!({ "type": "text", "text": text })];
                    &written
                }
                None => list(message, "content")?,
            };
            match message["role"].as_str() {
                Some("user") if before != "user" => user(blocks, &mut asked)?,
                Some("assistant") if before != "assistant" => asked.turns.push(Turn::Model(model(blocks)?)),
                _ => return refuse(format!("roles must alternate between user and assistant: {message}")),
            }
            before = message["role"].as_str().unwrap_or_default();
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            only(offered, &["name", "description", "input_schema", "cache_control", "strict"], "tool")?;
            if offered["input_schema"]["type"] != "object" {
                return refuse("tools.0.input_schema.type: Field required");
            }
            asked.tools.push(tool(&offered["name"], &offered["input_schema"])?);
        }
        if body["tool_choice"]["type"] == "tool" {
            if asked.thinks {
                return refuse("Thinking may not be enabled when tool_choice forces tool use.");
            }
            asked.forced = body["tool_choice"]["name"].as_str().map(str::to_owned);
        }
        let format = &body["output_config"]["format"];
        let format = if format.is_null() { &body["output_format"] } else { format };
        if format["type"] == "json_schema" {
            if self.0 == Host::Vertex {
                return refuse("output_config.format: Extra inputs are not permitted");
            }
            asked.schema = Some(format["schema"].clone());
        }
        let asked = asked.complete()?;
        if let [.., Turn::Model(spoken), Turn::Results(_)] = asked.turns.as_slice()
            && asked.thinks
            && spoken.thought.is_none()
        {
            return refuse("Expected `thinking` or `redacted_thinking`, but found `tool_use`.");
        }
        Ok(asked)
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        if stream {
            return self.script(&events(spoken));
        }
        Script::json(&json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": blocks(spoken), "stop_reason": stop_reason(spoken), "stop_sequence": null,
            "usage": { "input_tokens": INPUT, "output_tokens": OUTPUT },
        }))
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        if self.0 == Host::Bedrock {
            return super::converse::refusal(refusal);
        }
        let kind = match refusal.status {
            429 => "rate_limit_error",
            401 => "authentication_error",
            _ => "invalid_request_error",
        };
        let error = json!({ "type": kind, "message": refusal.message });
        Script::status(refusal.status, &json!({ "type": "error", "error": error, "request_id": "req_1" }))
    }

    fn tear(&self) -> Script {
        let begun = json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
        let delta = json!({ "type": "text_delta", "text": GREETING });
        let delta = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        if self.0 == Host::Bedrock {
            let exception = json!({ "message": "the script tears" });
            return self.script(&[start(), begun, delta]).then(frame(
                "exception",
                "internalServerException",
                &exception,
            ));
        }
        let error =
            json!({ "type": "error", "error": { "type": "api_error", "message": "the script tears" } });
        self.script(&[start(), begun, delta, error])
    }
}
