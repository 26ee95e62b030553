//! The borrowed shapes of OpenAI chat answers, tolerant of all who imitate them.
//!
//! One shape serves chunks and whole answers, since some providers send `message` where `delta` belongs.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/object>, and recordings.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::error_body;
use crate::ir::{Error, Logprob, Usage};
use crate::lenient::{Class, Cost, Count, List, Obj, Str, TextOr};
use crate::openai_chat::usage::WireUsage;

/// A chunk, or a whole answer: `{"id", "model", "created" (unix seconds), "choices", "usage"?}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk<'a> {
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) model: Str<'a>,
    #[serde(borrow)]
    pub(crate) object: Str<'a>,
    pub(crate) created: Count,
    #[serde(borrow)]
    pub(crate) choices: List<Choice<'a>>,
    pub(crate) usage: Obj<WireUsage>,
    x_groq: Obj<Groq>,
    service_tier: Class,
    /// Venice has it beside the usage.
    cost: Cost,
    /// Perplexity, xAI: addresses of the sources of the text, in the order in which it counts them.
    #[serde(borrow)]
    citations: Option<&'a RawValue>,
    /// Perplexity: the same with titles.
    #[serde(borrow)]
    search_results: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    base_resp: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    /// Answers of other operations (embeddings, images, moderations, transcriptions), seen as content only.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    /// Reads an event's payload, or a whole answer. The error is the one that it reports itself.
    pub(crate) fn read(payload: &'a [u8]) -> Result<Option<Self>, Error> {
        let Ok(text) = std::str::from_utf8(payload) else { return Ok(None) };
        match serde_json::from_str::<Obj<Chunk<'a>>>(text) {
            Ok(Obj(Some(chunk))) => match chunk.suspect().then(|| error_of(payload)).flatten() {
                Some(error) => Err(error),
                None => Ok(Some(chunk)),
            },
            // Google's imitation wraps errors into an array; a repeated key fails the shape, not the error.
            _ => error_of(payload).map_or(Ok(None), Err),
        }
    }

    /// Whether it is worth looking for an error.
    fn suspect(&self) -> bool {
        self.error.is_some()
            || self.errors.is_some()
            || self.base_resp.is_some()
            || self.detail.is_some()
            || self.object.text() == "error"
            || self.choices.0.iter().any(|choice| choice.error.is_some())
    }

    /// The usage, wherever the provider puts it.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let wire = self.usage.0.as_ref().or(self.x_groq.0.as_ref().and_then(|groq| groq.usage.0.as_ref()))?;
        let mut usage = wire.normal();
        if usage.stated_cost == 0 {
            usage.stated_cost = self.cost.billionths();
        }
        usage.tier = self.service_tier.0;
        Some(usage).filter(|usage| !usage.is_empty())
    }

    /// The sources of the text as they are told beside it; the fuller of two lists.
    pub(crate) fn sources(&self) -> Option<&'a str> {
        let list =
            |value: Option<&'a RawValue>| value.map(RawValue::get).filter(|json| json.starts_with('['));
        list(self.search_results).or(list(self.citations))
    }

    /// Whether it holds the answer of an operation other than chat.
    pub(crate) fn other_content(&self) -> bool {
        [self.data, self.results, self.text]
            .into_iter()
            .flatten()
            .any(|value| !matches!(value.get(), "[]" | "{}" | "\"\"" | "null"))
    }
}

fn error_of(payload: &[u8]) -> Option<Error> {
    error_body::in_band(&serde_json::from_slice(payload).ok()?)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Groq {
    usage: Obj<WireUsage>,
}

/// A candidate: `{"index", "delta" | "message", "logprobs", "finish_reason"}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice<'a> {
    pub(crate) index: Count,
    /// Not in a box: it is nearly all of every chunk.
    #[serde(borrow)]
    delta: Obj<Message<'a>>,
    #[serde(borrow)]
    message: Obj<Box<Message<'a>>>,
    /// Legacy completions.
    #[serde(borrow)]
    pub(crate) text: Str<'a>,
    #[serde(borrow)]
    pub(crate) finish_reason: Str<'a>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Choice<'a> {
    /// How likely its words were. Read only where there is something: nearly all answers say null.
    pub(crate) fn logprobs(&self) -> Vec<Logprob> {
        let found = self.logprobs.map(RawValue::get).filter(|json| json.starts_with('{'));
        let Some(found) = found.and_then(|json| serde_json::from_str::<Logprobs>(json).ok()) else {
            return Vec::new();
        };
        found.content.0.iter().filter_map(WireLogprob::normal).collect()
    }

    /// What it says: the delta, or the message some providers send in its place.
    ///
    /// Perplexity sends both: the message beside a delta holds all that was said so far. Where nothing was, as in a
    /// whole answer, whose delta is empty, the message is what counts.
    pub(crate) fn message(&self, said: bool) -> Option<&Message<'a>> {
        let (delta, message) = (self.delta.0.as_ref(), self.message.0.as_deref());
        match (delta, message) {
            (Some(delta), Some(message)) if !said && delta.is_empty() => Some(message),
            _ => delta.or(message),
        }
    }
}

/// A message, or a delta of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) content: TextOr<'a, Part<'a>>,
    #[serde(borrow)]
    pub(crate) reasoning_content: Str<'a>,
    #[serde(borrow)]
    pub(crate) reasoning: Str<'a>,
    #[serde(borrow)]
    pub(crate) refusal: Str<'a>,
    #[serde(borrow)]
    pub(crate) tool_calls: List<ToolCall<'a>>,
    #[serde(borrow)]
    pub(crate) function_call: Obj<Function<'a>>,
    #[serde(borrow)]
    pub(crate) audio: Obj<Audio<'a>>,
    #[serde(borrow)]
    pub(crate) images: List<Part<'a>>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let silent = match &self.content {
            TextOr::Absent => true,
            TextOr::Text(text) => text.is_empty(),
            TextOr::Parts(parts) => parts.is_empty(),
        };
        silent
            && self.thinking().is_empty()
            && self.refusal.text().is_empty()
            && self.tool_calls.0.is_empty()
            && self.images.0.is_empty()
            && self.function_call.0.is_none()
            && self.audio.0.is_none()
    }

    /// The sources of the text, each with its own words.
    pub(crate) fn annotations(&self) -> Vec<(Annotation<'a>, Value)> {
        let Some(json) = self.annotations.map(RawValue::get).filter(|json| json.starts_with('[')) else {
            return Vec::new();
        };
        let Ok(elements) = serde_json::from_str::<Vec<&'a RawValue>>(json) else { return Vec::new() };
        let read = |element: &&'a RawValue| {
            let Obj(Some(annotation)) = serde_json::from_str(element.get()).ok()? else { return None };
            Some((annotation, serde_json::from_str(element.get()).ok()?))
        };
        elements.iter().filter_map(read).collect()
    }

    /// The reasoning text: DeepSeek's field, or that of OpenRouter, Groq and newer vLLM.
    pub(crate) fn thinking(&self) -> &str {
        self.reasoning_content.full().unwrap_or_else(|| self.reasoning.text())
    }
}

/// A part of a message whose content is an array (Databricks, Mistral), or a picture (OpenRouter).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Part<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Str<'a>,
    #[serde(borrow)]
    pub(crate) text: Str<'a>,
    #[serde(borrow)]
    pub(crate) refusal: Str<'a>,
    #[serde(borrow)]
    pub(crate) summary: List<Words<'a>>,
    #[serde(borrow)]
    pub(crate) thinking: TextOr<'a, Words<'a>>,
    #[serde(borrow)]
    pub(crate) image_url: Obj<Address<'a>>,
}

impl Part<'_> {
    /// The reasoning it holds.
    pub(crate) fn thoughts(&self) -> String {
        let mut text: String = self.summary.0.iter().map(|words| words.text.text()).collect();
        match &self.thinking {
            TextOr::Text(more) => text.push_str(more),
            TextOr::Parts(parts) => text.extend(parts.iter().map(|words| words.text.text())),
            TextOr::Absent => {}
        }
        text
    }
}

/// A piece of reasoning within a part.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Words<'a> {
    #[serde(borrow)]
    text: Str<'a>,
}

/// The address of a picture, mostly a data URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Address<'a> {
    #[serde(borrow)]
    pub(crate) url: Str<'a>,
}

/// A tool call, or a fragment of one: `{"index"?, "id"?, "function": {"name"?, "arguments"}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCall<'a> {
    pub(crate) index: Option<Count>,
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) function: Obj<Function<'a>>,
    #[serde(borrow)]
    pub(crate) extra_content: Option<&'a RawValue>,
}

/// A function that is called.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Function<'a> {
    #[serde(borrow)]
    pub(crate) name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl Function<'_> {
    /// Whether nothing is called.
    pub(crate) fn is_empty(&self) -> bool {
        self.name.full().is_none() && self.arguments().is_empty()
    }

    /// The arguments as JSON text; some providers send the object itself.
    pub(crate) fn arguments(&self) -> Cow<'_, str> {
        match self.arguments.map(RawValue::get) {
            Some(text) if text.starts_with('"') => serde_json::from_str::<Str<'_>>(text)
                .map(|text| text.0.unwrap_or_default())
                .unwrap_or_default(),
            Some(json) if json.starts_with('{') => Cow::Borrowed(json),
            _ => Cow::Borrowed(""),
        }
    }
}

/// Sound: base64, spoken words, and the unix second until which it is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Audio<'a> {
    #[serde(borrow)]
    pub(crate) id: Str<'a>,
    #[serde(borrow)]
    pub(crate) data: Str<'a>,
    #[serde(borrow)]
    pub(crate) transcript: Str<'a>,
    pub(crate) expires_at: Count,
}

impl Audio<'_> {
    /// Whether there is no sound, and no word of one.
    pub(crate) fn is_empty(&self) -> bool {
        [&self.id, &self.data, &self.transcript].iter().all(|text| text.full().is_none())
    }
}

/// A source of the text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Annotation<'a> {
    #[serde(borrow)]
    pub(crate) url_citation: Obj<UrlCitation<'a>>,
}

/// A source in the web; positions are characters of the whole content.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UrlCitation<'a> {
    #[serde(borrow)]
    pub(crate) url: Str<'a>,
    #[serde(borrow)]
    pub(crate) title: Str<'a>,
    #[serde(borrow)]
    pub(crate) content: Str<'a>,
    pub(crate) start_index: Option<Count>,
    pub(crate) end_index: Option<Count>,
}

/// A source that is told beside the text: an address, or one with a title.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Source {
    Address(String),
    Result {
        url: String,
        #[serde(default)]
        title: Option<String>,
        #[serde(default)]
        snippet: Option<String>,
    },
    Other(serde::de::IgnoredAny),
}

/// `logprobs` of a choice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Logprobs {
    pub(crate) content: List<WireLogprob>,
}

/// The likelihood of a token (natural logarithm).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireLogprob {
    token: String,
    logprob: Option<Number>,
    bytes: Option<Vec<u8>>,
    top_logprobs: Option<Box<List<WireLogprob>>>,
}

impl WireLogprob {
    /// The likelihood in normal form; none without a number.
    pub(crate) fn normal(&self) -> Option<Logprob> {
        Some(Logprob {
            token: self.token.clone(),
            logprob: self.logprob.clone()?,
            bytes: self.bytes.clone(),
            top: self.top_logprobs.iter().flat_map(|top| &top.0).filter_map(Self::normal).collect(),
        })
    }
}
