//! Keeps the client's connection alive while nothing is said.
//!
//! Outside `failover`: comments go out while channels are being changed. They commit the HTTP
//! status and nothing else, so a request behind them still fails over. When all channels fail the
//! stream says so in one error event, and the ledger records the status of that failure. Later
//! silences are filled too, between events only. Acts on streams whose route has an interval, and on
//! those of clients that give up on silence; in the bytes of the client's dialect.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use dialect::{Dialect, Sighting, ir};
use tokio::time::{Instant, Sleep, sleep};
use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::failure::Failure;
use crate::ports::BoxFuture;
use crate::reply::{EVENT_STREAM, Piece, Pieces, Reply, ReplyBody, mark_stream};
use crate::stage::Routed;

/// How long clients that give up on silence wait for an answer to begin, where nothing is configured.
const BEFORE: Duration = Duration::from_secs(60);
/// Longest silence within a stream of theirs, and within one that is converted.
pub(crate) const BETWEEN: Duration = Duration::from_secs(15);

/// Mounts [`Keepalive`].
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepaliveLayer;

/// The service of [`KeepaliveLayer`].
#[derive(Debug, Clone)]
pub struct Keepalive<S> {
    inner: S,
}

// === impl KeepaliveLayer ===

impl<S> Layer<S> for KeepaliveLayer {
    type Service = Keepalive<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Keepalive { inner }
    }
}

// === impl Keepalive ===

impl<S> Service<Routed> for Keepalive<S>
where
    S: Service<Routed, Response = Reply, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        let dialect = routed.exchange.dialect();
        let pauses = match routed.plan.route.keepalive() {
            _ if !routed.exchange.peek.stream => None,
            Some(interval) => Some(Pauses { before: interval, between: interval }),
            None => dialect.gives_up_on_silence().then_some(Pauses { before: BEFORE, between: BETWEEN }),
        };
        let answering = self.inner.call(routed);
        match pauses {
            None => DecidedOr::inner(answering),
            Some(pauses) => DecidedOr::waiting(warm(Box::pin(answering), pauses, dialect)),
        }
    }
}

/// The silences that are allowed.
#[derive(Debug, Clone, Copy)]
struct Pauses {
    /// Before an answer is accepted.
    before: Duration,
    /// Within it.
    between: Duration,
}

async fn warm(
    mut answering: BoxFuture<Result<Reply, Failure>>,
    pauses: Pauses,
    dialect: Dialect,
) -> Result<Reply, Failure> {
    let began = Instant::now();
    match tokio::time::timeout(pauses.before, &mut answering).await {
        Ok(Ok(reply)) if reply.body().is_whole() => Ok(reply),
        Ok(Ok(reply)) => {
            let (head, body) = reply.into_parts();
            let warm = Warm::new(State::Relaying(body), pauses, pauses.between, dialect);
            Ok(Reply::from_parts(head, ReplyBody::stream(warm)))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_elapsed) => {
            // The first comment is due at once: the interval is over.
            let warm = Warm::new(
                State::Waiting(answering),
                pauses,
                pauses.before.saturating_sub(began.elapsed()),
                dialect,
            );
            let mut reply = Reply::new(ReplyBody::stream(warm));
            mark_stream(reply.headers_mut(), EVENT_STREAM);
            Ok(reply)
        }
    }
}

/// A stream with comments in its silences.
struct Warm {
    state: State,
    pauses: Pauses,
    timer: Pin<Box<Sleep>>,
    dialect: Dialect,
    /// The last piece ended within an event: a comment would land inside it.
    torn: bool,
}

enum State {
    Waiting(BoxFuture<Result<Reply, Failure>>),
    Relaying(ReplyBody),
    Done,
}

impl Warm {
    fn new(state: State, pauses: Pauses, first: Duration, dialect: Dialect) -> Self {
        Self { state, pauses, timer: Box::pin(sleep(first)), dialect, torn: false }
    }

    /// When silence is next broken, if nothing is said before.
    fn next(&self) -> Instant {
        let pause = match self.state {
            State::Waiting(_) => self.pauses.before,
            State::Relaying(_) | State::Done => self.pauses.between,
        };
        Instant::now() + pause
    }

    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        loop {
            match &mut self.state {
                State::Waiting(answering) => match std::task::ready!(answering.as_mut().poll(cx)) {
                    Ok(reply) => {
                        self.state = State::Relaying(reply.into_body());
                        let next = self.next();
                        self.timer.as_mut().reset(next);
                    }
                    Err(failure) => {
                        self.state = State::Done;
                        return Poll::Ready(Some(Err(failure)));
                    }
                },
                State::Relaying(body) => return body.poll_piece(cx),
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Pieces for Warm {
    fn poll_piece(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Failure>>> {
        let this = &mut *self;
        if let Poll::Ready(said) = this.poll_said(cx) {
            if let Some(Ok(piece)) = &said {
                this.torn = piece.torn;
                let next = this.next();
                this.timer.as_mut().reset(next);
            }
            return Poll::Ready(said);
        }
        std::task::ready!(this.timer.as_mut().poll(cx));
        let next = this.next();
        this.timer.as_mut().reset(next);
        if this.torn {
            // The reset timer must wake this task; polling it once arms it.
            let _ = this.timer.as_mut().poll(cx);
            return Poll::Pending;
        }
        let mut out = BytesMut::new();
        match &mut this.state {
            State::Relaying(body) => body.keepalive(&mut out),
            State::Waiting(_) | State::Done => out.extend_from_slice(this.dialect.keepalive()),
        }
        Poll::Ready(Some(Ok(Piece { bytes: out.freeze(), sighting: Sighting::machinery(), torn: false })))
    }

    fn tell(mut self: Pin<&mut Self>, error: &ir::Error, out: &mut BytesMut) -> bool {
        match &mut self.state {
            State::Relaying(body) => body.tell(error, out),
            // Nobody has spoken yet: the error is all that the stream says.
            State::Waiting(_) | State::Done => {
                out.extend_from_slice(&self.dialect.stream_error(error));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
