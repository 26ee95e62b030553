//! What a refusal says about whose fault it is, in any provider's words: the one list of their codes and phrases.
//!
//! Statuses alone do not tell: providers answer 400 for a key that is not valid, for a balance that is used up, and
//! for a text that is too long. Codes come first. A phrase counts in the provider's own message alone, where it gives
//! no code, and never when the request itself holds it: a client must not be able to bench a key or a channel by
//! quoting words. What follows from the evidence is the caller's business.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::asked::{Asked, squeezed};
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
    /// It is about this one request, whatever its status says of keys: another request with the same key is served.
    pub one_request: bool,
    /// It says that there is no such model or deployment.
    pub no_model: bool,
    /// The model is not ready, whoever asks for it.
    pub busy: bool,
    /// It is a page of a proxy in between, not the upstream's judgement of the request.
    pub is_page: bool,
    /// Its status was guessed from words that are the client's own: nothing is known of it.
    pub is_quote: bool,
    /// How long the upstream asks to be left alone, as it says: nobody has bounded it yet.
    pub retry_after: Option<Duration>,
}

/// A meaning that a code or phrase has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Key,
    KeyAndQuota,
    Quota,
    Length,
    OneRequest,
    NoModel,
    Busy,
}

/// Codes, types and reasons of providers, squeezed: letters and digits in lower case.
const CODES: [(&str, Sign); 46] = [
    ("apikeyinvalid", Sign::Key),
    ("invalidapikey", Sign::Key),
    ("apikeyexpired", Sign::Key),
    ("accesstokenexpired", Sign::Key),
    ("accountdeactivated", Sign::Key),
    ("insufficientquota", Sign::KeyAndQuota),
    ("insufficientbalance", Sign::KeyAndQuota),
    ("billinghardlimitreached", Sign::KeyAndQuota),
    ("billingnotactive", Sign::KeyAndQuota),
    ("billingdisabled", Sign::KeyAndQuota),
    ("billingerror", Sign::KeyAndQuota),
    ("arrearage", Sign::KeyAndQuota),
    ("accountoverdueerror", Sign::KeyAndQuota),
    ("quotaexceeded", Sign::Quota),
    ("usagelimitreached", Sign::Quota),
    // Of AWS.
    ("expiredtokenexception", Sign::Key),
    ("unrecognizedclientexception", Sign::Key),
    ("invalidsignatureexception", Sign::Key),
    ("invalidclienttokenid", Sign::Key),
    ("signaturedoesnotmatch", Sign::Key),
    ("incompletesignatureexception", Sign::Key),
    ("servicequotaexceededexception", Sign::KeyAndQuota),
    ("resourcenotfoundexception", Sign::NoModel),
    ("modelnotreadyexception", Sign::Busy),
    ("outofcapacity", Sign::Busy),
    ("contextlengthexceeded", Sign::Length),
    ("stringabovemaxlength", Sign::Length),
    ("requesttoolarge", Sign::Length),
    // What a moderating provider says beside its message (OpenRouter).
    ("flaggedinput", Sign::OneRequest),
    ("contentpolicyviolation", Sign::OneRequest),
    ("contentfilter", Sign::OneRequest),
    ("moderationblocked", Sign::OneRequest),
    ("datainspectionfailed", Sign::OneRequest),
    // Headers of the client's choice that do not belong to the key, and tiers that are full.
    ("invalidorganization", Sign::OneRequest),
    ("mismatchedorganization", Sign::OneRequest),
    ("invalidproject", Sign::OneRequest),
    ("mismatchedproject", Sign::OneRequest),
    ("resourceunavailable", Sign::OneRequest),
    ("modelnotfound", Sign::NoModel),
    ("modelnotexist", Sign::NoModel),
    ("modelnotavailable", Sign::NoModel),
    ("modelnotsupported", Sign::NoModel),
    ("invalidmodel", Sign::NoModel),
    ("unknownmodel", Sign::NoModel),
    ("deploymentnotfound", Sign::NoModel),
    ("invalidendpointormodelnotfound", Sign::NoModel),
];

/// Codes that say no more than a status does: beside them the message is read.
const VAGUE: [&str; 12] = [
    "error",
    "unknown",
    "badrequest",
    "badrequesterror",
    "invalidrequest",
    "invalidrequesterror",
    "invalidargument",
    "failedprecondition",
    "clientspecifiedaninvalidargument",
    "apierror",
    "validationexception",
    "accessdeniedexception",
];

/// Phrases of providers' messages, in lower case.
const PHRASES: [(&str, Sign); 28] = [
    ("api key not valid", Sign::Key),
    ("api key expired", Sign::Key),
    ("incorrect api key provided", Sign::Key),
    ("user location is not supported", Sign::Key),
    ("security token included in the request is expired", Sign::Key),
    ("security token included in the request is invalid", Sign::Key),
    ("credit balance is too low", Sign::KeyAndQuota),
    ("exceeded your current quota", Sign::KeyAndQuota),
    ("you are out of credits", Sign::KeyAndQuota),
    ("reached your specified api usage limits", Sign::KeyAndQuota),
    ("reached your specified workspace api usage limits", Sign::KeyAndQuota),
    ("payment required", Sign::Quota),
    ("quota exceeded", Sign::Quota),
    ("usage limit", Sign::Quota),
    ("maximum context length", Sign::Length),
    ("must be less than max_seq_len", Sign::Length),
    ("please reduce the length of the messages or completion", Sign::Length),
    ("request contains text fields that are too large.", Sign::Length),
    ("please reduce the length of either one, or use the", Sign::Length),
    ("exceeds the maximum number of tokens allowed", Sign::Length),
    ("prompt is too long", Sign::Length),
    ("input is too long", Sign::Length),
    ("number of input tokens exceeds", Sign::Length),
    ("context window", Sign::Length),
    ("request too large", Sign::Length),
    ("fewer max_tokens", Sign::OneRequest),
    ("extra usage is required for long context", Sign::OneRequest),
    ("content violates usage guidelines", Sign::OneRequest),
];

/// How messages say that there is no model of the name that was asked for, squeezed; the name stands for `{}`.
const NO_SUCH: [&str; 18] = [
    "model{}doesnotexist",
    "model{}notexist",
    "model{}notfound",
    "model{}isnotfound",
    "models{}isnotfound",
    "models{}wasnotfound",
    "model{}isnotavailable",
    "model{}isnotdeployed",
    "model{}isnolongeravailable",
    "notfoundthemodel{}",
    "nosuchmodel{}",
    "unknownmodel{}",
    "invalidmodel{}",
    "invalidmodelid{}",
    "invalidmodelname{}",
    "{}isnotavalidmodel",
    "unabletoaccessmodel{}",
    "noendpointsfoundfor{}",
];

/// The same without the name: how such messages begin, squeezed.
const NO_MODEL: [&str; 13] = [
    "modelnotexist",
    "modeldoesnotexist",
    "modelnotfound",
    "themodeldoesnotexist",
    "therequestedmodeldoesnotexist",
    "theapideploymentforthisresourcedoesnotexist",
    "invalidmodelid",
    "theprovidedmodelidentifierisinvalid",
    "theprovidedmodelidisinvalid",
    "youdonthaveaccesstothemodel",
    "modelaccessisdenied",
    "invocationofmodelid",
    "模型不存在",
];

/// Words that a status is guessed by where nothing else tells it.
pub(crate) const GUESSES: [(&str, u16); 6] = [
    ("rate limit", 429),
    ("too many requests", 429),
    ("overloaded", 529),
    ("api key", 401),
    ("context length", 400),
    ("maximum context", 400),
];

impl Evidence {
    /// Reads a refusal: its headers, the error as the dialect reads it, the body as it came, if there is one, and
    /// what was asked.
    pub fn read(headers: &HeaderMap, error: &Error, body: &[u8], asked: &Asked<'_>, now: SystemTime) -> Self {
        let mut evidence = Self {
            is_page: body.trim_ascii_start().starts_with(b"<"),
            is_quote: error.signs.guessed && is_quote(&error.message, asked),
            retry_after: wait::in_headers(headers, now)
                .or(error.retry_after)
                .or_else(|| wait::in_words(&error.message))
                .or_else(|| wait::resets(headers)),
            ..Self::default()
        };
        let codes = &error.signs.codes;
        for (code, sign) in CODES {
            if codes.iter().any(|given| given == code) {
                evidence.add(sign);
            }
        }
        // A code that means something else, or a field that is at fault, contradicts whatever is said in words.
        let is_about_a_field = error.param.as_deref().is_some_and(|param| param != "model");
        let is_told = error.signs.says.as_deref().is_some_and(|code| !VAGUE.contains(&code));
        if !is_about_a_field && !is_told {
            evidence.read_words(&error.message, asked);
        } else {
            evidence.read_lengths(&error.message);
        }
        evidence
    }

    /// Looks for phrases in a message.
    fn read_words(&mut self, message: &str, asked: &Asked<'_>) {
        let lower = message.to_ascii_lowercase();
        for (phrase, sign) in PHRASES {
            // A request may speak of lengths and limits of its own accord: where nothing rests it does not matter.
            let is_harmless = matches!(sign, Sign::Length | Sign::OneRequest);
            if lower.contains(phrase) && (is_harmless || !asked.holds(phrase)) {
                self.add(sign);
            }
        }
        self.no_model |= denies_model(&squeezed(message), asked);
    }

    /// A request that is too long goes to the next channel, whatever else its refusal says.
    fn read_lengths(&mut self, message: &str) {
        let lower = message.to_ascii_lowercase();
        let phrases = PHRASES.iter().filter(|(_, sign)| matches!(sign, Sign::Length | Sign::OneRequest));
        for (phrase, sign) in phrases {
            if lower.contains(phrase) {
                self.add(*sign);
            }
        }
    }

    fn add(&mut self, sign: Sign) {
        self.key |= matches!(sign, Sign::Key | Sign::KeyAndQuota);
        self.quota |= matches!(sign, Sign::Quota | Sign::KeyAndQuota);
        self.too_long |= sign == Sign::Length;
        self.one_request |= sign == Sign::OneRequest;
        self.no_model |= sign == Sign::NoModel;
        self.busy |= sign == Sign::Busy;
    }
}

/// Whether a message says that the model that was asked for is not there.
fn denies_model(squeezed_message: &str, asked: &Asked<'_>) -> bool {
    let model = squeezed(asked.model);
    let named = !model.is_empty()
        && (squeezed_message == format!("model{model}")
            || NO_SUCH.iter().any(|phrase| squeezed_message.contains(&phrase.replace("{}", &model))));
    // Behind the name may stand words of ours, so the name alone must not be the request's.
    if named && !asked.holds(&model) {
        return true;
    }
    NO_MODEL.iter().any(|phrase| squeezed_message.starts_with(phrase) && !asked.holds(phrase))
}

/// Whether an error of which nothing but its words is known speaks of the client's own: it is guessed by some of
/// them, or puts some between quotes.
fn is_quote(message: &str, asked: &Asked<'_>) -> bool {
    /// Quotes that are looked up; shorter ones than this stand in any request.
    const MOST: usize = 4;
    const SHORTEST: usize = 3;
    let lower = message.to_ascii_lowercase();
    let guessed = GUESSES.iter().any(|(words, _)| lower.contains(words) && asked.holds(words));
    let mut quotes = ['\'', '"', '`']
        .into_iter()
        .flat_map(|mark| lower.split(mark).skip(1).step_by(2))
        .filter(|quote| squeezed(quote).len() >= SHORTEST)
        .take(MOST);
    guessed || quotes.any(|quote| asked.holds(quote))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Body, normalise_error};

    fn read(headers: &[(&'static str, &str)], body: &str) -> Evidence {
        read_of(&json!({}), headers, body)
    }

    /// What a refusal of this request says; the upstream was asked for `gpt-4o`.
    fn read_of(request: &Value, headers: &[(&'static str, &str)], body: &str) -> Evidence {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let error = normalise_error(StatusCode::TOO_MANY_REQUESTS, body.as_bytes());
        let request = Body::Json(Bytes::from(request.to_string()));
        let asked = Asked { body: &request, headers: &HeaderMap::new(), model: "gpt-4o" };
        Evidence::read(&headers, &error, body.as_bytes(), &asked, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn codes_and_phrases_are_signs_in_any_case() {
        let none = Evidence::default();
        let key = Evidence { key: true, ..none.clone() };
        let spent = Evidence { quota: true, ..key.clone() };
        let no_model = Evidence { no_model: true, ..none.clone() };
        let one_request = Evidence { one_request: true, ..none.clone() };
        for (body, evidence) in [
            (r#"{"error":{"message":"no"}}"#, none.clone()),
            (
                r#"{"error":{"message":"API Key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                key.clone(),
            ),
            (r#"{"error":{"message":"x","details":[{"reason":"API_KEY_INVALID"}]}}"#, key.clone()),
            (
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: x"}"#,
                key.clone(),
            ),
            (r#"{"error":{"message":"Your credit balance is too low to access the API"}}"#, spent.clone()),
            (r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, spent.clone()),
            (r#"{"error":{"message":"x","type":"insufficient_quota","code":null}}"#, spent.clone()),
            (
                r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"x\",\"code\":\"insufficient_quota\"}}"}}}"#,
                spent,
            ),
            (
                r#"{"error":{"message":"Quota exceeded for this day"}}"#,
                Evidence { quota: true, ..none.clone() },
            ),
            (
                r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#,
                Evidence { too_long: true, ..none.clone() },
            ),
            (r#"{"error":{"code":"DeploymentNotFound"}}"#, no_model.clone()),
            (r#"{"error":{"message":"Model Not Exist","code":"invalid_request_error"}}"#, no_model.clone()),
            (r#"{"error":{"message":"gpt-4o is not a valid model ID","code":400}}"#, no_model.clone()),
            (
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: gpt-4o"}}"#,
                no_model.clone(),
            ),
            (r#"{"code":20012,"message":"Model does not exist. Please check it carefully."}"#, no_model),
            (r#"{"error":{"message":"Invalid URL (POST /v1/model)","code":null}}"#, none.clone()),
            (r#"{"error":{"message":"gpt-4o does not support a parameter"}}"#, none.clone()),
            (
                r#"{"error":{"code":403,"message":"m","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#,
                one_request.clone(),
            ),
            (
                r#"{"error":{"code":402,"message":"This request requires more credits, or fewer max_tokens."}}"#,
                one_request,
            ),
            ("<html><h1>400 Bad Request</h1>", Evidence { is_page: true, ..none }),
        ] {
            assert_eq!(read(&[], body), evidence, "{body}");
        }
    }

    #[test]
    fn words_are_no_sign_beside_a_code_or_a_field_that_contradicts_them() {
        for (code, param) in [(json!("invalid_value"), json!(null)), (json!(null), json!("messages[0].role"))]
        {
            for words in ["credit balance is too low", "API key not valid", "model gpt-4o does not exist"] {
                let body = json!({"error": {"message": words, "code": code, "param": param}}).to_string();

                assert_eq!(read(&[], &body), Evidence::default(), "{body}");
            }
        }
    }

    #[test]
    fn words_of_the_request_are_no_sign_and_codes_are_whatever_the_request_says() {
        let request = json!({
            "model": "alias",
            "messages": [{"role": "Credit-Balance is too low"}],
            "tools": [{"name": "GPT 4o"}, {"name": "model_not_exist"}],
            "insufficient_quota": 1,
        });
        for (message, code) in [
            ("Invalid role: Credit balance is too low", json!(null)),
            ("Your credit balance is too low", json!("invalid_request_error")),
            ("Tool 'model gpt-4o' not found", json!(null)),
            ("The model gpt-4o does not exist", json!(null)),
            ("model_not_exist", json!(null)),
        ] {
            let body = json!({"error": {"message": message, "code": code}}).to_string();

            assert_eq!(read_of(&request, &[], &body), Evidence::default(), "{body}");
        }
        assert!(read_of(&request, &[], r#"{"error":{"message":"x","code":"insufficient_quota"}}"#).key);
    }

    #[test]
    fn an_error_without_a_body_is_read_by_its_words_and_code() {
        let told = |value: Value| {
            let error = crate::error_body::in_band(&value).expect("an error");
            let request = Body::Json(Bytes::from_static(br#"{"x":"fine rate limit tool"}"#));
            let asked = Asked { body: &request, headers: &HeaderMap::new(), model: "m" };
            Evidence::read(&HeaderMap::new(), &error, b"", &asked, SystemTime::UNIX_EPOCH)
        };

        assert!(told(json!({"error": {"message": "no", "code": "context_length_exceeded"}})).too_long);
        assert!(told(json!({"error": {"message": "prompt is too long", "code": "x"}})).too_long);
        assert!(told(json!({"error": {"message": "API key not valid"}})).key);
        assert!(!told(json!({"error": {"message": "API key not valid", "code": "bad"}})).key);
        assert!(told(json!({"error": "unknown role 'rate limit'"})).is_quote);
        assert!(told(json!({"error": "unknown thing `fine`"})).is_quote);
        assert!(!told(json!({"error": "unknown thing"})).is_quote);
        assert!(
            !told(json!({"error": {"message": "unknown thing 'fine'", "type": "server_error"}})).is_quote
        );
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
