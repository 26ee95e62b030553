//! Changes of chat requests that stay in this dialect, and what little is read of them.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>. Bodies that cannot be read are left as they
//! are, and have no wishes.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::codec::{LastTurn, RawRequest};
use crate::fresh_text;
use crate::{Manner, ir};

/// Asks for the usage of a stream, as the first member of the body.
const ASK_USAGE: &[u8] = br#"{"stream_options":{"include_usage":true},"#;

/// The name of that option as a key. Quotes inside texts are escaped, so it is never found in one.
static OPTION: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"stream_options\""));

/// Requests of this dialect.
#[derive(Debug)]
pub(super) struct Raw;

impl RawRequest for Raw {
    fn without_tools(&self, body: &mut Map<String, Value>) {
        for name in ["tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"] {
            body.shift_remove(name);
        }
        let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
        messages.retain_mut(|message| {
            let calls = message.as_object_mut().is_some_and(|message| {
                message.shift_remove("function_call").is_some() | message.shift_remove("tool_calls").is_some()
            });
            let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
            let says_nothing =
                message.get("content").is_none_or(|content| content.is_null() || content == "");
            !(matches!(role, "tool" | "function") || calls && says_nothing)
        });
    }

    fn without_images(&self, body: &mut Map<String, Value>) {
        let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
        for parts in messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()) {
            parts.retain(|part| {
                !matches!(part.get("type").and_then(Value::as_str), Some("image_url" | "image"))
            });
        }
    }

    fn set_stream(&self, body: &mut Map<String, Value>, stream: bool) {
        body.insert("stream".to_owned(), stream.into());
        if !stream {
            // Refused beside `stream: false`.
            body.shift_remove("stream_options");
        }
    }

    fn ask_usage(&self, body: &[u8]) -> Option<&'static [u8]> {
        OPTION.find(body).is_none().then_some(ASK_USAGE)
    }

    fn names_addition(&self, error: &ir::Error, body: &[u8]) -> bool {
        let name = b"stream_options";
        [error.message.as_bytes(), body].iter().any(|text| memchr::memmem::find(text, name).is_some())
    }

    fn may_hold_tools(&self, body: &[u8]) -> bool {
        memchr::memmem::find(body, b"\"tools\"").is_some()
    }

    fn may_hold_images(&self, body: &[u8]) -> bool {
        memchr::memmem::find(body, b"\"image_url\"").is_some()
    }

    fn last_turn(&self, body: &[u8]) -> Option<LastTurn> {
        let (role, _) = fresh_text::last_turn(body)?;
        match role.as_str() {
            "assistant" => Some(LastTurn::Answer),
            "tool" | "function" => Some(LastTurn::Result),
            _ => None,
        }
    }
}

/// How the client wants its answer written. Nearly all bodies do without the option, and are not parsed.
pub(super) fn manner(body: &[u8]) -> Manner {
    #[derive(Deserialize)]
    struct Body {
        stream_options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        #[serde(default)]
        include_usage: bool,
    }
    if OPTION.find(body).is_none() {
        return Manner::default();
    }
    let include_usage = serde_json::from_slice::<Body>(body)
        .is_ok_and(|body| body.stream_options.is_some_and(|options| options.include_usage));
    Manner { include_usage }
}
