//! The demo: a mock on this machine, and a line to try it with.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Startup;
use crate::config::source::{Source, Text};
use crate::config::{Environment, Origin, environment};
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::traces::Traces;

/// The demo's key. It opens a mock on this machine only, so it need not be a secret.
const DEMO_KEY: &str = "sk-demo";

/// The demo: its configuration, its place, and what it tells.
pub fn demo(env: &Environment, log: RequestLog, traces: Option<Traces>) -> Startup {
    let mut env = env.clone();
    env.host = "127.0.0.1".to_owned();
    env.database = environment::Database::Off;
    let text = format!(
        "providers:\n  - provider: mock\n    engine: mock\n    model: [demo]\napi_keys:\n  - api: {DEMO_KEY}\n    role: demo\n"
    );
    let source = Source::BuiltIn(text.clone());
    let text = Text { text, origin: Origin::Inline, tag: None, stale: None };
    Startup { source, text, env: Arc::new(env), log, traces, announce: Some(announce_demo) }
}

/// Prints what the demo is and a line to try.
fn announce_demo(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "uni-api demo: one channel with a built-in mock model, on this machine only.")?;
    writeln!(out, "Nothing here reaches a model provider. Try it:\n")?;
    writeln!(out, "  curl http://{address}/v1/chat/completions -H 'Authorization: Bearer {DEMO_KEY}' \\")?;
    writeln!(out, "    -H 'Content-Type: application/json' \\")?;
    writeln!(
        out,
        "    -d '{{\"model\": \"demo\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n"
    )?;
    writeln!(out, "For real use: `uni-api init` writes a first api.yaml, `uni-api` serves it.")?;
    out.flush()
}
