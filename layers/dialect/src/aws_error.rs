//! Reads the failures of AWS: bodies whose kind stands in a header, and exceptions within streams.
//!
//! Source: <https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization>, and the errors
//! of <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::Frame;
use crate::error_body;
use crate::ir::{Error, ErrorKind};
use crate::lenient::{Count, Obj, Str};
use crate::surrogates::mended;

/// The header in which the kind of a failure stands, sometimes with an address behind it.
const KIND: &str = "x-amzn-errortype";
/// No kind has a longer name.
const LONGEST: usize = 128;

/// Exceptions of Bedrock and their statuses, as its service model gives them; names without `Exception`, in lower case.
const STATUSES: [(&str, u16); 22] = [
    ("accessdenied", 403),
    ("conflict", 409),
    ("expiredtoken", 403),
    ("incompletesignature", 403),
    ("internalserver", 500),
    ("internalfailure", 500),
    ("invalidclienttokenid", 403),
    ("invalidsignature", 403),
    ("missingauthenticationtoken", 403),
    ("modelerror", 424),
    ("modelnotready", 503),
    ("modelstreamerror", 424),
    ("modeltimeout", 408),
    ("requestexpired", 403),
    ("resourcenotfound", 404),
    ("servicequotaexceeded", 429),
    ("serviceunavailable", 503),
    ("signaturedoesnotmatch", 403),
    ("throttling", 429),
    ("toomanyrequests", 429),
    ("unrecognizedclient", 403),
    ("validation", 400),
];

/// The rest of an exception, beside its message.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told<'a> {
    #[serde(borrow)]
    original_message: Str<'a>,
    original_status_code: Count,
}

/// Normalises the body of a failed answer, whose kind may stand in a header.
pub(crate) fn normalise(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let error = error_body::normalise(status, body);
    match headers.get(KIND).and_then(|kind| kind.to_str().ok()).map(bare).filter(|kind| !kind.is_empty()) {
        Some(kind) if error.code.is_none() => error.with_code(kind),
        _ => bare_code(error),
    }
}

/// The failure that an exception of a stream tells: its name is the kind, its payload the message.
pub(crate) fn exception(frame: &Frame<'_>) -> Error {
    let kind = String::from_utf8_lossy(frame.event);
    let kind = bare(&kind);
    let status = status(kind).unwrap_or(StatusCode::BAD_GATEWAY);
    let payload = mended(frame.payload());
    let mut error = error_body::normalise(status, &payload);
    if let Ok(Obj(Some(told))) = serde_json::from_slice::<Obj<Told<'_>>>(&payload) {
        // The model's own words say more than that it has failed.
        let original = told.original_message.full().filter(|words| !error.message.contains(*words));
        if let Some(words) = original {
            let inner = error_body::normalise(status, words.as_bytes());
            error.message = format!("{}: {}", error.message, inner.message);
        }
        let original = u16::try_from(told.original_status_code.0).ok();
        let original = original.and_then(|status| StatusCode::from_u16(status).ok());
        // A stream breaks for the reason for which the model did.
        if let Some(original) = original.filter(|status| *status == StatusCode::TOO_MANY_REQUESTS) {
            (error.status, error.kind) = (original, ErrorKind::of(original));
        }
    }
    match kind {
        "" => error,
        kind => error.with_code(kind),
    }
}

/// An error whose code came in the body, without what stands around it there.
fn bare_code(mut error: Error) -> Error {
    let code = error.code.as_deref().map(bare).filter(|code| !code.is_empty());
    let code = code.filter(|code| error.code.as_deref() != Some(code)).map(str::to_owned);
    if let Some(code) = code {
        error = error.with_code(code);
    }
    error
}

/// A kind without its namespace before `#` and its address behind `:`.
fn bare(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default().trim();
    if kind.len() > LONGEST { "" } else { kind }
}

/// The status of a kind; none of one that nobody knows.
fn status(kind: &str) -> Option<StatusCode> {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_suffix("exception").or(kind.strip_suffix("error")).unwrap_or(&kind);
    let found =
        STATUSES.iter().find(|(known, _)| *known == kind || known.strip_suffix("error") == Some(kind));
    found.and_then(|(_, status)| StatusCode::from_u16(*status).ok())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn of(name: &str, payload: &'static str) -> Error {
        let data = Some(Cow::Borrowed(payload.as_bytes()));
        exception(&Frame { event: name.as_bytes(), data, exception: true, ..Frame::default() })
    }

    #[test]
    fn an_exception_has_the_status_of_its_kind() {
        for (name, status) in [
            ("throttlingException", 429),
            ("modelTimeoutException", 408),
            ("validationException", 400),
            ("serviceUnavailableException", 503),
            ("internalServerException", 500),
            ("modelStreamErrorException", 424),
            ("AccessDeniedException", 403),
            ("InternalError", 502),
            ("", 502),
        ] {
            let error = of(name, r#"{"message":"Too many tokens, please wait."}"#);

            assert_eq!(error.status.as_u16(), status, "{name}");
            assert_eq!(error.kind, ErrorKind::of(error.status), "{name}");
            assert_eq!(error.message, "Too many tokens, please wait.");
            assert_eq!(error.code.as_deref(), Some(name).filter(|name| !name.is_empty()));
        }
    }

    #[test]
    fn a_broken_model_is_told_in_its_own_words() {
        let error = of(
            "modelStreamErrorException",
            r#"{"message":"The model stopped.","originalStatusCode":429,"originalMessage":"{\"message\":\"slow down\"}"}"#,
        );

        assert_eq!((error.status.as_u16(), error.kind), (429, ErrorKind::RateLimit));
        assert_eq!(error.message, "The model stopped.: slow down");
    }

    #[test]
    fn the_kind_of_a_refusal_stands_in_a_header_or_in_the_body() {
        let told = |kind: Option<&str>, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(KIND, kind.parse().unwrap());
            }
            let error = normalise(StatusCode::FORBIDDEN, &headers, body.as_bytes());
            (error.code, error.message)
        };
        let named = |message: &str| (Some("ExpiredTokenException".to_owned()), message.to_owned());

        let addressed = "ExpiredTokenException:http://internal.amazon.com/coral/com.amazon.coral.service/";
        assert_eq!(told(Some(addressed), r#"{"message":"m"}"#), named("m"));
        assert_eq!(told(Some("aws.protocols#ExpiredTokenException"), r#"{"Message":"m"}"#), named("m"));
        let inside = r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"m"}"#;
        assert_eq!(told(None, inside), named("m"));
        assert_eq!(told(None, r#"{"message":"m"}"#), (None, "m".to_owned()));
    }
}
