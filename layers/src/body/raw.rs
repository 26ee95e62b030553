//! Forwards an answer that is too long to be held, as it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use dialect::Sighting;

use super::idle::Idle;
use super::tap;
use crate::failure::Failure;
use crate::policy::ChannelName;
use crate::reply::{Piece, Pieces};

/// The beginning of an answer and the rest of it.
pub struct Raw {
    first: Option<Bytes>,
    rest: Idle,
    channel: ChannelName,
}

impl Raw {
    /// Gives `first`, then whatever `rest` still has.
    pub fn new(first: Bytes, rest: Idle, channel: ChannelName) -> Self {
        Self { first: Some(first), rest, channel }
    }
}

impl Pieces for Raw {
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let piece =
            |bytes| Piece { bytes, sighting: Sighting { content: true, ..Sighting::default() }, torn: true };
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(piece(first))));
        }
        self.rest.poll_data(cx).map(|data| match data? {
            Ok(data) => Some(Ok(piece(data))),
            Err(broken) => tap::failure(Some(broken), false, &self.channel).map(Err),
        })
    }
}

#[cfg(test)]
mod tests;
