//! Whole scenarios that a drop-in replacement has to get right: what earlier gateways of this
//! configuration's grammar did, kept where users rely on it, and where it is changed, the change
//! with its reason.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;

const COMMENT: &str = ": keepalive\n\n";

/// Promises: `retry-default-on`, `retry-number`, `retry-next-channel`.
#[tokio::test]
async fn a_failing_and_a_good_channel_are_one_call_each_under_any_auto_retry_but_off() {
    for retries in [json!(null), json!(true), json!(1), json!(5)] {
        let (bad, good) = (Upstream::always(Script::error(500, "x")).await, healthy("good").await);
        let config = config([channel("bad", &bad), channel("good", &good)])
            .with("/api_keys/0/preferences/AUTO_RETRY", retries.clone());
        let gateway = Gateway::start(config).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "good", "{retries}");
        assert_eq!((bad.count(), good.count()), (1, 1), "{retries}");
    }
}

/// False means what it says: one attempt. A setting that is read as its opposite helps nobody.
///
/// Promises: `retry-off`.
#[tokio::test]
async fn with_auto_retry_off_a_failing_channel_is_the_answer() {
    for off in [json!(false), json!(0)] {
        let (bad, good) = (Upstream::always(Script::error(500, "ill")).await, healthy("good").await);
        let config = config([channel("bad", &bad), channel("good", &good)])
            .with("/api_keys/0/preferences/AUTO_RETRY", off);
        let gateway = Gateway::start(config).await;

        let answer = gateway.chat(&hello()).await.expect(500);

        assert_eq!(answer.error()["message"], "ill");
        assert_eq!((bad.count(), good.count()), (1, 0));
    }
}

/// Two calls and not four: one more is enough for a hiccup, and further ones only load an upstream
/// that is ill.
#[tokio::test]
async fn one_channel_with_one_key_that_says_500_is_called_twice() {
    let bad = Upstream::always(Script::error(500, "still ill")).await;
    let gateway = Gateway::start(config([channel("bad", &bad)])).await;

    let answer = gateway.chat(&hello()).await.expect(500);

    assert_eq!(bad.count(), 2);
    assert_eq!(answer.error()["message"], "still ill");
    // The next request is not refused: nobody else could serve it.
    gateway.chat(&hello()).await.expect(500);
    assert_eq!(bad.count(), 4);
}

/// One call each and not seven: a (channel, key) that failed is not asked again by the same request.
/// Of equally telling failures the first one is told.
#[tokio::test]
async fn two_failing_channels_are_called_once_each() {
    let (a, b) = (
        Upstream::always(Script::error(501, "first")).await,
        Upstream::always(Script::error(502, "second")).await,
    );
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b)])).await;

    let answer = gateway.chat(&hello()).await.expect(501);

    assert_eq!((a.count(), b.count()), (1, 1));
    assert_eq!(answer.error()["message"], "first");
}

/// The client's own mistake blames no channel: otherwise one malformed request would take a healthy
/// channel away from everybody.
///
/// Promises: `retry-next-channel`, `cool-excluded`.
#[tokio::test]
async fn a_400_is_one_call_and_the_next_request_does_not_pass_the_channel_over() {
    let bad =
        Upstream::in_turn(vec![Script::error(400, "bad temperature"), Script::json(&said("fine"))]).await;
    let good = healthy("good").await;
    let gateway = Gateway::start(config([channel("bad", &bad), channel("good", &good)])).await;

    gateway.chat(&hello()).await.expect(400);
    assert_eq!((bad.count(), good.count()), (1, 0));

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "bad");
}

/// A 503 says nothing about the key, so the other keys are not burnt for it, and the next request is
/// served as soon as the channel is well again.
///
/// Promises: `cool-key-429`.
#[tokio::test]
async fn three_keys_that_all_meet_a_503_do_not_rest() {
    let bad = Upstream::in_turn(vec![
        Script::error(503, "ill"),
        Script::error(503, "ill"),
        Script::json(&said("well")),
    ])
    .await;
    let keys = channel("a", &bad)
        .with("/api", json!(["k1", "k2", "k3"]))
        .with("/preferences/api_key_cooldown_period", json!(60));
    let gateway = Gateway::start(config([keys])).await;

    gateway.chat(&hello()).await.expect(503);
    gateway.chat(&hello()).await.expect(503);
    gateway.chat(&hello()).await.expect(200);

    assert_eq!(bad.keys(), ["k1", "k2", "k3"]);
}

/// A 429 does: then each key is asked once, and a further request costs no call and says when to
/// come back, as 429 and not as an error of the server.
///
/// Promises: `cool-key-429`.
#[tokio::test]
async fn three_keys_that_all_meet_a_429_are_called_once_each_and_then_rest() {
    let bad = Upstream::always(Script::error(429, "slow down")).await;
    let keys = channel("a", &bad)
        .with("/api", json!(["k1", "k2", "k3"]))
        .with("/preferences/api_key_cooldown_period", json!(60));
    let gateway = Gateway::start(config([keys])).await;

    gateway.chat(&hello()).await.expect(429);
    assert_eq!(bad.keys(), ["k1", "k2", "k3"]);

    let answer = gateway.chat(&hello()).await.expect(429);
    let after: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
    assert!((30..=60).contains(&after), "{after}");
    assert_eq!(bad.count(), 3);
}

/// The client waits for the configured second and not for four: a channel that was silent for as
/// long as it may be is not asked again.
///
/// Promises: `time-error`.
#[tokio::test]
async fn a_silent_upstream_is_a_504_after_the_configured_second_that_names_it() {
    for request in [hello(), hello_stream()] {
        let slow = Upstream::always(Script::json(&said("late")).after(Duration::from_secs(30))).await;
        let config = config([channel("a", &slow)]).with("/preferences/model_timeout", json!(1));
        let gateway = Gateway::start(config).await;

        let began = Instant::now();
        let answer = gateway.chat(&request).await.expect(504);

        assert!(began.elapsed() >= Duration::from_secs(1));
        assert!(answer.text().contains("Request timed out after 1 seconds"), "{}", answer.text());
        assert_eq!(slow.count(), 1);
    }
}

/// A gateway with a comment every 0.4 s, and the answer of an upstream that sends `first` after a
/// wait and `second` after another.
async fn kept_warm(before: u64, between: u64) -> Answer {
    let words = stream_of(&["first", "second"]);
    let script = Script::events([words[..2].concat()])
        .then_pause(Duration::from_millis(between))
        .then(words[2..].concat())
        .after(Duration::from_millis(before));
    let upstream = Upstream::always(script).await;
    let config = config([channel("a", &upstream)]).with("/preferences/keepalive_interval", json!(0.4));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(answer.text().replace(COMMENT, ""), words.concat());
    assert!(answer.is_done() && answer.complete);
    answer
}

/// The comments before and after the first word.
fn comments(answer: &Answer) -> (usize, usize) {
    let text = answer.text();
    let (before, after) = text.split_once("first").unwrap();
    (before.matches(COMMENT).count(), after.matches(COMMENT).count())
}

/// Promises: `alive-sent`.
#[tokio::test]
async fn comments_come_until_the_first_chunk() {
    let (before, after) = comments(&kept_warm(1000, 0).await);

    assert!((1..=4).contains(&before), "{before}");
    assert_eq!(after, 0);
}

/// A second silence does not end the stream: what was promised with the first chunk is delivered.
///
/// Promises: `alive-sent`.
#[tokio::test]
async fn after_a_second_silence_the_remaining_chunks_and_the_end_come() {
    let (before, after) = comments(&kept_warm(1000, 1000).await);

    assert!((1..=4).contains(&before), "{before}");
    assert!((1..=4).contains(&after), "{after}");
}

/// Also when the first chunk came at once: proxies that give a silent connection up do not ask when
/// the silence began, so the later one is filled as well.
///
/// Promises: `alive-sent`.
#[tokio::test]
async fn after_a_first_chunk_at_once_a_silence_is_filled_and_the_stream_is_complete() {
    let (before, after) = comments(&kept_warm(0, 1000).await);

    assert_eq!(before, 0);
    assert!((1..=4).contains(&after), "{after}");
}

/// An end marker after half an answer would be a lie: the client could not tell it from a whole one.
#[tokio::test]
async fn an_upstream_that_dies_within_a_stream_leaves_an_error_and_no_end_marker() {
    let dying = Upstream::always(Script::events([role_event(), text_event("half")]).then_reset()).await;
    let gateway = Gateway::start(config([channel("a", &dying)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(answer.streamed(), "half");
    assert!(!answer.is_done());
    answer.error_event();
}

/// Promises: `sched-weighted-example`.
#[tokio::test]
async fn ten_requests_over_weights_of_5_3_2_go_a_b_c_a_b_a_c_a_b_a() {
    let upstream = healthy("ok").await;
    let config = config(["a", "b", "c"].map(|name| channel(name, &upstream)))
        .with("/api_keys/0/model", json!([{ "a/*": 5 }, { "b/*": 3 }, { "c/*": 2 }]))
        .with("/api_keys/0/preferences/SCHEDULING_ALGORITHM", json!("weighted_round_robin"));
    let gateway = Gateway::start(config).await;

    let mut order = String::new();
    for _ in 0..10 {
        order.push_str(gateway.chat(&hello()).await.expect(200).channel());
    }

    assert_eq!(order, "abcabacaba");
}

/// The statuses of requests for `gpt-a`, `gpt-a` and `gpt-b` under this limit, and the upstream's
/// count.
async fn limited(limit: Value) -> (Vec<u16>, usize) {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream).with("/model", json!(["gpt-a", "gpt-b"]))])
        .with("/api_keys/0/preferences/rate_limit", limit);
    let gateway = Gateway::start(config).await;
    let mut statuses = Vec::new();
    for model in ["gpt-a", "gpt-a", "gpt-b"] {
        statuses.push(gateway.chat(&hello_to(model)).await.status);
    }
    (statuses, upstream.count())
}

/// A plain limit bounds the key as it says, over all models: it would be none for a client that can
/// choose among many. A map bounds each model.
#[tokio::test]
async fn one_request_a_minute_is_one_for_the_key_or_one_for_each_model_of_a_map() {
    assert_eq!(limited(json!("1/min")).await, (vec![200, 429, 429], 1));
    assert_eq!(limited(json!({ "default": "1/min" })).await, (vec![200, 429, 200], 2));
}

/// The documented default of 1 and 2 dollars per million counts.
#[tokio::test]
async fn a_thousand_tokens_in_and_two_thousand_out_cost_half_a_cent_by_default() {
    let answer = said("ok")
        .with("/usage", json!({ "prompt_tokens": 1000, "completion_tokens": 2000, "total_tokens": 3000 }));
    let upstream = Upstream::always(Script::json(&answer)).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    let line = gateway.wait_for_line("the line of the request", |line| line.contains("cost_usd")).await;
    assert!(line.contains("\"cost_usd\":0.005,"), "{line}");
}

/// Anthropic's and Azure's SDKs send their key so; they are served as well.
///
/// Promises: `api-bearer`.
#[tokio::test]
async fn a_key_in_x_api_key_alone_is_a_key() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.ask(&Ask::chat(&hello()).without_key().header("x-api-key", CLIENT)).await.expect(200);
    gateway.ask(&Ask::chat(&hello()).without_key().header("x-api-key", "sk-wrong")).await.expect(401);
}

/// 401 is what a missing key is, and a page that cannot read the refusal cannot ask for a key.
///
/// Promises: `front-web`.
#[tokio::test]
async fn a_model_list_without_a_key_is_a_401_that_pages_can_read() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let ask = Ask::get("/v1/models").without_key().header("origin", "https://app.example");
    let answer = gateway.ask(&ask).await.expect(401);

    assert!(matches!(answer.header("access-control-allow-origin"), Some("*" | "https://app.example")));
    answer.error();
}
