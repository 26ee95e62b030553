//! Clients of Anthropic's messages: over channels of every format, in their own words, under all the rules that hold for
//! chat.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::subjects::google::gemini_said;
use super::bench::subjects::moderation::{judge, judging, moderated};
use super::bench::*;

const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

fn asked() -> Value {
    json!({ "model": "m", "max_tokens": 50, "messages": [{ "role": "user", "content": "hello" }] })
}

/// A request as Anthropic's SDKs send it.
fn messages(body: &Value) -> Ask {
    let ask = Ask::post("/v1/messages?beta=true", body).without_key().header("x-api-key", CLIENT);
    ask.header("anthropic-version", "2023-06-01")
}

fn streamed() -> Ask {
    messages(&asked().with("/stream", json!(true)))
}

fn count(body: &Value) -> Ask {
    Ask { path: "/v1/messages/count_tokens".into(), ..messages(body) }
}

/// The types of the events of a stream.
fn types(answer: &Answer) -> String {
    let events = answer.event_values();
    events.iter().map(|event| event["type"].as_str().unwrap_or("?")).collect::<Vec<_>>().join(" ")
}

/// An error as Anthropic's SDKs read it.
#[track_caller]
fn refused(answer: &Answer) -> (String, String) {
    let json = answer.json();
    assert_eq!(json["type"], "error", "{json}");
    let text = |name: &str| json["error"][name].as_str().unwrap().to_owned();
    (text("type"), text("message"))
}

fn claude_events(text: &str) -> Vec<String> {
    let named = |value: Value| format!("event: {}\n{}", value["type"].as_str().unwrap(), event(&value));
    let mut message = said_by_claude("");
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    [
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 3 } }),
        json!({ "type": "message_stop" }),
    ]
    .map(named)
    .into()
}

#[tokio::test(start_paused = true)]
async fn a_chat_channel_answers_in_blocks_and_its_usage_is_booked() {
    let upstream = healthy("hi").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let whole = gateway.ask(&messages(&asked())).await.expect(200).json();
    let stream = gateway.ask(&streamed()).await.expect(200);

    assert_eq!(
        (&whole["type"], &whole["model"], &whole["content"]),
        (&json!("message"), &json!("m"), &json!([{ "type": "text", "text": "hi" }]))
    );
    assert_eq!((&whole["stop_reason"], &whole["usage"]["input_tokens"]), (&json!("end_turn"), &json!(11)));
    assert_eq!(
        types(&stream),
        "message_start content_block_start content_block_delta content_block_stop message_delta message_stop"
    );
    let sent = upstream.requests()[0].json();
    assert_eq!((&sent["max_tokens"], &sent["messages"][0]["content"]), (&json!(50), &json!("hello")));
    assert_eq!(upstream.last().json()["stream_options"]["include_usage"], true);
    let records = gateway.records();
    assert_eq!(records[0].entry.endpoint.label, "POST /v1/messages");
    assert_eq!(records[0].entry.usage.map(|usage| (usage.input_total, usage.output_total)), Some((11, 7)));
}

#[tokio::test(start_paused = true)]
async fn an_anthropic_channel_is_sent_what_came_and_its_answer_passes_byte_for_byte() {
    let events = claude_events("hi").concat().into_bytes();
    let whole = br#"{ "type":"message", "id":"msg_1", "content":[{"type":"text","text":"hi"}], "odd": 1.50, "stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
    let answers = [Script::body(200, "application/json", whole.to_vec()), Script::events([events.clone()])];
    let upstream = Upstream::in_turn(answers.into()).await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;
    let ask = Ask {
        body: br#"{"model": "m",  "max_tokens":1, "unknown":{"a": 1.50}, "messages":[{"role":"user","content":"hello"}]}"#.to_vec(),
        ..messages(&asked()).header("anthropic-beta", "new-feature-2099-01-01").header("anthropic-x", "y")
    };

    let first = gateway.ask(&ask).await.expect(200);
    let second = gateway.ask(&streamed()).await.expect(200);

    assert_eq!(first.body, whole);
    assert_eq!(second.body, events);
    let seen = &upstream.requests()[0];
    assert_eq!(seen.body, ask.body);
    assert_eq!(
        (seen.header("anthropic-beta"), seen.header("anthropic-x")),
        (Some("new-feature-2099-01-01"), Some("y"))
    );
    assert_eq!((seen.key().as_str(), seen.path.as_str()), ("key-of-a", "/v1/messages"));
}

#[tokio::test(start_paused = true)]
async fn gemini_and_responses_answer_messages_clients_too() {
    let gemini = Upstream::always(Script::json(&gemini_said("from gemini"))).await;
    let output = json!([{ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "from responses" }] }]);
    let response = json!({ "id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": output });
    let responses = Upstream::always(Script::json(&response)).await;
    for (text, channel) in [
        ("from gemini", channel_at("a", &format!("{}/v1beta", gemini.origin()))),
        ("from responses", channel_at("a", &format!("{}/v1/responses", responses.origin()))),
    ] {
        let gateway = Gateway::start(config([channel])).await;

        let answer = gateway.ask(&messages(&asked())).await.expect(200).json();

        assert_eq!(answer["content"], json!([{ "type": "text", "text": text }]));
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_in_anthropic_s_shape_and_in_the_upstream_s_words() {
    let too_long = json!({ "type": "error", "error": {
        "type": "invalid_request_error", "message": "prompt is too long: 200001 tokens > 200000 maximum",
    }});
    let own = Upstream::always(Script::status(400, &too_long)).await;
    let chat = Upstream::always(Script::error(400, "messages: the last turn must not be the model's")).await;
    let busy = Upstream::always(Script::error(429, "slow down")).await;
    let config = config([
        anthropic_channel("a", &own).with("/model", json!(["own"])),
        channel("b", &chat).with("/model", json!(["chat"])),
        channel("c", &busy).with("/model", json!(["busy"])),
    ]);
    let gateway = Gateway::start(config).await;
    let ask = |model: &str| messages(&asked().with("/model", json!(model)));

    let told = gateway.ask(&ask("own")).await.expect(400);
    assert_eq!(told.json(), too_long);
    let (kind, message) = refused(&gateway.ask(&ask("chat")).await.expect(400));
    assert_eq!(kind, "invalid_request_error");
    assert_eq!(message, "messages: the last turn must not be the model's");
    assert_eq!(refused(&gateway.ask(&ask("busy")).await.expect(429)).0, "rate_limit_error");
    assert_eq!(refused(&gateway.ask(&ask("absent")).await.expect(404)).0, "not_found_error");
}

#[tokio::test(start_paused = true)]
async fn strangers_and_what_means_nothing_are_refused_in_anthropic_s_shape() {
    let upstream = healthy("never").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let stranger = Ask::post("/v1/messages", &asked()).without_key().header("x-api-key", "sk-wrong");
    let both = messages(&asked()).header("authorization", "Bearer something-else");

    assert_eq!(refused(&gateway.ask(&stranger).await.expect(401)).0, "authentication_error");
    let bad = gateway.ask(&messages(&asked().with("/messages", json!([])))).await.expect(400);
    let wanted =
        ("invalid_request_error".to_owned(), "messages: at least one message is required".to_owned());
    assert_eq!(refused(&bad), wanted);
    assert_eq!(upstream.count(), 0);
    gateway.ask(&both).await.expect(200);
    let get = Ask { method: "GET".into(), body: Vec::new(), ..messages(&asked()) };
    let answer = gateway.ask(&get).await.expect(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    refused(&answer);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_dies_within_an_answer_ends_it_with_an_error_and_nothing_else() {
    let upstream = Upstream::always(Script::events([role_event(), text_event("half")]).then_close()).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let answer = gateway.ask(&streamed()).await.expect(200);

    assert_eq!(types(&answer), "message_start content_block_start content_block_delta error");
    assert!(answer.text().contains("event: error\n"));
}

#[tokio::test(start_paused = true)]
async fn agents_are_pinged_while_they_wait_and_channels_change_without_any_setting() {
    let silent = Upstream::always(Script::hang()).await;
    let late = Upstream::always(Script::events(stream_of(&["late"])).after(Duration::from_secs(50))).await;
    let config =
        config([channel("a", &silent), channel("b", &late)]).with("/preferences/model_timeout", json!(200));
    let gateway = Gateway::start(config).await;

    let answer = gateway.ask(&streamed()).await.expect(200);

    // At 60, 120, 180 and 240 seconds.
    assert_eq!(answer.text().matches(PING).count(), 4, "{}", answer.text());
    assert!(answer.text().starts_with(PING));
    assert!(types(&answer).ends_with("message_delta message_stop"));
    assert_eq!((silent.count(), late.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn silences_within_a_stream_are_broken_for_agents_and_in_all_that_is_converted() {
    let pause = Duration::from_secs(40);
    let slow = |events: Vec<String>| {
        Script::events([events[..3].concat()]).then_pause(pause).then(events[3..].concat())
    };
    let chat = [role_event(), text_event("a"), text_event("b"), stop_event(), DONE.to_owned()].to_vec();
    let own = Upstream::always(slow(claude_events("hi"))).await;
    let other = Upstream::always(slow(chat)).await;
    let ping_count = |answer: &Answer, ping: &str| answer.text().matches(ping).count();

    let gateway = Gateway::start(config([anthropic_channel("a", &own)])).await;
    assert_eq!(ping_count(&gateway.ask(&streamed()).await.expect(200), PING), 2, "at 15 and 30 seconds");
    let converted = gateway.chat(&hello_stream()).await.expect(200);
    assert_eq!(ping_count(&converted, ": keepalive\n\n"), 2, "{}", converted.text());
    let gateway = Gateway::start(config([channel("b", &other)])).await;
    assert_eq!(ping_count(&gateway.ask(&streamed()).await.expect(200), PING), 2);
    let passed = gateway.chat(&hello_stream()).await.expect(200);
    assert_eq!(ping_count(&passed, ": keepalive\n\n"), 0, "what passes as it is gets nothing more");
}

#[tokio::test(start_paused = true)]
async fn a_ping_hides_no_silence_of_the_upstream() {
    let upstream = Upstream::always(Script::events(claude_events("hi")[..3].to_vec()).then_hang()).await;
    let config = config([anthropic_channel("a", &upstream)]).with("/preferences/model_timeout", json!(100));
    let gateway = Gateway::start(config).await;

    let answer = gateway.ask(&streamed()).await.expect(200);

    assert_eq!(answer.took.as_secs(), 100);
    assert!(types(&answer).ends_with("error"), "{}", answer.text());
}

// === counting ===

#[tokio::test(start_paused = true)]
async fn who_counts_is_asked_and_nobody_pays_for_it() {
    let upstream = Upstream::always(Script::json(&json!({ "input_tokens": 1114 }))).await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;

    let answer = gateway.ask(&count(&asked())).await.expect(200);

    assert_eq!(answer.json(), json!({ "input_tokens": 1114 }));
    assert_eq!(answer.header("x-uni-api-estimated"), None);
    assert_eq!(
        (upstream.only().path.as_str(), upstream.only().json()),
        ("/v1/messages/count_tokens", asked())
    );
    let record = &gateway.records()[0];
    assert_eq!(
        (record.cost, record.estimated, record.entry.endpoint.label),
        (0, false, "POST /v1/messages/count_tokens")
    );
}

#[tokio::test(start_paused = true)]
async fn where_nobody_counts_the_answer_is_a_guess_that_says_so() {
    let chat = healthy("never").await;
    let relay = Upstream::always(Script::status(404, &json!({ "error": { "message": "Not Found" } }))).await;
    for channel in [channel("a", &chat), anthropic_channel("b", &relay)] {
        let gateway = Gateway::start(config([channel])).await;

        let answer = gateway.ask(&count(&asked())).await.expect(200);

        assert_eq!(answer.header("x-uni-api-estimated"), Some("true"));
        assert_eq!(answer.json()["estimated"], true);
        assert!((3..20).contains(&answer.json()["input_tokens"].as_u64().unwrap()));
        assert_eq!(gateway.records()[0].cost, 0);
    }
    assert_eq!((chat.count(), relay.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn gemini_and_converse_count_for_messages_clients() {
    let gemini = Upstream::always(Script::json(&json!({ "totalTokens": 12 }))).await;
    let converse = Upstream::always(Script::json(&json!({ "inputTokens": 375 }))).await;
    let count_at = async |channel: Value| {
        let gateway = Gateway::start(config([channel])).await;
        let answer = gateway.ask(&count(&asked())).await.expect(200);
        (answer.json(), answer.header("x-uni-api-estimated").is_some())
    };

    let counted = count_at(channel_at("a", &format!("{}/v1beta", gemini.origin()))).await;
    assert_eq!(counted, (json!({ "input_tokens": 12 }), false));
    assert_eq!(gemini.only().path, "/v1beta/models/m:countTokens");
    let wrapped = &gemini.only().json()["generateContentRequest"];
    assert_eq!((&wrapped["model"], &wrapped["contents"][0]["role"]), (&json!("models/m"), &json!("user")));

    let channel = channel_at("b", &converse.origin()).with("/engine", json!("bedrock-converse"));
    assert_eq!(count_at(channel).await, (json!({ "input_tokens": 375 }), false));
    assert_eq!(converse.only().path, "/model/m/count-tokens");
    let sent = converse.only().json();
    let fields: Vec<&String> = sent["input"]["converse"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["messages"]);

    // Not every model of it is counted for.
    let error = json!({ "message": "The provided model doesn't support counting tokens." });
    let other = Upstream::always(Script::status(400, &error)).await;
    let channel = channel_at("c", &other.origin()).with("/engine", json!("bedrock-converse"));
    assert!(count_at(channel).await.1);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_busy_does_not_make_a_count_a_guess() {
    let upstream = Upstream::always(Script::error(429, "slow down")).await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;

    let answer = gateway.ask(&count(&asked())).await.expect(429);

    assert_eq!(refused(&answer).0, "rate_limit_error");
    let unreadable = Ask { body: b"{\"model\":\"m\"".to_vec(), ..count(&asked()) };
    gateway.ask(&unreadable).await.expect(400);
    gateway.ask(&count(&asked().with("/model", json!("absent")))).await.expect(404);
}

// === rules that hold for all ===

#[tokio::test(start_paused = true)]
async fn texts_of_messages_are_judged_before_anybody_sees_them() {
    let (judge, chat) = (judge().await, healthy("hi").await);
    let gateway = Gateway::start(moderated([channel("chat", &chat), judging("judge", &judge)])).await;
    let says = |text: &str| {
        let result = json!({ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": text }] });
        messages(&asked().with("/messages/0/content", json!([result])))
    };

    gateway.ask(&says("fine")).await.expect(200);
    let refusal = gateway.ask(&says("something bad")).await.expect(400);

    assert_eq!(refused(&refusal).0, "invalid_request_error");
    assert_eq!((judge.count(), chat.count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn overrides_limits_and_exclusions_hold_for_messages() {
    let upstream = healthy("hi").await;
    let overrides = json!({ "m": { "temperature": 0.25 } });
    let shut = channel("a", &upstream).with("/exclude_endpoints", json!("/v1/messages"));
    let open = channel("b", &upstream).with("/preferences/post_body_parameter_overrides", overrides);
    let limited = json!([{ "api": CLIENT, "role": "admin", "preferences": { "rate_limit": "2/min" } }]);
    let gateway = Gateway::start(config([shut, open]).with("/api_keys", limited)).await;

    let first = gateway.ask(&messages(&asked())).await.expect(200);
    gateway.ask(&count(&asked())).await.expect(200);
    let third = gateway.ask(&messages(&asked())).await.expect(429);

    assert_eq!(first.channel(), "b");
    assert_eq!(upstream.only().json()["temperature"], 0.25);
    assert_eq!(refused(&third).0, "rate_limit_error");
    assert!(third.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_an_agent_names_stays_with_who_served_it() {
    let (a, b) = (healthy("hi").await, healthy("hi").await);
    let config = config([channel("a", &a), channel("b", &b)])
        .with("/api_keys/0/preferences", json!({ "SCHEDULING_ALGORITHM": "round_robin" }));
    let gateway = Gateway::start(config).await;
    let ask = messages(&asked()).header("x-claude-code-session-id", "one");

    assert_eq!(gateway.sequence(4, &ask).await, "aaaa");
}

#[tokio::test(start_paused = true)]
async fn models_are_listed_in_anthropic_s_shape_for_its_clients() {
    let upstream = healthy("hi").await;
    let channel = channel("a", &upstream).with("/model", json!(["m", "org/n"]));
    let gateway = Gateway::start(config([channel])).await;
    let ask = |path: &str| Ask::get(path).header("anthropic-version", "2023-06-01");

    let list = gateway.ask(&ask("/v1/models?limit=1000")).await.expect(200).json();
    let one = gateway.ask(&ask("/v1/models/org/n")).await.expect(200).json();

    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["m", "org/n"]);
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!("m"), &json!("org/n"))
    );
    assert_eq!(
        (&one["type"], &one["id"], &one["display_name"]),
        (&json!("model"), &json!("org/n"), &json!("org/n"))
    );
    assert_eq!(gateway.ask(&Ask::get("/v1/models")).await.expect(200).json()["object"], "list");
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_who_is_here_is_greeted_without_a_key() {
    let gateway = Gateway::start(config([channel("a", &healthy("hi").await)])).await;

    for (method, path) in [("HEAD", "/"), ("GET", "/"), ("HEAD", "/api/hello"), ("GET", "/api/hello")] {
        gateway.ask(&Ask::new(method, path, Vec::new()).without_key()).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn claude_in_an_envelope_is_sent_the_client_s_own_words() {
    let upstream = Upstream::always(Script::json(&said_by_claude("hi"))).await;
    let channel = channel_at("a", &upstream.origin())
        .with("/engine", json!("bedrock-claude"))
        .with("/model", json!([{ "anthropic.claude-sonnet-4-5-v1:0": "m" }]));
    let gateway = Gateway::start(config([channel])).await;
    let ask = messages(&asked().with("/context_management", json!({ "edits": [] })))
        .header("anthropic-beta", "context-management-2025-06-27,unknown-2099-01-01");

    let answer = gateway.ask(&ask).await.expect(200);

    assert_eq!(answer.json(), said_by_claude("hi"));
    assert_eq!(
        upstream.only().json(),
        json!({
            "max_tokens": 50, "messages": asked()["messages"], "context_management": { "edits": [] },
            "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["context-management-2025-06-27"],
        })
    );
}
