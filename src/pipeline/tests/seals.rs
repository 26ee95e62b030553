//! Seals of models on their thoughts, through clients of OpenAI's chat, which drop them: they go back to
//! their maker, for the same client key, and to nobody else.

use serde_json::{Value, json};

use super::bench::subjects::distribution::key;
use super::bench::*;

/// What Claude answers first: a thought with its seal, a word, and a call.
fn thoughtful() -> Value {
    said_by_claude("").with("/stop_reason", json!("tool_use")).with(
        "/content",
        json!([
            { "type": "thinking", "thinking": "I should look.", "signature": "c2VhbA==" },
            { "type": "text", "text": "Let me look." },
            { "type": "tool_use", "id": "toolu_1", "name": "look", "input": { "at": "sky", "far": true } },
        ]),
    )
}

/// The same as its stream.
fn thoughtful_stream() -> Script {
    let event = |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    let block = |index: usize, start: Value, deltas: Vec<Value>| {
        let mut events =
            vec![json!({ "type": "content_block_start", "index": index, "content_block": start })];
        events.extend(
            deltas
                .into_iter()
                .map(|delta| json!({ "type": "content_block_delta", "index": index, "delta": delta })),
        );
        events.push(json!({ "type": "content_block_stop", "index": index }));
        events
    };
    let mut events =
        vec![json!({ "type": "message_start", "message": said_by_claude("").with("/content", json!([])) })];
    events.extend(block(
        0,
        json!({ "type": "thinking", "thinking": "", "signature": "" }),
        vec![
            json!({ "type": "thinking_delta", "thinking": "I should " }),
            json!({ "type": "thinking_delta", "thinking": "look." }),
            json!({ "type": "signature_delta", "signature": "c2VhbA==" }),
        ],
    ));
    events.extend(block(
        1,
        json!({ "type": "text", "text": "" }),
        vec![json!({ "type": "text_delta", "text": "Let me look." })],
    ));
    events.extend(block(
        2,
        json!({ "type": "tool_use", "id": "toolu_1", "name": "look", "input": {} }),
        vec![
            json!({ "type": "input_json_delta", "partial_json": "{\"at\":\"sky\"," }),
            json!({ "type": "input_json_delta", "partial_json": "\"far\":true}" }),
        ],
    ));
    events.push(json!({
        "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null },
        "usage": { "output_tokens": 9 },
    }));
    events.push(json!({ "type": "message_stop" }));
    Script::events(events.into_iter().map(event))
}

/// An upstream of Claude that thinks and calls first, and then answers.
async fn claude() -> Upstream {
    Upstream::start(|seen| match (seen.json()["messages"].as_array().map_or(0, Vec::len), seen.streams()) {
        (0..=1, true) => thoughtful_stream(),
        (0..=1, false) => Script::json(&thoughtful()),
        _ => Script::json(&said_by_claude("Blue.")),
    })
    .await
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }])
}

fn asked() -> Value {
    hello().with("/tools", tools()).with("/reasoning_effort", json!("low"))
}

/// The conversation as a client of OpenAI's chat goes on with it: its arguments written anew.
fn answered(thoughts: bool) -> Value {
    let function = json!({ "name": "look", "arguments": "{ \"far\": true, \"at\": \"sky\" }" });
    let mut assistant = json!({
        "role": "assistant", "content": "Let me look.",
        "tool_calls": [{ "id": "toolu_1", "type": "function", "function": function }],
    });
    if thoughts {
        assistant["reasoning_content"] = json!("I should look.");
    }
    asked().with(
        "/messages",
        json!([
            { "role": "user", "content": "hello" },
            assistant,
            { "role": "tool", "tool_call_id": "toolu_1", "content": "a sky" },
        ]),
    )
}

fn sealed() -> Value {
    json!({ "type": "thinking", "thinking": "I should look.", "signature": "c2VhbA==" })
}

#[tokio::test(start_paused = true)]
async fn a_thought_before_a_call_goes_back_with_its_seal_and_the_model_thinks_on() {
    for stream in [false, true] {
        for thoughts in [false, true] {
            let upstream = claude().await;
            let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;
            gateway.chat(&asked().with("/stream", json!(stream))).await.expect(200);

            gateway.chat(&answered(thoughts)).await.expect(200);

            let sent = upstream.last().json();
            let turn = &sent["messages"][1]["content"];
            assert_eq!(turn[0], sealed(), "{stream} {thoughts}");
            assert_eq!((&turn[1]["text"], &turn[2]["id"]), (&json!("Let me look."), &json!("toolu_1")));
            assert_eq!(turn.as_array().unwrap().len(), 3);
            assert!(sent["thinking"].is_object(), "it goes on thinking: {sent}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sealed_for_one_client_key_is_given_back_for_no_other() {
    let upstream = claude().await;
    let keys =
        json!([key(CLIENT, "fixed_priority", json!(["all"])), key("sk-b", "fixed_priority", json!(["all"]))]);
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)]).with("/api_keys", keys)).await;
    gateway.chat(&asked()).await.expect(200);

    gateway.ask(&Ask::chat(&answered(true)).key("sk-b")).await.expect(200);

    assert_eq!(upstream.last().json()["messages"][1]["content"][0]["type"], "text");
}

#[tokio::test(start_paused = true)]
async fn another_call_under_the_same_identity_gets_no_thought() {
    let upstream = claude().await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;
    gateway.chat(&asked()).await.expect(200);

    let other = answered(false)
        .with("/messages/1/tool_calls/0/function/arguments", json!("{\"at\":\"sea\",\"far\":true}"));
    gateway.chat(&other).await.expect(200);

    assert_eq!(upstream.last().json()["messages"][1]["content"][0]["type"], "text");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_takes_over_in_mid_conversation_is_given_no_seal_of_another_maker() {
    let claude = Upstream::start(|seen| match seen.ordinal {
        0 => Script::json(&thoughtful()),
        _ => Script::error(529, "overloaded"),
    })
    .await;
    let gpt = healthy("Blue.").await;
    let gateway = Gateway::start(config([anthropic_channel("a", &claude), channel("b", &gpt)])).await;
    gateway.chat(&asked()).await.expect(200);

    let answer = gateway.chat(&answered(false)).await.expect(200);

    assert_eq!(answer.channel(), "b");
    assert!(!gpt.only().body.windows(8).any(|bytes| bytes == b"c2VhbA=="));
    assert_eq!(gpt.only().json()["messages"], answered(false)["messages"], "it is passed on as it came");
}

#[tokio::test(start_paused = true)]
async fn seals_that_the_client_sends_itself_reach_their_maker_alone() {
    let upstream = claude().await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;
    let detail = |format: &str| json!([{ "type": "reasoning.text", "text": "Own.", "signature": "b3du", "format": format, "index": 0 }]);
    let with = |name: &str, value: Value| answered(true).with(&format!("/messages/1/{name}"), value);

    gateway.chat(&with("reasoning_details", detail("anthropic-claude-v1"))).await.expect(200);
    gateway.chat(&with("reasoning_details", detail("google-gemini-v1"))).await.expect(200);
    let google = json!({ "google": { "thought_signature": "Z29vZ2xl" } });
    gateway.chat(&with("tool_calls/0/extra_content", google)).await.expect(200);

    let sent: Vec<Value> =
        upstream.requests().iter().map(|seen| seen.json()["messages"][1]["content"].clone()).collect();
    assert_eq!(sent[0][0], json!({ "type": "thinking", "thinking": "Own.", "signature": "b3du" }));
    assert_eq!((&sent[1][0]["type"], &sent[2][0]["type"]), (&json!("text"), &json!("text")));
    assert!(!sent[2].to_string().contains("Z29vZ2xl"));
}

#[tokio::test(start_paused = true)]
async fn an_hour_after_they_were_used_last_they_are_forgotten_and_nothing_fails() {
    let upstream = claude().await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;
    gateway.chat(&asked()).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;

    gateway.chat(&answered(true)).await.expect(200);

    let sent = upstream.last().json();
    assert_eq!(sent["messages"][1]["content"][0]["type"], "text");
    assert!(sent.get("thinking").is_none(), "without its thought it must not think in this turn");
}
