//! Remembers which channels are failing, each place of them for itself.
//!
//! Outside `lease`, so that one exhausted key does not bench a channel: a key's fault counts here
//! only when the request has found no further usable key. Inside `observe`, so that the record
//! shows the verdict. Reads `target.cooldown` and settles `target.health`; never fails by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::failure::{Blame, Cools, Failure};
use crate::policy::Target;
use crate::reply::Reply;
use crate::stage::Attempt;

/// Mounts [`Cooldown`].
#[derive(Debug, Clone, Copy, Default)]
pub struct CooldownLayer;

/// The service of [`CooldownLayer`].
#[derive(Debug, Clone)]
pub struct Cooldown<S> {
    inner: S,
}

// === impl CooldownLayer ===

impl<S> Layer<S> for CooldownLayer {
    type Service = Cooldown<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cooldown { inner }
    }
}

// === impl Cooldown ===

impl<S> Service<Attempt> for Cooldown<S>
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
        let target = attempt.target.clone();
        ResponseFuture { inner: self.inner.call(attempt), target }
    }
}

pin_project! {
    /// A future that settles the health with the result.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        target: Arc<Target>,
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
        match &result {
            Ok(_) => this.target.health.settle(false, this.target.cooldown, Instant::now()),
            Err(failure) if cools_target(failure, this.target) => {
                this.target.health.settle(true, this.target.cooldown, Instant::now());
            }
            // It answered, and did not blame itself: a channel that is on trial has passed.
            Err(Failure::Upstream(rejection))
                if matches!(rejection.blame, Blame::Request | Blame::Length | Blame::Terms) =>
            {
                this.target.health.settle(false, this.target.cooldown, Instant::now());
            }
            // It says nothing about the channel.
            Err(_) => {}
        }
        Poll::Ready(result)
    }
}

/// Whether the attempt leaves its target alone for a while. A place alone for a 404, too.
fn cools_target(failure: &Failure, target: &Target) -> bool {
    match failure.cools() {
        Cools::Nothing => target.place.is_some() && failure.is_of_place(),
        Cools::Target => true,
        Cools::Key => false,
    }
}

#[cfg(test)]
mod tests;
