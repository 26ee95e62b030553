//! Who gets how many requests: shares over ten thousand of them, exact where the algorithm is, by
//! chance where it draws; from one client and from many at once; while channels rest or fail.
//!
//! One upstream stands behind all channels, so that what is counted is what the gateway decided.

use serde_json::{Value, json};

use super::bench::subjects::distribution::*;
use super::bench::*;

/// Many clients and many requests; one client and fewer, since it has to wait for each.
const CROWD_AND_ONE: [(usize, usize); 2] = [(CLIENTS, REQUESTS), (1, 1000)];

/// An upstream where only these channels fail, always, with a 500.
async fn failing(names: &'static [&'static str]) -> Upstream {
    Upstream::start(|seen| {
        let fails = names.iter().any(|name| seen.key() == format!("key-of-{name}"));
        if fails { Script::error(500, "broken") } else { saying("ok")(seen) }
    })
    .await
}

/// Promises: `sched-fixed-priority`, `sched-default`, `sched-weights-opt-in`.
#[tokio::test(start_paused = true)]
async fn fixed_priority_gives_all_of_ten_thousand_requests_to_the_first_channel() {
    for (clients, requests) in CROWD_AND_ONE {
        let gateway = gateway(3, "fixed_priority", weighted(&[1, 5, 3])).await;

        gateway.load(clients, requests, &hello_ask()).await.shares(&[("a", requests)]);
    }
}

/// Promises: `sched-round-robin`, `sched-weights-opt-in`.
#[tokio::test(start_paused = true)]
async fn round_robin_shares_ten_thousand_requests_equally_whatever_the_weights() {
    for (clients, requests) in CROWD_AND_ONE {
        let gateway = gateway(4, "round_robin", weighted(&[5, 3, 2, 1])).await;
        assert_eq!(gateway.sequence(8, &hello_ask()).await, "abcdabcd");

        let outcome = gateway.load(clients, requests, &hello_ask()).await;

        outcome.shares(&["a", "b", "c", "d"].map(|channel| (channel, requests / 4)));
    }
}

/// Promises: `sched-random`, `sched-weights-opt-in`.
#[tokio::test(start_paused = true)]
async fn random_shares_ten_thousand_requests_evenly_by_chance_whatever_the_weights() {
    for (clients, requests) in CROWD_AND_ONE {
        let gateway = gateway(3, "random", weighted(&[5, 3, 2])).await;

        let outcome = gateway.load(clients, requests, &hello_ask()).await;

        outcome.shares_like(&[("a", 1), ("b", 1), ("c", 1)]);
    }
}

/// Promises: `sched-lottery`.
#[tokio::test(start_paused = true)]
async fn lottery_shares_ten_thousand_requests_by_weight_and_chance() {
    for (clients, requests) in CROWD_AND_ONE {
        let gateway = gateway(3, "lottery", weighted(&[5, 3, 2])).await;

        let outcome = gateway.load(clients, requests, &hello_ask()).await;

        outcome.shares_like(&[("a", 5), ("b", 3), ("c", 2)]);
    }
}

/// Promises: `sched-smart-channel`, `sched-values`.
#[tokio::test(start_paused = true)]
async fn smart_round_robin_is_taken_for_channels_and_shares_by_weight() {
    let upstream = healthy("ok").await;
    let config = config(channels(3, &upstream)).with(
        "/api_keys",
        json!([
            key(CLIENT, "smart_round_robin", weighted(&[5, 3, 2])),
            key("sk-plain", "smart_round_robin", weighted(&[0, 0, 0])),
        ]),
    );
    let gateway = Gateway::start(config).await;

    let outcome = gateway.load(CLIENTS, REQUESTS, &hello_ask()).await;

    outcome.shares(&[("a", 5000), ("b", 3000), ("c", 2000)]);
    assert_eq!(gateway.sequence(6, &hello_ask().key("sk-plain")).await, "abcabc");
}

/// Promises: `sched-no-weights`.
#[tokio::test(start_paused = true)]
async fn a_weighted_algorithm_without_any_weight_takes_turns() {
    for algorithm in ["weighted_round_robin", "lottery"] {
        let gateway = gateway(3, algorithm, weighted(&[0, 0, 0])).await;

        assert_eq!(gateway.sequence(6, &hello_ask()).await, "abcabc", "{algorithm}");
    }
}

/// Promises: `sched-unweighted-members`.
#[tokio::test(start_paused = true)]
async fn channels_without_weight_serve_when_the_weighted_ones_fail() {
    for algorithm in ["weighted_round_robin", "lottery"] {
        let upstream = failing(&["b", "c"]).await;
        let rules = weighted(&[0, 3, 2, 0]);
        let config = config(channels(4, &upstream)).with("/api_keys", keys(algorithm, rules));
        let gateway = Gateway::start(config).await;

        let answer = gateway.chat(&hello()).await.expect(200);

        let mut asked = upstream.keys();
        assert_eq!((answer.channel(), asked.pop().unwrap().as_str()), ("a", "key-of-a"), "{algorithm}");
        asked.sort();
        assert_eq!(asked, ["key-of-b", "key-of-c"], "{algorithm}");
    }
}

/// Promises: `sched-weighted`, `cool-excluded`.
#[tokio::test(start_paused = true)]
async fn the_others_share_exactly_while_a_channel_rests() {
    for (clients, requests) in CROWD_AND_ONE {
        let upstream = failing(&["a"]).await;
        let rules = weighted(&[5, 3, 2]);
        let config = config(channels(3, &upstream)).with("/api_keys", keys("weighted_round_robin", rules));
        let gateway = Gateway::start(config).await;
        gateway.chat(&hello()).await.expect(200);
        assert_eq!(upstream.requests()[0].key(), "key-of-a", "nobody failed, so nobody cools");

        let outcome = gateway.load(clients, requests, &hello_ask()).await;

        outcome.shares(&[("b", requests * 6 / 10), ("c", requests * 4 / 10)]);
        assert_eq!(upstream.keys().iter().filter(|key| *key == "key-of-a").count(), 1);
    }
}

/// A channel that fails and never cools is asked as often as its weight says, and its requests go to
/// the others by their weights, not all to its neighbour.
///
/// Promises: `sched-weighted`, `cool-channel-zero`.
#[tokio::test(start_paused = true)]
async fn requests_of_a_failing_channel_are_shared_exactly_by_the_others() {
    for (clients, requests) in CROWD_AND_ONE {
        let upstream = failing(&["a"]).await;
        let rules = weighted(&[5, 3, 2]);
        let config = config(channels(3, &upstream))
            .with("/api_keys", keys("weighted_round_robin", rules))
            .with("/providers/0/preferences/cooldown_period", json!(0));
        let gateway = Gateway::start(config).await;

        let outcome = gateway.load(clients, requests, &hello_ask()).await;

        outcome.shares(&[("b", requests * 6 / 10), ("c", requests * 4 / 10)]);
        assert_eq!(upstream.keys().iter().filter(|key| *key == "key-of-a").count(), requests / 2);
    }
}

/// Promises: `sched-round-robin`, `key-own-preferences`.
#[tokio::test(start_paused = true)]
async fn the_turns_of_one_key_do_not_move_those_of_another_nor_of_another_model() {
    let upstream = healthy("ok").await;
    let two_models = |channel: Value| channel.with("/model", json!(["m", "n"]));
    let all = json!(["all"]);
    let config = config(channels(3, &upstream).into_iter().map(two_models)).with(
        "/api_keys",
        json!([
            key(CLIENT, "round_robin", all.clone()),
            key("sk-other", "round_robin", all.clone()),
            key("sk-fixed", "fixed_priority", all),
        ]),
    );
    let gateway = Gateway::start(config).await;
    let (mine, other) = (hello_ask(), hello_ask().key("sk-other"));
    let (model, fixed) = (Ask::chat(&hello_to("n")), hello_ask().key("sk-fixed"));

    let mut orders = [String::new(), String::new(), String::new(), String::new()];
    for round in 0..6 {
        // Uneven, so that a shared turn could not come out right by chance.
        let asks = [(&mine, 1), (&other, 1 + (round + 1) % 2), (&model, 1), (&fixed, 1)];
        for (order, (ask, times)) in orders.iter_mut().zip(asks) {
            order.push_str(&gateway.sequence(times, ask).await);
        }
    }

    assert_eq!(orders, ["abcabc", "abcabcabc", "abcabc", "aaaaaa"]);
}

/// Promises: `route-group-random`, `route-group-first`.
#[tokio::test(start_paused = true)]
async fn a_group_with_random_draws_within_itself_and_nobody_behind_it_is_asked() {
    let upstream = healthy("ok").await;
    let config = config(channels(3, &upstream)).with(
        "/api_keys",
        json!([
            key(CLIENT, "fixed_priority", json!(["sk-group/*", "c/*"])),
            key("sk-group", "random", json!(["a/*", "b/*"])),
        ]),
    );
    let gateway = Gateway::start(config).await;

    let outcome = gateway.load(16, 1000, &hello_ask()).await;

    outcome.shares_like(&[("a", 1), ("b", 1)]);
}

/// Promises: `route-group-fallthrough`, `route-group-first`.
#[tokio::test(start_paused = true)]
async fn when_a_whole_group_fails_the_next_rule_serves_the_same_request() {
    let upstream = failing(&["a", "b"]).await;
    let config = config(channels(3, &upstream))
        .with(
            "/api_keys",
            json!([
                key(CLIENT, "fixed_priority", json!(["sk-group/*", "c/*"])),
                key("sk-group", "random", json!(["a/*", "b/*"])),
            ]),
        )
        .with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;

    for _ in 0..20 {
        let before = upstream.count();
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "c");
        let mut asked = upstream.keys().split_off(before);
        assert_eq!(asked.pop().unwrap(), "key-of-c");
        asked.sort();
        assert_eq!(asked, ["key-of-a", "key-of-b"]);
    }
}

/// Promises: `key-nested`, `sched-lottery`, `sched-random`.
#[tokio::test(start_paused = true)]
async fn draws_within_draws_share_by_the_product_of_their_chances() {
    let upstream = healthy("ok").await;
    let config = config(channels(4, &upstream)).with(
        "/api_keys",
        json!([
            key(CLIENT, "lottery", json!([{ "sk-one/*": 3 }, { "d/*": 1 }])),
            key("sk-one", "random", json!(["sk-two/*", "c/*"])),
            key("sk-two", "lottery", json!([{ "a/*": 2 }, { "b/*": 1 }])),
        ]),
    );
    let gateway = Gateway::start(config).await;

    let outcome = gateway.load(CLIENTS, REQUESTS, &hello_ask()).await;

    outcome.shares_like(&[("a", 2), ("b", 1), ("c", 3), ("d", 2)]);
}
