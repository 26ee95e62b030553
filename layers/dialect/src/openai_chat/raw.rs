//! Changes of chat requests that stay in this dialect, and what little is read of them.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>. Bodies that cannot be read are left as they
//! are, and have no wishes.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::repairs::{self, Subject};
use crate::codec::{Addition, LastTurn, RawRequest};
use crate::{Manner, fresh_text};

/// The option that asks for the usage of a stream.
const STREAM_OPTIONS: &str = "stream_options";

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

    fn ask_usage(&self, body: &[u8]) -> Option<Addition> {
        let replaces = match OPTION.find(body) {
            None => None,
            Some(_) => unset(body)?,
        };
        Some(Addition { name: STREAM_OPTIONS, value: r#"{"include_usage":true}"#, replaces })
    }

    fn usage_field(&self) -> Option<&'static str> {
        Some(STREAM_OPTIONS)
    }

    fn concerns_quirks(&self, body: &[u8], subject: Subject<'_>) -> bool {
        repairs::concerns(body, subject)
    }

    fn mend(&self, body: &mut Map<String, Value>, subject: Subject<'_>) {
        repairs::mend(body, subject);
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

/// Where the option stands as null, or that it stands nowhere in the object itself; none where it is set, and for
/// bodies that cannot be read or name it twice.
#[expect(clippy::option_option, reason = "a null at a place and no option at all are both no wish")]
fn unset(body: &[u8]) -> Option<Option<Range<usize>>> {
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(borrow, default, deserialize_with = "as_it_is")]
        stream_options: Option<&'a RawValue>,
    }
    fn as_it_is<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }
    let options: Options<'_> = serde_json::from_slice(body).ok()?;
    match options.stream_options.map(RawValue::get) {
        None => Some(None),
        Some(null @ "null") => {
            let start = null.as_ptr().addr() - body.as_ptr().addr();
            Some(Some(start..start + null.len()))
        }
        Some(_) => None,
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
    Manner { include_usage, ..Manner::default() }
}
