//! Requests that cannot be served get a clear error in OpenAI's shape, and the next one works.

use std::io::Write as _;

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

/// This body in a coding.
fn encoded(coding: &str, body: &[u8]) -> Ask {
    Ask::raw(body).header("content-encoding", coding)
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_in_a_coding_is_read_as_what_it_was_in_any_case_of_its_name() {
    let (upstream, gateway) = ready().await;
    let body = hello().to_string();
    let gzip = gzipped(body.as_bytes());
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(body.as_bytes()).unwrap();
    let zlib = zlib.finish().unwrap();

    for (coding, bytes) in [
        ("gzip", &gzip[..]),
        ("GZIP", &gzip[..]),
        ("x-gzip", &gzip[..]),
        ("deflate", &zlib[..]),
        ("identity", body.as_bytes()),
        ("", body.as_bytes()),
    ] {
        gateway.ask(&encoded(coding, bytes)).await.expect(200);
        assert_eq!(upstream.last().json()["messages"], hello()["messages"], "{coding}");
        assert_eq!(upstream.last().header("content-encoding"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_coding_is_415_and_a_corrupt_or_cut_one_is_400_that_says_so() {
    let (upstream, gateway) = ready().await;
    let gzip = gzipped(hello().to_string().as_bytes());

    let unknown = gateway.ask(&encoded("lzma", b"{}")).await.expect(415);
    assert_eq!(unknown.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
    for bytes in
        [&gzip[..gzip.len() / 2], &b"{\"model\":\"m\"}"[..], &b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xff\xff\xff"[..]]
    {
        let answer = gateway.ask(&encoded("gzip", bytes)).await.expect(400);
        assert!(
            answer.text().contains("gzip coding") && !answer.text().contains("JSON"),
            "{}",
            answer.text()
        );
    }
    unharmed(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_body_is_when_it_is_decoded_counts_against_the_limit() {
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)])).env("MAX_BODY_BYTES", "100KB").start().await;
    let long = hello().with("/messages/0/content", json!("x".repeat(200_000))).to_string();

    let answer = gateway.ask(&encoded("gzip", &gzipped(long.as_bytes()))).await.expect(413);

    assert_eq!(answer.error()["code"], "request_too_large");
    unharmed(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn a_path_beside_the_right_one_is_told_what_was_meant() {
    let (upstream, gateway) = ready().await;

    for path in
        ["/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/", "//v1/chat/completions"]
    {
        let answer = gateway.ask(&Ask::post(path, &hello())).await.expect(404);
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("did you mean /v1/chat/completions?"), "{message}");
        assert!(message.contains("http://gateway.test/v1"), "{message}");
    }
    let told = gateway.ask(&Ask::get("/v1/chat/completions")).await.expect(405);
    assert_eq!(told.header("allow"), Some("POST"));
    unharmed(&upstream, &gateway).await;
}

#[tokio::test(start_paused = true)]
async fn one_model_is_told_by_its_name_and_an_unknown_one_like_one_that_is_not_allowed() {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream).with("/model", json!(["m", "maker/model", "secret"]))])
        .with("/api_keys/0/model", json!(["m", "<maker/model>"]));
    let gateway = Gateway::start(config).await;

    for path in ["/v1/models/m", "/v1/models/maker/model", "/v1/models/maker%2Fmodel"] {
        let model = gateway.ask(&Ask::get(path)).await.expect(200).json();
        assert!(path.replace("%2F", "/").ends_with(model["id"].as_str().unwrap()), "{model}");
        assert_eq!(model["object"], "model");
    }
    let unknown = gateway.ask(&Ask::get("/v1/models/absent")).await.expect(404);
    let secret = gateway.ask(&Ask::get("/v1/models/secret")).await.expect(404);
    assert_eq!(unknown.error()["code"], "model_not_found");
    assert!(unknown.text().contains("GET /v1/models lists"), "{}", unknown.text());
    assert_eq!(secret.text().replace("secret", "absent"), unknown.text());
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_who_is_here_learns_a_name_and_nothing_of_this_installation() {
    let (_upstream, gateway) = ready().await;

    for path in ["/", "/api/hello", "/healthz", "/livez"] {
        for method in ["GET", "HEAD"] {
            let answer = gateway.ask(&Ask::new(method, path, Vec::new()).without_key()).await.expect(200);
            assert!(!answer.text().contains(env!("CARGO_PKG_VERSION")), "{path}");
        }
    }
    let page = gateway.ask(&Ask::get("/").without_key()).await.expect(200).text();
    assert!(page.contains("uni-api") && page.contains("/v1") && page.contains("README"), "{page}");
}
