//! What an answer of OpenAI chat means, in the words of `expected.json`: read here without the codecs that are tested.

use std::collections::{BTreeMap, BTreeSet};

use dialect::frames;
use serde_json::{Value, json};

/// How a picture stands in a text.
const PICTURE: &str = "![image](";

/// One candidate, as far as it was told.
#[derive(Default)]
struct Candidate {
    text: String,
    reasoning: String,
    refusal: String,
    calls: BTreeMap<u64, (String, String)>,
    images: usize,
    citations: BTreeSet<String>,
    finish: Value,
}

/// The meaning of an answer in events.
pub(crate) fn of_events(answer: &[u8]) -> Value {
    let payloads = frames(answer).filter(|frame| !frame.payload().is_empty() && frame.payload() != b"[DONE]");
    let chunks: Vec<Value> =
        payloads.map(|frame| serde_json::from_slice(frame.payload()).expect("every event is JSON")).collect();
    of(&chunks, "delta")
}

/// The meaning of a whole answer.
pub(crate) fn of_whole(answer: &[u8]) -> Value {
    of(&[serde_json::from_slice(answer).expect("JSON")], "message")
}

fn of(chunks: &[Value], message: &str) -> Value {
    let mut candidates: BTreeMap<u64, Candidate> = BTreeMap::new();
    let (mut usage, mut error) = (Value::Null, Value::Null);
    for chunk in chunks {
        if chunk["usage"].is_object() {
            usage = counted(&chunk["usage"]);
        }
        if chunk["error"].is_object() {
            error = json!({ "message": chunk["error"]["message"] });
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let candidate = candidates.entry(choice["index"].as_u64().unwrap_or(0)).or_default();
            let told = if choice[message].is_object() { &choice[message] } else { &choice["message"] };
            candidate.add(told, message == "message");
            if choice["finish_reason"].as_str().is_some_and(|finish| !finish.is_empty()) {
                candidate.finish = choice["finish_reason"].clone();
            }
        }
    }
    let mut all = candidates.into_values().map(Candidate::meaning);
    let mut meaning = all.next().unwrap_or_else(|| Candidate::default().meaning());
    meaning["usage"] = usage;
    let more: Vec<Value> = all.collect();
    if !more.is_empty() {
        meaning["more"] = more.into();
    }
    if !error.is_null() {
        meaning["error"] = error;
    }
    meaning
}

/// Counts in classes that exclude each other.
fn counted(usage: &Value) -> Value {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let cached = count("/prompt_tokens_details/cached_tokens");
    let written = count("/prompt_tokens_details/cache_write_tokens");
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    json!({
        "input": count("/prompt_tokens") - cached - written,
        "cached": cached,
        "cache_write": written,
        "output": count("/completion_tokens") - reasoning,
        "reasoning": reasoning,
    })
}

impl Candidate {
    fn add(&mut self, message: &Value, whole: bool) {
        match &message["content"] {
            Value::String(text) => self.text.push_str(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.part(part)),
            _ => {}
        }
        let thoughts =
            ["reasoning_content", "reasoning"].map(|name| message[name].as_str().unwrap_or_default());
        self.reasoning.push_str(thoughts.into_iter().find(|text| !text.is_empty()).unwrap_or_default());
        self.refusal.push_str(message["refusal"].as_str().unwrap_or_default());
        for (place, call) in (0..).zip(message["tool_calls"].as_array().into_iter().flatten()) {
            let index = call["index"].as_u64().filter(|_| !whole).unwrap_or(place);
            let (name, arguments) = self.calls.entry(index).or_default();
            name.push_str(call["function"]["name"].as_str().unwrap_or_default());
            match &call["function"]["arguments"] {
                Value::String(text) => arguments.push_str(text),
                Value::Null => {}
                other => arguments.push_str(&other.to_string()),
            }
        }
        self.images += message["images"].as_array().map_or(0, Vec::len);
        for note in message["annotations"].as_array().into_iter().flatten() {
            let url = note["url_citation"]["url"].as_str().unwrap_or_default();
            self.citations.extend(Some(url.to_owned()).filter(|url| !url.is_empty()));
        }
    }

    fn part(&mut self, part: &Value) {
        self.text.push_str(part["text"].as_str().unwrap_or_default());
        for inner in [&part["thinking"], &part["summary"]] {
            self.reasoning.push_str(inner.as_str().unwrap_or_default());
            for piece in inner.as_array().into_iter().flatten() {
                self.reasoning.push_str(piece["text"].as_str().unwrap_or_default());
            }
        }
    }

    fn meaning(mut self) -> Value {
        // A picture within the text is a picture.
        while let Some(start) = self.text.find(PICTURE) {
            let Some(end) = self.text[start..].find(')') else { break };
            self.text.replace_range(start..=start + end, "");
            self.images += 1;
        }
        let tools: Vec<Value> = self
            .calls
            .into_values()
            .map(|(name, arguments)| json!({ "name": name, "arguments": parsed(&arguments) }))
            .collect();
        json!({
            "text": self.text,
            "reasoning": self.reasoning,
            "refusal": self.refusal,
            "tools": tools,
            "finish": self.finish,
            "images": self.images,
            "citations": self.citations,
        })
    }
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
