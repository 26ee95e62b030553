//! Reads the request: its whole body, decoded, bounded in size and time (`buffer`), and the few fields
//! that decide where it goes (`fields`).
//!
//! Inside `auth`, so that only known callers make the gateway buffer anything. What the body is
//! (a JSON object, a form, nothing) and what the path says is the endpoint's. Opens the ledger; what
//! gets none because it cannot be read leaves a [`Visit`].

mod buffer;
mod fields;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use dialect::{Body, Kind};
use http::header::{CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use self::buffer::Buffer;
pub use self::buffer::read;
use self::fields::Fields;
use crate::body::decode::Coding;
use crate::capacity::{Capacity, Held};
use crate::conversation;
use crate::endpoint::{AnswerForm, Endpoint, Lookup, Matched, RequestForm};
use crate::failure::Failure;
use crate::ledger::{Entry, Ledger};
use crate::moderation;
use crate::offload::{INLINE, offload};
use crate::policy::Caller;
use crate::ports::{BoxFuture, Catalog, Records};
use crate::reply::Reply;
use crate::request_id::RequestId;
use crate::stage::{Admitted, Exchange, Peek, Peer, Purpose};
use crate::trace_context::{Sampler, Trace};
use crate::visit::Visit;

/// Mounts [`Ingress`].
#[derive(Clone)]
pub struct IngressLayer {
    capacity: Arc<Capacity>,
    most: usize,
    records: Arc<dyn Records>,
    sampler: Option<Sampler>,
}

/// The service of [`IngressLayer`].
#[derive(Clone)]
pub struct Ingress<S> {
    inner: S,
    capacity: Arc<Capacity>,
    most: usize,
    records: Arc<dyn Records>,
    sampler: Option<Sampler>,
}

// === impl IngressLayer ===

impl IngressLayer {
    /// Reads bodies of at most `most` bytes, all of them together within `capacity`.
    pub fn new(capacity: Arc<Capacity>, most: usize, records: Arc<dyn Records>) -> Self {
        Self { capacity, most, records, sampler: None }
    }

    /// Draws a trace for each request, and decides by `sampler` whether its spans are sent.
    #[must_use]
    pub fn tracing(self, sampler: Option<Sampler>) -> Self {
        Self { sampler, ..self }
    }
}

impl<S> Layer<S> for IngressLayer {
    type Service = Ingress<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { capacity, most, records, sampler } = self.clone();
        Ingress { inner, capacity, most, records, sampler }
    }
}

// === impl Ingress ===

impl<S, B> Service<Admitted<B>> for Ingress<S>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone,
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError> + Send> + Send + Unpin + 'static,
{
    type Response = Reply;
    type Error = Failure;
    // Boxed, because it is large, and each layer above would move it into a future of its own.
    type Future = Pin<Box<ResponseFuture<S, S::Future, B>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, admitted: Admitted<B>) -> Self::Future {
        let spare = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, spare);
        let arrival = Arrival::new(admitted, self);
        let state = match arrival {
            Ok(arrival) => State::Arriving { arrival: Some(arrival) },
            Err(failure) => State::Refused { failure: Some(failure) },
        };
        Box::pin(ResponseFuture { state, inner, records: self.records.clone() })
    }
}

pin_project! {
    /// A future that reads the body, then holds the inner service's answer. Most bodies are there
    /// with their head, and then reading them needs neither a box nor a timer.
    pub struct ResponseFuture<S, F, B> {
        #[pin]
        state: State<F, B>,
        inner: S,
        records: Arc<dyn Records>,
    }
}

pin_project! {
    #[project = Projection]
    enum State<F, B> {
        // Not looked at yet. Taken when more of it is awaited.
        Arriving { arrival: Option<Arrival<B>> },
        // Nothing of it was read. Taken when polled.
        Refused { failure: Option<Failure> },
        // The rest of the body is awaited, or parsed elsewhere.
        Reading { reading: BoxFuture<Result<Exchange, Failure>> },
        Serving { #[pin] answering: F },
    }
}

impl<S, B> Future for ResponseFuture<S, S::Future, B>
where
    S: Service<Exchange, Response = Reply, Error = Failure>,
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError> + Send> + Send + Unpin + 'static,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let exchange = match this.state.as_mut().project() {
                Projection::Arriving { arrival } => {
                    let arrived = arrival.as_mut().expect("it is taken when this state ends");
                    match arrived.read_what_is_there(cx) {
                        Ok(Some((body, fields))) => arrived.open(body, fields),
                        Ok(None) => {
                            let arrival = arrival.take().expect("it was there");
                            let reading = Box::pin(arrival.rest(this.records.clone()));
                            this.state.set(State::Reading { reading });
                            continue;
                        }
                        Err(failure) => {
                            return Poll::Ready(Err(arrived.refuse(failure, this.records.as_ref())));
                        }
                    }
                }
                Projection::Refused { failure } => {
                    return Poll::Ready(Err(failure.take().unwrap_or(Failure::Internal)));
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
    /// What it has to be decoded from.
    coding: Option<Coding>,
    buffer: Buffer,
    held: Held,
    most: usize,
    /// How long the client took to send what was not there with the head.
    sending: Duration,
    sampler: Option<Sampler>,
}

impl<B> Arrival<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError> + Send> + Send + Unpin,
{
    /// Refuses what need not be read to be refused.
    fn new<S>(admitted: Admitted<B>, ingress: &Ingress<S>) -> Result<Self, Failure> {
        let Ingress { capacity, most, records, sampler, .. } = ingress;
        let (held, most, sampler) = (capacity.hold(), *most, *sampler);
        let Admitted { catalog, caller, received, request } = admitted;
        let (mut head, body) = request.into_parts();
        let refuse = |head: &Parts, endpoint, failure| {
            visit(records.as_ref(), head, endpoint, &caller, received, &failure);
            Err(failure)
        };
        let matched = match head.extensions.remove::<Lookup>() {
            Some(Lookup::Found(matched)) => matched,
            Some(Lookup::OtherMethod(_)) if wants_websocket(&head.headers) => {
                return refuse(&head, None, Failure::NoWebSocket);
            }
            Some(Lookup::OtherMethod(allow)) => {
                return refuse(&head, None, Failure::MethodNotAllowed { allow });
            }
            Some(Lookup::Unknown) | None => {
                return refuse(&head, None, Failure::UnknownEndpoint(head.uri.path().to_owned()));
            }
        };
        let opened = || {
            let coding = match matched.endpoint.request {
                RequestForm::Nothing => None,
                RequestForm::Json | RequestForm::Multipart => buffer::coding(&head.headers)?,
            };
            Ok((coding, Buffer::new(matched.endpoint.request, &body, most)?))
        };
        let (coding, buffer) = match opened() {
            Ok(opened) => opened,
            Err(failure) => return refuse(&head, Some(matched.endpoint), failure),
        };
        Ok(Self {
            catalog,
            caller,
            received,
            head,
            matched,
            body,
            coding,
            buffer,
            held,
            most,
            sending: Duration::ZERO,
            sampler,
        })
    }

    /// Notes that it is refused.
    fn refuse(&self, failure: Failure, records: &dyn Records) -> Failure {
        let endpoint = Some(self.matched.endpoint);
        visit(records, &self.head, endpoint, &self.caller, self.received, &failure);
        failure
    }

    /// Reads what has come, if that is all of it, not much, and not to be decoded.
    fn read_what_is_there(&mut self, cx: &mut Context<'_>) -> Result<Option<(Body, Fields)>, Failure> {
        if self.coding.is_some() || !self.take_what_is_there(cx)? || self.buffer.len() > INLINE {
            return Ok(None);
        }
        let by_opening = self.by_opening();
        let body = self.body()?;
        read_fields(self.matched.endpoint, body, self.matched.model.clone(), by_opening).map(Some)
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
    async fn rest(mut self, records: Arc<dyn Records>) -> Result<Exchange, Failure> {
        let mut leaving = Leaving {
            records: records.as_ref(),
            head: &self.head,
            endpoint: self.matched.endpoint,
            caller: &self.caller,
            received: self.received,
            is_over: false,
        };
        let began = Instant::now();
        let taken = match self.coding {
            Some(coding) => self.buffer.take_decoded(&mut self.body, coding, &mut self.held, self.most).await,
            None => self.buffer.take_rest(&mut self.body, &mut self.held, self.most).await,
        };
        self.sending = began.elapsed();
        let read = match taken {
            Ok(()) => {
                let endpoint = self.matched.endpoint;
                let form = endpoint.request;
                let kind = content_type(&self.head.headers);
                let path_model = self.matched.model.clone();
                let by_opening = self.by_opening();
                let buffer = std::mem::take(&mut self.buffer);
                let read = offload(buffer.len(), move || {
                    let body = buffer.into_body(form, &kind)?;
                    read_fields(endpoint, body, path_model, by_opening)
                });
                read.await.and_then(|read| read)
            }
            Err(failure) => Err(failure),
        };
        leaving.is_over = true;
        drop(leaving);
        match read {
            Ok((body, fields)) => Ok(self.open(body, fields)),
            Err(failure) => Err(self.refuse(failure, records.as_ref())),
        }
    }

    /// Whether the conversation is recognised by how it begins, unless the body names it.
    fn by_opening(&self) -> bool {
        conversation::by_opening(self.matched.endpoint, &self.caller, &self.head.headers)
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
    fn open(&mut self, body: Body, fields: Fields) -> Exchange {
        let Self { catalog, caller, received, head, matched, sending, .. } = self;
        let (catalog, caller, received) = (catalog.clone(), caller.clone(), *received);
        let (endpoint, stored_id) = (matched.endpoint, matched.id.take());
        let held = std::mem::take(&mut self.held);
        let id = head.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::draw);
        let known = catalog.known_model(&fields.model);
        let model_known = known.is_some();
        let model = known.unwrap_or_else(|| fields.model.into());
        let stream = fields.stream
            || endpoint.answer == AnswerForm::Events
            || streams_by_query(endpoint, head.uri.query());
        let mut entry = Entry::new(id.clone(), endpoint, caller.clone(), model.clone(), received);
        entry.trace = Trace::of(&head.headers, self.sampler);
        entry.client = head.extensions.get::<Peer>().map(|peer: &Peer| -> IpAddr { peer.0 });
        entry.model_known = model_known;
        entry.waited = *sending;
        entry.stream = stream;
        entry.body_bytes = body.len();
        let (headers, session) = kept_headers(&head.headers, catalog.as_ref());
        Exchange {
            conversation: conversation::of(endpoint, &caller, session, fields.conversation),
            caller,
            purpose: Purpose::Client,
            endpoint,
            stored_id,
            pinned: None,
            previous: None,
            query: kept_query(head.uri.query()),
            headers,
            peek: Peek { model, model_place: fields.model_place, stream },
            body,
            catalog,
            is_traced: entry.trace.is_some_and(|trace| trace.sampled),
            ledger: Ledger::open(entry),
            received,
            id,
            held,
            neutral: Default::default(),
            shared: Default::default(),
        }
    }
}

/// A guard that notes a client which left while its body was awaited.
struct Leaving<'a> {
    records: &'a dyn Records,
    head: &'a Parts,
    endpoint: &'static Endpoint,
    caller: &'a Arc<Caller>,
    received: Instant,
    is_over: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let Self { records, head, endpoint, caller, received, .. } = *self;
            visit(records, head, Some(endpoint), caller, received, &Failure::ClientGone);
        }
    }
}

/// Reads the deciding fields. A request to judge something may leave the model to us, as OpenAI's
/// clients do.
fn read_fields(
    endpoint: &Endpoint,
    body: Body,
    path_model: Option<Arc<str>>,
    by_opening: bool,
) -> Result<(Body, Fields), Failure> {
    match Fields::read(&body, path_model) {
        Ok(mut fields) => {
            if by_opening && fields.conversation.is_none() {
                fields.conversation = conversation::opening(endpoint, &body);
            }
            Ok((body, fields))
        }
        Err(failure) => {
            let json = body.json().filter(|_| endpoint.kind == Kind::Moderate);
            let named = json.and_then(|json| dialect::moderation::naming(json, moderation::MODEL));
            let body = Body::Json(named.ok_or(failure)?);
            let fields = Fields::read(&body, None)?;
            Ok((body, fields))
        }
    }
}

/// Notes a request that is refused. Its lookup is no longer in its head.
fn visit(
    records: &dyn Records,
    head: &Parts,
    endpoint: Option<&'static Endpoint>,
    caller: &Arc<Caller>,
    received: Instant,
    failure: &Failure,
) {
    let visit = Visit::of(&head.method, &head.uri, &head.extensions).by(caller, received);
    records.visit(Visit { endpoint, ..visit.refused(failure) });
}

/// Whether a client asks for a WebSocket (RFC 6455 §4.1).
fn wants_websocket(headers: &HeaderMap) -> bool {
    let words = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    words.flat_map(|words| words.split(',')).any(|word| word.trim().eq_ignore_ascii_case("websocket"))
}

/// Whether the query asks for a stream: of what is read there is no body to say so.
fn streams_by_query(endpoint: &Endpoint, query: Option<&str>) -> bool {
    let asks = |query: &str| query.split('&').any(|pair| pair.eq_ignore_ascii_case("stream=true"));
    endpoint.request == RequestForm::Nothing
        && endpoint.answer == AnswerForm::AsAsked
        && query.is_some_and(asks)
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
/// kept header would hold for as long as the answer takes. With them comes the conversation that one
/// of the others names.
fn kept_headers(headers: &HeaderMap, catalog: &dyn Catalog) -> (HeaderMap, Option<u64>) {
    let mut kept = HeaderMap::new();
    let mut session = None;
    for (name, value) in headers {
        if conversation::is_session(name) {
            session = session.or_else(|| conversation::of_header(value));
        }
        let of_dialect = ["openai-", "anthropic-"].iter().any(|family| name.as_str().starts_with(family));
        if (of_dialect || catalog.forwards(name))
            && let Ok(value) = HeaderValue::from_bytes(value.as_bytes())
        {
            kept.append(name.clone(), value);
        }
    }
    (kept, session)
}

#[cfg(test)]
mod tests;
