//! Several provider keys in one channel: taken in turn, left alone when they fail.

use serde_json::json;

use crate::harness::subjects::keys::*;
use crate::harness::*;

/// Promises: `keys-algorithm-values`.
#[tokio::test]
async fn another_word_for_the_algorithm_is_told_and_refused_by_the_strict_check() {
    let upstream = healthy("ok").await;
    let config = config([
        three_keys(&upstream).with("/preferences/api_key_schedule_algorithm", json!("round-robbing"))
    ]);

    for (arguments, due) in [(&["check"][..], 0), (&["check", "--strict"], 1)] {
        let (code, text) = run(&config, arguments).await;
        assert_eq!(code, due, "{text}");
        assert!(text.contains("api_key_schedule_algorithm") && text.contains("smart_round_robin"), "{text}");
    }
}
