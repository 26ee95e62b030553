//! Channels of the Responses API, and of the model that translates behind it, for clients of chat completions.

use serde_json::{Value, json};

use super::bench::*;

/// A channel whose address ends as that of the Responses API.
fn responses(name: &str, upstream: &Upstream) -> Value {
    channel_at(name, &format!("{}/v1/responses", upstream.origin()))
}

fn response(output: Value) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 7, "model": "m-1", "status": "completed", "output": output,
        "usage": { "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 },
    })
}

fn message(text: &str) -> Value {
    json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] })
}

fn named(kind: &str, fields: Value) -> String {
    let mut value = fields;
    value["type"] = kind.into();
    format!("event: {kind}\n{}", event(&value))
}

fn delta(text: &str) -> String {
    named("response.output_text.delta", json!({ "output_index": 0, "content_index": 0, "delta": text }))
}

/// Promises: `dialect-base-url-responses`.
#[tokio::test(start_paused = true)]
async fn an_address_of_the_responses_api_serves_chat() {
    let upstream = Upstream::always(Script::json(&response(json!([message("ok")])))).await;
    let gateway = Gateway::start(config([responses("a", &upstream)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!((answer.content(), &answer.json()["usage"]["total_tokens"]), ("ok".to_owned(), &json!(5)));
    let seen = upstream.last();
    assert_eq!(
        (seen.path.as_str(), seen.json()["input"][0]["role"].as_str()),
        ("/v1/responses", Some("user"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_responses_is_a_stream_of_chunks_with_one_end() {
    let end = named("response.completed", json!({ "response": response(json!([message("Hello")])) }));
    let upstream = Upstream::always(Script::events([delta("Hel"), delta("lo"), end])).await;
    let gateway = Gateway::start(config([responses("a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((answer.streamed(), answer.is_done()), ("Hello".to_owned(), true));
    assert!(upstream.last().streams());
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_first_word_goes_to_the_next_channel_and_one_behind_it_is_told() {
    let error = json!({ "code": "server_error", "message": "broken" });
    let failed =
        json!({ "id": "resp_1", "object": "response", "status": "failed", "error": error, "output": [] });
    let failed = named("response.failed", json!({ "response": failed }));
    let early = Upstream::always(Script::events([failed.clone()])).await;
    let late = Upstream::always(Script::events([delta("Hel"), failed])).await;
    let gateway = Gateway::start(config([responses("a", &early), responses("b", &late)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((answer.streamed(), answer.is_done()), ("Hel".to_owned(), false));
    assert_eq!(answer.error_event()["message"], "broken");
}

#[tokio::test(start_paused = true)]
async fn what_responses_cannot_say_is_asked_of_another_channel() {
    let (first, second) = (healthy("never").await, healthy("ok").await);
    let gateway = Gateway::start(config([responses("a", &first), channel("b", &second)])).await;

    let answer = gateway.chat(&hello().with("/n", json!(2))).await.expect(200);

    assert_eq!((answer.channel(), first.count()), ("b", 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_conversation_lies_beside_the_responses() {
    let verdict = json!({ "id": "modr-1", "model": "m", "results": [{ "flagged": false }] });
    let upstream = Upstream::always(Script::json(&verdict)).await;
    let gateway = Gateway::start(config([responses("a", &upstream)])).await;

    let answer = gateway.ask(&Ask::post("/v1/moderations", &json!({ "model": "m", "input": "x" }))).await;

    assert_eq!((answer.expect(200).json(), upstream.last().path.as_str()), (verdict, "/v1/moderations"));
}

/// The body that reaches a model that translates, of a channel with these overrides.
async fn translated(overrides: Value, request: &Value) -> Value {
    let upstream = Upstream::always(Script::json(&response(json!([message("ok")])))).await;
    let channel = channel_at("a", &format!("{}/api/v3/responses", upstream.origin()))
        .with("/engine", json!("doubao"))
        .with("/preferences/post_body_parameter_overrides", overrides);
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(request).await.expect(200);

    assert_eq!(answer.content(), "ok");
    assert_eq!(upstream.last().path, "/api/v3/responses");
    upstream.last().json()
}

/// Promises: `dialect-doubao`, `over-translation-options`.
#[tokio::test(start_paused = true)]
async fn a_text_is_translated_into_the_language_that_the_channel_names() {
    let part = |options: Value| {
        let part = json!({ "type": "input_text", "text": "Hello", "translation_options": options });
        json!({ "model": "m", "input": [{ "role": "user", "content": [part] }] })
    };
    let request = hello().with("/messages", json!([{ "role": "user", "content": "Hello" }]));
    let options = |languages: Value| json!({ "m": { "translation_options": languages } });

    let to_english = translated(options(json!({ "target_language": "en" })), &request).await;
    let of_german =
        translated(options(json!({ "target_language": "en", "source_language": "de" })), &request).await;
    let other = translated(json!({ "other": 1 }), &request).await;
    let chosen = request.with("/target_language", json!("fr"));
    let chosen = translated(options(json!({ "target_language": "en" })), &chosen).await;

    assert_eq!(to_english, part(json!({ "target_language": "en" })));
    assert_eq!(of_german, part(json!({ "target_language": "en", "source_language": "de" })));
    assert_eq!(chosen, part(json!({ "target_language": "fr" })));
    assert_eq!(other, part(json!({ "target_language": "zh" })).with("/other", json!(1)));
}
