//! Keeps the gateway within its means: so many requests at once, so many buffered bytes.
//!
//! Outside `auth`, because checking keys is work too, and inside `rescue`, which tells the client.
//! The permit travels in the reply's body and comes back when that is done or dropped; the bytes
//! are taken by `ingress` and come back when the request is done with its body. Both are plain
//! counters: there is no queue, since a client's own retry is a better one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::failure::Failure;
use crate::reply::Reply;
use crate::shortcut::Shortcut;

/// The counters, shared by all connections.
#[derive(Debug)]
pub struct Capacity {
    requests: Counter,
    bytes: Counter,
    /// Permits that are in the body of a stream.
    streams: AtomicUsize,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Counter {
    used: AtomicUsize,
    most: usize,
}

impl Counter {
    fn new(most: usize) -> Self {
        Self { used: AtomicUsize::new(0), most }
    }

    fn take(&self, amount: usize) -> bool {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= self.most;
        if !fits {
            self.give_back(amount);
        }
        fits
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Capacity {
    /// Room for this many requests at once and this many bytes of buffered bodies.
    pub fn new(requests: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Counter::new(requests),
            bytes: Counter::new(bytes),
            streams: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Requests that hold a permit now.
    pub fn requests(&self) -> usize {
        self.requests.used()
    }

    /// Streams that are open now.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Requests that were refused for want of room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many requests and how many bytes there is room for.
    pub fn limits(&self) -> (usize, usize) {
        (self.requests.most, self.bytes.most)
    }

    /// Bytes of bodies that are buffered now.
    pub fn bytes(&self) -> usize {
        self.bytes.used()
    }

    /// Starts holding bytes: none yet.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { capacity: Some(self.clone()), bytes: 0 }
    }
}

/// A share of the byte budget, given back when dropped.
#[derive(Debug, Default)]
pub struct Held {
    capacity: Option<Arc<Capacity>>,
    bytes: usize,
}

impl Held {
    /// An empty share of the same budget.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { capacity: self.capacity.clone(), bytes: 0 }
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] when the budget has not that much left.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        if let Some(capacity) = &self.capacity
            && !capacity.bytes.take(bytes)
        {
            capacity.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::Overloaded);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(capacity) = &self.capacity {
            capacity.bytes.give_back(self.bytes);
        }
    }
}

/// The right to be served, given back when dropped.
struct Permit {
    capacity: Arc<Capacity>,
    /// It is in the body of a stream.
    streams: bool,
}

impl Permit {
    fn take(capacity: &Arc<Capacity>) -> Option<Self> {
        if capacity.requests.take(1) {
            return Some(Self { capacity: capacity.clone(), streams: false });
        }
        capacity.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn streaming(mut self) -> Self {
        self.streams = true;
        self.capacity.streams.fetch_add(1, Ordering::Relaxed);
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.capacity.requests.give_back(1);
        if self.streams {
            self.capacity.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Mounts [`Admission`].
#[derive(Debug, Clone)]
pub struct AdmissionLayer {
    capacity: Arc<Capacity>,
}

/// The service of [`AdmissionLayer`].
#[derive(Debug, Clone)]
pub struct Admission<S> {
    inner: S,
    capacity: Arc<Capacity>,
}

// === impl AdmissionLayer ===

impl AdmissionLayer {
    /// Admits within `capacity`.
    pub fn new(capacity: Arc<Capacity>) -> Self {
        Self { capacity }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission { inner, capacity: self.capacity.clone() }
    }
}

// === impl Admission ===

impl<S, B> Service<http::Request<B>> for Admission<S>
where
    S: Service<http::Request<B>, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = Shortcut<ResponseFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match Permit::take(&self.capacity) {
            Some(permit) => {
                Shortcut::inner(ResponseFuture { inner: self.inner.call(request), permit: Some(permit) })
            }
            None => Shortcut::failed(Failure::Overloaded),
        }
    }
}

pin_project! {
    /// Moves the permit into the answer's body.
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
