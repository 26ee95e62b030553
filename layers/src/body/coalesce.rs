//! Joins pieces that are there together, so that they cost one write.
//!
//! The pooled client hands a body over chunk by chunk, from a task of its own: asked again at once
//! it has nothing, although the next chunk is already in its buffer. So the relay steps back and
//! lets that task run before it writes. That is no waiting: whatever is not there by then goes
//! without. When it gained nothing the next few pieces go out without stepping back, because a
//! stream that comes in paced chunks never gains anything.

use bytes::{Bytes, BytesMut};

use crate::reply::Piece;

/// Enough joined for one piece: about what one write to a socket takes.
const ENOUGH: usize = 16 << 10;
/// How often to step back for one more piece: the client's task needs one turn to learn that the
/// last chunk was taken, and one to hand over the next.
const STEPS: u8 = 2;
/// Pieces that go out at once after stepping back has gained nothing.
const PIECES_AT_ONCE: u8 = 16;

/// Pieces that are ready, and whether to step back for more.
#[derive(Default)]
pub(super) struct Coalesce {
    ready: Option<Joined>,
    /// Times stepped back since the last piece came.
    steps: u8,
    /// Pieces left that go out at once.
    at_once: u8,
}

impl Coalesce {
    /// Adds a piece.
    pub(super) fn add(&mut self, piece: Piece) {
        self.steps = 0;
        self.ready = Some(match self.ready.take() {
            None => Joined::new(piece),
            Some(joined) => joined.with(piece),
        });
    }

    /// Whether what is ready should go out before more is asked for.
    pub(super) fn is_enough(&self) -> bool {
        self.ready.as_ref().is_some_and(|joined| joined.len() >= ENOUGH || joined.last.torn)
    }

    /// Whether anything is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_none()
    }

    /// Nothing more is there right now. Tells whether to step back before what is ready goes out;
    /// the caller then wakes itself and comes again.
    pub(super) fn yields_for_more(&mut self) -> bool {
        let steps = self.at_once == 0 && self.steps < STEPS;
        self.steps += u8::from(steps);
        steps
    }

    /// Whether what is ready goes out as it comes: more is not asked for, since it is not there.
    pub(super) fn sends_at_once(&self) -> bool {
        self.at_once > 0
    }

    /// What is ready goes out.
    pub(super) fn take(&mut self) -> Option<Piece> {
        let joined = self.ready.take()?;
        if self.at_once > 0 {
            self.at_once -= 1;
        } else if self.steps > 0 && joined.bytes.is_none() {
            self.at_once = PIECES_AT_ONCE;
        }
        self.steps = 0;
        Some(joined.piece())
    }
}

/// Pieces in a row, without a copy as long as there is one.
struct Joined {
    last: Piece,
    bytes: Option<BytesMut>,
}

impl Joined {
    fn new(piece: Piece) -> Self {
        Self { last: piece, bytes: None }
    }

    fn with(self, next: Piece) -> Self {
        let mut bytes = self.bytes.unwrap_or_else(|| {
            let room = 8 * (self.last.bytes.len() + next.bytes.len());
            let mut bytes = BytesMut::with_capacity(room.min(ENOUGH + ENOUGH / 4));
            bytes.extend_from_slice(&self.last.bytes);
            bytes
        });
        bytes.extend_from_slice(&next.bytes);
        let mut sighting = self.last.sighting;
        sighting.merge(next.sighting);
        Self { last: Piece { bytes: Bytes::new(), sighting, torn: next.torn }, bytes: Some(bytes) }
    }

    fn len(&self) -> usize {
        self.bytes.as_ref().map_or(self.last.bytes.len(), BytesMut::len)
    }

    fn piece(mut self) -> Piece {
        if let Some(bytes) = self.bytes {
            self.last.bytes = bytes.freeze();
        }
        self.last
    }
}

#[cfg(test)]
mod tests;
