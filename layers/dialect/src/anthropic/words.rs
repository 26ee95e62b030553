//! What Anthropic calls the ends, errors and counts of answers.
//!
//! Sources: <https://docs.anthropic.com/en/api/messages>, <https://docs.anthropic.com/en/api/errors>. Counts are in
//! tokens.

use serde_json::{Map, Value, json};

use crate::ir::{Error, ErrorKind, FinishReason, Usage};

impl FinishReason {
    /// The `stop_reason` of Anthropic messages.
    pub fn to_anthropic(self, called: bool) -> &'static str {
        match self {
            Self::Stop | Self::MalformedToolCall | Self::Error if called => "tool_use",
            Self::Stop | Self::MalformedToolCall | Self::Error => "end_turn",
            Self::StopSequence => "stop_sequence",
            Self::Length => "max_tokens",
            Self::ContextWindow => "model_context_window_exceeded",
            Self::ToolCalls => "tool_use",
            Self::ContentFilter | Self::Recitation => "refusal",
            Self::Pause => "pause_turn",
        }
    }

    /// Reads the `stop_reason` of an Anthropic answer; unknown ones are plain stops.
    pub fn from_anthropic(raw: &str) -> Self {
        match raw {
            "stop_sequence" => Self::StopSequence,
            "max_tokens" => Self::Length,
            "model_context_window_exceeded" => Self::ContextWindow,
            "tool_use" => Self::ToolCalls,
            "refusal" => Self::ContentFilter,
            "pause_turn" => Self::Pause,
            _ => Self::Stop,
        }
    }
}

impl ErrorKind {
    /// The `error.type` in Anthropic errors.
    pub fn anthropic_type(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Timeout => "timeout_error",
            Self::TooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Cancelled | Self::Upstream => "api_error",
            Self::Overloaded => "overloaded_error",
        }
    }
}

impl Usage {
    /// The `usage` object of Anthropic answers, whose input leaves cached tokens out.
    pub fn to_anthropic(&self) -> Value {
        let fresh = self.input_total.saturating_sub(self.cached_read).saturating_sub(self.cache_write);
        let mut usage = Map::new();
        usage.insert("input_tokens".into(), fresh.into());
        usage.insert("cache_creation_input_tokens".into(), self.cache_write.into());
        usage.insert("cache_read_input_tokens".into(), self.cached_read.into());
        usage.insert("output_tokens".into(), self.output_total.into());
        if self.cache_write_1h > 0 {
            let short = self.cache_write.saturating_sub(self.cache_write_1h);
            usage.insert(
                "cache_creation".into(),
                json!({ "ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": self.cache_write_1h }),
            );
        }
        if self.reasoning > 0 {
            usage.insert("output_tokens_details".into(), json!({ "thinking_tokens": self.reasoning }));
        }
        Value::Object(usage)
    }
}

/// `{"type":"error","error":{"type","message"}}`
pub(crate) fn error(error: &Error) -> Value {
    json!({ "type": "error", "error": { "type": error.kind.anthropic_type(), "message": error.message } })
}
