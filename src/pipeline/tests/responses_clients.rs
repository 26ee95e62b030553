//! Clients of `/v1/responses`: over upstreams of their own dialect, whose bytes pass, and over others.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::*;

/// Two client keys beside the administrator's.
const ALICE: &str = "sk-alice-0123456789";
const BOB: &str = "sk-bob-0123456789ab";

fn native(name: &str, upstream: &Upstream) -> Value {
    channel_at(name, &format!("{}/v1/responses", upstream.origin()))
}

/// A configuration in which both may use these channels.
fn shared(channels: impl IntoIterator<Item = Value>) -> Value {
    let keys = [CLIENT, ALICE, BOB].map(|key| json!({ "api": key }));
    config(channels).with("/api_keys", json!(keys)).with("/api_keys/0/role", json!("admin"))
}

fn asks(input: &Value) -> Value {
    json!({ "model": "m", "input": input })
}

fn create(body: &Value) -> Ask {
    Ask::post("/v1/responses", body)
}

fn delete(id: &str) -> Ask {
    Ask::new("DELETE", &format!("/v1/responses/{id}"), Vec::new())
}

fn read(id: &str) -> Ask {
    Ask::get(&format!("/v1/responses/{id}"))
}

fn response(id: &str, text: &str) -> Value {
    json!({
        "id": id, "object": "response", "created_at": 7, "model": "m-1", "status": "completed", "error": null,
        "output": [{
            "id": format!("msg_of_{id}"), "type": "message", "status": "completed", "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }],
        "usage": { "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 },
    })
}

fn named(kind: &str, number: u64, mut fields: Value) -> String {
    fields["type"] = kind.into();
    fields["sequence_number"] = number.into();
    format!("event: {kind}\ndata: {fields}\n\n")
}

/// The text that a whole answer says.
fn text_of(answer: &Value) -> String {
    let items = answer["output"].as_array().expect("an output");
    let parts = items.iter().filter_map(|item| item["content"].as_array()).flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

/// The names of the events of a stream, whose numbers run on from 0.
#[track_caller]
fn names(answer: &Answer) -> Vec<String> {
    let events = answer.event_values();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], json!(number), "{event}");
    }
    events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
}

/// An upstream that keeps what it answers, under names that it counts.
async fn keeping() -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |seen| match seen.method.as_str() {
        "POST" if seen.path.ends_with("/responses") => {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Script::json(&response(&format!("resp_{number}"), "hi"))
        }
        "DELETE" => Script::json(&json!({ "id": "resp_0", "object": "response", "deleted": true })),
        _ => Script::json(&response("resp_0", "hi")),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn between_equal_dialects_request_and_answer_pass_byte_by_byte() {
    let answer = format!("{:#}", response("resp_1", "hi"));
    let upstream = Upstream::always(Script::body(200, "application/json", answer.clone())).await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;
    let body =
        r#"{ "model" : "m", "input":[{"role":"user","content":"h\u00e9"}],"x":12345678901234567890123 }"#;

    let got = gateway.ask(&Ask::new("POST", "/v1/responses", body.into())).await.expect(200);

    assert_eq!((got.text(), upstream.last().path.as_str()), (answer, "/v1/responses"));
    assert_eq!(upstream.last().body, body.as_bytes());
    assert_eq!(gateway.records()[0].entry.usage.map(|usage| usage.input_total), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_the_same_dialect_passes_byte_by_byte_and_is_counted() {
    let created = json!({ "response": { "id": "resp_1", "object": "response", "status": "in_progress", "output": [] } });
    let events = [
        named("response.created", 0, created),
        named(
            "response.output_text.delta",
            1,
            json!({ "output_index": 0, "delta": "hi", "obfuscation": "x" }),
        ),
        named("response.completed", 2, json!({ "response": response("resp_1", "hi") })),
    ];
    let upstream = Upstream::always(Script::events(events.clone())).await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;

    let got = gateway.ask(&create(&asks(&json!("hello")).with("/stream", json!(true)))).await.expect(200);

    assert_eq!(got.text(), events.concat());
    assert_eq!(gateway.records()[0].entry.usage.map(|usage| usage.output_total), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_behind_the_first_word_is_a_response_that_failed_with_the_next_number() {
    let created = json!({ "response": { "id": "resp_1", "object": "response", "status": "in_progress", "output": [] } });
    let begun = [
        named("response.created", 0, created),
        named("response.output_text.delta", 1, json!({ "output_index": 0, "delta": "hi" })),
    ];
    let upstream = Upstream::always(Script::events(begun)).await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;

    let got = gateway.ask(&create(&asks(&json!("hello")).with("/stream", json!(true)))).await.expect(200);

    assert_eq!(names(&got).last().map(String::as_str), Some("response.failed"));
    let last = got.event_values().pop().unwrap();
    assert_eq!((&last["response"]["id"], &last["response"]["status"]), (&json!("resp_1"), &json!("failed")));
    assert_eq!(last["response"]["error"]["code"], "server_error");
}

#[tokio::test(start_paused = true)]
async fn errors_have_openai_s_shape_and_a_fault_of_the_request_is_told_in_the_upstream_s_own_words() {
    let error = json!({ "error": { "message": "no", "type": "invalid_request_error", "param": "input", "code": "x", "more": 1 } });
    let upstream = Upstream::always(Script::status(400, &error)).await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;

    let refused = gateway.ask(&create(&asks(&json!("hello")))).await.expect(400);
    let unknown = gateway.ask(&create(&json!({ "model": "nobody", "input": "x" }))).await.expect(404);
    let stranger = gateway.ask(&create(&asks(&json!("x"))).key("sk-nobody-0123456789")).await.expect(401);

    assert_eq!(refused.json(), error);
    assert_eq!(unknown.error()["code"], "model_not_found");
    assert_eq!(stranger.error()["code"], "invalid_api_key");
}

#[tokio::test(start_paused = true)]
async fn a_websocket_is_refused_so_that_clients_ask_over_http() {
    let gateway = Gateway::start(config([channel("a", &healthy("hi").await)])).await;
    let upgrade = Ask::get("/v1/responses").header("connection", "Upgrade").header("upgrade", "websocket");

    let refused = gateway.ask(&upgrade).await.expect(426);
    let plain = gateway.ask(&Ask::get("/v1/responses")).await.expect(405);

    assert_eq!(refused.header("upgrade"), Some("HTTP/1.1"));
    assert_eq!(refused.error()["code"], "upgrade_required");
    assert_eq!(plain.header("allow"), Some("POST"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_on_under_the_key_that_keeps_it_and_for_its_caller_alone() {
    let upstream = keeping().await;
    let channel = native("a", &upstream).with("/api", json!(["key-one", "key-two"]));
    let gateway = Gateway::start(shared([channel])).await;
    let first = gateway.ask(&create(&asks(&json!("hello"))).key(ALICE)).await.expect(200).json();
    let id = first["id"].as_str().unwrap().to_owned();
    let maker = upstream.last().key();
    let on = asks(&json!("more")).with("/previous_response_id", json!(id));

    for _ in 0..3 {
        gateway.ask(&create(&on).key(ALICE)).await.expect(200);
        assert_eq!(upstream.last().key(), maker);
        assert_eq!(upstream.last().json()["previous_response_id"], json!(id));
    }
    let item = json!([{ "type": "item_reference", "id": format!("msg_of_{id}") }]);
    gateway.ask(&create(&asks(&item)).key(ALICE)).await.expect(200);
    assert_eq!(upstream.last().key(), maker);
    gateway.ask(&read(&id).key(ALICE)).await.expect(200);
    assert_eq!((upstream.last().path, upstream.last().key()), (format!("/v1/responses/{id}"), maker.clone()));
    gateway.ask(&Ask::get(&format!("/v1/responses/{id}/input_items?limit=2")).key(ALICE)).await.expect(200);
    assert_eq!(upstream.last().path, format!("/v1/responses/{id}/input_items?limit=2"));
    gateway
        .ask(&Ask::new("POST", &format!("/v1/responses/{id}/cancel"), Vec::new()).key(ALICE))
        .await
        .expect(200);
    assert_eq!((upstream.last().method, upstream.last().key()), ("POST".to_owned(), maker));

    let asked = upstream.count();
    let refused = gateway.ask(&create(&on).key(BOB)).await.expect(400);
    assert_eq!(refused.error()["code"], "previous_response_not_found");
    assert_eq!(refused.error()["param"], "previous_response_id");
    for ask in [read(&id), delete(&id), Ask::new("POST", &format!("/v1/responses/{id}/cancel"), Vec::new())] {
        gateway.ask(&ask.key(BOB)).await.expect(404);
    }
    gateway.ask(&create(&asks(&item)).key(BOB)).await.expect(404);
    gateway.ask(&Ask::get(&format!("/v1/responses/{id}/input_items")).key(BOB)).await.expect(404);
    let escaped = format!(r#"{{"model":"m","input":"x","previous\u005fresponse_id":"{id}"}}"#);
    gateway.ask(&Ask::new("POST", "/v1/responses", escaped.into()).key(BOB)).await.expect(400);
    let conversation = asks(&json!("x")).with("/conversation", json!("conv_1"));
    gateway.ask(&create(&conversation).key(BOB)).await.expect(400);
    let counting = Ask::post("/v1/responses/input_tokens", &on);
    gateway.ask(&counting.key(BOB)).await.expect(400);
    assert_eq!(upstream.count(), asked, "nothing of it was sent");
    gateway.ask(&delete(&id).key(ALICE)).await.expect(200);
    assert_eq!(upstream.last().method, "DELETE");
}

#[tokio::test(start_paused = true)]
async fn what_is_read_again_costs_nothing() {
    let upstream = keeping().await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;
    let id = gateway.ask(&create(&asks(&json!("hello")))).await.expect(200).json()["id"].clone();

    gateway.ask(&read(id.as_str().unwrap())).await.expect(200);

    let records = gateway.records();
    assert!(records[0].cost > 0);
    assert_eq!((records[1].cost, records[1].entry.usage), (0, None));
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_channel_is_gone_or_whose_key_cools_is_asked_of_nobody_else() {
    let (upstream, other) = (keeping().await, keeping().await);
    let gateway = Gateway::start(config([native("a", &upstream), native("b", &other)])).await;
    let id = gateway.ask(&create(&asks(&json!("hello")))).await.expect(200).json()["id"].clone();
    let on = asks(&json!("more")).with("/previous_response_id", id);

    gateway.reload(config([native("b", &other)])).await;
    let refused = gateway.ask(&create(&on)).await.expect(400);

    assert_eq!(refused.error()["code"], "previous_response_not_found");
    assert_eq!(other.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_text_of_any_upstream_is_a_response_with_one_message() {
    let claude = Upstream::always(Script::json(&said_by_claude("hi"))).await;
    let chat = healthy("hi").await;
    for channel in [channel("a", &chat), anthropic_channel("a", &claude)] {
        let gateway = Gateway::start(config([channel])).await;
        let body =
            asks(&json!("hello")).with("/instructions", json!("Be kind.")).with("/store", json!(false));

        let answer = gateway.ask(&create(&body)).await.expect(200).json();

        assert_eq!((text_of(&answer).as_str(), &answer["status"]), ("hi", &json!("completed")));
        assert_eq!((&answer["object"], &answer["model"]), (&json!("response"), &json!("m")));
        assert_eq!((&answer["instructions"], &answer["store"]), (&json!("Be kind."), &json!(false)));
        assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 0);
    }
    assert_eq!(chat.last().json()["messages"][0], json!({ "role": "system", "content": "Be kind." }));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_chunks_becomes_the_whole_sequence_of_events() {
    let mut chunks = stream_of(&["Hel", "lo"]);
    chunks.insert(4, usage_event());
    let upstream = Upstream::always(Script::events(chunks)).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let answer = gateway.ask(&create(&asks(&json!("hello")).with("/stream", json!(true)))).await.expect(200);

    assert_eq!(
        names(&answer),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let last = answer.event_values().pop().unwrap();
    assert_eq!(
        (text_of(&last["response"]).as_str(), &last["response"]["usage"]["output_tokens"]),
        ("Hello", &json!(7))
    );
    assert!(!answer.text().contains("[DONE]"));
}

fn call_events() -> Vec<String> {
    let delta = |delta: Value, finish: Value| {
        event(&json!({ "id": "c", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] }))
    };
    let call = |index: u64, name: &str, arguments: &str| {
        json!({ "tool_calls": [{ "index": index, "id": format!("call_{index}"), "type": "function",
            "function": { "name": name, "arguments": arguments } }] })
    };
    let more = |index: u64, arguments: &str| json!({ "tool_calls": [{ "index": index, "function": { "arguments": arguments } }] });
    vec![
        delta(call(0, "apply_patch", "{\"input\":\"*** Be"), Value::Null),
        delta(call(1, "f", "{\"a\":"), Value::Null),
        delta(more(0, "gin\\n\"}"), Value::Null),
        delta(more(1, "1}"), Value::Null),
        delta(json!({}), json!("tool_calls")),
        DONE.to_owned(),
    ]
}

#[tokio::test(start_paused = true)]
async fn freeform_tools_are_functions_elsewhere_and_come_back_as_what_they_are() {
    let upstream = Upstream::in_turn(vec![Script::events(call_events()), Script::json(&said("done"))]).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let tools = json!([
        { "type": "custom", "name": "apply_patch", "description": "Patches.",
          "format": { "type": "grammar", "syntax": "lark", "definition": "start: /.+/" } },
        { "type": "function", "name": "f", "parameters": { "type": "object", "properties": {} }, "strict": false },
    ]);
    let body = asks(&json!([{ "role": "user", "content": "go" }])).with("/tools", tools.clone());

    let answer = gateway.ask(&create(&body.clone().with("/stream", json!(true)))).await.expect(200);

    let function = &upstream.requests()[0].json()["tools"][0]["function"];
    assert_eq!(
        (&function["name"], &function["parameters"]["required"]),
        (&json!("apply_patch"), &json!(["input"]))
    );
    assert!(function["description"].as_str().unwrap().contains("start: /.+/"));
    let last = answer.event_values().pop().unwrap();
    names(&answer);
    let output = &last["response"]["output"];
    assert_eq!(
        (&output[0]["type"], &output[0]["input"]),
        (&json!("custom_tool_call"), &json!("*** Begin\n"))
    );
    assert_eq!((&output[1]["type"], &output[1]["arguments"]), (&json!("function_call"), &json!("{\"a\":1}")));

    let mut items = vec![json!({ "role": "user", "content": "go" }), output[0].clone(), output[1].clone()];
    items.push(json!({ "type": "custom_tool_call_output", "call_id": "call_0", "output": "patched" }));
    items.push(json!({ "type": "function_call_output", "call_id": "call_1", "output": "2" }));
    let next = asks(&json!(items)).with("/tools", tools);
    assert_eq!(text_of(&gateway.ask(&create(&next)).await.expect(200).json()), "done");
    let messages = upstream.last().json()["messages"].clone();
    assert_eq!(messages[1]["tool_calls"].as_array().map(Vec::len), Some(2));
    let given: Value =
        serde_json::from_str(messages[1]["tool_calls"][0]["function"]["arguments"].as_str().unwrap())
            .unwrap();
    assert_eq!(given, json!({ "input": "*** Begin\n" }));
    assert_eq!(messages[2], json!({ "role": "tool", "tool_call_id": "call_0", "content": "patched" }));
}

/// The events of Claude that thinks, with its seal, and then calls a tool.
fn sealed_by_claude() -> Script {
    Script::json(&json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "content": [
            { "type": "thinking", "thinking": "Hm.", "signature": "SEAL" },
            { "type": "tool_use", "id": "toolu_1", "name": "f", "input": {} },
        ],
        "usage": { "input_tokens": 3, "output_tokens": 2 },
    }))
}

#[tokio::test(start_paused = true)]
async fn a_seal_goes_back_to_its_maker_and_to_nobody_else() {
    let claude = Upstream::in_turn(vec![sealed_by_claude(), Script::json(&said_by_claude("done"))]).await;
    let native_upstream = Upstream::always(Script::json(&response("resp_1", "hi"))).await;
    let channels = [
        anthropic_channel("claude", &claude).with("/model", json!([{ "claude-sonnet-4-5": "m" }])),
        native("native", &native_upstream).with("/model", json!(["n"])),
    ];
    let gateway = Gateway::start(config(channels)).await;
    let tools =
        json!([{ "type": "function", "name": "f", "parameters": { "type": "object", "properties": {} } }]);
    let first = asks(&json!([{ "role": "user", "content": "go" }]))
        .with("/tools", tools.clone())
        .with("/store", json!(false))
        .with("/reasoning", json!({ "effort": "medium" }));

    let answer = gateway.ask(&create(&first)).await.expect(200).json();

    let thought = &answer["output"][0];
    assert_eq!((&thought["type"], &thought["summary"][0]["text"]), (&json!("reasoning"), &json!("Hm.")));
    assert!(!answer.to_string().contains("SEAL"), "carried in our own form");
    let mut items = vec![json!({ "role": "user", "content": "go" })];
    items.extend(answer["output"].as_array().unwrap().iter().cloned());
    items.push(json!({ "type": "function_call_output", "call_id": "toolu_1", "output": "2" }));
    let next = first.with("/input", json!(items));
    gateway.ask(&create(&next)).await.expect(200);
    let block = claude.last().json()["messages"][1]["content"][0].clone();
    assert_eq!(block, json!({ "type": "thinking", "thinking": "Hm.", "signature": "SEAL" }));

    gateway.ask(&create(&next.with("/model", json!("n")))).await.expect(200);
    let sent = native_upstream.last().json();
    assert!(!sent.to_string().contains("uniapi"), "{sent}");
    let kinds: Vec<&str> =
        sent["input"].as_array().unwrap().iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["function_call", "function_call_output"]);
}

#[tokio::test(start_paused = true)]
async fn answers_of_upstreams_that_keep_none_are_kept_here_for_their_caller_alone() {
    let upstream = healthy("hi").await;
    let gateway = Gateway::start(shared([channel("a", &upstream)])).await;
    let first = gateway.ask(&create(&asks(&json!("one"))).key(ALICE)).await.expect(200).json();
    let id = first["id"].as_str().unwrap().to_owned();
    let on = asks(&json!("two")).with("/previous_response_id", json!(id)).with("/stream", json!(true));

    let second = gateway.ask(&create(&on).key(ALICE)).await.expect(200).event_values().pop().unwrap();

    let said = |messages: &Value| -> Vec<String> {
        let texts = messages
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["content"].as_str().unwrap().to_owned());
        texts.collect()
    };
    assert_eq!(said(&upstream.last().json()["messages"]), ["one", "hi", "two"]);
    assert_eq!(second["response"]["previous_response_id"], json!(id));
    // Over a reload, and from the one that was streamed.
    gateway.reload(shared([channel("a", &upstream)])).await;
    let on = asks(&json!("three")).with("/previous_response_id", second["response"]["id"].clone());
    gateway.ask(&create(&on).key(ALICE)).await.expect(200);
    assert_eq!(said(&upstream.last().json()["messages"]), ["one", "hi", "two", "hi", "three"]);

    assert_eq!(gateway.ask(&read(&id).key(ALICE)).await.expect(200).json(), first);
    let items =
        gateway.ask(&Ask::get(&format!("/v1/responses/{id}/input_items")).key(ALICE)).await.expect(200);
    assert_eq!(items.json()["data"][0]["content"][0]["text"], "one");
    let cancel = Ask::new("POST", &format!("/v1/responses/{id}/cancel"), Vec::new());
    gateway.ask(&cancel.clone().key(ALICE)).await.expect(400);
    let item = json!([{ "type": "item_reference", "id": first["output"][0]["id"] }, { "role": "user", "content": "x" }]);
    gateway.ask(&create(&asks(&item)).key(ALICE)).await.expect(200);
    assert_eq!(said(&upstream.last().json()["messages"]), ["hi", "x"]);

    let asked = upstream.count();
    let of_bob = asks(&json!("two")).with("/previous_response_id", json!(id));
    gateway.ask(&create(&of_bob).key(BOB)).await.expect(400);
    for ask in [read(&id), delete(&id), cancel] {
        gateway.ask(&ask.key(BOB)).await.expect(404);
    }
    gateway.ask(&create(&asks(&item)).key(BOB)).await.expect(404);
    assert_eq!(upstream.count(), asked);
    assert_eq!(gateway.ask(&delete(&id).key(ALICE)).await.expect(200).json()["deleted"], json!(true));
    gateway.ask(&read(&id).key(ALICE)).await.expect(404);
    gateway.ask(&create(&of_bob).key(ALICE)).await.expect(400);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_or_is_an_hour_old_is_not_there() {
    let upstream = healthy("hi").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let id = |answer: Answer| answer.expect(200).json()["id"].as_str().unwrap().to_owned();

    let unstored = id(gateway.ask(&create(&asks(&json!("one")).with("/store", json!(false)))).await);
    gateway.ask(&read(&unstored)).await.expect(404);
    let stored = id(gateway.ask(&create(&asks(&json!("one")))).await);
    tokio::time::advance(Duration::from_secs(3600)).await;
    let on = asks(&json!("two")).with("/previous_response_id", json!(stored));
    let refused = gateway.ask(&create(&on)).await.expect(400);
    assert_eq!(refused.error()["code"], "previous_response_not_found");
    let off = config([channel("a", &upstream)]).with("/api_keys/0/preferences/store_responses", json!(false));
    gateway.reload(off).await;
    let off = gateway.ask(&create(&asks(&json!("one")))).await.expect(200).json();
    assert_eq!(off["store"], json!(false));
    gateway.ask(&read(off["id"].as_str().unwrap())).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_dialect_s_own_upstreams_can_do_goes_to_them_or_is_refused() {
    let (chat, own) = (healthy("never").await, keeping().await);
    let both = Gateway::start(config([channel("a", &chat), native("b", &own)])).await;
    let alone = Gateway::start(config([channel("a", &chat)])).await;
    for (body, param) in [
        (asks(&json!("x")).with("/background", json!(true)), "background"),
        (asks(&json!("x")).with("/prompt", json!({ "id": "pmpt_1" })), "prompt"),
        (
            asks(&json!("x")).with("/tools", json!([{ "type": "code_interpreter", "container": "c" }])),
            "tools",
        ),
    ] {
        assert_eq!(both.ask(&create(&body)).await.expect(200).channel(), "b");

        let refused = alone.ask(&create(&body)).await.expect(400);
        assert_eq!(refused.error()["param"], param);
    }
    let compact = Ask::post("/v1/responses/compact", &asks(&json!("x")));
    assert_eq!(both.ask(&compact).await.expect(200).channel(), "b");
    assert_eq!(own.last().path, "/v1/responses/compact");
    alone.ask(&compact).await.expect(400);
    assert_eq!(chat.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_background_is_no_empty_one() {
    let queued =
        json!({ "id": "resp_1", "object": "response", "status": "queued", "output": [], "background": true });
    let upstream = Upstream::always(Script::json(&queued)).await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;

    let answer = gateway.ask(&create(&asks(&json!("x")).with("/background", json!(true)))).await.expect(200);

    assert_eq!(answer.json(), queued);
    let failed = json!({ "id": "resp_1", "object": "response", "status": "failed", "output": [], "error": { "code": "server_error", "message": "m" } });
    let upstream = Upstream::in_turn(vec![Script::json(&queued), Script::json(&failed)]).await;
    let gateway = Gateway::start(config([native("a", &upstream)])).await;
    gateway.ask(&create(&asks(&json!("x")).with("/background", json!(true)))).await.expect(200);
    assert_eq!(gateway.ask(&read("resp_1")).await.expect(200).json(), failed);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_kept_alive_and_then_fails_begins_and_ends_as_a_response() {
    let upstream = Upstream::always(Script::hang()).await;
    let slow = channel("a", &upstream).with(
        "/preferences",
        json!({ "keepalive_interval": { "default": 5 }, "model_timeout": { "default": 12 } }),
    );
    let gateway = Gateway::start(config([slow])).await;

    let answer = gateway.ask(&create(&asks(&json!("x")).with("/stream", json!(true)))).await.expect(200);

    assert!(answer.text().starts_with(": keepalive\n\n: keepalive\n\n"), "{}", answer.text());
    assert_eq!(names(&answer), ["response.created", "response.failed"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_cut_says_so_and_its_item_is_incomplete() {
    let cut = said("hel").with("/choices/0/finish_reason", json!("length"));
    let gateway = Gateway::start(config([channel("a", &Upstream::always(Script::json(&cut)).await)])).await;

    let answer = gateway.ask(&create(&asks(&json!("x")))).await.expect(200).json();

    assert_eq!(
        (&answer["status"], &answer["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!(answer["output"][0]["status"], "incomplete");
}

#[tokio::test(start_paused = true)]
async fn a_channel_can_leave_the_endpoint_out() {
    let (first, second) = (healthy("never").await, healthy("hi").await);
    let without = channel("a", &first).with("/exclude_endpoints", json!(["/v1/responses"]));
    let gateway = Gateway::start(config([without, channel("b", &second)])).await;

    assert_eq!(gateway.ask(&create(&asks(&json!("x")))).await.expect(200).channel(), "b");
    assert_eq!((gateway.chat(&hello()).await.expect(200).channel(), first.count()), ("a", 1));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_by_upstreams_of_the_dialect_and_guessed_elsewhere() {
    let counted = json!({ "object": "response.input_tokens", "input_tokens": 12 });
    let own = Upstream::always(Script::json(&counted)).await;
    let count = Ask::post("/v1/responses/input_tokens", &asks(&json!("hello hello")));

    let told = Gateway::start(config([native("a", &own)])).await.ask(&count).await.expect(200);
    let chat = healthy("never").await;
    let guessed = Gateway::start(config([channel("a", &chat)])).await.ask(&count).await.expect(200);

    assert_eq!((told.json(), own.last().path.as_str()), (counted, "/v1/responses/input_tokens"));
    assert_eq!(
        (&guessed.json()["input_tokens"], guessed.header("x-uni-api-estimated")),
        (&json!(3), Some("true"))
    );
    assert_eq!(chat.count(), 0);
}
