//! Every request can tell where it would go, and why; asking changes nothing.

use serde_json::{Value, json};

use crate::harness::secrets::Secrets;
use crate::harness::subjects::explain::*;
use crate::harness::*;

#[tokio::test]
async fn keys_are_shown_by_fingerprint_as_usable_cooling_or_over_their_limit() {
    let a = Upstream::start(|seen| match seen.key().as_str() {
        "provider-key-1" => Script::error(401, "wrong key"),
        _ => saying("a")(seen),
    })
    .await;
    let keys = json!(["provider-key-1", "provider-key-2", "provider-key-3"]);
    let channel = channel("a", &a).with("/api", keys).with("/preferences/api_key_rate_limit", json!("1/min"));
    let gateway = Gateway::start(config([channel])).await;
    gateway.chat(&hello()).await.expect(200);

    let explanation = explained(&gateway, &json!({ "model": "m" })).await;

    let facts = &explanation["candidates"][0]["keys"];
    let counts = ["total", "usable", "cooling", "over_limit"].map(|name| facts[name].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 1, 1], "{facts}");
    assert_eq!(facts["list"][0]["standing"], "usable", "the key whose turn it is comes first: {facts}");
    let fingerprint = facts["list"][0]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()), "{fingerprint}");
    Secrets::new(["provider-key-"]).absent_from("the explanation", explanation.to_string().as_bytes());

    gateway.chat(&hello()).await.expect(200);
    let explanation = explained(&gateway, &json!({ "model": "m" })).await;
    assert_eq!(standings(&explanation), ["a no_key"]);
    assert_eq!(explanation["verdict"]["status"], 429);
    gateway.chat(&hello()).await.expect(429);
}

#[tokio::test]
async fn a_question_is_read_like_a_request_and_refused_in_its_shape() {
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)])).env("MAX_BODY_BYTES", "4MiB").start().await;
    let question = |mib: usize| {
        let request = hello().with("/messages/0/content", json!("x".repeat(mib << 20)));
        Ask::post("/v1/route/explain", &json!({ "request": request }))
    };

    let explanation = gateway.ask(&question(3)).await.expect(200).json();
    let refused = gateway.ask(&question(4)).await.expect(413);

    assert_eq!(explanation["request"]["input_tokens"], (3 << 20) / 4);
    assert_eq!(refused.error()["code"], "request_too_large");
    let length = (50 << 20).to_string();
    let mut wire = gateway.client().connect().await;
    wire.send_head(&Ask::new("POST", "/v1/route/explain", Vec::new()).header("content-length", &length))
        .await;
    wire.flow().await.rest().await.expect(413).error();
    let odd = json!({ "model": "m", "endpoint": "/v1/nowhere" });
    let answer = gateway.ask(&Ask::post("/v1/route/explain", &odd)).await.expect(400);
    assert_eq!(answer.error()["param"], "endpoint");
}

#[tokio::test]
async fn the_command_explains_a_fresh_process_without_calling_anybody() {
    let upstream = healthy("never").await;
    let config = with_user(
        config([
            channel("a", &upstream).with("/api", json!("provider-key-1")),
            channel("b", &upstream).with("/model", json!(["n"])),
        ]),
        json!(["b/*", "a/*"]),
        json!({ "rate_limit": "15/min" }),
    );

    let (code, printed) = run(&config, &["explain", "--key", USER, "--model", "m"]).await;

    assert_eq!(code, 0, "{printed}");
    for told in ["m for user: a is next", "just started", "--url", "15 per 1 min", "1/1"] {
        assert!(printed.contains(told), "{told:?} is missing:\n{printed}");
    }
    Secrets::new(["provider-key-1", USER]).absent_from("what is printed", printed.as_bytes());
    let (code, printed) = run(&config, &["explain", "--key", "user", "--model", "m", "--json"]).await;
    let explanation: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &explanation["fresh"]), (0, &json!(true)));
    assert_eq!(standings(&explanation), ["a chosen"]);
    assert_eq!(upstream.count(), 0);

    let (code, printed) = run(&config, &["explain", "--key", USER, "--model", "other"]).await;
    assert!(code == 1 && printed.contains("no channel has this model (404)"), "{code} {printed}");
    let (code, printed) = run(&config, &["explain", "--key", "sk-unknown", "--model", "m"]).await;
    assert!(code == 2 && !printed.contains("sk-unknown"), "{code} {printed}");
    let (code, printed) = run(&config, &["explain", "--key", USER]).await;
    assert!(
        code == 0 && printed.contains("user may use 2 models.") && printed.contains("RESTS"),
        "{printed}"
    );
    let (code, printed) = run(&config, &["keys"]).await;
    assert!(code == 0 && printed.contains("a        1    ") && printed.contains("user"), "{code} {printed}");
    Secrets::new(["provider-key-1", USER]).absent_from("the list of keys", printed.as_bytes());
    let broken = Setup::new(&config).file("body.json", "{\"model\": ");
    let arguments = ["explain", "--key", USER, "--body", "body.json"];
    let (code, printed) = arguments.iter().fold(broken, |setup, argument| setup.arg(argument)).run().await;
    assert!(code == 2 && printed.contains("the body is no JSON"), "{code} {printed}");
    let asking = ["explain", "--key", USER, "--model", "m", "--endpoint"];
    let (code, printed) = run(&config, &[&asking[..], &["/v1/moderations"]].concat()).await;
    assert!(code == 0 && printed.contains("a is next"), "{code} {printed}");
    let (code, _) = run(&config, &[&asking[..], &["/v1/nowhere"]].concat()).await;
    assert_eq!(code, 2);
}

#[tokio::test]
async fn the_command_asks_a_running_gateway_for_its_state_of_the_moment() {
    let (a, b) = (Upstream::always(Script::error(500, "ill")).await, healthy("b").await);
    let config = with_user(config([channel("a", &a), channel("b", &b)]), json!(["a/*", "b/*"]), json!({}));
    let gateway = Gateway::start(&config).await;
    gateway.chat(&hello()).await.expect(200);
    let url = gateway.base_url();
    let setup = || {
        let setup = Setup::empty().file("body.json", hello());
        ["explain", "--url", &url, "--body", "body.json"]
            .iter()
            .fold(setup, |setup, argument| setup.arg(argument))
    };

    let (code, printed) = setup().arg("--key").arg(CLIENT).run().await;

    assert_eq!(code, 0, "{printed}");
    for told in ["m for admin: b is next", "cooling", "a cools for", "about 1 input tokens"] {
        assert!(printed.contains(told), "{told:?} is missing:\n{printed}");
    }
    assert!(!printed.contains("just started"), "{printed}");
    let (code, printed) = setup().arg("--key").arg("user").arg("--admin-key").arg(CLIENT).run().await;
    assert!(code == 0 && printed.contains("m for user: b is next"), "{code} {printed}");
    let (code, printed) = setup().arg("--key").arg(USER).run().await;
    assert!(code == 2 && printed.contains("403") && printed.contains("add --admin-key"), "{code} {printed}");
    let setup = Setup::new(&config).arg("keys").arg("--url").arg(&url);
    let (code, printed) = setup.arg("--admin-key").arg(CLIENT).run().await;
    assert!(code == 0 && printed.contains("STATE") && printed.contains("usable"), "{code} {printed}");
    assert_eq!((a.count(), b.count()), (1, 1));
}

#[tokio::test]
async fn the_log_tells_each_candidate_at_its_debug_level_and_nothing_otherwise() {
    let (a, b) = (Upstream::always(Script::error(500, "ill")).await, healthy("b").await);
    let config = config([channel("a", &a), channel("b", &b)]);
    let told = |gateway: &Gateway| {
        let lines = gateway.lines().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let candidates = lines.filter(|line| gateway::field(line, "message") == Some(json!("Candidate.")));
        let word =
            |line: &Value, name: &str| gateway::field(line, name).unwrap().as_str().unwrap().to_owned();
        candidates
            .map(|line| {
                format!(
                    "{} {} {}",
                    word(&line, "request_id"),
                    word(&line, "channel"),
                    word(&line, "standing")
                )
            })
            .collect::<Vec<_>>()
    };
    let loud = Setup::new(&config).env("DEBUG", "true").start().await;
    let silent = Gateway::start(&config).await;

    for (gateway, id) in [(&loud, "one"), (&loud, "two"), (&silent, "three")] {
        gateway.ask(&Ask::chat(&hello()).header("x-request-id", id)).await.expect(200);
        gateway
            .wait_for_line("the request's line", |line| line.contains(id) && line.contains("\"status\""))
            .await;
    }

    assert_eq!(told(&loud), ["one a chosen", "one b standby", "two b chosen", "two a cooling"]);
    assert!(told(&silent).is_empty());
    assert_eq!(loud.count_messages("Attempt begins."), 3);
}
