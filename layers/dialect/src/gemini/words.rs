//! What Gemini calls the ends and errors of answers.
//!
//! Sources: <https://ai.google.dev/api/generate-content> (`FinishReason`),
//! <https://cloud.google.com/apis/design/errors>.

use http::StatusCode;
use serde_json::{Value, json};

use crate::ir::{Error, ErrorKind, FinishReason};
use crate::{error_body, surrogates};

/// How much of a body is read for details of an error.
const BODY_LIMIT: usize = 64 << 10;

impl FinishReason {
    /// Reads the `finishReason` of a Gemini answer, a word or the number that some relays leave of it; unknown ones are
    /// plain stops.
    pub fn from_gemini(raw: &str) -> Self {
        match raw {
            "MAX_TOKENS" | "2" => Self::Length,
            "RECITATION" | "IMAGE_RECITATION" | "4" => Self::Recitation,
            "SAFETY"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "MODEL_ARMOR"
            | "3"
            | "6"
            | "7"
            | "8" => Self::ContentFilter,
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"
            | "MALFORMED_RESPONSE"
            | "9" => Self::MalformedToolCall,
            _ => Self::Stop,
        }
    }
}

impl ErrorKind {
    /// The `error.status` in Gemini errors.
    pub fn gemini_status(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::TooLarge => "INVALID_ARGUMENT",
            Self::Authentication => "UNAUTHENTICATED",
            Self::Billing => "FAILED_PRECONDITION",
            Self::Permission => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::Timeout => "DEADLINE_EXCEEDED",
            Self::RateLimit => "RESOURCE_EXHAUSTED",
            Self::Cancelled => "CANCELLED",
            Self::Upstream => "INTERNAL",
            Self::Overloaded => "UNAVAILABLE",
        }
    }
}

/// `{"error":{"code","message","status","details"}}`
pub(crate) fn error(error: &Error) -> Value {
    json!({ "error": {
        "code": error.status.as_u16(),
        "message": error.message,
        "status": error.kind.gemini_status(),
        "details": [],
    } })
}

/// Reads the body of a failed answer.
pub(super) fn read_error(status: StatusCode, body: &[u8]) -> Error {
    let error = error_body::normalise(status, body);
    match surrogates::read(&body[..body.len().min(BODY_LIMIT)]) {
        Ok(value) => with_quotas(error, &value),
        Err(_) => error,
    }
}

/// The error that a good answer, or a frame of one, carries in itself.
pub(super) fn in_band(payload: &[u8]) -> Option<Error> {
    let value = surrogates::read(payload).ok()?;
    Some(with_quotas(error_body::in_band(&value)?, &value))
}

/// An error with what its details say of quotas. Google words a limit per minute as it words one that is used up, and
/// only their identities tell them apart.
fn with_quotas(mut error: Error, body: &Value) -> Error {
    let body = match body {
        Value::Array(list) => list.iter().find(|element| element.get("error").is_some()),
        body => Some(body),
    };
    let details = body.and_then(|body| body.pointer("/error/details")).and_then(Value::as_array);
    let violations = details.into_iter().flatten().filter_map(|detail| detail.get("violations")?.as_array());
    let quotas: Vec<&str> =
        violations.flatten().filter_map(|violation| violation.get("quotaId")?.as_str()).take(16).collect();
    if error.kind != ErrorKind::RateLimit || quotas.is_empty() {
        return error;
    }
    let code = match quotas.iter().any(|quota| quota.contains("PerDay")) {
        true => "quotaexceeded",
        false => "ratelimitexceeded",
    };
    error.signs.codes.push(code.to_owned());
    error.signs.says = Some(code.to_owned());
    error
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::{Asked, Body, Evidence};

    fn evidence(status: u16, body: &str) -> (Error, Evidence) {
        let error = read_error(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let request = Body::Json(Bytes::from_static(b"{}"));
        let asked = Asked { body: &request, headers: &HeaderMap::new(), model: "gemini-2.5-pro" };
        let now = SystemTime::UNIX_EPOCH;
        let evidence = Evidence::read(&HeaderMap::new(), &error, body.as_bytes(), &asked, now);
        (error, evidence)
    }

    fn exhausted(quota: &str) -> String {
        json!({ "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{ "quotaId": quota }] },
                { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s" },
            ],
        } })
        .to_string()
    }

    #[test]
    fn a_quota_per_minute_is_waited_for_and_one_per_day_is_used_up() {
        let (error, minute) =
            evidence(429, &exhausted("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"));
        assert_eq!((error.kind, minute.quota, minute.key), (ErrorKind::RateLimit, false, false));
        assert_eq!(minute.retry_after, Some(Duration::from_millis(34_400)));

        let body = format!("[{}]", exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier"));
        let (_, day) = evidence(429, &body);
        assert!(day.quota);
    }

    #[test]
    fn a_bad_key_and_a_place_that_is_not_served_are_the_key_s_and_a_missing_model_is_not() {
        let invalid = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.",
            "status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        let place = r#"{"error":{"code":400,"message":"User location is not supported for the API use.",
            "status":"FAILED_PRECONDITION"}}"#;
        let model = r#"{"error":{"code":404,"message":"models/gemini-2.5-pro is not found for API version v1beta",
            "status":"NOT_FOUND"}}"#;

        assert!(evidence(400, invalid).1.key && evidence(400, place).1.key);
        let (_, missing) = evidence(404, model);
        assert!(missing.no_model && !missing.key);
    }
}
