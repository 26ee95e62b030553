//! Clients of OpenAI's format at Cohere and at Cloudflare: where requests go, and what comes of the answers.

use serde_json::{Value, json};

use super::bench::*;

const LLAMA: &str = "@cf/meta/llama-3.1-8b-instruct";

fn v2(text: &str) -> Value {
    json!({
        "id": "c", "finish_reason": "COMPLETE",
        "message": { "role": "assistant", "content": [{ "type": "text", "text": text }] },
        "usage": { "tokens": { "input_tokens": 5, "output_tokens": 1 } },
    })
}

fn enveloped(text: &str) -> Value {
    json!({ "result": { "response": text }, "success": true, "errors": [], "messages": [] })
}

/// A channel at an upstream that stands for Cloudflare.
fn cloudflare(upstream: &Upstream) -> Value {
    channel_at("a", &upstream.origin())
        .with("/cf_account_id", json!("ID"))
        .with("/model", json!([{ LLAMA: "m" }]))
}

/// Promises: `dialect-cohere`.
#[tokio::test(start_paused = true)]
async fn a_client_of_openai_s_format_is_served_by_cohere() {
    let upstream = Upstream::always(Script::json(&v2("Hi"))).await;
    let channel =
        channel_at("a", &upstream.origin()).with("/engine", json!("cohere")).with("/api", json!("co-key"));
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello().with("/temperature", json!(2))).await.expect(200);

    let seen = upstream.only();
    assert_eq!((seen.path.as_str(), seen.header("authorization")), ("/v2/chat", Some("Bearer co-key")));
    assert_eq!(seen.json()["temperature"], json!(1.0));
    assert_eq!(answer.content(), "Hi");
    assert_eq!(answer.json()["usage"]["total_tokens"], 6);
}

#[tokio::test(start_paused = true)]
async fn lines_of_cohere_s_first_version_become_events() {
    let lines = [
        json!({ "is_finished": false, "event_type": "stream-start", "generation_id": "g" }),
        json!({ "is_finished": false, "event_type": "text-generation", "text": "Hi" }),
        json!({ "is_finished": true, "event_type": "stream-end", "finish_reason": "COMPLETE",
            "response": { "text": "Hi", "meta": { "tokens": { "input_tokens": 5, "output_tokens": 1 } } } }),
    ];
    for content_type in ["application/stream+json", "text/plain"] {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let upstream = Upstream::always(Script::body(200, content_type, body)).await;
        let url = format!("{}/v1/chat", upstream.origin());
        let channel = channel_at("a", &url).with("/engine", json!("cohere"));
        let gateway = Gateway::start(config([channel])).await;

        let answer = gateway.chat(&hello_stream()).await.expect(200);

        assert_eq!((answer.streamed(), answer.is_done()), ("Hi".to_owned(), true), "{content_type}");
        let seen = upstream.only();
        assert_eq!((seen.path.as_str(), seen.streams()), ("/v1/chat", true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_cohere_forbids_rests_no_key() {
    let upstream = Upstream::start(|seen| match seen.key().as_str() {
        "k1" => Script::status(498, &json!({ "message": "blocked input" })),
        _ => Script::json(&v2("Hi")),
    })
    .await;
    let of = |name: &str, key: &str| {
        channel_at(name, &upstream.origin()).with("/engine", json!("cohere")).with("/api", json!(key))
    };
    let gateway = Gateway::start(config([of("a", "k1"), of("b", "k2")])).await;

    for _ in 0..2 {
        gateway.chat(&hello()).await.expect(200);
    }

    assert_eq!(upstream.keys(), ["k1", "k2", "k1", "k2"]);
}

/// Promises: `dialect-cloudflare`, `cfg-cf-account-id`.
#[tokio::test(start_paused = true)]
async fn cloudflare_is_asked_with_account_and_key_and_gets_the_whole_conversation() {
    let upstream = Upstream::always(Script::json(&enveloped("Hi"))).await;
    let gateway = Gateway::start(config([cloudflare(&upstream).with("/api", json!("cf-key"))])).await;
    let messages = json!([
        { "role": "system", "content": "S" },
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": "A" },
        { "role": "user", "content": "V" },
    ]);

    let answer = gateway.chat(&hello().with("/messages", messages.clone())).await.expect(200);

    let seen = upstream.only();
    assert_eq!(seen.path, format!("/client/v4/accounts/ID/ai/run/{LLAMA}"));
    assert_eq!(seen.header("authorization"), Some("Bearer cf-key"));
    assert_eq!(seen.json(), json!({ "messages": messages, "max_tokens": 2048 }));
    assert_eq!(answer.content(), "Hi");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_of_an_answer_that_cloudflare_cannot_stream() {
    let upstream = Upstream::always(Script::json(&enveloped("{}"))).await;
    let gateway = Gateway::start(config([cloudflare(&upstream)])).await;

    let format = json!({ "type": "json_object" });
    let answer = gateway.chat(&hello_stream().with("/response_format", format)).await.expect(200);

    assert!(!upstream.only().streams());
    assert_eq!((answer.streamed(), answer.is_done()), ("{}".to_owned(), true));
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_gateway_goes_beside_the_key_of_the_provider() {
    let upstream = Upstream::always(Script::json(&enveloped("Hi"))).await;
    let url = format!("{}/v1/A/G/workers-ai", upstream.origin());
    let channel = cloudflare(&upstream)
        .with("/base_url", json!(url))
        .with("/api", json!("cf-key"))
        .with("/preferences/headers", json!({ "cf-aig-authorization": "Bearer gateway" }));
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(&hello()).await.expect(200);

    let seen = upstream.only();
    assert_eq!(seen.path, format!("/v1/A/G/workers-ai/{LLAMA}"));
    assert_eq!(
        (seen.header("authorization"), seen.header("cf-aig-authorization")),
        (Some("Bearer cf-key"), Some("Bearer gateway"))
    );
}
