//! What Gemini calls errors.
//!
//! Source: <https://cloud.google.com/apis/design/errors>.

use serde_json::{Value, json};

use crate::ir::{Error, ErrorKind};

impl ErrorKind {
    /// The `error.status` in Gemini errors.
    pub fn gemini_status(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::TooLarge => "INVALID_ARGUMENT",
            Self::Authentication => "UNAUTHENTICATED",
            Self::Billing => "FAILED_PRECONDITION",
            Self::Permission => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::Timeout => "DEADLINE_EXCEEDED",
            Self::RateLimit => "RESOURCE_EXHAUSTED",
            Self::Cancelled => "CANCELLED",
            Self::Upstream => "INTERNAL",
            Self::Overloaded => "UNAVAILABLE",
        }
    }
}

/// `{"error":{"code","message","status","details"}}`
pub(crate) fn error(error: &Error) -> Value {
    json!({ "error": {
        "code": error.status.as_u16(),
        "message": error.message,
        "status": error.kind.gemini_status(),
        "details": [],
    } })
}
