//! Upstreams of every format in a loop of tools: they call a tool once in each of the first rounds, and then say what came
//! of it. Whole or as events, as they are asked.

use bytes::BytesMut;
use dialect::framing::event_stream::{HeaderValue, encode};
use serde_json::{Value, json};

use crate::harness::*;

/// Rounds in which a tool is called.
pub(crate) const ROUNDS: usize = 2;
/// What is said in the end.
pub(crate) const SAID: &str = "all looked up";

/// The formats that upstreams speak.
pub(crate) const FORMATS: [&str; 5] = ["chat", "anthropic", "gemini", "converse", "responses"];

/// A channel of this format.
pub(crate) fn looping_channel(format: &str, upstream: &Upstream) -> Value {
    let origin = upstream.origin();
    match format {
        "chat" => channel("a", upstream),
        "anthropic" => anthropic_channel("a", upstream),
        "gemini" => channel_at("a", &format!("{origin}/v1beta")),
        "converse" => channel_at("a", &origin)
            .with("/engine", json!("bedrock-converse"))
            .with("/model", json!([{ "us.amazon.nova-pro-v1:0": "m" }])),
        "responses" => channel_at("a", &format!("{origin}/v1/responses")),
        other => panic!("{other} is no format"),
    }
}

/// A call: the tool, and its arguments in a round.
pub(crate) type Call = (&'static str, fn(usize) -> Value);

/// The script of an upstream of this format. A round is told by the results that the request holds.
pub(crate) fn looping(
    format: &'static str,
    (tool, arguments): Call,
) -> impl Fn(&Seen) -> Script + Send + Sync + 'static {
    move |seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let result = match format {
            "chat" => "\"role\":\"tool\"",
            "anthropic" => "\"tool_result\"",
            "gemini" => "\"functionResponse\"",
            "converse" => "\"toolResult\"",
            _ => "\"function_call_output\"",
        };
        let round = body.replace(": ", ":").matches(result).count();
        let streams = match format {
            "gemini" => seen.path.contains("streamGenerateContent"),
            "converse" => seen.path.ends_with("converse-stream"),
            _ => seen.streams(),
        };
        let call = (round < ROUNDS).then(|| (tool, arguments(round)));
        match format {
            "chat" => chat(call, round, streams),
            "anthropic" => anthropic(call, round, streams),
            "gemini" => gemini(call, streams),
            "converse" => converse(call, round, streams),
            _ => responses(call, round, streams),
        }
    }
}

fn chat(call: Option<(&str, Value)>, round: usize, streams: bool) -> Script {
    let message = match &call {
        Some((tool, arguments)) => {
            let function = json!({ "name": tool, "arguments": arguments.to_string() });
            let call = json!({ "index": 0, "id": format!("call_{round}"), "type": "function", "function": function });
            json!({ "role": "assistant", "content": null, "tool_calls": [call] })
        }
        None => json!({ "role": "assistant", "content": SAID }),
    };
    let finish = if call.is_some() { "tool_calls" } else { "stop" };
    if !streams {
        let answer =
            said("").with("/choices/0/message", message).with("/choices/0/finish_reason", json!(finish));
        return Script::json(&answer);
    }
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        event(
            &json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice] }),
        )
    };
    Script::events([
        chunk(message, Value::Null),
        chunk(json!({}), json!(finish)),
        usage_event(),
        DONE.to_owned(),
    ])
}

fn anthropic(call: Option<(&str, Value)>, round: usize, streams: bool) -> Script {
    let block = match &call {
        Some((tool, input)) => {
            json!({ "type": "tool_use", "id": format!("toolu_{round}"), "name": tool, "input": input })
        }
        None => json!({ "type": "text", "text": SAID }),
    };
    let stop = if call.is_some() { "tool_use" } else { "end_turn" };
    let mut message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [block],
        "stop_reason": stop, "stop_sequence": null, "usage": { "input_tokens": 11, "output_tokens": 7 },
    });
    if !streams {
        return Script::json(&message);
    }
    let named =
        |value: Value| format!("event: {}\n{}", value["type"].as_str().expect("a type"), event(&value));
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let (start, delta) = match &call {
        Some((tool, input)) => (
            json!({ "type": "tool_use", "id": format!("toolu_{round}"), "name": tool, "input": {} }),
            json!({ "type": "input_json_delta", "partial_json": input.to_string() }),
        ),
        None => (json!({ "type": "text", "text": "" }), json!({ "type": "text_delta", "text": SAID })),
    };
    let ends = json!({ "stop_reason": stop, "stop_sequence": null });
    Script::events(
        [
            json!({ "type": "message_start", "message": message }),
            json!({ "type": "content_block_start", "index": 0, "content_block": start }),
            json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": ends, "usage": { "output_tokens": 7 } }),
            json!({ "type": "message_stop" }),
        ]
        .map(named),
    )
}

fn gemini(call: Option<(&str, Value)>, streams: bool) -> Script {
    let part = match call {
        Some((tool, arguments)) => {
            json!({ "functionCall": { "name": tool, "args": arguments }, "thoughtSignature": "R1NFQUw=" })
        }
        None => json!({ "text": SAID }),
    };
    let answer = json!({
        "candidates": [{ "content": { "role": "model", "parts": [part] }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18 },
        "modelVersion": "m", "responseId": "r",
    });
    if streams { Script::events([event(&answer)]) } else { Script::json(&answer) }
}

fn converse(call: Option<(&str, Value)>, round: usize, streams: bool) -> Script {
    let stop = if call.is_some() { "tool_use" } else { "end_turn" };
    let usage = json!({ "inputTokens": 11, "outputTokens": 7, "totalTokens": 18 });
    let tool = call.as_ref().map(|(tool, _)| *tool);
    let named = json!({ "toolUseId": format!("tooluse_{round}"), "name": tool });
    if !streams {
        let block = match call {
            Some((_, input)) => json!({ "toolUse": named.with("/input", input) }),
            None => json!({ "text": SAID }),
        };
        return Script::json(&json!({
            "output": { "message": { "role": "assistant", "content": [block] } }, "stopReason": stop, "usage": usage,
        }));
    }
    let frame = |name: &str, payload: Value| {
        let headers = [
            (":event-type", HeaderValue::String(name.as_bytes())),
            (":message-type", HeaderValue::String(b"event")),
        ];
        let mut out = BytesMut::new();
        encode(&headers, payload.to_string().as_bytes(), &mut out);
        out.to_vec()
    };
    let mut frames = vec![frame("messageStart", json!({ "role": "assistant" }))];
    let delta = match &call {
        Some((_, input)) => {
            frames.push(frame(
                "contentBlockStart",
                json!({ "contentBlockIndex": 0, "start": { "toolUse": named } }),
            ));
            json!({ "toolUse": { "input": input.to_string() } })
        }
        None => json!({ "text": SAID }),
    };
    frames.push(frame("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": delta })));
    frames.push(frame("contentBlockStop", json!({ "contentBlockIndex": 0 })));
    frames.push(frame("messageStop", json!({ "stopReason": stop })));
    frames.push(frame("metadata", json!({ "usage": usage })));
    Script::events(frames).header("content-type", "application/vnd.amazon.eventstream")
}

fn responses(call: Option<(&str, Value)>, round: usize, streams: bool) -> Script {
    let item = match call {
        Some((tool, arguments)) => json!({
            "type": "function_call", "id": format!("fc_{round}"), "call_id": format!("call_{round}"), "name": tool,
            "arguments": arguments.to_string(), "status": "completed",
        }),
        None => json!({
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": SAID, "annotations": [] }],
        }),
    };
    let response = json!({
        "id": "resp_1", "object": "response", "created_at": 7, "model": "m", "status": "completed", "output": [item],
        "usage": { "input_tokens": 11, "output_tokens": 7, "total_tokens": 18 },
    });
    if !streams {
        return Script::json(&response);
    }
    let named =
        |kind: &str, value: Value| format!("event: {kind}\n{}", event(&value.with("/type", json!(kind))));
    let done = json!({ "output_index": 0, "item": response["output"][0] });
    Script::events([
        named(
            "response.created",
            json!({ "response": response.clone().with("/output", json!([])).with("/status", json!("in_progress")) }),
        ),
        named("response.output_item.added", done.clone()),
        named("response.output_item.done", done),
        named("response.completed", json!({ "response": response })),
    ])
}
