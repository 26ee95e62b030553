//! Reads whole answers.

use super::stream::Decoder;
use super::wire::{Answer, error_of};
use crate::ir::{Error, Response};
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// Reads a whole answer as the fold of its events.
pub(crate) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let body = mended(body);
    let answer =
        std::str::from_utf8(&body).ok().and_then(|text| Answer::read(text).map(|answer| (answer, text)));
    let Some((answer, text)) = answer else {
        let malformed = || Malformed::new("upstream sent no response").into_answer_error();
        return Err(error_of(&body).unwrap_or_else(malformed));
    };
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.whole(&answer, text, &mut events);
    Response::fold(events)
}
