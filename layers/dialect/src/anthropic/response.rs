//! Reads whole answers of Anthropic.

use super::stream::Decoder;
use super::wire::Message;
use crate::ir::{Error, Response};
use crate::surrogates::mended;
use crate::{Correspondence, Malformed};

/// Reads a whole answer as the fold of its events.
pub(crate) fn read(body: &[u8], correspondence: &Correspondence) -> Result<Response, Error> {
    let malformed = || Malformed::new("upstream sent no message").into_answer_error();
    let body = mended(body);
    let message =
        Message::read(&body)?.filter(|message| message.kind.text() == "message").ok_or_else(malformed)?;
    let mut decoder = Decoder::new(correspondence.clone());
    let mut events = Vec::new();
    decoder.start(&message, &mut events);
    for (index, block) in (0..).zip(&message.content.0) {
        decoder.open(index, block, &mut events);
        decoder.close(index, &mut events);
    }
    decoder.end(&mut events);
    Response::fold(events)
}
