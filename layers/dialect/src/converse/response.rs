//! Reads whole answers of Converse.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::stream::Decoder;
use super::wire::Answer;
use crate::ir::{Error, Response};
use crate::surrogates::mended;
use crate::{Correspondence, Malformed, aws_error, error_body};

/// Reads a whole answer as the fold of its events.
pub(super) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let body = mended(body);
    let malformed = || {
        told_error(&body).unwrap_or_else(|| Malformed::new("upstream sent no message").into_answer_error())
    };
    // What is skipped must be text too.
    let text = std::str::from_utf8(&body).map_err(|_| malformed())?;
    let answer =
        serde_json::from_str::<crate::lenient::Obj<Answer<'_>>>(text).ok().and_then(|answer| answer.0);
    let message = answer.as_ref().and_then(|answer| answer.output.0.as_ref()?.message.0.as_ref());
    let (Some(answer), Some(message)) = (&answer, message) else { return Err(malformed()) };
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    Decoder::start(&mut events);
    for (index, block) in (0..).zip(&message.content.0) {
        decoder.whole(index, block, &mut events);
    }
    decoder.stop(&answer.stop_reason, answer.additional_model_response_fields.0.as_ref());
    decoder.count(answer.usage.0.as_ref(), &answer.service_tier, &mut events);
    decoder.end(&mut events);
    Response::fold(events)
}

/// The error that stands where an answer should: in AWS's own form, `{"message", "__type"?}`, or in another.
fn told_error(body: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let is_own = ["message", "Message", "__type"].iter().any(|field| value[field].is_string());
    match is_own && value["output"].is_null() {
        true => Some(aws_error::normalise(StatusCode::BAD_GATEWAY, &HeaderMap::new(), body)),
        false => error_body::in_band(&value),
    }
}
