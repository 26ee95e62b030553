//! Admits so many requests at once.
//!
//! Outside `auth`, because checking keys is work too, and inside `rescue`, which tells the client.
//! Who is not admitted leaves a [`Visit`].
//! The permit travels in the reply's body and comes back when that is done or dropped. Bytes are
//! held where they are buffered ([`crate::capacity`]).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::capacity::{Capacity, Permit};
use crate::decided_or::DecidedOr;
use crate::failure::Failure;
use crate::ports::Records;
use crate::reply::Reply;
use crate::visit::Visit;

/// Mounts [`Admission`].
#[derive(Clone)]
pub struct AdmissionLayer {
    capacity: Arc<Capacity>,
    records: Arc<dyn Records>,
}

/// The service of [`AdmissionLayer`].
#[derive(Clone)]
pub struct Admission<S> {
    inner: S,
    capacity: Arc<Capacity>,
    records: Arc<dyn Records>,
}

// === impl AdmissionLayer ===

impl AdmissionLayer {
    /// Admits within `capacity`.
    pub fn new(capacity: Arc<Capacity>, records: Arc<dyn Records>) -> Self {
        Self { capacity, records }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission { inner, capacity: self.capacity.clone(), records: self.records.clone() }
    }
}

// === impl Admission ===

impl<S, B> Service<http::Request<B>> for Admission<S>
where
    S: Service<http::Request<B>, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<ResponseFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match Permit::take(&self.capacity) {
            Some(permit) => {
                DecidedOr::inner(ResponseFuture { inner: self.inner.call(request), permit: Some(permit) })
            }
            None => {
                let visit = Visit::of(request.method(), request.uri(), request.extensions());
                self.records.visit(visit.refused(&Failure::Overloaded));
                DecidedOr::failed(Failure::Overloaded)
            }
        }
    }
}

pin_project! {
    /// A future that moves the permit into the answer's body.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        permit: Option<Permit>,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let reply = ready!(this.inner.poll(cx))?;
        let permit = this.permit.take().expect("a future is not polled after it is done");
        let (parts, body) = reply.into_parts();
        // A body that is there as a whole costs nothing more to keep.
        let body = if body.is_whole() { body } else { body.with_permit(Box::new(permit.streaming())) };
        Poll::Ready(Ok(Reply::from_parts(parts, body)))
    }
}

#[cfg(test)]
mod tests;
