//! Channels and keys in groups.

use serde_json::{Value, json};

use super::super::super::*;

/// Channels `a` and `b` as the group `sk-group`, then `c`; the group's key has these preferences.
pub(crate) fn grouped(a: &Upstream, b: &Upstream, c: &Upstream, group: &Value) -> Value {
    config([channel("a", a), channel("b", b), channel("c", c)])
        .with("/preferences/model_price", json!({ "default": "0,1000000" }))
        .with("/preferences/cooldown_period", json!(0))
        .with(
            "/api_keys",
            json!([
                { "api": CLIENT, "role": "admin", "model": ["sk-group/*", "c/*"] },
                { "api": "sk-group", "model": ["a/*", "b/*"], "preferences": group },
            ]),
        )
}
