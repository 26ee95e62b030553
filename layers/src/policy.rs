//! Values that the configuration decided, as the layers read them.
//!
//! Everything here is computed when the configuration is compiled: names are interned, patterns
//! matched, defaults filled in. A layer reads a field; it never looks anything up by pattern and
//! does not know what a configuration file is. State that outlives a configuration (cooldowns,
//! keys) hangs on these values as a handle, fetched by name when they are built.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dialect::{Dialect, Envelope, Quirks, Secrets, TextScope};
use http::{HeaderMap, HeaderName};

use crate::address::Addresses;
use crate::endpoint::Endpoint;
use crate::ports::{Health, Keys, Meters, Provider, Secret, Timed, Timing};

/// The name of a channel: a `providers` entry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// That of a channel which must not be named.
    pub fn withheld() -> Self {
        Self::from("")
    }

    /// Whether it must not be named.
    pub fn is_withheld(&self) -> bool {
        self.0.is_empty()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ChannelName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A stand-in for a key wherever the key itself must not be: the first 16 hex digits of a SHA-256.
///
/// The digits stand in it, because a channel may have very many keys.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint {
    digits: Digits,
    length: u8,
}

/// Digits that are aligned: a text that is can be seen to be UTF-8 in one step, and fingerprints are written often.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(align(8))]
struct Digits([u8; Fingerprint::LENGTH]);

impl Fingerprint {
    const LENGTH: usize = 16;

    /// Takes the digits, of which the first sixteen count; `uni-api` computes them.
    pub fn new(digits: &str) -> Self {
        let known = &digits[..digits.floor_char_boundary(Self::LENGTH)];
        let mut digits = Digits([0; Self::LENGTH]);
        digits.0[..known.len()].copy_from_slice(known.as_bytes());
        Self { digits, length: u8::try_from(known.len()).expect("sixteen at most") }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("it was made of whole characters")
    }

    /// The digits, for those who write them where bytes are written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits.0[..usize::from(self.length)]
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fingerprint").field(&self.as_str()).finish()
    }
}

/// A right of a key beside sending requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Requests only.
    User,
    /// The first of several keys none of which is admin: statistics, usage and key generation.
    Steward,
    /// Everything.
    Admin,
}

/// The choice of conversations that return to who served them last: `affinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Affinity {
    /// None.
    Off,
    /// Those that the client gives a name.
    #[default]
    Named,
    /// Those, and all others by how they begin.
    Prefix,
}

/// The number of times that a request may be tried again: `AUTO_RETRY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// The first attempt decides.
    Never,
    /// As many as the route's budget gives.
    Budget,
    /// At most this many after the first attempt.
    AtMost(u32),
}

/// A client key: an `api_keys` entry.
#[derive(Debug)]
pub struct Caller {
    /// What logs and metrics call it: `role`, or the key's fingerprint.
    pub alias: Arc<str>,
    /// Stands for the key in state, database and logs.
    pub fingerprint: Fingerprint,
    /// What it may do.
    pub role: Role,
    /// `AUTO_RETRY`.
    pub retries: Retries,
    /// `ENABLE_MODERATION`, with `moderation_scope`: what of its requests is judged.
    pub moderation: Option<TextScope>,
    /// `affinity`: which of its conversations return to who served them last.
    pub affinity: Affinity,
    /// `credits`, if the key has a balance.
    pub credits: Option<Credits>,
    /// Whether answers name the channel and the attempts: `expose_route`, or an admin key.
    pub expose_route: bool,
    /// Whether its answers are kept, where no upstream keeps them: `store_responses`.
    pub store_responses: bool,
    /// Position in this snapshot; never stored anywhere that outlives it.
    pub ordinal: usize,
    /// The key itself, which what is told of an error must not hold.
    pub key: Option<Secret>,
}

/// A balance in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// Picodollars (10⁻¹² USD) that may be spent; prices per million tokens stay integers in it.
    pub amount: i128,
    /// Unix seconds since which spending counts; without it the last 30 days, rolling.
    pub since: Option<i64>,
}

/// One requests-per-period constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Requests admitted per period.
    pub count: u64,
    /// The length of the period.
    pub period: Duration,
}

/// All constraints of one limit text, such as `15/min,10/day`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Quota {
    /// All of them must admit. What can refuse nobody is none of them.
    pub windows: Box<[Window]>,
    /// `tpr`: the largest input estimate in tokens; read for provider keys only.
    pub tokens_per_request: Option<u64>,
}

impl Quota {
    /// Whether it counts requests.
    pub fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Whether it can never refuse anything.
    pub fn is_unlimited(&self) -> bool {
        self.windows.is_empty() && self.tokens_per_request.is_none()
    }
}

/// A channel: a `providers` entry.
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// How it speaks.
    pub dialect: Dialect,
    /// Where requests go and how they are signed.
    pub provider: Arc<dyn Provider>,
    /// Its keys, with everything that was learnt about them.
    pub keys: Arc<dyn Keys>,
    /// How connections to it are made.
    pub link: Link,
    /// `preferences.headers`: replace generated ones of the same name.
    pub headers: HeaderMap,
    /// `preferences.passthrough_request_headers`: the client's value replaces what is there.
    pub passthrough_headers: Vec<HeaderName>,
    /// Whether it takes tools; otherwise they are removed.
    pub tools: bool,
    /// Whether it takes images; otherwise they are removed.
    pub image: bool,
    /// Which requests it takes at all.
    pub takes: Takes,
    /// What its provider wraps the dialect in.
    pub envelope: Envelope,
    /// Its deviations from the dialect, from the host table or `preferences.quirks`.
    pub quirks: Quirks,
    /// What its configuration holds that an upstream may repeat and nobody else may learn: headers, overrides,
    /// credentials in URLs. Its keys come with each request.
    pub secrets: Secrets,
    /// What was learnt of the upstream and the usage that is asked for without the client's asking,
    /// where its quirks allow that.
    pub usage_wish: Arc<UsageWish>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// The standing of an upstream towards streams that are asked for their usage.
#[derive(Debug, Default)]
pub struct UsageWish(AtomicU8);

impl UsageWish {
    const UNDERSTOOD: u8 = 1;
    const REFUSED: u8 = 2;

    /// Whether it may be asked: it has not refused it.
    pub fn is_allowed(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::REFUSED
    }

    /// Whether it has shown that it understands it.
    pub fn is_understood(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::UNDERSTOOD
    }

    /// It has answered a request that asks for it.
    pub fn understood(&self) {
        // Nearly always known: a write would take the line from every other thread.
        if !self.is_understood() {
            let untried = u8::default();
            let _ = self.0.compare_exchange(untried, Self::UNDERSTOOD, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// It takes the same request only without it.
    pub fn refused(&self) {
        self.0.store(Self::REFUSED, Ordering::Relaxed);
    }
}

/// The requests that a channel takes: everything, unless the configuration says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Takes {
    /// `exclude_endpoints`.
    pub excluded: Box<[&'static Endpoint]>,
    /// `max_request_body_bytes`.
    pub most_body: Option<u64>,
}

/// The part of a request that decides which channels take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// What is asked for.
    pub endpoint: &'static Endpoint,
    /// Length of its body in bytes.
    pub body: u64,
}

impl Takes {
    /// Whether it takes everything.
    pub fn is_everything(&self) -> bool {
        self.excluded.is_empty() && self.most_body.is_none()
    }

    /// Whether it takes requests to this endpoint, whatever their length.
    pub fn serves(&self, endpoint: &Endpoint) -> bool {
        !self.excluded.contains(&endpoint)
    }

    /// Whether it takes this request.
    pub fn fits(&self, demand: Demand) -> bool {
        self.serves(demand.endpoint) && self.most_body.is_none_or(|most| demand.body <= most)
    }
}

/// The kind of connection that a channel's requests may share.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// Proxy URL with its credentials; none means direct.
    pub proxy: Option<Arc<str>>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// How long connecting may take, where it is not the usual ten seconds.
    pub connect: Option<Duration>,
    /// The name of an upstream inside this program, to which nothing is connected.
    pub inside: Option<&'static str>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The proxy URL may hold a password.
        f.debug_struct("Link").field("proxy", &self.proxy.is_some()).field("http2", &self.http2).finish()
    }
}

/// One model of one channel under one alias: what an attempt is aimed at.
pub struct Target {
    /// The channel.
    pub channel: Arc<Channel>,
    /// The place of the channel that serves: one of its regions; none where it has none.
    pub place: Option<Arc<str>>,
    /// The name that clients use.
    pub alias: Arc<str>,
    /// The name that the upstream uses.
    pub upstream_model: Arc<str>,
    /// That name as a JSON string, quotes included, ready to be spliced in.
    pub upstream_model_json: Bytes,
    /// Where its requests go.
    pub addresses: Addresses,
    /// Time limits, as far as they do not depend on the request.
    pub timeouts: Timeouts,
    /// Those that do: `timeout_policy.rules` that ask for more than the model.
    pub timing: Option<Arc<dyn Timing>>,
    /// Interval of keepalive comments; none when off or not below the timeout.
    pub keepalive: Option<Duration>,
    /// How long a failure cools (channel, alias, place); zero means never.
    pub cooldown: Duration,
    /// `post_body_parameter_overrides` for this model.
    pub overrides: Option<Arc<Overrides>>,
    /// `stream` inside the overrides: the mode that the upstream is asked in.
    pub forced_stream: Option<bool>,
    /// `api_key_rate_limit` for this model.
    pub key_quota: Option<Arc<Quota>>,
    /// How many tokens the model can look at, where that is known.
    pub context: Option<u64>,
    /// Whether it is cooling, and since when.
    pub health: Arc<dyn Health>,
    /// Its resolved metric handles.
    pub meters: Arc<dyn Meters>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("channel", &self.channel.name)
            .field("place", &self.place)
            .field("alias", &self.alias)
            .field("upstream_model", &self.upstream_model)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Time limits of an attempt at this request.
    pub fn timeouts_for(&self, request: Timed<'_>) -> Timeouts {
        self.timing.as_ref().map_or(self.timeouts, |timing| timing.timeouts(request))
    }
}

/// The limits on how long an attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Without a byte from the upstream; restarts with each one, before and after the commit.
    pub idle: Duration,
    /// Until the opening is accepted, however busy the upstream is.
    pub opening: Duration,
    /// The whole request, all attempts included.
    pub total: Duration,
}

/// `post_body_parameter_overrides`, channel-wide and per-model part already merged in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// Merged first to last: channel-wide, then the model's.
    pub steps: Vec<OverrideStep>,
}

/// One part of the overrides.
#[derive(Debug, Clone, PartialEq)]
pub struct OverrideStep {
    /// Merged deeply: maps recurse, everything else replaces.
    pub merge: serde_json::Map<String, serde_json::Value>,
    /// Applied after the merge.
    pub remove: Vec<Removal>,
}

/// One rule of `__remove__`.
#[derive(Debug, Clone, PartialEq)]
pub struct Removal {
    /// Path of field names from the top of the body.
    pub path: Vec<String>,
    /// Removes only what matches one of these; empty removes unconditionally. Within one
    /// condition all pairs of (path, value) must hold.
    pub when: Vec<Vec<(Vec<String>, serde_json::Value)>>,
    /// Removes the list or map at `path` too when nothing is left in it.
    pub drop_empty: bool,
}

/// Texts that make an answer count as an error: `error_triggers`.
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    texts: Box<[Box<str>]>,
}

impl Triggers {
    /// Takes the configured texts; empty ones are dropped, since they would match everything.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        Self {
            texts: texts.into_iter().filter(|text| !text.is_empty()).map(String::into_boxed_str).collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether one of them occurs in `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.texts.iter().any(|trigger| text.contains(&**trigger))
    }

    /// Whether some end of `text` is the beginning of a trigger, so that more text could
    /// complete it.
    pub fn may_complete(&self, text: &str) -> bool {
        self.texts.iter().any(|trigger| {
            let longest = trigger.len().saturating_sub(1).min(text.len());
            (1..=longest).any(|n| text.as_bytes()[text.len() - n..] == trigger.as_bytes()[..n])
        })
    }
}
