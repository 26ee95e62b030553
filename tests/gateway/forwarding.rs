//! Where requests go and which headers travel, in both directions.

use serde_json::json;

use crate::harness::*;

#[tokio::test]
async fn the_upstream_gets_its_own_key_and_host_and_never_the_clients() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let ask = Ask::chat(&hello())
        .header("x-api-key", CLIENT)
        .header("x-goog-api-key", CLIENT)
        .header("api-key", CLIENT)
        .header("cookie", "session=abc")
        .header("proxy-authorization", "Basic eA==")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-custom", "client")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1");

    gateway.ask(&ask).await.expect(200);

    let seen = upstream.only();
    assert_eq!(seen.header("authorization"), Some("Bearer key-of-a"));
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    for name in [
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "proxy-authorization",
        "x-forwarded-for",
        "x-custom",
        "x-hop",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(!format!("{:?}", seen.headers).contains(CLIENT));
}

#[tokio::test]
async fn a_redirect_of_an_upstream_is_not_followed() {
    let elsewhere = healthy("elsewhere").await;
    let moved = Script::body(302, "text/plain", "moved").header("location", &elsewhere.url());
    let upstream = Upstream::always(moved).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(502).error();

    assert_eq!(elsewhere.count(), 0, "the key must not travel to where an upstream points");
}

#[tokio::test]
async fn a_large_request_and_a_large_answer_pass() {
    let large = "y".repeat(8 << 20);
    let answer = said(&large);
    let upstream = Upstream::always(Script::json(&answer)).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let request = hello().with("/messages/0/content", json!("x".repeat(5 << 20)));

    let got = gateway.chat(&request).await.expect(200);

    assert!(got.body == answer.to_string().into_bytes());
    assert!(upstream.only().body == request.to_string().into_bytes());
}
