//! Every request that some channel could serve is served: none of ten thousand fails while one
//! channel works, whatever the others do; and what the budget of attempts is spent on.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

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
    // Nothing rests; rests end within the run, with a trial after each; the first rest outlasts it.
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
        // Requests that run together may meet in the last key, and in a slow run the first rests
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

/// Channels that failed once and work again are found by the very next request, however many of
/// those before them are still broken.
#[tokio::test]
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
#[tokio::test]
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
#[tokio::test]
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
#[tokio::test]
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

#[tokio::test]
async fn a_lone_channel_and_key_is_not_asked_again_without_retries() {
    let upstream = Upstream::in_turn(vec![Script::error(500, "x"), Script::json(&said("ok"))]).await;
    let config = config([channel("a", &upstream)]).with("/api_keys/0/preferences/AUTO_RETRY", json!(false));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(500);

    assert_eq!(upstream.count(), 1);
}

/// Many requests are under way when one key is refused: that key rests, and no other.
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

/// Each hint is given once, by the first key of a channel that prefers it; how long the other key
/// serves instead is how long the first one rests.
///
/// Promises: `cool-key-429`, `keys-fixed-priority`.
#[tokio::test]
async fn a_key_rests_as_long_as_its_refusal_asks_for_in_whatever_form() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(6));
    let told = |text: &str| json!({ "error": { "message": text, "type": "rate_limit", "param": null, "code": null } });
    let plain = told("slow down");
    let quota = "You exceeded your current quota, please check your plan.";
    let hints: Vec<(&str, Script, Duration)> = vec![
        ("seconds", Script::status(429, &plain).header("retry-after", "1"), Duration::from_secs(1)),
        ("a fraction", Script::status(429, &plain).header("retry-after", "0.7"), Duration::from_millis(700)),
        // Dates have whole seconds, and a gateway takes a while to start.
        ("a date", Script::status(429, &plain).header("retry-after", &date), Duration::from_secs(1)),
        (
            "milliseconds before seconds",
            Script::status(429, &plain).header("retry-after-ms", "800").header("retry-after", "600"),
            Duration::from_millis(800),
        ),
        ("words", Script::status(429, &told("Please try again in 900ms.")), Duration::from_millis(900)),
        (
            "more words",
            Script::status(429, &told("Rate limit. Retry after 1 seconds.")),
            Duration::from_secs(1),
        ),
        (
            "a window that is used up",
            Script::status(429, &plain)
                .header("x-ratelimit-remaining-requests", "0")
                .header("x-ratelimit-reset-requests", "1s"),
            Duration::from_secs(1),
        ),
    ];
    let lasting: Vec<(&str, Script)> = vec![
        ("401", Script::error(401, "no")),
        ("402", Script::error(402, "no")),
        ("403", Script::error(403, "no")),
        ("quota", Script::status(429, &told(quota))),
        ("a longer configured rest", Script::status(429, &plain).header("retry-after", "1")),
    ];

    let mut channels = Vec::new();
    let mut upstreams = Vec::new();
    let scripts = hints.iter().map(|(_, script, _)| script).chain(lasting.iter().map(|(_, script)| script));
    for (at, script) in scripts.cloned().enumerate() {
        let first = Mutex::new(false);
        let upstream = Upstream::start(move |seen| {
            let refuse = seen.key() == "k1" && !std::mem::replace(&mut *first.lock().unwrap(), true);
            if refuse { script.clone() } else { saying("ok")(seen) }
        })
        .await;
        channels.push(
            channel(&format!("c{at}"), &upstream)
                .with("/api", json!(["k1", "k2"]))
                .with("/model", json!([format!("m{at}")]))
                .with("/preferences/api_key_schedule_algorithm", json!("fixed_priority")),
        );
        upstreams.push(upstream);
    }
    let configured = channels.len() - 1;
    channels[configured] =
        channels[configured].clone().with("/preferences/api_key_cooldown_period", json!(60));
    let gateway = Gateway::start(config(channels)).await;

    let mut tasks = tokio::task::JoinSet::new();
    for (at, (name, _, rest)) in hints.iter().enumerate() {
        let (client, upstream, ask) =
            (gateway.client(), upstreams[at].clone(), Ask::chat(&hello_to(&format!("m{at}"))));
        let (name, rest) = (*name, *rest);
        tasks.spawn(async move {
            client.ask(&ask).await.expect(200);
            let refused = upstream.requests()[0].at;
            assert_eq!(upstream.keys(), ["k1", "k2"], "{name}");
            let began = Instant::now();
            while upstream.last().key() != "k1" {
                assert!(began.elapsed() < PATIENCE, "{name}: never again");
                tokio::time::sleep(Duration::from_millis(20)).await;
                client.ask(&ask).await.expect(200);
            }
            let rested = upstream.last().at - refused;
            assert!(rested >= rest, "{name}: {rested:?}");
            assert!(rested < Duration::from_secs(15), "{name}: {rested:?}");
        });
    }
    tasks.join_all().await;
    for (at, (name, _)) in lasting.iter().enumerate() {
        let at = at + hints.len();
        let ask = Ask::chat(&hello_to(&format!("m{at}")));
        gateway.ask(&ask).await.expect(200);
        tokio::time::sleep(Duration::from_millis(if at == configured { 1200 } else { 0 })).await;
        gateway.ask(&ask).await.expect(200);
        assert_eq!(upstreams[at].keys(), ["k1", "k2", "k2"], "{name}");
    }
}

/// What the client learns when every key rests: an hour at most, six for quota and billing.
#[tokio::test]
async fn hints_are_bounded_by_an_hour_and_by_six_for_quota() {
    for (text, least, most) in [
        ("Please try again in 20h.", 3500, 3600),
        ("You exceeded your current quota. Please try again in 20h.", 21_500, 21_600),
    ] {
        let upstream = Upstream::always(Script::error(429, text)).await;
        let gateway =
            Gateway::start(config([channel("a", &upstream).with("/api", json!(["k1", "k2"]))])).await;
        for asked in [2, 2] {
            let answer = gateway.chat(&hello()).await.expect(429);

            let after: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
            assert!((least..=most).contains(&after), "{text}: {after}");
            assert_eq!(upstream.count(), asked, "{text}");
        }
    }
}
