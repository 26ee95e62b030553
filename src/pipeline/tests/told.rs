//! What a night leaves behind: a line and a count for every request, and for what failed who was
//! asked, why it failed and what follows.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;
use tracing::Level;

use super::bench::subjects::keys::*;
use super::bench::*;

/// How many requests the metrics have counted.
fn counted(gateway: &Gateway) -> u64 {
    let text = gateway.metrics();
    let requests = text.lines().filter(|line| line.starts_with("uni_api_requests_total{"));
    requests.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Promises: `deploy-docker-logs`.
#[tokio::test(start_paused = true)]
async fn every_request_is_counted_once_whoever_refuses_it_and_health_never() {
    let upstream = healthy("ok").await;
    let config = config([channel("a", &upstream)])
        .with("/api_keys", json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-user", "role": "user" }]));
    let gateway = Setup::new(config).env("MAX_BODY_BYTES", "1000").start().await;
    let chat = || Ask::chat(&hello());
    let requests = [
        (200, chat()),
        (200, Ask::chat(&hello_stream())),
        (404, Ask::chat(&hello_to("absent"))),
        (401, chat().without_key()),
        (401, chat().key("sk-wrong")),
        (401, Ask::get("/v1/models").key("sk-wrong")),
        (401, Ask::get("/nowhere?key=sk-wrong").without_key()),
        (400, Ask::raw("not JSON")),
        (400, Ask::raw("{}")),
        (400, Ask::raw("")),
        (413, Ask::raw(vec![b' '; 1001])),
        (405, Ask::get("/v1/chat/completions")),
        (404, Ask::get("/v1/nothing")),
        (404, Ask::new("POST", "/", Vec::new())),
        (200, Ask::get("/v1/models")),
        (405, Ask::new("DELETE", "/v1/models", Vec::new())),
        (200, Ask::get("/metrics")),
        (403, Ask::get("/metrics").key("sk-user")),
        (403, Ask::post("/v1/route/explain", &json!({})).key("sk-user")),
        (400, Ask::post("/v1/route/explain", &json!([]))),
        (400, chat().header("host", "two words")),
    ];
    let mut before = 0;

    for (status, ask) in requests {
        gateway.ask(&ask).await.expect(status);
        assert_eq!(counted(&gateway), before + 1, "{ask:?}");
        before += 1;
    }

    for path in ["/livez", "/readyz", "/startupz", "/healthz"] {
        gateway.ask(&Ask::get(path).without_key()).await.expect(200);
    }
    assert_eq!(counted(&gateway), before);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_told_with_who_was_asked_why_it_failed_and_what_follows() {
    let ears = Ears::open(Level::INFO);
    let message = format!("overloaded {}", "x".repeat(500));
    let a = Upstream::always(Script::error(503, &message)).await;
    let url = format!("{}?secret=sk-query", a.url());
    let a = channel_at("a", &url).with("/model", json!([{ "real": "m" }]));
    let gateway = Gateway::start(config([a, channel("b", &healthy("b").await)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    let [line] = &ears.saying("Attempt failed.")[..] else { panic!("one line") };
    assert_eq!(line["level"], "WARN");
    assert_eq!(Some(line["request_id"].as_str().unwrap()), answer.header("x-request-id"));
    assert_eq!(
        (&line["channel"], &line["model"], &line["upstream_model"]),
        (&json!("a"), &json!("m"), &json!("real"))
    );
    assert_eq!((&line["outcome"], &line["upstream_status"]), (&json!("upstream_error"), &json!(503)));
    assert_eq!(line["url"].as_str(), url.split('?').next());
    assert_eq!(line["then"], "the channel cools for 300 s");
    let error = line["error"].as_str().unwrap();
    assert!(error.starts_with("overloaded x") && error.chars().count() == 200, "{error}");
    assert_eq!(line["provider_key_id"].as_str().unwrap().len(), 16);
    assert!(!line.to_string().contains("sk-query") && !line.to_string().contains("key-of-a"), "{line}");
    let record = &gateway.records()[0];
    let fault = record.entry.attempts[0].fault.as_ref().unwrap();
    assert_eq!(fault.status.map(|status| status.as_u16()), Some(503));
    assert!(record.entry.attempts[1].fault.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cools_is_told_by_what_stands_for_it_and_for_how_long() {
    let ears = Ears::open(Level::INFO);
    let upstream = Upstream::start(|seen| match seen.key().as_str() {
        "k1" => Script::error(429, "slow down").header("retry-after", "30"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let gateway = Gateway::start(config([three_keys(&upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    let [line] = &ears.saying("Attempt failed.")[..] else { panic!("one line") };
    assert_eq!(line["then"], "the key cools for 30 s");
    assert_eq!((&line["upstream_status"], &line["error"]), (&json!(429), &json!("slow down")));
    let key = gateway.records()[0].entry.attempts[0].key.as_ref().unwrap().as_str().to_owned();
    assert_eq!(line["provider_key_id"], json!(key));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_long_for_everybody_is_no_fault_of_an_upstream() {
    let ears = Ears::open(Level::INFO);
    let upstream = healthy("ok").await;
    let short = channel("a", &upstream).with("/preferences/api_key_rate_limit", json!("1/tpr"));
    let gateway = Gateway::start(config([short])).await;

    let answer = gateway.chat(&hello().with("/messages/0/content", json!("many words ".repeat(99)))).await;

    assert!((400..500).contains(&answer.status), "{}", answer.status);
    assert_eq!((upstream.count(), ears.saying("Attempt failed.").len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_cools_nothing_is_told_where_it_ends_the_request_and_not_where_another_serves() {
    for (other, told) in [(true, 0), (false, 1)] {
        let ears = Ears::open(Level::INFO);
        let a = Upstream::always(Script::error(418, "a teapot")).await;
        let b = channel("b", &healthy("b").await);
        let channels = [Some(channel("a", &a)), Some(b).filter(|_| other)];
        let gateway = Gateway::start(config(channels.into_iter().flatten())).await;

        gateway.chat(&hello()).await;

        let lines = ears.saying("Attempt failed.");
        assert_eq!(lines.len(), told, "{lines:?}");
        assert!(lines.iter().all(|line| line["then"] == "nothing cools"), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_is_told_as_it_is_returned() {
    let ears = Ears::open(Level::INFO);
    let a = Upstream::always(Script::error(400, "messages: too few")).await;
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &healthy("b").await)])).await;

    gateway.chat(&hello()).await.expect(400);

    let [line] = &ears.saying("Attempt failed.")[..] else { panic!("one line") };
    assert_eq!((&line["then"], &line["error"]), (&json!("nothing cools"), &json!("messages: too few")));
    let record = &gateway.records()[0];
    assert!(record.entry.reason.as_ref().unwrap().contains("messages: too few"), "{record:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_told_too_and_the_end_of_a_client_is_not() {
    let ears = Ears::open(Level::INFO);
    let words = stream_of(&["one"]);
    let broken = Script::events(words[..2].to_vec()).then_close();
    let whole = Script::events(words.clone());
    let a = Upstream::in_turn(vec![broken, whole]).await;
    let gateway = Gateway::start(config([channel("a", &a)])).await;

    gateway.chat(&hello_stream()).await;
    drop(gateway.client().open(&Ask::chat(&hello_stream())).await);

    let lines = ears.saying("Attempt failed");
    let [line] = &lines[..] else { panic!("one line: {lines:?}") };
    assert_eq!(line["message"], "Attempt failed within its answer.");
    assert_eq!((&line["channel"], &line["outcome"]), (&json!("a"), &json!("connection_broken")));
    assert_eq!((&line["url"], &line["then"]), (&json!(a.url()), &json!("nothing cools")));
    let record = &gateway.records()[0];
    assert_eq!((record.entry.outcome(), record.entry.status.as_u16()), ("connection_broken", 200));
}

#[tokio::test(start_paused = true)]
async fn of_attempts_that_fail_alike_one_a_second_is_told_and_then_how_many_more() {
    let ears = Ears::open(Level::INFO);
    let a = Upstream::always(Script::error(400, "no")).await;
    let gateway = Gateway::start(config([channel("a", &a)])).await;
    let client = gateway.client();

    for _ in 0..42 {
        client.clone().chat(&hello()).await.expect(400);
    }
    assert_eq!(ears.saying("Attempt failed.").len(), 1);
    sleep(Duration::from_secs(1)).await;
    client.clone().chat(&hello()).await.expect(400);
    client.clone().chat(&hello()).await.expect(400);
    sleep(Duration::from_secs(1)).await;
    gateway.tell_rest();
    gateway.tell_rest();

    let lines = ears.saying("Attempt failed.");
    assert_eq!((lines.len(), &lines[1]["and_more"]), (2, &json!(41)));
    let rest = ears.saying("1 more attempts failed alike.");
    assert_eq!(rest.len(), 1);
    assert_eq!((&rest[0]["channel"], &rest[0]["outcome"]), (&json!("a"), &json!("upstream_client_error")));
}

#[tokio::test(start_paused = true)]
async fn the_address_that_is_asked_and_a_redirect_are_told_to_who_debugs() {
    let ears = Ears::open(Level::DEBUG);
    let script =
        Script::error(301, "moved").header("location", "https://user:pw@other.test/v2/chat?key=sk-x");
    let a = Upstream::always(script).await;
    let gateway = Gateway::start(config([channel("a", &a)])).await;

    let answer = gateway.chat(&hello()).await;

    let begins = ears.saying("Attempt begins.");
    assert_eq!(begins[0]["url"], json!(a.url()));
    let [redirect] = &ears.saying("The upstream redirects")[..] else { panic!("one line") };
    assert_eq!(redirect["location"], "https://other.test/v2/chat");
    for line in [&begins[0], redirect] {
        assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"), "one name for the id");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_another_try_is_not_ours() {
    let a = Upstream::in_turn(vec![Script::error(503, "ill"), Script::json(&said("ok"))]).await;
    let gateway = Gateway::start(config([channel("a", &a)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert!(answer.took >= Duration::from_millis(150), "it paused");
    assert_eq!(gateway.records()[0].overhead(), Duration::ZERO);
}
