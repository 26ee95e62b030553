//! How each family of clients is told of a failure, as a body and inside a stream that has begun.

use bytes::Bytes;
use serde_json::Value;

use crate::anthropic::words as anthropic;
use crate::gemini::words as gemini;
use crate::ir::Error;
use crate::openai_chat::words as openai_chat;
use crate::{responses, surrogates};

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
    /// OpenAI's as a body; in a stream a response that failed.
    Responses,
}

impl ErrorShape {
    /// The whole body of an answer that failed.
    pub fn body(self, error: &Error) -> Bytes {
        Bytes::from(self.value(error).to_string())
    }

    /// What a stream that has begun and said nothing is told, framed. No terminal marker follows: it would make a torn answer look whole.
    pub fn event(self, error: &Error) -> Bytes {
        let value = self.value(error);
        Bytes::from(match self {
            Self::Anthropic => format!("event: error\ndata: {value}\n\n"),
            Self::OpenAi | Self::Gemini => format!("data: {value}\n\n"),
            Self::Responses => return responses::failed_stream(error),
        })
    }

    /// Bytes that keep a stream alive and mean nothing.
    pub fn keepalive(self) -> &'static [u8] {
        match self {
            Self::OpenAi | Self::Responses => b": keepalive\n\n",
            Self::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
            Self::Gemini => b"data: {\"candidates\":[]}\n\n",
        }
    }

    /// Whether a body is an error as these clients read it. Mistral, Cloudflare and others have shapes of their own.
    pub fn fits(self, body: &[u8]) -> bool {
        let Ok(body) = surrogates::read::<Value>(body) else { return false };
        let error = &body["error"];
        error["message"].is_string()
            && match self {
                Self::OpenAi | Self::Responses => true,
                Self::Anthropic => body["type"] == "error" && error["type"].is_string(),
                Self::Gemini => error["status"].is_string(),
            }
    }

    fn value(self, error: &Error) -> Value {
        match self {
            Self::OpenAi | Self::Responses => openai_chat::error(error),
            Self::Anthropic => anthropic::error(error),
            Self::Gemini => gemini::error(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn what_a_shape_writes_fits_it_and_no_flat_body_fits_any() {
        let shapes = [ErrorShape::OpenAi, ErrorShape::Anthropic, ErrorShape::Gemini, ErrorShape::Responses];
        for shape in shapes {
            assert!(shape.fits(&shape.body(&Error::new(StatusCode::BAD_REQUEST, "no"))), "{shape:?}");
        }
        for flat in [
            r#"{"object":"error","message":"no","type":"invalid_request_error","code":3051}"#,
            r#"{"errors":[{"code":7009,"message":"no"}],"success":false,"result":{}}"#,
            r#"{"detail":[{"loc":["body","messages"],"msg":"field required"}]}"#,
            r#"{"error":"no"}"#,
            r#"{"error":null}"#,
            r#"{"message":"no"}"#,
            r#"[{"error":{"message":"no","status":"X"}}]"#,
            "no",
        ] {
            for shape in shapes {
                assert!(!shape.fits(flat.as_bytes()), "{shape:?} {flat}");
            }
        }
        assert!(ErrorShape::OpenAi.fits(br#"{"error":{"message":"half \ud83d of it"},"user_id":"u"}"#));
        assert!(!ErrorShape::Anthropic.fits(br#"{"error":{"message":"no","type":"x"}}"#));
    }
}
