//! Notes each attempt: who, how it ended, how long it took; and tells the log of those that failed
//! (`telling`).
//!
//! Outermost in the attempt stack, so that it sees the verdict of all the others. An attempt that
//! is dropped because the client left is noted as that. It changes nothing and fails never.

pub(crate) mod telling;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::failure::Failure;
use crate::ledger::{AttemptRecord, Fault, Traced};
use crate::policy::Target;
use crate::reply::Reply;
use crate::stage::{Attempt, Exchange};

/// Mounts [`Observe`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ObserveLayer;

/// The service of [`ObserveLayer`].
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
}

/// A guard that notes one attempt, when dropped at the latest.
struct Note {
    exchange: Arc<Exchange>,
    target: Arc<Target>,
    started: Instant,
    /// How it ended, and when.
    end: Option<(&'static str, Instant)>,
    fault: Option<Box<Fault>>,
}

// === impl ObserveLayer ===

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe { inner }
    }
}

// === impl Observe ===

impl<S> Service<Attempt> for Observe<S>
where
    S: Service<Attempt, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let note = Note::begin(&attempt);
        ResponseFuture { inner: self.inner.call(attempt), note }
    }
}

pin_project! {
    /// A future that completes the note.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        note: Note,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        this.note.end(&result);
        Poll::Ready(result)
    }
}

// === impl Note ===

impl Note {
    fn begin(attempt: &Attempt) -> Self {
        let (exchange, started) = (attempt.exchange.clone(), Instant::now());
        let mut entry = exchange.ledger.entry();
        let waited = entry.waited;
        entry.attempts.push(AttemptRecord {
            channel: attempt.target.channel.name.clone(),
            place: attempt.target.place.clone(),
            side_call: None,
            key: None,
            began: started.duration_since(exchange.received),
            waited,
            outcome: "client_gone",
            elapsed: std::time::Duration::ZERO,
            fault: None,
            traced: exchange.is_traced.then(|| Traced::begin(&attempt.target)),
        });
        drop(entry);
        Self { exchange, target: attempt.target.clone(), started, end: None, fault: None }
    }

    fn end(&mut self, result: &Result<Reply, Failure>) {
        let now = Instant::now();
        match result {
            Ok(_) => {
                self.end = Some(("ok", now));
                let mut entry = self.exchange.ledger.entry();
                entry.accepted = Some(now.duration_since(entry.received));
                entry.target = Some(self.target.clone());
            }
            Err(failure) => {
                self.end = Some((failure.label(), now));
                self.fault = telling::fault(failure);
                let entry = self.exchange.ledger.entry();
                if telling::is_loud(failure, &self.target) {
                    telling::tell(&entry, &self.target, failure);
                } else {
                    telling::whisper(&entry, &self.target, failure);
                }
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut entry = self.exchange.ledger.entry();
        // Dropped within: the client left, unless the request is known to end for another reason.
        let left = if std::thread::panicking() { Failure::Internal.label() } else { "client_gone" };
        let dropped = entry.failure.unwrap_or(left);
        let (outcome, ended) = self.end.unwrap_or_else(|| (dropped, Instant::now()));
        let elapsed = ended.duration_since(self.started);
        if let Some(attempt) = entry.attempts.last_mut() {
            attempt.outcome = outcome;
            attempt.elapsed = elapsed;
            attempt.fault = self.fault.take();
        }
        drop(entry);
        self.target.meters.attempt(outcome, elapsed);
    }
}

#[cfg(test)]
mod tests;
