//! Comments that keep a connection warm commit nothing but the status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::subjects::keepalive::*;
use crate::harness::*;

fn warm(channels: impl IntoIterator<Item = Value>) -> Value {
    config(channels).with("/preferences/keepalive_interval", json!(0.3))
}

#[tokio::test]
async fn comments_come_at_the_interval_until_the_first_event() {
    let upstream =
        Upstream::always(Script::events(stream_of(&["late"])).after(Duration::from_millis(1400))).await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!((3..=4).contains(&comments(&answer)), "{}", answer.text());
    assert!(answer.text().starts_with(COMMENT));
    assert_eq!(answer.text().replace(COMMENT, ""), stream_of(&["late"]).concat());
    let first = answer.pieces[0].0;
    assert!(first < Duration::from_millis(900), "{first:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
}

#[tokio::test]
async fn comments_are_in_the_client_s_dialect_whatever_the_channels_speak() {
    let ill = Upstream::always(Script::error(500, "x").after(Duration::from_millis(500))).await;
    let case = Recorded::case("anthropic/stream-tools");
    let claude = Upstream::always(case.script().after(Duration::from_millis(500))).await;
    let gateway = Gateway::start(warm([channel("a", &ill), anthropic_channel("b", &claude)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(comments(&answer) >= 2, "{}", answer.text());
    assert!(answer.text().starts_with(COMMENT), "{}", answer.text());
    for line in answer.text().lines().filter(|line| !line.is_empty()) {
        assert!(line == ": keepalive" || line.starts_with("data: "), "{line:?} is not of OpenAI's format");
    }
    assert!(answer.is_done());
}
