//! Sends a request that names a stored object to where that object is.
//!
//! What an upstream keeps (an answer, a conversation, a file) exists under the provider key that
//! made it and nowhere else, so a request that names it goes there or nowhere. This layer finds
//! the pin, for the caller's own objects only; `resolve` asks for the one route to it, `lease`
//! for that one key. An object that is unknown, or another caller's, is
//! [`Failure::StoredNotFound`] and is never sent upstream: which of the two it is, is not told.
//! An answer from which a new one is to go on is [`Failure::PreviousNotFound`] then.
//!
//! Answers of upstreams that keep none may be kept here ([`dialect::Answers`]). A request that goes
//! on from one of these is put together to the whole conversation, which anybody can serve; what is
//! asked about it is answered at once.
//!
//! Behind `moderation`, whose questions name nothing; before `resolve`, which has to know. On the
//! way back it keeps the pins of what an answer has created, where the endpoint is one whose
//! upstreams keep objects: with the pieces that tell its names, so also of a stream that is
//! still running. Where a request names nothing and creates nothing, the layer is two comparisons.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dialect::{Answers, Earlier, KeptAnswer, KeptCall, Sighting};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::offload::offload;
use crate::policy::{Caller, Fingerprint};
use crate::ports::{Pin, Stored};
use crate::reply::{Reply, ReplyBody};
use crate::stage::{Exchange, Pinned};

/// Mounts [`FindPin`].
#[derive(Clone)]
pub struct PinLayer {
    memory: Memory,
}

/// The service of [`PinLayer`].
#[derive(Clone)]
pub struct FindPin<S> {
    inner: S,
    memory: Memory,
}

/// The memory of objects that callers may name.
#[derive(Clone)]
struct Memory {
    stored: Arc<dyn Stored>,
    answers: Option<Arc<dyn Answers>>,
}

/// The parts that it takes to keep the pins of objects that an answer creates.
struct Keeper {
    stored: Arc<dyn Stored>,
    caller: Arc<Caller>,
    ledger: Ledger,
    client: dialect::Dialect,
}

// === impl PinLayer ===

impl PinLayer {
    /// Finds and keeps pins in `stored`.
    pub fn new(stored: Arc<dyn Stored>) -> Self {
        Self { memory: Memory { stored, answers: None } }
    }

    /// Finds answers in `answers` that no upstream keeps.
    #[must_use]
    pub fn answering(mut self, answers: Arc<dyn Answers>) -> Self {
        self.memory.answers = Some(answers);
        self
    }
}

impl<S> Layer<S> for PinLayer {
    type Service = FindPin<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FindPin { inner, memory: self.memory.clone() }
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
        if id.is_none() && !keeps {
            return DecidedOr::inner(self.inner.call(exchange));
        }
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        let memory = self.memory.clone();
        DecidedOr::waiting(async move {
            if let Some(id) = id {
                match memory.find(&exchange.caller.fingerprint, &id).await? {
                    Some(pin) => exchange.pinned = Some(Box::new(Pinned { id, pin })),
                    None => return memory.answer(&exchange, &id),
                }
                return inner.call(exchange).await;
            }
            let earlier = memory.go_on(&mut exchange).await?;
            let keeper = Keeper {
                stored: memory.stored,
                caller: exchange.caller.clone(),
                ledger: exchange.ledger.clone(),
                client: exchange.endpoint.client,
            };
            let reply = inner.call(exchange).await.map_err(|failure| of_earlier(failure, &earlier))?;
            let (parts, body) = reply.into_parts();
            Ok(Reply::from_parts(parts, body.with_name_to(Box::new(move |id| keeper.keep(id)))))
        })
    }
}

/// What is not there any more was the answer before, where the request names one.
fn of_earlier(failure: Failure, earlier: &Earlier) -> Failure {
    match (failure, &earlier.answer) {
        (Failure::StoredNotFound { .. }, Some(id)) => Failure::PreviousNotFound { id: id.clone() },
        (failure, _) => failure,
    }
}

// === impl Memory ===

impl Memory {
    async fn find(&self, caller: &Fingerprint, id: &str) -> Result<Option<Pin>, Failure> {
        self.stored.find(caller, id).resolve().await
    }

    fn kept(&self, caller: &Fingerprint, id: &str) -> Option<Arc<KeptAnswer>> {
        self.answers.as_ref()?.find(caller.as_str(), id)
    }

    /// What is told of an answer that is kept here.
    fn answer(&self, exchange: &Exchange, id: &Arc<str>) -> Result<Reply, Failure> {
        let caller = &exchange.caller.fingerprint;
        let missing = || Failure::StoredNotFound { id: id.to_string() };
        let kept = self.kept(caller, id).ok_or_else(missing)?;
        let asked = kept_call(exchange.endpoint);
        let told = exchange.dialect().told_of_kept(asked, id, &kept, &exchange.query)?;
        if let (KeptCall::Forget, Some(answers)) = (asked, &self.answers) {
            answers.forget(caller.as_str(), id);
        }
        Ok(whole(told))
    }

    /// Finds what a request goes on from: it is pinned to where that is, or gets the conversation
    /// that is kept here. Gives back what it named.
    async fn go_on(&self, exchange: &mut Exchange) -> Result<Earlier, Failure> {
        let (dialect, body) = (exchange.dialect(), exchange.body.clone());
        let earlier = offload(body.len(), move || dialect.earlier(&body)).await??;
        if earlier.is_empty() {
            return Ok(earlier);
        }
        let caller = exchange.caller.fingerprint.clone();
        let missing = |id: &str| of_earlier(Failure::StoredNotFound { id: id.to_owned() }, &earlier);
        let mut pinned: Option<Box<Pinned>> = None;
        let mut kept = Vec::new();
        for id in earlier.answer.iter().chain(&earlier.items) {
            let pin = self.find(&caller, id).await?;
            match (pin, &pinned) {
                // Nobody has what two of them have.
                (Some(pin), Some(first)) if !is_at(&first.pin, &pin) => return Err(missing(id)),
                (Some(pin), None) => pinned = Some(Box::new(Pinned { id: id.as_str().into(), pin })),
                (Some(_), Some(_)) => {}
                (None, _) => {
                    let of = if Some(id) == earlier.answer.as_ref() { Some(id.clone()) } else { None };
                    let of = of.or_else(|| Earlier::answer_of(id));
                    let found = of.and_then(|of| self.kept(&caller, &of)).ok_or_else(|| missing(id))?;
                    kept.push(found);
                }
            }
        }
        match (pinned, kept.is_empty()) {
            (Some(pinned), true) => exchange.pinned = Some(pinned),
            (Some(pinned), false) => return Err(missing(&pinned.id)),
            (None, _) => self.put_together(exchange, &earlier, kept).await?,
        }
        Ok(earlier)
    }

    /// Gives the request the conversation that it goes on from.
    async fn put_together(
        &self,
        exchange: &mut Exchange,
        earlier: &Earlier,
        kept: Vec<Arc<KeptAnswer>>,
    ) -> Result<(), Failure> {
        let (dialect, body, named) = (exchange.dialect(), exchange.body.clone(), earlier.clone());
        let length = body.len() + kept.iter().map(|kept| kept.size()).sum::<usize>();
        exchange.held.grow(length)?;
        let joined = offload(length, move || {
            dialect.going_on(body.json().map_or(&[][..], |json| json), &named, &kept)
        });
        let (body, place) = joined.await??;
        exchange.body = body;
        exchange.peek.model_place = place;
        exchange.previous = earlier.answer.as_deref().map(Arc::from);
        Ok(())
    }
}

/// Whether both are at the same place, under the same key.
fn is_at(one: &Pin, other: &Pin) -> bool {
    (&one.channel, &one.place, &one.key) == (&other.channel, &other.place, &other.key)
}

/// What an endpoint asks of what is kept.
fn kept_call(endpoint: &Endpoint) -> KeptCall {
    match endpoint.path.rsplit('/').next() {
        Some("cancel") => KeptCall::Cancel,
        Some("input_items") => KeptCall::Input,
        _ if endpoint.method == Method::DELETE => KeptCall::Forget,
        _ => KeptCall::Read,
    }
}

fn whole(json: Bytes) -> Reply {
    let mut reply = Reply::new(ReplyBody::whole(json, Sighting { done: true, ..Sighting::default() }));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

// === impl Keeper ===

impl Keeper {
    /// Keeps where the object of this name is: with whom served the request, by its record. Answers
    /// of other dialects are kept by nobody there.
    fn keep(&self, id: &str) {
        let pin = {
            let entry = self.ledger.entry();
            let (Some(target), Some(attempt)) = (&entry.target, entry.attempts.last()) else { return };
            if target.channel.dialect != self.client {
                return;
            }
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
