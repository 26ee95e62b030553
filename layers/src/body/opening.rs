//! Reads an answer until it says something, and decides whether to accept it.
//!
//! This is the commit point: an answer that leaves here is the client's. Lifecycle events, pings
//! and comments are not content; an error, an end without content, or a configured trigger is a
//! failure of the attempt, and another channel is asked. What was read is kept and replayed in
//! front of the rest. It is bounded: after two megabytes without content the answer is accepted as
//! it is.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dialect::ir::{self, FinishReason};
use dialect::{Detail, Sighting};

use crate::failure::Failure;
use crate::policy::Triggers;
use crate::reply::{Piece, ReplyBody};

/// What an opening may cost to hold: its bytes, and what stands around those of each piece.
const LONGEST: usize = 2 << 20;

/// The verdict on an opening.
pub enum Opening {
    /// It says something.
    Accepted(ReplyBody),
    /// It ended and said nothing: it, and what was seen of it.
    Empty(ReplyBody, Sighting),
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
    let mut cost = 0;
    let mut text = String::new();
    let mut said = false;
    loop {
        let Some(piece) = body.next_piece().await else {
            return Ok(if said { Opening::Accepted(body.with_opening(held)) } else { empty(body, held) });
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
        if let Some(more) = piece.sighting.text() {
            text.push_str(more);
        }
        cost += hold(&mut held, piece);
        if triggers.matches(&text) {
            return Ok(Opening::Triggered);
        }
        let waiting = !finished && !done && triggers.may_complete(&text);
        if (said && !waiting) || cost > LONGEST {
            return Ok(Opening::Accepted(body.with_opening(held)));
        }
        if done && !said {
            return Ok(empty(body, held));
        }
    }
}

/// An answer that ended and said nothing.
fn empty(body: ReplyBody, held: VecDeque<Piece>) -> Opening {
    let mut seen = Sighting::machinery();
    held.iter().for_each(|piece| seen.merge(piece.sighting.clone()));
    Opening::Empty(body.with_opening(held), seen)
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

/// Holds a piece for a while. A small one is copied, so that it does not keep the connection's whole
/// read buffer, of which it is a slice; those that mean nothing are joined, because each costs more
/// than its bytes. Tells what holding it costs.
fn hold(held: &mut VecDeque<Piece>, mut piece: Piece) -> usize {
    const SMALL: usize = 2 << 10;
    let hums = |piece: &Piece| piece.sighting == Sighting::machinery() && !piece.torn;
    if piece.bytes.len() <= SMALL {
        if let Some(last) = held.back_mut().filter(|last| hums(last) && hums(&piece))
            && last.bytes.len() <= SMALL
        {
            let mut joined = BytesMut::from(std::mem::take(&mut last.bytes));
            joined.extend_from_slice(&piece.bytes);
            last.bytes = joined.freeze();
            return piece.bytes.len();
        }
        piece.bytes = Bytes::copy_from_slice(&piece.bytes);
    }
    let detail = piece.sighting.detail.as_ref().map_or(0, |_| size_of::<Detail>());
    let cost = size_of::<Piece>() + detail + piece.bytes.len();
    held.push_back(piece);
    cost
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
