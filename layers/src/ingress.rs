//! Reads the request: its whole body, bounded in size and time, and the few fields that decide
//! where it goes.
//!
//! Inside `auth`, so that only known callers make the gateway buffer anything. The body is parsed
//! once, borrowed and whole: a scanner that stops at the first `model` would let a client be
//! authorised for one model and send another one behind it, so duplicates are refused. Opens the
//! ledger.

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::admission::{Capacity, Held};
use crate::failure::Failure;
use crate::heavy::{INLINE, heavy};
use crate::ledger::{Entry, Ledger};
use crate::policy::Caller;
use crate::ports::{BoxFuture, Catalog};
use crate::reply::Reply;
use crate::request_id::RequestId;
use crate::stage::{Admitted, Exchange, Operation, Peek, Peer};

/// Longest wait for the next bytes of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest time a whole body may take.
const WHOLE: Duration = Duration::from_secs(600);
/// Most that is reserved for a body on the client's word alone.
const RESERVED: usize = 1 << 20;
/// Longest model name; longer ones cannot be configured and would bloat logs.
const LONGEST_MODEL: usize = 512;

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
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
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
    /// Reads the body, then holds the inner service's answer. Most bodies are there with their
    /// head, and then it needs neither a box nor a timer.
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
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    type Output = Result<Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let exchange = match this.state.as_mut().project() {
                Projection::Arriving { arrival } => {
                    let (admitted, held, most) = arrival.take().expect("polled once in this state");
                    let mut arrival = Arrival::new(admitted, held, most)?;
                    if !arrival.take_what_is_there(cx)? || arrival.parts.len() > INLINE {
                        this.state.set(State::Reading { reading: Box::pin(arrival.rest()) });
                        continue;
                    }
                    let body = std::mem::take(&mut arrival.parts).join();
                    let fields = peek(&body)?;
                    arrival.open(body, fields)
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
    operation: Operation,
    body: B,
    parts: Parts,
    held: Held,
    most: usize,
}

impl<B> Arrival<B>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    /// Refuses what need not be read to be refused.
    fn new(admitted: Admitted<B>, held: Held, most: usize) -> Result<Self, Failure> {
        let Admitted { catalog, caller, received, request } = admitted;
        let (head, body) = request.into_parts();
        let operation = Operation::of_path(head.uri.path())
            .ok_or_else(|| Failure::UnknownEndpoint(head.uri.path().to_owned()))?;
        if head.method != http::Method::POST {
            return Err(Failure::MethodNotAllowed);
        }
        let announced = body.size_hint().lower();
        if announced > most as u64 {
            return Err(Failure::BodyTooLarge { limit: most });
        }
        let parts = Parts { announced, ..Parts::default() };
        Ok(Self { catalog, caller, received, head, operation, body, parts, held, most })
    }

    /// Takes what has come; true when that is all of it.
    fn take_what_is_there(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if !self.parts.take(frame, &mut self.held, self.most)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for the rest of it.
    async fn rest(mut self) -> Result<Exchange, Failure> {
        self.parts.take_rest(&mut self.body, &mut self.held, self.most).await?;
        let body = std::mem::take(&mut self.parts).join();
        let fields = {
            let body = body.clone();
            heavy(body.len(), move || peek(&body)).await??
        };
        Ok(self.open(body, fields))
    }

    /// The request as the pipeline takes it, with a record of its own.
    fn open(self, body: Bytes, fields: Fields) -> Exchange {
        let Self { catalog, caller, received, head, operation, held, .. } = self;
        let id = head.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::draw);
        let known = catalog.known_model(&fields.model);
        let model_known = known.is_some();
        let model = known.unwrap_or_else(|| fields.model.into());
        let mut entry = Entry::new(id.clone(), operation, caller.clone(), model.clone(), received);
        entry.client = head.extensions.get::<Peer>().map(|peer: &Peer| -> IpAddr { peer.0 });
        entry.model_known = model_known;
        entry.stream = fields.stream;
        entry.body_bytes = body.len();
        Exchange {
            caller,
            operation,
            dialect: operation.dialect(),
            headers: kept_headers(&head.headers, catalog.as_ref()),
            peek: Peek {
                model,
                model_span: fields.model_span,
                stream: fields.stream,
                stream_options: fields.stream_options,
            },
            body,
            catalog,
            ledger: Ledger::open(entry),
            received,
            id,
            held,
            neutral: std::sync::OnceLock::new(),
        }
    }
}

/// Reads the body of a request that becomes no exchange, within the same bounds: at most `most`
/// bytes, which `held` holds.
///
/// # Errors
/// [`Failure::BodyTooLarge`], [`Failure::BodyTimeout`], [`Failure::Overloaded`] and
/// [`Failure::ClientGone`].
pub async fn read<B>(mut body: B, most: usize, mut held: Held) -> Result<(Bytes, Held), Failure>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(Failure::BodyTooLarge { limit: most });
    }
    let mut parts = Parts { announced, ..Parts::default() };
    parts.take_rest(&mut body, &mut held, most).await?;
    Ok((parts.join(), held))
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

/// What has come of a body.
#[derive(Default)]
struct Parts {
    first: Bytes,
    more: BytesMut,
    /// Length by the client's word.
    announced: u64,
}

impl Parts {
    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    /// Takes a frame; false at the end.
    fn take<E>(
        &mut self,
        frame: Option<Result<Frame<Bytes>, E>>,
        held: &mut Held,
        most: usize,
    ) -> Result<bool, Failure> {
        let Some(frame) = frame else { return Ok(false) };
        let Ok(data) = frame.map_err(|_broken| Failure::ClientGone)?.into_data() else { return Ok(true) };
        if self.len() + data.len() > most {
            return Err(Failure::BodyTooLarge { limit: most });
        }
        held.grow(data.len())?;
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return Ok(true);
        }
        if self.more.is_empty() {
            let announced = usize::try_from(self.announced).unwrap_or(RESERVED).min(RESERVED);
            self.more.reserve(announced.max(self.first.len() + data.len()));
            self.more.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.more.extend_from_slice(&data);
        Ok(true)
    }

    /// Waits for the rest of it.
    async fn take_rest<B>(&mut self, body: &mut B, held: &mut Held, most: usize) -> Result<(), Failure>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let reading = async {
            loop {
                let frame = tokio::time::timeout(SILENCE, body.frame()).await;
                let frame = frame.map_err(|_elapsed| Failure::BodyTimeout)?;
                if !self.take(frame, held, most)? {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(WHOLE, reading).await.map_err(|_elapsed| Failure::BodyTimeout)?
    }

    /// The whole of it. A small body is copied, so that a request that waits long for its answer
    /// does not keep the connection's whole read buffer, of which the body is a slice.
    fn join(self) -> Bytes {
        const SMALL: usize = 4 << 10;
        if !self.more.is_empty() {
            self.more.freeze()
        } else if self.first.len() <= SMALL {
            Bytes::copy_from_slice(&self.first)
        } else {
            self.first
        }
    }
}

/// What [`peek`] reads.
#[derive(Debug, PartialEq, Eq)]
struct Fields {
    model: String,
    model_span: std::ops::Range<usize>,
    stream: bool,
    stream_options: bool,
}

/// The fields that matter, borrowed. Deserialising into a struct validates all of the body and
/// refuses a second occurrence of any of them.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    stream: Option<bool>,
    stream_options: Option<serde::de::IgnoredAny>,
}

/// Reads the deciding fields of a JSON object; everything else is only validated.
///
/// # Errors
/// [`Failure::Invalid`] for anything but an object with one non-empty string `model` and a
/// boolean `stream`, if any.
fn peek(body: &[u8]) -> Result<Fields, Failure> {
    let head: Head<'_> = serde_json::from_slice(body).map_err(|error| refusal(body, &error))?;
    let Some(raw) = head.model else {
        return Err(Failure::invalid("you must provide a model parameter", Some("model")));
    };
    let text = raw.get();
    let model: Cow<'_, str> = serde_json::from_str::<Text<'_>>(text)
        .map_err(|_not_text| Failure::invalid("model must be a string", Some("model")))?
        .0;
    if model.is_empty() || model.len() > LONGEST_MODEL {
        return Err(Failure::invalid("model must be a name of 1 to 512 bytes", Some("model")));
    }
    // The raw value borrows from the body, so its place in it is the distance of two pointers.
    let start = text.as_ptr().addr() - body.as_ptr().addr();
    Ok(Fields {
        model: model.into_owned(),
        model_span: start..start + text.len(),
        stream: head.stream.unwrap_or(false),
        stream_options: head.stream_options.is_some(),
    })
}

/// A string, borrowed when it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn refusal(body: &[u8], error: &serde_json::Error) -> Failure {
    let text = error.to_string();
    if !error.is_data() {
        return Failure::invalid(format!("We could not parse the JSON body of your request: {text}"), None);
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Failure::invalid("the request body must be a JSON object", None);
    }
    let param = ["model", "stream", "stream_options"]
        .into_iter()
        .find(|field| text.starts_with(&format!("duplicate field `{field}`")));
    match param {
        Some(field) => Failure::invalid(format!("{field} is given twice"), Some(field)),
        None => Failure::invalid(format!("stream must be a boolean: {text}"), Some("stream")),
    }
}

#[cfg(test)]
mod tests {
    mod layer;

    use super::*;

    fn param_of(body: &str) -> Option<&'static str> {
        match peek(body.as_bytes()) {
            Err(Failure::Invalid { param, .. }) => param,
            other => panic!("{body} gave {other:?}"),
        }
    }

    #[test]
    fn the_span_covers_the_value_with_its_quotes() {
        let body = br#" { "messages": [{"model":"no"}], "model" : "gpt-4o" , "stream":true}"#;

        let fields = peek(body).unwrap();

        assert_eq!(&body[fields.model_span.clone()], br#""gpt-4o""#);
        assert_eq!((fields.model.as_str(), fields.stream, fields.stream_options), ("gpt-4o", true, false));
    }

    #[test]
    fn an_escaped_model_is_unescaped() {
        assert_eq!(peek(br#"{"model":"gpt\u002d4"}"#).unwrap().model, "gpt-4");
    }

    #[test]
    fn a_second_model_is_refused_also_when_it_is_escaped() {
        assert_eq!(param_of(r#"{"model":"a","model":"b"}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":"a","mod\u0065l":"b"}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":"a","stream":true,"stream":false}"#), Some("stream"));
    }

    #[test]
    fn what_is_not_an_object_with_a_model_is_refused() {
        assert_eq!(param_of(r#"{"messages":[]}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":7}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":null}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":""}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":"a","stream":"yes"}"#), Some("stream"));
        for body in ["", "[]", "7", "null", "{", r#"{"model":"a"} x"#, "\u{feff}{}", r#""text""#] {
            assert_eq!(param_of(body), None, "{body}");
        }
    }
}
