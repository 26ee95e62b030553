//! Reads any provider's words for a failure into one [`Error`].
//!
//! Providers agree on nothing here: objects, strings, arrays, HTML pages, errors inside answers with status 200. The
//! HTTP status is believed when it is a failure; otherwise the status is inferred from codes, types and, last, words.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::asked::squeezed;
use crate::evidence::GUESSES;
use crate::ir::{Error, ErrorKind, Signs};
use crate::scrub::scrub;
use crate::{surrogates, wait};

/// Longest message that is passed on, in bytes.
const MESSAGE_LIMIT: usize = 2048;
/// How much of a body is read.
const BODY_LIMIT: usize = 64 * 1024;
/// Longest word for machines that is read as one.
const LONGEST_CODE: usize = 128;
/// How much of a page that is not JSON is shown.
const PAGE_LIMIT: usize = 300;

/// Normalises the body of a failed answer. `status` is the HTTP status; of a 2xx the real one is inferred.
///
/// The message is bounded (2 KiB) and free of keys. `retry_after` holds a hint that the body itself gives.
pub fn normalise(status: StatusCode, body: &[u8]) -> Error {
    let body = &body[..body.len().min(BODY_LIMIT)];
    if let Ok(value) = surrogates::read::<Value>(body) {
        if let Some(error) = read(&value, Some(status)) {
            return error;
        }
        return build(Told::By(status), &Found::default());
    }
    // Zero bytes are those of another encoding, or of no text at all: what nobody here can read is not told.
    let page = if body.contains(&0) { String::new() } else { strip_markup(&String::from_utf8_lossy(body)) };
    let found = Found { message: page, ..Found::default() };
    build(infer(status, &found), &found)
}

/// The error that an answer with status 200 carries in itself, in any of the known shapes; `None` when it is none.
pub(crate) fn in_band(value: &Value) -> Option<Error> {
    read(value, None)
}

/// The parts of an error, as far as they could be found.
#[derive(Debug, Default)]
struct Found {
    message: String,
    kind: String,
    code: String,
    param: Option<String>,
    /// What it says beside its code and type.
    reasons: Vec<String>,
    /// A status that the error itself names.
    status: Option<u16>,
    retry: Option<Duration>,
}

/// Reads an error out of JSON. With a failed HTTP status anything that holds a message will do; without one
/// (`outer` is `None`) only shapes that cannot be part of a good answer.
fn read(value: &Value, outer: Option<StatusCode>) -> Option<Error> {
    let value = match value {
        Value::Array(list) => list.iter().find(|element| element.get("error").is_some())?,
        other => other,
    };
    let found = find(value, outer.is_some_and(|status| !status.is_success()))?;
    Some(build(infer(outer.unwrap_or(StatusCode::OK), &found), &found))
}

fn find(value: &Value, failed: bool) -> Option<Found> {
    let object = value.as_object()?;
    if let Some(error) = object.get("error")
        && let Some(mut found) = find_error(error)
    {
        // xAI: {"code": "...", "error": "text"}
        if found.code.is_empty() {
            found.code = word(object.get("code"));
        }
        return Some(found);
    }
    if let Some(base) = object.get("base_resp") {
        let code = base.get("status_code").and_then(Value::as_i64).unwrap_or(0);
        if code != 0 {
            let status = match code {
                1004 | 2049 => Some(401),
                1002 | 1008 | 1039 | 2056 => Some(429),
                1001 => Some(504),
                1026 | 1027 | 1042 | 2013 => Some(400),
                _ => None,
            };
            let message = word(base.get("status_msg"));
            return Some(Found { message, code: code.to_string(), status, ..Found::default() });
        }
    }
    let says_error = object.get("object").and_then(Value::as_str) == Some("error")
        || object.get("type").and_then(Value::as_str) == Some("error");
    if says_error {
        return Some(flat(value));
    }
    if let Some(error) = object
        .get("choices")
        .and_then(Value::as_array)
        .and_then(|choices| choices.iter().find_map(|choice| find_error(choice.get("error")?)))
    {
        return Some(error);
    }
    if let Some(errors) = object.get("errors").and_then(Value::as_array)
        && let Some(found) = errors.iter().find_map(find_error)
        && (failed || object.get("success") == Some(&Value::Bool(false)))
    {
        return Some(found);
    }
    let answers = ["choices", "content", "candidates", "output", "data", "id", "usage", "delta"];
    if !failed && answers.iter().any(|key| object.contains_key(*key)) {
        return None;
    }
    // With a good status only `detail` alone is plain; with a bad one any message is.
    let keys: &[&str] = if failed {
        &["message", "Message", "detail", "msg", "error_description", "external_model_message", "title"]
    } else {
        &["detail"]
    };
    let spoken = keys.iter().any(|key| object.get(*key).is_some_and(|value| !is_blank(value)));
    spoken.then(|| flat(value))
}

/// Reads the value of `error`, which is an object, a string, or an array of such. Empty ones are no errors: some
/// providers send the object in every answer.
fn find_error(error: &Value) -> Option<Found> {
    match error {
        Value::String(text) if !text.trim().is_empty() => {
            Some(Found { message: text.clone(), ..Found::default() })
        }
        Value::Array(list) => list.iter().find_map(find_error),
        Value::Object(object) if !object.values().all(is_blank) => Some(flat(error)),
        _ => None,
    }
}

/// Reads an object whose fields are the error's.
fn flat(error: &Value) -> Found {
    let get = |keys: &[&str]| {
        keys.iter().map(|key| error.get(*key)).find(|value| value.is_some_and(|v| !is_blank(v))).flatten()
    };
    let mut found = Found {
        message: get(&[
            "message",
            "Message",
            "detail",
            "msg",
            "error_description",
            "external_model_message",
            "error",
            "title",
        ])
        .map(|value| match value {
            Value::String(text) => text.clone(),
            Value::Object(inner) if inner.contains_key("message") => word(inner.get("message")),
            other => other.to_string(),
        })
        .unwrap_or_default(),
        kind: word(get(&["type", "status", "__type"])),
        code: word(get(&["code", "error_code", "statusCode"])),
        param: error.get("param").and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned),
        reasons: reasons(error),
        status: None,
        retry: retry_info(error),
    };
    // A code that is a status (OpenRouter, Gemini, vLLM) is the truest hint of all.
    found.status = found.code.parse().ok().filter(|status| (400..600).contains(status));
    if found.status.is_some() {
        found.code.clear();
    }
    // OpenRouter wraps the provider's own words.
    if let Some(raw) = error.get("metadata").and_then(|data| data.get("raw")).and_then(Value::as_str)
        && !raw.is_empty()
        && found.message == "Provider returned error"
    {
        let inner = serde_json::from_str(raw).ok().and_then(|raw| find(&raw, true));
        let said = inner.as_ref().map_or(raw, |inner| &inner.message);
        found.message = format!("{}: {said}", found.message);
        if let Some(inner) = inner {
            found.code = if found.code.is_empty() { inner.code } else { found.code };
            found.param = found.param.or(inner.param);
            found.reasons.push(inner.kind);
            found.reasons.extend(inner.reasons);
        }
    }
    found
}

/// Google's reasons among the details, and that a moderating provider has flagged the input (OpenRouter).
fn reasons(error: &Value) -> Vec<String> {
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let mut reasons: Vec<String> =
        details.filter_map(|detail| Some(detail.get("reason")?.as_str()?.to_owned())).take(8).collect();
    let metadata = error.get("metadata");
    if metadata.is_some_and(|data| data.get("flagged_input").or(data.get("reasons")).is_some()) {
        reasons.push("flagged_input".to_owned());
    }
    reasons
}

/// Google's `RetryInfo` among the details.
fn retry_info(error: &Value) -> Option<Duration> {
    error
        .get("details")?
        .as_array()?
        .iter()
        .find_map(|detail| wait::span(detail.get("retryDelay")?.as_str()?))
}

fn word(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.iter().all(is_blank),
        Value::Object(object) => object.values().all(is_blank),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(flag) => !flag,
    }
}

/// The status of an error, and what it is known by.
enum Told {
    /// The status line, or the error's own code or type.
    By(StatusCode),
    /// Its words, or nothing.
    Guessed(StatusCode),
}

/// The status of an error: the HTTP status when that failed, else what code, type and words imply, else 502.
fn infer(status: StatusCode, found: &Found) -> Told {
    if !status.is_success() {
        return Told::By(status);
    }
    if let Some(status) = found.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        return Told::By(status);
    }
    let by_word = [found.code.as_str(), found.kind.as_str()].into_iter().find_map(|word| {
        let word = word.to_ascii_lowercase();
        let has = |part: &str| word.contains(part);
        Some(match word.as_str() {
            "" => return None,
            _ if has("overloaded") => 529,
            _ if has("unavailable") => 503,
            _ if has("rate_limit") || has("ratelimit") || has("quota") || has("resource_exhausted") => 429,
            _ if has("throttl") || has("billing_hard_limit") || has("too_many_requests") => 429,
            _ if has("billing") || has("overdue") => 402,
            _ if has("invalid_api_key") || has("authentication") || has("unauth") => 401,
            _ if has("permission") || has("forbidden") => 403,
            _ if has("not_found") || has("notfound") => 404,
            _ if has("too_large") => 413,
            _ if has("timeout") || has("deadline") => 504,
            _ if has("invalid") || has("unsupported_") || has("context_length") || has("bad_request") => 400,
            _ if has("badrequest") || has("content_filter") || has("failed_precondition") => 400,
            _ if has("api_error") || has("server_error") || has("internal") => 500,
            _ => return None,
        })
    });
    let of = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    if let Some(status) = by_word {
        return Told::By(of(status));
    }
    let text = found.message.to_ascii_lowercase();
    let is_wrong = ["invalid", "not valid", "incorrect"].iter().any(|word| text.contains(word));
    let guess = GUESSES
        .iter()
        .find(|(words, status)| text.contains(words) && (*status != 401 || is_wrong))
        .map_or(502, |(_, status)| *status);
    Told::Guessed(of(guess))
}

fn build(told: Told, found: &Found) -> Error {
    let (status, guessed) = match told {
        Told::By(status) => (status, false),
        Told::Guessed(status) => (status, true),
    };
    let status = if status.is_success() { StatusCode::BAD_GATEWAY } else { status };
    let message = scrub(found.message.trim());
    let retry_after =
        found.retry.or_else(|| wait::in_words(&message)).filter(|retry_after| !retry_after.is_zero());
    let message = if message.is_empty() { format!("upstream answered {status}") } else { message };
    Error {
        status,
        kind: ErrorKind::of(status),
        message: bounded(message, MESSAGE_LIMIT),
        // The type is the more telling word where there is no code (overloaded_error, RESOURCE_EXHAUSTED).
        code: [&found.code, &found.kind]
            .into_iter()
            .find(|word| !word.is_empty() && *word != "error")
            .map(|word| bounded(scrub(word), 128)),
        param: found.param.as_deref().map(|param| bounded(scrub(param), 256)),
        retry_after,
        signs: Box::new(Signs {
            codes: [&found.code, &found.kind]
                .into_iter()
                .chain(&found.reasons)
                .filter(|word| !word.is_empty() && word.len() <= LONGEST_CODE)
                .map(|word| squeezed(word))
                .collect(),
            says: Some(squeezed(&found.code)).filter(|code| code.contains(char::is_alphabetic)),
            guessed,
        }),
    }
}

/// Cuts a text at a character boundary.
fn bounded(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// The words of a page without its tags.
fn strip_markup(page: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for letter in page.chars() {
        match letter {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                text.push(' ');
            }
            _ if inside => {}
            letter if letter.is_whitespace() || letter.is_control() => {
                if !text.ends_with(' ') {
                    text.push(' ');
                }
            }
            letter => text.push(letter),
        }
        if text.len() > 4 * PAGE_LIMIT {
            break;
        }
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    // Before it is cut: half a key is no less one.
    bounded(scrub(&words.join(" ")), PAGE_LIMIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_known_shape_of_a_failed_answer_gives_its_message() {
        for (status, body, message, code) in [
            (429, r#"{"error":{"message":"m","type":"t","code":"c","param":"p"}}"#, "m", Some("c")),
            (400, r#"{"error":"m"}"#, "m", None),
            (400, r#"{"message":"m"}"#, "m", None),
            (422, r#"{"detail":"m"}"#, "m", None),
            (422, r#"{"detail":[{"loc":["a"],"msg":"m"}]}"#, r#"[{"loc":["a"],"msg":"m"}]"#, None),
            (
                400,
                r#"{"code":"InvalidParameter","message":"m","request_id":"r"}"#,
                "m",
                Some("InvalidParameter"),
            ),
            (400, r#"{"code":"bad","error":"m"}"#, "m", Some("bad")),
            (400, r#"{"success":false,"errors":[{"code":7000,"message":"m"}]}"#, "m", Some("7000")),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                "m",
                Some("overloaded_error"),
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
                "m",
                Some("INVALID_ARGUMENT"),
            ),
            (403, r#"{"Message":"m"}"#, "m", None),
            (400, r#"{"error_code":"BAD_REQUEST","message":"m"}"#, "m", Some("BAD_REQUEST")),
            (
                502,
                "<html><head><title>502</title></head><body>Bad <b>Gateway</b></body></html>",
                "502 Bad Gateway",
                None,
            ),
            (500, "{}", "upstream answered 500 Internal Server Error", None),
            (500, "", "upstream answered 500 Internal Server Error", None),
        ] {
            let error = normalise(StatusCode::from_u16(status).expect("status"), body.as_bytes());

            assert_eq!((error.message.as_str(), error.code.as_deref()), (message, code), "{body}");
            assert_eq!(error.status.as_u16(), status, "{body}");
        }
    }

    #[test]
    fn an_error_within_a_good_answer_gets_the_status_that_it_implies() {
        for (value, status) in [
            (json!({"error":{"type":"overloaded_error","message":"m"}}), 529),
            (json!({"error":{"code":"insufficient_quota","message":"m"}}), 429),
            (json!({"error":{"code":502,"message":"m"},"choices":[]}), 502),
            (json!({"object":"error","message":"m","code":400}), 400),
            (json!({"object":"error","message":"m","type":"BadRequestError"}), 400),
            (json!({"choices":[{"error":{"message":"m","code":429}}]}), 429),
            (json!({"base_resp":{"status_code":1008,"status_msg":"m"},"choices":null}), 429),
            (json!({"base_resp":{"status_code":2013,"status_msg":"m"}}), 400),
            (json!({"detail":"m"}), 502),
            (json!({"error":"too many requests"}), 429),
            (json!([{"error":{"status":"RESOURCE_EXHAUSTED","message":"m"}}]), 429),
        ] {
            let error = in_band(&value).unwrap_or_else(|| panic!("{value} is an error"));

            assert_eq!(error.status.as_u16(), status, "{value}");
        }
    }

    #[test]
    fn good_answers_and_empty_errors_are_no_errors() {
        for value in [
            json!({"error":null}),
            json!({"error":{}}),
            json!({"error":{"message":"","code":null,"type":""}}),
            json!({"error":{"code":0,"message":""}}),
            json!({"base_resp":{"status_code":0,"status_msg":"success"}}),
            json!({"id":"x","choices":[],"detail":"fine"}),
            json!({"message":"hello"}),
            json!(1),
            json!([]),
        ] {
            assert_eq!(in_band(&value), None, "{value}");
        }
    }

    #[test]
    fn waits_are_read_from_details_and_words() {
        for (body, wait) in [
            (
                r#"{"error":{"message":"m","details":[{"@type":"x/google.rpc.RetryInfo","retryDelay":"34s"}]}}"#,
                34_000,
            ),
            (r#"{"error":{"message":"Please try again in 1.5s. Visit"}}"#, 1_500),
            (r#"{"error":{"message":"Please try again in 6m0s."}}"#, 360_000),
            (r#"{"error":{"message":"Please try again in 120ms."}}"#, 120),
            (r#"{"error":{"message":"Please retry after 12 seconds."}}"#, 12_000),
        ] {
            let error = normalise(StatusCode::TOO_MANY_REQUESTS, body.as_bytes());

            assert_eq!(error.retry_after, Some(Duration::from_millis(wait)), "{body}");
        }
        assert_eq!(normalise(StatusCode::TOO_MANY_REQUESTS, b"retry after a while").retry_after, None);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let body = json!({ "error": { "message": "ä".repeat(3000) } }).to_string();

        let error = normalise(StatusCode::BAD_REQUEST, body.as_bytes());

        assert_eq!(error.message.len(), MESSAGE_LIMIT);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            let _ = normalise(StatusCode::BAD_REQUEST, &body);
            let _ = normalise(StatusCode::OK, text.as_bytes());
            let _ = normalise(StatusCode::TOO_MANY_REQUESTS, format!("retry after {text}").as_bytes());
        }
    }
}
