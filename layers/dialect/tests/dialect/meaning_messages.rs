//! What an answer of Anthropic messages means, in the words of `expected.json`: read here without the codecs that are
//! tested.

use std::collections::BTreeSet;

use dialect::frames;
use serde_json::{Map, Value, json};

/// How a picture stands in a text.
const PICTURE: &str = "![image](";

/// The meaning of an answer in events, whose grammar is looked at on the way: blocks come one behind the other, with
/// rising numbers, and the answer ends once.
pub(crate) fn of_events(answer: &[u8]) -> Value {
    let payloads = frames(answer).filter(|frame| !frame.payload().is_empty() && frame.event != b"ping");
    let events: Vec<Value> = payloads
        .map(|frame| {
            let event: Value = serde_json::from_slice(frame.payload()).expect("every event is JSON");
            assert_eq!(
                event["type"].as_str().map(str::as_bytes),
                Some(frame.event),
                "an event has its name twice"
            );
            event
        })
        .collect();
    let (mut message, mut blocks) = (Value::Null, Vec::<Value>::new());
    let (mut open, mut stopped, mut error) = (false, false, Value::Null);
    for event in &events {
        assert!(!stopped && error.is_null(), "nothing comes behind the end: {event}");
        assert!(
            message.is_object() || matches!(event["type"].as_str(), Some("message_start" | "error")),
            "{event}"
        );
        match event["type"].as_str().expect("a type") {
            "message_start" => {
                assert!(message.is_null(), "an answer begins once");
                message = event["message"].clone();
                assert_eq!(message["content"], json!([]));
            }
            "content_block_start" => {
                assert!(!open && event["index"] == blocks.len(), "blocks come one behind the other: {event}");
                open = true;
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(open && event["index"] == blocks.len() - 1, "{event}");
                add(blocks.last_mut().expect("it is open"), &event["delta"]);
            }
            "content_block_stop" => {
                assert!(open && event["index"] == blocks.len() - 1, "{event}");
                open = false;
            }
            "message_delta" => {
                assert!(!open, "every block has its end");
                for name in ["stop_reason", "stop_sequence"] {
                    message[name] = event["delta"][name].clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => stopped = true,
            "error" => error = json!({ "message": event["error"]["message"] }),
            other => panic!("{other} is no event of this dialect"),
        }
    }
    assert!(stopped || !error.is_null(), "an answer ends");
    message["content"] = blocks.into();
    let mut meaning = of(&message);
    if !error.is_null() {
        meaning["error"] = error;
    }
    meaning
}

fn add(block: &mut Value, delta: &Value) {
    let (kind, field) =
        (delta["type"].as_str().expect("a type"), |name: &str| delta[name].as_str().unwrap_or_default());
    let (of, name) = match kind {
        "text_delta" => ("text", "text"),
        "thinking_delta" => ("thinking", "thinking"),
        "signature_delta" => ("thinking", "signature"),
        "input_json_delta" => ("", "partial_json"),
        "citations_delta" => {
            let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
            citations.push(delta["citation"].clone());
            block["citations"] = citations.into();
            return;
        }
        other => panic!("{other} is no delta of this dialect"),
    };
    assert!(of.is_empty() || block["type"] == of, "{delta} within {block}");
    let whole = block[name].as_str().unwrap_or_default().to_owned() + field(name);
    block[name] = whole.into();
}

/// The meaning of a whole answer.
pub(crate) fn of_whole(answer: &[u8]) -> Value {
    let message: Value = serde_json::from_slice(answer).expect("JSON");
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    of(&message)
}

fn of(message: &Value) -> Value {
    let (mut text, mut reasoning, mut tools) = (String::new(), String::new(), Vec::new());
    let (mut citations, mut images) = (BTreeSet::new(), 0);
    for block in message["content"].as_array().into_iter().flatten() {
        let field = |name: &str| block[name].as_str().unwrap_or_default();
        match field("type") {
            "text" => {
                assert!(
                    !field("text").is_empty() || block["citations"].is_array(),
                    "an empty text is refused: {block}"
                );
                match field("text").starts_with(PICTURE) {
                    true => images += 1,
                    false => text.push_str(field("text")),
                }
                for citation in block["citations"].as_array().into_iter().flatten() {
                    citations.extend(citation["url"].as_str().map(str::to_owned));
                }
            }
            "thinking" => {
                assert!(
                    block["signature"].as_str().is_some_and(|signature| !signature.is_empty()),
                    "{block}"
                );
                reasoning.push_str(field("thinking"));
            }
            "tool_use" => tools.push(json!({ "name": block["name"], "arguments": arguments(block) })),
            _ => {}
        }
    }
    json!({
        "text": text,
        "reasoning": reasoning,
        "refusal": "",
        "tools": tools,
        "finish": finish(&message["stop_reason"]),
        "images": images,
        "citations": citations,
        "usage": counted(&message["usage"]),
    })
}

fn arguments(block: &Value) -> Value {
    match block["partial_json"].as_str() {
        None => block["input"].clone(),
        Some(text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

/// Why an answer ended, in OpenAI's word.
fn finish(reason: &Value) -> Value {
    match reason.as_str() {
        Some("end_turn" | "stop_sequence" | "pause_turn") => "stop".into(),
        Some("max_tokens" | "model_context_window_exceeded") => "length".into(),
        Some("tool_use") => "tool_calls".into(),
        Some("refusal") => "content_filter".into(),
        _ => Value::Null,
    }
}

/// Counts in classes that exclude each other.
fn counted(usage: &Value) -> Value {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let reasoning = count("/output_tokens_details/thinking_tokens");
    json!({
        "input": count("/input_tokens"),
        "cached": count("/cache_read_input_tokens"),
        "cache_write": count("/cache_creation_input_tokens"),
        "output": count("/output_tokens") - reasoning,
        "reasoning": reasoning,
    })
}

/// What a client of this dialect should find where `expected` is what there is: a refusal is its text, and why it ended.
pub(crate) fn expected(expected: &Value) -> Value {
    let mut wanted: Map<String, Value> = expected.as_object().cloned().unwrap_or_default();
    let refusal = wanted.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !refusal.is_empty() {
        let text = wanted.get("text").and_then(Value::as_str).unwrap_or_default().to_owned() + &refusal;
        wanted.insert("text".to_owned(), text.into());
        wanted.insert("refusal".to_owned(), "".into());
        if wanted.get("finish").is_some_and(|finish| finish == "stop") {
            wanted.insert("finish".to_owned(), "content_filter".into());
        }
    }
    wanted.into()
}
