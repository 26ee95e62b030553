//! What a provider's cache needs: the next request of a conversation begins, byte for byte, with the one before it.

use dialect::Dialect;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::kit::{Exchange, UPSTREAMS};
use crate::requests::models;

/// One turn of a conversation, as a client tells it afterwards.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    User(String, bool),
    System(String),
    /// What the model said and thought, and how many tools it called at once.
    Assistant(String, Option<String>, usize),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = "[a-z]{1,6}( [a-zü]{1,5}){0,3}";
    let step = prop_oneof![
        4 => (word, prop::bool::weighted(0.2)).prop_map(|(text, image)| Step::User(text, image)),
        1 => word.prop_map(Step::System),
        5 => (word, prop::option::weighted(0.3, word), 0..3_usize)
            .prop_map(|(text, thought, calls)| Step::Assistant(text, thought, calls)),
    ];
    prop::collection::vec(step, 2..9)
}

/// The conversation's messages, and how many of them there are each time that it is the model's turn.
pub(crate) fn messages(steps: &[Step], marked: bool) -> (Vec<Value>, Vec<usize>) {
    let mut messages = vec![json!({ "role": "system", "content": "S" })];
    let mut turns = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::User(text, image) => {
                let mut parts = vec![json!({ "type": "text", "text": text })];
                if *image {
                    let url = "data:image/png;base64,iVBORw0KGgo=";
                    parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
                }
                if marked {
                    parts[0]["cache_control"] = json!({ "type": "ephemeral" });
                }
                let content = if parts.len() == 1 && !marked { json!(text) } else { json!(parts) };
                messages.push(json!({ "role": "user", "content": content }));
                turns.push(messages.len());
            }
            Step::System(text) => messages.push(json!({ "role": "system", "content": text })),
            Step::Assistant(text, thought, calls) => {
                let ids: Vec<String> = (0..*calls).map(|call| format!("call_{at}_{call}")).collect();
                let made: Vec<Value> = ids
                    .iter()
                    .map(|id| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }))
                    .collect();
                let mut message = json!({ "role": "assistant", "content": text });
                if let Some(thought) = thought {
                    message["reasoning_content"] = thought.as_str().into();
                }
                if !made.is_empty() {
                    message["tool_calls"] = made.into();
                }
                messages.push(message);
                for id in &ids {
                    messages.push(json!({ "role": "tool", "tool_call_id": id, "content": format!("R{id}") }));
                }
                if !ids.is_empty() {
                    turns.push(messages.len());
                }
            }
        }
    }
    (messages, turns)
}

/// A value without its cache marks.
fn unmarked(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "cache_control" | "prompt_cache_breakpoint"))
            .map(|(name, value)| (name.clone(), unmarked(value)))
            .collect(),
        Value::Array(list) => {
            list.iter().filter(|one| one.get("cachePoint").is_none()).map(unmarked).collect()
        }
        other => other.clone(),
    }
}

/// What is sent as the fields beside the conversation, and the conversation as text up to its last word.
fn sent(upstream: Dialect, model: &str, messages: &[Value]) -> Option<(Value, String)> {
    let tools = ["f", "g"].map(|name| {
        let parameters = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
        json!({ "type": "function", "function": { "name": name, "description": "D", "parameters": parameters } })
    });
    let body = json!({ "model": model, "messages": messages, "tools": tools }).to_string();
    // What cannot be asked of one upstream is asked of another.
    let exchange = Exchange::aimed(Dialect::OpenAiChat, upstream, body.as_bytes(), true, model).ok()?;
    split(&exchange.sent)
}

/// A request as the fields beside the conversation, and the conversation as text up to its last word.
pub(crate) fn split(sent: &Value) -> Option<(Value, String)> {
    let mut sent = unmarked(sent);
    let fields = sent.as_object_mut().expect("an object");
    let name = ["messages", "contents", "input"].into_iter().find(|name| fields.contains_key(*name));
    // Cohere's first version tells the last turn apart from the others.
    let turns = fields.shift_remove(name?).expect("there").to_string();
    Some((sent, turns.trim_end_matches([']', '}']).to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_next_request_of_a_conversation_begins_with_the_one_before_it_at_every_upstream(
        steps in steps(),
        marked in any::<bool>(),
    ) {
        let (messages, turns) = messages(&steps, marked);
        // A translation has no conversation: it is of the last text alone.
        for upstream in UPSTREAMS.iter().filter(|upstream| **upstream != Dialect::DoubaoTranslation) {
            for model in models(*upstream) {
                let requests: Vec<_> =
                    turns.iter().filter_map(|end| sent(*upstream, model, &messages[..*end])).collect();
                for pair in requests.windows(2) {
                    prop_assert_eq!(&pair[0].0, &pair[1].0, "{:?} {}", upstream, model);
                    prop_assert!(
                        pair[1].1.starts_with(&pair[0].1),
                        "{:?} {}\n  first  {}\n  second {}", upstream, model, pair[0].1, pair[1].1
                    );
                }
            }
        }
    }
}
