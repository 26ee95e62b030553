//! What this dialect calls the ends and failures of answers.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/object> (`status`, `incomplete_details`, `error`).

use http::StatusCode;
use serde_json::{Value, json};

use super::wire::error_of;
use crate::ir::{Error, ErrorKind, FinishReason, Usage};

impl FinishReason {
    /// Reads the reason for which a response is incomplete. Whatever it is, the answer was cut.
    pub(crate) fn from_incomplete(reason: &str) -> Self {
        match reason {
            "content_filter" => Self::ContentFilter,
            _ => Self::Length,
        }
    }
}

/// The error of a response that failed.
pub(crate) fn failure(response: &[u8]) -> Error {
    let Some(mut error) = error_of(response) else {
        let message = "upstream failed while it answered";
        return Error::new(StatusCode::BAD_GATEWAY, message).with_code("upstream_error");
    };
    // Its codes are few, and those about what was asked do not all say so in their words.
    if error.signs.guessed && error.code.as_deref().is_some_and(is_about_the_request) {
        error.status = StatusCode::BAD_REQUEST;
        error.kind = ErrorKind::of(error.status);
        error.signs.guessed = false;
    }
    error
}

fn is_about_the_request(code: &str) -> bool {
    code.contains("image") || matches!(code, "bio_policy" | "data_residency_mismatch" | "invalid_prompt")
}

impl FinishReason {
    /// The `status` of a response, and the reason where it is incomplete.
    pub(crate) fn to_responses(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Length | Self::ContextWindow => ("incomplete", Some("max_output_tokens")),
            Self::ContentFilter | Self::Recitation => ("incomplete", Some("content_filter")),
            Self::Stop
            | Self::StopSequence
            | Self::ToolCalls
            | Self::Pause
            | Self::MalformedToolCall
            | Self::Error => ("completed", None),
        }
    }
}

impl Usage {
    /// The `usage` object of responses, with all its parts.
    pub(crate) fn to_responses(self) -> Value {
        json!({
            "input_tokens": self.input_total,
            "input_tokens_details": {
                "cached_tokens": self.cached_read,
                "cache_write_tokens": self.cache_write,
            },
            "output_tokens": self.output_total,
            "output_tokens_details": { "reasoning_tokens": self.reasoning },
            "total_tokens": self.total(),
        })
    }
}

/// Codes of failed responses that clients act upon.
const CODES: [&str; 5] = [
    "context_length_exceeded",
    "insufficient_quota",
    "invalid_prompt",
    "rate_limit_exceeded",
    "server_error",
];

/// `error` of a response that failed. Agents look at the code, and for how long to wait into the words.
pub(crate) fn response_error(error: &Error) -> Value {
    let own = error.code.as_deref().filter(|code| CODES.contains(code) || is_about_the_request(code));
    let code = own.unwrap_or(match error.kind {
        ErrorKind::RateLimit => "rate_limit_exceeded",
        ErrorKind::Billing => "insufficient_quota",
        ErrorKind::InvalidRequest => "invalid_prompt",
        _ => "server_error",
    });
    let wait = error.retry_after.filter(|_| {
        error.kind == ErrorKind::RateLimit && !error.message.to_ascii_lowercase().contains("try again in")
    });
    match wait {
        None => json!({ "code": code, "message": error.message }),
        Some(wait) => {
            let message = format!("{} Please try again in {}s.", error.message, wait.as_secs_f64().ceil());
            json!({ "code": code, "message": message })
        }
    }
}
