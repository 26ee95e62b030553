//! How a failed channel rests, comes back by one trial, and never leaves a request alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::*;

/// An upstream that fails until it is told to work, and then answers when the gate lets it.
async fn recovering(gate: &Gate) -> (Upstream, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let (state, gate) = (works.clone(), gate.clone());
    let upstream = Upstream::start(move |_| {
        let works = state.load(Ordering::SeqCst);
        if works { Script::events(stream_of(&["back"])).gated(&gate) } else { Script::error(500, "ill") }
    })
    .await;
    (upstream, works)
}

/// Asks until the upstream has seen one request more; everybody meanwhile is served by `b`.
async fn until_asked(gateway: &Gateway, upstream: &Upstream) {
    let (before, began) = (upstream.count(), Instant::now());
    while upstream.count() == before {
        assert!(began.elapsed() < PATIENCE, "never asked again");
        gateway.chat(&hello()).await.expect(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Promises: `cool-returns`, `cool-excluded`.
#[tokio::test]
async fn after_its_rest_one_request_tries_a_channel_while_the_others_are_served_elsewhere() {
    let gate = Gate::new();
    let (a, works) = recovering(&gate).await;
    let b = healthy("b").await;
    let config = config([channel("a", &a), channel("b", &b)]).with("/preferences/cooldown_period", json!(1));
    let gateway = Gateway::start(config).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    works.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1200)).await;

    // The trial waits for its first content.
    let client = gateway.client();
    let trial = tokio::spawn(async move { client.chat(&hello_stream()).await });
    a.wait_for(2).await;
    gateway.load(64, 500, &Ask::chat(&hello())).await.shares(&[("b", 500)]);
    assert_eq!(a.count(), 2, "one request tries, no more");

    (0..100).for_each(|_| gate.open());
    assert_eq!(trial.await.unwrap().expect(200).channel(), "a");
    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).channel(), "a");
}

/// Promises: `cool-returns`.
#[tokio::test]
async fn a_trial_that_fails_is_served_elsewhere_and_begins_another_rest() {
    let (a, b) = (Upstream::always(Script::error(500, "ill")).await, healthy("b").await);
    let config =
        config([channel("a", &a), channel("b", &b)]).with("/preferences/cooldown_period", json!(0.5));
    let gateway = Gateway::start(config).await;

    for trial in 1..4 {
        if trial == 1 {
            gateway.chat(&hello()).await.expect(200);
        } else {
            until_asked(&gateway, &a).await;
        }
        assert_eq!(a.count(), trial);
    }

    let times: Vec<tokio::time::Instant> = a.requests().iter().map(|seen| seen.at).collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(500), "{:?}", pair[1] - pair[0]);
    }
}

/// A trial holds others back only while somebody else can serve; here the one that could fails, and
/// the client of the trial goes away without a word about it.
#[tokio::test]
async fn while_a_channel_is_on_trial_a_request_that_has_nobody_else_asks_it_too() {
    let gate = Gate::new();
    let (a, works) = recovering(&gate).await;
    let b = Upstream::in_turn(vec![Script::json(&said("b")), Script::error(500, "ill too")]).await;
    let config =
        config([channel("a", &a), channel("b", &b)]).with("/preferences/cooldown_period", json!(0.5));
    let gateway = Gateway::start(config).await;
    gateway.chat(&hello()).await.expect(200);
    works.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(700)).await;

    let mut trial = gateway.client().connect().await;
    let request = Ask::chat(&hello_stream());
    trial.send_head(&request).await;
    trial.write(&request.body).await.unwrap();
    a.wait_for(2).await;
    let client = gateway.client();
    let other = tokio::spawn(async move { client.chat(&hello_stream()).await });
    a.wait_for(3).await;
    assert_eq!(b.count(), 2, "the healthy one was asked first");
    drop(trial);

    (0..100).for_each(|_| gate.open());
    assert_eq!(other.await.unwrap().expect(200).channel(), "a");
}

/// Promises: `cool-channel-over-global`, `cool-per-model`.
#[tokio::test]
async fn a_channels_own_period_comes_before_the_global_one() {
    for (own, global, returns) in [(json!(0.5), json!(300), true), (json!(300), json!(0.5), false)] {
        let a = Upstream::in_turn(vec![Script::error(500, "x"), Script::json(&said("back"))]).await;
        let b = healthy("b").await;
        let config =
            config([channel("a", &a).with("/preferences/cooldown_period", own.clone()), channel("b", &b)])
                .with("/preferences/cooldown_period", global);
        let gateway = Gateway::start(config).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
        tokio::time::sleep(Duration::from_millis(800)).await;

        let expected = if returns { "a" } else { "b" };
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), expected, "{own}");
    }
}

/// Promises: `cool-channel-zero`.
#[tokio::test]
async fn a_channels_period_of_zero_is_for_that_channel_only() {
    let (a, b) =
        (Upstream::always(Script::error(500, "x")).await, Upstream::always(Script::error(500, "y")).await);
    let c = healthy("c").await;
    let never = channel("a", &a).with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config([never, channel("b", &b), channel("c", &c)])).await;

    for _ in 0..5 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "c");
    }

    assert_eq!((a.count(), b.count()), (5, 1));
}

/// Promises: `cool-zero`, `cool-channel-over-global`.
#[tokio::test]
async fn a_global_period_of_zero_leaves_nobody_alone_but_a_channel_with_its_own() {
    let (a, b) =
        (Upstream::always(Script::error(500, "x")).await, Upstream::always(Script::error(500, "y")).await);
    let c = healthy("c").await;
    let own = channel("a", &a).with("/preferences/cooldown_period", json!(300));
    let config =
        config([own, channel("b", &b), channel("c", &c)]).with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;

    for _ in 0..5 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "c");
    }

    assert_eq!((a.count(), b.count()), (1, 5));
}

/// Promises: `cool-key-several`.
#[tokio::test]
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
#[tokio::test]
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
#[tokio::test]
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
            .with("/preferences/api_key_cooldown_period", json!(1))
            .with("/preferences/api_key_schedule_algorithm", json!("fixed_priority"));
        let gateway = Gateway::start(config([keys])).await;

        gateway.chat(&hello()).await.expect(200);
        let refused = upstream.requests()[0].at;
        while upstream.last().key() == "k2" {
            assert!(refused.elapsed() < PATIENCE, "never again");
            gateway.chat(&hello()).await.expect(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        assert!(upstream.last().at - refused >= Duration::from_secs(1), "{status}");
        assert!(upstream.count() > 5, "{status}: too slow to tell");
    }
}
