//! Keys, rules and channels among which requests are distributed.

use serde_json::{Value, json};

use super::super::super::*;

pub(crate) const REQUESTS: usize = 10_000;

pub(crate) const CLIENTS: usize = 64;

/// A key that is told which channel served.
pub(crate) fn key(name: &str, algorithm: &str, rules: Value) -> Value {
    json!({
        "api": name,
        "model": rules,
        "preferences": { "SCHEDULING_ALGORITHM": algorithm, "expose_route": true },
    })
}

/// The usual key with this algorithm and these rules.
pub(crate) fn keys(algorithm: &str, rules: Value) -> Value {
    json!([key(CLIENT, algorithm, rules)])
}

/// Rules that weigh channels `a`, `b`, `c` and so on; 0 is no weight.
pub(crate) fn weighted(weights: &[u32]) -> Value {
    let rule = |(at, weight): (usize, &u32)| {
        let name = format!("{}/*", char::from(b'a' + at as u8));
        if *weight == 0 { json!(name) } else { json!({ name: weight }) }
    };
    weights.iter().enumerate().map(rule).collect()
}

/// Channels `a`, `b`, `c` and so on, all served by this upstream.
pub(crate) fn channels(count: usize, upstream: &Upstream) -> Vec<Value> {
    (0..count).map(|at| channel(&char::from(b'a' + at as u8).to_string(), upstream)).collect()
}

/// A gateway over healthy channels.
pub(crate) async fn gateway(count: usize, algorithm: &str, rules: Value) -> Gateway {
    let upstream = healthy("ok").await;
    Gateway::start(config(channels(count, &upstream)).with("/api_keys", keys(algorithm, rules))).await
}

pub(crate) fn hello_ask() -> Ask {
    Ask::chat(&hello())
}
