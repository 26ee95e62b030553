//! Silence is failure: which of the configured seconds count for which request.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::*;

/// Promises: `time-switch`.
#[tokio::test]
async fn a_silent_channel_has_failed_and_the_next_one_answers() {
    for request in [hello(), hello_stream()] {
        let (a, b) = (Upstream::always(Script::hang()).await, healthy("b").await);
        let config =
            config([channel("a", &a), channel("b", &b)]).with("/preferences/model_timeout", json!(0.5));
        let gateway = Gateway::start(config).await;
        let began = Instant::now();

        let answer = gateway.chat(&request).await.expect(200);

        assert_eq!(answer.channel(), "b");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        a.wait_for_cancelled(1).await;
        assert!(
            gateway.chat(&request).await.took < Duration::from_millis(400),
            "the silent channel is left alone"
        );
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_the_upstreams_silence() {
    let words = vec!["x".repeat(100_000); 60];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let upstream = Upstream::always(Script::events(stream_of(&words))).await;
    let gateway =
        Gateway::start(config([channel("a", &upstream)]).with("/preferences/model_timeout", json!(0.5)))
            .await;

    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.next().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let answer = flow.rest().await;

    assert!(answer.is_done(), "{} bytes", answer.body.len());
    assert_eq!(answer.streamed().len(), 6_000_000);
}
