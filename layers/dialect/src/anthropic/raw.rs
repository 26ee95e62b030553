//! Changes of requests that stay in this dialect, and what little is read of them.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>. Bodies that cannot be read are left as they are.

use serde_json::{Map, Value};

use super::{carried, enveloped};
use crate::codec::{LastTurn, RawRequest};
use crate::{Envelope, fresh_text};

/// Requests of this dialect.
#[derive(Debug)]
pub(super) struct Raw;

impl RawRequest for Raw {
    fn without_tools(&self, body: &mut Map<String, Value>) {
        for name in ["tools", "tool_choice"] {
            body.shift_remove(name);
        }
        retain_blocks(body, |kind| !matches!(kind, "tool_use" | "tool_result"));
        // A turn may not be empty.
        if let Some(Value::Array(messages)) = body.get_mut("messages") {
            messages.retain(|message| {
                message.get("content").and_then(Value::as_array).is_none_or(|blocks| !blocks.is_empty())
            });
        }
    }

    fn without_images(&self, body: &mut Map<String, Value>) {
        retain_blocks(body, |kind| kind != "image");
    }

    fn set_stream(&self, body: &mut Map<String, Value>, stream: bool) {
        body.insert("stream".to_owned(), stream.into());
    }

    fn may_hold_foreign(&self, body: &[u8]) -> bool {
        carried::may_be_in(body)
    }

    fn without_foreign(&self, body: &mut Map<String, Value>) {
        carried::take_out(body);
    }

    fn fit(&self, body: &mut Map<String, Value>, envelope: &Envelope) {
        enveloped::settle(body, envelope);
    }

    fn may_hold_tools(&self, body: &[u8]) -> bool {
        memchr::memmem::find(body, b"\"tools\"").is_some()
    }

    fn may_hold_images(&self, body: &[u8]) -> bool {
        memchr::memmem::find(body, b"\"image\"").is_some()
    }

    fn last_turn(&self, body: &[u8]) -> Option<LastTurn> {
        let (role, parts) = fresh_text::last_turn(body)?;
        match role.as_str() {
            "assistant" => Some(LastTurn::Answer),
            _ if parts.iter().any(|part| part == "tool_result") => Some(LastTurn::Result),
            _ => None,
        }
    }
}

/// Keeps the blocks of these kinds, those within tool results too.
fn retain_blocks(body: &mut Map<String, Value>, keep: impl Fn(&str) -> bool + Copy) {
    let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
    for blocks in messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()) {
        let kept = |block: &Value| block.get("type").and_then(Value::as_str).is_none_or(keep);
        blocks.retain(kept);
        for within in blocks.iter_mut().filter_map(|block| block.get_mut("content")?.as_array_mut()) {
            within.retain(kept);
        }
    }
}
