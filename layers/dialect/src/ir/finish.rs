/// The reason for which an answer ended. What each dialect calls it stands in that dialect's folder.
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
}
