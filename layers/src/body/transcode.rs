//! Turns a stream of one dialect or framing into another: framer, transcription, bytes.
//!
//! The mirror of [`super::tap`] where the bytes cannot stay. Sightings are taken on the way, so
//! nobody parses a second time. As there, what is ready is written together, and an error ends the
//! stream without a terminal marker.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Depth, Framer, Framing, Sighting, Transcode, ir};
use tokio::time::{Instant, Sleep, sleep_until};

use super::coalesce::Coalesce;
use super::idle::Idle;
use super::poll_on_wake::PollOnWake;
use super::tap::{AFTER_MARKER, AFTER_REASON, MOST_BEHIND_MARKER};
use super::{Broken, Origin};
use crate::failure::Failure;
use crate::reply::{Piece, Pieces};

/// Longest frame that can be read: all of it is needed.
const LONGEST_FRAME: usize = 16 << 20;

/// Room for a piece to be longer than the one before, and the most room that is made at once.
const SPARE: usize = 64;
const MOST_ROOM: usize = 4 << 10;

/// A stream on its way into another dialect or framing.
pub struct Transcoded {
    upstream: Idle,
    framing: Framing,
    framer: Framer,
    transcode: Box<dyn Transcode>,
    depth: Depth,
    origin: Origin,
    finished: bool,
    /// Its usage went by.
    counted: bool,
    /// Bytes behind the terminal marker; none before it.
    behind: Option<usize>,
    gather: Coalesce,
    /// Room for the next piece: pieces of a stream are about as long as each other, and one that grows is copied.
    room: usize,
    /// Nothing more is asked of the upstream; what is left is told.
    ended: bool,
    failure: Option<Failure>,
    pings: Option<Pings>,
}

/// The breaking of silences within an answer that was accepted.
struct Pings {
    after: Duration,
    /// When something was last said.
    last: Instant,
    /// Made when it is first silent.
    timer: Option<PollOnWake<Sleep>>,
}

impl Pings {
    /// Ready when it was silent for too long; with that a new silence begins.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.last + self.after;
        let timer = self.timer.get_or_insert_with(|| PollOnWake::new(sleep_until(due)));
        loop {
            std::task::ready!(timer.poll(cx));
            let now = Instant::now();
            let is_due = self.last + self.after <= now;
            if is_due {
                self.last = now;
            }
            timer.wake().reset(self.last + self.after);
            if is_due {
                return Poll::Ready(());
            }
        }
    }
}

impl Transcoded {
    /// Reads `upstream`, framed like this, and writes what `transcode` makes of it. With `want_text`
    /// the opening's sightings carry its text.
    pub fn new(
        upstream: Idle,
        framing: Framing,
        transcode: Box<dyn Transcode>,
        origin: Origin,
        want_text: bool,
    ) -> Self {
        Self {
            upstream,
            framing,
            framer: framing.framer(LONGEST_FRAME),
            transcode,
            depth: Depth::Opening { want_text },
            origin,
            finished: false,
            counted: false,
            behind: None,
            gather: Coalesce::default(),
            room: 0,
            ended: false,
            failure: None,
            pings: None,
        }
    }

    /// Breaks silences of this length, if of any, once it is accepted.
    #[must_use]
    pub fn pinging(mut self, after: Option<Duration>) -> Self {
        self.pings = after.map(|after| Pings { after, last: Instant::now(), timer: None });
        self
    }

    /// A sign of life, where it was silent for too long.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let Some(pings) = self.pings.as_mut().filter(|_| self.depth == Depth::Relay && !self.ended) else {
            return Poll::Pending;
        };
        std::task::ready!(pings.poll_due(cx));
        let mut out = BytesMut::new();
        self.transcode.keepalive(&mut out);
        Poll::Ready(Piece { bytes: out.freeze(), sighting: Sighting::machinery(), torn: false })
    }

    fn take(&mut self, data: Bytes, out: &mut BytesMut, seen: &mut Sighting) -> Result<(), Failure> {
        if let Some(behind) = &mut self.behind {
            *behind += data.len();
            self.ended |= *behind > MOST_BEHIND_MARKER;
            return Ok(());
        }
        let block = self.framer.push(data);
        if self.framer.over_limit() {
            return Err(self.origin.garbled("an event is longer than 16 MiB"));
        }
        block.map_or(Ok(()), |block| self.read(&block, out, seen))?;
        self.framer.fault().map_or(Ok(()), |fault| Err(self.origin.garbled(fault)))
    }

    /// Reads a block of whole frames. An error in one is not written: while the opening is judged it
    /// is a reason to go elsewhere, afterwards it ends the stream.
    fn read(&mut self, block: &[u8], out: &mut BytesMut, seen: &mut Sighting) -> Result<(), Failure> {
        for frame in self.framing.frames(block) {
            let sighting = self
                .transcode
                .frame(frame, self.depth, out)
                .map_err(|malformed| self.origin.garbled(malformed.to_string()))?;
            let done = sighting.done;
            self.finished |= sighting.finished || done;
            seen.merge(sighting);
            // Whatever comes behind an error is no end.
            if seen.error().is_some() {
                return Ok(());
            }
            if done {
                // Everything is said, and the client need not wait for the connection's end.
                self.behind = Some(0);
                self.upstream.end_within(AFTER_MARKER);
                self.transcode.trailer(out);
                return Ok(());
            }
        }
        self.counted |= seen.usage().is_some();
        if self.finished && self.counted {
            self.upstream.hush(AFTER_REASON);
        }
        Ok(())
    }

    /// What is left to say when the upstream has ended.
    fn end(&mut self, broken: Option<Broken>, out: &mut BytesMut, seen: &mut Sighting) {
        self.ended = true;
        if self.behind.is_some() {
            return;
        }
        if let Some(block) = self.framer.finish()
            && let Err(failure) = self.read(&block, out, seen)
        {
            self.failure = Some(failure);
            return;
        }
        if self.behind.is_some() {
            return;
        }
        let last = self.transcode.end(out);
        self.finished |= last.finished;
        // How it ended is known better here than from the events that are missing.
        self.failure = super::tap::failure(broken, self.finished, &self.origin.channel.name);
        if self.failure.is_none() {
            seen.merge(last);
            self.transcode.trailer(out);
            seen.done = true;
        }
    }

    /// The upstream's next bytes, read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let data = std::task::ready!(self.upstream.poll_data(cx));
        let mut out = BytesMut::with_capacity(self.room);
        let mut seen = Sighting::machinery();
        match data {
            Some(Ok(data)) => {
                if let Err(failure) = self.take(data, &mut out, &mut seen) {
                    self.failure = Some(failure);
                    self.ended = true;
                }
            }
            Some(Err(broken)) => self.end(Some(broken), &mut out, &mut seen),
            None => self.end(None, &mut out, &mut seen),
        }
        if let Some(error) = seen.error() {
            // Before the answer is accepted the error is told by the sighting.
            if self.depth == Depth::Relay {
                self.failure = Some(self.origin.failed(error.clone()));
            }
            self.ended = true;
        }
        if !out.is_empty() {
            self.room = (out.len() + SPARE).next_multiple_of(4 * SPARE).min(MOST_ROOM);
        }
        Poll::Ready(Piece { bytes: out.freeze(), sighting: seen, torn: false })
    }
}

impl Pieces for Transcoded {
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let this = &mut *self;
        while !this.ended && !this.gather.is_enough() {
            match this.poll_read(cx) {
                Poll::Ready(piece) if piece.bytes.is_empty() && piece.sighting.detail.is_none() => {}
                Poll::Ready(piece) => {
                    this.gather.add(piece);
                    if this.depth != Depth::Relay {
                        break;
                    }
                }
                Poll::Pending if this.gather.is_empty() => {
                    return this.poll_ping(cx).map(|ping| Some(Ok(ping)));
                }
                Poll::Pending if this.gather.yields_for_more() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        match this.gather.take() {
            Some(piece) => {
                if let Some(pings) = &mut this.pings {
                    pings.last = Instant::now();
                }
                Poll::Ready(Some(Ok(piece)))
            }
            None => Poll::Ready(this.failure.take().map(Err)),
        }
    }

    fn accepted(mut self: Pin<&mut Self>) {
        self.depth = Depth::Relay;
    }

    fn tell(mut self: Pin<&mut Self>, error: &ir::Error, out: &mut BytesMut) -> bool {
        self.transcode.fail(error, out);
        true
    }

    fn keepalive(mut self: Pin<&mut Self>, out: &mut BytesMut) {
        self.transcode.keepalive(out);
    }
}

#[cfg(test)]
mod tests;
