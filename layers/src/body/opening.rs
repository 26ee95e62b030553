//! Reads an answer until it says something, and decides whether to accept it.
//!
//! This is the commit point: an answer that leaves here is the client's. Lifecycle events, pings
//! and comments are not content; an error, an end without content, or a configured trigger is a
//! failure of the attempt, and another channel is asked. What was read is kept and replayed in
//! front of the rest. It is bounded: after two megabytes without content, or when there is no room
//! for more of it, the answer is accepted as it is.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dialect::Sighting;
use dialect::ir::{self, FinishReason};

use crate::capacity::{Held, UNCOUNTED};
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

/// Reads and judges the opening of a stream, as far as `share` finds room for what is kept of it.
///
/// # Errors
/// What broke the stream before it said anything.
pub async fn read(mut body: ReplyBody, triggers: &Triggers, share: Held) -> Result<Opening, Failure> {
    let mut held = Kept { pieces: VecDeque::new(), len: 0, share };
    let mut bytes = 0;
    let mut text = String::new();
    let mut said = false;
    loop {
        let Some(piece) = body.next_piece().await else {
            return Ok(if said { Opening::Accepted(held.replayed(body)) } else { held.empty(body) });
        };
        let piece = match piece {
            Ok(piece) => piece,
            // Something was said and is only held because of the triggers: the client may have
            // it, and learns of the break behind it.
            Err(failure) if said => {
                let rest = ReplyBody::stream(Breaking { failure: Some(failure), told_by: body });
                return Ok(Opening::Accepted(held.replayed(rest)));
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
        let room = held.add(piece);
        if triggers.matches(&text) {
            return Ok(Opening::Triggered);
        }
        let waiting = !finished && !done && triggers.may_complete(&text);
        if (said && !waiting) || bytes > LONGEST || !room {
            return Ok(Opening::Accepted(held.replayed(body)));
        }
        if done && !said {
            return Ok(held.empty(body));
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

/// The pieces that were read so far.
struct Kept {
    pieces: VecDeque<Piece>,
    len: usize,
    share: Held,
}

impl Kept {
    /// Most pieces that stay apart: a piece costs more than the few bytes that may be in it.
    const APART: usize = 64;
    /// Pieces up to this are copied: a small one is a slice of the connection's whole read buffer.
    const SMALL: usize = 2 << 10;

    /// Adds a piece; false where there is no room for more than this one.
    fn add(&mut self, mut piece: Piece) -> bool {
        let length = piece.bytes.len();
        let joins = self.pieces.len() >= Self::APART && length <= Self::SMALL;
        match self.pieces.back_mut().filter(|_| joins) {
            Some(last) => join(last, piece),
            None => {
                if length <= Self::SMALL {
                    piece.bytes = Bytes::copy_from_slice(&piece.bytes);
                }
                self.pieces.push_back(piece);
            }
        }
        self.len += length;
        self.len <= UNCOUNTED || self.share.try_grow(self.len - self.share.bytes())
    }

    /// An answer that ended and said nothing.
    fn empty(self, rest: ReplyBody) -> Opening {
        let mut seen = Sighting::machinery();
        self.pieces.iter().for_each(|piece| seen.merge(piece.sighting.clone()));
        Opening::Empty(self.replayed(rest), seen)
    }

    /// The answer from its first byte, accepted.
    fn replayed(self, rest: ReplyBody) -> ReplyBody {
        rest.with_opening(self.pieces).with_opening_held(self.share)
    }
}

/// Appends a piece to the one before it.
fn join(last: &mut Piece, next: Piece) {
    let bytes = std::mem::take(&mut last.bytes);
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes.extend_from_slice(&next.bytes);
    last.bytes = bytes.freeze();
    last.sighting.merge(next.sighting);
    last.torn = next.torn;
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
