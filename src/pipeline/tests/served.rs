//! Every request that some channel could serve is served: none of ten thousand fails while one
//! channel works, whatever the others do; and what the budget of attempts is spent on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::bench::*;

/// Channels that failed once and work again are found by the very next request, however many of
/// those before them are still broken.
#[tokio::test(start_paused = true)]
async fn with_all_channels_cooling_the_only_one_that_works_is_found() {
    let broken = Arc::new(AtomicUsize::new(1));
    let state = broken.clone();
    let upstream = Upstream::start(move |seen| {
        let works = state.load(Ordering::SeqCst) == 0 && seen.key() == "key-of-e";
        if works { saying("e")(seen) } else { Script::error(500, "broken") }
    })
    .await;
    let names = ["a", "b", "c", "d", "e"];
    let gateway = Gateway::start(config(names.map(|name| channel(name, &upstream)))).await;
    gateway.chat(&hello()).await.expect(500);
    assert_eq!(upstream.count(), 5);

    broken.store(0, Ordering::SeqCst);

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "e");
}

/// Promises: `cool-excluded`.
#[tokio::test(start_paused = true)]
async fn with_all_channels_cooling_the_one_that_recovers_first_is_asked_first() {
    let upstream =
        Upstream::start(
            |seen| {
                if seen.ordinal < 3 { Script::error(500, "broken") } else { saying("ok")(seen) }
            },
        )
        .await;
    let cooling = |name: &str, seconds: u64| {
        channel(name, &upstream).with("/preferences/cooldown_period", json!(seconds))
    };
    let gateway = Gateway::start(config([cooling("a", 300), cooling("b", 100), cooling("c", 200)])).await;
    gateway.chat(&hello()).await.expect(500);

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
}

/// Of all keys used up there is nothing to try again, so it is no retry either.
///
/// Promises: `retry-off`, `limit-provider-key`.
#[tokio::test(start_paused = true)]
async fn a_channel_without_a_usable_key_costs_no_attempt() {
    for retries in [json!(false), json!(1)] {
        let upstream = healthy("ok").await;
        let limited =
            |name: &str| channel(name, &upstream).with("/preferences/api_key_rate_limit", json!("1/hour"));
        let config = config([limited("a"), limited("b"), limited("c"), channel("d", &upstream)])
            .with("/api_keys/0/preferences/AUTO_RETRY", retries.clone());
        let gateway = Gateway::start(config).await;

        for expected in ["a", "b", "c", "d", "d"] {
            assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), expected, "{retries}");
        }
    }
}

/// Keys of a channel that were asked in one request, with so many keys and further channels.
async fn keys_asked(keys: usize, others: usize, retries: Value) -> (usize, Vec<usize>, u16) {
    let first = Upstream::always(Script::error(401, "no")).await;
    let mut channels = vec![
        channel("first", &first)
            .with("/api", (0..keys).map(|n| json!(format!("k{n}"))).collect())
            .with("/preferences/api_key_cooldown_period", json!(0)),
    ];
    let mut rest = Vec::new();
    for at in 0..others {
        let upstream = Upstream::always(Script::error(500, "broken")).await;
        channels.push(channel(&format!("other-{at}"), &upstream));
        rest.push(upstream);
    }
    let config = config(channels).with("/api_keys/0/preferences/AUTO_RETRY", retries);
    let gateway = Gateway::start(config).await;
    let answer = gateway.chat(&hello()).await;
    let asked: HashSet<String> = first.keys().into_iter().collect();
    assert_eq!(asked.len(), first.count(), "a key was asked twice");
    (first.count(), rest.iter().map(|other| other.count()).collect(), answer.status)
}

/// Promises: `retry-number`, `retry-off`, `retry-default-on`.
#[tokio::test(start_paused = true)]
async fn attempts_are_one_per_channel_and_ten_more_and_each_channel_keeps_one() {
    for (keys, others, retries, expected) in [
        (100, 0, json!(true), (11, vec![])),
        (100, 1, json!(true), (11, vec![1])),
        (100, 4, json!(true), (11, vec![1; 4])),
        (5, 2, json!(true), (5, vec![1, 1])),
        (100, 2, json!(3), (2, vec![1, 1])),
        (100, 2, json!(2), (1, vec![1, 1])),
        (100, 4, json!(2), (1, vec![1, 1, 0, 0])),
        (100, 2, json!(1), (1, vec![1, 0])),
        (100, 2, json!(false), (1, vec![0, 0])),
        (100, 2, json!(0), (1, vec![0, 0])),
    ] {
        let (first, rest, _) = keys_asked(keys, others, retries.clone()).await;

        assert_eq!((first, rest), expected, "{keys} keys, {others} others, AUTO_RETRY {retries}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_channel_and_key_is_not_asked_again_without_retries() {
    let upstream = Upstream::in_turn(vec![Script::error(500, "x"), Script::json(&said("ok"))]).await;
    let config = config([channel("a", &upstream)]).with("/api_keys/0/preferences/AUTO_RETRY", json!(false));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(500);

    assert_eq!(upstream.count(), 1);
}

/// What a 429 says beside its status, and how long its key cools for that.
fn hints() -> Vec<(&'static str, Script, Duration)> {
    let told = |text: &str| json!({ "error": { "message": text, "type": "rate_limit", "param": null, "code": null } });
    let plain = || Script::status(429, &told("slow down"));
    let words = |text: &str| Script::status(429, &told(text));
    // Dates are of the wall clock and have whole seconds: almost a minute.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    let used_up =
        plain().header("x-ratelimit-remaining-requests", "0").header("x-ratelimit-reset-requests", "1m30s");
    let seconds = Duration::from_secs;
    vec![
        ("seconds", plain().header("retry-after", "60"), seconds(60)),
        ("a fraction", plain().header("retry-after", "7.5"), Duration::from_millis(7500)),
        ("a date", plain().header("retry-after", &date), seconds(59)),
        (
            "milliseconds before seconds",
            plain().header("retry-after-ms", "45000").header("retry-after", "600"),
            seconds(45),
        ),
        ("words", words("Please try again in 9000ms."), seconds(9)),
        ("more words", words("Rate limit. Retry after 20 seconds."), seconds(20)),
        ("a window that is used up", used_up, seconds(90)),
    ]
}

/// A channel that prefers `k1`, whose first use is answered like this, and its upstream.
async fn refusing_once(script: Script) -> (Value, Upstream) {
    let refused = Mutex::new(false);
    let upstream = Upstream::start(move |seen| {
        let refuse = seen.key() == "k1" && !std::mem::replace(&mut *refused.lock().unwrap(), true);
        if refuse { script.clone() } else { saying("ok")(seen) }
    })
    .await;
    let channel = channel("a", &upstream)
        .with("/api", json!(["k1", "k2"]))
        .with("/preferences/api_key_schedule_algorithm", json!("fixed_priority"));
    (channel, upstream)
}

/// How long the other key serves instead is how long the first one cools.
///
/// Promises: `cool-key-429`, `keys-fixed-priority`.
#[tokio::test(start_paused = true)]
async fn a_key_rests_as_long_as_its_refusal_asks_for_in_whatever_form() {
    for (name, script, rest) in hints() {
        let (channel, upstream) = refusing_once(script).await;
        let gateway = Gateway::start(config([channel])).await;

        gateway.chat(&hello()).await.expect(200);
        sleep(rest.checked_sub(Duration::from_secs(1)).unwrap()).await;
        gateway.chat(&hello()).await.expect(200);
        sleep(Duration::from_secs(2)).await;
        gateway.chat(&hello()).await.expect(200);

        assert_eq!(upstream.keys(), ["k1", "k2", "k2", "k1"], "{name}");
    }
}

/// Promises: `cool-key-429`, `keys-fixed-priority`.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_for_good_rests_without_a_hint_and_a_configured_rest_may_be_longer() {
    let quota = "You exceeded your current quota, please check your plan.";
    let hinted = Script::error(429, "slow down").header("retry-after", "1");
    for (name, script, configured) in [
        ("401", Script::error(401, "no"), Value::Null),
        ("402", Script::error(402, "no"), Value::Null),
        ("403", Script::error(403, "no"), Value::Null),
        ("quota", Script::error(429, quota), Value::Null),
        ("a longer configured rest", hinted, json!(60)),
    ] {
        let (channel, upstream) = refusing_once(script).await;
        let channel = channel.with("/preferences/api_key_cooldown_period", configured.clone());
        let gateway = Gateway::start(config([channel])).await;

        gateway.chat(&hello()).await.expect(200);
        sleep(Duration::from_secs(if configured.is_null() { 0 } else { 59 })).await;
        gateway.chat(&hello()).await.expect(200);

        assert_eq!(upstream.keys(), ["k1", "k2", "k2"], "{name}");
    }
}

/// What the client learns when every key cools: an hour at most, six for quota and billing.
#[tokio::test(start_paused = true)]
async fn hints_are_bounded_by_an_hour_and_by_six_for_quota() {
    for (text, due) in [
        ("Please try again in 20h.", 3600),
        ("You exceeded your current quota. Please try again in 20h.", 21_600),
    ] {
        let upstream = Upstream::always(Script::error(429, text)).await;
        let gateway =
            Gateway::start(config([channel("a", &upstream).with("/api", json!(["k1", "k2"]))])).await;
        for asked in [2, 2] {
            let answer = gateway.chat(&hello()).await.expect(429);

            let after: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
            assert_eq!(after, due, "{text}");
            assert_eq!(upstream.count(), asked, "{text}");
        }
    }
}
