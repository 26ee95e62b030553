//! Keys with limits, and how much of them passes.

use serde_json::{Value, json};

use super::super::super::*;

/// Channel `a` with these models, an administrator, and a key with this `rate_limit`.
pub(crate) fn limited(upstream: &Upstream, models: &Value, limit: &Value) -> Value {
    config([channel("a", upstream).with("/model", models.clone())]).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin" },
            { "api": "sk-few", "preferences": { "rate_limit": limit } },
        ]),
    )
}

pub(crate) async fn few(gateway: &Gateway, model: &str) -> Answer {
    gateway.ask(&Ask::chat(&hello_to(model)).key("sk-few")).await
}

/// How many of `times` requests pass.
pub(crate) async fn passing(gateway: &Gateway, model: &str, times: usize) -> usize {
    let mut passed = 0;
    for _ in 0..times {
        passed += usize::from(few(gateway, model).await.status == 200);
    }
    passed
}
