//! Who gets how many requests: shares over ten thousand of them, exact where the algorithm is, by
//! chance where it draws; from one client and from many at once; while channels rest or fail.
//!
//! One upstream stands behind all channels, so that what is counted is what the gateway decided.

use serde_json::json;

use crate::harness::subjects::distribution::*;
use crate::harness::*;

/// Promises: `sched-weighted`, `sched-weighted-example`.
#[tokio::test]
async fn weights_of_5_3_2_are_a_smooth_sequence_and_exact_shares() {
    for clients in [1, CLIENTS] {
        let gateway = gateway(3, "weighted_round_robin", weighted(&[5, 3, 2])).await;
        assert_eq!(gateway.sequence(20, &hello_ask()).await, "abcabacaba".repeat(2));

        let outcome = gateway.load(clients, REQUESTS, &hello_ask()).await;

        outcome.shares(&[("a", 5000), ("b", 3000), ("c", 2000)]);
    }
}

/// Promises: `sched-weight-positive`.
#[tokio::test]
async fn twice_the_weight_is_twice_the_requests_and_a_weight_of_zero_is_out() {
    let gateway = gateway(2, "weighted_round_robin", weighted(&[2, 1])).await;
    gateway.load(8, 300, &hello_ask()).await.shares(&[("a", 200), ("b", 100)]);

    for weight in [json!(0), json!(-1), json!(1.5), json!("many")] {
        let upstream = healthy("ok").await;
        let rules = json!([{ "a/*": weight }, { "b/*": 1 }]);
        let config = config(channels(2, &upstream)).with("/api_keys", keys("lottery", rules));

        let (code, printed) = run(&config, &["check", "--strict"]).await;

        assert_eq!(code, 1, "{weight}: {printed}");
        assert!(printed.contains("a/*"), "{weight}: {printed}");
        if weight == json!(0) {
            Gateway::start(config).await.load(8, 50, &hello_ask()).await.shares(&[("b", 50)]);
        }
    }
}

/// Promises: `sched-values`.
#[tokio::test]
async fn each_algorithm_is_known_and_any_other_word_is_told_with_the_known_ones() {
    let known =
        ["fixed_priority", "round_robin", "weighted_round_robin", "lottery", "random", "smart_round_robin"];
    for algorithm in known.into_iter().chain(["weighted"]) {
        let upstream = healthy("ok").await;
        let rules = json!(["all"]);
        let config = config(channels(1, &upstream)).with("/api_keys", keys(algorithm, rules));

        let (code, printed) = run(&config, &["check", "--strict"]).await;

        if known.contains(&algorithm) {
            assert_eq!(code, 0, "{algorithm}: {printed}");
        } else {
            assert_eq!(code, 1, "{printed}");
            known.iter().for_each(|known| assert!(printed.contains(known), "{known}: {printed}"));
        }
    }
}

/// Promises: `keys-algorithm-values`.
#[tokio::test]
async fn each_key_algorithm_is_known_and_with_one_key_they_are_all_alike() {
    for algorithm in ["round_robin", "random", "fixed_priority", "smart_round_robin", "sorted"] {
        let upstream = healthy("ok").await;
        let channel =
            channel("a", &upstream).with("/preferences/api_key_schedule_algorithm", json!(algorithm));
        let config = config([channel]);

        let (code, printed) = run(&config, &["check", "--strict"]).await;
        assert_eq!(code, i32::from(algorithm == "sorted"), "{algorithm}: {printed}");
        assert!(algorithm != "sorted" || printed.contains("fixed_priority"), "{printed}");

        let gateway = Gateway::start(config).await;
        for _ in 0..3 {
            gateway.chat(&hello()).await.expect(200);
        }
        assert_eq!(upstream.keys(), ["key-of-a"; 3], "{algorithm}");
    }
}

/// Promises: `keys-rotation`, `keys-random`.
#[tokio::test]
async fn provider_keys_share_ten_thousand_requests_of_many_clients() {
    for (algorithm, exact) in [("round_robin", true), ("random", false)] {
        let upstream = healthy("ok").await;
        let channel = channel("a", &upstream)
            .with("/api", json!(["k0", "k1", "k2", "k3"]))
            .with("/preferences/api_key_schedule_algorithm", json!(algorithm));
        let gateway = Gateway::start(config([channel])).await;

        gateway.load(CLIENTS, REQUESTS, &hello_ask()).await.all_served();

        let mut used = Outcome::default();
        upstream.keys().into_iter().for_each(|key| *used.served.entry(key).or_default() += 1);
        if exact {
            used.shares(&[("k0", 2500), ("k1", 2500), ("k2", 2500), ("k3", 2500)]);
        } else {
            used.shares_like(&[("k0", 1), ("k1", 1), ("k2", 1), ("k3", 1)]);
        }
    }
}

/// Three levels: of eight requests six enter the outer group, which takes turns between channel `c`
/// and the inner group, which weighs `a` twice as much as `b`.
///
/// Promises: `key-nested`, `sched-weighted`, `sched-round-robin`.
#[tokio::test]
async fn shares_multiply_exactly_down_three_levels_of_groups() {
    for (clients, requests) in [(CLIENTS, 9600), (1, 960)] {
        let upstream = healthy("ok").await;
        let config = config(channels(4, &upstream)).with(
            "/api_keys",
            json!([
                key(CLIENT, "weighted_round_robin", json!([{ "sk-one/*": 3 }, { "d/*": 1 }])),
                key("sk-one", "round_robin", json!(["sk-two/m", "c/*"])),
                key("sk-two", "weighted_round_robin", json!(["sk-three/*"])),
                key("sk-three", "weighted_round_robin", json!([{ "a/*": 2 }, { "b/*": 1 }])),
            ]),
        );
        let gateway = Gateway::start(config).await;

        let outcome = gateway.load(clients, requests, &hello_ask()).await;

        outcome.shares(&[
            ("a", requests / 4),
            ("b", requests / 8),
            ("c", requests * 3 / 8),
            ("d", requests / 4),
        ]);
    }
}
