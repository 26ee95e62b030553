//! Comments that keep a connection warm commit nothing but the status.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::subjects::keepalive::*;
use super::bench::*;

fn warm(channels: impl IntoIterator<Item = Value>) -> Value {
    config(channels).with("/preferences/keepalive_interval", json!(30))
}

#[tokio::test(start_paused = true)]
async fn channels_change_behind_the_comments() {
    let (a, b) = (
        Upstream::always(Script::hang()).await,
        Upstream::always(Script::error(500, "x").after(Duration::from_secs(40))).await,
    );
    let c = Upstream::always(Script::events(stream_of(&["from c"])).after(Duration::from_secs(40))).await;
    let config = warm([channel("a", &a), channel("b", &b), channel("c", &c)])
        .with("/preferences/model_timeout", json!(60));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    // At 30, 60, 90 and 120 seconds.
    assert_eq!(comments(&answer), 4, "{}", answer.text());
    assert_eq!(answer.text().replace(COMMENT, ""), stream_of(&["from c"]).concat());
}

#[tokio::test(start_paused = true)]
async fn comments_keep_their_interval_while_channels_change_and_between_later_events() {
    // `a` is silent until its timeout at 60 s, `b` fails at 90 s, `c` begins at 130 s.
    let a = Upstream::always(Script::hang()).await;
    let b = Upstream::always(Script::error(500, "x").after(Duration::from_secs(30))).await;
    let script = Script::events([text_event("one")])
        .after(Duration::from_secs(40))
        .then_pause(Duration::from_secs(55))
        .then(stop_event())
        .then_pause(Duration::from_secs(10))
        .then(DONE);
    let c = Upstream::always(script).await;
    let config = config([channel("a", &a), channel("b", &b), channel("c", &c)])
        .with("/preferences", json!({ "model_timeout": 60, "keepalive_interval": 25 }));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    let told: Vec<(u64, String)> = answer
        .pieces
        .iter()
        .map(|(at, piece)| (at.as_secs(), String::from_utf8_lossy(piece).into_owned()))
        .collect();
    let comments = |from: u64| (0..).map(move |n| (from + 25 * n, COMMENT.to_owned()));
    let mut expected: Vec<_> = comments(25).take(5).collect();
    expected.push((130, text_event("one")));
    expected.extend(comments(155).take(2));
    expected.extend([(185, stop_event()), (195, DONE.to_owned())]);
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn comments_fill_later_silences_too_and_the_stream_goes_on() {
    let pause = Duration::from_secs(70);
    let upstream = Upstream::always(Script::events(stream_of(&["one", "two"])).paced(pause)).await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    // Two in each of four silences.
    assert_eq!(comments(&answer), 8, "{}", answer.text());
    assert_eq!(answer.text().replace(COMMENT, ""), stream_of(&["one", "two"]).concat());
    assert!(answer.is_done());
}

#[tokio::test(start_paused = true)]
async fn no_comment_comes_inside_an_event() {
    // The tail of a short event is held back; the head of a long one is on its way already.
    for filler in [10, 200 << 10] {
        let torn = text_event(&"x".repeat(filler));
        let (head, tail) = torn.split_at(torn.len() / 2);
        let script = Script::events([role_event(), text_event("a")])
            .then(head)
            .then_pause(Duration::from_secs(80))
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

#[tokio::test(start_paused = true)]
async fn when_all_fail_behind_the_comments_one_error_event_ends_the_stream() {
    let slow = |status| Script::error(status, "sorry").after(Duration::from_secs(50));
    let (a, b) = (Upstream::always(slow(500)).await, Upstream::always(slow(503)).await);
    let gateway = Gateway::start(warm([channel("a", &a), channel("b", &b)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(comments(&answer), 3);
    assert_eq!(answer.events().len(), 1, "{}", answer.text());
    assert!(answer.error_event()["message"].as_str().unwrap().contains("sorry"));
    assert!(!answer.is_done());
    assert!(answer.complete, "the answer ends in an orderly way");
    assert_eq!(gateway.records()[0].entry.failure, Some("upstream_error"), "the record tells the truth");
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_first_comment_keeps_its_status() {
    let upstream = Upstream::always(Script::error(429, "slow down")).await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    gateway.chat(&hello_stream()).await.expect(429).error();
}

#[tokio::test(start_paused = true)]
async fn a_quick_answer_and_a_whole_one_get_no_comment() {
    let upstream = Upstream::start(|seen| {
        if seen.streams() {
            saying("quick")(seen)
        } else {
            saying("slow")(seen).after(Duration::from_secs(80))
        }
    })
    .await;
    let gateway = Gateway::start(warm([channel("a", &upstream)])).await;

    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).text(), stream_of(&["quick"]).concat());
    assert_eq!(gateway.chat(&hello()).await.expect(200).text(), said("slow").to_string());
}

#[tokio::test(start_paused = true)]
async fn without_a_setting_no_comment_is_sent() {
    let upstream =
        Upstream::always(Script::events(stream_of(&["late"])).after(Duration::from_secs(90))).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).text(), stream_of(&["late"]).concat());
}

/// One row: the channel's map, the requested name, the upstream's name, and whether comments come.
type Row = (Value, &'static str, &'static str, bool);

const SHORT: f64 = 30.0;
/// Below the timeout of 100 s, and longer than any of these answers takes.
const LONG: f64 = 90.0;
const OFF: f64 = 99_999.0;

/// Runs all rows at once, each on a channel of its own, under this global setting.
async fn check(global: Value, rows: Vec<Row>) {
    let late = Script::events(stream_of(&["late"])).after(Duration::from_secs(80));
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
#[tokio::test(start_paused = true)]
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
#[tokio::test(start_paused = true)]
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
#[tokio::test(start_paused = true)]
async fn an_interval_that_is_not_below_the_timeout_is_ignored() {
    for (interval, warm) in [(30, true), (60, false), (80, false)] {
        // The first channel is silent until its timeout, the next one almost as long.
        let a = Upstream::always(Script::hang()).await;
        let b = Upstream::always(Script::events(stream_of(&["from b"])).after(Duration::from_secs(50))).await;
        let config = config([channel("a", &a), channel("b", &b)])
            .with("/preferences", json!({ "keepalive_interval": interval, "model_timeout": 60 }));
        let gateway = Gateway::start(config).await;

        let answer = gateway.chat(&hello_stream()).await.expect(200);

        assert_eq!(comments(&answer) > 0, warm, "{interval}: {}", answer.text());
        assert_eq!(answer.streamed(), "from b");
    }
}
