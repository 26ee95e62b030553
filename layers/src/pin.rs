//! Sends a request that names a stored object to where that object is.
//!
//! What an upstream keeps (an answer, a conversation, a file) exists under the provider key that
//! made it and nowhere else, so a request that names it goes there or nowhere. This layer finds
//! the pin, for the caller's own objects only; `resolve` asks for the one route to it, `lease`
//! for that one key. An object that is unknown, or another caller's, is
//! [`Failure::StoredNotFound`] and is never sent upstream: which of the two it is, is not told.
//!
//! Behind `moderation`, whose questions name nothing; before `resolve`, which has to know. On the
//! way back it keeps the pin of what an answer has created, where the endpoint is one whose
//! upstreams keep objects: with the first piece that tells its name, so also of a stream that is
//! still running. Where a request names nothing and creates nothing, the layer is two comparisons.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::policy::Caller;
use crate::ports::{Pin, Stored, Verdict};
use crate::reply::Reply;
use crate::stage::{Exchange, Pinned};

/// Mounts [`FindPin`].
#[derive(Clone)]
pub struct PinLayer {
    stored: Arc<dyn Stored>,
}

/// The service of [`PinLayer`].
#[derive(Clone)]
pub struct FindPin<S> {
    inner: S,
    stored: Arc<dyn Stored>,
}

/// The parts that it takes to keep the pin of an object that an answer creates.
struct Keeper {
    stored: Arc<dyn Stored>,
    caller: Arc<Caller>,
    ledger: Ledger,
}

// === impl PinLayer ===

impl PinLayer {
    /// Finds and keeps pins in `stored`.
    pub fn new(stored: Arc<dyn Stored>) -> Self {
        Self { stored }
    }
}

impl<S> Layer<S> for PinLayer {
    type Service = FindPin<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FindPin { inner, stored: self.stored.clone() }
    }
}

// === impl FindPin ===

impl<S> Service<Exchange> for FindPin<S>
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

    fn call(&mut self, mut exchange: Exchange) -> Self::Future {
        let (keeps, id) = (exchange.endpoint.keeps, exchange.stored_id.take());
        let found = id.map(|id| (self.stored.find(&exchange.caller.fingerprint, &id), id));
        match found {
            None if !keeps => return DecidedOr::inner(self.inner.call(exchange)),
            Some((Verdict::Ready(Err(failure)), _)) => return DecidedOr::failed(failure),
            _ => {}
        }
        let keeper = keeps.then(|| Keeper {
            stored: self.stored.clone(),
            caller: exchange.caller.clone(),
            ledger: exchange.ledger.clone(),
        });
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        DecidedOr::waiting(async move {
            if let Some((found, id)) = found {
                exchange.pinned = Some(pinned(id, found.resolve().await?)?);
            }
            let reply = inner.call(exchange).await?;
            let Some(keeper) = keeper else { return Ok(reply) };
            let (parts, body) = reply.into_parts();
            Ok(Reply::from_parts(parts, body.with_name_to(Box::new(|id| keeper.keep(id)))))
        })
    }
}

fn pinned(id: Arc<str>, pin: Option<Pin>) -> Result<Box<Pinned>, Failure> {
    match pin {
        Some(pin) => Ok(Box::new(Pinned { id, pin })),
        None => Err(Failure::StoredNotFound { id: id.to_string() }),
    }
}

// === impl Keeper ===

impl Keeper {
    /// Keeps where the object of this name is: with whom served the request, by its record.
    fn keep(self, id: &str) {
        let pin = {
            let entry = self.ledger.entry();
            let (Some(target), Some(attempt)) = (&entry.target, entry.attempts.last()) else { return };
            Pin {
                channel: target.channel.name.clone(),
                place: target.place.clone(),
                model: target.alias.clone(),
                key: attempt.key.clone(),
            }
        };
        self.stored.keep(&self.caller.fingerprint, id, pin);
    }
}

#[cfg(test)]
mod tests;
