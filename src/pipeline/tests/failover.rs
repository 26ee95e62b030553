//! A failure before the first content is somebody else's turn: whose turn, how often, and what the
//! client learns when nobody is left. Which failures is the table in `disposition`.

use serde_json::json;

use super::bench::*;

/// Promises: `retry-next-channel`.
#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_is_returned_at_once_and_blames_nobody() {
    let body = "{ \"error\": {\"message\":\"bad temperature\",  \"type\":\"invalid_request_error\",\"param\":\"temperature\",\"code\":null}}";
    for status in [400, 422] {
        let bad = Upstream::always(Script::body(status, "application/json", body)).await;
        let good = healthy("second").await;
        let gateway = Gateway::start(config([channel("a", &bad), channel("b", &good)])).await;

        for _ in 0..2 {
            let answer = gateway.chat(&hello()).await.expect(status);
            assert_eq!(answer.text(), body);
        }
        assert_eq!((bad.count(), good.count()), (2, 0));
    }
}

/// Promises: `route-order-is-priority`, `route-upstream-per-channel`.
#[tokio::test(start_paused = true)]
async fn rule_order_decides_who_is_asked_first_and_each_is_asked_by_its_own_name() {
    let first = Upstream::always(Script::error(503, "busy")).await;
    let second = healthy("two").await;
    let third = healthy("three").await;
    let config = config([
        channel("one", &second).with("/model", json!([{ "name-at-one": "m" }])),
        channel("two", &third).with("/model", json!([{ "name-at-two": "m" }])),
        channel("three", &first).with("/model", json!([{ "name-at-three": "m" }])),
    ])
    .with("/api_keys/0/model", json!(["three/*", "two/m", "one/*"]));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!(answer.channel(), "two");
    assert_eq!((first.only().model(), third.only().model()), ("name-at-three".into(), "name-at-two".into()));
    assert_eq!(second.count(), 0);
}

/// Promises: `sched-default`, `sched-fixed-priority`.
#[tokio::test(start_paused = true)]
async fn healthy_fixed_priority_always_asks_the_first_channel() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b)])).await;

    for _ in 0..10 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    }
    assert_eq!(b.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn auto_retry_of_a_number_is_at_most_that_many_retries() {
    let bad = Upstream::always(Script::error(500, "x")).await;
    let good = healthy("fourth").await;
    let channels = ["a", "b", "c"]
        .map(|name| channel(name, &bad))
        .into_iter()
        .chain([channel("d", &good)])
        .collect::<Vec<_>>();
    let config = config(channels).with("/preferences/cooldown_period", json!(0));

    let gateway = Gateway::start(config.clone().with("/api_keys/0/preferences/AUTO_RETRY", json!(2))).await;
    gateway.chat(&hello()).await.expect(500);
    assert_eq!((bad.count(), good.count()), (3, 0));

    let gateway = Gateway::start(config.with("/api_keys/0/preferences/AUTO_RETRY", json!(3))).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "d");
}

#[tokio::test(start_paused = true)]
async fn a_lone_channel_is_asked_once_more_after_a_server_error() {
    for script in [Script::error(500, "x"), Script::error(529, "x"), Script::reset()] {
        let upstream = Upstream::in_turn(vec![script, Script::json(&said("recovered"))]).await;
        let gateway = Gateway::start(config([channel("a", &upstream)])).await;

        let answer = gateway.chat(&hello()).await.expect(200);

        assert_eq!((answer.content().as_str(), upstream.count()), ("recovered", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_channel_is_not_asked_again_after_a_rate_limit_or_a_timeout() {
    for script in [Script::error(429, "slow"), Script::hang(), Script::error(401, "key")] {
        let upstream = Upstream::always(script).await;
        let config = config([channel("a", &upstream)]).with("/preferences/model_timeout", json!(0.3));
        let gateway = Gateway::start(config).await;

        gateway.chat(&hello()).await;

        assert_eq!(upstream.count(), 1);
    }
}

/// Promises: `route-model-on-many-channels`.
#[tokio::test(start_paused = true)]
async fn a_channel_held_by_two_rules_is_asked_once() {
    let (a, b) =
        (Upstream::always(Script::error(500, "x")).await, Upstream::always(Script::error(500, "y")).await);
    let config = config([channel("a", &a), channel("b", &b)])
        .with("/api_keys/0/model", json!(["a/*", "m", "a/m", "all", "b/*"]));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(500);

    assert_eq!((a.count(), b.count()), (1, 1));
}

/// What a client gets from two channels that fail like this.
async fn both_failing(first: Script, second: Script) -> Answer {
    let (a, b) = (Upstream::always(first).await, Upstream::always(second).await);
    let config = config([channel("a", &a), channel("b", &b)]).with("/preferences/model_timeout", json!(0.3));
    Gateway::start(config).await.chat(&hello()).await
}

/// Promises: `retry-all-failed`.
#[tokio::test(start_paused = true)]
async fn when_all_fail_the_client_learns_the_most_telling_failure() {
    let e = Script::error;
    for (first, second, status) in [
        (Script::hang(), e(500, "x"), 500),
        (e(500, "x"), Script::hang(), 500),
        (e(500, "x"), e(503, "y"), 500),
        (e(500, "x"), e(429, "y"), 429),
        (e(429, "y"), e(500, "x"), 429),
        (e(429, "x"), e(413, "y"), 413),
        (Script::reset(), Script::json(&said("")), 502),
        (Script::hang(), Script::hang(), 504),
        (e(401, "x"), e(403, "y"), 502),
        (e(402, "x"), e(404, "The model does not exist"), 502),
    ] {
        let what = format!("{first:?} {second:?}");
        let answer = both_failing(first, second).await;

        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        answer.error();
    }
}

/// Promises: `retry-all-failed`.
#[tokio::test(start_paused = true)]
async fn an_upstream_401_becomes_a_502_that_says_who_rejected_what() {
    for status in [401, 402, 403] {
        let answer = both_failing(Script::error(status, "no"), Script::error(status, "no")).await.expect(502);

        let error = answer.error();
        assert_eq!(error["code"], "upstream_rejected");
        assert!(error["message"].as_str().unwrap().contains(&status.to_string()), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_carries_the_soonest_recovery_as_retry_after() {
    let busy = |seconds: &str| Script::error(429, "slow down").header("retry-after", seconds);

    for (first, second) in [("40", "17"), ("17", "40")] {
        let answer = both_failing(busy(first), busy(second)).await.expect(429);

        let after: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
        assert_eq!(after, 17, "{first} and {second}");
    }
}

/// Promises: `cool-per-model`.
#[tokio::test(start_paused = true)]
async fn only_the_failed_model_of_a_channel_is_left_alone() {
    let a =
        Upstream::start(|seen| if seen.model() == "m" { Script::error(500, "x") } else { saying("a")(seen) })
            .await;
    let b = healthy("b").await;
    let models = json!(["m", "n"]);
    let config =
        config([channel("a", &a).with("/model", models.clone()), channel("b", &b).with("/model", models)]);
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    assert_eq!(gateway.chat(&hello_to("n")).await.expect(200).channel(), "a");
    let asked: Vec<String> = a.requests().iter().map(Seen::model).collect();
    assert_eq!(asked, ["m", "n"], "the failed one is");
}

#[tokio::test(start_paused = true)]
async fn only_callers_who_may_know_are_told_the_channel() {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream)]).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin" },
            { "api": "sk-user", "role": "user" },
            { "api": "sk-curious", "preferences": { "expose_route": true } },
        ]),
    );
    let gateway = Gateway::start(config).await;

    for (key, told) in [(CLIENT, true), ("sk-user", false), ("sk-curious", true)] {
        let answer = gateway.ask(&Ask::chat(&hello()).key(key)).await.expect(200);

        assert_eq!(answer.header("x-uni-api-channel").is_some(), told, "{key}");
        assert_eq!(answer.header("x-uni-api-attempts").is_some(), told, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_first_content_nothing_is_spliced() {
    let a = Upstream::always(Script::events([role_event(), text_event("from a")]).then_close()).await;
    let b = healthy("from b").await;
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((answer.streamed().as_str(), b.count()), ("from a", 0));
    assert!(!answer.is_done());
}
