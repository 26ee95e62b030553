//! `timeout_policy`: bounds of the whole request and of its opening, and rules that ask what the
//! request is.

use std::time::Duration;

use serde_json::json;

use super::bench::subjects::timeout_policy::*;
use super::bench::*;

/// Stops the test unless the answer took so many whole seconds.
#[track_caller]
fn took(answer: &Answer, seconds: u64) {
    assert_eq!(answer.took.as_secs(), seconds, "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_behind_its_headers_is_left_in_time_too() {
    let upstream = Upstream::always(Script::events([role_event()]).then_hang()).await;
    for policy in [json!({ "default": { "total": 40 } }), json!({ "default": 40 })] {
        let gateway = Gateway::start(under(policy, &upstream)).await;

        took(&gateway.chat(&hello_stream()).await.expect(504), 40);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_on_for_too_long_ends_with_an_error_event() {
    let words: Vec<&str> = std::iter::repeat_n("word ", 100).collect();
    let upstream = Upstream::always(Script::events(stream_of(&words)).paced(Duration::from_secs(10))).await;
    let gateway = Gateway::start(under(json!({ "default": { "total": 125 } }), &upstream)).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    took(&answer, 125);
    assert!(!answer.is_done() && answer.text().contains("word "), "{}", answer.text());
    let message = answer.error_event()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("125 seconds"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_opening_without_content_is_waited_for_as_long_as_first_byte_says() {
    // It talks all the time and says nothing.
    let chatter: Vec<String> = std::iter::repeat_n(role_event(), 100).collect();
    let upstream = Upstream::always(Script::events(chatter).paced(Duration::from_secs(10))).await;
    let gateway = Gateway::start(under(json!({ "default": { "first_byte": 85 } }), &upstream)).await;

    let answer = gateway.chat(&hello_stream()).await.expect(504);

    took(&answer, 85);
    assert!(answer.error()["message"].as_str().unwrap().contains("85 seconds"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn after_half_of_the_time_nobody_else_is_asked() {
    let ill = Upstream::always(Script::error(500, "late").after(Duration::from_secs(51))).await;
    let quick = Upstream::always(Script::error(500, "soon")).await;
    let good = healthy("good").await;
    let policy = json!({ "default": { "total": 100 } });
    let late = config([channel("ill", &ill), channel("good", &good)])
        .with("/preferences/timeout_policy", policy.clone());
    let early = config([channel("quick", &quick), channel("good", &good)])
        .with("/preferences/timeout_policy", policy);

    let answer = Gateway::start(late).await.chat(&hello()).await.expect(500);
    assert_eq!(good.count(), 0, "{}", answer.text());
    Gateway::start(early).await.chat(&hello()).await.expect(200);
    assert_eq!(good.count(), 1);
}

/// Whether a request is left soon: the rule, which gives ten seconds, applies to it.
async fn sends_at_once(gateway: &Gateway, ask: &Ask) -> bool {
    gateway.ask(ask).await.status == 504
}

#[tokio::test(start_paused = true)]
async fn rules_ask_for_stream_path_method_and_key() {
    let upstream = Upstream::start(|seen| {
        let script = if seen.path.ends_with("/moderations") {
            Script::json(&json!({ "results": [{ "flagged": false }] }))
        } else {
            saying("late")(seen)
        };
        script.after(Duration::from_secs(20))
    })
    .await;
    let judge = Ask::post("/v1/moderations", &json!({ "model": "m", "input": "x" }));
    let asks = [Ask::chat(&hello()), Ask::chat(&hello_stream()), judge, Ask::chat(&hello()).key("sk-batch")];
    let table = [
        (json!({ "stream": true }), [false, true, false, false]),
        (json!({ "stream": "off" }), [true, false, true, true]),
        (json!({ "endpoint": "/v1/chat/*" }), [true, true, false, true]),
        (json!({ "endpoint": ["/v1/moderations", "/v1/x"] }), [false, false, true, false]),
        (json!({ "method": "post" }), [true, true, true, true]),
        (json!({ "method": "get" }), [false, false, false, false]),
        (json!({ "role": "BATCH" }), [false, false, false, true]),
        (json!({ "role": "batch", "stream": true }), [false, false, false, false]),
        (json!({ "role": "batch", "model": "m*" }), [false, false, false, true]),
        (json!({ "role": "batch", "provider": "other" }), [false, false, false, false]),
        (json!({ "request_type": "compaction" }), [false, false, false, false]),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for (conditions, expected) in table {
        let (upstream, asks) = (upstream.clone(), asks.clone());
        tasks.spawn(async move {
            let policy = json!({ "rules": [{ "match": conditions, "timeout": { "idle": 10 } }] });
            let keys = json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-batch", "role": "batch" }]);
            // Otherwise the first request that is left would bench the channel for the next one.
            let config = under(policy, &upstream)
                .with("/api_keys", keys)
                .with("/preferences/cooldown_period", json!(0));
            let gateway = Gateway::start(config).await;
            let mut at_once = Vec::new();
            for ask in &asks {
                at_once.push(sends_at_once(&gateway, ask).await);
            }
            (at_once != expected).then(|| format!("{conditions}: {at_once:?} instead of {expected:?}"))
        });
    }
    let wrong: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_channel_comes_before_a_global_one() {
    let upstream = Upstream::start(|seen| saying("late")(seen).after(Duration::from_secs(20))).await;
    let rule =
        |idle: f64| json!({ "rules": [{ "match": { "stream": false }, "timeout": { "idle": idle } }] });
    let patient = channel("patient", &upstream)
        .with("/model", json!(["p"]))
        .with("/preferences/timeout_policy", rule(30.0));
    let config = config([patient, channel("a", &upstream)]).with("/preferences/timeout_policy", rule(10.0));
    let gateway = Gateway::start(config).await;

    assert_eq!(gateway.chat(&hello_to("p")).await.expect(200).content(), "late");
    gateway.chat(&hello()).await.expect(504);
}

#[tokio::test(start_paused = true)]
async fn a_question_of_moderation_runs_on_the_time_of_its_request() {
    let slow = Upstream::start(|seen| {
        if seen.path.ends_with("/moderations") {
            Script::json(&json!({ "results": [{ "flagged": false }] })).after(Duration::from_secs(50))
        } else {
            Script::hang()
        }
    })
    .await;
    let chat = channel("a", &slow).with("/model", json!(["m", JUDGE_MODEL]));
    let config = config([chat])
        .with("/preferences/timeout_policy", json!({ "default": { "total": 90 } }))
        .with("/api_keys/0/preferences/ENABLE_MODERATION", json!(true));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello()).await.expect(504);

    assert_eq!(slow.count(), 2);
    took(&answer, 90);
}
