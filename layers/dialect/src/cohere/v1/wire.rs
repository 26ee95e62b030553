//! The borrowed shapes of answers, version 1.
//!
//! Source: <https://docs.cohere.com/v1/reference/chat-stream>.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cohere::wire::{Fields, WireUsage};
use crate::lenient::{Count, List, Obj, Str};

/// An event: `{"event_type", "is_finished", …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    pub(super) event_type: Str<'a>,
    #[serde(borrow)]
    is_finished: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) generation_id: Str<'a>,
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) tool_call_delta: Obj<CallDelta<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: List<ToolCall<'a>>,
    #[serde(borrow)]
    pub(super) citations: List<Citation<'a>>,
    #[serde(borrow)]
    pub(super) documents: List<Fields<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Str<'a>,
    #[serde(borrow)]
    pub(super) response: Obj<Whole<'a>>,
    /// Words for a failure.
    #[serde(borrow)]
    pub(super) message: Str<'a>,
    #[serde(borrow)]
    pub(super) error: Str<'a>,
}

impl Event<'_> {
    /// Whether the answer ends with it, whatever it is called.
    pub(super) fn is_last(&self) -> bool {
        self.is_finished.is_some_and(|flag| flag.get() == "true") || self.event_type.text() == "stream-end"
    }
}

/// A whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Whole<'a> {
    #[serde(borrow)]
    pub(super) generation_id: Str<'a>,
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) tool_calls: List<ToolCall<'a>>,
    #[serde(borrow)]
    pub(super) citations: List<Citation<'a>>,
    #[serde(borrow)]
    pub(super) documents: List<Fields<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Str<'a>,
    pub(super) meta: Obj<WireUsage>,
    #[serde(borrow)]
    pub(super) error: Str<'a>,
}

/// More of a call, or of the plan for it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallDelta<'a> {
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    /// A fragment of JSON text.
    #[serde(borrow)]
    pub(super) parameters: Str<'a>,
    #[serde(borrow)]
    pub(super) text: Str<'a>,
}

/// A whole call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

impl ToolCall<'_> {
    /// The arguments as JSON text.
    pub(super) fn arguments(&self) -> &str {
        self.parameters.map(RawValue::get).filter(|json| json.starts_with('{')).unwrap_or("{}")
    }
}

/// A part of the text that draws on documents; positions are characters of all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Citation<'a> {
    start: Option<Count>,
    end: Option<Count>,
    #[serde(borrow, rename = "type")]
    of: Str<'a>,
    #[serde(borrow)]
    document_ids: Option<&'a RawValue>,
}

impl Citation<'_> {
    /// Whether it is about the text and not about a plan.
    pub(super) fn is_of_text(&self) -> bool {
        self.of.text() != "PLAN"
    }

    /// Which characters it is about.
    pub(super) fn span(&self) -> Option<std::ops::Range<u32>> {
        let place = |count: Option<Count>| count.and_then(|count| u32::try_from(count.0).ok());
        place(self.start).zip(place(self.end)).map(|(start, end)| start..end)
    }

    /// The documents by name.
    pub(super) fn documents(&self) -> Vec<String> {
        let json = self.document_ids.map(RawValue::get).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_default()
    }
}
