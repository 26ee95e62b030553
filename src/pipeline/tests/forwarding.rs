//! Where requests go and which headers travel, in both directions.

use serde_json::json;

use super::bench::*;

/// Promises: `cfg-base-url`, `dialect-base-url-chat`.
#[tokio::test(start_paused = true)]
async fn every_form_of_base_url_leads_to_the_chat_endpoint() {
    let upstream = healthy("ok").await;
    let forms = [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/models", "/v1/chat/completions"),
        ("/v1/embeddings", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/api/paas/v4/chat/completions", "/api/paas/v4/chat/completions"),
        ("/x/chat/completions?api-version=2024-05-01", "/x/chat/completions?api-version=2024-05-01"),
    ];
    let channels = forms.iter().enumerate().map(|(n, (form, _))| {
        channel_at(&format!("c{n}"), &format!("{}{form}", upstream.origin()))
            .with("/model", json!([format!("m{n}")]))
    });
    let gateway = Gateway::start(config(channels)).await;

    for (n, (form, path)) in forms.iter().enumerate() {
        gateway.chat(&hello_to(&format!("m{n}"))).await.expect(200);
        let seen = upstream.last();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", *path), "{form}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_dialect_travel_upstream() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.ask(&Ask::chat(&hello()).header("openai-beta", "assistants=v2")).await.expect(200);

    assert_eq!(upstream.only().header("openai-beta"), Some("assistants=v2"));
}

/// Promises: `cfg-headers`.
#[tokio::test(start_paused = true)]
async fn configured_headers_are_added_and_replace_others_of_their_name() {
    let upstream = healthy("ok").await;
    let channel = channel("a", &upstream).with(
        "/preferences/headers",
        json!({ "X-Custom-1": "one", "x-custom-2": "two", "authorization": "Token special", "User-Agent": "mine/1" }),
    );
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(&hello()).await.expect(200);

    let seen = upstream.only();
    assert_eq!((seen.header("x-custom-1"), seen.header("x-custom-2")), (Some("one"), Some("two")));
    assert_eq!(seen.header("user-agent"), Some("mine/1"));
    let authorizations: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "authorization").collect();
    assert_eq!(authorizations, [&("authorization".to_owned(), "Token special".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn named_client_headers_are_passed_through() {
    let upstream = healthy("ok").await;
    let channel = channel("a", &upstream)
        .with("/preferences/passthrough_request_headers", json!(["X-Tenant", "x-absent"]));
    let gateway = Gateway::start(config([channel])).await;

    gateway.ask(&Ask::chat(&hello()).header("x-tenant", "seven")).await.expect(200);

    assert_eq!(
        (upstream.only().header("x-tenant"), upstream.only().header("x-absent")),
        (Some("seven"), None)
    );
}

#[tokio::test(start_paused = true)]
async fn of_the_upstreams_headers_only_the_known_ones_reach_the_client() {
    let upstream = Upstream::start(|seen| {
        saying("ok")(seen)
            .header("openai-processing-ms", "12")
            .header("x-request-id", "req_upstream")
            .header("set-cookie", "tracking=1")
            .header("server", "cloudflare")
            .header("x-ratelimit-remaining-requests", "3")
            .header("cf-ray", "abc")
            .header("strict-transport-security", "max-age=1")
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    for request in [hello(), hello_stream()] {
        let answer = gateway.chat(&request).await.expect(200);

        assert_eq!(answer.header("openai-processing-ms"), Some("12"));
        assert_eq!(answer.header("x-upstream-request-id"), Some("req_upstream"));
        assert_ne!(answer.header("x-request-id"), Some("req_upstream"));
        for name in
            ["set-cookie", "server", "x-ratelimit-remaining-requests", "cf-ray", "strict-transport-security"]
        {
            assert_eq!(answer.header(name), None, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_openai_s_format_can_ask_anthropic_for_features_in_test() {
    let upstream = healthy("ok").await;
    let channel = anthropic_channel("a", &upstream)
        .with("/preferences/headers", json!({ "anthropic-beta": "files-api-2025-04-14" }));
    let gateway = Gateway::start(config([channel])).await;

    let ask = Ask::chat(&hello()).header("anthropic-beta", "context-1m-2025-08-07").header("cookie", "a=b");
    gateway.ask(&ask).await;

    let seen = upstream.last();
    assert_eq!(seen.header("anthropic-beta"), Some("context-1m-2025-08-07,files-api-2025-04-14"));
    assert_eq!((seen.header("anthropic-version"), seen.header("cookie")), (Some("2023-06-01"), None));
}
