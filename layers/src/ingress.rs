//! Reads the request: its whole body, bounded in size and time (`buffer`), and the few fields
//! that decide where it goes (`fields`).
//!
//! Inside `auth`, so that only known callers make the gateway buffer anything. What the body is
//! (a JSON object, a form, nothing) and what the path says is the endpoint's. Opens the ledger.

mod buffer;
mod fields;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dialect::{Body, Kind};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use self::buffer::Buffer;
pub use self::buffer::read;
use self::fields::Fields;
use crate::capacity::{Capacity, Held};
use crate::endpoint::{AnswerForm, Endpoint, Lookup, Matched, RequestForm};
use crate::failure::Failure;
use crate::ledger::{Entry, Ledger};
use crate::moderation;
use crate::offload::{INLINE, offload};
use crate::policy::Caller;
use crate::ports::{BoxFuture, Catalog};
use crate::reply::Reply;
use crate::request_id::RequestId;
use crate::stage::{Admitted, Exchange, Peek, Peer, Purpose};
use crate::trace_context::TraceContext;

/// Mounts [`Ingress`].
#[derive(Debug, Clone)]
pub struct IngressLayer {
    capacity: Arc<Capacity>,
    most: usize,
}

/// The service of [`IngressLayer`].
#[derive(Debug, Clone)]
pub struct Ingress<S> {
    inner: S,
    capacity: Arc<Capacity>,
    most: usize,
}

// === impl IngressLayer ===

impl IngressLayer {
    /// Reads bodies of at most `most` bytes, all of them together within `capacity`.
    pub fn new(capacity: Arc<Capacity>, most: usize) -> Self {
        Self { capacity, most }
    }
}

impl<S> Layer<S> for IngressLayer {
    type Service = Ingress<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Ingress { inner, capacity: self.capacity.clone(), most: self.most }
    }
}

// === impl Ingress ===

impl<S, B> Service<Admitted<B>> for Ingress<S>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone,
    B: http_body::Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    type Response = Reply;
    type Error = Failure;
    type Future = ResponseFuture<S, S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, admitted: Admitted<B>) -> Self::Future {
        let spare = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, spare);
        let state = State::Arriving { arrival: Some((admitted, self.capacity.hold(), self.most)) };
        ResponseFuture { state, inner }
    }
}

pin_project! {
    /// A future that reads the body, then holds the inner service's answer. Most bodies are there
    /// with their head, and then it needs neither a box nor a timer.
    pub struct ResponseFuture<S, F, B> {
        #[pin]
        state: State<F, B>,
        inner: S,
    }
}

pin_project! {
    #[project = Projection]
    enum State<F, B> {
        // Not looked at yet. Taken when polled.
        Arriving { arrival: Option<(Admitted<B>, Held, usize)> },
        // The rest of the body is awaited, or parsed elsewhere.
        Reading { reading: BoxFuture<Result<Exchange, Failure>> },
        Serving { #[pin] answering: F },
    }
}

impl<S, B> Future for ResponseFuture<S, S::Future, B>
where
    S: Service<Exchange, Response = Reply, Error = Failure>,
    B: http_body::Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let exchange = match this.state.as_mut().project() {
                Projection::Arriving { arrival } => {
                    let (admitted, held, most) = arrival.take().expect("polled once in this state");
                    let mut arrival = Arrival::new(admitted, held, most)?;
                    if !arrival.take_what_is_there(cx)? || arrival.buffer.len() > INLINE {
                        this.state.set(State::Reading { reading: Box::pin(arrival.rest()) });
                        continue;
                    }
                    let body = arrival.body()?;
                    let (body, peek) =
                        read_fields(arrival.matched.endpoint, body, arrival.matched.model.clone())?;
                    arrival.open(body, peek)
                }
                Projection::Reading { reading } => ready!(reading.as_mut().poll(cx))?,
                Projection::Serving { answering } => return answering.poll(cx),
            };
            let answering = this.inner.call(exchange);
            this.state.set(State::Serving { answering });
        }
    }
}

/// A request whose body is being read.
struct Arrival<B> {
    catalog: Arc<dyn Catalog>,
    caller: Arc<Caller>,
    received: Instant,
    head: http::request::Parts,
    matched: Matched,
    body: B,
    buffer: Buffer,
    held: Held,
    most: usize,
}

impl<B> Arrival<B>
where
    B: http_body::Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    /// Refuses what need not be read to be refused.
    fn new(admitted: Admitted<B>, held: Held, most: usize) -> Result<Self, Failure> {
        let Admitted { catalog, caller, received, request } = admitted;
        let (mut head, body) = request.into_parts();
        let matched = match head.extensions.remove::<Lookup>() {
            Some(Lookup::Found(matched)) => matched,
            Some(Lookup::OtherMethod(allow)) => return Err(Failure::MethodNotAllowed { allow }),
            Some(Lookup::Unknown) | None => {
                return Err(Failure::UnknownEndpoint(head.uri.path().to_owned()));
            }
        };
        let buffer = Buffer::new(matched.endpoint.request, &body, most)?;
        Ok(Self { catalog, caller, received, head, matched, body, buffer, held, most })
    }

    /// Takes what has come; true when that is all of it.
    fn take_what_is_there(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        if self.matched.endpoint.request == RequestForm::Nothing {
            return Ok(true);
        }
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if !self.buffer.take(frame, &mut self.held, self.most)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for the rest of it.
    async fn rest(mut self) -> Result<Exchange, Failure> {
        self.buffer.take_rest(&mut self.body, &mut self.held, self.most).await?;
        let endpoint = self.matched.endpoint;
        let form = endpoint.request;
        let kind = content_type(&self.head.headers);
        let path_model = self.matched.model.clone();
        let buffer = std::mem::take(&mut self.buffer);
        let read = offload(buffer.len(), move || {
            let body = buffer.into_body(form, &kind)?;
            read_fields(endpoint, body, path_model)
        });
        let (body, fields) = read.await??;
        Ok(self.open(body, fields))
    }

    /// What has come, as the body that it is.
    fn body(&mut self) -> Result<Body, Failure> {
        let kind = match self.matched.endpoint.request {
            RequestForm::Multipart => content_type(&self.head.headers),
            RequestForm::Json | RequestForm::Nothing => String::new(),
        };
        std::mem::take(&mut self.buffer).into_body(self.matched.endpoint.request, &kind)
    }

    /// The request as the pipeline takes it, with a record of its own.
    fn open(self, body: Body, fields: Fields) -> Exchange {
        let Self { catalog, caller, received, head, matched, held, .. } = self;
        let Matched { endpoint, id: stored_id, .. } = matched;
        let id = head.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::draw);
        let known = catalog.known_model(&fields.model);
        let model_known = known.is_some();
        let model = known.unwrap_or_else(|| fields.model.into());
        let stream = fields.stream || endpoint.answer == AnswerForm::Events;
        let mut entry = Entry::new(id.clone(), endpoint, caller.clone(), model.clone(), received);
        entry.trace = TraceContext::of(&head.headers);
        entry.client = head.extensions.get::<Peer>().map(|peer: &Peer| -> IpAddr { peer.0 });
        entry.model_known = model_known;
        entry.stream = stream;
        entry.body_bytes = body.len();
        Exchange {
            caller,
            purpose: Purpose::Client,
            endpoint,
            stored_id,
            pinned: None,
            query: kept_query(head.uri.query()),
            headers: kept_headers(&head.headers, catalog.as_ref()),
            peek: Peek { model, model_place: fields.model_place, stream },
            body,
            catalog,
            ledger: Ledger::open(entry),
            received,
            id,
            held,
            neutral: Default::default(),
            shared: Default::default(),
        }
    }
}

/// Reads the deciding fields. A request to judge something may leave the model to us, as OpenAI's
/// clients do.
fn read_fields(
    endpoint: &Endpoint,
    body: Body,
    path_model: Option<Arc<str>>,
) -> Result<(Body, Fields), Failure> {
    match Fields::read(&body, path_model) {
        Ok(fields) => Ok((body, fields)),
        Err(failure) => {
            let json = body.json().filter(|_| endpoint.kind == Kind::Moderate);
            let named = json.and_then(|json| dialect::moderation::naming(json, moderation::MODEL));
            let body = Body::Json(named.ok_or(failure)?);
            let fields = Fields::read(&body, None)?;
            Ok((body, fields))
        }
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    text.unwrap_or_default().to_owned()
}

/// The query of a path without the credential that may stand in it.
fn kept_query(query: Option<&str>) -> Box<str> {
    let Some(query) = query else { return Box::default() };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("key=")).collect();
    kept.join("&").into()
}

/// The client's headers that some upstream may be sent: those of a dialect, and those that the
/// configuration names. Copied, because each is a slice of the connection's read buffer, which one
/// kept header would hold for as long as the answer takes.
fn kept_headers(headers: &HeaderMap, catalog: &dyn Catalog) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let of_dialect = ["openai-", "anthropic-"].iter().any(|family| name.as_str().starts_with(family));
        if (of_dialect || catalog.forwards(name))
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            kept.append(name.clone(), value);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
