//! The borrowed shapes of answers: events, whole responses, and the items and parts that both hold.
//!
//! One shape serves all events, since their fields do not collide. Nothing in it is of one direction, so that whoever
//! reads requests and writes answers finds the items here, too.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>, and recordings.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error_body;
use crate::ir::{Error, Logprob, Usage};
use crate::lenient::{Class, Count, Decimal, Few, List, Obj, Str, TextOr};
use crate::openai_chat::wire::WireLogprob;

/// An event: `{"type", "sequence_number", "output_index"?, "item_id"?, …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    pub(crate) sequence_number: Option<Count>,
    pub(crate) output_index: Option<Count>,
    #[serde(borrow)]
    pub(crate) item_id: Str<'a>,
    pub(crate) content_index: Count,
    pub(crate) summary_index: Count,
    /// More text, arguments, base64.
    #[serde(borrow)]
    pub(crate) delta: Str<'a>,
    /// Text, refusal, arguments and input: the whole of what came in deltas.
    #[serde(borrow)]
    pub(crate) text: Str<'a>,
    #[serde(borrow)]
    pub(crate) refusal: Str<'a>,
    #[serde(borrow)]
    pub(crate) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) input: Str<'a>,
    #[serde(borrow)]
    pub(crate) name: Str<'a>,
    #[serde(borrow)]
    pub(crate) item: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) part: Obj<Box<Part<'a>>>,
    #[serde(borrow)]
    pub(crate) annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) response: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads an event's payload; none for what is no event.
    pub(crate) fn read(payload: &'a [u8]) -> Option<Self> {
        // What is skipped must be text too.
        let text = std::str::from_utf8(payload).ok()?;
        serde_json::from_str::<Obj<Envelope<'a>>>(text).ok()?.0
    }
}

/// The error that a payload, or a whole answer, is in itself.
pub(crate) fn error_of(payload: &[u8]) -> Option<Error> {
    error_body::in_band(&serde_json::from_slice(payload).ok()?)
}

/// A response: `{"id", "created_at" (unix seconds), "model", "status", "output": [item], "usage", …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer<'a> {
    #[serde(borrow)]
    object: Str<'a>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) model: Str<'a>,
    pub(crate) created_at: Count,
    #[serde(borrow)]
    pub(crate) status: Str<'a>,
    #[serde(borrow)]
    pub(crate) incomplete_details: Obj<Incomplete<'a>>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    usage: Obj<WireUsage>,
    tool_usage: Obj<ToolUsage>,
    service_tier: Class,
}

impl<'a> Answer<'a> {
    /// Reads a response out of an event, or a whole body; none for anything else.
    pub(crate) fn read(json: &'a str) -> Option<Self> {
        let answer: Answer<'a> = serde_json::from_str::<Obj<Answer<'a>>>(json).ok()?.0?;
        let is_one = answer.object.text() == "response" || answer.output.is_some();
        (is_one || answer.status.full().is_some()).then_some(answer)
    }

    /// Its items, each as it came.
    pub(crate) fn items(&self) -> Vec<&'a RawValue> {
        let json = self.output.map(RawValue::get).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_default()
    }

    /// What was counted, where anything was. `calls` are those of the provider's own tools that were seen.
    pub(crate) fn usage(&self, calls: u64) -> Option<Usage> {
        let mut usage = self.usage.0.as_ref()?.normal();
        usage.tier = self.service_tier.0;
        let searches = self.tool_usage.0.as_ref().and_then(|tools| tools.web_search.0.as_ref());
        usage.server_calls = match (usage.server_calls, searches) {
            // What the provider charges for; opening a page that was found is not among it.
            (0, Some(searches)) if searches.num_requests.0 > 0 => searches.num_requests.0,
            (0, _) => calls,
            (stated, _) => stated,
        };
        Some(usage)
    }
}

/// The reason for which a response is incomplete.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Incomplete<'a> {
    #[serde(borrow)]
    pub(crate) reason: Str<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolUsage {
    web_search: Obj<Searches>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Searches {
    num_requests: Count,
}

/// An item of a conversation: a message, reasoning, a call, its result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) call_id: Str<'a>,
    #[serde(borrow)]
    pub(crate) name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    /// What a call of a tool without a schema is given.
    #[serde(borrow)]
    pub(crate) input: Str<'a>,
    /// Parts of a message, or of reasoning that is told in its own words.
    #[serde(borrow)]
    content: TextOr<'a, Part<'a>>,
    /// Reasoning as it is told to people.
    #[serde(borrow)]
    summary: List<Part<'a>>,
    #[serde(borrow)]
    pub(crate) encrypted_content: Str<'a>,
    /// A picture, in base64.
    #[serde(borrow)]
    pub(crate) result: Str<'a>,
    #[serde(borrow)]
    pub(crate) output_format: Str<'a>,
}

impl<'a> Item<'a> {
    /// Reads an item; none for what is no object.
    pub(crate) fn read(json: &'a RawValue) -> Option<Self> {
        serde_json::from_str::<Obj<Item<'a>>>(json.get()).ok()?.0
    }

    /// The arguments of a call as JSON text; empty where there are none.
    pub(crate) fn arguments(&self) -> Cow<'a, str> {
        arguments(self.arguments)
    }

    /// Its parts. A text in their place is one.
    pub(crate) fn parts(self) -> Few<Part<'a>> {
        match self.content {
            TextOr::Parts(parts) => parts,
            TextOr::Text(text) => Few::One(Part { text: Str(Some(text)), ..Part::default() }),
            TextOr::Absent => Few::default(),
        }
    }

    /// All its reasoning, a blank line between two parts.
    pub(crate) fn thoughts(&self) -> String {
        let parts = match &self.content {
            TextOr::Parts(parts) => &**parts,
            TextOr::Text(_) | TextOr::Absent => &[],
        };
        let told = self.summary.0.iter().chain(parts).filter_map(|part| part.text.full());
        told.collect::<Vec<_>>().join(BETWEEN)
    }
}

/// What stands between two parts of reasoning.
pub(crate) const BETWEEN: &str = "\n\n";

/// The arguments of a call as JSON text, which some relays send as the object itself.
pub(crate) fn arguments(json: Option<&RawValue>) -> Cow<'_, str> {
    match json.map(RawValue::get) {
        Some(text) if text.starts_with('"') => {
            serde_json::from_str::<Str<'_>>(text).ok().and_then(|text| text.0).unwrap_or_default()
        }
        Some(json) if json.starts_with('{') => Cow::Borrowed(json),
        _ => Cow::Borrowed(""),
    }
}

/// A part of a message (`output_text`, `refusal`, `output_audio`) or of reasoning (`summary_text`, `reasoning_text`).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Part<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) text: Str<'a>,
    #[serde(borrow)]
    pub(crate) refusal: Str<'a>,
    /// Sound, in base64, and what is spoken in it.
    #[serde(borrow)]
    pub(crate) data: Str<'a>,
    #[serde(borrow)]
    pub(crate) transcript: Str<'a>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) logprobs: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    /// The sources of its text, each as it came.
    pub(crate) fn annotations(&self) -> Vec<&'a RawValue> {
        let json = self.annotations.map(RawValue::get).filter(|json| json.len() > "[]".len());
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

/// How likely words were. Read only where there is something: nearly all answers hold an empty list.
pub(crate) fn logprobs(json: Option<&RawValue>) -> Vec<Logprob> {
    let found = json.map(RawValue::get).filter(|json| json.starts_with('[') && json.len() > "[]".len());
    let Some(found) = found.and_then(|json| serde_json::from_str::<List<WireLogprob>>(json).ok()) else {
        return Vec::new();
    };
    found.0.iter().filter_map(WireLogprob::normal).collect()
}

/// A source of a part's text: positions are characters of that text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Annotation<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) url: Str<'a>,
    #[serde(borrow)]
    pub(crate) title: Str<'a>,
    #[serde(borrow)]
    pub(crate) filename: Str<'a>,
    pub(crate) start_index: Option<Count>,
    pub(crate) end_index: Option<Count>,
}

impl<'a> Annotation<'a> {
    /// Reads a source, with its own words.
    pub(crate) fn read(json: &'a RawValue) -> Option<(Self, Value)> {
        let found = serde_json::from_str::<Obj<Annotation<'a>>>(json.get()).ok()?.0?;
        Some((found, serde_json::from_str(json.get()).ok()?))
    }
}

/// Token counts, and what some providers count besides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: Count,
    input_tokens_details: Obj<InputDetails>,
    output_tokens: Count,
    output_tokens_details: Obj<OutputDetails>,
    total_tokens: Count,
    /// xAI, in ten-billionths of a dollar.
    cost_in_usd_ticks: Count,
    num_server_side_tools_used: Count,
    /// OpenRouter, in dollars.
    cost: Decimal,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    audio_tokens: Count,
    image_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
    image_tokens: Count,
}

impl WireUsage {
    /// The counts in normal form: here, too, totals hold their parts.
    fn normal(&self) -> Usage {
        let input = self.input_tokens_details.0.as_ref();
        let output = self.output_tokens_details.0.as_ref();
        let reasoning = output.map_or(0, |details| details.reasoning_tokens.0);
        let cached_read = input.map_or(0, |details| details.cached_tokens.0);
        let mut input_total = self.input_tokens.0;
        // More cached than there is input: this provider counts them apart.
        if cached_read > input_total {
            input_total = input_total.saturating_add(cached_read);
        }
        let (mut output_total, total) = (self.output_tokens.0, self.total_tokens.0);
        // Some count reasoning apart from output; their total gives it away.
        let apart = input_total.saturating_add(output_total).saturating_add(reasoning);
        if reasoning > output_total || (reasoning > 0 && total == apart) {
            output_total = output_total.saturating_add(reasoning);
        }
        let cost = match self.cost_in_usd_ticks.0 {
            0 => self.cost.times(1e9),
            ticks => ticks / 10,
        };
        Usage {
            input_total,
            cached_read,
            cache_write: input.map_or(0, |details| details.cache_write_tokens.0),
            output_total,
            reasoning,
            audio_in: input.map_or(0, |details| details.audio_tokens.0),
            audio_out: output.map_or(0, |details| details.audio_tokens.0),
            image_in: input.map_or(0, |details| details.image_tokens.0),
            image_out: output.map_or(0, |details| details.image_tokens.0),
            // A total that the parts exceed was counted otherwise.
            stated_total: if total < input_total.saturating_add(output_total) { 0 } else { total },
            server_calls: self.num_server_side_tools_used.0,
            stated_cost: cost,
            ..Usage::default()
        }
    }
}
