//! What Cohere calls the ends of answers.
//!
//! Source: <https://docs.cohere.com/reference/chat> (`finish_reason`).

use http::StatusCode;

use crate::error_body;
use crate::ir::{Error, FinishReason};

/// The end of an answer.
pub(super) enum End {
    /// It ended for this reason.
    Finish(FinishReason),
    /// The provider failed.
    Failed(Error),
}

/// Reads a `finish_reason`, of either version; unknown ones are plain stops. `told` says more of a failure.
pub(super) fn end(raw: &str, told: Option<&str>) -> End {
    let failed = |status: StatusCode, code: &str| {
        let message = told.unwrap_or("upstream failed while it answered");
        End::Failed(error_body::normalise(status, message.as_bytes()).with_code(code))
    };
    match raw {
        "STOP_SEQUENCE" => End::Finish(FinishReason::StopSequence),
        "MAX_TOKENS" => End::Finish(FinishReason::Length),
        "ERROR_LIMIT" => End::Finish(FinishReason::ContextWindow),
        "TOOL_CALL" => End::Finish(FinishReason::ToolCalls),
        "ERROR_TOXIC" => End::Finish(FinishReason::ContentFilter),
        "ERROR" | "USER_CANCEL" => failed(StatusCode::BAD_GATEWAY, "upstream_error"),
        "TIMEOUT" => failed(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        _ => End::Finish(FinishReason::Stop),
    }
}
