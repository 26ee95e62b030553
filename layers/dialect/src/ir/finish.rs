/// Why an answer ended, and what each dialect calls it: the master table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done.
    Stop,
    /// A stop sequence of the request was met.
    StopSequence,
    /// The output limit was reached.
    Length,
    /// The context window was full.
    ContextWindow,
    /// The model waits for tool results.
    ToolCalls,
    /// A filter, or the model itself, refused.
    ContentFilter,
    /// The answer would have recited protected text.
    Recitation,
    /// A loop of server-side tools was paused.
    Pause,
    /// The model wrote a tool call that cannot be read.
    MalformedToolCall,
    /// The upstream failed while it answered.
    Error,
}

impl FinishReason {
    /// A stable name for metrics and the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::StopSequence => "stop_sequence",
            Self::Length => "length",
            Self::ContextWindow => "context_window",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Recitation => "recitation",
            Self::Pause => "pause",
            Self::MalformedToolCall => "malformed_tool_call",
            Self::Error => "error",
        }
    }

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
            "tool_calls" | "function_call" | "tool_use" => Self::ToolCalls,
            "content_filter" | "refusal" | "SAFETY" => Self::ContentFilter,
            "RECITATION" => Self::Recitation,
            "error" => Self::Error,
            "MALFORMED_FUNCTION_CALL" => Self::MalformedToolCall,
            _ => Self::Stop,
        })
    }

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
