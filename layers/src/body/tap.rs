//! Forwards an event stream untouched and watches what goes by.
//!
//! Releases whole events only, so that a keepalive comment or an error event of ours never lands
//! inside one, and so that a stream that breaks off ends with a whole event. What is already
//! there is joined into one piece: several chunks of one packet cost one write. It never waits to
//! join more.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Depth, Framer, Framing, Probe, Sighting, framing::Elided, ir};

use super::coalesce::Coalesce;
use super::idle::Idle;
use super::{Broken, Origin};
use crate::failure::{Failure, TransportKind};
use crate::policy::ChannelName;
use crate::reply::{Piece, Pieces};

/// Longest event that is held until it is whole, once the channel is accepted; a longer one is forwarded in parts.
const LONGEST_HELD: usize = 64 << 10;
/// The same while the channel is not accepted: as much as its opening may hold.
const LONGEST_OPENING: usize = 2 << 20;
/// The same in framings whose frames cannot be read behind a part: a longer one is a fault.
const LONGEST_WHOLE: usize = 16 << 20;
/// How much of an event that is forwarded in parts is kept to be looked at.
const LONGEST_WATCHED: usize = 2 << 20;
/// How long nothing may come behind the reason why the answer ends and its usage: then only the terminal marker is
/// missing. Without usage another choice may still be thinking.
pub(super) const AFTER_REASON: Duration = Duration::from_secs(10);
/// How long the end of the connection is awaited behind the terminal marker, so that it can serve again.
pub(super) const AFTER_MARKER: Duration = Duration::from_secs(1);
/// How much may come behind it meanwhile, and is dropped: nobody reads it.
pub(super) const MOST_BEHIND_MARKER: usize = 64 << 10;

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
    /// An event that is forwarded in parts, as far as it is kept.
    long: Option<Box<Elided>>,
    /// A finish reason or the terminal marker went by: the stream may end.
    finished: bool,
    /// Its usage went by.
    counted: bool,
    /// Bytes behind the terminal marker; none before it.
    behind: Option<usize>,
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
            long: None,
            finished: false,
            counted: false,
            behind: None,
            gather: Coalesce::default(),
            ended: None,
            failure: None,
        }
    }

    /// Makes ready for the client what one received buffer holds; false when that is nothing.
    fn take(&mut self, mut data: Bytes) -> bool {
        if let Some(behind) = &mut self.behind {
            *behind += data.len();
            if *behind > MOST_BEHIND_MARKER {
                self.ended = Some(None);
            }
            return false;
        }
        let mut any = false;
        if self.long.is_some() {
            let (rest, behind) = self.framer.rest(data);
            any = self.part(rest, behind.is_some());
            match behind {
                Some(behind) if !behind.is_empty() && self.ended.is_none() && self.behind.is_none() => {
                    data = behind
                }
                _ => return any,
            }
        }
        let whole = self.framer.push(data);
        if let Some(fault) = self.framer.fault() {
            self.failure = Some(self.origin.garbled(fault));
            self.ended = Some(None);
        }
        if let Some(block) = whole {
            let piece = self.watch(&block);
            any |= self.add(piece.unwrap_or_else(|sighting| Piece { bytes: block, sighting, torn: false }));
        }
        if self.is_too_long() {
            let part = self.framer.take_part();
            any |= self.part(part, false);
        }
        any
    }

    /// An event without what it must not tell, where that takes a change. Ordinary ones passed the guard of their
    /// body; what nobody understands may be an error in words of its own.
    fn cleaned(&self, raw: &[u8], sighting: &Sighting) -> Option<Bytes> {
        let is_ordinary = sighting.content || sighting.finished || sighting.done || sighting.usage_only;
        if is_ordinary { None } else { self.origin.clean_odd(raw) }
    }

    /// Whether the event that is held has to go on in parts.
    fn is_too_long(&self) -> bool {
        let held = self.framer.held();
        // An error is told in our words, so as much of one as possible is held.
        held > LONGEST_HELD
            && self.framing == Framing::Sse
            && (held > LONGEST_OPENING || self.depth == Depth::Relay && !self.framer.may_be_error())
    }

    /// Forwards a part of a long event. What it means is told with its last part.
    fn part(&mut self, bytes: Bytes, last: bool) -> bool {
        let bytes = self.origin.clean_odd(&bytes).unwrap_or(bytes);
        let long = self.long.get_or_insert_with(|| Box::new(Elided::new(LONGEST_WATCHED)));
        long.push(&bytes);
        let mut sighting = Sighting::machinery();
        if last && let Some(long) = self.long.take() {
            // Its bytes are with the client already, whatever they are.
            sighting = self.watch(long.bytes()).map_or_else(|seen| seen, |piece| piece.sighting);
        }
        self.add(Piece { bytes, sighting, torn: !last })
    }

    /// Gives a piece out, unless it is nothing but the end.
    fn add(&mut self, piece: Piece) -> bool {
        let any = self.ended.is_none() || !piece.bytes.is_empty();
        if any {
            self.gather.add(piece);
        }
        any
    }

    /// Looks at a block of whole events: what it tells, or, where not all of it goes on, what does.
    fn watch(&mut self, block: &[u8]) -> Result<Piece, Sighting> {
        let mut seen: Option<Sighting> = None;
        let mut kept: Option<BytesMut> = None;
        let mut at = 0;
        for frame in self.framing.frames(block) {
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
            let done = sighting.done;
            match &mut seen {
                None => seen = Some(sighting),
                Some(seen) => seen.merge(sighting),
            }
            if done {
                // Everything is said: what comes behind it is nobody's.
                self.behind = Some(block.len() - at);
                if at < block.len() {
                    kept = Some(kept.unwrap_or_else(|| BytesMut::from(&block[..at])));
                }
                break;
            }
        }
        let sighting = seen.unwrap_or_default();
        self.finished |= sighting.finished || sighting.done;
        self.counted |= sighting.usage().is_some();
        if self.behind.is_some() {
            self.upstream.end_within(AFTER_MARKER);
        } else if self.finished && self.counted {
            self.upstream.hush(AFTER_REASON);
        }
        match kept {
            Some(kept) => Ok(Piece { bytes: kept.freeze(), sighting, torn: false }),
            None => Err(sighting),
        }
    }

    /// The upstream has ended: its last event may lack nothing but the blank line behind it. Less
    /// than an event is dropped: sent, it would be read as a whole one.
    fn last(&mut self) -> Option<Piece> {
        if self.behind.is_some() || self.long.is_some() {
            return None;
        }
        let block = self.framer.finish()?;
        let piece = self.watch(&block);
        Some(piece.unwrap_or_else(|sighting| Piece { bytes: block, sighting, torn: false }))
    }
}

/// The failure of a stream that ended like this; none when it ended well.
pub(crate) fn failure(broken: Option<Broken>, finished: bool, channel: &ChannelName) -> Option<Failure> {
    let channel = channel.clone();
    match broken {
        // Some upstreams close without ceremony once they have said everything, others not at all.
        _ if finished => None,
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
                    if this.take(data) && (!join || this.gather.sends_at_once()) {
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
