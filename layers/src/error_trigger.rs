//! Refuses answers that are not answers: errors inside a success, empty ones, configured triggers.
//!
//! Outside `convert`, whose sightings it reads; it never parses. Inside `timeout`, so that waiting
//! for an opening is bounded. Whatever it refuses is a failure of the attempt like any other, so
//! `failover` needs no special case for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use dialect::Sighting;
use http::{HeaderMap, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::body::opening::{self, Opening};
use crate::failure::Failure;
use crate::hidden::Hidden;
use crate::judge::{Refusal, judge};
use crate::policy::Target;
use crate::ports::{BoxFuture, Credential};
use crate::reply::{Piece, Reply};
use crate::stage::{Call, Exchange};

/// Mounts [`ErrorTrigger`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorTriggerLayer;

/// The service of [`ErrorTriggerLayer`].
#[derive(Debug, Clone)]
pub struct ErrorTrigger<S> {
    inner: S,
}

// === impl ErrorTriggerLayer ===

impl<S> Layer<S> for ErrorTriggerLayer {
    type Service = ErrorTrigger<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ErrorTrigger { inner }
    }
}

// === impl ErrorTrigger ===

impl<S> Service<Call> for ErrorTrigger<S>
where
    S: Service<Call, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let inspection = Inspection {
            exchange: call.attempt.exchange.clone(),
            target: call.attempt.target.clone(),
            credential: call.credential.clone(),
        };
        let state = State::Answering { answering: self.inner.call(call) };
        ResponseFuture { state, inspection: Some(inspection) }
    }
}

pin_project! {
    /// A future that judges the answer: a whole one at once, a stream by its opening, which is
    /// awaited.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        inspection: Option<Inspection>,
    }
}

pin_project! {
    #[project = Projection]
    enum State<F> {
        Answering { #[pin] answering: F },
        Opening { opening: BoxFuture<Result<Reply, Failure>> },
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                Projection::Answering { answering } => {
                    let reply = ready!(answering.poll(cx))?;
                    let inspection = this.inspection.take().expect("a future is not polled after it is done");
                    if let Some(piece) = reply.body().as_whole() {
                        let judged = inspection.inspect_whole(piece, reply.headers());
                        return Poll::Ready(judged.map(|()| reply));
                    }
                    this.state.set(State::Opening { opening: Box::pin(inspection.open(reply)) });
                }
                Projection::Opening { opening } => return opening.as_mut().poll(cx),
            }
        }
    }
}

/// The parts that judging one answer needs.
struct Inspection {
    exchange: Arc<Exchange>,
    target: Arc<Target>,
    credential: Option<Credential>,
}

impl Inspection {
    /// Waits for the opening of a stream.
    async fn open(self, reply: Reply) -> Result<Reply, Failure> {
        let (head, body) = reply.into_parts();
        let began = Instant::now();
        let opening =
            opening::read(body, self.exchange.catalog.triggers(), self.exchange.held.for_answer()).await;
        self.exchange.ledger.entry().waited += began.elapsed();
        let body = match opening? {
            Opening::Accepted(body) => body,
            Opening::Empty(body, seen) if self.may_be_silent(&seen) => body,
            Opening::Empty(..) => return Err(self.empty()),
            Opening::Triggered => return Err(self.triggered()),
            Opening::Error(piece) => return Err(self.in_band(&piece, &head.headers)),
        };
        Ok(Reply::from_parts(head, body))
    }

    fn inspect_whole(&self, piece: &Piece, headers: &HeaderMap) -> Result<(), Failure> {
        let sighting = &piece.sighting;
        if sighting.error().is_some() {
            return Err(self.in_band(piece, headers));
        }
        let triggers = self.exchange.catalog.triggers();
        if !triggers.is_empty()
            && (sighting.text().is_some_and(|text| triggers.matches(text))
                || std::str::from_utf8(&piece.bytes).is_ok_and(|raw| triggers.matches(raw)))
        {
            return Err(self.triggered());
        }
        let cut = opening::is_cut(sighting);
        if !sighting.content && !cut && !self.exchange.endpoint.may_be_empty && !self.may_be_silent(sighting)
        {
            return Err(self.empty());
        }
        Ok(())
    }

    /// Whether nothing more to say is an answer to this conversation. Read only when an answer is
    /// empty, which is rare.
    fn may_be_silent(&self, seen: &Sighting) -> bool {
        let Exchange { body, .. } = &*self.exchange;
        self.exchange.dialect().may_be_silent(body, self.target.channel.dialect, seen)
    }

    fn in_band(&self, piece: &Piece, headers: &HeaderMap) -> Failure {
        let error = piece.sighting.error().cloned();
        let error =
            error.unwrap_or_else(|| dialect::ir::Error::new(StatusCode::BAD_GATEWAY, "unknown error"));
        let same = self.target.channel.dialect == self.exchange.dialect();
        judge(Refusal {
            channel: &self.target.channel.name,
            status: error.status,
            headers,
            // An event is not a body; a whole answer of the client's own dialect is.
            body: if same && piece.sighting.done { piece.bytes.clone() } else { bytes::Bytes::new() },
            dialect: self.target.channel.dialect,
            error,
            asked: self.exchange.asked(&self.target.upstream_model),
            hidden: &Hidden::of(&self.target.channel, self.credential.as_ref(), Some(&self.exchange.caller)),
        })
    }

    fn empty(&self) -> Failure {
        Failure::Empty { channel: self.target.channel.name.clone() }
    }

    fn triggered(&self) -> Failure {
        Failure::Triggered { channel: self.target.channel.name.clone() }
    }
}

#[cfg(test)]
mod tests;
