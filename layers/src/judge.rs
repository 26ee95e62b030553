//! Decides whose fault a refusal is: the disposition table of upstream answers.
//!
//! Pure. `convert` asks it about answers with an error status, `error_trigger` about errors inside
//! successful ones. Statuses alone do not tell: providers answer 400 for a key that is not valid,
//! for a balance that is used up, and for a text that is too long, so the evidence in their words
//! ([`Evidence`]) overrules them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dialect::{Asked, Care, Dialect, Evidence, ir};
use http::header::LOCATION;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;

use crate::failure::{Blame, Failure, Rejection};
use crate::hidden::Hidden;
use crate::policy::ChannelName;

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
    /// What an upstream may repeat and nobody else may learn.
    pub hidden: &'a Hidden,
}

/// Judges a refusal.
pub fn judge(refusal: Refusal<'_>) -> Failure {
    let Refusal { channel, mut status, headers, body, dialect, mut error, asked, hidden } = refusal;
    let body = hidden.clean(&body, Care::Error).unwrap_or(body);
    if status.is_redirection()
        && let Some(place) = redirect(headers)
    {
        error.message = format!("it redirects to {place}");
    }
    clean(&mut error, hidden);
    let evidence = Evidence::read(headers, &error, &body, &asked, SystemTime::now());
    let blame = blame(status, &evidence);
    if evidence.is_quote {
        status = StatusCode::BAD_GATEWAY;
    }
    let longest = if evidence.quota { LONGEST_HINT * 6 } else { LONGEST_HINT };
    // What is about this request does not get better by waiting.
    let hint = evidence.retry_after.filter(|_| blame != Blame::Terms);
    let retry_after = hint.map(|hint| hint.min(longest));
    Failure::Upstream(Box::new(Rejection {
        channel: channel.clone(),
        status,
        error,
        blame,
        retry_after,
        quota: evidence.quota && blame == Blame::Key,
        dialect,
        body: passed_on(body, dialect),
    }))
}

/// Where a redirect leads, which says what is wrong with the configured address: scheme, host and path.
/// Credentials and query stay out.
fn redirect(headers: &HeaderMap) -> Option<String> {
    const LONGEST: usize = 200;
    let place: Uri = headers.get(LOCATION)?.to_str().ok()?.parse().ok()?;
    let scheme = place.scheme_str().map(|scheme| format!("{scheme}:")).unwrap_or_default();
    let host = place.authority().map(|authority| match authority.as_str().rsplit_once('@') {
        Some((_credentials, host)) => format!("//{host}"),
        None => format!("//{authority}"),
    });
    Some(format!("{scheme}{}{}", host.unwrap_or_default(), place.path()).chars().take(LONGEST).collect())
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
        401..=403 | 429 | 498
            if evidence.one_request || (status == StatusCode::TOO_MANY_REQUESTS && evidence.too_long) =>
        {
            Blame::Terms
        }
        // A model that this account may not ask, or that is not ready yet: others may be.
        403 if evidence.no_model => Blame::Model,
        429 if evidence.busy => Blame::Channel,
        401 | 402 | 403 | 429 | 498 => Blame::Key,
        404 if evidence.no_model => Blame::Model,
        408 | 409 | 424 => Blame::Channel,
        500.. => Blame::Channel,
        _ => Blame::Nobody,
    }
}

/// Cleans every text of an error, of known secrets and of what looks like one.
fn clean(error: &mut ir::Error, hidden: &Hidden) {
    for text in [Some(&mut error.message), error.code.as_mut(), error.param.as_mut()].into_iter().flatten() {
        hidden.clean_text(text);
        *text = dialect::scrub(text);
    }
}

/// As much of a body as may be passed on. Only what clients read as an error is worth it: the rest is told in our own
/// words.
fn passed_on(body: Bytes, dialect: Dialect) -> Bytes {
    if dialect.own_error_shape().is_none_or(|shape| !shape.fits(&body)) {
        return Bytes::new();
    }
    // Written anew only where it holds what looks like somebody's key, and where it can be.
    match serde_json::from_slice::<Value>(&body) {
        Ok(mut object) => match dialect::scrub_json(&mut object) {
            true => object.to_string().into(),
            false => body,
        },
        Err(_) => {
            let text = String::from_utf8_lossy(&body);
            if dialect::scrub(&text) == text { body } else { Bytes::new() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Credential;
    use crate::testing::channel;
    use crate::testing::failures::nothing;
    use crate::testing::policy::secret;

    fn hidden(credential: Option<&Credential>) -> Hidden {
        Hidden::of(&channel("a").build(), credential, None)
    }

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
            hidden: &hidden(Some(&secret("sk-hidden").into())),
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
    fn a_redirect_is_told_with_the_place_it_leads_to_and_no_secret() {
        let told = |to: &str| judged(301, &[("location", to)], "<html>Moved</html>").error.message;

        assert_eq!(told("https://b.test/v1/chat"), "it redirects to https://b.test/v1/chat");
        assert_eq!(told("https://me:pass@b.test:8443/x?key=sk-1#y"), "it redirects to https://b.test:8443/x");
        assert_eq!(told("/v1/sk-hidden/"), "it redirects to /v1/[hidden]/");
        assert!(!told("http://").contains("redirects"), "it leads nowhere");
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
        let forbidden = r#"{"error":{"message":"blocked input","code":"content_filter"}}"#;
        assert_eq!(judged(498, &[], forbidden).blame, Blame::Terms);
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
                hidden: &hidden(None),
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
    fn the_key_is_in_neither_body_nor_message() {
        for body in [
            r#"{"error":{"message":"bad key sk-hidden"}}"#,
            r#"{"error":{"message":"bad","param":"sk-hidden","code":"sk-hidden"}}"#,
            r#"{"error":{"message":"bad","type":"\u0073k-hidden"}}"#,
            r#"{"error":{"message":"of another: sk-abcdefghijklmnop"}}"#,
        ] {
            let rejection = judged(400, &[], body);
            let told = format!("{rejection:?}");
            assert!(!told.contains("k-hidden") && !told.contains("abcdefghijklmnop"), "{told}");
            assert!(!rejection.body.is_empty());
        }
    }
}
