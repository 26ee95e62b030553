//! Moderation requests and answers in OpenAI's format, which all moderation upstreams speak.
//!
//! Source: <https://platform.openai.com/docs/api-reference/moderations>.

use std::collections::HashMap;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;

use crate::surrogates;

/// `{"model": …, "input": …}` for one text, and where in it the value of `model` stands, quotes included.
pub fn request(model: &str, text: &str) -> (Bytes, Range<usize>) {
    const PLAIN: &str = "a text can be written as JSON";
    let mut body = BytesMut::with_capacity(text.len() + model.len() + 32).writer();
    let start = br#"{"model":"#.len();
    body.get_mut().put_slice(br#"{"model":"#);
    serde_json::to_writer(&mut body, model).expect(PLAIN);
    let end = body.get_ref().len();
    body.get_mut().put_slice(br#","input":"#);
    serde_json::to_writer(&mut body, text).expect(PLAIN);
    body.get_mut().put_u8(b'}');
    (body.into_inner().freeze(), start..end)
}

/// A request that names no model, with this one; none where it names one, or is no request.
pub fn naming(body: &[u8], model: &str) -> Option<Bytes> {
    let mut request: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
    if request.get("model").is_some_and(|named| !named.is_null()) {
        return None;
    }
    request.insert("model".to_owned(), model.into());
    serde_json::to_vec(&request).ok().map(Bytes::from)
}

/// Whether an answer flags any of its inputs; none for a body that does not say so of each of them.
///
/// Where `flagged` is absent, as at Mistral, a category that is `true` counts.
pub fn is_flagged(body: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<Judgement>,
    }
    #[derive(Deserialize)]
    struct Judgement {
        flagged: Option<bool>,
        categories: Option<HashMap<String, Option<bool>>>,
    }
    let Answer { results } = surrogates::read(body).ok()?;
    if results.is_empty() {
        return None;
    }
    results.into_iter().try_fold(false, |flagged, judgement| {
        let by_category =
            judgement.categories.map(|categories| categories.into_values().any(|on| on == Some(true)));
        Some(flagged | judgement.flagged.or(by_category)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_model_and_text_and_tells_where_the_model_is() {
        let (body, span) = request("omni", "a \"b\"\n\u{1}é");

        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value, serde_json::json!({ "model": "omni", "input": "a \"b\"\n\u{1}é" }));
        assert_eq!(&body[span], b"\"omni\"");
    }

    #[test]
    fn one_flagged_result_flags_the_answer() {
        for (body, flagged) in [
            (r#"{"id":"m","results":[{"flagged":false,"categories":{"hate":false}}]}"#, Some(false)),
            (r#"{"results":[{"flagged":false},{"flagged":true}]}"#, Some(true)),
            (r#"{"results":[{"categories":{"hate":true,"sexual":null}}]}"#, Some(true)),
            (r#"{"results":[{"categories":{"hate":false}}]}"#, Some(false)),
        ] {
            assert_eq!(is_flagged(body.as_bytes()), flagged, "{body}");
        }
    }

    #[test]
    fn an_answer_that_does_not_judge_is_no_answer() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"results":[]}"#,
            r#"{"results":[{}]}"#,
            r#"{"results":[{"flagged":false},{}]}"#,
            r#"{"results":[{"flagged":"no"}]}"#,
            r#"{"error":{"message":"x"}}"#,
        ] {
            assert_eq!(is_flagged(body.as_bytes()), None, "{body}");
        }
    }
}
