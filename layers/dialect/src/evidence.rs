//! What a refusal says about whose fault it is, in any provider's words: the one list of their phrases.
//!
//! Statuses alone do not tell: providers answer 400 for a key that is not valid, for a balance that is used up, and
//! for a text that is too long. What follows from the evidence is the caller's business.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::ir::Error;
use crate::wait;

/// The evidence in one refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The key is not valid, may not be used here, or has nothing left.
    pub key: bool,
    /// Money or quota is used up, which comes back later than a rate limit.
    pub quota: bool,
    /// The request is too long for this model.
    pub too_long: bool,
    /// It is about the model or deployment rather than the path.
    pub names_model: bool,
    /// It is a page of a proxy in between, not the upstream's judgement of the request.
    pub is_page: bool,
    /// How long the upstream asks to be left alone, as it says: nobody has bounded it yet.
    pub retry_after: Option<Duration>,
}

/// A sign that a phrase is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Key,
    KeyAndQuota,
    Quota,
    Length,
}

/// Phrases of providers' bodies and codes, in any case.
const PHRASES: [(&str, Sign); 26] = [
    ("api_key_invalid", Sign::Key),
    ("api key not valid", Sign::Key),
    ("api key expired", Sign::Key),
    ("user location is not supported", Sign::Key),
    ("access_token_expired", Sign::Key),
    ("credit balance is too low", Sign::KeyAndQuota),
    ("insufficient_quota", Sign::KeyAndQuota),
    ("billing_hard_limit_reached", Sign::KeyAndQuota),
    ("exceeded your current quota", Sign::KeyAndQuota),
    ("out of credits", Sign::KeyAndQuota),
    ("payment required", Sign::KeyAndQuota),
    ("billing_disabled", Sign::KeyAndQuota),
    ("quota exceeded", Sign::Quota),
    ("usage limit", Sign::Quota),
    ("context_length_exceeded", Sign::Length),
    ("maximum context length", Sign::Length),
    ("string_above_max_length", Sign::Length),
    ("must be less than max_seq_len", Sign::Length),
    ("please reduce the length of the messages or completion", Sign::Length),
    ("request contains text fields that are too large.", Sign::Length),
    ("please reduce the length of either one, or use the", Sign::Length),
    ("exceeds the maximum number of tokens allowed", Sign::Length),
    ("prompt is too long", Sign::Length),
    ("input is too long", Sign::Length),
    ("context window", Sign::Length),
    ("request too large", Sign::Length),
];

impl Evidence {
    /// Reads a refusal: its headers, the error as the dialect reads it, and the body, bounded and free of secrets.
    /// Without a body (an event, or an error inside a 200) the error's own words count.
    pub fn read(headers: &HeaderMap, error: &Error, body: &[u8], now: SystemTime) -> Self {
        let text = if body.is_empty() { told(error) } else { String::from_utf8_lossy(body) };
        let lower = text.to_ascii_lowercase();
        let mut evidence = Self {
            names_model: names_model(&lower, error),
            is_page: text.trim_start().starts_with('<'),
            retry_after: wait::in_headers(headers, now)
                .or(error.retry_after)
                .or_else(|| wait::in_words(&text))
                .or_else(|| wait::resets(headers)),
            ..Self::default()
        };
        for (phrase, sign) in PHRASES {
            if lower.contains(phrase) {
                evidence.key |= matches!(sign, Sign::Key | Sign::KeyAndQuota);
                evidence.quota |= matches!(sign, Sign::Quota | Sign::KeyAndQuota);
                evidence.too_long |= sign == Sign::Length;
            }
        }
        evidence
    }
}

/// The words of an error that came without a body of its own.
fn told(error: &Error) -> Cow<'_, str> {
    match &error.code {
        Some(code) => format!("{} {code}", error.message).into(),
        None => error.message.as_str().into(),
    }
}

fn names_model(lower: &str, error: &Error) -> bool {
    let code = error.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    ["model", "deployment"].iter().any(|word| code.contains(word) || lower.contains(word))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::normalise_error;

    fn read(headers: &[(&'static str, &str)], body: &str) -> Evidence {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let error = normalise_error(StatusCode::TOO_MANY_REQUESTS, body.as_bytes());
        Evidence::read(&headers, &error, body.as_bytes(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn phrases_are_signs_in_any_case() {
        let none = Evidence::default();
        let key = Evidence { key: true, ..none.clone() };
        for (body, evidence) in [
            (r#"{"error":{"message":"no"}}"#, none.clone()),
            (
                r#"{"error":{"message":"API Key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                key.clone(),
            ),
            (
                r#"{"error":{"message":"Your credit balance is too low to access the API"}}"#,
                Evidence { quota: true, ..key },
            ),
            (
                r#"{"error":{"message":"Quota exceeded for this day"}}"#,
                Evidence { quota: true, ..none.clone() },
            ),
            (
                r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
                Evidence { too_long: true, ..none.clone() },
            ),
            (r#"{"error":{"code":"DeploymentNotFound"}}"#, Evidence { names_model: true, ..none.clone() }),
            ("<html><h1>400 Bad Request</h1>", Evidence { is_page: true, ..none }),
        ] {
            assert_eq!(read(&[], body), evidence, "{body}");
        }
    }

    #[test]
    fn an_error_without_a_body_is_read_by_its_words_and_code() {
        let told = |message: &str, code: &str| {
            let error = Error::new(StatusCode::BAD_REQUEST, message).with_code(code);
            Evidence::read(&HeaderMap::new(), &error, b"", SystemTime::UNIX_EPOCH)
        };

        assert!(told("no", "context_length_exceeded").too_long);
        assert!(told("prompt is too long", "x").too_long);
        assert!(told("API key not valid", "bad").key);
        assert_eq!(told("no", "x"), Evidence::default());
    }

    #[test]
    fn the_nearest_hint_counts() {
        let seconds = |headers: &[(&'static str, &str)], body: &str| {
            read(headers, body).retry_after.map(|hint| hint.as_secs_f64())
        };

        assert_eq!(seconds(&[("retry-after", "7")], ""), Some(7.0));
        assert_eq!(seconds(&[("retry-after-ms", "250"), ("retry-after", "7")], ""), Some(0.25));
        assert_eq!(seconds(&[("retry-after", "7")], "try again in 3s"), Some(7.0));
        assert_eq!(
            seconds(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")], ""),
            Some(360.0)
        );
        assert_eq!(seconds(&[("x-ratelimit-reset-requests", "6m0s")], ""), None);
        assert_eq!(seconds(&[], r#"{"error":{"message":"Please try again in 1.5s. See"}}"#), Some(1.5));
        assert_eq!(seconds(&[], r#"{"error":{"message":"Please retry after 20 seconds."}}"#), Some(20.0));
        assert_eq!(seconds(&[("retry-after", "-1")], ""), None);
    }
}
