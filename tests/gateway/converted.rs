//! An OpenAI client in front of Anthropic upstreams: recorded answers become valid OpenAI ones.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::recorded::replay;
use crate::harness::*;

fn successes(stream: bool) -> Vec<Recorded> {
    let cases = Recorded::all("messages").into_iter();
    cases
        .filter(|case| {
            case.stream == stream
                && case.status == 200
                && !case.has("midstream_error")
                && !case.says_nothing()
        })
        .collect()
}

/// What a recorded message says, read from it independently of the product.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) tools: Vec<(String, Value)>,
    pub(crate) finish: &'static str,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

fn finish(reason: &Value) -> &'static str {
    match reason.as_str().unwrap_or_default() {
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

fn tokens(usage: &Value, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| usage[*name].as_u64()).sum()
}

const INPUT: [&str; 3] = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

impl Told {
    pub(crate) fn by_whole(message: &Value) -> Self {
        let mut told = Self::default();
        for block in message["content"].as_array().unwrap() {
            match block["type"].as_str().unwrap() {
                "text" => told.text.push_str(block["text"].as_str().unwrap()),
                "thinking" => told.thinking.push_str(block["thinking"].as_str().unwrap()),
                "tool_use" => {
                    told.tools.push((block["name"].as_str().unwrap().into(), block["input"].clone()))
                }
                _ => {}
            }
        }
        told.finish = finish(&message["stop_reason"]);
        told.prompt_tokens = tokens(&message["usage"], &INPUT);
        told.completion_tokens = tokens(&message["usage"], &["output_tokens"]);
        told
    }

    pub(crate) fn by_events(body: &[u8]) -> Self {
        let mut told = Self::default();
        let mut inputs: Vec<String> = Vec::new();
        let mut usage = json!({});
        for line in String::from_utf8_lossy(body).lines().filter_map(|line| line.strip_prefix("data:")) {
            let event: Value = serde_json::from_str(line).unwrap();
            let later =
                if event["type"] == "message_start" { &event["message"]["usage"] } else { &event["usage"] };
            for (name, value) in later.as_object().into_iter().flatten() {
                usage[name] = value.clone();
            }
            let (block, delta) = (&event["content_block"], &event["delta"]);
            told.text.push_str(block["text"].as_str().unwrap_or_default());
            told.text.push_str(delta["text"].as_str().unwrap_or_default());
            told.thinking.push_str(delta["thinking"].as_str().unwrap_or_default());
            if block["type"] == "tool_use" {
                told.tools.push((block["name"].as_str().unwrap().into(), Value::Null));
                inputs.push(String::new());
            }
            if let Some(part) = delta["partial_json"].as_str() {
                inputs.last_mut().unwrap().push_str(part);
            }
            if delta["stop_reason"].is_string() {
                told.finish = finish(&delta["stop_reason"]);
            }
        }
        for ((_, value), input) in told.tools.iter_mut().zip(inputs) {
            *value = serde_json::from_str(if input.is_empty() { "{}" } else { &input }).unwrap();
        }
        told.prompt_tokens = tokens(&usage, &INPUT);
        told.completion_tokens = tokens(&usage, &["output_tokens"]);
        told
    }
}

/// What an OpenAI client reads from a whole answer.
fn read_whole(answer: &Value) -> Told {
    let message = &answer["choices"][0]["message"];
    Told {
        text: message["content"].as_str().unwrap_or_default().into(),
        thinking: message["reasoning_content"].as_str().unwrap_or_default().into(),
        tools: message["tool_calls"].as_array().into_iter().flatten().map(read_call).collect(),
        finish: known_finish(&answer["choices"][0]["finish_reason"]),
        prompt_tokens: answer["usage"]["prompt_tokens"].as_u64().unwrap(),
        completion_tokens: answer["usage"]["completion_tokens"].as_u64().unwrap(),
    }
}

fn read_call(call: &Value) -> (String, Value) {
    assert_eq!(call["type"], "function", "{call}");
    assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()), "{call}");
    let arguments = call["function"]["arguments"].as_str().unwrap();
    (call["function"]["name"].as_str().unwrap().into(), serde_json::from_str(arguments).unwrap())
}

fn known_finish(reason: &Value) -> &'static str {
    let known = ["stop", "length", "tool_calls", "content_filter"];
    known.into_iter().find(|word| reason == word).unwrap_or_else(|| panic!("finish reason {reason}"))
}

/// What an OpenAI client reads from a stream; checks the shape of each chunk on the way.
fn read_stream(answer: &Answer) -> Told {
    let events = answer.event_values();
    let mut told = Told::default();
    let mut calls: Vec<Value> = Vec::new();
    let (mut finished, mut usages) = (0, 0);
    for event in &events {
        assert_eq!(event["object"], "chat.completion.chunk", "{event}");
        assert_eq!(event["id"], events[0]["id"], "{event}");
        assert_eq!(event["created"], events[0]["created"], "{event}");
        if let Some(usage) = event["usage"].as_object() {
            usages += 1;
            assert_eq!(event["choices"], json!([]), "{event}");
            told.prompt_tokens = usage["prompt_tokens"].as_u64().unwrap();
            told.completion_tokens = usage["completion_tokens"].as_u64().unwrap();
        }
        for choice in event["choices"].as_array().unwrap() {
            assert_eq!(choice["index"], 0, "{event}");
            let delta = &choice["delta"];
            told.text.push_str(delta["content"].as_str().unwrap_or_default());
            told.thinking.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
            for part in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = part["index"].as_u64().unwrap() as usize;
                if index == calls.len() {
                    calls.push(part.clone());
                } else {
                    let more = part["function"]["arguments"].as_str().unwrap_or_default();
                    let so_far = calls[index]["function"]["arguments"].as_str().unwrap_or_default();
                    let joined = format!("{so_far}{more}");
                    calls[index]["function"]["arguments"] = joined.into();
                }
            }
            if !choice["finish_reason"].is_null() {
                finished += 1;
                told.finish = known_finish(&choice["finish_reason"]);
            }
        }
    }
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant", "{}", answer.text());
    assert_eq!((finished, usages), (1, 1), "{}", answer.text());
    assert!(answer.is_done() && answer.complete, "{}", answer.text());
    told.tools = calls.iter().map(read_call).collect();
    told
}

async fn gateway_of(cases: &[Recorded]) -> (Upstream, Gateway) {
    let upstream = Upstream::start(replay(cases.to_vec())).await;
    let models: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let channel = anthropic_channel("claude", &upstream).with("/model", json!(models));
    let gateway = Gateway::start(config([channel])).await;
    (upstream, gateway)
}

#[tokio::test]
async fn every_recorded_anthropic_answer_becomes_a_valid_openai_one() {
    let cases = successes(false);
    let (_upstream, gateway) = gateway_of(&cases).await;

    assert!(cases.len() >= 8, "{}", cases.len());
    for case in &cases {
        let answer = gateway.chat(&hello_to(&case.name)).await;

        assert_eq!(answer.status, 200, "{}: {}", case.name, answer.text());
        let json = answer.json();
        assert_eq!(json["object"], "chat.completion", "{}", case.name);
        assert_eq!(json["model"], case.name.as_str());
        assert!(json["id"].is_string() && json["created"].is_u64(), "{json}");
        assert_eq!(json["choices"][0]["message"]["role"], "assistant", "{json}");
        let usage = &json["usage"];
        assert_eq!(
            usage["total_tokens"].as_u64().unwrap(),
            usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
        );
        let recorded = Told::by_whole(&serde_json::from_slice(&case.body).unwrap());
        assert_eq!(read_whole(&json), recorded, "{}", case.name);
    }
}

#[tokio::test]
async fn every_recorded_anthropic_stream_becomes_a_valid_openai_one() {
    let cases = successes(true);
    let (_upstream, gateway) = gateway_of(&cases).await;

    assert!(cases.len() >= 7, "{}", cases.len());
    for case in &cases {
        let request = hello_to(&case.name).with("/stream", json!(true));
        let answer = gateway.chat(&request.with("/stream_options/include_usage", json!(true))).await;

        assert_eq!(answer.status, 200, "{}: {}", case.name, answer.text());
        assert_eq!(read_stream(&answer), Told::by_events(&case.body), "{}", case.name);
    }
}

#[tokio::test]
async fn a_converted_stream_has_no_usage_chunk_unless_it_was_asked_for() {
    let case = Recorded::case("anthropic/stream-tools");
    let (_upstream, gateway) = gateway_of(std::slice::from_ref(&case)).await;

    let answer = gateway.chat(&hello_to(&case.name).with("/stream", json!(true))).await.expect(200);

    assert!(answer.event_values().iter().all(|event| event["usage"].is_null()), "{}", answer.text());
    assert!(answer.is_done());
}

#[tokio::test]
async fn a_converted_stream_is_the_same_however_the_network_cuts_it() {
    let case = Recorded::case("anthropic/stream-parallel-tools");
    let script = case.clone();
    let upstream =
        Upstream::start(move |seen| script.script().split(&[[1, 13, 1 << 20][seen.ordinal]])).await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;
    let request = hello_stream().with("/stream_options/include_usage", json!(true));

    for _cut in 0..3 {
        let answer = gateway.chat(&request).await.expect(200);

        assert_eq!(read_stream(&answer), Told::by_events(&case.body));
    }
}

#[tokio::test]
async fn an_openai_request_reaches_anthropic_in_its_own_form() {
    let case = Recorded::case("anthropic/tools");
    let upstream = Upstream::always(case.script()).await;
    let channel =
        anthropic_channel("a", &upstream).with("/model", json!([{ "claude-3-5-sonnet-latest": "m" }]));
    let gateway = Gateway::start(config([channel])).await;
    let pixel =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

    gateway
        .chat(&json!({
            "model": "m", "max_tokens": 321, "temperature": 0.5, "stop": ["END"],
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": [
                    { "type": "text", "text": "what is this?" },
                    { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{pixel}") } },
                ]},
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "call_1", "type": "function", "function": { "name": "look", "arguments": "{\"at\":1}" } },
                ]},
                { "role": "tool", "tool_call_id": "call_1", "content": "a pixel" },
            ],
            "tools": [{ "type": "function", "function": {
                "name": "look", "description": "looks", "parameters": { "type": "object", "properties": { "at": { "type": "integer" } } },
            }}],
            "tool_choice": "required",
        }))
        .await
        .expect(200);

    let seen = upstream.only();
    let sent = seen.json();
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!(seen.header("x-api-key"), Some("key-of-a"));
    assert!(seen.header("anthropic-version").is_some() && seen.header("authorization").is_none(), "{seen:?}");
    assert_eq!(sent["model"], "claude-3-5-sonnet-latest");
    assert_eq!((&sent["max_tokens"], &sent["temperature"]), (&json!(321), &json!(0.5)));
    assert_eq!(sent["stop_sequences"], json!(["END"]));
    assert!(sent["system"].to_string().contains("be brief"), "{sent}");
    let first = &sent["messages"][0];
    assert_eq!((&first["role"], &first["content"][0]["text"]), (&json!("user"), &json!("what is this?")));
    let source = &first["content"][1]["source"];
    assert_eq!(source, &json!({ "type": "base64", "media_type": "image/png", "data": pixel }), "{sent}");
    let call = &sent["messages"][1]["content"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["input"]),
        (&json!("tool_use"), &json!("look"), &json!({ "at": 1 }))
    );
    let result = &sent["messages"][2]["content"][0];
    assert_eq!((&result["type"], &result["tool_use_id"]), (&json!("tool_result"), &call["id"]));
    assert!(result["content"].to_string().contains("a pixel"), "{sent}");
    assert_eq!(sent["tools"][0]["name"], "look");
    assert_eq!(sent["tools"][0]["input_schema"]["properties"]["at"]["type"], "integer");
    assert_eq!(sent["tool_choice"]["type"], "any");
}

#[tokio::test]
async fn an_anthropic_error_reaches_the_openai_client_in_openai_shape() {
    let cases: Vec<Recorded> =
        Recorded::all("messages").into_iter().filter(|case| case.status != 200).collect();
    let (_upstream, gateway) = gateway_of(&cases).await;

    assert!(cases.len() >= 4);
    for case in &cases {
        let answer = gateway.chat(&hello_to(&case.name)).await;

        // A client must never believe that its own key is at fault.
        let expected = if case.status == 401 { 502 } else { case.status };
        assert_eq!(answer.status, expected, "{}: {}", case.name, answer.text());
        answer.error();
    }
}

#[tokio::test]
async fn an_anthropic_error_inside_a_stream_becomes_an_openai_error_event_without_end_marker() {
    let case = Recorded::case("anthropic/stream-midstream-error");
    let body = String::from_utf8(case.body).unwrap();
    let events = body.split_inclusive("\n\n").map(str::to_owned);
    let upstream = Upstream::always(Script::events(events).paced(Duration::from_millis(50))).await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    let told = answer.error_event();
    assert!(told["message"].as_str().unwrap().to_lowercase().contains("overloaded"), "{told}");
    assert!(!answer.is_done(), "{}", answer.text());
    assert!(!answer.streamed().is_empty());
}

#[tokio::test]
async fn an_error_that_comes_together_with_the_first_words_is_still_somebody_elses_turn() {
    let upstream = Upstream::always(Recorded::case("anthropic/stream-midstream-error").script()).await;
    let other = healthy("complete").await;
    let gateway = Gateway::start(config([anthropic_channel("a", &upstream), channel("b", &other)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    // Either nothing was passed on yet and another channel answers, or the break is told.
    let spliced = answer.streamed().contains("Once") && answer.streamed().contains("complete");
    assert!(!spliced && (answer.streamed() == "complete" || !answer.is_done()), "{}", answer.text());
}

#[tokio::test]
async fn failover_crosses_dialects_in_both_directions() {
    let case = Recorded::case("anthropic/cached");
    let claude = Upstream::always(case.script()).await;
    let broken = Upstream::always(Script::error(500, "broken")).await;
    let gateway =
        Gateway::start(config([channel("gpt", &broken), anthropic_channel("claude", &claude)])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!(answer.channel(), "claude");
    assert_eq!(read_whole(&answer.json()), Told::by_whole(&serde_json::from_slice(&case.body).unwrap()));

    let broken = Upstream::always(Recorded::case("anthropic/error-529").script()).await;
    let other = healthy("from gpt").await;
    let gateway =
        Gateway::start(config([anthropic_channel("claude", &broken), channel("gpt", &other)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((answer.channel(), answer.text()), ("gpt", stream_of(&["from gpt"]).concat()));
}
