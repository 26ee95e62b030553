//! The unmodified Codex command line in a loop of tools, over upstreams of every dialect: two commands, and a last word
//! when it has seen what they print.

use std::path::Path;
use std::process::Command;

use bytes::BytesMut;
use dialect::framing::event_stream::{HeaderValue, encode};
use serde_json::{Value, json};

use crate::harness::*;

/// What the commands print, of which no command holds the whole.
const FIRST: &str = "FIRST-OUTPUT";
const SECOND: &str = "SECOND-OUTPUT";

/// What the model does next, by what it has seen.
enum Next {
    Run(&'static str),
    Say(&'static str),
}

impl Next {
    fn of(seen: &Seen) -> Self {
        let body = String::from_utf8_lossy(&seen.body);
        match (body.contains(FIRST), body.contains(SECOND)) {
            (false, _) => Self::Run("printf FIRST-; echo OUTPUT"),
            (true, false) => Self::Run("printf SECOND-; echo OUTPUT"),
            (true, true) => Self::Say("ALL DONE"),
        }
    }

    fn arguments(command: &str) -> Value {
        json!({ "cmd": command })
    }

    /// As a stream of each dialect.
    fn chat(&self) -> Script {
        let chunk = |delta: Value, finish: Value| {
            event(
                &json!({ "id": "c", "created": 1, "model": "m", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] }),
            )
        };
        match self {
            Self::Say(text) => Script::events(stream_of(&[text])),
            Self::Run(command) => {
                let call = json!({ "tool_calls": [{ "index": 0, "id": format!("call_{}", command.len()), "type": "function",
                    "function": { "name": "exec_command", "arguments": Self::arguments(command).to_string() } }] });
                Script::events([
                    chunk(call, Value::Null),
                    chunk(json!({}), json!("tool_calls")),
                    DONE.to_owned(),
                ])
            }
        }
    }

    fn anthropic(&self) -> Script {
        let (block, delta, reason) = match self {
            Self::Say(text) => (
                json!({ "type": "text", "text": "" }),
                json!({ "type": "text_delta", "text": text }),
                "end_turn",
            ),
            Self::Run(command) => (
                json!({ "type": "tool_use", "id": format!("toolu_{}", command.len()), "name": "exec_command", "input": {} }),
                json!({ "type": "input_json_delta", "partial_json": Self::arguments(command).to_string() }),
                "tool_use",
            ),
        };
        let events = [
            json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
                "model": "m", "content": [], "usage": { "input_tokens": 9, "output_tokens": 1 } } }),
            json!({ "type": "content_block_start", "index": 0, "content_block": block }),
            json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": 4 } }),
            json!({ "type": "message_stop" }),
        ];
        let framed = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
        Script::events(events.iter().map(framed))
    }

    fn gemini(&self) -> Script {
        let part = match self {
            Self::Say(text) => json!({ "text": text }),
            Self::Run(command) => {
                json!({ "functionCall": { "name": "exec_command", "args": Self::arguments(command) } })
            }
        };
        let content = json!({ "role": "model", "parts": [part] });
        Script::events([event(&json!({
            "candidates": [{ "index": 0, "content": content, "finishReason": "STOP" }],
            "modelVersion": "m", "responseId": "r",
            "usageMetadata": { "promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13 },
        }))])
    }

    fn converse(&self) -> Script {
        let (start, delta, reason) = match self {
            Self::Say(text) => (json!({}), json!({ "text": text }), "end_turn"),
            Self::Run(command) => (
                json!({ "toolUse": { "toolUseId": format!("t{}", command.len()), "name": "exec_command" } }),
                json!({ "toolUse": { "input": Self::arguments(command).to_string() } }),
                "tool_use",
            ),
        };
        let message = |name: &str, payload: Value| {
            let headers = [
                (":event-type", HeaderValue::String(name.as_bytes())),
                (":message-type", HeaderValue::String(b"event")),
            ];
            let mut out = BytesMut::new();
            encode(&headers, payload.to_string().as_bytes(), &mut out);
            out.to_vec()
        };
        let mut pieces = vec![message("messageStart", json!({ "role": "assistant" }))];
        if matches!(self, Self::Run(_)) {
            pieces.push(message("contentBlockStart", json!({ "contentBlockIndex": 0, "start": start })));
        }
        pieces.push(message("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": delta })));
        pieces.push(message("contentBlockStop", json!({ "contentBlockIndex": 0 })));
        pieces.push(message("messageStop", json!({ "stopReason": reason })));
        let usage = json!({ "usage": { "inputTokens": 9, "outputTokens": 4, "totalTokens": 13 } });
        pieces.push(message("metadata", usage));
        Script::events(pieces).header("content-type", "application/vnd.amazon.eventstream")
    }

    fn responses(&self) -> Script {
        let item = match self {
            Self::Say(text) => {
                json!({ "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
                "content": [{ "type": "output_text", "text": text, "annotations": [] }] })
            }
            Self::Run(command) => json!({ "id": "fc_1", "type": "function_call", "status": "completed",
                "call_id": format!("call_{}", command.len()), "name": "exec_command",
                "arguments": Self::arguments(command).to_string() }),
        };
        let response = |status: &str, output: Value| {
            json!({ "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": output,
                "usage": { "input_tokens": 9, "output_tokens": 4, "total_tokens": 13,
                    "input_tokens_details": { "cached_tokens": 0 }, "output_tokens_details": { "reasoning_tokens": 0 } } })
        };
        let events = [
            json!({ "type": "response.created", "sequence_number": 0, "response": response("in_progress", json!([])) }),
            json!({ "type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item }),
            json!({ "type": "response.output_item.done", "sequence_number": 2, "output_index": 0, "item": item }),
            json!({ "type": "response.completed", "sequence_number": 3, "response": response("completed", json!([item])) }),
        ];
        let framed = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
        Script::events(events.iter().map(framed))
    }
}

/// Runs the command line once, in an empty home, with this gateway alone to talk to. Gives back what it prints.
async fn codex(gateway: &Gateway) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/codex/node_modules");
    let program = folder.join(".bin/codex");
    assert!(program.exists(), "Codex is missing; install it with: tests/sdk/install.sh");
    let (home, work) = (gateway.folder().join("home"), gateway.folder().join("work"));
    std::fs::create_dir_all(home.join(".codex")).unwrap();
    std::fs::create_dir_all(&work).unwrap();
    let settings = format!(
        "model = \"m\"\nmodel_provider = \"gateway\"\napproval_policy = \"never\"\nsandbox_mode = \"danger-full-access\"\n\
         check_for_update_on_startup = false\nweb_search = \"disabled\"\n[analytics]\nenabled = false\n[model_providers.gateway]\nname = \"gateway\"\n\
         base_url = \"{}\"\nenv_key = \"UNI_API_KEY\"\nwire_api = \"responses\"\n",
        gateway.base_url(),
    );
    std::fs::write(home.join(".codex/config.toml"), settings).unwrap();
    let mut command = Command::new(program);
    command.args(["exec", "--skip-git-repo-check", "-C"]).arg(&work).arg("Run both commands.");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &home);
    // Nothing but the gateway can be reached: whatever else it asks ends at a closed port.
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(proxy, "http://127.0.0.1:9");
    }
    command.env("no_proxy", "127.0.0.1").env("NO_PROXY", "127.0.0.1").env("UNI_API_KEY", CLIENT);
    command.stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("codex starts");
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}");
    printed
}

/// A loop of three turns over this channel.
async fn loops(upstream: Upstream, channel: Value) {
    let gateway = Gateway::start(config([channel])).await;

    let printed = codex(&gateway).await;

    assert!(printed.contains("ALL DONE"), "{printed}");
    let turns: Vec<Seen> = upstream.requests();
    assert_eq!(turns.len(), 3, "{printed}");
    let last = String::from_utf8_lossy(&turns[2].body).into_owned();
    assert!(last.contains(FIRST) && last.contains(SECOND), "{last}");
}

#[tokio::test]
async fn codex_runs_its_loop_of_tools_over_openai_s_chat() {
    let upstream = Upstream::start(|seen: &Seen| Next::of(seen).chat()).await;
    let channel = channel("a", &upstream);
    loops(upstream, channel).await;
}

#[tokio::test]
async fn codex_runs_its_loop_of_tools_over_anthropic() {
    let upstream = Upstream::start(|seen: &Seen| Next::of(seen).anthropic()).await;
    let channel = anthropic_channel("a", &upstream);
    loops(upstream, channel).await;
}

#[tokio::test]
async fn codex_runs_its_loop_of_tools_over_gemini() {
    let upstream = Upstream::start(|seen: &Seen| Next::of(seen).gemini()).await;
    let channel = channel_at("a", &format!("{}/v1beta", upstream.origin())).with("/engine", json!("gemini"));
    loops(upstream, channel).await;
}

#[tokio::test]
async fn codex_runs_its_loop_of_tools_over_converse() {
    let upstream = Upstream::start(|seen: &Seen| Next::of(seen).converse()).await;
    let channel = json!({
        "provider": "a", "engine": "aws", "base_url": upstream.origin(), "region": "us-test-1",
        "aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "model": [{ "us.amazon.nova-lite-v1:0": "m" }],
    });
    loops(upstream, channel).await;
}

#[tokio::test]
async fn codex_runs_its_loop_of_tools_over_responses() {
    let upstream = Upstream::start(|seen: &Seen| Next::of(seen).responses()).await;
    let channel = channel_at("a", &format!("{}/v1/responses", upstream.origin()));
    loops(upstream, channel).await;
}
