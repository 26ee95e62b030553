//! Several provider keys in one channel: taken in turn, left alone when they fail.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::bench::subjects::keys::*;
use super::bench::*;

/// Promises: `cfg-api-list`, `keys-rotation`.
#[tokio::test(start_paused = true)]
async fn keys_are_used_in_turn_without_any_setting() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([three_keys(&upstream)])).await;

    for _ in 0..6 {
        gateway.chat(&hello()).await.expect(200);
    }

    assert_eq!(upstream.keys(), ["k1", "k2", "k3", "k1", "k2", "k3"]);
}

/// Promises: `cfg-api-string`.
#[tokio::test(start_paused = true)]
async fn a_single_key_may_be_a_string_a_number_or_a_list() {
    for (written, sent) in [(json!("k"), "k"), (json!(12345), "12345"), (json!(["k"]), "k")] {
        let upstream = healthy("ok").await;
        let gateway = Gateway::start(config([channel("a", &upstream).with("/api", written)])).await;

        gateway.chat(&hello()).await.expect(200);

        assert_eq!(upstream.only().header("authorization").unwrap(), format!("Bearer {sent}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_key_is_followed_by_the_next_key_and_then_by_the_next_channel() {
    for status in [401, 402, 403, 429] {
        let a = Upstream::always(Script::error(status, "no")).await;
        let b = healthy("b").await;
        let gateway = Gateway::start(config([three_keys(&a), channel("b", &b)])).await;

        let answer = gateway.chat(&hello()).await.expect(200);

        assert_eq!((answer.channel(), answer.header("x-uni-api-attempts")), ("b", Some("4")), "{status}");
        assert_eq!(a.keys(), ["k1", "k2", "k3"], "{status}");
        gateway.chat(&hello()).await.expect(200);
        assert_eq!(a.count(), 3, "{status}: with all keys used up the channel is left alone");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_key_that_was_rejected_is_left_alone() {
    let upstream = Upstream::start(|seen| match seen.key().as_str() {
        "k2" => Script::error(429, "slow down").header("retry-after", "30"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let gateway = Gateway::start(config([three_keys(&upstream)])).await;

    for _ in 0..5 {
        gateway.chat(&hello()).await.expect(200);
    }

    assert_eq!(upstream.keys(), ["k1", "k2", "k3", "k1", "k3", "k1"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_comes_back_when_the_upstream_said_it_would() {
    let upstream = Upstream::start(|seen| match (seen.key().as_str(), seen.ordinal) {
        ("k1", 0) => Script::error(429, "slow down").header("retry-after-ms", "60500"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream).with("/api", json!(["k1", "k2"]))])).await;

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello()).await.expect(200);
    assert_eq!(upstream.keys(), ["k1", "k2", "k2"]);
    sleep(Duration::from_secs(60)).await;
    gateway.chat(&hello()).await.expect(200);
    assert_eq!(upstream.last().key(), "k2");
    sleep(Duration::from_secs(1)).await;
    gateway.chat(&hello()).await.expect(200);

    assert_eq!(upstream.last().key(), "k1");
}

#[tokio::test(start_paused = true)]
async fn a_server_error_is_not_the_keys_fault() {
    let a = Upstream::in_turn(vec![Script::error(500, "x"), Script::json(&said("a"))]).await;
    let b = healthy("b").await;
    let config = config([three_keys(&a), channel("b", &b)]).with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    for _ in 0..3 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    }

    assert_eq!(a.keys(), ["k1", "k2", "k3", "k1"]);
}

#[tokio::test(start_paused = true)]
async fn every_channel_gets_its_turn_however_many_keys_the_first_one_has() {
    let a = Upstream::always(Script::error(401, "no")).await;
    let b = healthy("b").await;
    let keys: Vec<String> = (0..100).map(|n| format!("key-{n}")).collect();
    let gateway =
        Gateway::start(config([channel("a", &a).with("/api", json!(keys)), channel("b", &b)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!(answer.channel(), "b");
    assert!(a.count() <= 11, "{} attempts", a.count());
    let mut distinct = a.keys();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), a.count(), "a key was asked twice");
}

#[tokio::test(start_paused = true)]
async fn when_every_key_is_at_its_limit_the_client_gets_429_with_retry_after() {
    let upstream = healthy("ok").await;
    let limited = three_keys(&upstream).with("/preferences/api_key_rate_limit", json!("1/min"));
    let gateway = Gateway::start(config([limited])).await;

    for _ in 0..3 {
        gateway.chat(&hello()).await.expect(200);
    }
    let answer = gateway.chat(&hello()).await.expect(429);

    assert_eq!(upstream.count(), 3);
    let after: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
    assert_eq!(after, 60);
}

/// Promises: `keys-algorithm-values`.
#[tokio::test(start_paused = true)]
async fn each_algorithm_orders_several_keys_and_changes_nothing_for_one() {
    let rotating = ["k1", "k2", "k3", "k1", "k2", "k3"];
    let cases = [
        (Value::Null, Some(rotating)),
        (json!("round_robin"), Some(rotating)),
        (json!("smart_round_robin"), Some(rotating)),
        (json!("fixed_priority"), Some(["k1"; 6])),
        (json!("random"), None),
    ];
    for (algorithm, due) in cases {
        let (several, one) = (healthy("ok").await, healthy("ok").await);
        let ordered =
            |channel: Value| channel.with("/preferences/api_key_schedule_algorithm", algorithm.clone());
        let gateway = Gateway::start(config([
            ordered(three_keys(&several)),
            ordered(channel("one", &one).with("/model", json!(["one"]))),
        ]))
        .await;

        for _ in 0..6 {
            gateway.chat(&hello()).await.expect(200);
            gateway.chat(&hello_to("one")).await.expect(200);
        }

        if let Some(due) = due {
            assert_eq!(several.keys(), due, "{algorithm}");
        }
        assert_eq!(one.keys(), ["key-of-one"; 6], "{algorithm}");
    }
}

/// Promises: `keys-smart-large`, `keys-smart-exploration`.
#[tokio::test(start_paused = true)]
async fn a_channel_with_fifty_thousand_keys_uses_each_in_turn_and_leaves_refused_ones_alone() {
    let upstream = Upstream::start(|seen| match seen.key().strip_prefix("key-") {
        Some(number) if !number.ends_with("00") => Script::error(401, "revoked"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let keys: Vec<String> = (0..50_000).map(|n| format!("key-{n}")).collect();
    let good = healthy("b").await;
    let many = channel("a", &upstream)
        .with("/api", json!(keys))
        .with("/preferences/api_key_schedule_algorithm", json!("smart_round_robin"))
        .with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config([many, channel("b", &good)])).await;

    gateway.load(16, 2000, &Ask::chat(&hello())).await.all_served();

    let used = upstream.keys();
    let distinct: std::collections::HashSet<&String> = used.iter().collect();
    assert_eq!(distinct.len(), used.len(), "a key had a second turn before the others had their first");
    assert!(used.len() > 10_000, "{}", used.len());
}
