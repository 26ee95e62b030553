//! The unmodified command line of Claude Code, headless, in a loop of tools over upstreams of every format: it sends what
//! agents really send, and understands what they need.
//!
//! It starts in an empty home, with telemetry and updates off, and beyond this machine it reaches nobody.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::*;
use crate::loops::*;

/// What it printed at the end.
async fn run(gateway: &Gateway, prompt: &str) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/agents/node_modules/.bin/claude");
    assert!(program.exists(), "{} is missing; install it with: tests/sdk/install.sh", program.display());
    let home = gateway.folder().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(program);
    command
        .args(["-p", prompt, "--model", "m", "--allowedTools", "Bash(echo:*)", "--output-format", "json"])
        .current_dir(&home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &home)
        .env("ANTHROPIC_BASE_URL", format!("http://{}", gateway.address()))
        .env("ANTHROPIC_AUTH_TOKEN", CLIENT)
        // Nobody listens there.
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(std::process::Stdio::null());
    for variable in [
        "DISABLE_TELEMETRY",
        "DISABLE_AUTOUPDATER",
        "DISABLE_ERROR_REPORTING",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    ] {
        command.env(variable, "1");
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(printed.trim())
        .unwrap_or_else(|_| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A loop of three turns.
async fn loops_over(format: &'static str) {
    let call: Call =
        ("Bash", |round| json!({ "command": format!("echo round-{round}"), "description": "Say it" }));
    let upstream = Upstream::start(looping(format, call)).await;
    let gateway = Gateway::start(config([looping_channel(format, &upstream)])).await;

    let told = run(&gateway, "look up twice").await;

    assert_eq!(
        (&told["result"], &told["num_turns"], &told["is_error"]),
        (&json!(SAID), &json!(3), &json!(false))
    );
    assert_eq!((&told["usage"]["input_tokens"], &told["usage"]["output_tokens"]), (&json!(33), &json!(21)));
    let last = String::from_utf8_lossy(&upstream.last().body).into_owned();
    assert!(last.contains("round-0") && last.contains("round-1"), "the results came back: {last}");
    let billed = last.contains("x-anthropic-billing-header");
    assert_eq!(billed, format == "anthropic", "its bill is told to Anthropic alone");
}

#[tokio::test]
async fn claude_code_loops_over_a_chat_upstream() {
    loops_over("chat").await;
}

#[tokio::test]
async fn claude_code_loops_over_an_anthropic_upstream() {
    loops_over("anthropic").await;
}

#[tokio::test]
async fn claude_code_loops_over_a_gemini_upstream() {
    loops_over("gemini").await;
}

#[tokio::test]
async fn claude_code_loops_over_a_converse_upstream() {
    loops_over("converse").await;
}

#[tokio::test]
async fn claude_code_loops_over_a_responses_upstream() {
    loops_over("responses").await;
}
