//! How a failed channel cools, comes back by one trial, and never leaves a request alone; and how
//! keys rest.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::bench::*;

/// Waits until so many seconds after `start`.
async fn at(start: Instant, seconds: u64) {
    sleep_until(start + Duration::from_secs(seconds)).await;
}

/// An upstream that fails its first requests, then serves.
async fn failing(times: usize) -> Upstream {
    Upstream::start(
        move |seen| if seen.ordinal < times { Script::error(500, "ill") } else { saying("a")(seen) },
    )
    .await
}

/// Channel `a` on this upstream, and a healthy one.
async fn with_another(a: &Upstream) -> Value {
    config([channel("a", a), channel("b", &healthy("b").await)])
}

/// The channel that serves the next request.
async fn served(gateway: &Gateway) -> String {
    gateway.chat(&hello()).await.expect(200).channel().to_owned()
}

/// Promises: `cfg-preferences-optional`, `cool-default`.
#[tokio::test(start_paused = true)]
async fn without_a_setting_a_failed_channel_is_out_at_299_seconds_and_back_at_301() {
    let a = failing(1).await;
    let mut config = with_another(&a).await;
    config.as_object_mut().unwrap().remove("preferences");
    let gateway = Gateway::start(config).await;
    let start = Instant::now();

    assert_eq!(served(&gateway).await, "b");
    at(start, 299).await;
    assert_eq!(served(&gateway).await, "b");
    assert_eq!(a.count(), 1);
    at(start, 301).await;

    assert_eq!(served(&gateway).await, "a");
}

/// Promises: `cool-channel-over-global`, `cool-per-model`.
#[tokio::test(start_paused = true)]
async fn a_channel_s_own_period_comes_before_the_global_one() {
    for (own, global, out, back) in [(5, 300, 4, 6), (400, 5, 399, 401)] {
        let a = failing(1).await;
        let config = with_another(&a)
            .await
            .with("/providers/0/preferences/cooldown_period", json!(own))
            .with("/preferences/cooldown_period", json!(global));
        let gateway = Gateway::start(config).await;
        let start = Instant::now();

        assert_eq!(served(&gateway).await, "b", "{own}");
        at(start, out).await;
        assert_eq!(served(&gateway).await, "b", "{own}");
        at(start, back).await;

        assert_eq!(served(&gateway).await, "a", "{own}");
    }
}

/// Promises: `cool-returns`, `cool-excluded`.
#[tokio::test(start_paused = true)]
async fn one_request_tries_a_recovered_channel_while_the_others_are_served_elsewhere() {
    // The trial takes a while.
    let trial = |seen: &Seen| saying("a")(seen).after(Duration::from_secs(20));
    let a = Upstream::start(move |seen| match seen.ordinal {
        0 => Script::error(500, "ill"),
        1 => trial(seen),
        _ => saying("a")(seen),
    })
    .await;
    let gateway = Gateway::start(with_another(&a).await).await;
    assert_eq!(served(&gateway).await, "b");
    sleep(Duration::from_secs(301)).await;

    let client = gateway.client();
    let trial = tokio::spawn(async move { client.chat(&hello()).await });
    a.wait_for(2).await;
    gateway.load(64, 500, &Ask::chat(&hello())).await.shares(&[("b", 500)]);
    assert_eq!(a.count(), 2, "one request tries, no more");

    assert_eq!(trial.await.unwrap().expect(200).channel(), "a");
    assert_eq!((served(&gateway).await, served(&gateway).await), ("a".to_owned(), "a".to_owned()));
}

/// Promises: `cool-returns`.
#[tokio::test(start_paused = true)]
async fn a_failed_trial_costs_its_client_nothing_and_the_channel_another_period() {
    let a = failing(2).await;
    let gateway = Gateway::start(with_another(&a).await).await;
    let start = Instant::now();
    assert_eq!(served(&gateway).await, "b");

    at(start, 301).await;
    assert_eq!((served(&gateway).await.as_str(), a.count()), ("b", 2));
    at(start, 600).await;
    assert_eq!((served(&gateway).await.as_str(), a.count()), ("b", 2));
    at(start, 602).await;

    assert_eq!(served(&gateway).await, "a");
}

/// Promises: `cool-returns`.
#[tokio::test(start_paused = true)]
async fn a_later_failure_extends_the_time_and_a_late_success_does_not_end_it() {
    // Three requests are under way on `a`: they fail now, succeed in 50 s and fail in 90 s.
    let a = Upstream::start(|seen| match seen.ordinal {
        0 => Script::error(500, "ill").after(Duration::from_secs(90)),
        1 => saying("a")(seen).after(Duration::from_secs(50)),
        2 => Script::error(500, "ill"),
        _ => saying("a")(seen),
    })
    .await;
    let gateway = Gateway::start(with_another(&a).await).await;
    let start = Instant::now();
    let slow = || {
        let client = gateway.client();
        tokio::spawn(async move { client.chat(&hello()).await.expect(200).channel().to_owned() })
    };
    let late_failure = slow();
    a.wait_for(1).await;
    let late_success = slow();
    a.wait_for(2).await;
    assert_eq!(served(&gateway).await, "b");

    assert_eq!(late_success.await.unwrap(), "a");
    assert_eq!(served(&gateway).await, "b", "the success says nothing about the channel now");
    assert_eq!(late_failure.await.unwrap(), "b");
    at(start, 301).await;
    assert_eq!(served(&gateway).await, "b", "the later failure counts from its own time");
    at(start, 389).await;
    assert_eq!(served(&gateway).await, "b");
    at(start, 391).await;

    assert_eq!(served(&gateway).await, "a");
}

/// A trial holds others back only while somebody else can serve; here the one that could fails, and
/// the client of the trial goes away without a word about it.
#[tokio::test(start_paused = true)]
async fn while_a_channel_is_on_trial_a_request_that_has_nobody_else_asks_it_too() {
    let gate = Gate::new();
    let held = gate.clone();
    let a = Upstream::start(move |seen| match seen.ordinal {
        0 => Script::error(500, "ill"),
        _ => Script::events(stream_of(&["back"])).gated(&held),
    })
    .await;
    let b = Upstream::in_turn(vec![Script::json(&said("b")), Script::error(500, "ill too")]).await;
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b)])).await;
    gateway.chat(&hello()).await.expect(200);
    sleep(Duration::from_secs(301)).await;
    let ask = || {
        let client = gateway.client();
        tokio::spawn(async move { client.chat(&hello_stream()).await })
    };

    let trial = ask();
    a.wait_for(2).await;
    let other = ask();
    a.wait_for(3).await;
    assert_eq!(b.count(), 2, "the healthy one was asked first");
    trial.abort();

    (0..100).for_each(|_| gate.open());
    assert_eq!(other.await.unwrap().expect(200).channel(), "a");
    a.wait_for_cancelled(1).await;
}

/// Promises: `cool-channel-zero`.
#[tokio::test(start_paused = true)]
async fn a_channels_period_of_zero_is_for_that_channel_only() {
    let (a, b) = (failing(9).await, failing(9).await);
    let c = healthy("c").await;
    let never = channel("a", &a).with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config([never, channel("b", &b), channel("c", &c)])).await;

    for _ in 0..5 {
        assert_eq!(served(&gateway).await, "c");
    }

    assert_eq!((a.count(), b.count()), (5, 1));
}

/// Promises: `cool-zero`, `cool-channel-over-global`.
#[tokio::test(start_paused = true)]
async fn a_global_period_of_zero_leaves_nobody_alone_but_a_channel_with_its_own() {
    let (a, b) = (failing(9).await, failing(9).await);
    let c = healthy("c").await;
    let own = channel("a", &a).with("/preferences/cooldown_period", json!(300));
    let config =
        config([own, channel("b", &b), channel("c", &c)]).with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;

    for _ in 0..5 {
        assert_eq!(served(&gateway).await, "c");
    }

    assert_eq!((a.count(), b.count()), (1, 5));
}

/// Promises: `cool-key-several`.
#[tokio::test(start_paused = true)]
async fn the_only_key_of_a_channel_is_asked_again_after_a_refusal() {
    let upstream = Upstream::in_turn(vec![
        Script::error(429, "slow down").header("retry-after", "600"),
        Script::error(401, "no"),
        Script::json(&said("ok")),
    ])
    .await;
    let lone = channel("a", &upstream).with("/preferences/api_key_cooldown_period", json!(600));
    let gateway = Gateway::start(config([lone])).await;

    gateway.chat(&hello()).await.expect(429);
    gateway.chat(&hello()).await.expect(502);
    gateway.chat(&hello()).await.expect(200);
}

/// Promises: `cool-key-default`.
#[tokio::test(start_paused = true)]
async fn without_a_setting_and_a_hint_a_limited_key_has_its_next_turn() {
    let upstream = Upstream::start(|seen| {
        if seen.key() == "k1" { Script::error(429, "slow down") } else { saying("ok")(seen) }
    })
    .await;
    let config = config([channel("a", &upstream).with("/api", json!(["k1", "k2"]))]);
    let gateway = Gateway::start(config).await;

    for _ in 0..3 {
        gateway.chat(&hello()).await.expect(200);
    }

    assert_eq!(upstream.keys(), ["k1", "k2", "k1", "k2", "k1", "k2"]);
}

/// Promises: `cool-key-429`, `keys-fixed-priority`.
#[tokio::test(start_paused = true)]
async fn a_refused_key_rests_for_the_configured_time_and_comes_back() {
    for status in [429, 498] {
        let upstream =
            Upstream::start(
                move |seen| {
                    if seen.ordinal == 0 { Script::error(status, "no") } else { saying("ok")(seen) }
                },
            )
            .await;
        let keys = channel("a", &upstream)
            .with("/api", json!(["k1", "k2"]))
            .with("/preferences/api_key_cooldown_period", json!(60))
            .with("/preferences/api_key_schedule_algorithm", json!("fixed_priority"));
        let gateway = Gateway::start(config([keys])).await;
        let start = Instant::now();

        gateway.chat(&hello()).await.expect(200);
        at(start, 59).await;
        gateway.chat(&hello()).await.expect(200);
        at(start, 61).await;
        gateway.chat(&hello()).await.expect(200);

        assert_eq!(upstream.keys(), ["k1", "k2", "k2", "k1"], "{status}");
    }
}
