//! Where requests go and which headers travel, in both directions.

use serde_json::json;

use crate::harness::*;

/// Promises: `cfg-base-url`, `dialect-base-url-chat`.
#[tokio::test]
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

#[tokio::test]
async fn the_upstream_gets_its_own_key_and_host_and_never_the_clients() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let ask = Ask::chat(&hello())
        .header("x-api-key", CLIENT)
        .header("x-goog-api-key", CLIENT)
        .header("api-key", CLIENT)
        .header("cookie", "session=abc")
        .header("proxy-authorization", "Basic eA==")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-custom", "client")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1");

    gateway.ask(&ask).await.expect(200);

    let seen = upstream.only();
    assert_eq!(seen.header("authorization"), Some("Bearer key-of-a"));
    assert_eq!(seen.header("host"), Some(upstream.address().to_string().as_str()));
    for name in [
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "proxy-authorization",
        "x-forwarded-for",
        "x-custom",
        "x-hop",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert!(!format!("{:?}", seen.headers).contains(CLIENT));
}

#[tokio::test]
async fn headers_of_the_dialect_travel_upstream() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.ask(&Ask::chat(&hello()).header("openai-beta", "assistants=v2")).await.expect(200);

    assert_eq!(upstream.only().header("openai-beta"), Some("assistants=v2"));
}

/// Promises: `cfg-headers`.
#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
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

#[tokio::test]
async fn a_redirect_of_an_upstream_is_not_followed() {
    let elsewhere = healthy("elsewhere").await;
    let moved = Script::body(302, "text/plain", "moved").header("location", &elsewhere.url());
    let upstream = Upstream::always(moved).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(502).error();

    assert_eq!(elsewhere.count(), 0, "the key must not travel to where an upstream points");
}

#[tokio::test]
async fn a_large_request_and_a_large_answer_pass() {
    let large = "y".repeat(8 << 20);
    let answer = said(&large);
    let upstream = Upstream::always(Script::json(&answer)).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let request = hello().with("/messages/0/content", json!("x".repeat(5 << 20)));

    let got = gateway.chat(&request).await.expect(200);

    assert!(got.body == answer.to_string().into_bytes());
    assert!(upstream.only().body == request.to_string().into_bytes());
}
