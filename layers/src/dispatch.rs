//! Builds the one HTTP request of an attempt and sends it.
//!
//! Innermost: the body is final here. This layer adds the headers that every upstream gets, the few
//! of the client's that its dialect allows, and those that the channel configures, which win. Only
//! then the channel's [`crate::ports::Provider`] signs, so that a signature covers what is sent.
//! Waits for the answer's headers no longer than `timeouts.idle`.
//!
//! A connection that had been idle in the pool may turn out to be closed by the other side. Such a
//! request was never answered, so it is sent once more, on a connection that is opened for it and
//! outside every budget. So is one whose token was refused: an account's token may end before its
//! time, and the next one is fetched.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dialect::{Care, Kind};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

use crate::address::Address;
use crate::body::UpstreamBody;
use crate::body::idle::Idle;
use crate::failure::{Failure, TransportFault, TransportKind};
use crate::forward;
use crate::hidden::{Guard, Hidden};
use crate::ports::{Credential, Outgoing, Presented, Secret, Tokens, Unsupported, Wanted};
use crate::stage::{Attempt, Call, Payload};
use crate::trace_context::TRACEPARENT;

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
    S: Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportFault> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Idle>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Idle>, Failure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        // Readiness is awaited within the call: there it counts as silence of the channel, which
        // is not known before.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let mut inner = self.inner.clone();
        Box::pin(async move {
            settle_payload(&mut call);
            let (mut fresh_since, mut renewed) = (None, false);
            loop {
                let mut request = Box::new(unsigned(&call)?);
                let token = sign(&mut request, &call).await?;
                let is_traced = call.attempt.exchange.is_traced;
                if is_traced {
                    call.attempt.exchange.ledger.entry().note_sent(request.uri());
                }
                let link = call.attempt.target.channel.link.clone();
                let outgoing = Outgoing { request, link, fresh_since };
                let began = Instant::now();
                let timeouts = call.attempt.timeouts;
                let limit = timeouts.idle;
                let answering = async { inner.ready().await?.call(outgoing).await };
                let answered = tokio::time::timeout_at(began + limit, answering).await;
                call.attempt.exchange.ledger.entry().waited += began.elapsed();
                if is_traced && let Ok(Ok(response)) = &answered {
                    call.attempt.exchange.ledger.entry().note_answered(response.status());
                }
                let channel = || call.attempt.target.channel.name.clone();
                match answered {
                    Ok(Ok(response)) => {
                        if let Some((tokens, used)) = token
                            && response.status() == StatusCode::UNAUTHORIZED
                            && !std::mem::replace(&mut renewed, true)
                        {
                            tokens.refused(&used);
                            continue;
                        }
                        return Ok(guarded(response, &call));
                    }
                    Ok(Err(fault)) if fault.kind == TransportKind::Stale && fresh_since.is_none() => {
                        // Connections that were open when this one was taken are as old as it.
                        fresh_since = Some(began);
                    }
                    Ok(Err(fault)) if fault.is_ours() => {
                        tracing::warn!(
                            request_id = call.attempt.exchange.id.as_str(),
                            channel = %channel(),
                            ?fault,
                            "No file descriptor is left for a connection to an upstream."
                        );
                        return Err(call.held.refuse());
                    }
                    Ok(Err(TransportFault { kind, cause })) => {
                        return Err(Failure::Transport { channel: channel(), kind, cause });
                    }
                    Err(_elapsed) => return Err(Failure::Timeout { channel: channel(), limit }),
                }
            }
        })
    }
}

/// The answer, which tells no secret: the one place where all that an upstream says comes in.
fn guarded(mut response: Response<UpstreamBody>, call: &Call) -> Response<Idle> {
    let Attempt { exchange, target, timeouts, .. } = &call.attempt;
    let hidden = Hidden::of(&target.channel, call.credential.as_ref(), Some(&exchange.caller));
    let is_good = response.status().is_success();
    let care = match call.stream {
        _ if !is_good => Care::Error,
        true => Care::Events,
        false => Care::Whole,
    };
    hidden.clean_headers(response.headers_mut(), if is_good { Care::Odd } else { Care::Error });
    let guard = Guard::new(hidden, care);
    response.map(|body| Idle::new(body, *timeouts, exchange.received).guarded(guard))
}

/// Brings the body into its final bytes.
fn settle_payload(call: &mut Call) {
    let body = match &call.payload {
        Payload::Untouched => call.attempt.exchange.body.to_chunks(),
        Payload::Json(map) => {
            vec![Bytes::from(dialect::json_bytes(map))]
        }
        Payload::Bytes(_) => return,
    };
    call.payload = Payload::Bytes(body);
}

/// The request as it leaves, but for its signature.
fn unsigned(call: &Call) -> Result<Request<Vec<Bytes>>, Failure> {
    let target = &call.attempt.target;
    let channel = &target.channel;
    let Payload::Bytes(body) = &call.payload else { unreachable!("the payload was settled before") };
    let Address { uri, host } = address(call)?;
    let mut request = Request::new(body.clone());
    *request.method_mut() = call.attempt.exchange.endpoint.method.clone();
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    // Room for what a request for a whole answer gets: growing moves all that is in it, and beyond
    // this size the allocator is slow.
    *headers = HeaderMap::with_capacity(6);
    if !channel.link.http2 {
        headers.insert(HOST, host);
    }
    if let Some(content_type) = &call.content_type {
        headers.insert(CONTENT_TYPE, content_type.clone());
    }
    if call.stream {
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    }
    // The body is read on its way, so it should come as it is.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("uni-api/", env!("CARGO_PKG_VERSION"))));
    forward::add_client_headers(call, headers);
    for (name, value) in &channel.headers {
        headers.insert(name.clone(), value.clone());
    }
    forward::join_betas(call, headers);
    for name in &channel.passthrough_headers {
        headers.remove(name);
        if let Some(value) = call.attempt.exchange.headers.get(name).filter(|value| !value.is_empty()) {
            headers.insert(name.clone(), value.clone());
        }
        if *name == TRACEPARENT {
            forward::add_trace(call, headers);
        }
    }
    Ok(request)
}

/// Where the request goes: as compiled, which is all but what no configuration can foresee.
fn address(call: &Call) -> Result<Address, Failure> {
    let address = compiled(call)?;
    let exchange = &call.attempt.exchange;
    if exchange.endpoint.kind != Kind::Stored {
        return Ok(address);
    }
    let id = exchange.pinned.as_deref().map_or("", |pinned| &*pinned.id);
    let object = address.of_object(id, &exchange.query);
    object.ok_or_else(|| Failure::StoredNotFound { id: id.to_owned() })
}

/// The address of a whole endpoint.
fn compiled(call: &Call) -> Result<Address, Failure> {
    let (target, endpoint) = (&call.attempt.target, call.attempt.exchange.endpoint);
    if let Some(address) = target.addresses.get(endpoint, call.stream) {
        return Ok(address.clone());
    }
    let (model, place) = (&*target.upstream_model, target.place.as_deref());
    let wanted = Wanted { endpoint, model, place, stream: call.stream };
    Address::of(&*target.channel.provider, wanted).map_err(|unsupported| unable(call, unsupported))
}

/// Signs what is finished. Gives back the token that it was signed with, and its account.
async fn sign(
    request: &mut Request<Vec<Bytes>>,
    call: &Call,
) -> Result<Option<(Arc<dyn Tokens>, Secret)>, Failure> {
    let began = match &call.credential {
        Some(Credential::Token(_)) => Some(Instant::now()),
        _ => None,
    };
    let presented = match &call.credential {
        Some(credential) => Some(credential.present().await),
        None => None,
    };
    if let Some(began) = began {
        call.attempt.exchange.ledger.entry().waited += began.elapsed();
    }
    let presented = presented.transpose()?;
    let provider = &call.attempt.target.channel.provider;
    provider.sign(request, presented.as_ref()).map_err(|unsupported| unable(call, unsupported))?;
    Ok(match (&call.credential, presented) {
        (Some(Credential::Token(tokens)), Some(Presented::Token(used))) => Some((tokens.clone(), used)),
        _ => None,
    })
}

fn unable(call: &Call, unsupported: Unsupported) -> Failure {
    let channel = call.attempt.target.channel.name.clone();
    Failure::Unsupported { channel, what: unsupported.0.into_owned(), param: None }
}

#[cfg(test)]
mod tests;
