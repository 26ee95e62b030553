//! Comments that keep a connection warm commit nothing but the status.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

const COMMENT: &str = ": keepalive\n\n";

fn warm(channels: impl IntoIterator<Item = Value>) -> Value {
    config(channels).with("/preferences/keepalive_interval", json!(0.3))
}

fn comments(answer: &Answer) -> usize {
    answer.text().matches(COMMENT).count()
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
async fn channels_change_behind_the_comments() {
    let (a, b) = (
        Upstream::always(Script::hang()).await,
        Upstream::always(Script::error(500, "x").after(Duration::from_millis(400))).await,
    );
    let c = Upstream::always(Script::events(stream_of(&["from c"])).after(Duration::from_millis(400))).await;
    let config = warm([channel("a", &a), channel("b", &b), channel("c", &c)])
        .with("/preferences/model_timeout", json!(0.6));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(comments(&answer) >= 3, "{}", answer.text());
    assert_eq!(answer.text().replace(COMMENT, ""), stream_of(&["from c"]).concat());
}

#[tokio::test]
async fn comments_fill_later_silences_too_and_the_stream_goes_on() {
    let pause = Duration::from_millis(700);
    let upstream = Upstream::always(Script::events(stream_of(&["one", "two"])).paced(pause)).await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(comments(&answer) >= 4, "{}", answer.text());
    assert_eq!(answer.text().replace(COMMENT, ""), stream_of(&["one", "two"]).concat());
    assert!(answer.is_done());
}

#[tokio::test]
async fn no_comment_comes_inside_an_event() {
    // The tail of a short event is held back; the head of a long one is on its way already.
    for filler in [10, 200 << 10] {
        let torn = text_event(&"x".repeat(filler));
        let (head, tail) = torn.split_at(torn.len() / 2);
        let script = Script::events([role_event(), text_event("a")])
            .then(head)
            .then_pause(Duration::from_millis(800))
            .then(tail)
            .then(format!("{}{DONE}", stop_event()));
        let upstream = Upstream::always(script).await;
        let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

        let answer = gateway.chat(&hello_stream()).await.expect(200);

        assert_eq!(answer.streamed().len(), filler + 1);
        let expected = format!("{}{}{torn}{}{DONE}", role_event(), text_event("a"), stop_event());
        assert!(answer.text().replace(COMMENT, "") == expected, "{filler}");
        let comments: Vec<_> = answer.text().match_indices(COMMENT).map(|(at, _)| at).collect();
        let inside = comments.iter().any(|at| !answer.text()[..*at].ends_with("\n\n"));
        assert!(!inside, "{filler}: a comment stands inside an event");
    }
}

#[tokio::test]
async fn when_all_fail_behind_the_comments_one_error_event_ends_the_stream() {
    let slow = |status| Script::error(status, "sorry").after(Duration::from_millis(500));
    let (a, b) = (Upstream::always(slow(500)).await, Upstream::always(slow(503)).await);
    let gateway = Gateway::start(warm([channel("a", &a), channel("b", &b)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(comments(&answer) >= 1);
    assert_eq!(answer.events().len(), 1, "{}", answer.text());
    assert!(answer.error_event()["message"].as_str().unwrap().contains("sorry"));
    assert!(!answer.is_done());
    assert!(answer.complete, "the answer ends in an orderly way");
    gateway.wait_for_line("the true status in the log", |line| line.contains("upstream_error")).await;
}

#[tokio::test]
async fn a_failure_before_the_first_comment_keeps_its_status() {
    let upstream = Upstream::always(Script::error(429, "slow down")).await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    gateway.chat(&hello_stream()).await.expect(429).error();
}

#[tokio::test]
async fn a_quick_answer_and_a_whole_one_get_no_comment() {
    let upstream = Upstream::start(|seen| {
        if seen.streams() {
            saying("quick")(seen)
        } else {
            saying("slow")(seen).after(Duration::from_millis(800))
        }
    })
    .await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).text(), stream_of(&["quick"]).concat());
    assert_eq!(gateway.chat(&hello()).await.expect(200).text(), said("slow").to_string());
}

#[tokio::test]
async fn without_a_setting_no_comment_is_sent() {
    let upstream =
        Upstream::always(Script::events(stream_of(&["late"])).after(Duration::from_millis(900))).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).text(), stream_of(&["late"]).concat());
}

#[tokio::test]
async fn the_interval_of_a_channel_is_found_by_model_like_a_timeout() {
    let upstream =
        Upstream::always(Script::events(stream_of(&["late"])).after(Duration::from_millis(700))).await;
    let models = json!(["gpt-5.2-2025-12-11", "other"]);
    let channel = channel("a", &upstream)
        .with("/model", models)
        .with("/preferences/keepalive_interval", json!({ "GPT-5.2": 0.3, "default": 99999 }));
    let gateway = Gateway::start(config([channel])).await;

    let warm = gateway.chat(&hello_to("gpt-5.2-2025-12-11").with("/stream", json!(true))).await.expect(200);
    let cold = gateway.chat(&hello_to("other").with("/stream", json!(true))).await.expect(200);

    assert!(comments(&warm) >= 1 && comments(&cold) == 0, "{}\n{}", warm.text(), cold.text());
}
