//! Reads whole answers of Cohere, version 1.

use serde_json::value::RawValue;

use super::stream::Decoder;
use super::wire::Whole;
use crate::cohere::told_error;
use crate::ir::{Error, Response};
use crate::lenient::Obj;
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// The field that every answer has and no error.
#[derive(serde::Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Reads a whole answer as the fold of its events.
pub(in crate::cohere) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let body = mended(body);
    let malformed = || Malformed::new("upstream sent no chat answer").into_answer_error();
    let Ok(Obj(Some(answer))) = serde_json::from_slice::<Obj<Whole<'_>>>(&body) else {
        return Err(malformed());
    };
    let text = std::str::from_utf8(&body).map_err(|_| malformed())?;
    let has_text = serde_json::from_str::<Text<'_>>(text).is_ok_and(|answer| answer.text.is_some());
    if !has_text {
        return Err(told_error(&body));
    }
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.rest(&answer, &mut events);
    decoder.stop(answer.finish_reason.text(), answer.error.full(), &mut events);
    decoder.end(&mut events);
    Response::fold(events)
}
