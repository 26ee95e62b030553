//! Forwards an event stream untouched and watches what goes by.
//!
//! Releases whole events only, so that a keepalive comment or an error event of ours never lands
//! inside one, and so that a stream that breaks off ends with a whole event. What is already
//! there is joined into one piece: several chunks of one packet cost one write. It never waits to
//! join more.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use dialect::{Depth, Framer, Framing, Probe, Sighting, ir};

use super::coalesce::Coalesce;
use super::idle::Idle;
use super::{Broken, Origin};
use crate::failure::{Failure, TransportKind};
use crate::policy::ChannelName;
use crate::reply::{Piece, Pieces};

/// Longest event that is held until it is whole; a longer one is forwarded in parts.
const LONGEST_HELD: usize = 64 << 10;
/// The same in framings whose frames cannot be read behind a part: a longer one is a fault.
const LONGEST_WHOLE: usize = 16 << 20;

/// A same-dialect event stream.
pub struct Tap {
    upstream: Idle,
    framing: Framing,
    framer: Framer,
    probe: Box<dyn Probe>,
    depth: Depth,
    /// The usage chunk is ours: the client did not ask for it.
    hide_usage: bool,
    origin: Origin,
    /// A finish reason or the terminal marker went by: the stream may end.
    finished: bool,
    gather: Coalesce,
    /// The end was reached; what is gathered goes first.
    ended: Option<Option<Broken>>,
    /// The upstream told an error in the middle of its answer.
    failure: Option<Failure>,
}

impl Tap {
    /// Watches `upstream` with `probe`. With `want_text` the opening's sightings carry its text.
    pub fn new(
        upstream: Idle,
        framing: Framing,
        probe: Box<dyn Probe>,
        origin: Origin,
        hide_usage: bool,
        want_text: bool,
    ) -> Self {
        Self {
            upstream,
            framing,
            framer: framing.framer(if framing == Framing::Sse { LONGEST_HELD } else { LONGEST_WHOLE }),
            probe,
            depth: Depth::Opening { want_text },
            hide_usage,
            origin,
            finished: false,
            gather: Coalesce::default(),
            ended: None,
            failure: None,
        }
    }

    /// What one received buffer makes ready for the client.
    fn take(&mut self, data: Bytes) -> Option<Piece> {
        let whole = self.framer.push(data);
        if let Some(fault) = self.framer.fault() {
            self.failure = Some(self.origin.garbled(fault));
            self.ended = Some(None);
        }
        match whole {
            Some(block) => Some(self.watch(block)),
            None if self.framer.over_limit() => {
                // Its content cannot be told before it is whole, but it is content.
                let sighting = Sighting { content: true, ..Sighting::default() };
                let part = self.framer.take_tail();
                let bytes = self.origin.clean_odd(&part).unwrap_or(part);
                Some(Piece { bytes, sighting, torn: true })
            }
            None => None,
        }
    }

    /// An event without what it must not tell, where that takes a change. Ordinary ones passed the guard of their
    /// body; what nobody understands may be an error in words of its own.
    fn cleaned(&self, raw: &[u8], sighting: &Sighting) -> Option<Bytes> {
        let is_ordinary = sighting.content || sighting.finished || sighting.done || sighting.usage_only;
        if is_ordinary { None } else { self.origin.clean_odd(raw) }
    }

    /// Looks at a block of whole events.
    fn watch(&mut self, block: Bytes) -> Piece {
        let mut seen: Option<Sighting> = None;
        let mut kept: Option<BytesMut> = None;
        let mut at = 0;
        for frame in self.framing.frames(&block) {
            let raw = frame.raw;
            let sighting = self.probe.observe(frame, self.depth);
            if self.depth == Depth::Relay
                && let Some(error) = sighting.error()
            {
                // It is told once, in our words: the upstream's may hold the key.
                self.failure = Some(self.origin.failed(error.clone()));
                self.ended = Some(None);
                kept = Some(kept.unwrap_or_else(|| BytesMut::from(&block[..at])));
                break;
            }
            let hidden = self.hide_usage && sighting.usage_only;
            let clean = self.cleaned(raw, &sighting);
            if hidden || clean.is_some() {
                kept.get_or_insert_with(|| BytesMut::from(&block[..at]));
            }
            if let Some(kept) = &mut kept
                && !hidden
            {
                kept.extend_from_slice(clean.as_deref().unwrap_or(raw));
            }
            at += raw.len();
            match &mut seen {
                None => seen = Some(sighting),
                Some(seen) => seen.merge(sighting),
            }
        }
        let sighting = seen.unwrap_or_default();
        self.finished |= sighting.finished || sighting.done;
        Piece { bytes: kept.map_or(block, BytesMut::freeze), sighting, torn: false }
    }

    /// The upstream has ended: its last event may lack nothing but the blank line behind it. Less
    /// than an event is dropped: sent, it would be read as a whole one.
    fn last(&mut self) -> Option<Piece> {
        let whole = self.framer.finish();
        drop(self.framer.take_tail());
        whole.map(|block| self.watch(block))
    }
}

/// The failure of a stream that ended like this; none when it ended well.
pub(crate) fn failure(broken: Option<Broken>, finished: bool, channel: &ChannelName) -> Option<Failure> {
    let channel = channel.clone();
    match broken {
        // Some upstreams close without ceremony once they have said everything.
        None | Some(Broken::Connection(_) | Broken::Encoding(_)) if finished => None,
        None => Some(Failure::Truncated { channel }),
        Some(Broken::Connection(cause)) => {
            Some(Failure::Transport { channel, kind: TransportKind::Broken, cause })
        }
        Some(Broken::Encoding(what)) => Some(Failure::Garbled { channel, detail: what.to_string() }),
        Some(Broken::Silent(limit)) => Some(Failure::Timeout { channel, limit }),
    }
}

impl Pieces for Tap {
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let this = &mut *self;
        // The opening is judged event by event; nothing is joined until it is accepted.
        let join = matches!(this.depth, Depth::Relay);
        while this.ended.is_none() && !this.gather.is_enough() {
            match this.upstream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    let Some(piece) = this.take(data) else { continue };
                    if piece.bytes.is_empty() && this.ended.is_some() {
                        break;
                    }
                    this.gather.add(piece);
                    if !join || this.gather.sends_at_once() {
                        break;
                    }
                }
                Poll::Ready(Some(Err(broken))) => this.ended = Some(Some(broken)),
                Poll::Ready(None) => {
                    this.ended = Some(None);
                    if let Some(piece) = this.last() {
                        this.gather.add(piece);
                    }
                }
                Poll::Pending if this.gather.is_empty() => return Poll::Pending,
                Poll::Pending if this.gather.yields_for_more() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        if let Some(piece) = this.gather.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let broken = this.ended.take().flatten();
        if let Some(failure) = this.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        Poll::Ready(failure(broken, this.finished, &this.origin.channel.name).map(Err))
    }

    fn accepted(mut self: Pin<&mut Self>) {
        self.depth = Depth::Relay;
    }

    fn tell(mut self: Pin<&mut Self>, error: &ir::Error, out: &mut BytesMut) -> bool {
        self.probe.fail(error, out);
        true
    }

    fn keepalive(mut self: Pin<&mut Self>, out: &mut BytesMut) {
        self.probe.keepalive(out);
    }
}

#[cfg(test)]
mod tests;
