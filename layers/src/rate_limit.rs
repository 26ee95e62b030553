//! Counts the request in the windows of the gateway and of its caller, then reserves its cost.
//!
//! Before `moderation` and `resolve`, so that a refused request costs nothing upstream, and inside
//! `account`, so that refusals are counted. Reads the caller's limits for the model that was asked
//! for; returns [`Failure::RateLimited`] or [`Failure::BalanceExhausted`]. What the balance refuses
//! counts in no window. Embedded state decides at once; shared state is awaited.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::failure::{Exceeded, Failure};
use crate::ports::{Balances, Verdict, Windows};
use crate::reply::Reply;
use crate::shortcut::Shortcut;
use crate::stage::Exchange;

/// Mounts [`RateLimit`].
#[derive(Clone)]
pub struct RateLimitLayer {
    windows: Arc<dyn Windows>,
    balances: Arc<dyn Balances>,
}

/// The service of [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimit<S> {
    inner: S,
    windows: Arc<dyn Windows>,
    balances: Arc<dyn Balances>,
}

// === impl RateLimitLayer ===

impl RateLimitLayer {
    /// Counts in `windows` and reserves on `balances`.
    pub fn new(windows: Arc<dyn Windows>, balances: Arc<dyn Balances>) -> Self {
        Self { windows, balances }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, windows: self.windows.clone(), balances: self.balances.clone() }
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
    type Future = Shortcut<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        let limits = exchange.catalog.limits(&exchange.caller, &exchange.peek.model);
        let counted = match self.windows.admit(&exchange.caller.fingerprint, &limits) {
            Verdict::Ready(counted) => counted.and_then(refuse),
            Verdict::Wait(counting) => {
                let (mut inner, balances) = (self.take_ready(), self.balances.clone());
                let windows = self.windows.clone();
                return Shortcut::waiting(async move {
                    counting.await.and_then(refuse)?;
                    if let Err(failure) = balances.reserve(&exchange).resolve().await {
                        windows.take_back(&exchange.caller.fingerprint, &limits);
                        return Err(failure);
                    }
                    inner.call(exchange).await
                });
            }
        };
        if let Err(failure) = counted {
            return Shortcut::failed(failure);
        }
        match self.balances.reserve(&exchange) {
            Verdict::Ready(Ok(())) => Shortcut::inner(self.inner.call(exchange)),
            Verdict::Ready(Err(failure)) => {
                self.windows.take_back(&exchange.caller.fingerprint, &limits);
                Shortcut::failed(failure)
            }
            Verdict::Wait(reserving) => {
                let (mut inner, windows) = (self.take_ready(), self.windows.clone());
                Shortcut::waiting(async move {
                    if let Err(failure) = reserving.await {
                        windows.take_back(&exchange.caller.fingerprint, &limits);
                        return Err(failure);
                    }
                    inner.call(exchange).await
                })
            }
        }
    }
}

impl<S: Clone> RateLimit<S> {
    /// The inner service that was polled ready; a clone takes its place.
    fn take_ready(&mut self) -> S {
        let spare = self.inner.clone();
        std::mem::replace(&mut self.inner, spare)
    }
}

fn refuse(exceeded: Option<Exceeded>) -> Result<(), Failure> {
    exceeded.map_or(Ok(()), |exceeded| Err(Failure::RateLimited(exceeded)))
}

#[cfg(test)]
mod tests;
