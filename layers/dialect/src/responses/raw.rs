//! Changes of requests that stay in this dialect, and what little is read of them.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/create>. Bodies that cannot be read are left as
//! they are.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::carried::Carried;
use super::ids;
use crate::codec::{LastTurn, RawRequest};
use crate::exact;
use crate::lenient::Str;
use crate::surrogates::mended;

/// Requests of this dialect.
#[derive(Debug)]
pub(super) struct Raw;

static TRACE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(ids::TRACE));

impl RawRequest for Raw {
    fn without_tools(&self, body: &mut Map<String, Value>) {
        for name in ["tools", "tool_choice", "parallel_tool_calls", "max_tool_calls"] {
            body.shift_remove(name);
        }
        if let Some(Value::Array(items)) = body.get_mut("input") {
            items.retain(|item| {
                let kind = item.get("type").and_then(Value::as_str).unwrap_or_default();
                // Reasoning is refused without the call that it led to.
                !(kind.ends_with("_call") || kind.ends_with("_call_output") || kind == "reasoning")
            });
        }
    }

    fn without_images(&self, body: &mut Map<String, Value>) {
        let Some(Value::Array(items)) = body.get_mut("input") else { return };
        for name in ["content", "output"] {
            for parts in items.iter_mut().filter_map(|item| item.get_mut(name)?.as_array_mut()) {
                parts.retain(|part| part.get("type").and_then(Value::as_str) != Some("input_image"));
            }
        }
    }

    fn set_stream(&self, body: &mut Map<String, Value>, stream: bool) {
        body.insert("stream".to_owned(), stream.into());
        if !stream {
            // Refused beside `stream: false`.
            body.shift_remove("stream_options");
        }
    }

    fn may_hold_tools(&self, body: &[u8]) -> bool {
        memmem::find(body, b"\"tools\"").is_some()
    }

    fn may_hold_images(&self, body: &[u8]) -> bool {
        memmem::find(body, b"\"input_image\"").is_some()
    }

    fn last_turn(&self, body: &[u8]) -> Option<LastTurn> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            input: Vec<Item<'a>>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Item<'a> {
            #[serde(borrow, rename = "type")]
            kind: Str<'a>,
            #[serde(borrow)]
            role: Str<'a>,
        }
        let body = mended(body);
        let last = serde_json::from_slice::<Body<'_>>(&body).ok()?.input.pop()?;
        match (last.kind.text(), last.role.text()) {
            (_, "assistant") => Some(LastTurn::Answer),
            (kind, _) if kind.ends_with("_call_output") => Some(LastTurn::Result),
            _ => None,
        }
    }

    fn may_hold_foreign(&self, body: &[u8]) -> bool {
        TRACE.find(body).is_some()
            && exact::read::<Value>(body).is_ok_and(|mut body| body.as_object_mut().is_some_and(strip))
    }

    fn without_foreign(&self, body: &mut Map<String, Value>) {
        strip(body);
    }
}

/// Takes out what we have made in place of another provider, and no upstream of this dialect would take: identities of
/// items, and seals of other makers with the thoughts that they are on. Says whether there was any.
fn strip(body: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(items)) = body.get_mut("input") else { return false };
    let mut found = false;
    items.retain_mut(|item| {
        let Some(item) = item.as_object_mut() else { return true };
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_own = ids::is_own(text("id"));
        let kind = text("type");
        // Without an identity these are refused, and so is reasoning without what its maker has encrypted.
        let goes = match kind {
            "reasoning" => {
                Carried::is_own(text("encrypted_content")) || is_own && text("encrypted_content").is_empty()
            }
            "item_reference" | "image_generation_call" => is_own,
            _ => false,
        };
        if is_own && !goes {
            item.shift_remove("id");
        }
        found |= is_own || goes;
        !goes
    });
    found
}
