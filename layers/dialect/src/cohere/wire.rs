//! The borrowed shapes of Cohere's answers, version 2, and what version 1 shares with it.
//!
//! Events and whole answers have their fields in common; what is a list in a whole answer is one object in an event.
//!
//! Source: <https://docs.cohere.com/reference/chat-stream>, and recordings.

use serde::Deserialize;
use serde_json::Number;

use crate::ir::{self, CitationKind, Logprob, Usage};
use crate::lenient::{Count, List, Obj, Several, Str};

/// An event: `{"type", "id"?, "index"?, "delta"?, "logprobs"?}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) delta: Obj<Delta<'a>>,
    #[serde(borrow)]
    pub(super) logprobs: Several<WireLogprob<'a>>,
}

/// More of a message, or its end.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) message: Obj<Message<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Str<'a>,
    #[serde(borrow)]
    pub(super) error: Str<'a>,
    pub(super) usage: Obj<WireUsage>,
}

/// A whole answer: `{"id", "message", "finish_reason", "usage", "logprobs"?}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Whole<'a> {
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    #[serde(borrow)]
    pub(super) message: Obj<Message<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Str<'a>,
    #[serde(borrow)]
    pub(super) error: Str<'a>,
    pub(super) usage: Obj<WireUsage>,
    #[serde(borrow)]
    pub(super) logprobs: Several<WireLogprob<'a>>,
}

/// The model's message, or a part of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) content: Several<Content<'a>>,
    #[serde(borrow)]
    pub(super) tool_plan: Str<'a>,
    #[serde(borrow)]
    pub(super) tool_calls: Several<ToolCall<'a>>,
    #[serde(borrow)]
    pub(super) citations: Several<WireCitation<'a>>,
}

/// A block of text or of reasoning.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow)]
    pub(super) text: Str<'a>,
    #[serde(borrow)]
    pub(super) thinking: Str<'a>,
}

impl Content<'_> {
    /// Whether it is reasoning.
    pub(super) fn is_thinking(&self) -> bool {
        self.kind.text() == "thinking" || self.thinking.full().is_some()
    }
}

/// A call of a tool, or more of its arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    #[serde(borrow)]
    pub(super) function: Obj<Function<'a>>,
}

/// The function that is called; arguments are JSON text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Str<'a>,
    #[serde(borrow)]
    pub(super) arguments: Str<'a>,
}

/// A part of the text that draws on sources; positions are characters of its block.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireCitation<'a> {
    start: Option<Count>,
    end: Option<Count>,
    #[serde(borrow, rename = "type")]
    of: Str<'a>,
    pub(super) content_index: Option<Count>,
    #[serde(borrow)]
    sources: List<Source<'a>>,
}

/// A document of the request, or what a tool gave back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    document: Obj<Fields<'a>>,
    #[serde(borrow)]
    tool_output: Obj<Fields<'a>>,
}

/// The fields of a document, which are the client's own: those that most of them have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    pub(super) id: Str<'a>,
    #[serde(borrow)]
    url: Str<'a>,
    #[serde(borrow)]
    title: Str<'a>,
    #[serde(borrow)]
    text: Str<'a>,
    #[serde(borrow)]
    snippet: Str<'a>,
    #[serde(borrow)]
    content: Str<'a>,
}

impl Fields<'_> {
    /// A citation of it.
    pub(super) fn cited(&self, kind: CitationKind) -> ir::Citation {
        let words = [&self.text, &self.snippet, &self.content].into_iter().find_map(|text| text.owned());
        ir::Citation {
            kind,
            url: self.url.owned(),
            title: self.title.owned(),
            cited_text: words,
            ..ir::Citation::default()
        }
    }
}

impl WireCitation<'_> {
    /// Whether it is about the text: plans and reasoning are cited too, and have no place for it.
    pub(super) fn is_of_text(&self) -> bool {
        !matches!(self.of.text(), "PLAN" | "THINKING_CONTENT")
    }

    /// Which characters it is about.
    pub(super) fn span(&self) -> Option<std::ops::Range<u32>> {
        let place = |count: Option<Count>| count.and_then(|count| u32::try_from(count.0).ok());
        place(self.start).zip(place(self.end)).map(|(start, end)| start..end)
    }

    /// Its sources, each a citation of its own.
    pub(super) fn sources(&self) -> impl Iterator<Item = ir::Citation> {
        self.sources.0.iter().map(|source| match (&source.document.0, &source.tool_output.0) {
            (Some(document), _) => document.cited(CitationKind::Document),
            (None, Some(output)) => output.cited(CitationKind::SearchResult),
            (None, None) if source.kind.text() == "tool" => {
                ir::Citation { kind: CitationKind::SearchResult, ..ir::Citation::default() }
            }
            (None, None) => ir::Citation { kind: CitationKind::Document, ..ir::Citation::default() },
        })
    }
}

/// The likelihood of a piece of text, token by token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireLogprob<'a> {
    #[serde(borrow)]
    text: Str<'a>,
    logprobs: Option<Vec<Number>>,
}

impl WireLogprob<'_> {
    /// The likelihood of the piece. The words of single tokens are not told, so those of a piece count together.
    pub(super) fn normal(&self) -> Option<Logprob> {
        let logprob = match self.logprobs.as_deref()? {
            [] => return None,
            [one] => one.clone(),
            several => Number::from_f64(several.iter().filter_map(Number::as_f64).sum())?,
        };
        Some(Logprob { token: self.text.text().to_owned(), logprob, bytes: None, top: Vec::new() })
    }
}

/// The counts of what an answer took: `{"tokens", "billed_units", "cached_tokens"}`, which version 1 calls `meta`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    tokens: Obj<Tokens>,
    billed_units: Obj<Billed>,
    cached_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    reasoning_tokens: Count,
    image_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Billed {
    input_tokens: Count,
    output_tokens: Count,
    search_units: Count,
}

impl WireUsage {
    /// The counts in normal form: tokens, or what is charged for where those are not told.
    pub(super) fn normal(&self) -> Usage {
        let billed = self.billed_units.0.as_ref();
        let searches = billed.map_or(0, |billed| billed.search_units.0);
        let (input, output, reasoning, image) = match (&self.tokens.0, billed) {
            (Some(tokens), _) => {
                let Tokens { input_tokens, output_tokens, reasoning_tokens, image_tokens } = tokens;
                (input_tokens.0, output_tokens.0, reasoning_tokens.0, image_tokens.0)
            }
            (None, Some(billed)) => (billed.input_tokens.0, billed.output_tokens.0, 0, 0),
            (None, None) => (0, 0, 0, 0),
        };
        Usage {
            input_total: input,
            cached_read: self.cached_tokens.0.min(input),
            output_total: output,
            reasoning: reasoning.min(output),
            // Pictures are at times counted apart from the input, at times within it.
            image_in: if image <= input { image } else { 0 },
            search_units: searches,
            ..Usage::default()
        }
    }
}
