//! Reads whole answers of Cohere, version 2.

use super::stream::Decoder;
use super::told_error;
use super::wire::Whole;
use crate::ir::{Error, Response};
use crate::lenient::Obj;
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// Reads a whole answer as the fold of its events.
pub(super) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let body = mended(body);
    // What is skipped must be text, too.
    let answer = std::str::from_utf8(&body).ok().and_then(|text| serde_json::from_str(text).ok());
    let Some(Obj::<Whole<'_>>(Some(answer))) = answer else {
        return Err(Malformed::new("upstream sent no chat answer").into_answer_error());
    };
    // An error has words in this place.
    let Some(message) = &answer.message.0 else { return Err(told_error(&body)) };
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.start(answer.id.owned(), &mut events);
    decoder.think(message.tool_plan.text(), &mut events);
    for (index, content) in (0..).zip(message.content.as_slice()) {
        decoder.begin(index, content, &mut events);
        // Where no block is named there is mostly but one of text.
        for citation in message.citations.as_slice() {
            let is_first_text = !content.is_thinking() && decoder.texts() == 1;
            let is_here = citation.content_index.map_or(is_first_text, |at| at.0 == index);
            if is_here {
                decoder.cite(citation, &mut events);
            }
        }
    }
    for (index, call) in (0..).zip(message.tool_calls.as_slice()) {
        decoder.call(index, call, &mut events);
        decoder.end_call(index, &mut events);
    }
    decoder.logprobs(answer.logprobs.as_slice(), &mut events);
    if let Some(usage) = &answer.usage.0 {
        events.push(crate::ir::Event::Usage(usage.normal()));
    }
    decoder.ending.stop(answer.finish_reason.text(), answer.error.full(), &mut events);
    decoder.end(&mut events);
    Response::fold(events)
}
