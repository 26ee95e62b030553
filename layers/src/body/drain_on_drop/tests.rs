use std::time::Duration;

use super::*;
use crate::testing::{Chunks, chunks};

fn unasked(body: Chunks) -> DrainOnDrop<Chunks> {
    DrainOnDrop::wrap(Request::new(body)).into_body()
}

/// Lets what was spawned run for so long.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_unread_is_drained() {
    let body = chunks().now("a").after(Duration::from_secs(1), "b");
    let traces = body.traces();

    drop(unasked(body));
    pass(Duration::from_millis(1500)).await;

    assert_eq!((traces.read(), traces.dropped()), (2, true));
}

#[tokio::test(start_paused = true)]
async fn draining_ends_after_two_seconds() {
    let body = chunks().now("a").after(Duration::from_secs(3), "b");
    let traces = body.traces();

    drop(unasked(body));
    pass(Duration::from_millis(1900)).await;
    assert!(!traces.dropped());
    pass(Duration::from_millis(200)).await;

    assert_eq!((traces.read(), traces.dropped()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn draining_ends_after_a_mebibyte_however_fast_it_comes() {
    let body = (0..40).fold(chunks(), |body, _| body.now("x".repeat(64 << 10)));
    let traces = body.traces();

    drop(unasked(body));
    pass(Duration::from_millis(1)).await;

    assert_eq!((traces.read(), traces.dropped()), (17, true));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_to_be_asked_is_not_asked() {
    let body = chunks().now("a");
    let traces = body.traces();
    let request = Request::builder().header(EXPECT, "100-continue").body(body).unwrap();

    drop(DrainOnDrop::wrap(request));
    pass(Duration::from_secs(1)).await;

    assert_eq!((traces.read(), traces.dropped()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_read_is_passed_on_and_let_go() {
    let body = chunks().now("a").now("b");
    let traces = body.traces();

    let mut body = unasked(body);
    let read = (&mut body).collect().await.unwrap().to_bytes();

    assert_eq!((&read[..], body.is_end_stream(), traces.dropped()), (&b"ab"[..], true, true));
}

#[test]
fn outside_a_runtime_nothing_is_drained_and_nothing_panics() {
    let body = chunks().now("a");
    let traces = body.traces();

    drop(unasked(body));

    assert_eq!((traces.read(), traces.dropped()), (0, true));
}
