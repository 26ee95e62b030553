//! The words of OpenTelemetry's conventions for generative AI, shared by metrics and spans.
//!
//! Source: <https://github.com/open-telemetry/semantic-conventions-genai>, whose status is Development.

use dialect::{Dialect, Kind};

/// `gen_ai.operation.name`: a well-known one, or our own word.
pub(super) fn operation(kind: Kind) -> &'static str {
    match kind {
        Kind::Completion => "text_completion",
        Kind::Embed => "embeddings",
        Kind::Image => "image_generation",
        other => other.label(),
    }
}

/// `gen_ai.provider.name`: that of the wire format, which says what is spoken and not to whom.
pub(super) fn provider(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat | Dialect::Responses => "openai",
        Dialect::Gemini => "gcp.gemini",
        Dialect::Converse => "aws.bedrock",
        Dialect::CohereV1 | Dialect::CohereV2 => "cohere",
        other => other.label(),
    }
}
