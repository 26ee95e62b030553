//! How each family of clients is told of a failure, as a body and inside a stream that has begun.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::ir::Error;

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
        let kind = error.kind;
        match self {
            Self::OpenAi => {
                let code = error.code.as_deref().map(Into::into).or_else(|| kind.openai_code());
                json!({ "error": {
                    "message": error.message,
                    "type": kind.openai_type(),
                    "param": error.param,
                    "code": code,
                } })
            }
            Self::Anthropic => json!({ "type": "error", "error": {
                "type": kind.anthropic_type(),
                "message": error.message,
            } }),
            Self::Gemini => json!({ "error": {
                "code": error.status.as_u16(),
                "message": error.message,
                "status": kind.gemini_status(),
                "details": [],
            } }),
        }
    }
}
