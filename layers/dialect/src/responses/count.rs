//! How many tokens a request takes, guessed where nobody counts them: four letters of text a token, and for each picture
//! or file about what one takes in high detail.

use bytes::Bytes;
use serde_json::json;

use super::MEASURE;
use crate::Malformed;
use crate::fields::Fields;

/// Letters that make a token.
const LETTERS: u64 = 4;
/// Tokens of a picture or a file.
const MEDIUM: u64 = 1_000;

/// What is answered where nobody counts: the guess, and that it is one.
///
/// # Errors
/// A body that is no JSON object.
pub(super) fn answer(body: &[u8]) -> Result<Bytes, Malformed> {
    let fields = Fields::of_body(body)?;
    let size = MEASURE.of(body);
    let tools = fields.0.get("tools").map_or(0, |tools| tools.to_string().len() as u64);
    let tokens = (size.characters + tools).div_ceil(LETTERS) + size.media * MEDIUM;
    let told = json!({ "object": "response.input_tokens", "input_tokens": tokens.max(1), "estimated": true });
    Ok(Bytes::from(told.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn counted(body: Value) -> u64 {
        let told: Value = serde_json::from_slice(&answer(body.to_string().as_bytes()).unwrap()).unwrap();
        told["input_tokens"].as_u64().unwrap()
    }

    #[test]
    fn texts_pictures_and_tools_count() {
        let text = counted(json!({ "input": "four letters" }));
        let instructed = counted(json!({ "input": "four letters", "instructions": "four letters" }));
        let picture = json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": "data:image/png;base64,AAAA" }] }]);

        assert_eq!((text, instructed), (3, 6));
        assert!(counted(json!({ "input": picture })) >= MEDIUM);
        assert!(counted(json!({ "input": "x", "tools": [{ "type": "function", "name": "f" }] })) > 5);
        assert!(answer(b"[]").is_err());
    }
}
