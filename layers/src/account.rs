//! Closes the record of each request exactly once.
//!
//! Outermost in the request stage, so that refusals are counted like answers. It writes what the
//! answer's pieces were seen to hold into the ledger and hands the entry over when the body ends,
//! breaks, or is dropped because the client left. It reads sightings and never parses, and it changes
//! nothing. A request that the process's end finds without an answer fails here, so that its record
//! says so and blames no client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::estimate::Kept;
use crate::failure::Failure;
use crate::ledger::{Ledger, Watch};
use crate::ports::{Ending, Records};
use crate::reply::Reply;
use crate::stage::Exchange;

/// Mounts [`Account`].
#[derive(Clone)]
pub struct AccountLayer {
    records: Arc<dyn Records>,
    ending: Option<Arc<dyn Ending>>,
}

/// The service of [`AccountLayer`].
#[derive(Clone)]
pub struct Account<S> {
    inner: S,
    records: Arc<dyn Records>,
    ending: Option<Arc<dyn Ending>>,
}

// === impl AccountLayer ===

impl AccountLayer {
    /// Hands closed records to `records`.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records, ending: None }
    }

    /// Ends requests that wait for an answer at this `ending`.
    #[must_use]
    pub fn until(self, ending: Arc<dyn Ending>) -> Self {
        Self { ending: Some(ending), ..self }
    }
}

impl<S> Layer<S> for AccountLayer {
    type Service = Account<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Account { inner, records: self.records.clone(), ending: self.ending.clone() }
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
        let ledger = exchange.ledger.clone();
        let watch = Watch::new(ledger.clone(), self.records.clone(), Kept::of(&exchange.body));
        let ending = self.ending.clone();
        ResponseFuture { inner: Some(self.inner.call(exchange)), ledger, watch: Some(watch), ending }
    }
}

pin_project! {
    /// A future that holds the watch while the answer is awaited: dropped before, it records a
    /// client that left.
    pub struct ResponseFuture<F> {
        // Dropped before its record is closed.
        #[pin]
        inner: Option<F>,
        ledger: Ledger,
        watch: Option<Watch>,
        ending: Option<Arc<dyn Ending>>,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = this.inner.as_mut().as_pin_mut().expect("a future is not polled after it is done");
        let unwinding = Unwinding(this.watch);
        let polled = inner.poll(cx);
        std::mem::forget(unwinding);
        let result = match polled {
            Poll::Ready(result) => result,
            Poll::Pending if this.ending.as_ref().is_some_and(|ending| ending.is_here()) => {
                // What is under way below notes it, too, when it is dropped.
                this.ledger.entry().failure = Some(Failure::ShuttingDown.label());
                this.inner.set(None);
                Err(Failure::ShuttingDown)
            }
            Poll::Pending => return Poll::Pending,
        };
        let mut watch = this.watch.take().expect("a future is not polled after it is done");
        Poll::Ready(match result {
            Ok(reply) => {
                watch.answered(reply.body().is_whole());
                let (parts, body) = reply.into_parts();
                Ok(Reply::from_parts(parts, body.with_watch(watch)))
            }
            Err(failure) => {
                watch.fail(&failure);
                Err(watch.told(failure))
            }
        })
    }
}

/// Guard that lives through a panic alone: it closes the record while it can be seen that there is one. The future
/// itself is dropped later, when it cannot be told any more from that of a client that left.
struct Unwinding<'a>(&'a mut Option<Watch>);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

#[cfg(test)]
mod tests;
