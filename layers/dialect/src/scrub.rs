//! Hides credentials in what is passed on: those that are known ([`Secrets`]), and what looks like one.

mod plain_form;
mod secrets;

pub use secrets::{Care, Secrets, end_of, hide, hide_in_part, may_be_written_oddly, open_end};
use serde_json::Value;

/// Hides what looks like a credential: values of `key=` and `token=`, words that follow `Bearer`, and tokens with
/// the prefixes that providers give theirs. Messages and logs may carry the result.
pub fn scrub(text: &str) -> String {
    const PREFIXES: [&str; 9] = ["sk-", "sk_", "AIza", "gsk_", "xai-", "AKIA", "ya29.", "AQ.", "hf_"];
    const PARAMETERS: [&str; 7] =
        ["key=", "token=", "secret=", "api-key:", "api_key:", "x-api-key:", "Bearer "];
    let is_secret = |letter: char| letter.is_ascii_alphanumeric() || "-_.*%~+/=".contains(letter);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let fresh = !clean.ends_with(|letter: char| letter.is_ascii_alphanumeric());
        let named = PARAMETERS
            .iter()
            .find(|name| rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)));
        let (kept, secret) = if let Some(name) = named {
            let value = &rest[name.len()..];
            let gap = value.len() - value.trim_start_matches([' ', '"', '\'']).len();
            let value = &value[gap..];
            let end = value.find(|letter| !is_secret(letter) || letter == '&').unwrap_or(value.len());
            // "Bearer token" in prose is no secret.
            (name.len() + gap, if end >= 6 { end } else { 0 })
        } else if fresh && PREFIXES.iter().any(|prefix| rest.starts_with(prefix)) {
            let end = rest.find(|letter| !is_secret(letter)).unwrap_or(rest.len());
            (0, if end >= 9 { end } else { 0 })
        } else {
            (0, 0)
        };
        clean.push_str(&rest[..kept]);
        if secret > 0 {
            clean.push_str("[hidden]");
            rest = &rest[kept + secret..];
        } else if kept > 0 {
            rest = &rest[kept..];
        } else {
            clean.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    clean
}

/// The same in every text of a JSON value; tells whether anything was hidden.
pub fn scrub_json(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let clean = scrub(text);
            let is_changed = clean != *text;
            *text = clean;
            is_changed
        }
        Value::Array(list) => list.iter_mut().fold(false, |changed, value| scrub_json(value) | changed),
        Value::Object(map) => map.values_mut().fold(false, |changed, value| scrub_json(value) | changed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_hidden() {
        for (text, clean) in [
            (
                "Incorrect API key provided: sk-proj-abcdefghijkl. See",
                "Incorrect API key provided: [hidden] See",
            ),
            (
                "GET https://g/v1?key=AIzaSyA1234567890&alt=sse failed",
                "GET https://g/v1?key=[hidden]&alt=sse failed",
            ),
            ("Authorization: Bearer abcdef123456", "Authorization: Bearer [hidden]"),
            ("the Bearer of this", "the Bearer of this"),
            ("task-list and risk-free monkey=1", "task-list and risk-free monkey=1"),
            ("schlüssel AIzaSyA1234567890é", "schlüssel [hidden]é"),
        ] {
            assert_eq!(scrub(text), clean);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = scrub(&format!("key={text} Bearer {text}"));
        }
    }
}
