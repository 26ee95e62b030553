//! The borrowed shapes of Converse answers.
//!
//! One shape serves all stream events and whole answers: their fields do not collide.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> and `…_ConverseStream.html`,
//! and recordings.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ir::Usage;
use crate::lenient::{Class, Count, List, Obj, Str};

/// The payload of an event, whatever its name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Payload<'a> {
    pub(super) content_block_index: Count,
    #[serde(borrow)]
    pub(super) start: Obj<Start<'a>>,
    #[serde(borrow)]
    pub(super) delta: Obj<Delta<'a>>,
    #[serde(borrow)]
    pub(super) stop_reason: Str<'a>,
    #[serde(borrow)]
    pub(super) additional_model_response_fields: Obj<Additional<'a>>,
    pub(super) usage: Obj<WireUsage>,
    pub(super) service_tier: Obj<Served>,
}

/// The class of service in which an answer was served.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Served {
    #[serde(rename = "type")]
    pub(super) class: Class,
}

/// A whole answer: `{"output":{"message":{"role","content":[block]}}, "stopReason", "usage", "metrics", "trace"}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) output: Obj<Output<'a>>,
    #[serde(borrow)]
    pub(super) stop_reason: Str<'a>,
    #[serde(borrow)]
    pub(super) additional_model_response_fields: Obj<Additional<'a>>,
    pub(super) usage: Obj<WireUsage>,
    pub(super) service_tier: Obj<Served>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub(super) message: Obj<Message<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) content: List<Block<'a>>,
}

/// The beginning of a block: of a call, of a result of a provider's tool, of a picture.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Start<'a> {
    #[serde(borrow)]
    pub(super) tool_use: Obj<ToolUse<'a>>,
    #[serde(borrow)]
    pub(super) tool_result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) image: Obj<Image<'a>>,
}

/// More of a block.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) tool_use: Obj<ToolInput<'a>>,
    #[serde(borrow)]
    pub(super) tool_result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Obj<Reasoning<'a>>,
    #[serde(borrow)]
    pub(super) citation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) image: Obj<Image<'a>>,
}

/// More of the arguments of a call: a fragment of JSON text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolInput<'a> {
    #[serde(borrow)]
    pub(super) input: Str<'a>,
}

/// More of a thought, or of what seals it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reasoning<'a> {
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) signature: Str<'a>,
    #[serde(borrow)]
    pub(super) redacted_content: Str<'a>,
    /// Of whole answers.
    #[serde(borrow)]
    pub(super) reasoning_text: Obj<ReasoningText<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReasoningText<'a> {
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) signature: Str<'a>,
}

/// A block of a whole answer: it has one of these.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) tool_use: Obj<ToolUse<'a>>,
    #[serde(borrow)]
    pub(super) tool_result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Obj<Reasoning<'a>>,
    #[serde(borrow)]
    pub(super) citations_content: Obj<Cited<'a>>,
    #[serde(borrow)]
    pub(super) image: Obj<Image<'a>>,
}

/// A call of a tool: the client's, or with a `type` one that the provider made itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Str<'a>,
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

impl ToolUse<'_> {
    /// Whether it ran at the provider.
    pub(super) fn is_of_server(&self) -> bool {
        self.kind.text() == "server_tool_use"
    }

    /// The arguments as JSON text; empty where there are none.
    pub(super) fn arguments(&self) -> &str {
        match self.input.map(RawValue::get) {
            Some(json) if json.starts_with('{') && json[1..json.len() - 1].trim().is_empty() => "",
            Some(json) if json.starts_with('{') => json,
            _ => "",
        }
    }
}

/// Text with its sources.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cited<'a> {
    #[serde(borrow)]
    pub(super) content: List<CitedText<'a>>,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
}

impl Cited<'_> {
    /// Its sources, each as it came.
    pub(super) fn sources(&self) -> Vec<&RawValue> {
        let json = self.citations.map(RawValue::get).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_default()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CitedText<'a> {
    #[serde(borrow)]
    pub(super) text: Str<'a>,
}

/// A source of a text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Citation<'a> {
    #[serde(borrow)]
    pub(super) title: Str<'a>,
    #[serde(borrow)]
    pub(super) source: Str<'a>,
    #[serde(borrow)]
    source_content: List<CitedText<'a>>,
    #[serde(borrow)]
    pub(super) location: Obj<Location<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Location<'a> {
    #[serde(borrow)]
    pub(super) web: Obj<Web<'a>>,
    #[serde(borrow)]
    pub(super) search_result_location: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Web<'a> {
    #[serde(borrow)]
    pub(super) url: Str<'a>,
    #[serde(borrow)]
    pub(super) domain: Str<'a>,
}

impl Citation<'_> {
    /// The words that are cited.
    pub(super) fn cited_text(&self) -> Option<String> {
        let words: String = self.source_content.0.iter().map(|piece| piece.text.text()).collect();
        (!words.is_empty()).then_some(words)
    }
}

/// A picture that a model made: its format where it begins, then its bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Image<'a> {
    #[serde(borrow)]
    pub(super) format: Str<'a>,
    #[serde(borrow)]
    pub(super) source: Obj<ImageSource<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageSource<'a> {
    #[serde(borrow)]
    pub(super) bytes: Str<'a>,
}

/// The words of Claude beside its reason to stop, where they were asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Additional<'a> {
    #[serde(borrow)]
    stop_sequence: Str<'a>,
    #[serde(borrow)]
    delta: Obj<StopDelta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StopDelta<'a> {
    #[serde(borrow)]
    stop_sequence: Str<'a>,
}

impl Additional<'_> {
    /// The stop sequence that was met.
    pub(super) fn stop_sequence(&self) -> Option<String> {
        self.stop_sequence.owned().or_else(|| self.delta.0.as_ref()?.stop_sequence.owned())
    }
}

/// Token counts. The input leaves cached tokens out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireUsage {
    input_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    cache_details: List<CacheDetail>,
    server_tool_usage: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CacheDetail {
    ttl: Ttl,
    input_tokens: Count,
}

/// The time for which what was written is kept: whether it is an hour.
#[derive(Debug, Default)]
struct Ttl(bool);

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Value::deserialize(deserializer)?;
        Ok(Self(word == "1h"))
    }
}

impl WireUsage {
    /// The counts in normal form.
    pub(super) fn normal(&self) -> Usage {
        let (read, write) = (self.cache_read_input_tokens.0, self.cache_write_input_tokens.0);
        let kept = self.cache_details.0.iter().filter(|detail| detail.ttl.0);
        let kept = kept.fold(0u64, |sum, detail| sum.saturating_add(detail.input_tokens.0));
        let calls = self.server_tool_usage.as_ref().and_then(Value::as_object);
        let calls = calls.into_iter().flat_map(|calls| calls.values()).filter_map(Value::as_u64);
        Usage {
            input_total: self.input_tokens.0.saturating_add(read).saturating_add(write),
            cached_read: read,
            cache_write: write,
            cache_write_1h: kept.min(write),
            output_total: self.output_tokens.0,
            stated_total: self.total_tokens.0,
            server_calls: calls.fold(0, u64::saturating_add),
            ..Usage::default()
        }
    }
}
