//! How each family of clients is told of a failure, as a body and inside a stream that has begun.

use bytes::Bytes;
use serde_json::Value;

use crate::anthropic::words as anthropic;
use crate::gemini::words as gemini;
use crate::ir::Error;
use crate::openai_chat::words as openai_chat;

/// The families of error bodies. A dialect has exactly one; a family serves several dialects, and those that are
/// not converted yet too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
    /// `{"error":{"code","message","status","details"}}`
    Gemini,
}

impl ErrorShape {
    /// The whole body of an answer that failed.
    pub fn body(self, error: &Error) -> Bytes {
        Bytes::from(self.value(error).to_string())
    }

    /// One framed event for a stream that has begun. No terminal marker follows: it would make a torn answer look whole.
    pub fn event(self, error: &Error) -> Bytes {
        let value = self.value(error);
        Bytes::from(match self {
            Self::Anthropic => format!("event: error\ndata: {value}\n\n"),
            Self::OpenAi | Self::Gemini => format!("data: {value}\n\n"),
        })
    }

    /// Bytes that keep a stream alive and mean nothing.
    pub fn keepalive(self) -> &'static [u8] {
        match self {
            Self::OpenAi | Self::Anthropic => b": keepalive\n\n",
            Self::Gemini => b"data: {\"candidates\":[]}\n\n",
        }
    }

    fn value(self, error: &Error) -> Value {
        match self {
            Self::OpenAi => openai_chat::error(error),
            Self::Anthropic => anthropic::error(error),
            Self::Gemini => gemini::error(error),
        }
    }
}
