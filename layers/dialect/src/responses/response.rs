//! Reads whole answers.

use serde_json::value::RawValue;

use super::stream::Decoder;
use super::wire::{Answer, Envelope, error_of};
use crate::ir::{Error, Response};
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// Reads a whole answer as the fold of its events.
pub(crate) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let body = mended(body);
    let Some((answer, json)) = find(&body) else {
        let malformed = || Malformed::new("upstream sent no response").into_answer_error();
        return Err(error_of(&body).unwrap_or_else(malformed));
    };
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.whole(&answer, json, &mut events);
    Response::fold(events)
}

/// The response that a body is, or the one in the last event of a stream, which some relays send alone.
fn find(body: &[u8]) -> Option<(Answer<'_>, &str)> {
    let text = std::str::from_utf8(body).ok()?;
    if let Some(answer) = Answer::read(text) {
        return Some((answer, text));
    }
    let within = Envelope::read(body)?.response.map(RawValue::get)?;
    Some((Answer::read(within)?, within))
}
