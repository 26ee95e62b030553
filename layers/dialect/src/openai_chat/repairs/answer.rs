//! Repairs of answers: what clients of OpenAI's own API could not read, or would not see.
//!
//! Most events of a stream need none. One walk over the keys of an event tells which do; only those are read and
//! written anew, with the digits of their numbers and the order of their fields.

use serde_json::{Map, Value, json};

use super::{Repair, Repairs};
use crate::codec::Mend;
use crate::exact;
use crate::ir::FinishReason;
use crate::json_scan::members;
use crate::openai_chat::picture;
use crate::think_tags::{Parts, ThinkTags};

type Object = Map<String, Value>;

/// Most candidates of one answer that are told apart.
const MOST_CHOICES: usize = 128;

/// The mender of one answer; none where none of these repairs is one of answers.
pub(crate) fn mender(repairs: Repairs) -> Option<Box<dyn Mend>> {
    let repairs = repairs.of_answers();
    (!repairs.is_empty()).then(|| Box::new(Mender { repairs, ..Mender::default() }) as Box<dyn Mend>)
}

/// The mender of one answer, and the knowledge of it so far.
#[derive(Debug, Default)]
struct Mender {
    repairs: Repairs,
    choices: Vec<Choice>,
    /// What all chunks share, for one that is added.
    head: Object,
}

/// The knowledge of one candidate.
#[derive(Debug, Default)]
struct Choice {
    number: u64,
    tags: ThinkTags,
    /// The identities of its calls, in the order of their indexes.
    calls: Vec<String>,
    called: bool,
    finished: bool,
}

impl Mend for Mender {
    fn event(&mut self, payload: &[u8]) -> Option<Vec<Vec<u8>>> {
        if payload == b"[DONE]" {
            let last = self.rest()?;
            return Some(vec![last, payload.to_vec()]);
        }
        if !self.concerns(payload) {
            return None;
        }
        let mut chunk = exact::read::<Object>(payload).ok()?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return None;
        }
        self.remember(&chunk);
        let mut events = Vec::new();
        let silent = chunk.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty);
        if silent && chunk.get("usage").is_some_and(Value::is_object) {
            events.extend(self.rest());
        }
        let changed = self.chunk(&mut chunk);
        if self.repairs.has(Repair::BareChunks) && says_nothing(&chunk) {
            return Some(events);
        }
        match (changed, events.is_empty()) {
            (false, true) => return None,
            (false, false) => events.push(payload.to_vec()),
            (true, _) => events.push(exact::json_bytes(&chunk)),
        }
        Some(events)
    }

    fn whole(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        if !self.concerns(body) {
            return None;
        }
        let mut answer = exact::read::<Object>(body).ok()?;
        let mut changed = false;
        for choice in objects(answer.get_mut("choices")) {
            let Some(place) = self.place(choice) else { continue };
            let known = &mut self.choices[place];
            if let Some(message) = choice.get_mut("message").and_then(Value::as_object_mut) {
                changed |= message_repairs(self.repairs, message, known);
                if self.repairs.has(Repair::ThinkTags) {
                    let rest = known.tags.finish();
                    changed |= tell(message, &rest);
                }
            }
            if self.repairs.has(Repair::FinishWords) {
                changed |= finish(choice, known, true);
            }
        }
        changed.then(|| exact::json_bytes(&answer))
    }
}

impl Mender {
    /// Whether something in it may have to be repaired; rather yes than no.
    fn concerns(&self, payload: &[u8]) -> bool {
        let has = |repair| self.repairs.has(repair);
        let watches_text = has(Repair::ThinkTags)
            && (self.choices.is_empty() || self.choices.iter().any(|choice| !choice.tags.is_over()));
        if has(Repair::FinishWords) && self.head.is_empty() {
            return true;
        }
        let mut deltas = false;
        for (key, value) in members(payload) {
            let first = value.first().copied();
            let concerned = match key {
                b"content" => {
                    first == Some(b'[') && has(Repair::ContentParts) || first == Some(b'"') && watches_text
                }
                b"reasoning" => {
                    has(Repair::ReasoningField) && first == Some(b'"') && value.get(1) != Some(&b'"')
                }
                b"finish_reason" => first == Some(b'"') && (has(Repair::FinishWords) || watches_text),
                b"tool_calls" => {
                    first == Some(b'[')
                        && (has(Repair::FinishWords) || has(Repair::CallIndexes) || has(Repair::HollowFields))
                }
                b"function_call" | b"audio" => has(Repair::HollowFields) && first == Some(b'{'),
                b"choices" => {
                    let is_empty = value.get(1..).unwrap_or_default().trim_ascii_start().starts_with(b"]");
                    is_empty && (has(Repair::BareChunks) || has(Repair::FinishWords) || watches_text)
                }
                b"delta" | b"message" => {
                    deltas = true;
                    false
                }
                _ => false,
            };
            if concerned {
                return true;
            }
        }
        has(Repair::BareChunks) && !deltas
    }

    /// Keeps what a chunk shares with all others.
    fn remember(&mut self, chunk: &Object) {
        if self.head.is_empty() {
            for name in ["id", "object", "created", "model"] {
                if let Some(value) = chunk.get(name) {
                    self.head.insert(name.to_owned(), value.clone());
                }
            }
        }
    }

    fn place(&mut self, choice: &Object) -> Option<usize> {
        let number = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let known = self.choices.iter().position(|known| known.number == number);
        if known.is_none() && self.choices.len() < MOST_CHOICES {
            self.choices.push(Choice { number, ..Choice::default() });
            return Some(self.choices.len() - 1);
        }
        known
    }

    /// Repairs a chunk, and tells whether anything was.
    fn chunk(&mut self, chunk: &mut Object) -> bool {
        let repairs = self.repairs;
        let mut changed = false;
        for choice in objects(chunk.get_mut("choices")) {
            let Some(place) = self.place(choice) else { continue };
            let known = &mut self.choices[place];
            if let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) {
                changed |= message_repairs(repairs, delta, known);
                if repairs.has(Repair::CallIndexes) {
                    changed |= call_indexes(delta, &mut known.calls);
                }
            }
            if repairs.has(Repair::FinishWords) {
                changed |= finish(choice, known, false);
            }
            if choice.get("finish_reason").is_some_and(Value::is_string) {
                known.finished = true;
                if repairs.has(Repair::ThinkTags) && !known.tags.is_over() {
                    let rest = known.tags.finish();
                    let delta = choice.entry("delta").or_insert_with(|| Value::Object(Object::new()));
                    changed |= delta.as_object_mut().is_some_and(|delta| tell(delta, &rest));
                }
            }
        }
        if repairs.has(Repair::BareChunks)
            && let Some(Value::Array(choices)) = chunk.get_mut("choices")
        {
            let before = choices.len();
            choices.retain(|choice| {
                choice.get("delta").is_some_and(Value::is_object) || choice.get("text").is_some()
            });
            changed |= choices.len() != before;
        }
        changed
    }

    /// What was left unsaid: an event before the usage, or before the end.
    fn rest(&mut self) -> Option<Vec<u8>> {
        let mut choices = Vec::new();
        for known in &mut self.choices {
            let rest =
                if self.repairs.has(Repair::ThinkTags) { known.tags.finish() } else { Parts::default() };
            let mut delta = Object::new();
            let mut said = tell(&mut delta, &rest);
            let mut reason = Value::Null;
            if self.repairs.has(Repair::FinishWords) && !std::mem::replace(&mut known.finished, true) {
                reason = FinishReason::Stop.to_openai(known.called).into();
                said = true;
            }
            if said {
                choices.push(json!({ "index": known.number, "delta": delta, "finish_reason": reason }));
            }
        }
        if choices.is_empty() {
            return None;
        }
        let mut chunk = self.head.clone();
        chunk.insert("choices".to_owned(), choices.into());
        Some(exact::json_bytes(&chunk))
    }
}

/// The objects of an array.
fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Object> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Azure opens its streams with a chunk that has no choice, for what it found in the prompt, and sends choices without
/// a delta for what it found in the answer: clients that read `choices[0].delta` break.
fn says_nothing(chunk: &Object) -> bool {
    chunk.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty)
        && !chunk.get("usage").is_some_and(Value::is_object)
}

/// The repairs of a message, or of a delta of one.
fn message_repairs(repairs: Repairs, message: &mut Object, known: &mut Choice) -> bool {
    let mut changed = false;
    if repairs.has(Repair::ContentParts) {
        changed |= content_parts(message);
    }
    if repairs.has(Repair::ReasoningField) {
        changed |= reasoning_field(message);
    }
    if repairs.has(Repair::HollowFields) {
        changed |= hollow_fields(message);
    }
    if repairs.has(Repair::ThinkTags)
        && !known.tags.is_over()
        && let Some(text) = message.get("content").and_then(Value::as_str).filter(|text| !text.is_empty())
    {
        let parts = known.tags.push(text);
        if parts.said != text {
            message.insert("content".to_owned(), Value::Null);
            tell(message, &parts);
            changed = true;
        }
    }
    known.called |=
        message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    changed
}

/// Adds what was thought and said to a message, and tells whether it was anything.
fn tell(message: &mut Object, parts: &Parts) -> bool {
    let mut add = |name: &str, more: &str| {
        if !more.is_empty() {
            let before = message.get(name).and_then(Value::as_str).unwrap_or_default();
            let text = format!("{before}{more}");
            message.insert(name.to_owned(), text.into());
        }
    };
    add("reasoning_content", &parts.thought);
    add("content", &parts.said);
    !(parts.thought.is_empty() && parts.said.is_empty())
}

/// Mistral and Databricks: arrays where text belongs. Thoughts get the field that clients know.
fn content_parts(message: &mut Object) -> bool {
    let Some(Value::Array(parts)) = message.get("content") else { return false };
    let (mut text, mut thought) = (String::new(), String::new());
    let words = |value: &Value, into: &mut String| match value {
        Value::String(text) => into.push_str(text),
        Value::Array(list) => {
            list.iter().filter_map(|part| part.get("text")?.as_str()).for_each(|text| into.push_str(text));
        }
        _ => {}
    };
    for part in parts {
        match part.get("type").and_then(Value::as_str) {
            Some("thinking" | "reasoning") => {
                for name in ["thinking", "summary", "text"] {
                    words(&part[name], &mut thought);
                }
            }
            Some("image_url") => {
                let url = part["image_url"]["url"].as_str().or_else(|| part["image_url"].as_str());
                text.push_str(&url.map(picture).unwrap_or_default());
            }
            _ => words(if part.is_string() { part } else { &part["text"] }, &mut text),
        }
    }
    let content = if text.is_empty() && !thought.is_empty() { Value::Null } else { text.into() };
    message.insert("content".to_owned(), content);
    if !thought.is_empty() {
        message.insert("reasoning_content".to_owned(), thought.into());
    }
    true
}

/// OpenRouter, Groq, Cerebras, Ollama: most clients look for thoughts in DeepSeek's field. Their own one stays, for
/// those who know it.
fn reasoning_field(message: &mut Object) -> bool {
    let is_told =
        message.get("reasoning_content").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let thought =
        message.get("reasoning").filter(|thought| thought.as_str().is_some_and(|text| !text.is_empty()));
    match thought.cloned() {
        Some(thought) if !is_told => {
            message.insert("reasoning_content".to_owned(), thought);
            true
        }
        _ => false,
    }
}

/// Snowflake: a function that was not called and a sound that was not spoken, which clients take for one.
fn hollow_fields(message: &mut Object) -> bool {
    let is_hollow = |value: &Value| match value {
        Value::Object(map) => map.values().all(|value| *value == "" || *value == 0 || value.is_null()),
        _ => false,
    };
    let before = message.len();
    for name in ["function_call", "audio"] {
        if message.get(name).is_some_and(is_hollow) {
            message.shift_remove(name);
        }
    }
    let mut changed = message.len() != before;
    for call in objects(message.get_mut("tool_calls")) {
        if call.get("custom").is_some_and(is_hollow) {
            call.shift_remove("custom");
            changed = true;
        }
    }
    changed
}

/// Google's imitation numbers no calls: each has an identity, and what has none goes on with the last.
fn call_indexes(delta: &mut Object, calls: &mut Vec<String>) -> bool {
    /// More are not told apart.
    const MOST: usize = 1024;
    let mut changed = false;
    for call in objects(delta.get_mut("tool_calls")) {
        if call.get("index").is_some_and(Value::is_number) {
            continue;
        }
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let is_named = call
            .get("function")
            .and_then(|function| function.get("name")?.as_str())
            .is_some_and(|name| !name.is_empty());
        let known = calls.iter().position(|known| !id.is_empty() && known == id);
        let goes_on = id.is_empty() && !is_named && !calls.is_empty();
        let index = match known {
            Some(index) => index,
            None if goes_on || calls.len() == MOST => calls.len() - 1,
            None => {
                calls.push(id.to_owned());
                calls.len() - 1
            }
        };
        call.insert("index".to_owned(), index.into());
        changed = true;
    }
    changed
}

/// Snowflake gives no reason, Azure's other models give words of their own, Google's imitation stops where it calls.
fn finish(choice: &mut Object, known: &Choice, is_whole: bool) -> bool {
    const WORDS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];
    let found = choice.get("finish_reason").and_then(Value::as_str);
    let told = match (found.map(str::trim), found.and_then(FinishReason::from_openai)) {
        // That the model failed is no end of an answer.
        (_, Some(FinishReason::Error)) => return false,
        (Some(word), _) if WORDS.contains(&word) && !(word == "stop" && known.called) => return false,
        (_, Some(reason)) => Value::from(reason.to_openai(known.called)),
        (None, None) if !is_whole => return false,
        (Some(_), None) if !is_whole => Value::Null,
        (_, None) => FinishReason::Stop.to_openai(known.called).into(),
    };
    choice.insert("finish_reason".to_owned(), told);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(repairs: &[Repair], events: &[Value]) -> Vec<Value> {
        let mut mender = mender(Repairs::of(repairs)).expect("repairs of answers");
        let mut told = Vec::new();
        for payload in events.iter().map(Value::to_string).chain(["[DONE]".to_owned()]) {
            match mender.event(payload.as_bytes()) {
                None => told.push(payload.into_bytes()),
                Some(events) => told.extend(events),
            }
        }
        assert_eq!(told.pop().expect("an end"), b"[DONE]");
        told.iter().map(|event| serde_json::from_slice(event).expect("JSON")).collect()
    }

    fn delta(delta: Value) -> Value {
        json!({ "id": "c", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
    }

    fn end(reason: &str) -> Value {
        json!({ "id": "c", "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
    }

    fn whole(repairs: &[Repair], choice: Value) -> Option<Value> {
        let answer = json!({ "id": "c", "choices": [choice] }).to_string();
        let mended = mender(Repairs::of(repairs)).unwrap().whole(answer.as_bytes())?;
        Some(serde_json::from_slice::<Value>(&mended).unwrap()["choices"][0].take())
    }

    /// The call of `/v1beta/openai` that dialects of the format do not have: no index, a stop, and a seal.
    #[test]
    fn calls_of_googles_imitation_get_an_index_each_and_their_reason() {
        let call = |id: &str| {
            json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" },
                "extra_content": { "google": { "thought_signature": "c2ln" } } })
        };
        let more = json!({ "function": { "arguments": "{\"a\":1}" } });

        let told = stream(
            &[Repair::CallIndexes, Repair::FinishWords],
            &[
                delta(json!({ "role": "assistant", "tool_calls": [call("function-call-1")] })),
                delta(json!({ "tool_calls": [call("function-call-2"), more] })),
                end("stop"),
            ],
        );

        let calls = |event: usize| told[event]["choices"][0]["delta"]["tool_calls"].clone();
        assert_eq!(calls(0)[0]["index"], 0);
        assert_eq!(calls(0)[0]["extra_content"]["google"]["thought_signature"], "c2ln");
        assert_eq!([&calls(1)[0]["index"], &calls(1)[1]["index"]], [1, 1]);
        assert_eq!(told[2]["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn tags_in_streams_become_thoughts_however_the_chunks_are_cut() {
        let told = stream(
            &[Repair::ThinkTags],
            &[
                delta(json!({ "role": "assistant", "content": "<th" })),
                delta(json!({ "content": "ink>a </" })),
                delta(json!({ "content": "b</think>\n\n" })),
                delta(json!({ "content": "Yes <think>" })),
                end("stop"),
            ],
        );

        let all = |name: &str| -> String {
            told.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str()).collect()
        };
        assert_eq!(
            (all("reasoning_content"), all("content")),
            ("a </b".to_owned(), "Yes <think>".to_owned())
        );
        assert_eq!(told[0]["choices"][0]["delta"]["role"], "assistant");
    }

    #[test]
    fn a_tag_that_never_came_is_told_before_the_end() {
        let cut = stream(&[Repair::ThinkTags], &[delta(json!({ "content": "<thi" })), end("stop")]);
        let unended = stream(&[Repair::ThinkTags], &[delta(json!({ "content": "<thi" }))]);

        assert_eq!(cut[1]["choices"][0]["delta"]["content"], "<thi");
        assert_eq!(unended[1]["choices"][0]["delta"]["content"], "<thi");
        assert_eq!(unended[1]["id"], "c");
    }

    #[test]
    fn what_needs_no_repair_is_not_written_anew() {
        let all = Repairs::of(&Repair::ALL);
        let mut mender = mender(all).unwrap();
        let first = delta(json!({ "role": "assistant", "content": "Hi", "reasoning_content": "" }));
        for event in [first, delta(json!({ "content": "there" })), end("stop")] {
            assert_eq!(mender.event(event.to_string().as_bytes()), None, "{event}");
        }
        assert_eq!(mender.event(b"[DONE]"), None);
        for other in [&b"{"[..], b"", b"[]", br#"{"error":{"message":"x"},"choices":[]}"#] {
            assert_eq!(mender.event(other), None);
        }
        let plain = json!({ "index": 0, "message": { "content": "Hi" }, "finish_reason": "length" });
        assert_eq!(whole(&Repair::ALL, plain), None);
        assert!(super::mender(Repairs::of(&[Repair::SystemRole])).is_none());
    }

    #[test]
    fn reasons_are_those_of_openai() {
        let finish = |message: Value, reason: Value| {
            let choice = json!({ "index": 0, "message": message, "finish_reason": reason });
            whole(&[Repair::FinishWords], choice).map(|choice| choice["finish_reason"].clone())
        };
        let calling =
            json!({ "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": "{}" } }] });

        assert_eq!(finish(json!({ "content": "a" }), "".into()), Some("stop".into()));
        assert_eq!(finish(json!({ "content": "a" }), "eos".into()), Some("stop".into()));
        assert_eq!(finish(json!({ "content": "a" }), "max_tokens".into()), Some("length".into()));
        assert_eq!(finish(calling.clone(), "tool_call".into()), Some("tool_calls".into()));
        assert_eq!(finish(calling.clone(), Value::Null), Some("tool_calls".into()));
        assert_eq!(finish(calling, "length".into()), None);
        assert_eq!(finish(json!({ "content": "a" }), "error".into()), None);
    }

    #[test]
    fn numbers_keep_their_digits_where_a_chunk_is_written_anew() {
        let payload =
            br#"{"created":12345678901234567890123,"choices":[{"index":0,"delta":{"reasoning":"a"}}]}"#;

        let told = mender(Repairs::of(&[Repair::ReasoningField])).unwrap().event(payload).unwrap();

        let text = String::from_utf8(told[0].clone()).unwrap();
        assert!(
            text.contains("12345678901234567890123") && text.contains(r#""reasoning_content":"a""#),
            "{text}"
        );
    }
}
