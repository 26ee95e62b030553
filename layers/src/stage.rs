//! The types that flow through the pipeline, each built from the one before by exactly one layer.
//!
//! | stage | built by | how often |
//! |---|---|---|
//! | `http::Request` | the listener | once |
//! | [`Admitted`] | `auth` | once |
//! | [`Exchange`] | `ingress` | once |
//! | [`Routed`] | `resolve` | once |
//! | [`Attempt`] | `failover` | per try |
//! | [`Call`] | `lease` | per try |
//!
//! A layer written for one stage cannot be mounted in another, and a forgotten layer does not
//! compile. No field is filled in later but the shared decoding of the body, which the first
//! attempt that needs it makes for all, the pin of a stored object or the conversation that is kept,
//! which `pin` finds, and the home of a conversation, which `resolve` finds. From
//! `resolve` on the [`Exchange`] is shared: an attempt
//! costs a reference count, and the body, being [`Bytes`], can be sent any number of times.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dialect::{Asked, Body, Dialect, FetchedMedia, ModelPlace, Neutral};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::capacity::Held;
use crate::conversation::{Conversation, Home};
use crate::endpoint::Endpoint;
use crate::ledger::{Entry, Ledger};
use crate::plan::Plan;
use crate::policy::{Caller, Target, Timeouts};
use crate::ports::{Catalog, Credential, Pin};
use crate::request_id::RequestId;

/// The purpose of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client asked for it.
    Client,
    /// The gateway asks for it on behalf of a client's request. Its record is absorbed by that
    /// request's and never closed itself, and it counts in no window.
    SideCall,
}

/// The party that is connected, as the listener saw it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// A request whose key is known.
pub struct Admitted<B> {
    /// The configuration that this request will see from start to end.
    pub catalog: Arc<dyn Catalog>,
    /// The key's entry.
    pub caller: Arc<Caller>,
    /// When the request line was read.
    pub received: Instant,
    /// The request, its body not read yet.
    pub request: http::Request<B>,
}

/// A request that was read: what the request stage works on.
pub struct Exchange {
    /// The configuration.
    pub catalog: Arc<dyn Catalog>,
    /// The key's entry.
    pub caller: Arc<Caller>,
    /// On whose behalf it is made.
    pub purpose: Purpose,
    /// What is asked for, and how the client speaks.
    pub endpoint: &'static Endpoint,
    /// The stored object that the path names.
    pub stored_id: Option<Arc<str>>,
    /// Where that object is; filled in by `pin`. Whoever is asked then is asked nowhere else.
    pub pinned: Option<Box<Pinned>>,
    /// The earlier answer that it goes on from, where that was kept here; filled in by `pin`, which
    /// has put the conversation into the body.
    pub previous: Option<Arc<str>>,
    /// The conversation that it belongs to, where that is known.
    pub conversation: Option<Box<Conversation>>,
    /// The query of its path, where a dialect has wishes; without credentials.
    pub query: Box<str>,
    /// The client's headers.
    pub headers: HeaderMap,
    /// The client's body, as it was received.
    pub body: Body,
    /// What was read of it.
    pub peek: Peek,
    /// The record of this request.
    pub ledger: Ledger,
    /// Whether its spans are sent, so that its record keeps what they need.
    pub is_traced: bool,
    /// When the request was received.
    pub received: Instant,
    /// Stands in logs and answers.
    pub id: RequestId,
    /// The share of the byte budget that the buffered body holds.
    pub held: Held,
    /// The body in neutral form, decoded at most once for all attempts that need it.
    pub neutral: Neutral,
    /// What else its attempts share.
    pub shared: Mutex<Shared>,
}

/// A stored object that a request names, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Its name.
    pub id: Arc<str>,
    /// Where it is.
    pub pin: Pin,
}

/// The deciding fields of a request, read by `ingress` in one pass that validates all of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// The model; interned when some channel has it, empty when none is named.
    pub model: Arc<str>,
    /// Where it is named.
    pub model_place: ModelPlace,
    /// Whether a stream is asked for.
    pub stream: bool,
}

impl Exchange {
    /// What was asked of an upstream that calls the model so.
    pub fn asked<'a>(&'a self, model: &'a str) -> Asked<'a> {
        Asked { body: &self.body, headers: &self.headers, model }
    }

    /// Where the stored object is that the request names, if it names one.
    pub fn pin(&self) -> Option<&Pin> {
        self.pinned.as_deref().map(|pinned| &pinned.pin)
    }

    /// Who served the conversation last, if this target is it.
    pub fn home_at(&self, target: &Target) -> Option<&Home> {
        self.conversation.as_deref()?.home.as_ref().filter(|home| home.is(target))
    }

    /// How the client speaks.
    pub fn dialect(&self) -> Dialect {
        self.endpoint.client
    }

    /// A call that the gateway makes on behalf of this request: of the same caller, in the same
    /// configuration, within the time that the whole request has, with a record of its own.
    pub fn side_call(
        &self,
        endpoint: &'static Endpoint,
        body: Bytes,
        peek: Peek,
        model_known: bool,
        held: Held,
    ) -> Self {
        let mut entry =
            Entry::new(self.id.clone(), endpoint, self.caller.clone(), peek.model.clone(), self.received);
        entry.model_known = model_known;
        entry.body_bytes = body.len();
        entry.trace = self.ledger.entry().trace;
        Self {
            catalog: self.catalog.clone(),
            caller: self.caller.clone(),
            purpose: Purpose::SideCall,
            endpoint,
            stored_id: None,
            pinned: None,
            previous: None,
            conversation: None,
            query: Box::default(),
            headers: self.headers.clone(),
            body: Body::Json(body),
            peek,
            ledger: Ledger::open(entry),
            is_traced: self.is_traced,
            received: self.received,
            id: self.id.clone(),
            held,
            neutral: Neutral::default(),
            shared: Mutex::default(),
        }
    }
}

/// The things that attempts of one exchange share beside its body, and what they hold of the byte
/// budget.
#[derive(Default)]
pub struct Shared {
    /// Media that were fetched, by address.
    pub fetched: Arc<FetchedMedia>,
    /// Whether the decoded body is counted.
    pub is_decoded: bool,
    /// Their share of the budget.
    pub held: Held,
}

/// A request with its route.
pub struct Routed {
    /// The request.
    pub exchange: Arc<Exchange>,
    /// Who may serve it, and what was tried.
    pub plan: Plan,
}

/// One try on one channel.
#[derive(Clone)]
pub struct Attempt {
    /// The request.
    pub exchange: Arc<Exchange>,
    /// Whom it is aimed at.
    pub target: Arc<Target>,
    /// Which try of the request this is, from 1.
    pub ordinal: u32,
    /// Keys of this channel that the request has used up.
    pub tried: TriedKeys,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// The keys of one channel that one request has tried, as slots of the channel's pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TriedKeys(Option<Arc<[u32]>>);

impl TriedKeys {
    /// Whether this key was tried.
    pub fn contains(&self, slot: u32) -> bool {
        self.0.as_ref().is_some_and(|slots| slots.contains(&slot))
    }

    /// The same with one more.
    #[must_use]
    pub fn with(&self, slot: u32) -> Self {
        let so_far = self.0.as_deref().unwrap_or_default();
        Self(Some(so_far.iter().copied().chain([slot]).collect()))
    }

    /// How many were tried.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |slots| slots.len())
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An attempt with a key and a body.
pub struct Call {
    /// The attempt.
    pub attempt: Attempt,
    /// What to sign with; none for channels without keys.
    pub credential: Option<Credential>,
    /// What will be sent.
    pub payload: Payload,
    /// What that is; none where nothing is sent.
    pub content_type: Option<HeaderValue>,
    /// Whether the answer will come as a stream of events.
    pub stream: bool,
    /// What a body that was written anew holds of the byte budget.
    pub held: Held,
}

/// A request body on its way to an upstream; which form it has is what it costs.
#[derive(Debug, Clone)]
pub enum Payload {
    /// What the client sent, as it stands in the exchange.
    Untouched,
    /// Bytes in order, never parsed: the client's body spliced, or one written anew.
    Bytes(Vec<Bytes>),
    /// A value that is merged into and written out.
    Json(Box<serde_json::Map<String, serde_json::Value>>),
}
