//! Reads whole answers of Cohere, version 1.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::stream::Decoder;
use super::wire::{Event as WireEvent, Whole};
use crate::cohere::told_error;
use crate::ir::{Error, Response};
use crate::lenient::Obj;
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents as _, Framing, Malformed};

/// The field that every answer has and no error.
#[derive(serde::Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Reads a whole answer as the fold of its events. Lines of events, which begin as an answer does, are read as such.
pub(in crate::cohere) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    if begins_with_event(body) {
        let mut framer = Framing::JsonLines.framer(usize::MAX);
        let lines = framer.push(Bytes::copy_from_slice(body));
        for block in lines.into_iter().chain(framer.finish()) {
            for frame in Framing::JsonLines.frames(&block) {
                decoder.decode(frame, &mut events).map_err(Malformed::into_answer_error)?;
            }
        }
        decoder.finish(&mut events);
        return Response::fold(events);
    }
    let body = mended(body);
    match whole(&body) {
        Some(answer) => decoder.read(&answer, &mut events),
        None if is_object(&body) => return Err(told_error(&body)),
        None => return Err(Malformed::new("upstream sent no chat answer").into_answer_error()),
    }
    Response::fold(events)
}

/// The whole answer that this is.
pub(super) fn whole(body: &[u8]) -> Option<Whole<'_>> {
    let Ok(Obj(answer)) = serde_json::from_slice::<Obj<Whole<'_>>>(body) else { return None };
    // What is skipped must be text, too.
    let text = std::str::from_utf8(body).ok()?;
    let has_text = serde_json::from_str::<Text<'_>>(text).is_ok_and(|answer| answer.text.is_some());
    answer.filter(|_| has_text)
}

fn is_object(body: &[u8]) -> bool {
    std::str::from_utf8(body)
        .is_ok_and(|text| matches!(serde_json::from_str::<Obj<Whole<'_>>>(text), Ok(Obj(Some(_)))))
}

/// Whether the first line is an event and not all that there is.
fn begins_with_event(body: &[u8]) -> bool {
    let Some(frame) = Framing::JsonLines.frames(body).next() else { return false };
    let line = mended(frame.payload());
    matches!(serde_json::from_slice::<Obj<WireEvent<'_>>>(&line), Ok(Obj(Some(event))) if event.event_type.full().is_some())
}
