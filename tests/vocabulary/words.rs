//! The words that configurations, requests and answers are made of.

use serde_json::{Value, json};

use super::super::Upstream;
use super::{Script, Seen};

/// The key of a client, where a test needs only one. A lone key is an administrator's.
pub(crate) const CLIENT: &str = "sk-client-0123456789abcdef";

/// The model that judges texts.
pub(crate) const JUDGE_MODEL: &str = "omni-moderation-latest";

/// A configuration with these channels, one client key and nothing else.
pub(crate) fn config(channels: impl IntoIterator<Item = Value>) -> Value {
    json!({
        "providers": channels.into_iter().collect::<Vec<_>>(),
        "api_keys": [{ "api": CLIENT }],
        "preferences": {},
    })
}

/// A channel of OpenAI's format that offers the model `m`.
pub(crate) fn channel(name: &str, upstream: &Upstream) -> Value {
    channel_at(name, &upstream.url())
}

/// The same at any address.
pub(crate) fn channel_at(name: &str, url: &str) -> Value {
    json!({ "provider": name, "base_url": url, "api": format!("key-of-{name}"), "model": ["m"] })
}

/// A channel of Anthropic's format that offers the model `m`.
pub(crate) fn anthropic_channel(name: &str, upstream: &Upstream) -> Value {
    channel_at(name, &format!("{}/v1/messages", upstream.origin())).with("/engine", json!("claude"))
}

/// Changes of JSON values that read from left to right.
pub(crate) trait With {
    /// Sets what the JSON pointer names, making the maps on the way to it.
    fn with(self, pointer: &str, value: Value) -> Self;
}

impl With for Value {
    fn with(mut self, pointer: &str, value: Value) -> Self {
        let mut place = &mut self;
        for word in pointer.split('/').skip(1) {
            place = match word.parse::<usize>() {
                Ok(index) if place.is_array() => &mut place[index],
                _ => &mut place[word.replace("~1", "/")],
            };
        }
        *place = value;
        self
    }
}

/// A chat request for the model `m`.
pub(crate) fn hello() -> Value {
    hello_to("m")
}

/// A chat request.
pub(crate) fn hello_to(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] })
}

/// A chat request that asks for events.
pub(crate) fn hello_stream() -> Value {
    hello().with("/stream", json!(true))
}

/// A whole chat answer.
pub(crate) fn said(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-upstream",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 },
    })
}

/// One event of a chat stream.
pub(crate) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// The event that only opens a chat stream.
pub(crate) fn role_event() -> String {
    event(&chunk(&json!({ "role": "assistant", "content": "" }), None))
}

/// An event with text.
pub(crate) fn text_event(text: &str) -> String {
    event(&chunk(&json!({ "content": text }), None))
}

/// The event with the finish reason.
pub(crate) fn stop_event() -> String {
    event(&chunk(&json!({}), Some("stop")))
}

/// The event with usage and no choices.
pub(crate) fn usage_event() -> String {
    event(&json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-upstream", "choices": [],
        "usage": { "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 },
    }))
}

/// The terminal marker.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-upstream",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    })
}

/// All events of a stream that says these words one by one.
pub(crate) fn stream_of(words: &[&str]) -> Vec<String> {
    let mut events = vec![role_event()];
    events.extend(words.iter().map(|word| text_event(word)));
    events.extend([stop_event(), DONE.to_owned()]);
    events
}

/// The script of a healthy upstream: says `text`, whole or as events, as the request asks.
pub(crate) fn saying(text: &str) -> impl Fn(&Seen) -> Script + Send + Sync + 'static {
    let text = text.to_owned();
    move |seen| {
        if seen.streams() { Script::events(stream_of(&[&text])) } else { Script::json(&said(&text)) }
    }
}

/// A healthy upstream that says `text`.
pub(crate) async fn healthy(text: &str) -> Upstream {
    Upstream::start(saying(text)).await
}
