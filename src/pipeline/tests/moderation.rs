//! What is judged before a chat provider sees it, by whom, and that nothing passes unjudged.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::subjects::moderation::*;
use super::bench::*;

/// The text that the only question was about.
#[track_caller]
fn asked_about(judge: &Upstream) -> String {
    judge.only().json()["input"].as_str().unwrap().to_owned()
}

/// Promises: `mod-clean`, `mod-model`.
#[tokio::test(start_paused = true)]
async fn a_clean_text_is_asked_about_once_and_answered() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!(answer.content(), "hi");
    let question = judge.only();
    assert_eq!((question.method.as_str(), question.path.as_str()), ("POST", "/v1/moderations"));
    assert_eq!(question.json(), json!({ "model": JUDGE_MODEL, "input": "hello" }));
    assert_eq!((question.key(), chat.only().key()), ("key-of-judge".to_owned(), "key-of-chat".to_owned()));
    assert!(question.at <= chat.only().at, "the verdict comes first");
}

/// Promises: `mod-flagged`.
#[tokio::test(start_paused = true)]
async fn a_flagged_text_reaches_no_chat_provider_and_is_a_400() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;

    let whole = gateway.chat(&says("something bad")).await.expect(400);
    let stream = gateway.chat(&says("bad again").with("/stream", json!(true))).await.expect(400);

    for answer in [whole, stream] {
        assert_eq!(answer.error()["code"], "content_policy_violation");
        assert_eq!(answer.error()["type"], "invalid_request_error");
        assert_eq!(
            answer.error()["message"],
            "Content did not pass the moral check, please modify and try again."
        );
    }
    assert_eq!((judge.count(), chat.count()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_clean_text_streams() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(answer.streamed() == "hi" && answer.is_done(), "{}", answer.text());
    assert_eq!(judge.only().json().get("stream"), None, "the question itself is no stream");
}

/// Promises: `mod-default-off`, `key-own-preferences`.
#[tokio::test(start_paused = true)]
async fn only_keys_that_ask_for_it_are_moderated() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let keys = json!([
        { "api": "sk-plain", "role": "admin" },
        { "api": "sk-off", "preferences": { "ENABLE_MODERATION": false } },
        { "api": "sk-on", "preferences": { "ENABLE_MODERATION": true } },
    ]);
    let config = config([channel("chat", &chat), judging("judge", &judge)]).with("/api_keys", keys);
    let gateway = Gateway::start(config).await;
    let ask = |key: &str| Ask::chat(&says("bad")).key(key);

    gateway.ask(&ask("sk-plain")).await.expect(200);
    gateway.ask(&ask("sk-off")).await.expect(200);
    assert_eq!(judge.count(), 0);
    gateway.ask(&ask("sk-on")).await.expect(400);

    assert_eq!((judge.count(), chat.count()), (1, 2));
}

/// Promises: `key-rule-moderation`, `mod-model`.
#[tokio::test(start_paused = true)]
async fn a_rule_of_the_key_names_the_channel_that_judges() {
    let (first, second, chat) = (judge().await, judge().await, healthy("hi").await);
    let rules = json!(["chat/*", format!("second/{JUDGE_MODEL}")]);
    let config = moderated([channel("chat", &chat), judging("first", &first), judging("second", &second)])
        .with("/api_keys/0/model", rules);
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!((first.count(), second.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_upstreams_own_name_of_the_model_is_sent() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let renamed = channel("judge", &judge).with("/model", json!([{ "moderator-2": JUDGE_MODEL }]));
    let gateway = Gateway::start(moderated([channel("chat", &chat), renamed])).await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(judge.only().model(), "moderator-2");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_judges_nothing_is_passed_on() {
    let chat = healthy("hi").await;
    let cases = [
        (Script::error(500, "down"), 502, "moderation_failed"),
        (Script::error(400, "the judge's own complaint"), 502, "moderation_failed"),
        (Script::error(401, "no such key"), 502, "moderation_failed"),
        (Script::error(429, "slow down").header("retry-after", "7"), 429, "moderation_failed"),
        (Script::json(&json!({ "object": "no verdict" })), 502, "moderation_failed"),
    ];
    for (script, status, code) in cases {
        let judge = Upstream::always(script).await;
        let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;

        let answer = gateway.chat(&hello()).await.expect(status);

        assert_eq!(answer.error()["code"], code, "{}", answer.text());
        assert_eq!(
            answer.header("retry-after").is_some(),
            status == 429,
            "{:?}",
            answer.header("retry-after")
        );
    }
    assert_eq!(chat.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_says_nothing_is_left_in_time() {
    let (silent, chat) = (Upstream::always(Script::hang()).await, healthy("hi").await);
    let config = moderated([channel("chat", &chat), judging("judge", &silent)])
        .with("/preferences/model_timeout", json!({ JUDGE_MODEL: 3, "default": 100 }));
    let gateway = Gateway::start(config).await;

    let answer = gateway.chat(&hello()).await.expect(504);

    assert_eq!(answer.error()["code"], "moderation_failed");
    assert_eq!(chat.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_text_since_the_last_answer_is_judged_and_nothing_before_it() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    let messages = json!([
        { "role": "system", "content": "an old system text" },
        { "role": "user", "content": "an old bad text" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"bad\":1}" } }] },
        { "role": "tool", "tool_call_id": "c1", "content": "a result" },
        { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "a part of a result" }] },
        { "role": "user", "content": [
            { "type": "text", "text": "one part" },
            { "type": "image_url", "image_url": { "url": "https://pictures.example/bad.png" } },
            { "type": "text", "text": "another \"part\"" }] },
    ]);

    gateway.chat(&hello().with("/messages", messages)).await.expect(200);

    assert_eq!(asked_about(&judge), "a result\na part of a result\none part\nanother \"part\"");
}

#[tokio::test(start_paused = true)]
async fn tool_results_hidden_parts_and_begun_answers_are_judged_too() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    let said =
        |message: Value| hello().with("/messages", json!([{ "role": "user", "content": "hello" }, message]));
    let hidden = [
        said(json!({ "role": "tool", "tool_call_id": "c", "content": "bad" })),
        said(
            json!({ "role": "user", "content": [{ "type": "text", "text": "good" }, { "type": "text", "text": "bad" }] }),
        ),
        said(json!({ "role": "assistant", "content": "Sure, here is how bad" })),
        said(json!({ "role": "developer", "content": "bad" })),
        hello().with("/messages/0/content", json!("b\u{61}d")),
        hello().with("/prompt", json!("bad")),
    ];
    for request in &hidden {
        let answer = gateway.chat(request).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.text());
    }
    let twice = r#"{"model":"m","messages":[{"role":"user","content":"good","content":"bad"}]}"#;
    gateway.ask(&Ask::raw(twice)).await.expect(400);

    assert_eq!((judge.count(), chat.count()), (hidden.len() + 1, 0));
}

#[tokio::test(start_paused = true)]
async fn names_and_descriptions_of_tools_are_judged_too() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    let tool = |name: &str, text: &str| json!([{ "type": "function", "function": { "name": name, "description": text, "parameters": {} } }]);

    for request in [
        hello().with("/messages/0/name", json!("bad")),
        hello().with("/tools", tool("bad", "good")),
        hello().with("/tools", tool("good", "bad")),
    ] {
        gateway.chat(&request).await.expect(400);
    }
    gateway.chat(&hello().with("/tools", tool("good", "good"))).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn the_history_is_judged_where_the_key_says_that_all_of_it_is() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let config = moderated([channel("chat", &chat), judging("judge", &judge)]);
    let history = json!([
        { "role": "user", "content": "bad" }, { "role": "assistant", "content": "no" },
        { "role": "user", "content": "good" },
    ]);
    let request = hello().with("/messages", history);
    let scope = "/api_keys/0/preferences/moderation_scope";

    let fresh = Gateway::start(&config).await;
    let all = Gateway::start(config.clone().with(scope, json!("all"))).await;

    fresh.chat(&request).await.expect(200);
    all.chat(&request).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_text_needs_no_verdict() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    let picture =
        json!([{ "type": "image_url", "image_url": { "url": "https://pictures.example/bad.png" } }]);

    gateway.chat(&says(picture)).await.expect(200);

    assert_eq!((judge.count(), chat.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_text_of_40000_characters_is_asked_about_in_two_calls_at_once() {
    let gate = Gate::new();
    let (held, chat) = (gate.clone(), healthy("hi").await);
    let judge = Upstream::start(move |seen| verdict(seen).gated(&held)).await;
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    let text = "word ".repeat(8_000);

    let client = gateway.client();
    let request = says(text.clone());
    let asking = tokio::spawn(async move { client.chat(&request).await });
    // Both are there while neither is answered.
    judge.wait_for(2).await;
    assert_eq!(chat.count(), 0);
    gate.open();
    gate.open();
    asking.await.unwrap().expect(200);

    let pieces: Vec<String> =
        judge.requests().iter().map(|seen| seen.json()["input"].as_str().unwrap().to_owned()).collect();
    assert_eq!(pieces.iter().map(String::len).sum::<usize>(), text.len());
    assert!(pieces.iter().all(|piece| piece.len() <= 32_000 && piece.ends_with(' ')));
}

#[tokio::test(start_paused = true)]
async fn a_flag_in_the_last_piece_of_a_very_long_text_counts() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    // Beyond a megabyte, bodies are read elsewhere.
    let text = "long ".repeat(250_000) + "bad";

    gateway.chat(&says(text)).await.expect(400);

    // The last few are under way together.
    assert!((37..=40).contains(&judge.count()), "{}", judge.count());
    assert_eq!(chat.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_moderated_request_counts_once_in_the_windows_of_its_key() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let config = moderated([channel("chat", &chat), judging("judge", &judge)])
        .with("/api_keys/0/preferences/rate_limit", json!("2/hour"));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello()).await.expect(429);

    assert_eq!((judge.count(), chat.count()), (2, 2), "a refused request is not judged");
}

#[tokio::test(start_paused = true)]
async fn a_nested_key_is_moderated_as_the_outer_one_says() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let keys = json!([
        { "api": "sk-inner", "role": "admin", "model": ["chat/*", "judge/*"] },
        { "api": "sk-outer", "model": ["sk-inner/*"], "preferences": { "ENABLE_MODERATION": true } },
    ]);
    let config = config([channel("chat", &chat), judging("judge", &judge)]).with("/api_keys", keys);
    let gateway = Gateway::start(config).await;

    gateway.ask(&Ask::chat(&says("bad")).key("sk-outer")).await.expect(400);
    gateway.ask(&Ask::chat(&hello()).key("sk-outer")).await.expect(200);
    gateway.ask(&Ask::chat(&says("bad")).key("sk-inner")).await.expect(200);

    assert_eq!((judge.count(), chat.count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_moderation_is_not_moderated_itself() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;

    let ask = Ask::post("/v1/moderations", &json!({ "model": JUDGE_MODEL, "input": "bad" }));
    let answer = gateway.ask(&ask).await.expect(200);

    assert_eq!(answer.json()["results"][0]["flagged"], true);
    assert_eq!(judge.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_of_another_format_does_not_end_the_search_for_a_judge() {
    let (other, judge, chat) = (healthy("x").await, judge().await, healthy("hi").await);
    let odd = anthropic_channel("odd", &other).with("/model", json!([JUDGE_MODEL]));
    let gateway = Gateway::start(moderated([channel("chat", &chat), odd, judging("judge", &judge)])).await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!((other.count(), judge.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn comments_follow_the_verdict_and_a_refusal_has_its_status() {
    let chat = healthy("hi").await;
    let judge = Upstream::start(|seen| verdict(seen).after(Duration::from_secs(30))).await;
    let config = moderated([channel("chat", &chat), judging("judge", &judge)])
        .with("/preferences/keepalive_interval", json!(5));
    let gateway = Gateway::start(config).await;

    gateway.chat(&says("bad").with("/stream", json!(true))).await.expect(400);
    gateway.chat(&hello_stream()).await.expect(200);
}

/// Promises: `mod-model-missing`, `mod-default-off`.
#[tokio::test(start_paused = true)]
async fn without_the_model_the_error_names_it_until_moderation_is_turned_off() {
    let chat = healthy("hi").await;
    let config = moderated([channel("chat", &chat)]);
    let gateway = Gateway::start(&config).await;

    let answer = gateway.chat(&hello()).await.expect(404);
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("No matching model found: omni-moderation-latest"), "{message}");
    assert!(message.contains("ENABLE_MODERATION"), "{message}");
    assert_eq!((answer.error()["code"].as_str(), chat.count()), (Some("model_not_found"), 0));

    gateway.reload(config.with("/api_keys/0/preferences/ENABLE_MODERATION", json!(false))).await;
    gateway.chat(&hello()).await.expect(200);
}
