//! Speaks the client's dialect outwards and the upstream's inwards.
//!
//! Takes the cheapest way that is right. Equal dialects: the body goes up as it came, with the
//! model's name spliced in, and the answer comes down untouched, watched by a probe. Equal
//! dialects and something to change in the body: parsed, changed, written. Unequal dialects: by
//! way of the neutral form, both ways. An answer that is whole where a stream was asked for, or
//! the reverse, is unfolded or folded.
//!
//! Inside `error_trigger`, which reads the sightings made here, and outside `overrides`, which
//! speak the upstream's vocabulary. Returns what the upstream refused with, judged once
//! ([`crate::judge`]).

mod answer;
mod request;

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::Response;
use tower::{Layer, Service, ServiceExt};

use crate::body::idle::Idle;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::stage::{Call, Payload};

/// Mounts [`Convert`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ConvertLayer;

/// The service of [`ConvertLayer`].
#[derive(Debug, Clone)]
pub struct Convert<S> {
    inner: S,
}

// === impl ConvertLayer ===

impl<S> Layer<S> for ConvertLayer {
    type Service = Convert<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Convert { inner }
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
        // A block, because the arguments of an `async fn` are stored twice in its future, and this
        // one exists for every open stream.
        Box::pin(async move {
            let mut ask_usage = request::may_ask_usage(&call.attempt, call.stream);
            loop {
                let request::Upward { payload, correspondence } =
                    request::build(&call.attempt, call.stream, ask_usage).await?;
                let upward = Call {
                    attempt: call.attempt.clone(),
                    credential: call.credential.clone(),
                    payload,
                    stream: call.stream,
                };
                let (head, body) = inner.ready().await?.call(upward).await?.into_parts();
                let reading = answer::Reading {
                    attempt: &call.attempt,
                    credential: call.credential.as_ref(),
                    stream: call.stream,
                    hide_usage: ask_usage,
                    correspondence,
                };
                match reading.read(&head, body).await {
                    // The upstream does not know the option that we added: never again on this
                    // channel, and the same key is asked without it.
                    Err(Failure::Upstream(rejection)) if ask_usage && request::blames_usage(&rejection) => {
                        call.attempt.target.channel.asks_usage.store(false, Ordering::Relaxed);
                        ask_usage = false;
                    }
                    result => return result,
                }
            }
        })
    }
}

/// A payload that is sent as it is.
fn bytes(body: bytes::Bytes) -> Payload {
    Payload::Bytes(vec![body])
}

#[cfg(test)]
mod tests;
