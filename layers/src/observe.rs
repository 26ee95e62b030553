//! Notes each attempt: who, how it ended, how long it took.
//!
//! Outermost in the attempt stack, so that it sees the verdict of all the others. An attempt that
//! is dropped because the client left is noted as that. It changes nothing and fails never.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::failure::Failure;
use crate::ledger::{AttemptRecord, Ledger};
use crate::policy::Target;
use crate::reply::Reply;
use crate::stage::Attempt;

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
    ledger: Ledger,
    target: Arc<Target>,
    started: Instant,
    /// How it ended, and when.
    end: Option<(&'static str, Instant)>,
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
        let (ledger, started) = (attempt.exchange.ledger.clone(), Instant::now());
        ledger.entry().attempts.push(AttemptRecord {
            channel: attempt.target.channel.name.clone(),
            place: attempt.target.place.clone(),
            side_call: None,
            key: None,
            began: started.duration_since(attempt.exchange.received),
            outcome: "client_gone",
            elapsed: std::time::Duration::ZERO,
        });
        Self { ledger, target: attempt.target.clone(), started, end: None }
    }

    fn end(&mut self, result: &Result<Reply, Failure>) {
        let now = Instant::now();
        match result {
            Ok(_) => {
                self.end = Some(("ok", now));
                let mut entry = self.ledger.entry();
                entry.accepted = Some(now.duration_since(entry.received));
                entry.target = Some(self.target.clone());
            }
            Err(failure) => {
                self.end = Some((failure.label(), now));
                tracing::debug!(
                    channel = %self.target.channel.name,
                    model = %self.target.upstream_model,
                    %failure,
                    "Attempt failed."
                );
            }
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut entry = self.ledger.entry();
        // Dropped within: the client left, unless the request is known to end for another reason.
        let dropped = entry.failure.unwrap_or("client_gone");
        let (outcome, ended) = self.end.unwrap_or_else(|| (dropped, Instant::now()));
        let elapsed = ended.duration_since(self.started);
        if let Some(attempt) = entry.attempts.last_mut() {
            attempt.outcome = outcome;
            attempt.elapsed = elapsed;
        }
        drop(entry);
        self.target.meters.attempt(outcome, elapsed);
    }
}

#[cfg(test)]
mod tests;
