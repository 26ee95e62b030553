/// A kind of call: what is asked for, whatever the path and the dialect in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A turn of a conversation.
    Chat,
    /// The continuation of a text.
    Completion,
    /// Vectors for texts.
    Embed,
    /// Documents in the order of their relevance to a query.
    Rerank,
    /// Pictures.
    Image,
    /// Speech from text.
    Speak,
    /// Text from speech.
    Transcribe,
    /// A judgement of whether texts or pictures are harmful.
    Moderate,
    /// The number of tokens that a conversation takes.
    CountTokens,
    /// A conversation in fewer tokens.
    Compact,
    /// An object that a provider keeps.
    Stored,
}

impl Kind {
    /// The stable word for metrics, logs and spans.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completion",
            Self::Embed => "embedding",
            Self::Rerank => "rerank",
            Self::Image => "image",
            Self::Speak => "speech",
            Self::Transcribe => "transcription",
            Self::Moderate => "moderation",
            Self::CountTokens => "count_tokens",
            Self::Compact => "compaction",
            Self::Stored => "stored",
        }
    }
}
