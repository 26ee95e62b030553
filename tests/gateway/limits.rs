//! How often keys and the whole gateway may be used, and what a refusal says.

use serde_json::json;

use crate::harness::subjects::limits::*;
use crate::harness::*;

/// Promises: `limit-key`, `limit-min`, `limit-refusal`.
#[tokio::test]
async fn the_sixteenth_request_of_a_key_over_all_models_is_refused_and_reaches_no_provider() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(limited(&upstream, &json!(["x", "y", "z"]), &json!("15/min"))).await;

    for model in ["x", "y", "z"] {
        assert_eq!(passing(&gateway, model, 5).await, 5);
    }
    let refused = few(&gateway, "x").await.expect(429);

    assert_eq!(upstream.count(), 15);
    assert_eq!(refused.error()["code"], "rate_limit_exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("15"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    assert!(refused.header("x-ratelimit-reset-requests").is_some());
    gateway.chat(&hello_to("x")).await.expect(200);
}
