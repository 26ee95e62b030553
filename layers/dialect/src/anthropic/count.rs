//! How many tokens a conversation takes, guessed where nobody counts them.
//!
//! A tokenizer would be right for one family of models and wrong for all others. Text is four letters a token, and
//! letters beyond ASCII, most of which stand for syllables or words, about one. Pictures count as Anthropic says that
//! they mostly do (<https://docs.anthropic.com/en/docs/build-with-claude/vision>), documents by their size.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::Malformed;
use crate::fields::Fields;

/// Letters of ASCII that make a token.
const LETTERS: u64 = 4;
/// Tokens of a picture that is not small.
const PICTURE: u64 = 1_600;
/// Letters of base64 that make a token of a document: a page has some 60 kB and 2,000 tokens.
const DOCUMENT: u64 = 40;
/// Tokens that hold a turn together.
const TURN: u64 = 4;
/// Tokens that a prompt takes as soon as there are tools in it.
const TOOLS: u64 = 300;

/// What is answered where nobody counts: the guess, and that it is one.
///
/// # Errors
/// A body that is no JSON object.
pub(super) fn answer(body: &[u8]) -> Result<Bytes, Malformed> {
    let fields = Fields::of_body(body)?;
    Ok(Bytes::from(json!({ "input_tokens": tokens(&fields.0), "estimated": true }).to_string()))
}

/// The tokens of a request.
fn tokens(body: &Map<String, Value>) -> u64 {
    let part = |name: &str| body.get(name).map_or(0, of_value);
    let turns = body.get("messages").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let tools = match body.get("tools").and_then(Value::as_array) {
        Some(tools) if !tools.is_empty() => {
            TOOLS + tools.iter().map(|tool| of_text(&tool.to_string())).sum::<u64>()
        }
        _ => 0,
    };
    (part("system") + part("messages") + turns * TURN + tools).max(1)
}

fn of_value(value: &Value) -> u64 {
    match value {
        Value::String(text) => of_text(text),
        Value::Array(list) => list.iter().map(of_value).sum(),
        Value::Object(map) => match map.get("type").and_then(Value::as_str) {
            Some("image") => PICTURE,
            Some("document") => map.get("source").map_or(0, of_source),
            Some("tool_use") => {
                let of = |name: &str| map.get(name).map_or(0, |value| of_text(&value.to_string()));
                of("name") + of("input")
            }
            // Earlier thoughts are not read again, and marks are for machines.
            Some("thinking" | "redacted_thinking" | "ephemeral") => 0,
            _ => ["text", "content", "title", "source"]
                .iter()
                .filter_map(|name| map.get(*name))
                .map(of_value)
                .sum(),
        },
        _ => 0,
    }
}

fn of_source(source: &Value) -> u64 {
    let length = |name: &str| source[name].as_str().map_or(0, str::len) as u64;
    match source["type"].as_str() {
        Some("base64") => length("data") / DOCUMENT,
        Some("text") => of_text(source["data"].as_str().unwrap_or_default()),
        Some("content") => of_value(&source["content"]),
        _ => PICTURE,
    }
}

fn of_text(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let others = text.chars().filter(|letter| !letter.is_ascii()).count() as u64;
    ascii.div_ceil(LETTERS) + others
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counted(body: Value) -> u64 {
        tokens(body.as_object().unwrap())
    }

    fn user(content: Value) -> Value {
        json!({ "messages": [{ "role": "user", "content": content }] })
    }

    #[test]
    fn everything_that_a_model_reads_is_counted_and_nothing_else() {
        let plain = counted(user(json!("four letters")));
        assert_eq!(plain, 3 + TURN);
        assert_eq!(counted(user(json!([{ "type": "text", "text": "four letters" }]))), plain);
        let marked =
            json!([{ "type": "text", "text": "four letters", "cache_control": { "type": "ephemeral" } }]);
        assert_eq!(counted(user(marked)), plain);
        assert_eq!(counted(user(json!("漢字"))), 2 + TURN);
        let picture = json!({ "type": "base64", "media_type": "image/png", "data": "A".repeat(1 << 20) });
        assert_eq!(counted(user(json!([{ "type": "image", "source": picture }]))), PICTURE + TURN);
        let call =
            json!([{ "type": "tool_use", "id": "t", "name": "f", "input": { "a": "some longer words" } }]);
        assert!(counted(user(call)) > TURN + 5);
        let result = json!([{ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": "12345678" }] }]);
        assert_eq!(counted(user(result)), 2 + TURN);
        assert_eq!(counted(user(json!([{ "type": "thinking", "thinking": "T", "signature": "S" }]))), TURN);

        let tooled =
            json!({ "messages": [], "tools": [{ "name": "f", "input_schema": { "type": "object" } }] });
        assert!(counted(tooled) > TOOLS);
        assert_eq!(counted(json!({ "system": "12345678", "messages": [] })), 2);
        assert_eq!(counted(json!({})), 1);
    }
}
