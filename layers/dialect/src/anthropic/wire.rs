//! The borrowed shapes of Anthropic answers.
//!
//! One shape serves all stream events and whole messages: their fields do not collide.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>, and recordings.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error_body;
use crate::ir::{Error, Tier, Usage};
use crate::lenient::{Class, Count, List, Obj, Str};

/// An event: `{"type", "index"?, "message"?, "content_block"?, "delta"?, "usage"?}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    pub(crate) index: Count,
    /// `message_start`
    #[serde(borrow)]
    pub(crate) message: Obj<Message<'a>>,
    /// `content_block_start`
    #[serde(borrow)]
    pub(crate) content_block: Obj<Block<'a>>,
    /// `content_block_delta` and `message_delta`
    #[serde(borrow)]
    pub(crate) delta: Obj<Delta<'a>>,
    /// `message_delta`
    pub(crate) usage: Obj<WireUsage>,
}

impl<'a> Envelope<'a> {
    /// Reads an event's payload. The error is the one that it reports itself.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Option<Self>, Error> {
        match serde_json::from_slice::<Obj<Envelope<'a>>>(payload) {
            Ok(Obj(Some(event))) if event.kind.text() != "error" && event.kind.full().is_some() => {
                Ok(Some(event))
            }
            // Google wraps the errors of its Anthropic models in its own shapes, without a type.
            _ => error_of(payload).map_or(Ok(None), Err),
        }
    }
}

pub(crate) fn error_of(payload: &[u8]) -> Option<Error> {
    error_body::in_band(&serde_json::from_slice(payload).ok()?)
}

/// A message: `{"type":"message", "id", "model", "content": [block], "stop_reason", "stop_sequence", "usage"}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) model: Str<'a>,
    #[serde(borrow)]
    pub(crate) content: List<Block<'a>>,
    #[serde(borrow)]
    pub(crate) stop_reason: Str<'a>,
    #[serde(borrow)]
    pub(crate) stop_sequence: Str<'a>,
    pub(crate) usage: Obj<WireUsage>,
    /// `count_tokens` answers with this alone.
    pub(crate) input_tokens: Option<Count>,
}

impl<'a> Message<'a> {
    /// Reads a whole answer. The error is the one that it reports itself.
    pub(crate) fn read(body: &'a [u8]) -> Result<Option<Self>, Error> {
        // What is skipped must be text too.
        let Ok(text) = std::str::from_utf8(body) else { return Ok(None) };
        match serde_json::from_str::<Obj<Message<'a>>>(text) {
            Ok(Obj(Some(message))) if message.kind.text() == "message" || message.input_tokens.is_some() => {
                Ok(Some(message))
            }
            _ => error_of(body).map_or(Ok(None), Err),
        }
    }
}

/// A content block: text, reasoning, a call of a tool of the client's or the provider's, its result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) text: Str<'a>,
    #[serde(borrow)]
    pub(crate) thinking: Str<'a>,
    #[serde(borrow)]
    pub(crate) signature: Str<'a>,
    #[serde(borrow)]
    pub(crate) data: Str<'a>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) name: Str<'a>,
    #[serde(borrow)]
    pub(crate) input: Option<&'a RawValue>,
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Str<'a>,
}

impl<'a> Block<'a> {
    /// The sources of its text, each with its own words.
    pub(crate) fn citations(&self) -> Vec<(Citation<'a>, Value)> {
        let json = self.citations.map(RawValue::get).unwrap_or_default();
        let elements = serde_json::from_str::<Vec<&'a RawValue>>(json).unwrap_or_default();
        elements.into_iter().filter_map(read_citation).collect()
    }

    /// The block as it came, as far as blocks of provider's tools have these fields.
    pub(crate) fn json(&self) -> Value {
        let mut map = Map::new();
        for (name, text) in [
            ("type", &self.kind),
            ("id", &self.id),
            ("name", &self.name),
            ("tool_use_id", &self.tool_use_id),
            ("data", &self.data),
        ] {
            if let Some(text) = text.owned() {
                map.insert(name.to_owned(), text.into());
            }
        }
        for (name, value) in [("input", self.input), ("content", self.content)] {
            if let Some(value) = value.and_then(|value| serde_json::from_str(value.get()).ok()) {
                map.insert(name.to_owned(), value);
            }
        }
        Value::Object(map)
    }

    /// The arguments of a call as JSON text; empty when there are none.
    pub(crate) fn arguments(&self) -> &str {
        match self.input.map(RawValue::get) {
            Some(json) if json.starts_with('{') && json[1..json.len() - 1].trim().is_empty() => "",
            Some(json) if json.starts_with('{') => json,
            _ => "",
        }
    }
}

/// A delta: more of a block, or the end of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) text: Str<'a>,
    #[serde(borrow)]
    pub(crate) thinking: Str<'a>,
    #[serde(borrow)]
    pub(crate) signature: Str<'a>,
    #[serde(borrow)]
    pub(crate) partial_json: Str<'a>,
    #[serde(borrow)]
    citation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) stop_reason: Str<'a>,
    #[serde(borrow)]
    pub(crate) stop_sequence: Str<'a>,
}

impl<'a> Delta<'a> {
    /// A source of the text, with its own words.
    pub(crate) fn citation(&self) -> Option<(Citation<'a>, Value)> {
        self.citation.and_then(read_citation)
    }
}

fn read_citation(json: &RawValue) -> Option<(Citation<'_>, Value)> {
    let Obj(found) = serde_json::from_str(json.get()).ok()?;
    Some((found?, serde_json::from_str(json.get()).ok()?))
}

/// A source of a block of text, in the web, in a document, or in a search result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Citation<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) url: Str<'a>,
    #[serde(borrow)]
    pub(crate) title: Str<'a>,
    #[serde(borrow)]
    pub(crate) document_title: Str<'a>,
    #[serde(borrow)]
    pub(crate) cited_text: Str<'a>,
}

/// Token counts, cumulative over a stream. `input_tokens` leaves cached ones out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireUsage {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    cache_creation: Obj<CacheCreation>,
    output_tokens_details: Obj<OutputDetails>,
    server_tool_use: Obj<ServerToolUse>,
    service_tier: Class,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: Count,
    web_fetch_requests: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

/// Anthropic's own counts, gathered over the events of a stream.
///
/// Totals can only be formed from gathered parts: the last event often repeats the output alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    fresh: u64,
    read: u64,
    write: u64,
    write_1h: u64,
    output: u64,
    thinking: u64,
    server_calls: u64,
    tier: Option<Tier>,
}

impl Tally {
    /// Takes over a report; counts are cumulative, and absent ones stand.
    pub(crate) fn add(&mut self, wire: &WireUsage) {
        let creation = wire.cache_creation.0.as_ref();
        let short = creation.map_or(0, |creation| creation.ephemeral_5m_input_tokens.0);
        let long = creation.map_or(0, |creation| creation.ephemeral_1h_input_tokens.0);
        let thinking = wire.output_tokens_details.0.as_ref().map_or(0, |details| details.thinking_tokens.0);
        let server_calls = wire
            .server_tool_use
            .0
            .as_ref()
            .map_or(0, |calls| calls.web_search_requests.0.saturating_add(calls.web_fetch_requests.0));
        for (field, value) in [
            (&mut self.fresh, wire.input_tokens.0),
            (&mut self.read, wire.cache_read_input_tokens.0),
            (&mut self.write, wire.cache_creation_input_tokens.0.max(short.saturating_add(long))),
            (&mut self.write_1h, long),
            (&mut self.output, wire.output_tokens.0),
            (&mut self.thinking, thinking),
            (&mut self.server_calls, server_calls),
        ] {
            if value > 0 {
                *field = value;
            }
        }
        self.tier = wire.service_tier.0.or(self.tier);
    }

    /// The counts in normal form.
    pub(crate) fn normal(&self) -> Usage {
        Usage {
            input_total: self.fresh.saturating_add(self.read).saturating_add(self.write),
            cached_read: self.read,
            cache_write: self.write,
            cache_write_1h: self.write_1h,
            output_total: self.output,
            reasoning: self.thinking,
            server_calls: self.server_calls,
            tier: self.tier,
            ..Usage::default()
        }
    }
}
