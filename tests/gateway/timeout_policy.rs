//! `timeout_policy`: bounds of the whole request and of its opening, and rules that ask what the
//! request is.

use std::time::Duration;

use serde_json::json;

use crate::harness::subjects::timeout_policy::*;
use crate::harness::*;

fn soon(answer: &Answer) {
    assert!(answer.took < Duration::from_secs(5), "{:?} {}", answer.took, answer.text());
}

#[tokio::test]
async fn a_silent_upstream_is_left_when_the_time_of_the_whole_request_is_over() {
    let upstream = Upstream::always(Script::hang()).await;
    let gateway = Gateway::start(under(json!({ "default": { "total": 0.7 } }), &upstream)).await;

    let answer = gateway.chat(&hello()).await.expect(504);

    soon(&answer);
    assert!(answer.took >= Duration::from_millis(650), "{:?}", answer.took);
    assert!(answer.error()["message"].as_str().unwrap().contains("0.7 seconds"), "{}", answer.text());
    upstream.wait_for_cancelled(1).await;
}

#[tokio::test]
async fn connecting_is_given_up_after_the_time_that_is_configured() {
    // It takes the connection and never says that there is a way on.
    let proxy = Upstream::always(Script::hang()).await;
    let through = channel_at("a", "http://unreached.example/v1/chat/completions")
        .with("/preferences/proxy", json!(format!("http://{}", proxy.address())))
        .with("/preferences/timeout_policy", json!({ "default": { "connect": 0.5 } }));
    let gateway =
        Gateway::start(config([through]).with("/api_keys/0/preferences/AUTO_RETRY", json!(false))).await;

    let answer = gateway.chat(&hello()).await.expect(504);

    soon(&answer);
    assert_eq!(proxy.connections(), 1);
}
