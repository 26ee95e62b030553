//! Turns an event stream of one dialect into another: framer, decoder, encoder.
//!
//! The mirror of [`super::tap`] for unequal dialects. Sightings are taken from the events in
//! between, so nobody parses a second time. As there, what is ready is written together, and an
//! error ends the stream without a terminal marker.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use dialect::{DecodeEvents, EncodeEvents, Framer, Framing, Sighting, ir};

use super::gather::Gather;
use super::idle::Idle;
use super::{Asked, Broken};
use crate::failure::Failure;
use crate::reply::{Piece, Pieces};

/// Longest event that can be converted: a decoder needs all of it.
const LONGEST_EVENT: usize = 16 << 20;

/// An event stream on its way into another dialect.
pub struct Convert {
    upstream: Idle,
    framer: Framer,
    decoder: Box<dyn DecodeEvents>,
    encoder: Box<dyn EncodeEvents>,
    events: Vec<ir::Event>,
    asked: Asked,
    want_text: bool,
    accepted: bool,
    finished: bool,
    gather: Gather,
    /// Nothing more is asked of the upstream; what is left is told.
    ended: bool,
    failure: Option<Failure>,
}

impl Convert {
    /// Decodes `upstream` and encodes it for the client.
    pub fn new(
        upstream: Idle,
        decoder: Box<dyn DecodeEvents>,
        encoder: Box<dyn EncodeEvents>,
        asked: Asked,
        want_text: bool,
    ) -> Self {
        Self {
            upstream,
            framer: Framing::Sse.framer(LONGEST_EVENT),
            decoder,
            encoder,
            events: Vec::new(),
            asked,
            want_text,
            accepted: false,
            finished: false,
            gather: Gather::default(),
            ended: false,
            failure: None,
        }
    }

    fn take(&mut self, data: Bytes, out: &mut BytesMut, seen: &mut Sighting) -> Result<(), Failure> {
        let block = self.framer.push(data);
        if self.framer.over_limit() {
            return Err(self.garbled("an event is longer than 16 MiB"));
        }
        block.map_or(Ok(()), |block| self.read(&block, out, seen))
    }

    /// Decodes and encodes a block of whole events.
    fn read(&mut self, block: &[u8], out: &mut BytesMut, seen: &mut Sighting) -> Result<(), Failure> {
        for frame in Framing::Sse.frames(block) {
            if let Err(malformed) = self.decoder.decode(frame, &mut self.events) {
                return Err(self.garbled(&malformed.to_string()));
            }
            self.encode(out, seen);
        }
        Ok(())
    }

    /// Encodes the events that are there. An error event is not encoded: while the opening is
    /// judged it is a reason to go elsewhere, afterwards it ends the stream.
    fn encode(&mut self, out: &mut BytesMut, seen: &mut Sighting) {
        for event in self.events.drain(..) {
            let sighting = Sighting::of(&event, self.want_text && !self.accepted);
            self.finished |= sighting.finished;
            if sighting.error().is_none() {
                self.encoder.encode(&event, out);
            }
            seen.merge(sighting);
        }
    }

    fn garbled(&self, detail: &str) -> Failure {
        Failure::Garbled { channel: self.asked.channel.name.clone(), detail: detail.to_owned() }
    }

    /// What is left to say when the upstream has ended.
    fn end(&mut self, broken: Option<Broken>, out: &mut BytesMut, seen: &mut Sighting) {
        if let Some(block) = self.framer.finish()
            && let Err(failure) = self.read(&block, out, seen)
        {
            self.failure = Some(failure);
        }
        self.decoder.finish(&mut self.events);
        self.encode(out, seen);
        match super::tap::failure(broken, self.finished, &self.asked.channel.name) {
            Some(failure) => self.failure = self.failure.take().or(Some(failure)),
            None => {
                self.encoder.finish(out);
                seen.done = true;
            }
        }
        self.ended = true;
    }
}

impl Pieces for Convert {
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let this = &mut *self;
        while !this.ended && !this.gather.is_enough() {
            let mut out = BytesMut::new();
            let mut seen = Sighting::machinery();
            match this.upstream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    if let Err(failure) = this.take(data, &mut out, &mut seen) {
                        this.failure = Some(failure);
                        this.ended = true;
                    }
                }
                Poll::Ready(Some(Err(broken))) => this.end(Some(broken), &mut out, &mut seen),
                Poll::Ready(None) => this.end(None, &mut out, &mut seen),
                Poll::Pending if this.gather.is_empty() => return Poll::Pending,
                Poll::Pending if this.gather.steps_back() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
            if let Some(error) = seen.error() {
                // Before the answer is accepted the error is told by the sighting.
                if this.accepted {
                    this.failure = Some(this.asked.failed(error.clone()));
                }
                this.ended = true;
            }
            if !out.is_empty() || seen.detail.is_some() {
                this.gather.add(Piece { bytes: out.freeze(), sighting: seen, torn: false });
                if !this.accepted {
                    break;
                }
            }
        }
        match this.gather.take() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None => Poll::Ready(this.failure.take().map(Err)),
        }
    }

    fn accepted(mut self: Pin<&mut Self>) {
        self.accepted = true;
    }
}

#[cfg(test)]
mod tests;
