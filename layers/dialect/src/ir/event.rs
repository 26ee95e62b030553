use std::ops::Range;

use bytes::Bytes;
use serde_json::{Number, Value};

use super::{Error, FinishReason, Raw, Seal, Usage};
use crate::Dialect;

/// One step of an answer. A stream is `Start`, then content, then `Usage`* and one `Finish` for each candidate; an
/// `Error` may stand anywhere and ends it. Indexes of tool calls are dense, from 0, in the order of their starts
/// within their candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The upstream has begun to answer.
    Start {
        /// The upstream's name of the answer.
        id: Option<String>,
        /// The model as the upstream calls it.
        model: Option<String>,
        /// Unix seconds, where the upstream tells them.
        created: Option<u64>,
    },
    /// What follows belongs to this candidate. Until the first of these it is candidate 0.
    Choice(u32),
    /// More text.
    Text(String),
    /// More visible reasoning.
    Thinking(String),
    /// More of the seal of the text or reasoning before it, needed to replay it.
    Seal(Seal),
    /// The text or reasoning before it is complete. Where it is left out, a block ends where another kind begins.
    BlockEnd,
    /// Reasoning that only the provider can read.
    RedactedThinking(String),
    /// A tool call begins.
    ToolStart {
        /// Which call of the candidate.
        index: usize,
        /// The identity that its result must name; empty when the upstream gave none.
        id: String,
        /// The tool, as the client named it.
        name: String,
        /// What must come back with the call.
        seal: Option<Seal>,
    },
    /// More of a call's arguments: a fragment of JSON text.
    ToolArgs {
        /// Which call of the candidate.
        index: usize,
        /// The fragment; never empty.
        fragment: String,
    },
    /// A tool call is complete.
    ToolEnd {
        /// Which call of the candidate.
        index: usize,
    },
    /// A picture.
    Image {
        /// Its media type.
        mime: String,
        /// Its bytes, in base64.
        data: Bytes,
        /// What must come back with the picture.
        seal: Option<Seal>,
    },
    /// A picture that the answer only points to.
    ImageUrl(String),
    /// More sound.
    Audio {
        /// The upstream's name of the sound, on its first piece.
        id: Option<String>,
        /// Its media type.
        mime: String,
        /// Its bytes, no longer in base64: pieces of that cannot be joined.
        data: Bytes,
        /// Spoken words.
        transcript: String,
        /// Unix seconds until which the upstream keeps it.
        expires_at: Option<u64>,
    },
    /// Where a part of the text comes from. Behind the text, and before the end of its block.
    Citation(Citation),
    /// More words of a refusal.
    Refusal(String),
    /// How likely the words before it were.
    Logprobs(Vec<Logprob>),
    /// A block that only one dialect knows, such as a search that the provider did by itself.
    Opaque {
        /// The dialect that knows it.
        dialect: Dialect,
        /// It, whole.
        json: Value,
    },
    /// What was counted so far; the later report wins, field by field.
    Usage(Usage),
    /// Why the candidate ended.
    Finish {
        /// The reason in normal form.
        reason: FinishReason,
        /// The upstream's own word.
        raw: Option<String>,
        /// The stop sequence that was met.
        stop_sequence: Option<String>,
    },
    /// The upstream failed.
    Error(Error),
    /// A sign of life without meaning.
    KeepAlive,
}

/// A source of a part of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Citation {
    /// What it points to.
    pub kind: CitationKind,
    /// Which text block of the candidate draws on it, from 0.
    pub block: u32,
    /// Which characters of that block, and of what follows it; `None` for all of the block.
    pub span: Option<Range<u32>>,
    /// Where it can be read.
    pub url: Option<String>,
    /// What it is called.
    pub title: Option<String>,
    /// The words that are cited.
    pub cited_text: Option<String>,
    /// The whole as the upstream gave it, for its own family.
    pub raw: Option<Raw>,
}

/// The kind of thing that a citation points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CitationKind {
    /// A page in the web.
    #[default]
    Web,
    /// A document of the request.
    Document,
    /// A result of a search that the client made.
    SearchResult,
}

/// The likelihood of one token, and of those that could have stood in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// The token.
    pub token: String,
    /// The natural logarithm of its probability, as the upstream wrote it.
    pub logprob: Number,
    /// The token in UTF-8, where the upstream tells it: a character may lie across tokens.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens in its place, each without further ones.
    pub top: Vec<Logprob>,
}
