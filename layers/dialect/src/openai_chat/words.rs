//! What OpenAI chat calls the ends, errors and counts of answers.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/object>,
//! <https://platform.openai.com/docs/guides/error-codes>. Counts are in tokens.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::ir::{Error, ErrorKind, FinishReason, Usage};

impl FinishReason {
    /// The `finish_reason` of OpenAI chat. `called` says that a tool call was given out: providers that report a
    /// plain stop for such turns would leave clients waiting.
    pub fn to_openai(self, called: bool) -> &'static str {
        match self {
            Self::Stop | Self::StopSequence | Self::Pause | Self::MalformedToolCall | Self::Error
                if called =>
            {
                "tool_calls"
            }
            Self::Stop | Self::StopSequence | Self::Pause | Self::MalformedToolCall | Self::Error => "stop",
            Self::Length | Self::ContextWindow => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter | Self::Recitation => "content_filter",
        }
    }

    /// Reads the `finish_reason` of an OpenAI chat answer; `None` for null, empty and blank ones.
    pub fn from_openai(raw: &str) -> Option<Self> {
        Some(match raw.trim() {
            "" | "null" => return None,
            "length" | "max_tokens" | "MAX_TOKENS" => Self::Length,
            "model_length" => Self::ContextWindow,
            "tool_calls" | "tool_call" | "function_call" | "tool_use" => Self::ToolCalls,
            "content_filter" | "refusal" | "SAFETY" => Self::ContentFilter,
            "RECITATION" => Self::Recitation,
            "error" => Self::Error,
            "MALFORMED_FUNCTION_CALL" => Self::MalformedToolCall,
            _ => Self::Stop,
        })
    }
}

impl ErrorKind {
    /// The `type` in OpenAI errors.
    pub fn openai_type(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::TooLarge => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "insufficient_quota",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Timeout => "timeout",
            Self::RateLimit => "rate_limit_error",
            Self::Cancelled | Self::Upstream | Self::Overloaded => "server_error",
        }
    }

    /// The `code` in OpenAI errors that bring none of their own.
    pub fn openai_code(self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Authentication => "invalid_api_key",
            Self::Billing => "billing",
            Self::Timeout => "api_error",
            Self::TooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_exceeded",
            Self::Upstream => "upstream_error",
            Self::Overloaded => "overloaded",
            Self::InvalidRequest | Self::Permission | Self::NotFound | Self::Cancelled => return None,
        }))
    }
}

impl Usage {
    /// The `usage` object of OpenAI chat answers, with all its parts (zeros included, as clients expect).
    pub fn to_openai(&self) -> Value {
        let mut input = json!({ "cached_tokens": self.cached_read, "audio_tokens": self.audio_in });
        if self.cache_write > 0 {
            input["cache_write_tokens"] = self.cache_write.into();
        }
        json!({
            "prompt_tokens": self.input_total,
            "completion_tokens": self.output_total,
            "total_tokens": self.total(),
            "prompt_tokens_details": input,
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": self.audio_out,
                "accepted_prediction_tokens": self.accepted_prediction,
                "rejected_prediction_tokens": self.rejected_prediction,
            },
        })
    }
}

/// `{"error":{"message","type","param","code"}}`
pub(crate) fn error(error: &Error) -> Value {
    let code = error.code.as_deref().map(Into::into).or_else(|| error.kind.openai_code());
    json!({ "error": {
        "message": error.message,
        "type": error.kind.openai_type(),
        "param": error.param,
        "code": code,
    } })
}
