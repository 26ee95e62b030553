//! Reads whole answers of Gemini.

use serde_json::value::RawValue;

use super::stream::Decoder;
use super::wire::Chunk;
use crate::ir::{Error, Response};
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// Reads a whole answer as the fold of its events. An array is a stream that was collected: relays that ignore
/// `alt=sse` send it.
pub(super) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let malformed = || Malformed::new("upstream sent no answer of Gemini's").into_answer_error();
    let body = mended(body);
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    if body.trim_ascii_start().starts_with(b"[") {
        let frames: Vec<&RawValue> = serde_json::from_slice(&body).map_err(|_| malformed())?;
        for frame in frames {
            let chunk = Chunk::read(frame.get().as_bytes())?.ok_or_else(malformed)?;
            decoder.read(&chunk, false, &mut events);
        }
    } else {
        let chunk = Chunk::read(&body)?.ok_or_else(malformed)?;
        decoder.read(&chunk, true, &mut events);
    }
    decoder.end(&mut events);
    Response::fold(events)
}
