//! The stages of the pipeline, each with plain defaults, and what tests read of them.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Body, ModelPlace};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ports::catalog;
use crate::capacity::{Capacity, Held};
use crate::conversation::{Conversation, Home};
use crate::endpoint::{CHAT_COMPLETIONS, Endpoint, MODERATIONS, find};
use crate::ledger::{Entry, Ledger};
use crate::plan::Plan;
use crate::policy::{Caller, Demand, Target};
use crate::ports::{Catalog, Credential, Outgoing, Pin, Route, Secret};
use crate::request_id::RequestId;
use crate::stage::{Admitted, Attempt, Call, Exchange, Payload, Peek, Pinned, Purpose, Routed, TriedKeys};
use crate::trace_context::Trace;

/// A chat request for model `m` that says `hi`, of a plain caller.
pub fn exchange() -> ExchangeBuilder {
    ExchangeBuilder {
        model: "m".to_owned(),
        endpoint: &CHAT_COMPLETIONS,
        fields: json!({ "messages": [{ "role": "user", "content": "hi" }] }),
        raw: None,
        stream: false,
        headers: HeaderMap::new(),
        caller: super::caller().build(),
        catalog: catalog().build(),
        held: Held::default(),
        purpose: Purpose::Client,
        stored_id: None,
        conversation: None,
        pin: None,
        trace: None,
    }
}

/// Builds an [`Exchange`].
pub struct ExchangeBuilder {
    model: String,
    endpoint: &'static Endpoint,
    fields: Value,
    raw: Option<Bytes>,
    stream: bool,
    headers: HeaderMap,
    caller: Arc<Caller>,
    catalog: Arc<dyn Catalog>,
    held: Held,
    purpose: Purpose,
    stored_id: Option<Arc<str>>,
    conversation: Option<Box<Conversation>>,
    pin: Option<Pin>,
    trace: Option<Trace>,
}

impl ExchangeBuilder {
    /// The model that is asked for.
    #[must_use]
    pub fn model(mut self, model: &str) -> Self {
        self.model = model.to_owned();
        self
    }

    /// It asks for events.
    #[must_use]
    pub fn stream(mut self) -> Self {
        self.stream = true;
        self
    }

    /// What the user says.
    #[must_use]
    pub fn saying(self, text: &str) -> Self {
        self.fields(json!({ "messages": [{ "role": "user", "content": text }] }))
    }

    /// The fields of the body beside `model` and `stream`.
    #[must_use]
    pub fn fields(mut self, fields: Value) -> Self {
        self.fields = fields;
        self
    }

    /// The body as it stands, whatever it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.raw = Some(body.into());
        self
    }

    /// It asks for a judgement of `text`, as a client does.
    #[must_use]
    pub fn judging(mut self, text: &str) -> Self {
        self.endpoint = &MODERATIONS;
        self.fields(json!({ "input": text }))
    }

    /// It asks for what this endpoint gives.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &'static Endpoint) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Its path names the stored object `id`.
    #[must_use]
    pub fn naming(mut self, id: &str) -> Self {
        self.stored_id = Some(id.into());
        self
    }

    /// The object that it names is here.
    #[must_use]
    pub fn pinned(mut self, pin: Pin) -> Self {
        self.pin = Some(pin);
        self
    }

    /// It belongs to this conversation, which was served here last.
    #[must_use]
    pub fn of_conversation(mut self, name: u64, home: Option<Home>) -> Self {
        self.conversation = Some(Box::new(Conversation { name, home }));
        self
    }

    /// It is a side call that the gateway makes for a request.
    #[must_use]
    pub fn side_call(mut self) -> Self {
        self.purpose = Purpose::SideCall;
        self
    }

    /// A header of the client's.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Who asks.
    #[must_use]
    pub fn caller(mut self, caller: Arc<Caller>) -> Self {
        self.caller = caller;
        self
    }

    /// The configuration.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn Catalog>) -> Self {
        self.catalog = catalog;
        self
    }

    /// It belongs to this trace.
    #[must_use]
    pub fn traced(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Its bytes count in this budget; none are held yet.
    #[must_use]
    pub fn within(mut self, capacity: &Arc<Capacity>) -> Self {
        self.held = capacity.hold();
        self
    }

    /// The exchange, received now.
    pub fn build(self) -> Exchange {
        let body = self.raw.unwrap_or_else(|| written(&self.model, self.stream, &self.fields));
        let quoted = Value::from(&*self.model).to_string();
        let at = memchr::memmem::find(&body, quoted.as_bytes()).unwrap_or_default();
        let peek = Peek {
            model: self.model.as_str().into(),
            model_place: ModelPlace::Json(at..(at + quoted.len()).min(body.len())),
            stream: self.stream,
        };
        let (id, received) = (RequestId::draw(), Instant::now());
        let mut entry =
            Entry::new(id.clone(), self.endpoint, self.caller.clone(), peek.model.clone(), received);
        entry.trace = self.trace;
        Exchange {
            catalog: self.catalog,
            caller: self.caller,
            purpose: self.purpose,
            endpoint: self.endpoint,
            previous: None,
            pinned: self.pin.map(|pin| {
                let id = self.stored_id.clone().expect("what is pinned is named");
                Box::new(Pinned { id, pin })
            }),
            stored_id: self.stored_id,
            conversation: self.conversation,
            query: Box::default(),
            headers: self.headers,
            body: Body::Json(body),
            peek,
            ledger: Ledger::open(entry),
            is_traced: self.trace.is_some_and(|trace| trace.sampled),
            received,
            id,
            held: self.held,
            neutral: Default::default(),
            shared: Default::default(),
        }
    }

    /// The same, shared, as it is from `resolve` on.
    pub fn shared(self) -> Arc<Exchange> {
        Arc::new(self.build())
    }
}

/// The conversation that a request belongs to.
pub fn conversation_of(exchange: &Exchange) -> Option<&Conversation> {
    exchange.conversation.as_deref()
}

/// A body with `model` first, as most clients write it.
fn written(model: &str, stream: bool, fields: &Value) -> Bytes {
    let mut body = json!({ "model": model });
    let map = body.as_object_mut().expect("it is a map");
    if stream {
        map.insert("stream".to_owned(), Value::from(true));
    }
    if let Value::Object(fields) = fields {
        map.extend(fields.clone());
    }
    body.to_string().into()
}

/// An HTTP request whose endpoint and caller are known, as `auth` hands it on.
pub fn admitted<B>(mut request: http::Request<B>, catalog: Arc<dyn Catalog>) -> Admitted<B> {
    let lookup = find(request.method(), request.uri().path());
    request.extensions_mut().insert(lookup);
    Admitted { catalog, caller: super::caller().build(), received: Instant::now(), request }
}

/// An exchange with its route, nothing tried.
pub fn routed(exchange: Arc<Exchange>, route: Arc<dyn Route>) -> Routed {
    let plan = Plan::new(route, exchange.caller.retries);
    Routed { exchange, plan }
}

/// The first try of an exchange on a target.
pub fn attempt(exchange: Arc<Exchange>, target: Arc<Target>) -> Attempt {
    attempt_after(exchange, target, &[])
}

/// A try when these keys of the channel were tried before.
pub fn attempt_after(exchange: Arc<Exchange>, target: Arc<Target>, tried: &[u32]) -> Attempt {
    let timeouts = target.timeouts_for(exchange.as_ref().into());
    let ordinal = u32::try_from(tried.len()).expect("few keys") + 1;
    let tried = tried.iter().fold(TriedKeys::default(), |tried, slot| tried.with(*slot));
    Attempt { exchange, target, ordinal, tried, timeouts }
}

/// An attempt with the key `sk-provider-key`, its payload untouched, in the mode of the client.
pub fn call(exchange: Arc<Exchange>, target: Arc<Target>) -> CallBuilder {
    let stream = target.forced_stream.unwrap_or(exchange.peek.stream);
    CallBuilder(Call {
        attempt: attempt(exchange, target),
        credential: Some(super::policy::secret("sk-provider-key").into()),
        payload: Payload::Untouched,
        content_type: None,
        stream,
        held: Held::default(),
    })
}

/// Builds a [`Call`].
pub struct CallBuilder(Call);

impl CallBuilder {
    /// What it is signed with; none for channels without keys.
    #[must_use]
    pub fn credential(mut self, credential: Option<Credential>) -> Self {
        self.0.credential = credential;
        self
    }

    /// What its body is.
    #[must_use]
    pub fn content_type(mut self, value: &'static str) -> Self {
        self.0.content_type = Some(HeaderValue::from_static(value));
        self
    }

    /// Its body as a value, as `convert` hands it to `overrides`.
    #[must_use]
    pub fn parsed(mut self, body: Value) -> Self {
        let Value::Object(map) = body else { panic!("{body} is no map") };
        self.0.payload = Payload::Json(Box::new(map));
        self
    }

    /// Its body as bytes.
    #[must_use]
    pub fn bytes(mut self, parts: &[&'static str]) -> Self {
        self.0.payload =
            Payload::Bytes(parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect());
        self
    }

    /// The call.
    pub fn build(self) -> Call {
        self.0
    }
}

/// The body that a call carries, as text.
pub fn payload(call: &Call) -> String {
    let bytes = match &call.payload {
        Payload::Untouched => call.attempt.exchange.body.to_chunks().concat(),
        Payload::Bytes(parts) => parts.concat(),
        Payload::Json(map) => serde_json::to_vec(map).expect("a JSON value can be written"),
    };
    String::from_utf8(bytes).expect("a JSON body is text")
}

/// The body that a call carries, as a value.
pub fn payload_json(call: &Call) -> Value {
    serde_json::from_str(&payload(call)).expect("a JSON body")
}

/// Whether a call's body still is the very bytes that the client sent: nothing was copied.
pub fn is_untouched(call: &Call) -> bool {
    match &call.payload {
        Payload::Untouched => true,
        Payload::Bytes(parts) => {
            matches!(&**parts, [one] if one.as_ptr() == json_of(&call.attempt.exchange).as_ptr())
        }
        Payload::Json(_) => false,
    }
}

/// Whether a call's body is a value, to be merged into.
pub fn is_parsed(call: &Call) -> bool {
    matches!(call.payload, Payload::Json(_))
}

/// The key that a call is signed with, in clear.
pub fn key_of(call: &Call) -> Option<&str> {
    match &call.credential {
        Some(Credential::Key(key)) => Some(Secret::expose(key)),
        _ => None,
    }
}

/// Whether a call asks for events.
pub fn asks_events(call: &Call) -> bool {
    call.stream
}

/// The channel that an attempt is aimed at.
pub fn aimed_at(attempt: &Attempt) -> &str {
    attempt.target.channel.name.as_str()
}

/// The place of its channel that an attempt is aimed at.
pub fn place_of(attempt: &Attempt) -> Option<&str> {
    attempt.target.place.as_deref()
}

/// Which try of its request an attempt is.
pub fn ordinal(attempt: &Attempt) -> u32 {
    attempt.ordinal
}

/// The keys that an attempt leaves out, of the first ten.
pub fn tried(attempt: &Attempt) -> Vec<u32> {
    (0..10).filter(|slot| attempt.tried.contains(*slot)).collect()
}

/// What was asked for: model, whether a stream, and the text in the body where the model stands.
pub fn asked(exchange: &Exchange) -> (&str, bool, &str) {
    let ModelPlace::Json(span) = exchange.peek.model_place.clone() else {
        return (&exchange.peek.model, exchange.peek.stream, "");
    };
    let span = json_of(exchange).get(span).unwrap_or_default();
    (&exchange.peek.model, exchange.peek.stream, std::str::from_utf8(span).unwrap_or_default())
}

/// The JSON object of an exchange.
pub fn json_of(exchange: &Exchange) -> &Bytes {
    exchange.body.json().expect("a JSON body")
}

/// The body of an exchange as text.
pub fn body_of(exchange: &Exchange) -> &str {
    std::str::from_utf8(json_of(exchange)).expect("a JSON body is text")
}

/// Whether what leaves for an upstream is the client's own memory: nothing was copied.
pub fn leaves_uncopied(outgoing: &Outgoing, exchange: &Exchange) -> bool {
    matches!(&**outgoing.request.body(), [one] if one.as_ptr() == json_of(exchange).as_ptr())
}

/// The body of what leaves for an upstream, as text.
pub fn leaving(outgoing: &Outgoing) -> String {
    String::from_utf8(outgoing.request.body().concat()).expect("a JSON body is text")
}

/// The names of the client's headers that an exchange has kept, in order of the alphabet.
pub fn kept_headers(exchange: &Exchange) -> Vec<&str> {
    let mut names: Vec<_> = exchange.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

/// What a chat request with a body of this length demands of a channel.
pub fn demand(body: u64) -> Demand {
    Demand { endpoint: &CHAT_COMPLETIONS, body }
}

/// The text that an exchange has judged, if that is what it asks for.
pub fn judged_text(exchange: &Exchange) -> Option<String> {
    if exchange.endpoint != &MODERATIONS {
        return None;
    }
    let body: Value = serde_json::from_slice(json_of(exchange)).ok()?;
    body["input"].as_str().map(str::to_owned)
}
