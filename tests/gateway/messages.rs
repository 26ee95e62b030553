//! The official Anthropic SDKs, pointed at the gateway: text, streams, tools, thoughts, counts and errors over upstreams
//! of every format.
//!
//! A plan of calls is written here, with what must come of each, and run by `tests/sdk/{python,node}/messages.*`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::converted::Told;
use crate::harness::recorded::replay;
use crate::harness::*;
use crate::loops::*;
use crate::sdk::{self, Sdk};

async fn run(sdk: Sdk, gateway: &Gateway, steps: Vec<Value>) {
    let origin = format!("http://{}", gateway.address());
    sdk.run_script("messages", &origin, gateway, steps).await;
}

fn asked(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 1000, "messages": [{ "role": "user", "content": "hello" }] })
}

fn kind(stream: bool) -> &'static str {
    if stream { "stream" } else { "whole" }
}

/// Why an answer ended, in Anthropic's word for OpenAI's.
fn stop(finish: &Value) -> &'static str {
    match finish.as_str() {
        Some("length") => "max_tokens",
        Some("tool_calls") => "tool_use",
        Some("content_filter") => "refusal",
        _ => "end_turn",
    }
}

async fn reads_converted_answers(sdk: Sdk) {
    // What is refused is read by the golden cases.
    let wanted = |case: &Recorded| sdk::readable(case) && !case.has("refusal");
    let cases: Vec<Recorded> = sdk::recorded().into_iter().filter(wanted).collect();
    let upstream = Upstream::start(replay(cases.clone())).await;
    let models: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let gateway = Gateway::start(config([channel("a", &upstream).with("/model", json!(models))])).await;
    let steps = cases.iter().map(|case| {
        let found = sdk::expectation(case);
        let finish = match found["tools"].as_array() {
            Some(tools) if !tools.is_empty() && found["finish"] == "stop" => "tool_use",
            _ => stop(&found["finish"]),
        };
        let expect = json!({ "text": found["content"], "tools": found["tools"], "stop": finish });
        json!({ "kind": kind(case.stream), "request": asked(&case.name), "expect": expect })
    });

    assert!(cases.len() > 30, "{}", cases.len());
    run(sdk, &gateway, steps.collect()).await;
}

async fn reads_anthropic_s_own_answers(sdk: Sdk) {
    let wanted = |case: &Recorded| case.status == 200 && !case.has("midstream_error");
    let cases: Vec<Recorded> = Recorded::all("messages").into_iter().filter(wanted).collect();
    let upstream = Upstream::start(replay(cases.clone())).await;
    let models: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let channel = anthropic_channel("a", &upstream).with("/model", json!(models));
    let gateway = Gateway::start(config([channel])).await;
    let steps = cases.iter().map(|case| {
        let told = match case.stream {
            true => Told::by_events(&case.body),
            false => Told::by_whole(&serde_json::from_slice(&case.body).unwrap()),
        };
        let expect = json!({
            "text": told.text, "thinking": told.thinking, "tools": told.tools, "output": told.completion_tokens,
        });
        json!({ "kind": kind(case.stream), "request": asked(&case.name), "expect": expect })
    });

    run(sdk, &gateway, steps.collect()).await;
}

async fn loops_with_tools(sdk: Sdk) {
    let tool = json!({
        "name": "lookup", "description": "Looks up",
        "input_schema": { "type": "object", "properties": { "round": { "type": "integer" } } },
    });
    let (mut channels, mut upstreams) = (Vec::new(), Vec::new());
    let mut steps = Vec::new();
    for format in FORMATS {
        let upstream = Upstream::start(looping(format, ("lookup", |round| json!({ "round": round })))).await;
        let channel = looping_channel(format, &upstream).with("/provider", json!(format));
        let mut model = json!({});
        model[if format == "converse" { "us.amazon.nova-pro-v1:0" } else { "m" }] = json!(format);
        channels.push(channel.with("/model", json!([model])));
        upstreams.push((format, upstream));
        let request = asked(format).with("/tools", json!([tool]));
        let expect = json!({ "text": SAID, "stop": "end_turn", "calls": ROUNDS, "input": 11, "output": 7 });
        let thinking = request.clone().with("/thinking", json!({ "type": "enabled", "budget_tokens": 1024 }));
        let picture = json!({ "type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=" });
        let seeing = request.clone().with("/max_tokens", json!(2000)).with(
            "/messages/0/content",
            json!([{ "type": "text", "text": "look" }, { "type": "image", "source": picture }]),
        );
        steps.extend(
            [request, thinking.with("/max_tokens", json!(4000)), seeing]
                .map(|request| json!({ "kind": "rounds", "request": request, "expect": expect })),
        );
    }
    let gateway = Gateway::start(config(channels)).await;

    run(sdk, &gateway, steps).await;

    for (format, upstream) in upstreams {
        assert_eq!(upstream.count(), 3 * (ROUNDS + 1), "{format}");
        if format == "gemini" {
            assert!(
                String::from_utf8_lossy(&upstream.last().body).contains("R1NFQUw="),
                "the seal came back"
            );
        }
    }
}

async fn counts_lists_and_raises(sdk: Sdk) {
    let own = Upstream::start(|seen| match seen.model().as_str() {
        _ if seen.path.contains("count_tokens") => Script::json(&json!({ "input_tokens": 1114 })),
        "bad" => Recorded::case("anthropic/error-400").script(),
        "full" => Recorded::case("anthropic/error-529").script(),
        _ => Script::error(500, "boom"),
    })
    .await;
    let chat = Upstream::start(|seen| match seen.model().as_str() {
        "busy" => Script::error(429, "slow down").header("retry-after", "7"),
        "torn" => Script::events([role_event(), text_event("half a sen")]).then_close(),
        _ => saying("ok")(seen),
    })
    .await;
    let gateway = Gateway::start(config([
        anthropic_channel("a", &own).with("/model", json!(["bad", "full"])),
        channel("b", &chat).with("/model", json!(["busy", "torn", "ok"])),
    ]))
    .await;
    let error = |model: &str, class: &str, status: u16| {
        let expect = json!({ "python": class, "node": class, "status": status });
        json!({ "kind": "error", "request": asked(model), "expect": expect })
    };
    let full = json!({ "python": "OverloadedError", "node": "OverloadedError", "status": 529 });

    let steps = vec![
        json!({ "kind": "count", "request": { "model": "bad", "messages": asked("m")["messages"] }, "expect": { "input": 1114 } }),
        json!({ "kind": "count", "request": { "model": "ok", "messages": asked("m")["messages"] }, "expect": { "input": 6 } }),
        json!({ "kind": "models", "expect": ["bad", "full", "busy", "torn", "ok"] }),
        error("ok", "AuthenticationError", 401).with("/key", json!("sk-wrong")),
        error("absent", "NotFoundError", 404).with("/expect/contains", json!("absent")),
        error("bad", "BadRequestError", 400),
        error("busy", "RateLimitError", 429).with("/expect/contains", json!("slow down")),
        json!({ "kind": "error", "request": asked("full"), "expect": full }),
        json!({
            "kind": "error", "request": asked("torn").with("/stream", json!(true)),
            "expect": { "python": "APIStatusError", "node": "APIError", "contains": "" },
        }),
        json!({ "kind": "whole", "request": asked("ok"), "expect": { "text": "ok", "stop": "end_turn" } }),
    ];
    run(sdk, &gateway, steps).await;
}

async fn survives_three_pings_before_the_first_event(sdk: Sdk) {
    let upstream = Upstream::start(|seen| saying("late")(seen).after(Duration::from_millis(3500))).await;
    let config = config([channel("a", &upstream)]).with("/preferences/keepalive_interval", json!(1));
    let gateway = Gateway::start(config).await;

    let expect = json!({ "text": "late", "stop": "end_turn" });
    run(sdk, &gateway, vec![json!({ "kind": "stream", "request": asked("m"), "expect": expect })]).await;
}

#[tokio::test]
async fn the_python_anthropic_sdk_reads_answers_converted_from_chat() {
    reads_converted_answers(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_anthropic_sdk_reads_answers_converted_from_chat() {
    reads_converted_answers(Sdk::Node).await;
}

#[tokio::test]
async fn the_python_anthropic_sdk_reads_anthropic_s_own_answers() {
    reads_anthropic_s_own_answers(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_anthropic_sdk_reads_anthropic_s_own_answers() {
    reads_anthropic_s_own_answers(Sdk::Node).await;
}

#[tokio::test]
async fn the_python_anthropic_sdk_loops_with_tools_over_upstreams_of_every_format() {
    loops_with_tools(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_anthropic_sdk_loops_with_tools_over_upstreams_of_every_format() {
    loops_with_tools(Sdk::Node).await;
}

#[tokio::test]
async fn the_python_anthropic_sdk_counts_lists_models_and_raises_the_class_of_each_error() {
    counts_lists_and_raises(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_anthropic_sdk_counts_lists_models_and_raises_the_class_of_each_error() {
    counts_lists_and_raises(Sdk::Node).await;
}

#[tokio::test]
async fn the_python_anthropic_sdk_survives_three_pings_before_the_first_event() {
    survives_three_pings_before_the_first_event(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_anthropic_sdk_survives_three_pings_before_the_first_event() {
    survives_three_pings_before_the_first_event(Sdk::Node).await;
}
