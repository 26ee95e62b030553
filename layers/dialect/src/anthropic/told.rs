//! The blocks of an answer, as whole answers and streams both have them.
//!
//! Source: <https://docs.anthropic.com/en/api/messages>.

use serde_json::{Value, json};

use super::carried;
use crate::Dialect;
use crate::ir::{Citation, FinishReason};

/// A block of text.
pub(super) fn text(words: &str) -> Value {
    json!({ "type": "text", "text": words })
}

/// A thought.
pub(super) fn thinking(words: &str, signature: &str) -> Value {
    json!({ "type": "thinking", "thinking": words, "signature": signature })
}

/// A thought that the client cannot read.
pub(super) fn redacted(data: &str) -> Value {
    json!({ "type": "redacted_thinking", "data": data })
}

/// A picture within text: this dialect has no other place for it in an answer.
pub(super) fn picture(url: &str) -> String {
    format!("![image]({url})")
}

/// The source of a text in this dialect's words; none for those of others that have no address.
pub(super) fn citation(citation: &Citation) -> Option<Value> {
    if let Some(own) = citation.raw.as_ref().and_then(|raw| raw.of(Dialect::Anthropic)) {
        return Some(own.clone());
    }
    let url = citation.url.as_deref()?;
    Some(json!({
        "type": "web_search_result_location",
        "url": url,
        "title": citation.title,
        "cited_text": citation.cited_text.as_deref().unwrap_or_default(),
        // Clients send it back, and Anthropic must not be given it.
        "encrypted_index": carried::MARK,
    }))
}

/// A source that belongs to no text, in words.
pub(super) fn worded(citation: &Citation) -> Option<String> {
    let url = citation.url.as_deref()?;
    Some(format!("[{}]({url})", citation.title.as_deref().unwrap_or(url)))
}

/// Why an answer ended that holds a refusal.
pub(super) fn refused(finish: FinishReason) -> FinishReason {
    if finish == FinishReason::Stop { FinishReason::ContentFilter } else { finish }
}
