//! A failure before the first content is somebody else's turn: whose turn, how often, and what the
//! client learns when nobody is left. Which failures is the table in `disposition`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::*;

#[tokio::test]
async fn a_refused_connection_is_followed_by_the_next_channel_and_remembered() {
    let good = healthy("second").await;
    let gateway =
        Gateway::start(config([channel_at("dead", &refused_port().await), channel("b", &good)])).await;

    let first = gateway.chat(&hello()).await.expect(200);
    let second = gateway.chat(&hello()).await.expect(200);

    assert_eq!(
        (first.header("x-uni-api-attempts"), second.header("x-uni-api-attempts")),
        (Some("2"), Some("1"))
    );
}

/// Promises: `route-model-on-many-channels`, `sched-fixed-priority`.
#[tokio::test]
async fn the_third_channel_answers_when_the_first_two_fail() {
    let (a, b) = (Upstream::always(Script::error(500, "a")).await, Upstream::always(Script::reset()).await);
    let c = healthy("third").await;
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b), channel("c", &c)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!((answer.channel(), answer.header("x-uni-api-attempts")), ("c", Some("3")));
    assert_eq!((a.count(), b.count(), c.count()), (1, 1, 1));
}

/// Promises: `cool-excluded`.
#[tokio::test]
async fn a_failed_channel_is_left_alone_and_comes_back_after_its_cooldown() {
    let a = Upstream::in_turn(vec![Script::error(500, "x"), Script::json(&said("back"))]).await;
    let b = healthy("b").await;
    let config = config([channel("a", &a), channel("b", &b)]).with("/preferences/cooldown_period", json!(1));
    let gateway = Gateway::start(config).await;

    let began = Instant::now();
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    for _ in 0..3 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    }
    assert!(began.elapsed() < Duration::from_millis(900), "too slow to tell");
    tokio::time::sleep(Duration::from_millis(1300)).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    assert_eq!(a.count(), 2);
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_is_replaced_without_anybody_noticing() {
    // The second request on a connection finds it closed, as after an idle timeout upstream.
    let fresh = std::sync::Mutex::new(std::collections::HashSet::new());
    let upstream = Upstream::start_by_connection(move |_, connection| {
        if fresh.lock().unwrap().insert(connection) { Script::json(&said("ok")) } else { Script::close() }
    })
    .await;
    let other = healthy("other").await;
    let gateway = Gateway::start(config([channel("a", &upstream), channel("b", &other)])).await;

    // One client connection stays with one worker, and so with one pool.
    let mut wire = gateway.client().connect().await;
    for _ in 0..4 {
        let (answer, back) = wire.open(&Ask::chat(&hello())).await.rest_and_wire().await;
        let answer = answer.expect(200);
        assert_eq!((answer.channel(), answer.header("x-uni-api-attempts")), ("a", Some("1")));
        wire = back;
    }

    assert!(upstream.count() > 4, "no connection was reused, so nothing was tested");
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn a_whole_pool_that_an_upstream_has_forgotten_costs_no_request_its_channel() {
    // As behind a middlebox that lost its table: a request on any connection but a new one is lost.
    let known = std::sync::Mutex::new(std::collections::HashSet::new());
    let upstream = Upstream::start_by_connection(move |_, connection| {
        let is_new = known.lock().unwrap().insert(connection);
        let pause = Duration::from_millis(100);
        if is_new { Script::json(&said("ok")).after(pause) } else { Script::close() }
    })
    .await;
    let other = healthy("other").await;
    let gateway = Gateway::start(config([channel("a", &upstream), channel("b", &other)])).await;

    for _round in 0..2 {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let client = gateway.client();
            asking.spawn(async move { client.chat(&hello()).await });
        }
        for answer in asking.join_all().await {
            let answer = answer.expect(200);
            assert_eq!((answer.channel(), answer.header("x-uni-api-attempts")), ("a", Some("1")));
        }
    }

    assert!(upstream.count() > 20, "no connection was reused, so nothing was tested");
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn connections_to_an_upstream_are_reused() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let mut wire = gateway.client().connect().await;
    for n in 0..6 {
        let request = if n % 2 == 0 { hello() } else { hello_stream() };
        let (answer, back) = wire.open(&Ask::chat(&request)).await.rest_and_wire().await;
        answer.expect(200);
        wire = back;
    }

    assert_eq!((upstream.count(), upstream.connections()), (6, 1));
}
