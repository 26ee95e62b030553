//! Channels of Google's: tokens of accounts, regions, projects of keys.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bench::subjects::google::*;
use super::bench::*;

fn gemini(text: &str) -> Script {
    Script::json(&gemini_said(text))
}

/// A token endpoint's refusal of an account.
fn no_token() -> Script {
    let error = json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
    Script::status(400, &error)
}

/// A Google API's error.
fn google_error(code: u16, status: &str, message: &str) -> Script {
    Script::status(code, &json!({ "error": { "code": code, "message": message, "status": status } }))
}

/// The regions that requests were sent to, in order.
fn regions(upstream: &Upstream) -> Vec<String> {
    let region = |seen: &Seen| {
        let after = seen.path.split("/locations/").nth(1).unwrap_or_default();
        after.split('/').next().unwrap_or_default().to_owned()
    };
    upstream.requests().iter().map(region).collect()
}

/// Promises: `dialect-gemini`, `cfg-gemini-base-version`.
#[tokio::test(start_paused = true)]
async fn a_gemini_channel_is_asked_in_its_format_with_the_key_in_a_header() {
    for version in ["v1beta", "v1"] {
        let upstream = Upstream::always(gemini("Hi")).await;
        let gateway = Gateway::start(config([json!({
            "provider": "a", "engine": "gemini", "base_url": format!("{}/{version}", upstream.origin()),
            "api": "AIza-1", "model": [{ "gemini-2.5-flash": "m" }],
        })]))
        .await;

        let answer = gateway.chat(&hello()).await.expect(200);

        assert_eq!(answer.content(), "Hi");
        assert_eq!(answer.json()["usage"]["total_tokens"], 10);
        let asked = upstream.only();
        assert_eq!(asked.path, format!("/{version}/models/gemini-2.5-flash:generateContent"));
        assert_eq!((asked.header("x-goog-api-key"), asked.header("authorization")), (Some("AIza-1"), None));
        assert_eq!(asked.json()["contents"][0]["parts"][0]["text"], "hello");
        assert_eq!((asked.json().get("model"), asked.json().get("stream")), (None, None));
    }
}

/// Promises: `dialect-gemini`.
#[tokio::test(start_paused = true)]
async fn a_gemini_stream_is_asked_for_as_events() {
    let upstream = Upstream::always(Script::events([event(&gemini_said("Hi"))])).await;
    let base = format!("{}/v1beta", upstream.origin());
    let channel = json!({ "provider": "a", "base_url": base, "api": "k", "model": ["m"] });
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((answer.streamed().as_str(), answer.is_done()), ("Hi", true));
    assert_eq!(upstream.only().path, "/v1beta/models/m:streamGenerateContent?alt=sse");
}

/// Promises: `dialect-cf-gateway-gemini`.
#[tokio::test(start_paused = true)]
async fn a_gemini_channel_behind_cloudflare_s_gateway_is_asked_by_its_own_format_or_by_openai_s() {
    for (path, asked) in [
        ("/v1/A/G/google-ai-studio/v1", "/v1/A/G/google-ai-studio/v1/models/m:generateContent"),
        (
            "/v1/A/G/google-ai-studio/v1beta/openai/chat/completions",
            "/v1/A/G/google-ai-studio/v1beta/openai/chat/completions",
        ),
    ] {
        let upstream = Upstream::start(|seen| {
            if seen.path.contains("openai") { Script::json(&said("Hi")) } else { gemini("Hi") }
        })
        .await;
        let channel = channel_at("a", &format!("{}{path}", upstream.origin()))
            .with("/preferences/headers", json!({ "cf-aig-authorization": "Bearer gateway" }));
        let gateway = Gateway::start(config([channel])).await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "Hi");

        assert_eq!(upstream.only().path, asked);
        assert_eq!(upstream.only().header("cf-aig-authorization"), Some("Bearer gateway"));
    }
}

/// Promises: `cfg-client-email`, `cfg-project-id`, `dialect-vertex-gemini`.
#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_once_for_many_requests_and_stands_for_the_account() {
    let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
    let gateway = Gateway::start(config([vertex_channel("v", &upstream, &tokens)])).await;

    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let client = gateway.client();
        waiting.spawn(async move { client.chat(&hello()).await.expect(200).content() });
    }

    assert_eq!(waiting.join_all().await, vec!["Hi"; 20]);
    assert_eq!((tokens.count(), upstream.count()), (1, 20));
    let asked = upstream.last();
    assert_eq!(asked.header("authorization"), Some("Bearer token-1"));
    assert!(asked.path.starts_with("/v1/projects/p/locations/"), "{}", asked.path);
    assert!(
        asked.path.ends_with("/publishers/google/models/gemini-2.5-flash:generateContent"),
        "{}",
        asked.path
    );
    let form = String::from_utf8(tokens.only().body).unwrap();
    assert!(
        form.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey")
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_used_is_renewed_before_it_expires() {
    let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
    let gateway = Gateway::start(config([vertex_channel("v", &upstream, &tokens)])).await;

    gateway.chat(&hello()).await.expect(200);
    sleep(Duration::from_secs(3200)).await;
    gateway.chat(&hello()).await.expect(200);
    sleep(Duration::from_secs(200)).await;
    assert_eq!(tokens.count(), 2, "nobody asked, and it is renewed");
    gateway.chat(&hello()).await.expect(200);

    assert_eq!(upstream.keys(), ["token-1", "token-1", "token-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_upstream_refuses_is_replaced_once() {
    let upstream = Upstream::start(|seen| match seen.key().as_str() {
        "token-1" => google_error(401, "UNAUTHENTICATED", "expired"),
        _ => gemini("Hi"),
    })
    .await;
    let tokens = token_endpoint().await;
    let gateway = Gateway::start(config([vertex_channel("v", &upstream, &tokens)])).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "Hi");

    assert_eq!((upstream.keys(), tokens.count()), (vec!["token-1".to_owned(), "token-2".to_owned()], 2));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_gets_no_token_holds_nobody_up_and_is_back_when_it_gets_one() {
    let upstream = Upstream::always(gemini("account")).await;
    let tokens = Upstream::in_turn(vec![no_token(), no_token(), token("late")]).await;
    let other = healthy("other").await;
    let gateway =
        Gateway::start(config([vertex_channel("v", &upstream, &tokens), channel("b", &other)])).await;

    for _ in 0..5 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "other");
    }
    assert_eq!((tokens.count(), upstream.count()), (1, 0), "the endpoint is left alone");
    sleep(Duration::from_secs(5)).await;
    gateway.chat(&hello()).await.expect(200);
    sleep(Duration::from_secs(5)).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "account");
}

#[tokio::test(start_paused = true)]
async fn a_lone_account_s_refusal_is_told_in_the_endpoint_s_words() {
    let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, Upstream::always(no_token()).await);
    let gateway = Gateway::start(config([vertex_channel("v", &upstream, &tokens)])).await;

    let answer = gateway.chat(&hello()).await.expect(502);

    assert_eq!(answer.error()["code"], "no_token");
    assert!(answer.text().contains("invalid_grant: Invalid JWT Signature."), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn of_two_accounts_the_one_that_gets_a_token_serves() {
    let upstream = Upstream::always(gemini("Hi")).await;
    let tokens = Upstream::in_turn(vec![no_token(), token("good")]).await;
    let channel = vertex_channel("v", &upstream, &tokens)
        .with("/private_key", json!([private_key(), new_private_key()]))
        .with("/client_email", json!(["one@p.test", "two@q.test"]))
        .with("/project_id", json!(["p", "q"]))
        .with("/region", json!("global"));
    let gateway = Gateway::start(config([channel])).await;

    for _ in 0..4 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "Hi");
    }

    assert_eq!((tokens.count(), upstream.keys()), (2, vec!["good".to_owned(); 4]));
    assert!(upstream.requests().iter().all(|seen| seen.path.starts_with("/v1/projects/q/")));
}

/// Promises: `sched-vertex-regions`.
#[tokio::test(start_paused = true)]
async fn without_any_setting_the_requests_of_a_model_are_spread_over_its_regions() {
    let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
    let gateway = Gateway::start(config([vertex_channel("v", &upstream, &tokens)])).await;

    for _ in 0..28 {
        gateway.chat(&hello()).await.expect(200);
    }

    let mut regions = regions(&upstream);
    regions.sort_unstable();
    let once: Vec<String> = regions.iter().step_by(2).cloned().collect();
    assert_eq!(
        (once.len(), regions),
        (14, once.iter().flat_map(|region| [region.clone(), region.clone()]).collect())
    );
}

/// Promises: `sched-vertex-regions`.
#[tokio::test(start_paused = true)]
async fn a_region_that_is_full_down_or_without_the_model_gives_way_to_the_next() {
    for script in [
        google_error(429, "RESOURCE_EXHAUSTED", "Resource exhausted"),
        google_error(503, "UNAVAILABLE", "The service is unavailable"),
        google_error(404, "NOT_FOUND", "Publisher Model was not found"),
    ] {
        let full = script.clone();
        let upstream =
            Upstream::start(
                move |seen| if seen.path.contains("/east/") { full.clone() } else { gemini("Hi") },
            )
            .await;
        let (tokens, other) = (token_endpoint().await, healthy("other").await);
        let vertex = vertex_channel("v", &upstream, &tokens).with("/region", json!(["east", "west"]));
        let gateway = Gateway::start(config([vertex, channel("b", &other)])).await;

        for _ in 0..3 {
            assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "Hi", "{script:?}");
        }

        assert_eq!(regions(&upstream), ["east", "west", "west", "west"], "{script:?}");
        assert_eq!(other.count(), 0);
    }
}

/// Promises: `sched-vertex-multiplied`.
#[tokio::test(start_paused = true)]
async fn every_account_is_used_in_every_region_and_each_pair_has_its_own_limit() {
    let upstream = Upstream::start(|seen| {
        let is_full = seen.path.contains("/projects/p/locations/east/");
        if is_full { google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded") } else { gemini("Hi") }
    })
    .await;
    let tokens = token_endpoint().await;
    let channel = vertex_channel("v", &upstream, &tokens)
        .with("/private_key", json!([private_key(), new_private_key()]))
        .with("/client_email", json!(["one@p.test", "two@q.test"]))
        .with("/project_id", json!(["p", "q"]))
        .with("/region", json!(["east", "west"]));
    let gateway = Gateway::start(config([channel])).await;

    for _ in 0..4 {
        gateway.chat(&hello()).await.expect(200);
    }

    let pair = |seen: &Seen| {
        let mut parts = seen.path.split('/');
        let mut after = |word| parts.by_ref().skip_while(|part| *part != word).nth(1).unwrap().to_owned();
        after("projects") + "@" + &after("locations")
    };
    let pairs: Vec<String> = upstream.requests().iter().map(pair).collect();
    assert_eq!(pairs, ["p@east", "q@east", "p@west", "p@east", "q@east", "q@west"]);
}

#[tokio::test(start_paused = true)]
async fn one_region_that_is_written_is_the_only_one() {
    for region in [json!("us-east5"), json!(["us-east5"])] {
        let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
        let vertex = vertex_channel("v", &upstream, &tokens).with("/region", region);
        let gateway = Gateway::start(config([vertex])).await;

        for _ in 0..3 {
            gateway.chat(&hello()).await.expect(200);
        }

        assert_eq!(regions(&upstream), ["us-east5"; 3]);
    }
}

/// Promises: `dialect-cf-gateway-vertex`, `cfg-base-url-implied`.
#[tokio::test(start_paused = true)]
async fn vertex_behind_cloudflare_s_gateway_keeps_what_leads_there() {
    let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
    let vertex = vertex_channel("v", &upstream, &tokens)
        .with("/base_url", json!(format!("{}/v1/A/G/google-vertex-ai", upstream.origin())))
        .with("/region", json!("global"))
        .with("/preferences/headers", json!({ "cf-aig-authorization": "Bearer gateway" }));
    let gateway = Gateway::start(config([vertex])).await;

    gateway.chat(&hello()).await.expect(200);

    let asked = upstream.only();
    assert_eq!(
        asked.path,
        "/v1/A/G/google-vertex-ai/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:generateContent"
    );
    assert_eq!(asked.header("cf-aig-authorization"), Some("Bearer gateway"));
}

/// Promises: `dialect-vertex-claude`.
#[tokio::test(start_paused = true)]
async fn claude_on_vertex_has_model_and_mode_in_the_path_and_its_version_in_the_body() {
    let upstream = Upstream::always(Script::json(&said_by_claude("Hi"))).await;
    let tokens = token_endpoint().await;
    let vertex = vertex_channel("v", &upstream, &tokens)
        .with("/model", json!([{ "claude-sonnet-4-5-20250929": "m" }]))
        .with("/region", json!("us-east5"));
    let gateway = Gateway::start(config([vertex])).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "Hi");

    let asked = upstream.only();
    let path =
        "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict";
    assert_eq!(asked.path, path);
    let body = asked.json();
    assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
    assert_eq!((body.get("model"), body["messages"][0]["role"].as_str()), (None, Some("user")));
    assert_eq!((asked.header("x-api-key"), asked.header("authorization")), (None, Some("Bearer token-1")));
}

/// Promises: `dialect-vertex-express`, `cfg-vertex-express-lists`.
#[tokio::test(start_paused = true)]
async fn an_express_key_is_asked_for_with_its_own_project_where_google_wants_one() {
    let upstream =
        Upstream::start(|seen| match (seen.header("x-goog-api-key"), seen.path.contains("/projects/")) {
            (Some("AQ.2"), false) => {
                google_error(401, "UNAUTHENTICATED", "API keys are not supported by this API.")
            }
            _ => gemini("Hi"),
        })
        .await;
    let gateway = Gateway::start(config([json!({
        "provider": "vertex-express", "engine": "vertex-express", "base_url": upstream.origin(),
        "project_id": ["p1", "p2"], "api": ["AQ.1", "AQ.2"], "model": ["m"],
    })]))
    .await;

    for _ in 0..4 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "Hi");
    }

    let asked: Vec<(String, String)> = upstream
        .requests()
        .iter()
        .map(|seen| {
            let key = seen.header("x-goog-api-key").unwrap().to_owned();
            (key, seen.path.replace("/publishers/google/models/m:generateContent", ""))
        })
        .collect();
    let one = |key: &str, path: &str| (key.to_owned(), path.to_owned());
    let (plain, named) = ("/v1", "/v1/projects/p2/locations/global");
    assert_eq!(
        asked,
        [one("AQ.1", plain), one("AQ.2", plain), one("AQ.2", named), one("AQ.1", plain), one("AQ.2", named)]
    );
    assert!(upstream.requests().iter().all(|seen| seen.header("authorization").is_none()));
}

/// Promises: `over-nested`, `over-google-search`.
#[tokio::test(start_paused = true)]
async fn overrides_reach_google_in_its_own_words() {
    let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
    let thinking = json!({ "thinkingConfig": { "includeThoughts": true, "thinkingBudget": 24576 } });
    let vertex = vertex_channel("v", &upstream, &tokens).with(
        "/preferences/post_body_parameter_overrides",
        json!({ "m": {
            "generationConfig": thinking, "tools": [{ "google_search": {} }, { "url_context": {} }],
        } }),
    );
    let gateway = Gateway::start(config([vertex])).await;

    gateway.chat(&hello().with("/temperature", json!(0.5))).await.expect(200);

    let body: Value = upstream.only().json();
    assert_eq!(body["generationConfig"]["thinkingConfig"], thinking["thinkingConfig"]);
    assert_eq!(body["generationConfig"]["temperature"], 0.5, "what the client said beside it stays");
    assert_eq!(body["tools"], json!([{ "google_search": {} }, { "url_context": {} }]));
}

/// Promises: `cfg-private-key`.
#[tokio::test(start_paused = true)]
async fn a_key_file_may_stand_whole_in_place_of_its_key() {
    let file = |tokens: &Upstream| {
        json!({
            "type": "service_account", "project_id": "file-project", "private_key_id": "k1",
            "private_key": private_key(), "client_email": "me@file-project.test",
            "token_uri": format!("{}/token", tokens.origin()),
        })
    };
    for as_text in [true, false] {
        let (upstream, tokens) = (Upstream::always(gemini("Hi")).await, token_endpoint().await);
        let file = file(&tokens);
        let channel = json!({
            "provider": "v", "base_url": format!("{}/aiplatform.googleapis.com", upstream.origin()),
            "private_key": if as_text { Value::from(file.to_string()) } else { file },
            "model": [{ "gemini-2.5-flash": "m" }],
        });
        let gateway = Gateway::start(config([channel])).await;

        gateway.chat(&hello()).await.expect(200);

        assert!(upstream.only().path.contains("/projects/file-project/locations/"), "{as_text}");
        assert_eq!(tokens.count(), 1);
    }
}
