//! Judges of texts, and keys that are moderated.

use serde_json::{Value, json};

use super::super::super::*;

/// An upstream that flags every text with `bad` in it.
pub(crate) async fn judge() -> Upstream {
    Upstream::start(verdict).await
}

pub(crate) fn verdict(seen: &Seen) -> Script {
    let bad = seen.json()["input"].as_str().is_none_or(|text| text.contains("bad"));
    Script::json(&json!({
        "id": "modr-1", "model": JUDGE_MODEL,
        "results": [{ "flagged": bad, "categories": { "violence": bad }, "category_scores": { "violence": 0.5 } }],
    }))
}

/// A channel with the model that judges.
pub(crate) fn judging(name: &str, upstream: &Upstream) -> Value {
    channel(name, upstream).with("/model", json!([JUDGE_MODEL]))
}

/// These channels, and a key that is moderated.
pub(crate) fn moderated(channels: impl IntoIterator<Item = Value>) -> Value {
    config(channels).with("/api_keys/0/preferences/ENABLE_MODERATION", json!(true))
}

pub(crate) fn says(text: impl Into<Value>) -> Value {
    hello().with("/messages/0/content", text.into())
}
