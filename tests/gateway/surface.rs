//! The HTTP surface around the operations: credentials, browsers, ids, health, metrics.

use serde_json::json;

use crate::harness::*;

async fn ready() -> (Upstream, Gateway) {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    (upstream, gateway)
}

/// Promises: `api-bearer`.
#[tokio::test]
async fn a_key_is_accepted_in_each_of_its_five_forms() {
    let (_upstream, gateway) = ready().await;
    let bare = || Ask::chat(&hello()).without_key();

    for ask in [
        bare().header("authorization", &format!("Bearer {CLIENT}")),
        bare().header("authorization", &format!("bearer {CLIENT}")),
        bare().header("x-api-key", CLIENT),
        bare().header("x-goog-api-key", CLIENT),
        bare().header("api-key", CLIENT),
        Ask { path: format!("/v1/chat/completions?key={CLIENT}"), ..bare() },
        bare().header("authorization", "Bearer unknown").header("x-api-key", CLIENT),
    ] {
        let answer = gateway.ask(&ask).await;
        assert_eq!(answer.status, 200, "{ask:?}: {}", answer.text());
    }
    for path in ["/v1/models", &format!("/v1/models?key={CLIENT}")] {
        gateway.ask(&Ask::get(path)).await.expect(200);
    }
    let printed = gateway.printed();
    assert!(!printed.contains(CLIENT), "{printed}");
}

#[tokio::test]
async fn other_schemes_and_cookies_are_no_credentials() {
    let (_upstream, gateway) = ready().await;

    for (name, value) in [
        ("authorization", format!("Basic {CLIENT}")),
        ("authorization", "Bearer".to_owned()),
        ("authorization", format!("Bearer {CLIENT} x")),
        ("cookie", format!("key={CLIENT}")),
    ] {
        gateway.ask(&Ask::chat(&hello()).without_key().header(name, &value)).await.expect(401).error();
    }
}

/// Promises: `front-web`.
#[tokio::test]
async fn a_preflight_is_answered_without_a_key() {
    let (_upstream, gateway) = ready().await;
    let preflight = Ask::new("OPTIONS", "/v1/chat/completions", Vec::new())
        .without_key()
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type, x-stainless-os");

    let answer = gateway.ask(&preflight).await;

    assert!(matches!(answer.status, 200 | 204), "{}", answer.status);
    assert!(matches!(answer.header("access-control-allow-origin"), Some("*" | "https://app.example")));
    let methods = answer.header("access-control-allow-methods").unwrap();
    assert!(methods.contains("POST") && methods.contains("GET"), "{methods}");
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(
        headers.contains("authorization") && headers.contains("x-stainless-os") || headers == "*",
        "{headers}"
    );
}

/// Promises: `front-web`.
#[tokio::test]
async fn answers_and_refusals_can_be_read_by_a_page() {
    let (_upstream, gateway) = ready().await;
    let from_page = |ask: Ask| ask.header("origin", "https://app.example");

    for (ask, status) in [
        (from_page(Ask::chat(&hello())), 200),
        (from_page(Ask::chat(&hello_stream())), 200),
        (from_page(Ask::get("/v1/models")), 200),
        (from_page(Ask::get("/v1/models").without_key()), 401),
        (from_page(Ask::chat(&hello()).without_key()), 401),
        (from_page(Ask::chat(&hello_to("absent"))), 404),
        (from_page(Ask::raw("not json")), 400),
        (from_page(Ask::get("/nowhere")), 404),
        (from_page(Ask::get("/livez").without_key()), 200),
    ] {
        let answer = gateway.ask(&ask).await.expect(status);
        let allowed = answer.header("access-control-allow-origin");
        assert!(matches!(allowed, Some("*" | "https://app.example")), "{ask:?}: {allowed:?}");
    }
}

#[tokio::test]
async fn a_sensible_request_id_is_kept_and_else_one_is_made() {
    let (_upstream, gateway) = ready().await;

    let kept = gateway.ask(&Ask::chat(&hello()).header("x-request-id", "my-id-42")).await.expect(200);
    assert_eq!(kept.header("x-request-id"), Some("my-id-42"));

    let mut made = std::collections::HashSet::new();
    for ask in [
        Ask::chat(&hello()),
        Ask::chat(&hello_stream()),
        Ask::get("/v1/models"),
        Ask::get("/nowhere"),
        Ask::raw("not json"),
        Ask::chat(&hello()).without_key(),
        Ask::chat(&hello()).header("x-request-id", &"x".repeat(5000)),
        Ask::chat(&hello()).header("x-request-id", "bad id; \"quotes\""),
    ] {
        let answer = gateway.ask(&ask).await;
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no id: {ask:?}")).to_owned();
        assert!(!id.is_empty() && id.len() <= 200 && !id.contains('"'), "{id}");
        assert!(made.insert(id), "twice the same id");
    }
}

#[tokio::test]
async fn the_request_id_stands_in_the_line_of_the_request() {
    let (_upstream, gateway) = ready().await;

    gateway.ask(&Ask::chat(&hello()).header("x-request-id", "find-me-42")).await.expect(200);

    gateway
        .wait_for_line("the line of the request", |line| {
            line.contains("find-me-42") && line.contains("\"m\"")
        })
        .await;
}

/// Promises: `key-role-alias`.
#[tokio::test]
async fn the_line_of_a_request_names_the_alias_of_its_key_and_never_the_key() {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream)]).with("/api_keys/0/role", json!("team-blue"));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(200);

    let line = gateway.wait_for_line("the line of the request", |line| line.contains("team-blue")).await;
    assert!(!line.contains(CLIENT) && !line.contains("key-of-a"), "{line}");
}

/// Promises: `deploy-docker-logs`.
#[tokio::test]
async fn there_is_exactly_one_line_for_each_request() {
    let (_upstream, gateway) = ready().await;

    for n in 0..5 {
        gateway.ask(&Ask::chat(&hello()).header("x-request-id", &format!("only-{n}"))).await.expect(200);
    }

    gateway.wait_for_line("the last line", |line| line.contains("only-4")).await;
    for n in 0..5 {
        let lines = gateway.lines().iter().filter(|line| line.contains(&format!("only-{n}"))).count();
        assert_eq!(lines, 1, "{}", gateway.printed());
    }
}

#[tokio::test]
async fn a_stranger_s_request_leaves_one_line_by_which_the_key_is_known_again() {
    let (_upstream, gateway) = ready().await;
    let ask = Ask::chat(&hello()).key("sk-old-and-gone").header("x-request-id", "stranger-1");

    gateway.ask(&ask).await.expect(401);
    gateway.ask(&Ask::get("/v1/models?key=sk-old-and-gone").without_key()).await.expect(401);

    let line = gateway.wait_for_line("the stranger's line", |line| line.contains("stranger-1")).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["outcome"], &line["status"]), (&json!("unauthenticated"), &json!(401)));
    assert_eq!((&line["method"], &line["path"]), (&json!("POST"), &json!("/v1/chat/completions")));
    assert_eq!(line["client_ip"], "127.0.0.1");
    let key = line["key_id"].as_str().unwrap().to_owned();
    let second =
        gateway.wait_for_line("the other line", |line| line.contains("\"path\":\"/v1/models\"")).await;
    assert!(second.contains(&key) && !gateway.printed().contains("sk-old-and-gone"), "{second}");
}

#[tokio::test]
async fn health_needs_no_key() {
    let (_upstream, gateway) = ready().await;

    for path in ["/livez", "/readyz", "/startupz", "/healthz"] {
        let answer = gateway.ask(&Ask::get(path).without_key()).await.expect(200);
        assert_eq!(answer.json()["status"], "ok", "{path}");
        let head = Ask::new("HEAD", path, Vec::new()).without_key().header("connection", "close");
        let mut wire = gateway.client().connect().await;
        wire.send_head(&head).await;
        assert_eq!(wire.flow().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn readiness_does_not_depend_on_upstreams() {
    let gateway = Gateway::start(config([channel_at("dead", &refused_port().await)])).await;

    gateway.chat(&hello()).await.expect(503);
    gateway.ask(&Ask::get("/readyz").without_key()).await.expect(200);
}

#[tokio::test]
async fn metrics_stand_on_a_port_of_their_own() {
    let (_upstream, gateway) = ready().await;

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello_stream()).await.expect(200);
    gateway.chat(&hello_to("absent")).await.expect(404);

    let page = gateway.metrics().await;
    for series in [
        "uni_api_requests_total",
        "uni_api_attempts_total",
        "uni_api_overhead_seconds_bucket",
        "uni_api_build_info",
    ] {
        assert!(page.contains(series), "no {series} in {page}");
    }
    assert!(gateway.metric("uni_api_attempts_total").await >= 2.0);
    assert!(!page.contains("absent"), "a client's own text must not become a label: {page}");
}

#[tokio::test]
async fn metrics_on_the_main_port_are_for_administrators() {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream)]).with(
        "/api_keys",
        json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-user", "role": "my-admin-x" }]),
    );
    let gateway = Gateway::start(config).await;

    let page = gateway.ask(&Ask::get("/metrics")).await.expect(200).text();
    assert!(page.contains("uni_api_"), "{page}");
    gateway.ask(&Ask::get("/metrics").key("sk-user")).await.expect(403).error();
    gateway.ask(&Ask::get("/metrics").without_key()).await.expect(401).error();
    assert_eq!(gateway.metrics_client().ask(&Ask::get("/v1/models")).await.status, 404);
}

#[tokio::test]
async fn of_several_keys_none_is_an_administrator_unless_it_says_so() {
    let upstream = healthy("ok").await;
    let keys = json!([{ "api": CLIENT, "role": "first" }, { "api": "sk-second" }]);
    let gateway = Gateway::start(config([channel("a", &upstream)]).with("/api_keys", keys)).await;

    for key in [CLIENT, "sk-second"] {
        gateway.ask(&Ask::get("/metrics").key(key)).await.expect(403).error();
        let answer = gateway.ask(&Ask::chat(&hello()).key(key)).await.expect(200);
        assert_eq!(answer.header("x-uni-api-channel"), None);
    }
    let lone = Gateway::start(config([channel("a", &upstream)])).await;
    lone.ask(&Ask::get("/metrics")).await.expect(200);
}

#[tokio::test]
async fn the_time_that_the_gateway_adds_is_measured_apart_from_the_upstreams() {
    let upstream =
        Upstream::start(|seen| saying("slow")(seen).after(std::time::Duration::from_millis(300))).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    let own = gateway.metric("uni_api_overhead_seconds_sum").await;
    let whole = gateway.metric("uni_api_request_duration_seconds_sum").await;
    assert!(whole >= 0.3 && own < 0.1, "{own} of {whole}");
}

#[tokio::test]
async fn requests_and_connections_may_be_many_at_once() {
    let upstream =
        Upstream::start(|seen| saying("ok")(seen).after(std::time::Duration::from_millis(50))).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let mut tasks = tokio::task::JoinSet::new();

    for n in 0..200 {
        let (client, request) = (gateway.client(), if n % 2 == 0 { hello() } else { hello_stream() });
        tasks.spawn(async move { client.chat(&request).await });
    }
    for answer in tasks.join_all().await {
        let answer = answer.expect(200);
        assert!(answer.complete && answer.text().contains("ok"));
    }
    assert_eq!(upstream.count(), 200);
}

#[tokio::test]
async fn a_waiting_upload_does_not_hold_up_others() {
    let (_upstream, gateway) = ready().await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut wire = gateway.client().connect().await;
        wire.send_head(&Ask::chat(&hello()).header("content-length", "100000")).await;
        waiting.push(wire);
    }

    gateway.chat(&hello()).await.expect(200);
}

#[tokio::test]
async fn the_log_goes_where_it_is_told_and_a_place_that_cannot_be_opened_stops_the_start() {
    let upstream = healthy("ok").await;
    let setup = Setup::new(config([channel("a", &upstream)]));

    let (code, told) = setup.clone().env("LOG_FILE", "/nowhere/at/all").run().await;
    let gateway = setup.env("LOG_FILE", "stdout").start().await;
    gateway.chat(&hello()).await.expect(200);

    assert_eq!(code, 1, "{told}");
    assert!(told.contains("LOG_FILE"), "{told}");
    gateway.wait_for_line("the request's line", |line| line.contains("\"message\":\"request\"")).await;
}
