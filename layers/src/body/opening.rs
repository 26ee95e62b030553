//! Reads an answer until it says something, and decides whether to accept it.
//!
//! This is the commit point: an answer that leaves here is the client's. Lifecycle events, pings
//! and comments are not content; an error, an end without content, or a configured trigger is a
//! failure of the attempt, and another channel is asked. What was read is kept and replayed in
//! front of the rest. It is bounded: after two megabytes without content the answer is accepted as
//! it is.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dialect::Sighting;
use dialect::ir::{self, FinishReason};

use crate::failure::Failure;
use crate::policy::Triggers;
use crate::reply::{Piece, ReplyBody};

/// Most bytes that are read while waiting for content.
const LONGEST: usize = 2 << 20;

/// The verdict on an opening.
pub enum Opening {
    /// It says something.
    Accepted(ReplyBody),
    /// It ended and said nothing.
    Empty,
    /// It holds a trigger.
    Triggered,
    /// It holds an error.
    Error(Piece),
}

/// Reads and judges the opening of a stream.
///
/// # Errors
/// What broke the stream before it said anything.
pub async fn read(mut body: ReplyBody, triggers: &Triggers) -> Result<Opening, Failure> {
    let mut held = VecDeque::new();
    let mut bytes = 0;
    let mut text = String::new();
    let mut said = false;
    loop {
        let Some(piece) = body.next_piece().await else {
            return Ok(if said { Opening::Accepted(body.with_opening(held)) } else { Opening::Empty });
        };
        let piece = match piece {
            Ok(piece) => piece,
            // Something was said and is only held because of the triggers: the client may have
            // it, and learns of the break behind it.
            Err(failure) if said => {
                let rest = ReplyBody::stream(Breaking { failure: Some(failure), told_by: body });
                return Ok(Opening::Accepted(rest.with_opening(held)));
            }
            Err(failure) => return Err(failure),
        };
        let Sighting { content, finished, done, .. } = piece.sighting;
        if piece.sighting.error().is_some() && !said {
            return Ok(Opening::Error(piece));
        }
        said |= content || is_cut(&piece.sighting);
        bytes += piece.bytes.len();
        if let Some(more) = piece.sighting.text() {
            text.push_str(more);
        }
        held.push_back(kept(piece));
        if triggers.matches(&text) {
            return Ok(Opening::Triggered);
        }
        let waiting = !finished && !done && triggers.may_complete(&text);
        if (said && !waiting) || bytes > LONGEST {
            return Ok(Opening::Accepted(body.with_opening(held)));
        }
        if done && !said {
            return Ok(Opening::Empty);
        }
    }
}

/// Whether an answer without content ended for a reason that explains why it has none: a limit, a
/// stop sequence or a filter came before the first word. Asking another channel would not help.
pub fn is_cut(sighting: &Sighting) -> bool {
    let finish = sighting.detail.as_ref().and_then(|detail| detail.finish);
    matches!(
        finish,
        Some(
            FinishReason::StopSequence
                | FinishReason::Length
                | FinishReason::ContextWindow
                | FinishReason::ContentFilter
                | FinishReason::Recitation
                | FinishReason::Pause
        )
    )
}

/// A piece that may be held for a while. A small one is copied, so that it does not keep the
/// connection's whole read buffer, of which it is a slice.
fn kept(mut piece: Piece) -> Piece {
    const SMALL: usize = 2 << 10;
    if piece.bytes.len() <= SMALL {
        piece.bytes = Bytes::copy_from_slice(&piece.bytes);
    }
    piece
}

/// A rest that is nothing but a failure.
struct Breaking {
    failure: Option<Failure>,
    /// The answer that broke, which knows how its client is told.
    told_by: ReplyBody,
}

impl crate::reply::Pieces for Breaking {
    fn poll_piece(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Piece, Failure>>> {
        std::task::Poll::Ready(self.failure.take().map(Err))
    }

    fn tell(mut self: std::pin::Pin<&mut Self>, error: &ir::Error, out: &mut BytesMut) -> bool {
        self.told_by.tell(error, out)
    }
}

#[cfg(test)]
mod tests;
