//! What Converse calls the ends of answers.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> (`stopReason`).

use crate::ir::FinishReason;

impl FinishReason {
    /// Reads the `stopReason` of an answer; unknown ones are plain stops.
    pub(super) fn from_converse(raw: &str) -> Self {
        match raw {
            "stop_sequence" => Self::StopSequence,
            "max_tokens" => Self::Length,
            "model_context_window_exceeded" => Self::ContextWindow,
            "tool_use" => Self::ToolCalls,
            "guardrail_intervened" | "content_filtered" | "refusal" => Self::ContentFilter,
            "malformed_tool_use" | "malformed_model_output" => Self::MalformedToolCall,
            "pause_turn" => Self::Pause,
            _ => Self::Stop,
        }
    }
}
