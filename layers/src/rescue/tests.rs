use super::*;
use crate::failure::Exceeded;
use crate::testing::failures::refused_with;
use crate::testing::ports::EndsAfter;
use crate::testing::reply::whole;
use crate::testing::{Chunks, Scripted, chunks, mount, pieces, read, wire};

#[test]
fn a_refused_window_says_when_to_come_back() {
    let exceeded = Exceeded { reset: Duration::from_millis(1500), ..crate::testing::ports::exceeded() };

    let reply = render(&Failure::RateLimited(exceeded), ErrorShape::OpenAi);

    assert_eq!(reply.status(), 429);
    assert_eq!(reply.headers()["retry-after"], "2");
    assert_eq!(reply.headers()["x-ratelimit-limit-requests"], "15");
    assert_eq!(reply.headers()["x-ratelimit-remaining-requests"], "0");
    assert_eq!(reply.headers()["x-ratelimit-reset-requests"], "1.5s");
}

type Inner = Scripted<http::Request<DrainOnDrop<Chunks>>>;

/// A rescue whose streams end after a minute.
fn layer() -> RescueLayer {
    RescueLayer::new(Arc::new(EndsAfter::new(Duration::from_secs(60))))
}

fn post(path: &str) -> http::Request<Chunks> {
    http::Request::post(path).body(chunks()).unwrap()
}

async fn run(inner: &Inner) -> Reply {
    match mount(layer(), inner).ask(post("/v1/chat/completions")).await {
        Ok(reply) => reply,
        Err(never) => match never {},
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_passes_as_it_is() {
    let reply = run(&Inner::new().answers(whole("fine"))).await;

    assert_eq!((reply.status().as_u16(), read(reply.into_body()).await.text.as_str()), (200, "fine"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_becomes_an_answer_in_the_client_s_dialect() {
    let reply = run(&Inner::new().fails(Failure::Unauthenticated)).await;

    assert_eq!(
        (reply.status().as_u16(), reply.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Bearer")
    );
    let told: serde_json::Value = serde_json::from_str(&read(reply.into_body()).await.text).unwrap();
    assert_eq!(told["error"]["code"], "invalid_api_key");
}

#[tokio::test(start_paused = true)]
async fn a_client_error_of_the_same_dialect_is_told_in_the_upstream_s_own_words() {
    let body = r#"{"error":{"message":"bad temperature","type":"invalid_request_error","own":7}}"#;

    let reply = run(&Inner::new().fails(refused_with(400, &[], body))).await;

    assert_eq!(reply.status().as_u16(), 400);
    assert_eq!(read(reply.into_body()).await.text, body);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_our_key_is_never_told_as_a_fault_of_the_client_s() {
    for status in [401, 403] {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-abcdef"}}"#;

        let reply = run(&Inner::new().fails(refused_with(status, &[], body))).await;

        assert_eq!(reply.status().as_u16(), 502, "{status}");
        let told = read(reply.into_body()).await.text;
        assert!(!told.contains("sk-abcdef"), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_an_error_at_the_curfew() {
    let stream = || pieces().says("one\n\n").hangs().in_dialect(dialect::Dialect::OpenAiChat).body();
    let inner = Inner::new().answers(Reply::new(stream()));
    let began = tokio::time::Instant::now();

    let told = wire(run(&inner).await.into_body()).await.unwrap();

    assert_eq!(began.elapsed(), Duration::from_secs(60));
    assert!(told.starts_with("one\n\n") && told.contains("shutting_down"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_at_the_curfew_is_told_that_there_will_be_none() {
    let inner = Inner::new().hangs();
    let mut answering = Box::pin(run(&inner));
    let waited = tokio::time::timeout(Duration::from_secs(59), &mut answering).await;
    tokio::time::advance(Duration::from_secs(1)).await;

    // The connection is woken when the process ends.
    let reply = tokio::time::timeout(Duration::ZERO, answering).await.unwrap();

    assert!(waited.is_err());
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (503, &HeaderValue::from(1)));
    assert!(read(reply.into_body()).await.text.contains("shutting_down"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_when_to_come_back_rounds_up() {
    let reply = run(&Inner::new().fails(refused_with(429, &[("retry-after-ms", "1200")], ""))).await;

    assert_eq!((reply.status().as_u16(), reply.headers()["retry-after"].to_str().unwrap()), (429, "2"));
}

#[test]
fn a_path_that_has_not_this_method_says_which_ones_it_has() {
    let reply = render(&Failure::MethodNotAllowed { allow: "GET, DELETE".to_owned() }, ErrorShape::Anthropic);

    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["allow"]),
        (405, &HeaderValue::from_static("GET, DELETE"))
    );
}

#[test]
fn an_unknown_coding_is_told_which_ones_are_known() {
    let reply = render(&Failure::UnknownCoding { coding: "lzma".to_owned() }, ErrorShape::OpenAi);

    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["accept-encoding"]),
        (415, &HeaderValue::from_static("gzip, deflate, br, zstd"))
    );
}
