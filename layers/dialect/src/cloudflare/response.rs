//! Reads whole answers of Workers AI.

use serde_json::value::RawValue;

use super::stream::{Decoder, told_error};
use super::wire::{Answer, Envelope};
use super::{openai, output};
use crate::ir::{Error, Response};
use crate::lenient::Obj;
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// Reads a whole answer, in its envelope or without one.
pub(super) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let body = mended(body);
    let malformed = || Malformed::new("upstream sent no answer").into_answer_error();
    let text = std::str::from_utf8(&body).map_err(|_| malformed())?;
    let Ok(Obj(Some(envelope))) = serde_json::from_str::<Obj<Envelope<'_>>>(text) else {
        return Err(told_error(&body).unwrap_or_else(malformed));
    };
    if envelope.is_suspect()
        && let Some(error) = told_error(&body)
    {
        return Err(error);
    }
    let inner = envelope.result.map(RawValue::get).filter(|result| result.starts_with('{')).unwrap_or(text);
    let Ok(Obj(Some(answer))) = serde_json::from_str::<Obj<Answer<'_>>>(inner) else {
        return Err(malformed());
    };
    match &answer {
        Answer { choices: Some(_), .. } => openai().response(inner.as_bytes(), correspondence),
        Answer { output: Some(_), .. } => output::read(inner, correspondence).ok_or_else(malformed)?,
        answer if answer.is_older() => {
            let (mut decoder, mut events) = (Decoder::new(correspondence.clone()), Vec::new());
            decoder.read(answer, &mut events);
            decoder.end(&mut events);
            Response::fold(events)
        }
        _ => Err(told_error(&body).unwrap_or_else(malformed)),
    }
}
