//! Decides whose fault a refusal is: the disposition table of upstream answers.
//!
//! Pure. `convert` asks it about answers with an error status, `error_trigger` about errors inside
//! successful ones. Statuses alone do not tell: providers answer 400 for a key that is not valid,
//! for a balance that is used up, and for a text that is too long, so some phrases of the body
//! overrule them.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use dialect::{Dialect, ir};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::failure::{Blame, Failure, Rejection};
use crate::policy::{Channel, ChannelName};
use crate::ports::{Credential, Secret};

/// The body says that the key is not valid, may not be used here, or has nothing left.
const KEY_PHRASES: [&str; 12] = [
    "API_KEY_INVALID",
    "API key not valid",
    "API key expired",
    "User location is not supported",
    "credit balance is too low",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "exceeded your current quota",
    "out of credits",
    "payment required",
    "BILLING_DISABLED",
    "ACCESS_TOKEN_EXPIRED",
];

/// Those of them that are about money or quota, which come back later than a rate limit.
const QUOTA_PHRASES: [&str; 9] = [
    "credit balance is too low",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "exceeded your current quota",
    "quota exceeded",
    "usage limit",
    "out of credits",
    "payment required",
    "BILLING_DISABLED",
];

/// The body says that the request is too long for this model.
const LENGTH_PHRASES: [&str; 12] = [
    "context_length_exceeded",
    "maximum context length",
    "string_above_max_length",
    "must be less than max_seq_len",
    "Please reduce the length of the messages or completion",
    "Request contains text fields that are too large.",
    "Please reduce the length of either one, or use the",
    "exceeds the maximum number of tokens allowed",
    "prompt is too long",
    "input is too long",
    "context window",
    "request too large",
];

/// Longest cooldown that an upstream's hint may ask for; quota has six times as much.
const LONGEST_HINT: Duration = Duration::from_secs(3600);

/// What an upstream refused with.
pub struct Refusal<'a> {
    /// The channel.
    pub channel: &'a ChannelName,
    /// Status as answered, or as inferred from an error inside a 200.
    pub status: StatusCode,
    /// Headers of the answer.
    pub headers: &'a HeaderMap,
    /// The body, bounded.
    pub body: Bytes,
    /// The dialect of the body.
    pub dialect: Dialect,
    /// The error as the dialect reads it.
    pub error: ir::Error,
    /// Texts that an upstream may repeat and nobody else may learn: see [`hidden`].
    pub hidden: &'a [String],
}

/// What must be kept out of everything that is passed on: every text of the credential that was
/// used, and the values of the channel's own headers, which are often keys too.
pub fn hidden(channel: &Channel, credential: Option<&Credential>) -> Vec<String> {
    /// Shorter values are words, not secrets; hiding them would only make a message unreadable.
    const SHORTEST: usize = 6;
    let values = channel.headers.values().filter_map(|value| value.to_str().ok());
    let secrets = credential.map(Credential::secrets).unwrap_or_default();
    let texts = secrets.iter().map(Secret::expose).chain(values);
    texts.filter(|text| text.len() >= SHORTEST).map(str::to_owned).collect()
}

/// Judges a refusal.
pub fn judge(refusal: Refusal<'_>) -> Failure {
    let Refusal { channel, status, headers, body, dialect, mut error, hidden } = refusal;
    let body = scrub(body, hidden);
    let text = if body.is_empty() { told(&error) } else { String::from_utf8_lossy(&body) };
    let quota = contains_any(&text, &QUOTA_PHRASES);
    let blame = blame(status, &text, &error);
    let retry_after = hint(headers, &error, &text)
        .map(|hint| hint.min(if quota { LONGEST_HINT * 6 } else { LONGEST_HINT }));
    error.message = dialect::scrub(&masked(&error.message, hidden));
    Failure::Upstream(Box::new(Rejection {
        channel: channel.clone(),
        status,
        error,
        blame,
        retry_after,
        quota: quota && blame == Blame::Key,
        dialect,
        // Only a JSON object is worth passing on: HTML and fragments are told in our own words.
        body: if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_ok() {
            body
        } else {
            Bytes::new()
        },
        key: None,
        spare_key: false,
    }))
}

fn blame(status: StatusCode, text: &str, error: &ir::Error) -> Blame {
    match status.as_u16() {
        400 | 422 if contains_any(text, &KEY_PHRASES) => Blame::Key,
        400 | 422 if contains_any(text, &LENGTH_PHRASES) => Blame::Length,
        // A page of a proxy in between, not the upstream's judgement of the request.
        400 | 422 if text.trim_start().starts_with('<') => Blame::Channel,
        400 | 422 => Blame::Request,
        413 => Blame::Length,
        401 | 402 | 403 | 429 | 498 => Blame::Key,
        404 if names_model(text, error) => Blame::Model,
        408 | 409 | 424 => Blame::Channel,
        500.. => Blame::Channel,
        _ => Blame::Nobody,
    }
}

/// The text of an error that came without a body of its own: an event, or an error inside a 200.
fn told(error: &ir::Error) -> Cow<'_, str> {
    match &error.code {
        Some(code) => format!("{} {code}", error.message).into(),
        None => error.message.as_str().into(),
    }
}

/// Whether a 404 is about the model or deployment rather than the path.
fn names_model(text: &str, error: &ir::Error) -> bool {
    let code = error.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    let text = text.to_ascii_lowercase();
    ["model", "deployment"].iter().any(|word| code.contains(word) || text.contains(word))
}

fn contains_any(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| {
        memchr::memmem::find(text.as_bytes(), phrase.as_bytes()).is_some()
            || text.to_ascii_lowercase().contains(&phrase.to_ascii_lowercase())
    })
}

/// Removes hidden texts from a body that may echo them.
fn scrub(body: Bytes, hidden: &[String]) -> Bytes {
    if hidden.iter().any(|text| memchr::memmem::find(&body, text.as_bytes()).is_some()) {
        masked(&String::from_utf8_lossy(&body), hidden).into()
    } else {
        body
    }
}

fn masked(text: &str, hidden: &[String]) -> String {
    hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

/// How long the upstream asks us to stay away: headers first, then the body.
fn hint(headers: &HeaderMap, error: &ir::Error, text: &str) -> Option<Duration> {
    milliseconds(headers)
        .or_else(|| retry_after(headers))
        .or(error.retry_after)
        .or_else(|| in_words(text))
        .or_else(|| resets(headers))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// `retry-after-ms`, as OpenAI and Azure send it.
fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let value: f64 = header(headers, "retry-after-ms")?.parse().ok()?;
    Duration::try_from_secs_f64(value / 1000.0).ok()
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = header(headers, RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

/// `x-ratelimit-reset-requests: 6m0s` where nothing remains of that kind.
fn resets(headers: &HeaderMap) -> Option<Duration> {
    ["requests", "tokens"]
        .into_iter()
        .filter(|kind| header(headers, &format!("x-ratelimit-remaining-{kind}")) == Some("0"))
        .filter_map(|kind| span(header(headers, &format!("x-ratelimit-reset-{kind}"))?))
        .max()
}

/// `try again in 1.5s`, `retry after 20 seconds` and their like, in an error's text.
fn in_words(text: &str) -> Option<Duration> {
    let lower = text.to_ascii_lowercase();
    ["try again in ", "retry after ", "retry in "].into_iter().find_map(|phrase| {
        let rest = &lower[lower.find(phrase)? + phrase.len()..];
        let end = rest
            .char_indices()
            .find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ' ')))
            .map_or(rest.len(), |(at, _)| at);
        span(&rest[..end.min(40)])
    })
}

/// A span of time such as `120ms`, `1.5s`, `6m0s`, `20 seconds`; a bare number is in seconds.
fn span(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim_start();
    let mut any = false;
    while let Some(digits) =
        rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).or(Some(rest.len())).filter(|&n| n > 0)
    {
        let number: f64 = rest[..digits].trim_end_matches('.').parse().ok()?;
        let after = rest[digits..].trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let factor = match &after[..letters] {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            "" => 1.0,
            _ if any => break,
            _ => 1.0,
        };
        any = true;
        total += number * factor;
        rest = &after[letters..];
        if letters > 1 {
            break;
        }
    }
    if any { Duration::try_from_secs_f64(total).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Pair;
    use crate::testing::channel;
    use crate::testing::handles::ScriptedTokens;
    use crate::testing::policy::secret;

    fn judged(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Rejection {
        let status = StatusCode::from_u16(status).unwrap();
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let failure = judge(Refusal {
            channel: &ChannelName::from("a"),
            status,
            headers: &headers,
            body: Bytes::from_static(body.as_bytes()),
            dialect: Dialect::OpenAiChat,
            error: dialect::normalise_error(status, body.as_bytes()),
            hidden: &["sk-hidden".to_owned()],
        });
        match failure {
            Failure::Upstream(rejection) => *rejection,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn statuses_are_blamed_by_the_table() {
        let table = [
            (400, Blame::Request),
            (422, Blame::Request),
            (413, Blame::Length),
            (401, Blame::Key),
            (402, Blame::Key),
            (403, Blame::Key),
            (429, Blame::Key),
            (498, Blame::Key),
            (408, Blame::Channel),
            (409, Blame::Channel),
            (424, Blame::Channel),
            (500, Blame::Channel),
            (503, Blame::Channel),
            (529, Blame::Channel),
            (404, Blame::Nobody),
            (405, Blame::Nobody),
            (302, Blame::Nobody),
        ];
        for (status, expected) in table {
            assert_eq!(judged(status, &[], r#"{"error":{"message":"no"}}"#).blame, expected, "{status}");
        }
    }

    #[test]
    fn the_body_overrules_the_status() {
        let gemini = r#"{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        assert_eq!(judged(400, &[], gemini).blame, Blame::Key);
        let poor =
            judged(400, &[], r#"{"error":{"message":"Your credit balance is too low to access the API"}}"#);
        assert_eq!((poor.blame, poor.quota), (Blame::Key, true));
        let long = r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#;
        assert_eq!(judged(400, &[], long).blame, Blame::Length);
        assert_eq!(judged(404, &[], r#"{"error":{"code":"DeploymentNotFound"}}"#).blame, Blame::Model);
        assert_eq!(judged(400, &[], "<html><h1>400 Bad Request</h1>").blame, Blame::Channel);
    }

    #[test]
    fn an_error_without_a_body_is_judged_by_its_words_and_code() {
        let told = |message: &str, code: Option<&str>| {
            let mut error = ir::Error::new(StatusCode::BAD_REQUEST, message);
            error.code = code.map(str::to_owned);
            let failure = judge(Refusal {
                channel: &ChannelName::from("a"),
                status: StatusCode::BAD_REQUEST,
                headers: &HeaderMap::new(),
                body: Bytes::new(),
                dialect: Dialect::OpenAiChat,
                error,
                hidden: &[],
            });
            match failure {
                Failure::Upstream(rejection) => rejection.blame,
                other => panic!("{other:?}"),
            }
        };

        assert_eq!(told("no", None), Blame::Request);
        assert_eq!(told("no", Some("context_length_exceeded")), Blame::Length);
        assert_eq!(told("prompt is too long", None), Blame::Length);
        assert_eq!(told("API key not valid", Some("bad")), Blame::Key);
    }

    #[test]
    fn hints_are_read_from_headers_and_words() {
        let seconds = |headers: &[(&'static str, &str)], body| {
            judged(429, headers, body).retry_after.map(|hint| hint.as_secs_f64())
        };
        assert_eq!(seconds(&[("retry-after", "7")], ""), Some(7.0));
        assert_eq!(seconds(&[("retry-after-ms", "250"), ("retry-after", "7")], ""), Some(0.25));
        assert_eq!(seconds(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], ""), Some(0.0));
        assert_eq!(
            seconds(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")], ""),
            Some(360.0)
        );
        assert_eq!(seconds(&[("x-ratelimit-reset-requests", "6m0s")], ""), None);
        assert_eq!(seconds(&[], r#"{"error":{"message":"Please try again in 1.5s. See"}}"#), Some(1.5));
        assert_eq!(seconds(&[], r#"{"error":{"message":"Please retry after 20 seconds."}}"#), Some(20.0));
        assert_eq!(seconds(&[("retry-after", "99999999")], ""), Some(3600.0));
        assert_eq!(seconds(&[("retry-after", "-1")], ""), None);
    }

    #[test]
    fn every_text_of_a_credential_is_hidden() {
        let tokens = ScriptedTokens::of(&["token-of-now", "token-before"]);
        let pair = Pair {
            id: secret("name-of-key"),
            secret: secret("signing-key"),
            session: Some(secret("session-token")),
        };
        let texts = |credential: Credential| hidden(&channel("a").build(), Some(&credential));

        assert_eq!(texts(Credential::Key(secret("sk-provider-key"))), ["sk-provider-key"]);
        assert_eq!(texts(Credential::Token(tokens)), ["token-of-now", "token-before"]);
        assert_eq!(texts(Credential::Pair(pair.into())), ["name-of-key", "signing-key", "session-token"]);
    }

    #[test]
    fn the_key_is_in_neither_body_nor_message() {
        let rejection = judged(400, &[], r#"{"error":{"message":"bad key sk-hidden"}}"#);
        assert!(!format!("{rejection:?}").contains("sk-hidden"), "{rejection:?}");
        assert!(!rejection.body.is_empty());
    }
}
