//! Decides whose fault a refusal is: the disposition table of upstream answers.
//!
//! Pure. `convert` asks it about answers with an error status, `error_trigger` about errors inside
//! successful ones. Statuses alone do not tell: providers answer 400 for a key that is not valid,
//! for a balance that is used up, and for a text that is too long, so the evidence in their words
//! ([`Evidence`]) overrules them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dialect::{Asked, Dialect, Evidence, ir};
use http::{HeaderMap, StatusCode};

use crate::failure::{Blame, Failure, Rejection};
use crate::policy::{Channel, ChannelName};
use crate::ports::{Credential, Secret};

/// Longest cooldown that an upstream's hint may ask for; quota has six times as much.
const LONGEST_HINT: Duration = Duration::from_secs(3600);

/// The answer that an upstream refused with.
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
    /// What was asked: words of its own that come back are no evidence.
    pub asked: Asked<'a>,
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
    let Refusal { channel, mut status, headers, body, dialect, mut error, asked, hidden } = refusal;
    let body = scrub(body, hidden);
    let evidence = Evidence::read(headers, &error, &body, &asked, SystemTime::now());
    let blame = blame(status, &evidence);
    if evidence.is_quote {
        status = StatusCode::BAD_GATEWAY;
    }
    let longest = if evidence.quota { LONGEST_HINT * 6 } else { LONGEST_HINT };
    // What is about this request does not get better by waiting.
    let hint = evidence.retry_after.filter(|_| blame != Blame::Terms);
    let retry_after = hint.map(|hint| hint.min(longest));
    error.message = dialect::scrub(&masked(&error.message, hidden));
    Failure::Upstream(Box::new(Rejection {
        channel: channel.clone(),
        status,
        error,
        blame,
        retry_after,
        quota: evidence.quota && blame == Blame::Key,
        dialect,
        // Only a JSON object is worth passing on: HTML and fragments are told in our own words.
        body: if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_ok() {
            body
        } else {
            Bytes::new()
        },
    }))
}

fn blame(status: StatusCode, evidence: &Evidence) -> Blame {
    match status.as_u16() {
        // Nothing of it is known to be the upstream's own word.
        _ if evidence.is_quote => Blame::Nobody,
        400 | 422 if evidence.key => Blame::Key,
        400 | 422 if evidence.no_model => Blame::Model,
        400 | 422 if evidence.too_long => Blame::Length,
        // A guard in front may have been called up by the client's words, also that of a 403.
        400 | 403 | 422 if evidence.is_page => Blame::Nobody,
        400 | 422 => Blame::Request,
        413 => Blame::Length,
        401..=403 | 429
            if evidence.one_request || (status == StatusCode::TOO_MANY_REQUESTS && evidence.too_long) =>
        {
            Blame::Terms
        }
        401 | 402 | 403 | 429 | 498 => Blame::Key,
        404 if evidence.no_model => Blame::Model,
        408 | 409 | 424 => Blame::Channel,
        500.. => Blame::Channel,
        _ => Blame::Nobody,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Pair;
    use crate::testing::channel;
    use crate::testing::failures::nothing;
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
            asked: nothing(&HeaderMap::new()),
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
        for status in [400, 403, 422] {
            assert_eq!(judged(status, &[], "<html><h1>Blocked</h1>").blame, Blame::Nobody);
        }
        let spent =
            r#"{"error":{"code":402,"message":"This request requires more credits, or fewer max_tokens."}}"#;
        assert_eq!(judged(402, &[], spent).blame, Blame::Terms);
        let large = r#"{"error":{"message":"Request too large for m: Limit 30000, Requested 50000.","type":"tokens","code":"rate_limit_exceeded"}}"#;
        assert_eq!(judged(429, &[], large).blame, Blame::Terms);
        assert_eq!(judged(400, &[], r#"{"error":{"message":"Model Not Exist"}}"#).blame, Blame::Model);
    }

    #[test]
    fn an_error_without_a_body_is_judged_by_its_words_and_code() {
        let told = |message: &str, code: Option<&str>| {
            let mut error = ir::Error::new(StatusCode::BAD_REQUEST, message);
            if let Some(code) = code {
                error = error.with_code(code);
            }
            let failure = judge(Refusal {
                channel: &ChannelName::from("a"),
                status: StatusCode::BAD_REQUEST,
                headers: &HeaderMap::new(),
                body: Bytes::new(),
                dialect: Dialect::OpenAiChat,
                error,
                asked: nothing(&HeaderMap::new()),
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
        assert_eq!(told("API key not valid", None), Blame::Key);
        assert_eq!(told("API key not valid", Some("invalid_value")), Blame::Request);
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
