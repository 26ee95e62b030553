//! Closes the record of each request exactly once.
//!
//! Outermost in the request stage, so that refusals are counted like answers. It writes what the
//! answer's pieces were seen to hold into the ledger and hands the entry over when the body ends,
//! breaks, or is dropped because the client left. It reads sightings and never parses; it changes
//! nothing and fails never.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::estimate::Kept;
use crate::failure::Failure;
use crate::ledger::Watch;
use crate::ports::Records;
use crate::reply::Reply;
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
        let watch = Watch::new(exchange.ledger.clone(), self.records.clone(), Kept::of(&exchange.body));
        ResponseFuture { inner: self.inner.call(exchange), watch: Some(watch) }
    }
}

pin_project! {
    /// A future that holds the watch while the answer is awaited: dropped before, it records a
    /// client that left.
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

#[cfg(test)]
mod tests;
