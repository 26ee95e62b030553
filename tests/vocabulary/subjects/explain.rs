//! Questions about routes, and what they are answered.

use serde_json::{Value, json};

use super::super::super::*;

pub(crate) const USER: &str = "sk-user-0123456789abcdef";

/// One administrator, and one user with these rules and preferences.
pub(crate) fn with_user(config: Value, rules: Value, preferences: Value) -> Value {
    config.with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin" },
            { "api": USER, "role": "user", "model": rules, "preferences": preferences },
        ]),
    )
}

pub(crate) async fn explained(gateway: &Gateway, question: &Value) -> Value {
    gateway.ask(&Ask::post("/v1/route/explain", question)).await.expect(200).json()
}

/// Channel and standing of every candidate, in order.
pub(crate) fn standings(explanation: &Value) -> Vec<String> {
    let candidates = explanation["candidates"].as_array().unwrap();
    let words = |candidate: &Value| {
        let word = |name: &str| candidate[name].as_str().unwrap().to_owned();
        format!("{} {}", word("channel"), word("standing"))
    };
    candidates.iter().map(words).collect()
}
