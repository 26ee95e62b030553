//! Which channels are asked at all: those that the configuration lets serve the path, and those that
//! take a request of its length.

use serde_json::{Value, json};

use super::bench::*;

fn long(characters: usize) -> Value {
    hello().with("/messages/0/content", json!("x".repeat(characters)))
}

#[tokio::test(start_paused = true)]
async fn a_channel_does_not_serve_a_path_that_is_excluded() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    for place in ["/exclude_endpoints", "/preferences/exclude_endpoints"] {
        for path in [json!("/v1/chat/completions"), json!(["v1/embeddings", "v1/chat/completions/"])] {
            let first = channel("a", &a).with(place, path);
            let gateway = Gateway::start(config([first, channel("b", &b)])).await;

            assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
        }
    }
    assert_eq!((a.count(), b.count()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn another_path_of_that_channel_is_served() {
    let upstream = Upstream::always(Script::json(&json!({ "results": [{ "flagged": false }] }))).await;
    let shut = channel("a", &upstream).with("/exclude_endpoints", json!("/v1/chat/completions"));
    let gateway = Gateway::start(config([shut])).await;

    let chat = gateway.chat(&hello()).await.expect(404);
    gateway.ask(&Ask::post("/v1/moderations", &json!({ "model": "m", "input": "x" }))).await.expect(200);

    assert_eq!(chat.error()["code"], "model_not_found");
    assert_eq!(upstream.only().path, "/v1/moderations");
}

#[tokio::test(start_paused = true)]
async fn a_body_longer_than_a_channel_takes_goes_to_the_next_one() {
    let (small, large) = (healthy("small").await, healthy("large").await);
    let first = channel("small", &small).with("/preferences/max_request_body_bytes", json!("1KiB"));
    let second = channel("large", &large).with("/max_request_body_bytes", json!(5000));
    let gateway = Gateway::start(config([first, second])).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "small");
    assert_eq!(gateway.chat(&long(2000)).await.expect(200).channel(), "large");
    let refused = gateway.chat(&long(6000)).await.expect(413);

    assert!(refused.error()["message"].as_str().unwrap().contains("too long"), "{}", refused.text());
    assert_eq!((small.count(), large.count()), (1, 1));
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "small", "nobody was blamed");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_body_is_inclusive() {
    let upstream = healthy("ok").await;
    let body = long(100).to_string();
    let exactly = channel("a", &upstream).with("/max_request_body_bytes", json!(body.len()));
    let gateway = Gateway::start(config([exactly])).await;

    gateway.ask(&Ask::raw(body.clone())).await.expect(200);
    gateway.ask(&Ask::raw(body + " ")).await.expect(413);
}

#[tokio::test(start_paused = true)]
async fn a_lone_channel_that_takes_the_body_is_asked_again_like_any_lone_channel() {
    let ill = Upstream::in_turn(vec![Script::error(500, "once"), Script::json(&said("again"))]).await;
    let other = healthy("other").await;
    let small = channel("small", &other).with("/max_request_body_bytes", json!(1000));
    let gateway = Gateway::start(config([small, channel("ill", &ill)])).await;

    assert_eq!(gateway.chat(&long(2000)).await.expect(200).content(), "again");

    assert_eq!((other.count(), ill.count()), (0, 2));
}

/// An upstream that refuses bodies longer than this, in one of the ways that they have.
async fn short_sighted(longest: usize, refusal: Script) -> Upstream {
    Upstream::start(
        move |seen| {
            if seen.body.len() > longest { refusal.clone() } else { saying("short")(seen) }
        },
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_text_that_an_upstream_finds_too_long_goes_to_one_that_takes_it() {
    let said_so = |status, message: &str, code: &str| {
        Script::status(
            status,
            &json!({ "error": { "message": message, "type": "invalid_request_error", "code": code } }),
        )
    };
    let refusals = [
        said_so(400, "This model's maximum context length is 100 tokens.", "context_length_exceeded"),
        said_so(400, "prompt is too long: 300 tokens > 100 maximum", ""),
        said_so(413, "Request too large", "request_too_large"),
        Script::body(413, "text/html", "<html>413 Request Entity Too Large</html>"),
    ];
    for refusal in refusals {
        let (short, wide) = (short_sighted(500, refusal.clone()).await, healthy("wide").await);
        let gateway = Gateway::start(config([channel("short", &short), channel("wide", &wide)])).await;

        for request in [long(1000), long(1000).with("/stream", json!(true))] {
            let answer = gateway.chat(&request).await.expect(200);
            assert_eq!(answer.channel(), "wide", "{refusal:?}");
        }

        assert_eq!(
            gateway.chat(&hello()).await.expect(200).channel(),
            "short",
            "it is not cooling: {refusal:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_all_find_too_long_is_the_clients_to_shorten() {
    let refusal = Script::status(
        400,
        &json!({ "error": { "message": "maximum context length is 100 tokens", "type": "invalid_request_error",
            "param": "messages", "code": "context_length_exceeded" } }),
    );
    let (a, b) = (short_sighted(500, refusal.clone()).await, short_sighted(500, refusal).await);
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b)])).await;

    let answer = gateway.chat(&long(1000)).await.expect(400);

    assert_eq!(answer.error()["code"], "context_length_exceeded");
    assert_eq!((a.count(), b.count()), (1, 1));
}

/// A channel that offers `m` with room for so many tokens.
fn with_room(name: &str, upstream: &Upstream, tokens: u64) -> Value {
    channel(name, upstream).with("/preferences/context_length", json!({ "m": tokens }))
}

#[tokio::test(start_paused = true)]
async fn a_model_that_an_estimate_finds_too_small_is_asked_behind_all_others() {
    let (small, large, unknown) = (healthy("small").await, healthy("large").await, healthy("unknown").await);
    let ill = Upstream::always(Script::error(500, "broken")).await;
    let channels =
        [with_room("small", &small, 100), with_room("large", &large, 100_000), channel("unknown", &unknown)];
    let gateway = Gateway::start(config(channels)).await;
    let with_ill = [with_room("small", &small, 100), with_room("ill", &ill, 100_000)];
    let limping = Gateway::start(config(with_ill)).await;

    assert_eq!(gateway.chat(&long(200)).await.expect(200).channel(), "small");
    assert_eq!(gateway.chat(&long(2000)).await.expect(200).channel(), "large");
    assert_eq!(limping.chat(&long(2000)).await.expect(200).channel(), "small", "when nobody else is left");
    assert_eq!((ill.count(), unknown.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn no_request_is_refused_on_an_estimate() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let gateway = Gateway::start(config([with_room("a", &a, 10), with_room("b", &b, 20)])).await;

    assert_eq!(gateway.chat(&long(5000)).await.expect(200).channel(), "a");
}

#[tokio::test(start_paused = true)]
async fn the_turns_of_those_with_room_are_shared_exactly_past_a_model_that_is_too_small() {
    let upstream = healthy("ok").await;
    let channels = [
        with_room("a", &upstream, 10),
        with_room("b", &upstream, 100_000),
        channel("c", &upstream),
        with_room("d", &upstream, 100),
    ];
    let keys = super::bench::subjects::distribution::keys("round_robin", json!(["all"]));
    let gateway = Gateway::start(config(channels).with("/api_keys", keys)).await;

    assert_eq!(gateway.sequence(6, &Ask::chat(&long(2000))).await, "bcbcbc");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_has_outgrown_its_home_moves_to_a_larger_model() {
    let (small, large) = (healthy("small").await, healthy("large").await);
    let gateway =
        Gateway::start(config([with_room("small", &small, 100), with_room("large", &large, 100_000)])).await;
    let ask = |characters| Ask::chat(&long(characters)).header("session_id", "c");

    assert_eq!(gateway.ask(&ask(100)).await.expect(200).channel(), "small");
    assert_eq!(gateway.ask(&ask(2000)).await.expect(200).channel(), "large");
    assert_eq!(gateway.ask(&ask(100)).await.expect(200).channel(), "large", "its cache is there now");
}

#[tokio::test(start_paused = true)]
async fn explain_tells_whose_model_is_too_small() {
    let upstream = healthy("ok").await;
    let channels = [with_room("small", &upstream, 100), channel("wide", &upstream)];
    let gateway = Gateway::start(config(channels)).await;

    let ask = Ask::post("/v1/route/explain", &json!({ "request": long(2000) }));
    let explained = gateway.ask(&ask).await.expect(200).json();

    let candidates = explained["candidates"].as_array().unwrap();
    let standings: Vec<_> = candidates
        .iter()
        .map(|one| (one["channel"].as_str().unwrap(), one["standing"].as_str().unwrap()))
        .collect();
    assert_eq!(standings, [("wide", "chosen"), ("small", "too_small")]);
    assert!(candidates[1]["reason"].as_str().unwrap().contains("more than the 100 of its model"));
}
