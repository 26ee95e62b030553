//! Builds the one HTTP request of an attempt and sends it.
//!
//! Innermost: the body is final here, which is what signatures cover. Where it goes and how it is
//! signed is the channel's [`crate::ports::Provider`]; this layer adds the headers that every
//! upstream gets, the few of the client's that its dialect allows, and those that the channel
//! configures, which win. Waits for the answer's headers no longer than `timeouts.idle`.
//!
//! A connection that had been idle in the pool may turn out to be closed by the other side. Such a
//! request was never answered, so it is sent once more, outside every budget.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::body::UpstreamBody;
use crate::body::idle::Idle;
use crate::failure::{Failure, TransportKind};
use crate::ports::{Destination, Outgoing};
use crate::stage::{Call, Payload};

/// Mounts [`Dispatch`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DispatchLayer;

/// The service of [`DispatchLayer`].
#[derive(Debug, Clone)]
pub struct Dispatch<S> {
    inner: S,
}

// === impl DispatchLayer ===

impl<S> Layer<S> for DispatchLayer {
    type Service = Dispatch<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Dispatch { inner }
    }
}

// === impl Dispatch ===

impl<S> Service<Call> for Dispatch<S>
where
    S: Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportKind> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Idle>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Idle>, Failure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        // The pooled client is always ready; it queues nothing.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let mut inner = self.inner.clone();
        Box::pin(async move {
            settle_payload(&mut call);
            let mut repeated = false;
            loop {
                let destination = call.attempt.target.channel.provider.prepare(&call).resolve().await?;
                let outgoing = outgoing(&call, destination);
                let began = Instant::now();
                let timeouts = call.attempt.timeouts;
                let limit = timeouts.idle;
                let answered = tokio::time::timeout_at(began + limit, inner.call(outgoing)).await;
                call.attempt.exchange.ledger.entry().waited += began.elapsed();
                let channel = || call.attempt.target.channel.name.clone();
                match answered {
                    Ok(Ok(response)) => {
                        let received = call.attempt.exchange.received;
                        return Ok(response.map(|body| Idle::new(body, timeouts, received)));
                    }
                    Ok(Err(TransportKind::Stale)) if !repeated => repeated = true,
                    Ok(Err(kind)) => return Err(Failure::Transport { channel: channel(), kind }),
                    Err(_elapsed) => return Err(Failure::Timeout { channel: channel(), limit }),
                }
            }
        })
    }
}

/// Brings the body into its final bytes.
fn settle_payload(call: &mut Call) {
    let body = match &call.payload {
        Payload::Untouched => call.attempt.exchange.body.to_chunks(),
        Payload::Json(map) => {
            vec![Bytes::from(serde_json::to_vec(map).expect("a JSON value can be written"))]
        }
        Payload::Bytes(_) => return,
    };
    call.payload = Payload::Bytes(body);
}

fn outgoing(call: &Call, destination: Destination) -> Outgoing {
    let channel = &call.attempt.target.channel;
    let Payload::Bytes(body) = &call.payload else { unreachable!("the payload was settled before") };
    let mut request = Request::new(body.clone());
    *request.method_mut() = call.attempt.exchange.endpoint.method.clone();
    *request.uri_mut() = destination.uri;
    let headers = request.headers_mut();
    *headers = destination.headers;
    if let Some(content_type) = &call.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    if call.stream {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    }
    // The body is read on its way, so it should come as it is.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("uni-api/", env!("CARGO_PKG_VERSION"))));
    if channel.dialect == call.attempt.exchange.dialect() {
        forward(&call.attempt.exchange.headers, headers);
    }
    for (name, value) in &channel.headers {
        headers.insert(name.clone(), value.clone());
    }
    for name in &channel.passthrough_headers {
        headers.remove(name);
        if let Some(value) = call.attempt.exchange.headers.get(name).filter(|value| !value.is_empty()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    Outgoing { request, link: channel.link.clone() }
}

/// The client's headers that belong to the dialect rather than to the connection.
fn forward(from: &HeaderMap, to: &mut HeaderMap) {
    const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
    const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
    for (name, value) in from {
        if name.as_str().starts_with("openai-") || name == ANTHROPIC_BETA || name == ANTHROPIC_VERSION {
            to.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests;
