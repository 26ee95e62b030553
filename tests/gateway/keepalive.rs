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

/// One row: the channel's map, the requested name, the upstream's name, and whether comments come.
type Row = (Value, &'static str, &'static str, bool);

const SHORT: f64 = 0.3;
/// Below the timeout of 100 s, and longer than any of these answers takes.
const LONG: f64 = 30.0;
const OFF: f64 = 99_999.0;

/// Runs all rows at once, each on a channel of its own, under this global setting.
async fn check(global: Value, rows: Vec<Row>) {
    let late = Script::events(stream_of(&["late"])).after(Duration::from_millis(800));
    let upstream = Upstream::always(late).await;
    let channels = rows.iter().enumerate().map(|(n, (map, alias, name, _))| {
        let mut model = json!({});
        model[*name] = json!(alias);
        channel(&format!("c{n}"), &upstream)
            .with("/model", json!([model]))
            .with("/preferences/keepalive_interval", map.clone())
    });
    let keys: Vec<Value> = (0..rows.len())
        .map(|n| json!({ "api": format!("sk-row-{n}"), "model": [format!("c{n}/*")] }))
        .collect();
    let mut config = config(channels).with("/api_keys", json!(keys));
    if !global.is_null() {
        config = config.with("/preferences/keepalive_interval", global);
    }
    let gateway = Gateway::start(config).await;

    let mut tasks = tokio::task::JoinSet::new();
    for (n, (map, alias, name, warm)) in rows.into_iter().enumerate() {
        let client = gateway.client();
        tasks.spawn(async move {
            let ask = Ask::chat(&hello_to(alias).with("/stream", json!(true))).key(&format!("sk-row-{n}"));
            let answer = client.ask(&ask).await.expect(200);
            let told = comments(&answer);
            ((told > 0) != warm).then(|| format!("row {n}: {map} {alias} {name}: {told} comments"))
        });
    }
    let wrong: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Promises: `alive-channel-over-global`.
#[tokio::test]
async fn a_channel_s_interval_comes_before_the_global_one() {
    check(
        json!(SHORT),
        vec![
            (Value::Null, "m", "up", true),
            (json!(LONG), "m1", "up", false),
            (json!(OFF), "m2", "up", false),
            (json!({ "default": LONG }), "m3", "up", false),
            // A table that has nothing to say leaves it to the global one.
            (json!({ "other": LONG }), "m4", "up", true),
        ],
    )
    .await;
    check(json!(LONG), vec![(json!(SHORT), "m", "up", true), (Value::Null, "m1", "up", false)]).await;
}

/// Promises: `alive-lookup`.
#[tokio::test]
async fn an_interval_is_looked_up_in_the_same_six_steps_as_a_timeout() {
    let global =
        json!({ "g-exact": SHORT, "g-fuzzy": SHORT, "default": LONG, "g-upstream": SHORT, "both": LONG });
    let none = json!({});
    check(
        global,
        vec![
            // 1: the exact requested name in the channel's map wins over everything.
            (json!({ "q": SHORT, "up": LONG, "default": LONG }), "q", "up", true),
            (json!({ "q": LONG, "up": SHORT, "default": SHORT }), "q", "up", false),
            // 2: a key contained in the requested name, in any case, before the exact upstream name.
            (json!({ "Q-FAM": SHORT, "up": LONG, "default": LONG }), "q-fam-2025", "up", true),
            (json!({ "q-fam": LONG, "up": SHORT }), "q-fam-2025", "up", false),
            (json!({ "q": LONG, "q-fam": SHORT }), "q-fam-2025", "up", true),
            // 3: the exact upstream name, before the channel's default.
            (json!({ "up": SHORT, "default": LONG }), "alias", "up", true),
            (json!({ "up": LONG, "default": SHORT }), "alias", "up", false),
            // 4: a key contained in the upstream name.
            (json!({ "fam": SHORT, "default": LONG }), "alias", "up-fam-1", true),
            (json!({ "fam": LONG, "default": SHORT }), "alias", "up-fam-1", false),
            // 5: the channel's default, before anything global.
            (json!({ "default": SHORT }), "both", "up", true),
            (json!({ "default": LONG }), "g-exact", "up", false),
            // 6: the global map: requested name exact, contained; upstream name; default.
            (none.clone(), "g-exact", "up", true),
            (none.clone(), "x-g-fuzzy-1", "up", true),
            (none.clone(), "alias", "g-upstream", true),
            (none.clone(), "alias", "x-g-upstream-1", true),
            (json!({ "other": SHORT }), "g-exact", "up", true),
            (none.clone(), "both", "g-upstream", false),
            (none.clone(), "unlisted", "up", false),
        ],
    )
    .await;
    // Where nothing matches at all there are no comments.
    check(json!({ "other": SHORT }), vec![(none, "unlisted", "up", false)]).await;
}

/// Promises: `alive-below-timeout`.
#[tokio::test]
async fn an_interval_that_is_not_below_the_timeout_is_ignored() {
    for (interval, warm) in [(0.3, true), (0.6, false), (0.8, false)] {
        // The first channel is silent until its timeout, the next one almost as long.
        let a = Upstream::always(Script::hang()).await;
        let b =
            Upstream::always(Script::events(stream_of(&["from b"])).after(Duration::from_millis(500))).await;
        let config = config([channel("a", &a), channel("b", &b)])
            .with("/preferences", json!({ "keepalive_interval": interval, "model_timeout": 0.6 }));
        let gateway = Gateway::start(config).await;

        let answer = gateway.chat(&hello_stream()).await.expect(200);

        assert_eq!(comments(&answer) > 0, warm, "{interval}: {}", answer.text());
        assert_eq!(answer.streamed(), "from b");
    }
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
