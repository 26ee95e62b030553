//! Silence is failure: which of the configured seconds count for which request.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::*;

/// One row: the channel's map, the requested name, the upstream's name, and whether an answer that
/// takes 20 seconds is in time. Short is 10 s, long is 30 s.
type Row = (Value, &'static str, &'static str, bool);

const SHORT: f64 = 10.0;
const LONG: f64 = 30.0;

/// Runs all rows at once, each on a channel of its own, under this global map.
async fn check(global: Value, timeout: Option<&str>, rows: Vec<Row>) {
    let upstream = Upstream::always(Script::json(&said("late")).after(Duration::from_secs(20))).await;
    let channels = rows.iter().enumerate().map(|(n, (map, alias, name, _))| {
        let mut model = json!({});
        model[*name] = json!(alias);
        channel(&format!("c{n}"), &upstream)
            .with("/model", json!([model]))
            .with("/preferences/model_timeout", map.clone())
    });
    let keys: Vec<Value> = (0..rows.len())
        .map(|n| json!({ "api": format!("sk-row-{n}"), "model": [format!("c{n}/*")] }))
        .collect();
    let mut config = config(channels).with("/api_keys", json!(keys));
    if !global.is_null() {
        config = config.with("/preferences/model_timeout", global);
    }
    let mut setup = Setup::new(config);
    if let Some(timeout) = timeout {
        setup = setup.env("TIMEOUT", timeout);
    }
    let gateway = setup.start().await;

    let mut tasks = tokio::task::JoinSet::new();
    for (n, (map, alias, name, in_time)) in rows.into_iter().enumerate() {
        let client = gateway.client();
        tasks.spawn(async move {
            let answer = client.ask(&Ask::chat(&hello_to(alias)).key(&format!("sk-row-{n}"))).await;
            let expected = if in_time { 200 } else { 504 };
            (answer.status != expected)
                .then(|| format!("row {n}: {map} {alias} {name}: {} {}", answer.status, answer.text()))
        });
    }
    let wrong: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Promises: `time-global-model`, `time-global-default`, `time-channel-model`, `time-precedence`,
/// `time-step1-exact-request`, `time-step2-fuzzy-request`, `time-step3-exact-upstream`,
/// `time-step4-fuzzy-upstream`, `time-step5-channel-default`, `time-step6-global`.
#[tokio::test(start_paused = true)]
async fn the_six_steps_of_the_lookup_come_in_their_order() {
    let global = json!({
        "g-exact": LONG, "g-fuzzy": LONG, "default": SHORT, "g-upstream": LONG, "both": SHORT,
    });
    let none = json!({});
    check(
        global,
        None,
        vec![
            // 1: the exact requested name in the channel's map wins over everything.
            (json!({ "q": LONG, "up": SHORT, "default": SHORT }), "q", "up", true),
            (json!({ "q": SHORT, "up": LONG, "default": LONG }), "q", "up", false),
            // 2: a key contained in the requested name, before the exact upstream name.
            (json!({ "Q-FAM": LONG, "up": SHORT, "default": SHORT }), "q-fam-2025", "up", true),
            (json!({ "q-fam": SHORT, "up": LONG }), "q-fam-2025", "up", false),
            // 3: the exact upstream name, before the channel's default.
            (json!({ "up": LONG, "default": SHORT }), "alias", "up", true),
            (json!({ "up": SHORT, "default": LONG }), "alias", "up", false),
            // 4: a key contained in the upstream name.
            (json!({ "fam": LONG, "default": SHORT }), "alias", "up-fam-1", true),
            (json!({ "fam": SHORT, "default": LONG }), "alias", "up-fam-1", false),
            // 5: the channel's default, before anything global.
            (json!({ "default": LONG }), "both", "up", true),
            (json!({ "default": SHORT }), "g-exact", "up", false),
            // 6: the global map: requested name exact, contained; upstream name; default.
            (none.clone(), "g-exact", "up", true),
            (none.clone(), "x-g-fuzzy-1", "up", true),
            (none.clone(), "alias", "g-upstream", true),
            (none.clone(), "alias", "x-g-upstream-1", true),
            (json!({ "other": LONG }), "g-exact", "up", true),
            (none.clone(), "both", "g-upstream", false),
            (none, "unlisted", "up", false),
        ],
    )
    .await;
}

/// Promises: `time-longest`.
#[tokio::test(start_paused = true)]
async fn the_longest_contained_name_decides_in_either_file_order() {
    check(
        json!({ "default": SHORT }),
        None,
        vec![
            (
                json!({ "gemini-3-pro": SHORT, "gemini-3-pro-image": LONG }),
                "gemini-3-pro-image-x",
                "up",
                true,
            ),
            (
                json!({ "gemini-3-pro-image": LONG, "gemini-3-pro": SHORT }),
                "gemini-3-pro-image-x",
                "up",
                true,
            ),
            (
                json!({ "gemini-3-pro-image": LONG, "gemini-3-pro": SHORT }),
                "gemini-3-pro-preview",
                "up",
                false,
            ),
        ],
    )
    .await;
}

/// Promises: `time-global-family`.
#[tokio::test(start_paused = true)]
async fn a_family_covers_its_dated_versions_and_no_other_family() {
    check(
        json!({ "gpt-5.2": LONG, "default": SHORT }),
        None,
        vec![
            (json!({}), "gpt-5.2-2025-12-11", "up", true),
            (json!({}), "GPT-5.2-PRO", "up", true),
            (json!({}), "gpt-5-mini", "up", false),
        ],
    )
    .await;
}

/// Promises: `time-precedence`, `time-step6-global`, `env-timeout`.
#[tokio::test(start_paused = true)]
async fn the_environment_variable_is_the_last_resort() {
    let none = json!({});
    check(
        Value::Null,
        Some("10"),
        vec![(none.clone(), "m", "up", false), (json!({ "default": LONG }), "m2", "up", true)],
    )
    .await;
    check(
        json!({ "m": LONG }),
        Some("10"),
        vec![(none.clone(), "m", "up", true), (none.clone(), "n", "up", false)],
    )
    .await;
    check(json!({ "default": LONG }), Some("10"), vec![(none, "m", "up", true)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_number_is_a_default() {
    check(json!(SHORT), None, vec![(json!({}), "m", "up", false), (json!(LONG), "m2", "up", true)]).await;
}

/// Promises: `cfg-preferences-optional`.
#[tokio::test(start_paused = true)]
async fn without_any_setting_a_second_of_silence_is_nothing() {
    check(Value::Null, None, vec![(json!({}), "m", "up", true)]).await;
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_keeps_talking_is_not_silent() {
    let words = ["a", "b", "c", "d", "e", "f"];
    let upstream = Upstream::always(Script::events(stream_of(&words)).paced(Duration::from_secs(25))).await;
    let gateway =
        Gateway::start(config([channel("a", &upstream)]).with("/preferences/model_timeout", json!(26))).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(answer.text(), stream_of(&words).concat());
    // The opening, six words, their end and the marker.
    assert_eq!(answer.took.as_secs(), 8 * 25);
}
