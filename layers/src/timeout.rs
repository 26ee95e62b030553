//! Bounds how long an attempt may take to begin.
//!
//! Outside `error_trigger`, so that what counts is an accepted opening, not the upstream's headers.
//! This layer holds the outer bound only: an upstream that keeps sending without ever saying
//! anything is left after `timeouts.opening`. Silence, which is what `model_timeout` is about, is
//! measured where the bytes come in: `dispatch` for the headers, [`crate::body::idle`] for the
//! body, before and after the answer was accepted. Their timers wake this layer too, at the latest
//! after one silence, so it looks at the clock when it is woken; only a bound that is shorter than
//! a silence, or nearly over, needs a timer of its own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use crate::failure::Failure;
use crate::policy::ChannelName;
use crate::reply::Reply;
use crate::stage::Call;

/// Mounts [`Timeout`].
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeoutLayer;

/// The service of [`TimeoutLayer`].
#[derive(Debug, Clone)]
pub struct Timeout<S> {
    inner: S,
}

// === impl TimeoutLayer ===

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout { inner }
    }
}

// === impl Timeout ===

impl<S> Service<Call> for Timeout<S>
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
        let (timeouts, now) = (call.attempt.timeouts, Instant::now());
        let left = timeouts.total.saturating_sub(now.duration_since(call.attempt.exchange.received));
        let (wait, limit) = if left < timeouts.opening {
            (left, timeouts.total)
        } else {
            (timeouts.opening, timeouts.opening)
        };
        let end = now + wait;
        let timer = (wait < timeouts.idle).then(|| Box::pin(sleep_until(end)));
        let channel = call.attempt.target.channel.name.clone();
        ResponseFuture { inner: self.inner.call(call), end, timer, limit, channel }
    }
}

pin_project! {
    /// A future that races the answer against the bound.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        end: Instant,
        timer: Option<Pin<Box<Sleep>>>,
        // The configured one, which the failure names.
        limit: Duration,
        channel: ChannelName,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            return Poll::Ready(result);
        }
        if let Some(timer) = this.timer {
            // The end is judged by the clock below; this only has it looked at in time.
            let _ = timer.as_mut().poll(cx);
        }
        if Instant::now() < *this.end {
            return Poll::Pending;
        }
        Poll::Ready(Err(Failure::Timeout { channel: this.channel.clone(), limit: *this.limit }))
    }
}

#[cfg(test)]
mod tests;
