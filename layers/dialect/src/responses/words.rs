//! What this dialect calls the ends and failures of answers.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/object> (`status`, `incomplete_details`, `error`).

use http::StatusCode;

use super::wire::error_of;
use crate::ir::{Error, ErrorKind, FinishReason};

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
