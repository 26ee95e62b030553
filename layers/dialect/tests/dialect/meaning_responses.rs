//! What an answer of OpenAI's responses means, in the words of `expected.json`, and whether its events are told as the
//! format demands: read here without the codecs that are tested.

use std::collections::BTreeSet;

use dialect::frames;
use serde_json::{Value, json};

/// The events of an answer.
fn events(answer: &[u8]) -> Vec<Value> {
    let payloads = frames(answer).filter(|frame| !frame.payload().is_empty() && frame.payload() != b"[DONE]");
    payloads.map(|frame| serde_json::from_slice(frame.payload()).expect("every event is JSON")).collect()
}

/// The meaning of an answer in events: that of the response that its last event tells.
pub(crate) fn of_events(answer: &[u8]) -> Value {
    let events = events(answer);
    let last = events.iter().rev().find(|event| event["response"].is_object()).expect("a response");
    let mut response = last["response"].clone();
    // Relays leave the items out of the last event.
    if response["output"].as_array().is_none_or(Vec::is_empty) {
        let items = events.iter().filter(|event| event["type"] == "response.output_item.done");
        response["output"] = items.map(|event| event["item"].clone()).collect();
    }
    of(&response)
}

/// The meaning of a whole answer.
pub(crate) fn of_whole(answer: &[u8]) -> Value {
    of(&serde_json::from_slice(answer).expect("JSON"))
}

fn of(response: &Value) -> Value {
    let (mut text, mut reasoning, mut refusal) = (String::new(), String::new(), String::new());
    let (mut tools, mut images, mut citations) = (Vec::new(), 0, BTreeSet::new());
    for item in response["output"].as_array().into_iter().flatten() {
        let parts = ["content", "summary"].into_iter().filter_map(|name| item[name].as_array()).flatten();
        for part in parts {
            let words = part["text"].as_str().unwrap_or_default();
            match part["type"].as_str() {
                Some("refusal") => refusal.push_str(part["refusal"].as_str().unwrap_or_default()),
                Some("summary_text" | "reasoning_text") => reasoning.push_str(words),
                _ => text.push_str(words),
            }
            for note in part["annotations"].as_array().into_iter().flatten() {
                citations.extend(note["url"].as_str().map(str::to_owned));
            }
        }
        match item["type"].as_str() {
            Some("function_call") => {
                let arguments = parsed(item["arguments"].as_str().unwrap_or_default());
                tools.push(json!({ "name": item["name"], "arguments": arguments }));
            }
            Some("image_generation_call") => images += 1,
            _ => {}
        }
    }
    const PICTURE: &str = "![image](";
    while let Some(start) = text.find(PICTURE) {
        let Some(end) = text[start..].find(')') else { break };
        text.replace_range(start..=start + end, "");
        images += 1;
    }
    let finish = match (response["status"].as_str(), response["incomplete_details"]["reason"].as_str()) {
        (Some("completed"), _) if tools.is_empty() => json!("stop"),
        (Some("completed"), _) => json!("tool_calls"),
        (Some("incomplete"), Some("content_filter")) => json!("content_filter"),
        (Some("incomplete"), _) => json!("length"),
        _ => Value::Null,
    };
    let mut meaning = json!({
        "text": text, "reasoning": reasoning, "refusal": refusal, "tools": tools, "finish": finish,
        "images": images, "citations": citations, "usage": counted(&response["usage"]),
    });
    if response["error"].is_object() {
        meaning["error"] = json!({ "message": response["error"]["message"] });
    }
    meaning
}

/// Counts in classes that exclude each other.
fn counted(usage: &Value) -> Value {
    if !usage.is_object() {
        return Value::Null;
    }
    let count = |path: &str| usage.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let cached = count("/input_tokens_details/cached_tokens");
    let written = count("/input_tokens_details/cache_write_tokens");
    let reasoning = count("/output_tokens_details/reasoning_tokens");
    json!({
        "input": count("/input_tokens") - cached - written,
        "cached": cached,
        "cache_write": written,
        "output": count("/output_tokens") - reasoning,
        "reasoning": reasoning,
    })
}

/// Arguments as the value they stand for; words that are no JSON stay words.
fn parsed(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Null) => json!({}),
        Ok(value) => value,
        Err(_) if arguments.trim().is_empty() => json!({}),
        Err(_) => arguments.into(),
    }
}

/// What is wrong with the way in which events tell an answer: numbers run on, an item is complete before the next one
/// begins, pieces make up the whole, and the end tells all items again.
pub(crate) fn fault(answer: &[u8]) -> Option<String> {
    let events = events(answer);
    let name = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = events.iter().map(name).collect();
    for (number, (event, frame)) in
        events.iter().zip(frames(answer).filter(|frame| !frame.payload().is_empty())).enumerate()
    {
        if event["sequence_number"] != json!(number) {
            return Some(format!("event {number} has another number: {event}"));
        }
        if frame.event != names[number].as_bytes() {
            return Some(format!("event {number} is called otherwise: {event}"));
        }
    }
    if names.first().map(String::as_str) != Some("response.created") {
        return Some(format!("it begins with {:?}", names.first()));
    }
    let ends = ["response.completed", "response.incomplete", "response.failed"];
    let ended = names.iter().filter(|name| ends.contains(&name.as_str())).count();
    if ended != 1 || !names.last().is_some_and(|name| ends.contains(&name.as_str())) {
        return Some(format!("it ends {ended} times: {names:?}"));
    }
    let mut open: Option<String> = None;
    let mut pieces = String::new();
    let mut done = Vec::new();
    for event in &events {
        let (kind, index) = (name(event), event["output_index"].as_u64());
        if index.is_some_and(|index| index != done.len() as u64) {
            return Some(format!("it is not this item's turn: {event}"));
        }
        match kind.as_str() {
            "response.output_item.added" => {
                if open.replace(event["item"]["id"].to_string()).is_some() {
                    return Some(format!("an item begins within another: {event}"));
                }
                pieces.clear();
            }
            "response.output_item.done" => {
                if open.take() != Some(event["item"]["id"].to_string()) {
                    return Some(format!("another item ends: {event}"));
                }
                done.push(event["item"].clone());
            }
            kind if kind.ends_with(".delta") => {
                if open.as_deref() != Some(event["item_id"].to_string().as_str()) {
                    return Some(format!("it is of another item: {event}"));
                }
                pieces.push_str(event["delta"].as_str().unwrap_or_default());
            }
            kind if kind.ends_with("text.done")
                || kind.ends_with("arguments.done")
                || kind.ends_with("input.done")
                || kind == "response.refusal.done" =>
            {
                let whole =
                    ["text", "arguments", "input", "refusal"].iter().find_map(|name| event[*name].as_str());
                if whole != Some(pieces.as_str()) {
                    return Some(format!("the pieces {pieces:?} are another whole: {event}"));
                }
                pieces.clear();
            }
            _ => {}
        }
    }
    let last = &events.last()?["response"];
    let told = last["output"].as_array().cloned().unwrap_or_default();
    if last["status"] == "failed" {
        return (told[..done.len().min(told.len())] != done[..])
            .then(|| "it tells other items at its end".to_owned());
    }
    (told != done).then(|| format!("it tells other items at its end: {told:?} and not {done:?}"))
}
