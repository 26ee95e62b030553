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
//! No field is filled in later, so a layer written for one stage cannot be mounted in another and
//! a forgotten layer does not compile. From `resolve` on the [`Exchange`] is shared: an attempt
//! costs a reference count, and the body, being [`Bytes`], can be sent any number of times.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dialect::{Dialect, Malformed, ir};
use http::HeaderMap;
use tokio::time::Instant;

use crate::admission::Held;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::policy::{Caller, Target, Timeouts};
use crate::ports::{Catalog, Secret};
use crate::request_id::RequestId;

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/moderations`.
    Moderation,
}

impl Operation {
    /// The operation behind a path; none when it is not a pipeline path.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/v1/chat/completions" => Some(Self::Chat),
            "/v1/moderations" => Some(Self::Moderation),
            _ => None,
        }
    }

    /// The path, without a slash at its end.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Moderation => "/v1/moderations",
        }
    }

    /// How the client speaks on that path.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Moderation => Dialect::OpenAiChat,
        }
    }

    /// The word for metrics, logs and spans.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Moderation => "moderation",
        }
    }

    /// What the `endpoint` column of the ledger says: method and path.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::Chat => "POST /v1/chat/completions",
            Self::Moderation => "POST /v1/moderations",
        }
    }

    /// Whether an answer without content is an answer. Chat answers say something.
    pub fn may_be_empty(self) -> bool {
        match self {
            Self::Chat => false,
            Self::Moderation => true,
        }
    }
}

/// Who is connected, as the listener saw it.
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
    /// What is asked for.
    pub operation: Operation,
    /// How the client speaks.
    pub dialect: Dialect,
    /// The client's headers.
    pub headers: HeaderMap,
    /// The client's body, whole.
    pub body: Bytes,
    /// What was read of it.
    pub peek: Peek,
    /// The record of this request.
    pub ledger: Ledger,
    /// When the request was received.
    pub received: Instant,
    /// Stands in logs and answers.
    pub id: RequestId,
    /// The share of the byte budget that the buffered body holds.
    pub held: Held,
    /// The body in neutral form, decoded at most once for all attempts that need it.
    pub neutral: OnceLock<Box<Result<ir::Request, Malformed>>>,
}

/// What `ingress` reads of a body, in one pass that validates all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// `model`; interned when some channel has it.
    pub model: Arc<str>,
    /// Where the value of `model` stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// `stream` is true.
    pub stream: bool,
    /// `stream_options` is there.
    pub stream_options: bool,
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
    /// The key to sign with; none for channels without keys.
    pub secret: Option<Secret>,
    /// What will be sent.
    pub payload: Payload,
    /// Whether the answer will come as a stream of events.
    pub stream: bool,
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
