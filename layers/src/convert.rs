//! Speaks the upstream's dialect upwards and the client's downwards.
//!
//! Drives the one way between the two that `dialect` knows ([`dialect::between`]): what goes up,
//! whether the answer may pass as it is ([`crate::body::tap`]), is transcribed event by event
//! ([`crate::body::transcode`]), or is read whole. It knows no field of any dialect. Where a
//! provider follows no addresses, the media behind them are fetched first, once for all attempts.
//! A request of which the upstream takes only parts goes up as several, whose answers are joined.
//!
//! Inside `error_trigger`, which reads the sightings made here, and outside `overrides`, which
//! speak the upstream's vocabulary. Returns what the upstream refused with, judged once
//! ([`crate::judge`]).

mod answer;
mod asking;
mod came;
mod counting;
mod request;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use dialect::{Answers, Conversion, Seals, Sent};
use http::Response;
use tower::{Layer, Service, ServiceExt};

use self::answer::Reading;
use crate::body::idle::Idle;
use crate::concurrent::in_order;
use crate::failure::Failure;
use crate::ports::Media;
use crate::reply::Reply;
use crate::stage::{Attempt, Call};

/// Mounts [`Convert`].
#[derive(Clone)]
pub struct ConvertLayer {
    media: Arc<dyn Media>,
    memory: Memory,
}

/// The memory that outlives the requests of a client key.
#[derive(Clone, Default)]
struct Memory {
    seals: Option<Arc<dyn Seals>>,
    answers: Option<Arc<dyn Answers>>,
}

/// The service of [`ConvertLayer`].
#[derive(Clone)]
pub struct Convert<S> {
    inner: S,
    media: Arc<dyn Media>,
    memory: Memory,
}

// === impl ConvertLayer ===

impl ConvertLayer {
    /// Has media fetched by `media`.
    pub fn new(media: Arc<dyn Media>) -> Self {
        Self { media, memory: Memory::default() }
    }

    /// Remembers in `seals` what models have sealed, for clients that drop it.
    #[must_use]
    pub fn sealing(mut self, seals: Arc<dyn Seals>) -> Self {
        self.memory.seals = Some(seals);
        self
    }

    /// Keeps in `answers` those that clients may name later, where no upstream keeps them.
    #[must_use]
    pub fn keeping(mut self, answers: Arc<dyn Answers>) -> Self {
        self.memory.answers = Some(answers);
        self
    }
}

impl<S> Layer<S> for ConvertLayer {
    type Service = Convert<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Convert { inner, media: self.media.clone(), memory: self.memory.clone() }
    }
}

// === impl Convert ===

impl<S> Service<Call> for Convert<S>
where
    S: Service<Call, Response = Response<Idle>, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        let (media, memory) = (self.media.clone(), self.memory.clone());
        // A block, because the arguments of an `async fn` are stored twice in its future, and this
        // one exists for every open stream.
        Box::pin(async move {
            let way = match way(&call.attempt) {
                Ok(way) => way,
                Err(failure) => return counting::otherwise(&call, failure),
            };
            request::fetch_media(way, &call, media.as_ref(), &memory).await?;
            let channel = call.attempt.target.channel.clone();
            let wish = &channel.usage_wish;
            let mut ask_usage = call.stream && channel.quirks.stream_options && wish.is_allowed();
            let mut asked_before = false;
            let mut relearnt = false;
            loop {
                let mut sent = request::up(way, &call, &memory, ask_usage).await?;
                if sent.len() != 1 {
                    return Box::pin(fan_out(inner, way, call, sent)).await;
                }
                let Sent { body, content_type, kept } = sent.pop().expect("there is one");
                let added = kept.hides_usage();
                let upward = request::upward(&call, body, content_type)?;
                let (head, body) = match inner.ready().await?.call(upward).await {
                    Ok(answer) => answer.into_parts(),
                    Err(failure) => return counting::otherwise(&call, failure),
                };
                match (Reading { call: &call, way, kept }).read(&head, body).await {
                    // The upstream may not know the option that was added: the same key is asked
                    // without it.
                    Err(failure) if added && request::may_blame_addition(&call, &failure) => {
                        if request::names_addition(&call, &failure) {
                            wish.refused();
                        }
                        (ask_usage, asked_before) = (false, true);
                    }
                    // There is another way to this provider, which takes this key.
                    Err(failure) if !relearnt && relearns(&call, &failure) => relearnt = true,
                    Ok(reply) => {
                        if added {
                            wish.understood();
                        } else if asked_before {
                            // It was the option, and not this client's request.
                            wish.refused();
                        }
                        return Ok(reply);
                    }
                    Err(failure) => return counting::otherwise(&call, failure),
                }
            }
        })
    }
}

/// Whether a refusal tells the provider of another way to ask with the same key.
fn relearns(call: &Call, failure: &Failure) -> bool {
    match (failure, &call.credential) {
        (Failure::Upstream(rejection), Some(credential)) => {
            let provider = &call.attempt.target.channel.provider;
            provider.relearns(credential.fingerprint(), rejection.status, &rejection.error)
        }
        _ => false,
    }
}

/// The way between the client's dialect and the upstream's.
fn way(attempt: &Attempt) -> Result<&'static dyn Conversion, Failure> {
    let endpoint = attempt.exchange.endpoint;
    dialect::between(endpoint.kind, endpoint.client, attempt.target.channel.dialect).ok_or_else(|| {
        Failure::Unsupported {
            channel: attempt.target.channel.name.clone(),
            what: format!("{} requests go to channels of their own format only", endpoint.kind.label()),
            param: None,
        }
    })
}

/// Sends several requests for one, a few at a time, and joins their answers. The first that fails
/// ends all.
async fn fan_out<S>(
    inner: S,
    way: &'static dyn Conversion,
    call: Call,
    sent: Vec<Sent>,
) -> Result<Reply, Failure>
where
    S: Service<Call, Response = Response<Idle>, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let kept = sent.first().map(|first| first.kept.clone()).ok_or(Failure::Internal)?;
    let reading = Reading { call: &call, way, kept };
    let parts = sent
        .into_iter()
        .map(|Sent { body, content_type, .. }| {
            let (mut inner, reading) = (inner.clone(), &reading);
            let upward = request::upward(reading.call, body, content_type);
            async move {
                let (head, body) = inner.ready().await?.call(upward?).await?.into_parts();
                reading.collect_whole(&head, body).await
            }
        })
        .collect::<Vec<_>>();
    let mut held = reading.call.attempt.exchange.held.for_answer();
    let mut answers = Vec::with_capacity(parts.len());
    for (answer, share) in in_order(parts, AT_ONCE).await? {
        held.absorb(share);
        answers.push(answer);
    }
    reading.join(answers, held).await
}

/// Most parts of one request that are under way at once.
const AT_ONCE: usize = 4;

#[cfg(test)]
mod tests;
