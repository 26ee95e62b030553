//! Keys within keys: the order of a group, and what a nested key's own limits mean to it.

use serde_json::{Value, json};

use crate::harness::*;

/// Channels `a` and `b` as the group `sk-group`, then `c`; the group's key has these preferences.
fn grouped(a: &Upstream, b: &Upstream, c: &Upstream, group: &Value) -> Value {
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

#[tokio::test]
async fn usage_through_a_group_is_recorded_under_the_outer_key() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let config = grouped(&a, &b, &c, &json!({}));
    let gateway = Setup::new(config).with_database().env("STATS_PLAIN_KEYS", "true").start().await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(gateway.request_rows(1).await[0].api_key.as_deref(), Some(CLIENT));
}
