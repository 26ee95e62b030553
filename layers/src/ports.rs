//! What the layers need of the world around them.
//!
//! Values travel with the stages (`policy`); whatever needs behaviour or memory is one of these
//! small object-safe traits, implemented in `uni-api`. One virtual call per request and port is
//! nothing beside a network hop, and in exchange this crate compiles without YAML, SQL or TLS,
//! and its tests pass five-line fakes. Handles of one channel or model hang on its policy values;
//! the others are given to the layer that uses them.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode, Uri};
use tokio::time::Instant;

use crate::conversation::Home;
pub use crate::credential::{Credential, Pair, Presented, Secret, Tokens};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::ledger::Entry;
use crate::plan::{Group, Plan, Step};
use crate::policy::{Caller, ChannelName, Demand, Fingerprint, Link, Quota, Target, Timeouts, Triggers};
use crate::request_id::RequestId;
use crate::stage::{Exchange, TriedKeys};
use crate::visit::Visit;

/// A future that is boxed because its port is an object.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// An answer that is there at once, or after a wait: embedded state answers ready and allocates
/// nothing, shared state waits.
pub enum Verdict<T> {
    /// Decided.
    Ready(Result<T, Failure>),
    /// To be awaited.
    Wait(BoxFuture<Result<T, Failure>>),
}

impl<T> Verdict<T> {
    /// Awaits where it has to be awaited.
    pub async fn resolve(self) -> Result<T, Failure> {
        match self {
            Self::Ready(result) => result,
            Self::Wait(future) => future.await,
        }
    }
}

/// A directory of callers: used by `auth`.
pub trait Directory: Send + Sync {
    /// Finds the caller of a request by its credentials, in the current configuration.
    fn admit(&self, head: &http::request::Parts) -> Result<Admission, Failure>;
    /// What stands for the key that a request came with and that nobody has: an operator finds out
    /// by it whether it is one of his own. None when it came without one.
    fn unknown_key(&self, _head: &http::request::Parts) -> Option<Fingerprint> {
        None
    }
}

/// A known caller, with the configuration that knows it.
pub struct Admission {
    /// The configuration, for the whole request.
    pub catalog: Arc<dyn Catalog>,
    /// The key's entry.
    pub caller: Arc<Caller>,
}

/// One configuration, as a request sees it.
pub trait Catalog: std::any::Any + Send + Sync {
    /// Who may serve this model to this caller: used by `resolve`.
    fn route(&self, caller: &Caller, model: &str) -> Result<Arc<dyn Route>, Failure>;
    /// The one target in which a stored object of this caller is, for this model: used by
    /// `resolve`. None when it is not there any more, or not for this caller.
    fn pinned(&self, caller: &Caller, pin: &Pin, model: &str) -> Option<Arc<dyn Route>>;
    /// The request windows of this caller for this model: used by [`Allowances`].
    fn limits(&self, caller: &Caller, model: &str) -> Limits;
    /// `error_triggers`: used by `error_trigger`.
    fn triggers(&self) -> &Triggers;
    /// The name under which statistics may hold this model; none when no channel has it.
    fn known_model(&self, model: &str) -> Option<Arc<str>>;
    /// Whether some channel wants this header of the client's: `passthrough_request_headers`.
    fn forwards(&self, header: &HeaderName) -> bool;
}

/// The windows that one request is counted in.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Over all callers.
    pub global: Option<Arc<Quota>>,
    /// Of the caller, and which bucket it counts in: the whole key, or one model of it.
    pub caller: Option<(Arc<Quota>, Option<Arc<str>>)>,
}

/// The channels that may serve: used by `failover`.
pub trait Route: Send + Sync {
    /// How many distinct channels there are below. Places of one channel count once.
    fn leaves(&self) -> usize;
    /// How many of them take this request.
    ///
    /// # Errors
    /// None does, and why.
    fn leaves_for(&self, _demand: Demand) -> Result<usize, Misfit> {
        Ok(self.leaves())
    }
    /// Whether any of them has several places.
    fn has_places(&self) -> bool {
        false
    }
    /// The shortest keepalive interval among them: used by `keepalive`.
    fn keepalive(&self) -> Option<Duration>;
    /// Draws what this request needs to keep its place in each schedule.
    fn ticket(&self) -> u64;
    /// Who is next. Pure but for the clock: the same plan gives the same answer.
    fn pick(&self, plan: &Plan, now: Instant) -> Step;
    /// The step towards who served the conversation last; none unless both channel and key can
    /// serve now.
    fn to_home(&self, _plan: &Plan, _home: &Home, _now: Instant) -> Option<Step> {
        None
    }
    /// The smallest number of tokens that any of them can look at, as far as it is known.
    fn least_context(&self) -> Option<u64> {
        None
    }
    /// Tells the log, at its debug level, how every channel stands towards this request. Costs
    /// nothing while that level is off.
    fn narrate(&self, _plan: &Plan, _request: &RequestId) {}
}

/// The reason why no channel of a route takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// None of them serves the endpoint.
    Endpoint,
    /// The body is longer than any of them takes.
    Length,
}

/// Judge of what keys may still have, windows and balances alike: used by `rate_limit` and
/// `failover`.
///
/// A call decides all that there is to decide, so that shared state needs one exchange with its
/// store for it. A refusal counts nowhere, and neither does a request whose client leaves while
/// the decision is awaited: a future that is dropped before it is done gives back what it has
/// counted.
pub trait Allowances: Send + Sync {
    /// Counts the request in the windows of the gateway and of its caller and reserves its cost
    /// on the caller's balance, or refuses it.
    fn admit(&self, exchange: &Exchange) -> Verdict<()>;
    /// The same for the nested key of a group, once per request and group: counts the request in
    /// the key's windows if its balance is open. What the group costs is booked on the outer key.
    fn enter(&self, group: &Group, exchange: &Exchange) -> Verdict<()>;
}

/// The place where an upstream keeps an object: under the provider key that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The channel.
    pub channel: ChannelName,
    /// The place of the channel; none where it has none.
    pub place: Option<Arc<str>>,
    /// The model that it was made with, by its alias: for requests that name none.
    pub model: Arc<str>,
    /// The key; none where the channel has none.
    pub key: Option<Fingerprint>,
}

/// Pins of stored objects, by caller and name: used by `pin`.
pub trait Stored: Send + Sync {
    /// Where this object of this caller is; none when it is unknown.
    fn find(&self, caller: &Fingerprint, id: &str) -> Verdict<Option<Pin>>;
    /// Keeps where an object is that an answer to this caller has created. Never waits.
    fn keep(&self, caller: &Fingerprint, id: &str, pin: Pin);
}

/// Homes of conversations: used by `resolve` and `failover`.
///
/// A memory of who served last, which only orders those who may serve: what is forgotten costs the
/// caches of a provider, and nothing else. Never waits.
pub trait Homes: Send + Sync {
    /// Where this conversation of this caller, with this model, was served last.
    fn find(&self, caller: &Fingerprint, model: &Arc<str>, conversation: u64) -> Option<Home>;
    /// Keeps where it was served.
    fn keep(&self, caller: &Fingerprint, model: &Arc<str>, conversation: u64, home: Home);
}

/// The keys of one channel: used by `lease`, hangs on [`crate::policy::Channel`].
pub trait Keys: Send + Sync {
    /// Takes the next usable key that this request has not tried.
    fn lease(
        self: Arc<Self>,
        target: &Target,
        tried: &TriedKeys,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted>;
    /// Takes this key and no other, for what exists under it alone.
    fn lease_wanted(
        self: Arc<Self>,
        target: &Target,
        wanted: &Fingerprint,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted>;
    /// Takes this key if it can be used now and this request has not tried it, else the next one.
    fn lease_rather(
        self: Arc<Self>,
        target: &Target,
        _rather: &Fingerprint,
        tried: &TriedKeys,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        self.lease(target, tried, input)
    }
    /// Whether this key could be leased now.
    fn can_use(&self, _target: &Target, _key: &Fingerprint) -> bool {
        true
    }
    /// How many keys there are, usable or not.
    fn count(&self) -> usize;
    /// Whether a key that this request has not tried could be leased now.
    fn has_spare(&self, target: &Target, tried: &TriedKeys) -> bool;
    /// Books what came of a lease.
    fn settle(&self, slot: u32, model: &str, outcome: KeyOutcome);
    /// Takes back what a lease that nobody settled had counted.
    fn release(&self, slot: u32, model: &str);
    /// How each key stands, the one whose turn it is first: for explanations. Changes nothing.
    fn standings(&self, _target: &Target) -> Vec<(Fingerprint, KeyStanding)> {
        Vec::new()
    }
}

/// The standing of a key at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// It can be leased.
    Usable,
    /// It cools for this long after a fault of its own.
    Cooling(Duration),
    /// It has room in its windows again after this long.
    OverLimit(Duration),
}

/// An input estimate in tokens, for limits on the length of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct InputTokens(pub u64);

/// The reason why no key could be leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysExhausted {
    /// All of them cool, are over a window, or were tried; the first is back after this time.
    For(Option<Duration>),
    /// The input estimate is over what any of them takes.
    TooLong,
    /// The wanted key is none of them any more.
    Gone,
}

/// An attempt's verdict on its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOutcome {
    /// It was accepted.
    Served,
    /// It is at fault and cools.
    Faulty {
        /// How long the upstream asks for, if it does.
        hint: Option<Duration>,
        /// Rejected for what it is (401, 402, 403), not for how often it was used.
        rejected: bool,
        /// Its quota or billing is used up.
        quota: bool,
    },
    /// The attempt failed for a reason that is not the key's.
    Blameless,
}

/// The hold on a channel key. Dropped unsettled it blames nobody and gives its window hit back.
pub struct Lease {
    credential: Option<Credential>,
    slot: u32,
    model: Arc<str>,
    pool: Option<Arc<dyn Keys>>,
}

impl Lease {
    /// A hold on the key in `slot` of `pool`.
    pub fn new(pool: Arc<dyn Keys>, slot: u32, credential: Credential, model: Arc<str>) -> Self {
        Self { credential: Some(credential), slot, model, pool: Some(pool) }
    }

    /// For channels that have no keys: nothing is held and nothing can cool.
    pub fn keyless() -> Self {
        Self { credential: None, slot: 0, model: "".into(), pool: None }
    }

    /// What is in the slot, for its upstream and nobody else.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// The key's place in the pool, for [`TriedKeys`]; none without a key.
    pub fn slot(&self) -> Option<u32> {
        self.pool.as_ref().map(|_| self.slot)
    }

    /// Books the outcome and ends the hold.
    pub fn settle(mut self, outcome: KeyOutcome) {
        if let Some(pool) = self.pool.take() {
            pool.settle(self.slot, &self.model, outcome);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.release(self.slot, &self.model);
        }
    }
}

/// The health of one (channel, alias, place): used by `cooldown`, hangs on [`Target`].
pub trait Health: Send + Sync {
    /// Books a success, or a failure that cools for `period`.
    fn settle(&self, failed: bool, period: Duration, now: Instant);
    /// Until when it is cooling; none when it is not.
    fn cooling_until(&self, now: Instant) -> Option<Instant>;
    /// Asks to send a request there. After a cooldown this is granted to one request, the trial;
    /// the others find it cooling until the trial is settled.
    fn admit(&self, now: Instant) -> bool {
        self.cooling_until(now).is_none()
    }
}

/// Time limits that depend on the request: used by `failover`, hangs on [`Target`].
pub trait Timing: Send + Sync {
    /// The limits of an attempt at this request.
    fn timeouts(&self, request: Timed<'_>) -> Timeouts;
}

/// The part of a request that its time limits may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Timed<'a> {
    /// What is asked for.
    pub endpoint: &'static Endpoint,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Who asks.
    pub caller: &'a Caller,
}

impl<'a> From<&'a Exchange> for Timed<'a> {
    fn from(exchange: &'a Exchange) -> Self {
        let Exchange { endpoint, peek, caller, .. } = exchange;
        Self { endpoint, stream: peek.stream, caller }
    }
}

/// Resolved metric handles of one (channel, alias): used by `observe`, hangs on [`Target`].
pub trait Meters: Send + Sync {
    /// Counts one attempt and its outcome label.
    fn attempt(&self, outcome: &'static str, elapsed: Duration);
    /// Whether the log may tell of an attempt that ended so: if it may, how many like it were not
    /// told since the last one that was.
    fn may_tell(&self, _outcome: &'static str, _now: Instant) -> Option<u64> {
        Some(0)
    }
}

/// An upstream's addresses and signatures, for a channel: hangs on [`crate::policy::Channel`].
///
/// Where they go is asked once, when the configuration is compiled ([`crate::address`]); signing is
/// the last thing that `dispatch` does to a request before it leaves.
pub trait Provider: Send + Sync {
    /// The absolute URL of such requests. Always the same for the same question.
    ///
    /// # Errors
    /// The provider does not take them.
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported>;
    /// Adds the credential, and what the upstream wants of every request, to one that is finished:
    /// nothing is changed after it, so that a signature may cover headers and body. A header that
    /// is there already was configured, or is the client's, and stays.
    ///
    /// # Errors
    /// The credential cannot sign for this provider.
    fn sign(
        &self,
        request: &mut http::Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported>;
    /// Whether a refusal of a request with this key tells of another way to ask, so that the same
    /// request is signed anew and sent once more. To most providers there is one way only.
    fn relearns(&self, _key: &Fingerprint, _status: StatusCode, _error: &dialect::ir::Error) -> bool {
        false
    }
}

/// The kind of request that an address is wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What is asked for.
    pub endpoint: &'static Endpoint,
    /// The upstream's name of the model.
    pub model: &'a str,
    /// The place of the channel, where it has several.
    pub place: Option<&'a str>,
    /// Whether the answer is to come as a stream.
    pub stream: bool,
}

/// The reason why a provider does not take a request: a clause about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub Cow<'static, str>);

/// Media behind addresses: used by `convert`, for upstreams that follow none themselves.
pub trait Media: Send + Sync {
    /// What is behind an address that a client named. Never a place of the gateway's own network,
    /// never more than a bounded number of bytes, never longer than a bounded time.
    ///
    /// # Errors
    /// Why it could not be had.
    fn fetch(&self, address: &str) -> BoxFuture<Result<Fetched, Unfetched>>;
}

/// The reason why a medium could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfetched {
    /// The gateway has no room for it now.
    Overloaded,
    /// In a sentence for the client, nothing of which is secret.
    Refused(String),
}

/// A medium that was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The media type that it was served with; empty without one.
    pub mime: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// The end of the process, as requests see it: used by `rescue` and `account`.
pub trait Ending: Send + Sync {
    /// Whether it is here: what is under way is told so and ends. Cheap; whoever waits for something
    /// asks when it is woken, and is woken when this changes.
    fn is_here(&self) -> bool;
    /// Waits for it.
    fn wait(&self) -> BoxFuture<()>;
}

/// The keeper of records: each request leaves one, once. Never waits.
pub trait Records: Send + Sync {
    /// Takes the closed record of a request of the pipeline: used by `account`.
    fn close(&self, entry: Entry);
    /// Takes that of any other: used by whoever refuses it before it is read, or answers it.
    fn visit(&self, visit: Visit);
}

/// The request that leaves for an upstream: what the innermost service of the pipeline takes.
pub struct Outgoing {
    /// Method, URL, headers and body. Boxed, because it is large and on its way goes from future to
    /// future.
    pub request: Box<http::Request<Vec<Bytes>>>,
    /// Which connections it may use.
    pub link: Link,
    /// When a connection that had been idle turned out to be dead, where this is the repeat: nothing
    /// that was open then will do.
    pub fresh_since: Option<Instant>,
}
