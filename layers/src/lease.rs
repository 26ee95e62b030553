//! Takes a key of the channel for this attempt, and books on it what came of it.
//!
//! Inside `cooldown`: a cooled key is not a cooled channel. The key that failed is the one that
//! this attempt carried, also when many attempts run at once. An attempt that is dropped blames
//! nobody. Returns [`Failure::KeysExhausted`] when no key can be used now, and turns a refusal that
//! blames the key into [`Failure::KeyRefused`], which tells whether another one could be. Where the
//! channel has places, a rate limit is that of the place: the key stays as it is, and `cooldown`
//! leaves the place alone. A request that is pinned gets its one key or none; one of a conversation
//! that was served before rather gets the key that did so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::estimate::input_tokens;
use crate::failure::{Blame, Failure};
use crate::policy::Target;
use crate::ports::{self, InputTokens, KeyOutcome, KeysExhausted, Lease};
use crate::reply::Reply;
use crate::stage::{Attempt, Call, Payload, TriedKeys};

/// Mounts [`LeaseKey`].
#[derive(Debug, Clone, Copy, Default)]
pub struct LeaseKeyLayer;

/// The service of [`LeaseKeyLayer`].
#[derive(Debug, Clone)]
pub struct LeaseKey<S> {
    inner: S,
}

// === impl LeaseKeyLayer ===

impl<S> Layer<S> for LeaseKeyLayer {
    type Service = LeaseKey<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LeaseKey { inner }
    }
}

// === impl LeaseKey ===

impl<S> Service<Attempt> for LeaseKey<S>
where
    S: Service<Call, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<ResponseFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let target = attempt.target.clone();
        let keys = target.channel.keys.clone();
        let lease = match attempt.exchange.pin() {
            None => match attempt.exchange.home_at(&target).and_then(|home| home.key.as_ref()) {
                None => keys.lease(&target, &attempt.tried, input(&attempt)),
                Some(rather) => keys.lease_rather(&target, rather, &attempt.tried, input(&attempt)),
            },
            Some(ports::Pin { key: Some(wanted), .. }) => keys.lease_wanted(&target, wanted, input(&attempt)),
            // What was made without a key is not under one that the channel has by now.
            Some(_) if keys.count() > 0 => Err(KeysExhausted::Gone),
            Some(_) => Ok(Lease::keyless()),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(exhausted) => return DecidedOr::failed(refusal(&attempt, exhausted)),
        };
        if let Some(credential) = lease.credential()
            && let Some(record) = attempt.exchange.ledger.entry().attempts.last_mut()
        {
            record.key = Some(credential.fingerprint().clone());
        }
        let tried = attempt.tried.clone();
        let call = Call {
            credential: lease.credential().cloned(),
            payload: Payload::Untouched,
            content_type: None,
            held: attempt.exchange.held.another(),
            stream: target.forced_stream.unwrap_or(attempt.exchange.peek.stream),
            attempt,
        };
        DecidedOr::inner(ResponseFuture { inner: self.inner.call(call), held: Some((lease, target, tried)) })
    }
}

/// The input estimate, made only where a limit asks for it: it reads the whole body.
fn input(attempt: &Attempt) -> InputTokens {
    let limited = attempt.target.key_quota.as_ref().is_some_and(|quota| quota.tokens_per_request.is_some());
    if limited { input_tokens(&attempt.exchange) } else { InputTokens::default() }
}

fn refusal(attempt: &Attempt, exhausted: KeysExhausted) -> Failure {
    match exhausted {
        KeysExhausted::For(retry_after) => {
            Failure::KeysExhausted { channel: attempt.target.channel.name.clone(), retry_after }
        }
        KeysExhausted::Gone => {
            let id = attempt.exchange.pinned.as_deref().map_or("", |pinned| &pinned.id);
            Failure::StoredNotFound { id: id.to_owned() }
        }
        KeysExhausted::TooLong => Failure::TooLong { model: attempt.exchange.peek.model.to_string() },
    }
}

pin_project! {
    /// A future that holds the lease and settles it with the result.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        held: Option<(Lease, Arc<Target>, TriedKeys)>,
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
        let (lease, target, tried) = this.held.take().expect("a future is not polled after it is done");
        Poll::Ready(match result {
            Ok(reply) => {
                lease.settle(KeyOutcome::Served);
                Ok(reply)
            }
            Err(failure) => Err(settle(failure, lease, &target, &tried)),
        })
    }
}

/// Books the fault on the key, if it is the key's, and tells which one it was.
fn settle(failure: Failure, lease: Lease, target: &Target, tried: &TriedKeys) -> Failure {
    let rejection = match failure {
        Failure::Upstream(rejection) if rejection.blame == Blame::Key => rejection,
        Failure::NoToken { why, of_account: true, spare_of: None } => {
            let slot = lease.slot();
            lease.settle(KeyOutcome::Faulty { hint: None, rejected: true, quota: false });
            let spare_of = slot.filter(|slot| target.channel.keys.has_spare(target, &tried.with(*slot)));
            return Failure::NoToken { why, of_account: true, spare_of };
        }
        failure => {
            lease.settle(KeyOutcome::Blameless);
            return failure;
        }
    };
    let slot = lease.slot();
    // Regions count the requests of each key for themselves: it has room in the next one, and the
    // next key has in this one.
    if target.place.is_some() && rejection.status == StatusCode::TOO_MANY_REQUESTS {
        lease.settle(KeyOutcome::Blameless);
        let spare_of = slot.filter(|slot| target.channel.keys.has_spare(target, &tried.with(*slot)));
        return Failure::KeyRefused { rejection, spare_of };
    }
    lease.settle(KeyOutcome::Faulty {
        hint: rejection.retry_after,
        // 400 and 422 blame a key by their body only, and then for what it is, as 401 does.
        rejected: matches!(rejection.status.as_u16(), 400..=403 | 422),
        quota: rejection.quota,
    });
    // Asked after the settlement: the key that failed is none that could be used.
    let spare_of = slot.filter(|slot| target.channel.keys.has_spare(target, &tried.with(*slot)));
    Failure::KeyRefused { rejection, spare_of }
}

#[cfg(test)]
mod tests;
