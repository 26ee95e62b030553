//! Guesses the length of a request in tokens: characters of text divided by four.
//!
//! A tokenizer would be exact for one family of models and wrong for the others; the guess serves
//! `tpr` limits and the reservation of credits, both of which are settled with real usage.

use serde::Deserialize;
use serde_json::Value;

use crate::ports::InputTokens;

/// The input estimate of a request body: text of messages, of `prompt` and of `input`, whatever
/// the dialect; pictures and sound count nothing. A body that cannot be read counts nothing.
pub fn input_tokens(body: &[u8]) -> InputTokens {
    #[derive(Deserialize)]
    struct Texts {
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
    }
    let Ok(texts) = serde_json::from_slice::<Texts>(body) else { return InputTokens::default() };
    let parts =
        [&texts.system, &texts.messages, &texts.contents, &texts.prompt, &texts.input, &texts.instructions];
    InputTokens(parts.into_iter().map(characters).sum::<u64>() / 4)
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
    fn what_cannot_be_read_counts_nothing() {
        assert_eq!(input_tokens(b"{"), InputTokens(0));
    }
}
