//! The borrowed shapes of Workers AI's answers.
//!
//! Source: <https://developers.cloudflare.com/workers-ai/models/> (output schemas), and
//! <https://developers.cloudflare.com/workers-ai/features/function-calling/traditional/>.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::lenient::{Count, List, Obj, Str};
use crate::openai_chat::usage::WireUsage;

/// The envelope of a whole answer: `{"result", "success", "errors"}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Envelope<'_> {
    /// Whether it is worth looking for an error.
    pub(super) fn is_suspect(&self) -> bool {
        [self.errors, self.error]
            .into_iter()
            .flatten()
            .any(|told| !matches!(told.get(), "null" | "[]" | "{}" | "\"\""))
    }
}

/// An answer, or an event of one: `{"response", "tool_calls", "usage", "p"}`. Newer models have other fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    /// Text, or what looks like a number, or the object that JSON mode gives.
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: List<ToolCall<'a>>,
    pub(super) usage: Obj<WireUsage>,
    #[serde(borrow)]
    pub(super) reasoning_content: Str<'a>,
    /// What models have that answer in OpenAI's chat format.
    #[serde(borrow)]
    pub(super) choices: Option<&'a RawValue>,
    /// What models have that answer in OpenAI's Responses format.
    #[serde(borrow)]
    pub(super) output: Option<&'a RawValue>,
}

impl Answer<'_> {
    /// Whether it is one in the older form.
    pub(super) fn is_older(&self) -> bool {
        self.response.is_some() || !self.tool_calls.0.is_empty()
    }

    /// The text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self.response.map(RawValue::get) {
            None | Some("null") => Cow::Borrowed(""),
            Some(text) if text.starts_with('"') => {
                serde_json::from_str::<Str<'_>>(text).ok().and_then(|text| text.0).unwrap_or_default()
            }
            Some(json) => Cow::Borrowed(json),
        }
    }
}

/// A call: `{"name", "arguments"}`, or a fragment of one as OpenAI writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    pub(super) index: Option<Count>,
    #[serde(borrow)]
    pub(super) function: Obj<Function<'a>>,
}

/// The function of a call as OpenAI writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl ToolCall<'_> {
    /// The tool.
    pub(super) fn name(&self) -> &str {
        self.function.0.as_ref().map_or(self.name.text(), |function| function.name.text())
    }

    /// Arguments as JSON text, or a fragment of it.
    pub(super) fn arguments(&self) -> Cow<'_, str> {
        let raw = self.function.0.as_ref().map_or(self.arguments, |function| function.arguments);
        match raw.map(RawValue::get) {
            Some(text) if text.starts_with('"') => {
                serde_json::from_str::<Str<'_>>(text).ok().and_then(|text| text.0).unwrap_or_default()
            }
            Some(json) if json.starts_with('{') => Cow::Borrowed(json),
            _ => Cow::Borrowed(""),
        }
    }
}
