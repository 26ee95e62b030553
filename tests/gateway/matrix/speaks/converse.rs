//! Converse of AWS Bedrock, with Claude behind it, in frames of AWS's event stream.

use bytes::BytesMut;
use dialect::framing::event_stream::{HeaderValue, encode};
use serde_json::{Value, json};

use super::super::model::{
    Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, Thought, Turn, refuse,
};
use super::{Speaks, list, only, path, pieces, text, tool};
use crate::harness::*;

/// An upstream of Converse.
pub(crate) struct Converse;

const KNOWN: [&str; 6] =
    ["messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields", "outputConfig"];

/// A message of AWS's event stream.
pub(super) fn frame(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let label = if kind == "event" { ":event-type" } else { ":exception-type" };
    let headers = [
        (label, HeaderValue::String(name.as_bytes())),
        (":content-type", HeaderValue::String(b"application/json")),
        (":message-type", HeaderValue::String(kind.as_bytes())),
    ];
    let mut out = BytesMut::new();
    encode(&headers, payload.to_string().as_bytes(), &mut out);
    out.to_vec()
}

/// A failure as Bedrock tells of it.
pub(super) fn refusal(refusal: &Refusal) -> Script {
    let kind = match refusal.status {
        429 => "ThrottlingException",
        403 => "AccessDeniedException",
        _ => "ValidationException",
    };
    Script::status(refusal.status, &json!({ "message": refusal.message })).header("x-amzn-errortype", kind)
}

fn user(blocks: &[Value], asked: &mut Asked) -> Result<(), Refusal> {
    let mut parts = Vec::new();
    for block in blocks {
        only(block, &["text", "image", "toolResult"], "block")?;
        if let Some(text) = block["text"].as_str() {
            if text.trim().is_empty() {
                return refuse("The text field in the ContentBlock object is blank.");
            }
            parts.push(Part::Text(text.to_owned()));
        } else if block["image"].is_object() {
            if block["image"]["format"] != "png" {
                return refuse("an image of another format");
            }
            parts.push(Part::Image(text(&block["image"]["source"], "bytes")?));
        } else {
            let result = &block["toolResult"];
            only(result, &["toolUseId", "content", "status"], "toolResult")?;
            let one = |part: &Value| match part["json"].is_null() {
                true => text(part, "text"),
                false => Ok(part["json"].to_string()),
            };
            let told: Result<String, Refusal> = list(result, "content")?.iter().map(one).collect();
            asked.result(&text(result, "toolUseId")?, told?)?;
        }
    }
    if !parts.is_empty() {
        asked.turns.push(Turn::User(parts));
    }
    Ok(())
}

fn model(blocks: &[Value]) -> Result<Spoken, Refusal> {
    let mut spoken = Spoken::default();
    for (at, block) in blocks.iter().enumerate() {
        only(block, &["text", "reasoningContent", "toolUse"], "block")?;
        let thought = &block["reasoningContent"]["reasoningText"];
        if thought.is_object() {
            only(thought, &["text", "signature"], "reasoningText")?;
            if at != 0 {
                return refuse("reasoning must come first");
            }
            spoken.thought =
                Some(Thought { text: text(thought, "text")?, seal: text(thought, "signature")? });
        } else if block["toolUse"].is_object() {
            let call = &block["toolUse"];
            only(call, &["toolUseId", "name", "input"], "toolUse")?;
            if !call["input"].is_object() {
                return refuse("The format of the value at toolUse.input is invalid. Provide a json object.");
            }
            spoken.calls.push(Call {
                id: text(call, "toolUseId")?,
                name: text(call, "name")?,
                arguments: call["input"].clone(),
            });
        } else {
            let text = text(block, "text")?;
            if text.trim().is_empty() {
                return refuse("The text field in the ContentBlock object is blank.");
            }
            spoken.text.push_str(&text);
        }
    }
    Ok(spoken)
}

fn content(spoken: &Spoken) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(thought) = &spoken.thought {
        let text = json!({ "text": thought.text, "signature": thought.seal });
        blocks.push(json!({ "reasoningContent": { "reasoningText": text } }));
    }
    if !spoken.text.is_empty() {
        blocks.push(json!({ "text": spoken.text }));
    }
    for call in &spoken.calls {
        let call = json!({ "toolUseId": call.id, "name": call.name, "input": call.arguments });
        blocks.push(json!({ "toolUse": call }));
    }
    blocks
}

fn stop_reason(spoken: &Spoken) -> &'static str {
    if spoken.calls.is_empty() { "end_turn" } else { "tool_use" }
}

fn usage() -> Value {
    json!({ "inputTokens": INPUT, "outputTokens": OUTPUT, "totalTokens": INPUT + OUTPUT })
}

fn events(pieces: Vec<Vec<u8>>) -> Script {
    Script::events(pieces).header("content-type", "application/vnd.amazon.eventstream")
}

fn delta(index: usize, delta: &Value) -> Vec<u8> {
    frame("event", "contentBlockDelta", &json!({ "contentBlockIndex": index, "delta": delta, "p": "abc" }))
}

fn stream(spoken: &Spoken) -> Vec<Vec<u8>> {
    let mut frames = vec![frame("event", "messageStart", &json!({ "role": "assistant" }))];
    for (index, block) in content(spoken).iter().enumerate() {
        let thought = &block["reasoningContent"]["reasoningText"];
        if let Some(text) = thought["text"].as_str() {
            let told = |piece: &String| delta(index, &json!({ "reasoningContent": { "text": piece } }));
            frames.extend(pieces(text).iter().map(told));
            let seal = json!({ "reasoningContent": { "signature": thought["signature"] } });
            frames.push(delta(index, &seal));
        } else if let Some(text) = block["text"].as_str() {
            frames.extend(pieces(text).iter().map(|piece| delta(index, &json!({ "text": piece }))));
        } else {
            let call = &block["toolUse"];
            let start = json!({ "toolUse": { "toolUseId": call["toolUseId"], "name": call["name"] } });
            let start = json!({ "contentBlockIndex": index, "start": start });
            frames.push(frame("event", "contentBlockStart", &start));
            let input = if call["input"] == json!({}) { String::new() } else { call["input"].to_string() };
            let told = |piece: &String| delta(index, &json!({ "toolUse": { "input": piece } }));
            frames.extend(pieces(&input).iter().map(told));
        }
        frames.push(frame("event", "contentBlockStop", &json!({ "contentBlockIndex": index })));
    }
    frames.push(frame("event", "messageStop", &json!({ "stopReason": stop_reason(spoken) })));
    frames.push(frame("event", "metadata", &json!({ "usage": usage(), "metrics": { "latencyMs": 1 } })));
    frames
}

impl Speaks for Converse {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        let stream = seen.path.ends_with("-stream");
        let way = if stream { "converse-stream" } else { "converse" };
        path(seen, &format!("/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/{way}"))?;
        if !seen.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 ")) {
            return Err(Refusal { status: 403, message: "Missing Authentication Token".into() });
        }
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream, ..Asked::default() };
        for part in body["system"].as_array().into_iter().flatten() {
            asked.system.push_str(&text(part, "text")?);
        }
        let more = &body["additionalModelRequestFields"];
        asked.thinks = more["thinking"]["type"] == "enabled";
        let limit = body["inferenceConfig"]["maxTokens"].as_u64().unwrap_or(4096);
        if asked.thinks && more["thinking"]["budget_tokens"].as_u64().is_none_or(|budget| budget >= limit) {
            return refuse("max_tokens must be greater than thinking.budget_tokens");
        }
        let mut before = "";
        for message in list(&body, "messages")? {
            only(message, &["role", "content"], "message")?;
            let blocks = list(message, "content")?;
            match message["role"].as_str() {
                Some("user") if before != "user" => user(blocks, &mut asked)?,
                Some("assistant") if before != "assistant" => asked.turns.push(Turn::Model(model(blocks)?)),
                _ => return refuse("A conversation must alternate between user and assistant roles."),
            }
            before = message["role"].as_str().unwrap_or_default();
        }
        let tools = &body["toolConfig"];
        for offered in tools["tools"].as_array().into_iter().flatten() {
            only(offered, &["toolSpec"], "tool")?;
            let spec = &offered["toolSpec"];
            only(spec, &["name", "description", "inputSchema", "strict"], "toolSpec")?;
            asked.tools.push(tool(&spec["name"], &spec["inputSchema"]["json"])?);
        }
        asked.forced = tools["toolChoice"]["tool"]["name"].as_str().map(str::to_owned);
        if asked.forced.is_some() && asked.thinks {
            return refuse("Thinking may not be enabled when tool_choice forces tool use.");
        }
        let holds_calls =
            asked.turns.iter().any(|turn| matches!(turn, Turn::Model(spoken) if !spoken.calls.is_empty()));
        if holds_calls && asked.tools.is_empty() {
            return refuse(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            );
        }
        if !body["outputConfig"].is_null() {
            return refuse("outputConfig: this model has no structured output");
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

    fn tell(&self, spoken: &Spoken, is_stream: bool) -> Script {
        if is_stream {
            return events(stream(spoken));
        }
        Script::json(&json!({
            "output": { "message": { "role": "assistant", "content": content(spoken) } },
            "stopReason": stop_reason(spoken), "usage": usage(), "metrics": { "latencyMs": 1 },
        }))
    }

    fn refuse(&self, refused: &Refusal) -> Script {
        refusal(refused)
    }

    fn tear(&self) -> Script {
        let exception = json!({ "message": "the script tears" });
        events(vec![
            frame("event", "messageStart", &json!({ "role": "assistant" })),
            delta(0, &json!({ "text": GREETING })),
            frame("exception", "internalServerException", &exception),
        ])
    }
}
