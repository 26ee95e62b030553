//! Admits a request by the windows of the gateway and of its caller, and by the caller's balance.
//!
//! Before `moderation` and `resolve`, so that a refused request costs nothing upstream, and inside
//! `account`, so that refusals are recorded. What is decided and remembered is
//! [`Allowances::admit`]; returns [`Failure::RateLimited`] or [`Failure::BalanceExhausted`].
//! Embedded state decides at once and costs no box; shared state is awaited.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::failure::Failure;
use crate::ports::{Allowances, Verdict};
use crate::reply::Reply;
use crate::stage::Exchange;

/// Mounts [`RateLimit`].
#[derive(Clone)]
pub struct RateLimitLayer {
    allowances: Arc<dyn Allowances>,
}

/// The service of [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimit<S> {
    inner: S,
    allowances: Arc<dyn Allowances>,
}

// === impl RateLimitLayer ===

impl RateLimitLayer {
    /// Admits what `allowances` admits.
    pub fn new(allowances: Arc<dyn Allowances>) -> Self {
        Self { allowances }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, allowances: self.allowances.clone() }
    }
}

// === impl RateLimit ===

impl<S> Service<Exchange> for RateLimit<S>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        match self.allowances.admit(&exchange) {
            Verdict::Ready(Ok(())) => DecidedOr::inner(self.inner.call(exchange)),
            Verdict::Ready(Err(failure)) => DecidedOr::failed(failure),
            Verdict::Wait(admission) => {
                let spare = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, spare);
                DecidedOr::waiting(async move {
                    admission.await?;
                    inner.call(exchange).await
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
