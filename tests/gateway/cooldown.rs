//! How a failed channel cools, comes back by one trial, and never leaves a request alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::harness::*;

/// An upstream that fails until it is told to work, and then answers when the gate lets it.
async fn recovering(gate: &Gate) -> (Upstream, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let (state, gate) = (works.clone(), gate.clone());
    let upstream = Upstream::start(move |_| {
        let works = state.load(Ordering::SeqCst);
        if works { Script::events(stream_of(&["back"])).gated(&gate) } else { Script::error(500, "ill") }
    })
    .await;
    (upstream, works)
}

/// Promises: `cool-returns`, `cool-excluded`.
#[tokio::test]
async fn after_its_rest_one_request_tries_a_channel_while_the_others_are_served_elsewhere() {
    let gate = Gate::new();
    let (a, works) = recovering(&gate).await;
    let b = healthy("b").await;
    let config = config([channel("a", &a), channel("b", &b)]).with("/preferences/cooldown_period", json!(1));
    let gateway = Gateway::start(config).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    works.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1200)).await;

    // The trial waits for its first content.
    let client = gateway.client();
    let trial = tokio::spawn(async move { client.chat(&hello_stream()).await });
    a.wait_for(2).await;
    gateway.load(64, 500, &Ask::chat(&hello())).await.shares(&[("b", 500)]);
    assert_eq!(a.count(), 2, "one request tries, no more");

    (0..100).for_each(|_| gate.open());
    assert_eq!(trial.await.unwrap().expect(200).channel(), "a");
    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).channel(), "a");
}
