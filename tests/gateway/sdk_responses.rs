//! The official OpenAI SDKs on `/v1/responses`, over upstreams of several dialects: what they make of the answers is
//! what counts.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;
use crate::sdk::Sdk;

const OTHER: &str = "sk-other-0123456789";

/// A recorded answer among the golden cases, as an upstream gives it.
fn recorded(case: &str) -> Script {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("layers/dialect/tests/golden").join(case);
    let read = |end: &str| std::fs::read(folder.join("upstream").with_extension(end)).ok();
    match (read("sse"), read("json")) {
        (Some(events), _) => Script::body(200, "text/event-stream", events),
        (None, Some(whole)) => Script::body(200, "application/json", whole),
        (None, None) => panic!("{case} has no answer"),
    }
}

/// What the provider's own SDK found in it.
fn found(case: &str) -> Value {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("layers/dialect/tests/golden").join(case);
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Cases of each dialect, and whether they come in events.
const CASES: [(&str, bool); 8] = [
    ("openai_chat-anthropic/text_whole", false),
    ("openai_chat-anthropic/text_stream", true),
    ("openai_chat-anthropic/parallel_tools_stream", true),
    ("openai_chat-anthropic/thinking_signature_stream", true),
    ("openai_chat-gemini/gemini-generate-stream-tool-call-02-s2", true),
    ("openai_chat-gemini/gemini-generate-max-tokens-01", false),
    ("openai_chat-responses/openai-responses-logprobs-unicode-01", false),
    ("openai_chat-responses/openai-responses-stream-logprobs-unicode-01", true),
];

/// A model's name for a case.
fn model_of(case: &str) -> String {
    case.replace('/', ".").to_lowercase()
}

async fn reads_answers_of_every_upstream(sdk: Sdk) {
    let upstream = Upstream::start(|seen: &Seen| {
        let asked = format!("{} {}", seen.path, seen.model());
        let case = CASES.iter().find(|(case, _)| asked.contains(&model_of(case))).expect("a case");
        recorded(case.0)
    })
    .await;
    let models = |dialect: &str| {
        let of = CASES.iter().map(|(case, _)| model_of(case));
        of.filter(|model| model.contains(dialect)).collect::<Vec<_>>()
    };
    let origin = upstream.origin();
    let channels = [
        anthropic_channel("claude", &upstream).with("/model", json!(models("-anthropic"))),
        channel_at("gemini", &format!("{origin}/v1beta"))
            .with("/engine", json!("gemini"))
            .with("/model", json!(models("-gemini"))),
        channel_at("own", &format!("{origin}/v1/responses")).with("/model", json!(models("-responses"))),
    ];
    let gateway = Gateway::start(config(channels)).await;

    let steps = CASES.iter().map(|(case, is_stream)| {
        let expected = found(case);
        let calls = expected["tools"].as_array().unwrap().iter();
        let calls: Vec<Value> = calls.map(|call| json!([call["name"], call["arguments"]])).collect();
        let status = match expected["finish"].as_str() {
            Some("length" | "content_filter") => "incomplete",
            _ => "completed",
        };
        json!({
            "kind": if *is_stream { "stream" } else { "whole" },
            "request": { "model": model_of(case), "input": "hello" },
            "expect": { "text": expected["text"], "calls": calls, "status": status },
        })
    });
    sdk.run_script("responses", &gateway.base_url(), &gateway, steps.collect()).await;
}

async fn keeps_answers_and_tells_errors(sdk: Sdk) {
    let upstream = Upstream::start(|seen: &Seen| match seen.model().as_str() {
        "busy" => {
            Script::status(429, &json!({ "error": { "message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded" } }))
        }
        "torn" => Script::events([role_event(), text_event("he")]),
        "slow" => Script::events(stream_of(&["hi"])).after(Duration::from_millis(3500)),
        "patcher" => {
            let call = json!([{ "id": "call_1", "type": "function",
                "function": { "name": "patch", "arguments": "{\"input\":\"*** Begin\"}" } }]);
            Script::json(&said("").with("/choices/0/message/tool_calls", call))
        }
        _ => saying("hi")(seen),
    })
    .await;
    let channel = channel("a", &upstream)
        .with("/model", json!(["ok", "busy", "torn", "slow", "patcher"]))
        .with("/preferences", json!({ "keepalive_interval": { "slow": 1 } }));
    let keys = json!([{ "api": CLIENT, "role": "admin" }, { "api": OTHER }]);
    let gateway = Gateway::start(config([channel]).with("/api_keys", keys)).await;
    let asks = |model: &str| json!({ "model": model, "input": "hello" });

    let steps = vec![
        json!({ "kind": "kept", "request": asks("ok"), "other": OTHER }),
        json!({ "kind": "whole", "request": asks("patcher"), "expect": { "inputs": [["patch", "*** Begin"]] } }),
        json!({ "kind": "stream", "request": asks("slow"), "expect": { "text": "hi" } }),
        json!({ "kind": "error", "request": asks("absent"), "expect": { "class": "NotFoundError", "code": "model_not_found" } }),
        json!({ "kind": "error", "request": asks("busy"), "expect": { "class": "RateLimitError", "code": "rate_limit_exceeded" } }),
        json!({ "kind": "error", "request": asks("torn").with("/stream", json!(true)), "expect": { "code": "server_error" } }),
    ];
    sdk.run_script("responses", &gateway.base_url(), &gateway, steps).await;
}

#[tokio::test]
async fn the_python_sdk_reads_responses_of_every_upstream() {
    reads_answers_of_every_upstream(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_sdk_reads_responses_of_every_upstream() {
    reads_answers_of_every_upstream(Sdk::Node).await;
}

#[tokio::test]
async fn the_python_sdk_goes_on_from_answers_that_are_kept_and_raises_what_it_is_told() {
    keeps_answers_and_tells_errors(Sdk::Python).await;
}

#[tokio::test]
async fn the_node_sdk_goes_on_from_answers_that_are_kept_and_raises_what_it_is_told() {
    keeps_answers_and_tells_errors(Sdk::Node).await;
}
