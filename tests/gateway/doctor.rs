//! `uni-api doctor` tells which channels answer, and what stands in the way of the others.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::secrets::Secrets;
use crate::harness::*;

/// A list with the model `m`.
fn list() -> Script {
    Script::json(&json!({ "data": [{ "id": "m" }, { "id": "n" }] }))
}

/// Lists its models, and says something else to everything else.
fn listing(
    otherwise: impl Fn(&Seen) -> Script + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Script + Send + Sync {
    move |seen| if seen.path == "/v1/models" { list() } else { otherwise(seen) }
}

/// The line of a channel, its words.
fn line<'a>(printed: &'a str, channel: &str) -> Vec<&'a str> {
    let lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .into_iter()
        .find(|words| words.first() == Some(&channel))
        .unwrap_or_else(|| panic!("{channel}:\n{printed}"))
}

async fn doctor(config: &Value, arguments: &[&str]) -> (i32, String) {
    run(config, &[&["doctor"], arguments].concat()).await
}

#[tokio::test]
async fn every_key_is_asked_for_the_models_and_for_nothing_else() {
    let good = Upstream::start(listing(|_| Script::error(500, "not asked"))).await;
    let one_bad = Upstream::start(|seen| match seen.key().as_str() {
        "provider-key-2" => Script::error(401, "Incorrect API key provided: provider-key-2."),
        _ => list(),
    })
    .await;
    let keys = json!(["provider-key-1", "provider-key-2", "provider-key-3"]);
    let config = config([channel("good", &good), channel("one-bad", &one_bad).with("/api", keys)]);

    let (code, printed) = doctor(&config, &[]).await;

    assert_eq!(code, 1, "{printed}");
    let [good_line, bad_line] = ["good", "one-bad"].map(|name| line(&printed, name));
    assert_eq!((good_line[2], good_line[5], good_line[6]), ("ok", "1/1", "2"), "{printed}");
    assert_eq!((bad_line[2], bad_line[5]), ("failing", "2/3"), "{printed}");
    assert!(
        printed.contains("error: one-bad: key 2 (") && printed.contains("answered 401: Incorrect"),
        "{printed}"
    );
    assert!(printed.ends_with("api.yaml: 1 error (1 of 2 channels well)"), "{printed}");
    Secrets::new(["provider-key-", "key-of-"]).absent_from("the report", printed.as_bytes());
    let asked: Vec<_> =
        good.requests().into_iter().chain(one_bad.requests()).map(|seen| (seen.method, seen.path)).collect();
    assert_eq!(asked, vec![("GET".to_owned(), "/v1/models".to_owned()); 4]);

    let (code, printed) = doctor(&config, &["--channel", "good"]).await;
    assert!(code == 0 && printed.ends_with("api.yaml: ok (1 of 1 channel well)"), "{printed}");
}

#[tokio::test]
async fn a_silent_channel_is_told_after_its_time_and_a_refused_connection_with_its_cause() {
    let silent = Upstream::always(Script::hang()).await;
    let config = config([channel("silent", &silent), channel_at("refused", &refused_port().await)]);

    let (code, printed) = doctor(&config, &["--timeout", "1"]).await;

    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("error: silent: nothing came for 1 s"), "{printed}");
    assert!(
        printed.contains("error: refused: cannot be reached (") && printed.contains("refused"),
        "{printed}"
    );
}

#[tokio::test]
async fn eight_questions_are_open_at_once_and_no_more() {
    let gate = Gate::new();
    let wait = gate.clone();
    let upstream = Upstream::start(move |_| {
        let mut script = list();
        script.lead.push(Step::Wait(wait.clone()));
        script
    })
    .await;
    let channels: Vec<Value> = (0..12).map(|at| channel(&format!("c{at}"), &upstream)).collect();
    let running = tokio::spawn(async move { doctor(&config(channels), &["--timeout", "60"]).await });

    eventually("eight questions", PATIENCE, || (upstream.requests().len() >= 8).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(upstream.requests().len(), 8);

    (0..12).for_each(|_| gate.open());
    let (code, printed) = running.await.unwrap();
    assert!(code == 0 && upstream.requests().len() == 12, "{printed}");
}

#[tokio::test]
async fn certificates_are_judged_as_the_gateway_judges_them() {
    let (authority, upstream) = (Authority::new(), Upstream::start(listing(|_| list())).await);
    let front = authority.front(&upstream, "localhost").await;
    let channel = channel_at("tls", &format!("https://localhost:{}/v1/chat/completions", front.port()));
    let setup = || Setup::new(config([channel.clone()])).arg("doctor");

    let (code, printed) = setup().run().await;
    assert!(
        code == 1
            && printed.contains("error: tls: cannot be reached (tls: ")
            && printed.contains("UnknownIssuer"),
        "{printed}"
    );

    let trusting = setup().file("authority.pem", authority.pem());
    let file = trusting.folder().join("authority.pem").display().to_string();
    let (code, printed) = trusting.env("SSL_CERT_FILE", &file).run().await;
    assert!(code == 0 && line(&printed, "tls")[2] == "ok", "{printed}");

    let (_, printed) = setup().env("SSL_CERT_FILE", "/nowhere.pem").run().await;
    assert!(printed.contains("warning: certificates: SSL_CERT_FILE=/nowhere.pem"), "{printed}");
}

#[tokio::test]
async fn a_proxy_is_gone_through_and_named_without_its_password() {
    let upstream = Upstream::start(listing(|_| list())).await;
    let proxy = Proxy::start(Speaks::Connect, Some(("user", "open-sesame")), &[]).await;
    let by =
        |login: &str| config([channel("a", &upstream).with("/preferences/proxy", json!(proxy.url(login)))]);

    let (code, printed) = doctor(&by("user:open-sesame@"), &[]).await;
    assert!(code == 0 && printed.contains(" through http://127.0.0.1:"), "{printed}");
    let (code, refused) = doctor(&by("user:wrong-password@"), &[]).await;
    assert!(code == 1 && refused.contains("error: a: cannot be reached (proxy"), "{refused}");
    Secrets::new(["open-sesame", "wrong-password"])
        .absent_from("the reports", (printed + &refused).as_bytes());

    let unused = Setup::new(config([channel("a", &upstream)])).env("HTTPS_PROXY", "http://127.0.0.1:1");
    let (code, printed) = unused.arg("doctor").run().await;
    assert!(
        code == 0 && printed.contains("note: proxies: HTTPS_PROXY is in the environment and not used"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_an_error() {
    let upstream = Upstream::start(|_| list().header("date", "Sat, 01 Jan 2000 00:00:00 GMT")).await;

    let (code, printed) = doctor(&config([channel("a", &upstream)]), &[]).await;

    assert_eq!(code, 1, "{printed}");
    assert!(
        printed.contains("error: this machine's clock: it is ")
            && printed.contains("before that of 127.0.0.1"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_channel_without_a_list_is_reached_and_answers_a_question_only_where_it_may_cost_money() {
    let silent =
        |seen: &Seen| if seen.method == "GET" { Script::error(404, "no list") } else { saying("ok")(seen) };
    let (listless, broken) = (
        Upstream::start(silent).await,
        Upstream::start(listing(|_| Script::error(500, "out of order"))).await,
    );
    let azure = json!({ "provider": "azure", "engine": "azure", "base_url": listless.origin(), "api": "key-of-azure", "model": ["m"] });
    let config = config([channel("a", &listless), azure, channel("b", &broken)]);

    let (code, printed) = doctor(&config, &[]).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!((line(&printed, "a")[2], line(&printed, "azure")[2]), ("reached", "reached"), "{printed}");
    assert!(
        printed.contains("note: azure: it has no list of models") && printed.contains("--paid"),
        "{printed}"
    );
    assert!(listless.requests().iter().chain(&broken.requests()).all(|seen| seen.method == "GET"));

    let setup = Setup::new(&config).with_database().arg("doctor").arg("--paid");
    let folder = setup.folder().to_owned();
    let names = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
    let (code, printed) = {
        let keep = setup.clone();
        let ran = setup.run().await;
        assert_eq!(names(&folder), 1, "nothing is booked: api.yaml is all there is");
        drop(keep);
        ran
    };
    assert_eq!(code, 1, "{printed}");
    assert!(line(&printed, "a")[2] == "ok" && printed.contains("m in "), "{printed}");
    assert!(!printed.contains("no list of models"), "{printed}");
    assert!(printed.contains("error: b: m: ") && printed.contains("out of order"), "{printed}");
    let posts = |upstream: &Upstream| upstream.requests().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!((posts(&listless), posts(&broken)), (2, 1), "one question to each, and no second try");
}

#[tokio::test]
async fn models_that_are_not_on_a_list_are_told_and_other_formats_are_asked_as_they_are_served() {
    let upstream = Upstream::start(|seen| match (seen.path.as_str(), seen.header("x-api-key")) {
        ("/v1/models?limit=1000", Some("key-of-claude")) => Script::json(&json!({ "data": [{ "id": "claude-x" }], "has_more": false })),
        ("/v1/messages", Some("key-of-claude")) => Script::json(&json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": "ok" }], "usage": { "input_tokens": 1, "output_tokens": 1 },
        })),
        (path, _) => Script::error(404, path),
    })
    .await;
    let claude = anthropic_channel("claude", &upstream).with("/model", json!(["claude-x", "claude-y"]));

    let (code, printed) = doctor(&config([claude]), &["--paid"]).await;

    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("note: claude: not on its list of models: claude-y;"), "{printed}");
    assert!(printed.contains("claude-x in "), "{printed}");
}

#[tokio::test]
async fn without_something_to_look_at_it_is_exit_code_2_and_a_broken_file_is_1() {
    let (code, printed) = Setup::empty().arg("doctor").run().await;
    assert!(code == 2 && printed.contains("api.yaml"), "{printed}");
    let upstream = healthy("never").await;
    let (code, printed) = doctor(&config([channel("a", &upstream)]), &["--channel", "b"]).await;
    assert!(code == 2 && printed.contains("no channel is called \"b\""), "{printed}");
    let (code, printed) = doctor(&config([channel("a", &upstream)]), &["--url", "gateway"]).await;
    assert!(code == 2 && printed.contains("no URL"), "{printed}");
    let (code, printed) = run("providers: 1\napi_keys: 2\n", &["doctor"]).await;
    assert!(code == 1 && printed.contains("cannot be served"), "{printed}");
    assert!(upstream.requests().is_empty());
}

/// A configuration whose only channel is inside the program.
fn mock() -> Value {
    config([json!({ "provider": "mock", "engine": "mock", "model": ["m"] })])
}

#[tokio::test]
async fn a_running_gateway_is_asked_for_its_life_its_models_and_a_stream() {
    let gateway = Gateway::start(mock()).await;
    let url = format!("http://{}/v1/", gateway.address());

    let (code, printed) = doctor(&mock(), &["--url", &url]).await;
    assert_eq!(code, 0, "{printed}");
    for told in ["answers in ", "takes the key and lists its 1 models", "streams m: "] {
        assert!(printed.contains(told), "{told}:\n{printed}");
    }

    let (code, printed) = doctor(&mock(), &["--url", &url, "--key", "sk-of-nobody-0123456789"]).await;
    assert!(code == 1 && printed.contains("answered 401: it does not know the key"), "{printed}");
    assert!(!printed.contains("sk-of-nobody"), "{printed}");
}

/// Answers as a gateway does whose streams are this.
fn behind(stream: impl Fn() -> Script) -> impl Fn(&Seen) -> Script {
    move |seen| match seen.path.as_str() {
        "/livez" => Script::body(200, "text/plain", "ok"),
        "/v1/models" => Script::json(&json!({ "data": [{ "id": "m" }] })).header("x-request-id", "1"),
        _ => stream(),
    }
}

#[tokio::test]
async fn a_stream_that_is_collected_or_compressed_on_its_way_is_an_error() {
    let events = stream_of(&["one", "two", "three", "four"]).concat();
    let collected =
        Upstream::start(behind(move || Script::body(200, "text/event-stream", events.clone()))).await;
    let compressed = Upstream::start(behind(|| {
        let mut text = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut text, stream_of(&["one"]).concat().as_bytes()).unwrap();
        Script::body(200, "text/event-stream", text.finish().unwrap()).header("content-encoding", "gzip")
    }))
    .await;
    let moved =
        Upstream::start(|_| Script::body(301, "text/plain", "").header("location", "https://gateway.test/"))
            .await;

    for (upstream, told) in [
        (collected, "events arrive at once"),
        (compressed, "compresses it (gzip)"),
        (moved, "redirects to, https://gateway.test/"),
    ] {
        let (code, printed) = doctor(&mock(), &["--url", &upstream.origin()]).await;
        assert!(code == 1 && printed.contains(told), "{told}:\n{printed}");
    }
}
