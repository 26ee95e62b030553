//! What a provider has no field for, said in words, and what stands where its grammar wants something and there is
//! nothing: the same words at every provider.

use serde_json::Value;

use crate::ir::{Block, Content, Request, Source};

/// Where the user's word is wanted and there is none.
pub(crate) const CONTINUE: &str = "(continue)";
/// In place of a result that is missing.
pub(crate) const MISSING: &str = "tool result missing";
/// In place of a result that says nothing.
pub(crate) const NO_OUTPUT: &str = "(no output)";
/// Where a call cannot be forced.
pub(crate) const MUST_CALL: &str = "You must call at least one of the tools now.";
/// Where calls cannot be forbidden.
pub(crate) const NO_CALL: &str = "Do not call any tool now.";
/// Where the number of calls at a time cannot be limited.
pub(crate) const ONE_CALL: &str = "Call no more than one tool at a time.";
/// Where an answer in JSON is wanted.
pub(crate) const JSON_OBJECT: &str = "Respond with a single JSON object and nothing else.";

/// Where the schema of an answer cannot be given.
pub(crate) fn json_schema(schema: &Value) -> String {
    format!("Respond with a single JSON value and nothing else. It must match this JSON schema: {schema}")
}

/// Instructions in the middle, which stay there: moved to the front they would change what is cached of it.
pub(crate) fn instruction(words: &str) -> String {
    format!("<system>\n{words}\n</system>")
}

/// The instructions before the conversation, and ours behind them.
pub(crate) fn system(request: &Request, rules: &[String]) -> String {
    let said = request.system.iter().filter_map(|block| match &block.content {
        Content::Text(words) if !words.trim().is_empty() => Some(words.as_str()),
        _ => None,
    });
    said.chain(rules.iter().map(String::as_str)).collect::<Vec<_>>().join("\n\n")
}

/// The words of blocks, with this between two.
pub(crate) fn joined<'a>(
    blocks: &[&'a Block],
    between: &str,
    words: impl Fn(&'a Content) -> Option<&'a String>,
) -> String {
    let words = blocks.iter().filter_map(|block| words(&block.content)).filter(|words| !words.is_empty());
    words.map(String::as_str).collect::<Vec<_>>().join(between)
}

/// What the model said in words.
pub(crate) fn spoken(blocks: &[&Block]) -> String {
    joined(blocks, "", |content| match content {
        Content::Text(words) | Content::Refusal(words) => Some(words),
        _ => None,
    })
}

/// What the model thought in words.
pub(crate) fn thought(blocks: &[&Block]) -> String {
    joined(blocks, "", |content| match content {
        Content::Thinking { text } => Some(text),
        _ => None,
    })
}

/// A document in words; none for those that are no text.
pub(crate) fn document(source: &Source, title: Option<&str>) -> Option<String> {
    let words = match source {
        Source::Text(words) => words.clone(),
        Source::Base64 { mime, data } if mime.starts_with("text/") || mime == "application/json" => {
            String::from_utf8_lossy(&crate::media::decode(data)).into_owned()
        }
        Source::Base64 { .. } | Source::Url(_) | Source::Reference(_) => return None,
    };
    let title = title.map(|title| format!(" title={}", Value::from(title))).unwrap_or_default();
    Some(format!("<document{title}>\n{words}\n</document>"))
}
