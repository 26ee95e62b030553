//! Requests that cannot be served get a clear error in OpenAI's shape, and the next one works.

use serde_json::json;

use super::bench::subjects::bad_input::*;
use super::bench::*;

#[tokio::test(start_paused = true)]
async fn a_beginning_of_a_key_is_not_the_key() {
    let (upstream, gateway) = ready().await;

    for key in [&CLIENT[..CLIENT.len() - 1], &format!("{CLIENT}x"), &CLIENT.to_uppercase(), ""] {
        gateway.ask(&Ask::chat(&hello()).key(key)).await.expect(401);
    }
    unharmed(&upstream, &gateway).await;
}

/// Promises: `key-own-models`.
#[tokio::test(start_paused = true)]
async fn an_unknown_model_is_not_found() {
    let (upstream, gateway) = ready().await;

    let answer = gateway.chat(&hello_to("absent")).await.expect(404);

    let error = answer.error();
    assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
    assert!(
        error["message"].as_str().unwrap().contains("No available providers at the moment: absent"),
        "{error}"
    );
    unharmed(&upstream, &gateway).await;
}

/// Promises: `key-own-models`.
#[tokio::test(start_paused = true)]
async fn a_forbidden_model_looks_exactly_like_an_unknown_one() {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream).with("/model", json!(["m", "secret-model"]))])
        .with("/api_keys/0/model", json!(["m"]));
    let gateway = Gateway::start(config).await;

    let forbidden = gateway.chat(&hello_to("secret-model")).await.expect(404);
    let unknown = gateway.chat(&hello_to("absent-models")).await.expect(404);

    let disguised = forbidden.text().replace("secret-model", "absent-models");
    assert_eq!(disguised, unknown.text());
    unharmed(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn a_model_with_a_star_is_an_unknown_model() {
    let (upstream, gateway) = ready().await;

    gateway.chat(&hello_to("m*")).await.expect(404);
    gateway.chat(&hello_to("*")).await.expect(404);
    gateway.chat(&hello_to("all")).await.expect(404);
    unharmed(&upstream, &gateway).await;
}

async fn refused_body(body: impl Into<Vec<u8>>) -> Answer {
    let (upstream, gateway) = ready().await;

    let answer = gateway.ask(&Ask::raw(body)).await.expect(400);

    assert_eq!(answer.error()["type"], "invalid_request_error");
    unharmed(&upstream, &gateway).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_json_is_refused() {
    refused_body("hello").await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_utf_8_is_refused() {
    refused_body(*b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}").await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_refused() {
    refused_body("").await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_in_the_middle_of_its_json_is_refused() {
    refused_body(r#"{"model":"m","messages":[{"role":"us"#).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_with_something_behind_its_json_is_refused() {
    refused_body(r#"{"model":"m","messages":[]} {"model":"n"}"#).await;
}

#[tokio::test(start_paused = true)]
async fn a_json_body_that_is_not_an_object_is_refused() {
    for body in ["[1]", "\"m\"", "7", "null", "true"] {
        refused_body(body).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_model_is_refused_by_name() {
    assert_eq!(refused_body(r#"{"messages":[]}"#).await.error()["param"], "model");
}

#[tokio::test(start_paused = true)]
async fn a_body_with_two_models_is_refused_by_name() {
    let answer = refused_body(r#"{"model":"m","messages":[],"model":"n"}"#).await;
    assert_eq!(answer.error()["param"], "model");
    refused_body(r#"{"model":"m","messages":[],"m\u006fdel":"n"}"#).await;
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_a_string_is_refused_by_name() {
    for body in [r#"{"model":7,"messages":[]}"#, r#"{"model":null,"messages":[]}"#, r#"{"model":["m"]}"#] {
        assert_eq!(refused_body(body).await.error()["param"], "model");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_field_that_is_not_a_flag_is_refused_by_name() {
    let answer = refused_body(r#"{"model":"m","messages":[],"stream":"yes"}"#).await;
    assert_eq!(answer.error()["param"], "stream");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_path_is_not_found_in_openai_shape() {
    let (upstream, gateway) = ready().await;

    let answer = gateway.ask(&Ask::post("/v1/nothing", &hello())).await.expect(404);

    answer.error();
    unharmed(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_method_is_not_allowed() {
    let (upstream, gateway) = ready().await;

    gateway.ask(&Ask::get("/v1/chat/completions")).await.expect(405).error();
    gateway.ask(&Ask::post("/v1/models", &json!({}))).await.expect(405).error();
    unharmed(&upstream, &gateway).await;
}
