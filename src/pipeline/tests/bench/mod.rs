//! The whole pipeline in one process and one thread, under paused time: no socket, no sleep.
//!
//! What a test says is what it says to the built binary (`tests/gateway/harness`), in the same
//! words; only what stands at the two ends differs. `world` makes the pipeline of an `api.yaml` as
//! the program makes it, with the real state; `client` sends requests into it and notes what comes
//! out of it and when; `ears` hear what the log is told; `upstream` plays the scripts of upstreams, which are found by host.
//!
//! Time stands still while anything can go on and jumps to the next timer when nothing can. So an
//! answer that takes an hour takes none, and how long something took is exact.

mod client;
mod ears;
mod upstream;
mod world;

#[path = "../../../../tests/vocabulary/mod.rs"]
mod vocabulary;

use std::time::Duration;

pub(crate) use client::Client;
pub(crate) use ears::Ears;
pub(crate) use upstream::Upstream;
pub(crate) use vocabulary::*;
pub(crate) use world::{Gateway, Setup};

use serde_json::{Value, json};

/// How long a test waits for what should come, by the paused clock: longer than any cooldown.
pub(crate) const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// A whole answer of Anthropic's format.
pub(crate) fn said_by_claude(text: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{ "type": "text", "text": text }],
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    })
}
