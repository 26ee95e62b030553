//! Closes the record of each request exactly once.
//!
//! Outermost in the request stage, so that refusals are counted like answers. It writes what the
//! answer's pieces were seen to hold into the ledger and hands the entry over when the body ends,
//! breaks, or is dropped because the client left. It reads sightings and never parses; it changes
//! nothing and fails never.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use dialect::ir::Usage;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::ports::Records;
use crate::reply::{Piece, Reply};
use crate::stage::Exchange;

/// Mounts [`Account`].
#[derive(Clone)]
pub struct AccountLayer {
    records: Arc<dyn Records>,
}

/// The service of [`AccountLayer`].
#[derive(Clone)]
pub struct Account<S> {
    inner: S,
    records: Arc<dyn Records>,
}

/// Watches one answer and closes its record, when dropped at the latest.
pub struct Watch {
    /// Taken when the record is closed.
    open: Option<(Ledger, Arc<dyn Records>)>,
    usage: Option<Usage>,
    delivered: u64,
    bytes: u64,
    /// The finish reason or the terminal marker went by: whoever leaves now has everything.
    finished: bool,
    whole: bool,
}

// === impl AccountLayer ===

impl AccountLayer {
    /// Hands closed records to `records`.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }
}

impl<S> Layer<S> for AccountLayer {
    type Service = Account<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Account { inner, records: self.records.clone() }
    }
}

// === impl Account ===

impl<S> Service<Exchange> for Account<S>
where
    S: Service<Exchange, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        let watch = Watch::new(exchange.ledger.clone(), self.records.clone());
        ResponseFuture { inner: self.inner.call(exchange), watch: Some(watch) }
    }
}

pin_project! {
    /// Holds the watch while the answer is awaited: dropped before, it records a client that left.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        watch: Option<Watch>,
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
        let mut watch = this.watch.take().expect("a future is not polled after it is done");
        Poll::Ready(match result {
            Ok(reply) => {
                watch.whole = reply.body().is_whole();
                let (parts, body) = reply.into_parts();
                Ok(Reply::from_parts(parts, body.with_watch(watch)))
            }
            Err(failure) => {
                watch.refuse(&failure);
                Err(failure)
            }
        })
    }
}

// === impl Watch ===

impl Watch {
    /// Watches the answer to the request of `ledger`.
    pub fn new(ledger: Ledger, records: Arc<dyn Records>) -> Self {
        Self {
            open: Some((ledger, records)),
            usage: None,
            delivered: 0,
            bytes: 0,
            finished: false,
            whole: false,
        }
    }

    /// Takes note of what goes to the client: a piece, an error, or the end.
    pub fn see(&mut self, next: Option<&Result<Piece, Failure>>) {
        match next {
            Some(Ok(piece)) => {
                self.bytes += piece.bytes.len() as u64;
                self.delivered += u64::from(piece.sighting.delivered);
                self.finished |= piece.sighting.finished || piece.sighting.done;
                if let Some(usage) = piece.sighting.detail.as_ref().and_then(|detail| detail.usage) {
                    self.usage.get_or_insert_default().merge(usage);
                }
                if self.whole {
                    // The listener takes the whole body at once and drops it after the write.
                    self.finished = true;
                }
            }
            Some(Err(failure)) => self.close(Some(failure.label())),
            None => self.close(None),
        }
    }

    /// The request failed before an answer.
    fn refuse(&mut self, failure: &Failure) {
        if let Some((ledger, _)) = &self.open {
            ledger.entry().status = failure.status();
        }
        self.close(Some(failure.label()));
    }

    fn close(&mut self, failure: Option<&'static str>) {
        let Some((ledger, records)) = self.open.take() else { return };
        let entry = {
            let mut entry = ledger.entry();
            entry.failure = failure.or(entry.failure);
            entry.usage = self.usage.or(entry.usage);
            entry.delivered += self.delivered;
            entry.answer_bytes += self.bytes;
            entry.elapsed = entry.received.elapsed();
            entry.take()
        };
        records.close(entry);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((ledger, _)) = &self.open {
            ledger.entry().abandoned = !self.finished;
        }
        self.close(None);
    }
}

#[cfg(test)]
mod tests;
