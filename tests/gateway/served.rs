//! Every request that some channel could serve is served: none of ten thousand fails while one
//! channel works, whatever the others do; and what the budget of attempts is spent on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

const REQUESTS: usize = 10_000;
const CLIENTS: usize = 64;

/// How often each provider key was used.
fn uses(upstream: &Upstream) -> BTreeMap<String, usize> {
    let mut uses = BTreeMap::new();
    upstream.keys().into_iter().for_each(|key| *uses.entry(key).or_default() += 1);
    uses
}

/// A channel that refuses connections, one that answers 429 every second time, one that works.
async fn dead_limited_and_healthy(limited: &Upstream, algorithm: &str, cooldown: Value) -> Gateway {
    let good = healthy("good").await;
    let config = config([
        channel_at("dead", &refused_port().await),
        channel("limited", limited),
        channel("good", &good),
    ])
    .with("/api_keys/0/preferences/SCHEDULING_ALGORITHM", json!(algorithm))
    .with("/preferences/cooldown_period", cooldown);
    Gateway::start(config).await
}

async fn limited_half_of_the_time() -> Upstream {
    Upstream::start(|seen| {
        if seen.ordinal % 2 == 0 { Script::error(429, "slow down") } else { saying("limited")(seen) }
    })
    .await
}

/// Promises: `retry-next-channel`, `route-model-on-many-channels`.
#[tokio::test]
async fn of_ten_thousand_requests_none_fails_while_one_of_three_channels_works() {
    // Nothing cools; cools end within the run, with a trial after each; the first rest outlasts it.
    for (cooldown, clients, requests) in
        [(json!(0), CLIENTS, REQUESTS), (json!(0.2), CLIENTS, REQUESTS / 2), (json!(300), 1, REQUESTS / 4)]
    {
        let limited = limited_half_of_the_time().await;
        let gateway = dead_limited_and_healthy(&limited, "round_robin", cooldown.clone()).await;

        let outcome = gateway.load(clients, requests, &Ask::chat(&hello())).await.all_served();

        assert_eq!(outcome.of("limited") + outcome.of("good"), requests, "{outcome:?}");
        if cooldown == json!(0) {
            assert!(limited.count() > requests / 3, "{}: too few to tell", limited.count());
        }
    }
}

/// Promises: `retry-next-channel`.
#[tokio::test]
async fn of_ten_thousand_streams_none_fails_while_one_of_three_channels_works() {
    let limited = limited_half_of_the_time().await;
    let gateway = dead_limited_and_healthy(&limited, "fixed_priority", json!(0)).await;

    let outcome = gateway.load(CLIENTS, REQUESTS, &Ask::chat(&hello_stream())).await;

    outcome.shares(&[("good", REQUESTS / 2), ("limited", REQUESTS / 2)]);
}

/// Promises: `retry-next-channel`, `keys-smart-large`.
#[tokio::test]
async fn of_ten_thousand_requests_none_fails_behind_five_thousand_revoked_keys() {
    let gemini = json!({ "error": { "code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT" } });
    // Some providers say 400 to a key that is not valid.
    for (refusal, clients, requests) in
        [(Script::error(401, "revoked"), CLIENTS, REQUESTS), (Script::status(400, &gemini), 1, REQUESTS / 10)]
    {
        let revoked = Upstream::always(refusal).await;
        let limited = limited_half_of_the_time().await;
        let good = healthy("good").await;
        let keys: Vec<String> = (0..5000).map(|n| format!("revoked-{n}")).collect();
        let config = config([
            channel("revoked", &revoked).with("/api", json!(keys)),
            channel_at("dead", &refused_port().await),
            channel("limited", &limited),
            channel("good", &good),
        ])
        .with("/preferences/cooldown_period", json!(0));
        let gateway = Gateway::start(config).await;

        gateway.load(clients, requests, &Ask::chat(&hello())).await.all_served();

        assert_eq!(uses(&revoked).len(), 5000, "each key has its turn");
        // Requests that run together may meet in the last key, and in a slow run the first cools
        // of a minute end; keys that do not rest would be asked ten times by each request.
        assert!(revoked.count() < 15_000, "{}", revoked.count());
    }
}

/// Promises: `retry-next-channel`.
#[tokio::test]
async fn revoked_keys_that_never_rest_cost_attempts_and_no_request() {
    let revoked = Upstream::always(Script::error(401, "revoked")).await;
    let good = healthy("good").await;
    let keys: Vec<String> = (0..5000).map(|n| format!("revoked-{n}")).collect();
    let config = config([
        channel("revoked", &revoked)
            .with("/api", json!(keys))
            .with("/preferences/api_key_cooldown_period", json!(0)),
        channel_at("dead", &refused_port().await),
        channel("good", &good),
    ])
    .with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;

    gateway.load(CLIENTS, 500, &Ask::chat(&hello())).await.shares(&[("good", 500)]);

    // Three channels and ten attempts more, of which the two others keep one each.
    assert_eq!(revoked.count(), 500 * 11);
}

/// Many requests are under way when one key is refused: that key cools, and no other.
///
/// Promises: `cool-key-429`, `keys-rotation`.
#[tokio::test]
async fn with_64_clients_at_once_the_key_that_was_refused_is_the_one_that_rests() {
    let upstream = Upstream::start(|seen| {
        let answer = match seen.key().as_str() {
            "k2" => Script::error(429, "slow down").header("retry-after", "600"),
            _ => saying("ok")(seen),
        };
        answer.after(Duration::from_millis(5))
    })
    .await;
    let keys = channel("a", &upstream).with("/api", json!(["k1", "k2", "k3", "k4"]));
    let gateway = Gateway::start(config([keys])).await;

    gateway.load(CLIENTS, 2000, &Ask::chat(&hello())).await.shares(&[("a", 2000)]);

    let uses = uses(&upstream);
    assert!((1..=CLIENTS).contains(&uses["k2"]), "{uses:?}");
    let others: Vec<usize> = ["k1", "k3", "k4"].iter().map(|key| uses[*key]).collect();
    assert_eq!(others.iter().sum::<usize>(), 2000);
    // In turn, but for the requests that had to take another key than the one that was theirs.
    assert!(others.iter().all(|count| count.abs_diff(2000 / 3) <= CLIENTS), "{uses:?}");
    let before = upstream.count();
    for _ in 0..6 {
        gateway.chat(&hello()).await.expect(200);
    }
    let mut later = upstream.keys().split_off(before);
    later.sort();
    assert_eq!(later, ["k1", "k1", "k3", "k3", "k4", "k4"]);
}
