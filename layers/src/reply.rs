//! An answer on its way to the client, as every layer from `ingress` inward sees it.
//!
//! [`ReplyBody`] is a concrete type rather than a chain of generic wrappers: layers change an
//! answer by filling one of its few slots (the opening that is replayed, the watch that closes the
//! ledger, the permit of admission), so an answer needs one allocation and a stream two. It yields
//! [`Piece`]s: bytes together with what they were seen to hold, so that nobody parses twice. Towards
//! the listener it is an ordinary `http_body::Body` that drops the sightings.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use dialect::{Sighting, ir};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::body::poll_on_wake::PollOnWake;
use crate::capacity::Held;
use crate::failure::Failure;
use crate::ledger::Watch;
use crate::ports::BoxFuture;

/// An answer.
pub type Reply = http::Response<ReplyBody>;

/// Bytes of an answer with what was seen in them. Pieces of an event stream are whole events,
/// unless `torn` says otherwise.
#[derive(Debug, Default)]
pub struct Piece {
    /// The bytes for the client.
    pub bytes: Bytes,
    /// What they hold.
    pub sighting: Sighting,
    /// They end within an event, one too large to be held.
    pub torn: bool,
}

/// A stream of pieces: the two adapters in `body`, and keepalive.
pub trait Pieces: Send {
    /// The next piece; none at the end. After an error or the end it is not polled again.
    fn poll_piece(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>>;

    /// The opening was accepted: from here on sightings may be coarse.
    fn accepted(self: Pin<&mut Self>) {}

    /// Appends an error behind what was given so far, in the words of the client's dialect and
    /// without a terminal marker; false where the answer can only be cut off.
    fn tell(self: Pin<&mut Self>, _error: &ir::Error, _out: &mut BytesMut) -> bool {
        false
    }

    /// Appends bytes that keep the stream alive and mean nothing, where there are such.
    fn keepalive(self: Pin<&mut Self>, _out: &mut BytesMut) {}
}

/// The body of a [`Reply`]. One pointer, because an answer is moved through every layer.
#[derive(Default)]
pub struct ReplyBody(Box<Slots>);

#[derive(Default)]
struct Slots {
    /// The opening, replayed in front of the rest.
    opening: VecDeque<Piece>,
    /// What the opening holds of the byte budget, until its last piece is taken.
    opening_held: Held,
    rest: Rest,
    /// The end was reached or an error given: what is left of `rest` only tells of it.
    over: bool,
    watch: Option<Watch>,
    /// Told the names of the answer and of its items.
    name_to: Option<NameTo>,
    /// Its own name was told.
    is_named: bool,
    permit: Option<Box<dyn Any + Send>>,
    /// Ends the stream with an error when it is over: the process is about to end.
    deadline: Option<PollOnWake<BoxFuture<()>>>,
}

#[derive(Default)]
enum Rest {
    #[default]
    Done,
    Whole(Piece),
    Stream(Pin<Box<dyn Pieces>>),
}

/// Listener for the upstream's names of an answer and of its items.
pub type NameTo = Box<dyn FnMut(&str) + Send>;

/// The reason why a body was cut off: told to the listener, which closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be completed: {0}")]
pub struct CutOff(&'static str);

impl ReplyBody {
    /// A body that is there as a whole.
    pub fn whole(bytes: Bytes, sighting: Sighting) -> Self {
        Self::of(Rest::Whole(Piece { bytes, sighting, torn: false }))
    }

    /// A body that comes in pieces.
    pub fn stream(pieces: impl Pieces + 'static) -> Self {
        Self::of(Rest::Stream(Box::pin(pieces)))
    }

    fn of(rest: Rest) -> Self {
        Self(Box::new(Slots { rest, ..Slots::default() }))
    }

    /// Whether it is there as a whole.
    pub fn is_whole(&self) -> bool {
        !matches!(self.0.rest, Rest::Stream(_))
    }

    /// The one piece of a body that is there as a whole.
    pub fn as_whole(&self) -> Option<&Piece> {
        match &self.0.rest {
            Rest::Whole(piece) => Some(piece),
            Rest::Done | Rest::Stream(_) => None,
        }
    }

    /// Keeps what the opening holds of the byte budget.
    #[must_use]
    pub fn with_opening_held(mut self, held: Held) -> Self {
        self.0.opening_held = held;
        self
    }

    /// Puts back the pieces that were read to judge the opening, which is hereby accepted.
    #[must_use]
    pub fn with_opening(mut self, opening: VecDeque<Piece>) -> Self {
        debug_assert!(self.0.opening.is_empty(), "an opening is read once");
        self.0.opening = opening;
        if let Rest::Stream(pieces) = &mut self.0.rest {
            pieces.as_mut().accepted();
        }
        self
    }

    /// Lets the ledger watch.
    #[must_use]
    pub fn with_watch(mut self, watch: Watch) -> Self {
        self.0.watch = Some(watch);
        self
    }

    /// Tells the upstream's names of the answer and of its items, with the pieces that have them.
    #[must_use]
    pub fn with_name_to(mut self, name_to: NameTo) -> Self {
        self.0.name_to = Some(name_to);
        self
    }

    /// Carries something that is given back when the body is done or dropped.
    #[must_use]
    pub fn with_permit(mut self, permit: Box<dyn Any + Send>) -> Self {
        self.0.permit = Some(permit);
        self
    }

    /// Ends the body with [`Failure::ShuttingDown`] when `deadline` is over.
    #[must_use]
    pub fn with_deadline(mut self, deadline: BoxFuture<()>) -> Self {
        self.0.deadline = Some(PollOnWake::new(deadline));
        self
    }

    /// The next piece, seen by the watch.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let slots = &mut *self.0;
        let next = match slots.opening.pop_front() {
            Some(piece) => {
                if slots.opening.is_empty() {
                    slots.opening_held = Held::default();
                }
                Some(Ok(piece))
            }
            None => match &mut slots.rest {
                _ if slots.over => None,
                Rest::Done => None,
                Rest::Whole(piece) => {
                    let piece = std::mem::take(piece);
                    slots.rest = Rest::Done;
                    Some(Ok(piece))
                }
                Rest::Stream(pieces) => {
                    let next = match pieces.as_mut().poll_piece(cx) {
                        Poll::Ready(next) => next,
                        Poll::Pending => {
                            let deadline = slots.deadline.as_mut().map(|deadline| deadline.poll(cx));
                            ready!(deadline.unwrap_or(Poll::Pending));
                            Some(Err(Failure::ShuttingDown))
                        }
                    };
                    slots.over = !matches!(next, Some(Ok(_)));
                    if next.is_none() {
                        // What it came over is free at once; behind an error it still has to tell.
                        slots.rest = Rest::Done;
                    }
                    next
                }
            },
        };
        if let Some(name_to) = &mut slots.name_to
            && let Some(Ok(Piece { sighting: Sighting { detail: Some(detail), .. }, .. })) = &next
        {
            if let Some(id) = &detail.id
                && !std::mem::replace(&mut slots.is_named, true)
            {
                name_to(id);
            }
            detail.items.iter().for_each(|id| name_to(id));
        }
        let Some(watch) = &mut slots.watch else { return Poll::Ready(next) };
        watch.see(next.as_ref());
        Poll::Ready(match next {
            Some(Err(failure)) => Some(Err(watch.told(failure))),
            next => next,
        })
    }

    /// Appends an error behind what was given so far; false where the answer can only be cut off.
    pub fn tell(&mut self, error: &ir::Error, out: &mut BytesMut) -> bool {
        match &mut self.0.rest {
            Rest::Stream(pieces) => pieces.as_mut().tell(error, out),
            Rest::Done | Rest::Whole(_) => false,
        }
    }

    /// Appends bytes that keep the stream alive and mean nothing.
    pub fn keepalive(&mut self, out: &mut BytesMut) {
        if let Rest::Stream(pieces) = &mut self.0.rest {
            pieces.as_mut().keepalive(out);
        }
    }

    /// The next piece.
    pub async fn next_piece(&mut self) -> Option<Result<Piece, Failure>> {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyBody").field("whole", &self.is_whole()).finish_non_exhaustive()
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes, Sighting::default())
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            return Poll::Ready(match ready!(self.poll_piece(cx)) {
                None => None,
                Some(Ok(piece)) if piece.bytes.is_empty() => continue,
                Some(Ok(piece)) => Some(Ok(Frame::data(piece.bytes))),
                Some(Err(failure)) => {
                    let mut out = BytesMut::new();
                    let told = self.tell(&failure.to_wire(), &mut out);
                    self.0.rest = Rest::Done;
                    Some(if told { Ok(Frame::data(out.freeze())) } else { Err(CutOff(failure.label())) })
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.opening.is_empty() && (self.0.over || matches!(self.0.rest, Rest::Done))
    }

    fn size_hint(&self) -> SizeHint {
        let opening: u64 = self.0.opening.iter().map(|piece| piece.bytes.len() as u64).sum();
        match &self.0.rest {
            Rest::Done => SizeHint::with_exact(opening),
            Rest::Whole(piece) => SizeHint::with_exact(opening + piece.bytes.len() as u64),
            Rest::Stream(_) => SizeHint::default(),
        }
    }
}

/// The content type of server-sent events.
pub const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Marks an answer as a stream: it must not be held back or changed by what stands between us and
/// the client.
pub fn mark_stream(headers: &mut HeaderMap, content_type: HeaderValue) {
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// A service that answers with [`Reply`] and fails with [`Failure`]: what every stage from
/// `ingress` inward is, under one name instead of six bounds.
pub trait Gateway<R>:
    tower::Service<R, Response = Reply, Error = Failure, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S, R> Gateway<R> for S where
    S: tower::Service<R, Response = Reply, Error = Failure, Future: Send> + Clone + Send + Sync + 'static
{
}

#[cfg(test)]
mod tests;
