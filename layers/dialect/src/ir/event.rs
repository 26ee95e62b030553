use serde_json::Value;

use super::{Error, FinishReason, Usage};

/// One step of an answer. A stream is `Start`, then content, then `Usage`* and `Finish`; an `Error` may stand
/// anywhere and ends it. Indexes of tool calls are dense, from 0, in the order of their starts.
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
    /// More text.
    Text(String),
    /// More visible reasoning.
    Thinking(String),
    /// The seal of the reasoning before it, needed to replay it.
    ThinkingSignature(String),
    /// Reasoning that only the provider can read.
    RedactedThinking(String),
    /// A tool call begins.
    ToolStart {
        /// Which call of the answer.
        index: usize,
        /// The identity that its result must name; empty when the upstream gave none.
        id: String,
        /// The tool, as the client named it.
        name: String,
        /// A seal that must come back with the call.
        signature: Option<String>,
    },
    /// More of a call's arguments: a fragment of JSON text.
    ToolArgs {
        /// Which call of the answer.
        index: usize,
        /// The fragment; never empty.
        fragment: String,
    },
    /// A tool call is complete.
    ToolEnd {
        /// Which call of the answer.
        index: usize,
    },
    /// A picture.
    Image {
        /// Its media type.
        mime: String,
        /// Its bytes, in base64.
        base64: String,
        /// A seal that must come back with the picture.
        signature: Option<String>,
    },
    /// A picture that the answer only points to.
    ImageUrl(String),
    /// More sound.
    Audio {
        /// The upstream's name of the sound, on its first piece.
        id: Option<String>,
        /// Bytes in base64.
        base64: String,
        /// Spoken words.
        transcript: String,
        /// Unix seconds until which the upstream keeps it.
        expires_at: Option<u64>,
    },
    /// Where a part of the text comes from.
    Citation(Citation),
    /// More words of a refusal.
    Refusal(String),
    /// What was counted so far; the later report wins, field by field.
    Usage(Usage),
    /// Why the answer ended.
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

/// A source of the text before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Citation {
    /// Where it can be read.
    pub url: Option<String>,
    /// What it is called.
    pub title: Option<String>,
    /// The words that are cited.
    pub cited_text: Option<String>,
    /// The whole as the upstream gave it, for its own family.
    pub raw: Value,
}
