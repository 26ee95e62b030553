//! Guesses the length of a request in tokens: characters of text divided by four.
//!
//! A tokenizer would be exact for one family of models and wrong for the others; the guess serves
//! `tpr` limits and the reservation of credits, both of which are settled with real usage.

use serde::Deserialize;
use serde_json::Value;

use crate::ports::InputTokens;

/// What a request body says about how much it will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Text that goes in.
    pub input: InputTokens,
    /// The most output tokens that the client wants, if it says so.
    pub most_output: Option<u64>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    system: Value,
    #[serde(default)]
    messages: Value,
    #[serde(default)]
    contents: Value,
    #[serde(default)]
    prompt: Value,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    instructions: Value,
    #[serde(default)]
    max_tokens: Value,
    #[serde(default)]
    max_completion_tokens: Value,
    #[serde(default)]
    max_output_tokens: Value,
}

/// The input estimate of a request body: text of messages, of `prompt` and of `input`, whatever
/// the dialect; pictures and sound count nothing. A body that cannot be read counts nothing.
pub fn input_tokens(body: &[u8]) -> InputTokens {
    size(body).input
}

/// The input estimate, and the limit that the client sets to the output.
pub fn size(body: &[u8]) -> Size {
    let Ok(fields) = serde_json::from_slice::<Fields>(body) else { return Size::default() };
    let texts = [
        &fields.system,
        &fields.messages,
        &fields.contents,
        &fields.prompt,
        &fields.input,
        &fields.instructions,
    ];
    let limits = [&fields.max_completion_tokens, &fields.max_output_tokens, &fields.max_tokens];
    Size {
        input: InputTokens(texts.into_iter().map(characters).sum::<u64>() / 4),
        most_output: limits.into_iter().find_map(Value::as_u64),
    }
}

/// Characters of text in a message, a list of them, or a part of one.
fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(parts) => parts.iter().map(characters).sum(),
        Value::Object(fields) => ["content", "text", "parts", "output", "arguments"]
            .iter()
            .filter_map(|name| fields.get(*name))
            .map(characters)
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_in_characters_and_pictures_do_not() {
        let body = r#"{"messages":[{"role":"system","content":"éééé"},{"role":"user","content":[
            {"type":"text","text":"eight ch"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#;

        assert_eq!(input_tokens(body.as_bytes()), InputTokens(3));
    }

    #[test]
    fn the_newer_name_of_the_output_limit_comes_first() {
        let limit = |body: &str| size(body.as_bytes()).most_output;

        assert_eq!(limit(r#"{"max_tokens":5}"#), Some(5));
        assert_eq!(limit(r#"{"max_tokens":5,"max_completion_tokens":7}"#), Some(7));
        assert_eq!(limit(r#"{"max_tokens":null}"#), None);
        assert_eq!(limit(r#"{"max_tokens":-1}"#), None);
    }

    #[test]
    fn what_cannot_be_read_counts_nothing() {
        assert_eq!(size(b"{"), Size::default());
    }
}
