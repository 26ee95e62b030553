//! Time limits of an attempt: what `timeout_policy` says, and what it comes to.

use std::time::Duration;

use layers::policy::Timeouts;
use layers::ports::{Timed, Timing};

use crate::engine::Engine;

/// How long the opening of an answer is waited for when `model_timeout` is shorter.
const OPENING: Duration = Duration::from_secs(600);
/// How long a whole request may take.
const TOTAL: Duration = Duration::from_secs(3600);
/// How long connecting may take.
pub const CONNECT: Duration = Duration::from_secs(10);
/// A keepalive interval from here on is the written form of "off".
pub(in crate::config) const KEEPALIVE_OFF: Duration = Duration::from_secs(99_999);
/// How long a failed (channel, model) cools when nothing is configured.
pub(in crate::config) const COOLDOWN: Duration = Duration::from_secs(300);

/// `timeout_policy` of a channel or of the whole configuration.
#[derive(Debug, Clone, Default)]
pub struct TimeoutPolicy {
    /// `default`.
    pub default: TimeLimits,
    /// `rules`, in order.
    pub rules: Vec<TimeoutRule>,
}

/// The limits that a `timeout_policy` entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// Until connected; has effect in `default` only.
    pub connect: Option<Duration>,
    /// Until the opening of the answer.
    pub first_byte: Option<Duration>,
    /// Without a byte.
    pub idle: Option<Duration>,
    /// The whole request.
    pub total: Option<Duration>,
}

/// One of `timeout_policy.rules`.
#[derive(Debug, Clone, Default)]
pub struct TimeoutRule {
    /// Conditions on the channel and the model: (key, accepted lower-case patterns).
    pub fixed: Vec<(FixedMatch, Vec<Box<str>>)>,
    /// Conditions on the request.
    pub request: Vec<(RequestMatch, Vec<Box<str>>)>,
    /// What it sets.
    pub limits: TimeLimits,
}

/// A property of a channel model that a timeout rule may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixedMatch {
    /// The engine's name.
    Engine,
    /// The channel's written name.
    Provider,
    /// Either model name.
    Model,
    /// The alias.
    RequestModel,
    /// The upstream's name.
    UpstreamModel,
}

/// A property of a request that a timeout rule may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMatch {
    /// Its path.
    Endpoint,
    /// Whether it streams.
    Stream,
    /// `compaction`, or nothing.
    RequestType,
    /// Its method.
    Method,
    /// The client key's alias.
    Role,
}

/// The facts about a request that timeout rules ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestFacts<'a> {
    /// Path, such as `/v1/chat/completions`.
    pub endpoint: &'a str,
    /// Method, such as `POST`.
    pub method: &'a str,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// Special kind of the request; empty when there is none.
    pub request_type: &'a str,
    /// Alias of the client key.
    pub role: &'a str,
}

/// The timeout rules that a channel model meets, for those whose other conditions ask the request.
#[derive(Debug, Clone)]
pub struct RequestTimeouts {
    pub(super) model_timeout: Duration,
    pub(super) base: TimeLimits,
    /// The rules of the configuration and those of the channel, which are merged over them.
    pub(super) rules: [Vec<TimeoutRule>; 2],
}

// === impl TimeoutPolicy ===

impl TimeoutPolicy {
    /// The rules whose conditions on the channel model hold.
    pub(super) fn met_by(
        &self,
        engine: &Engine,
        provider: &str,
        alias: &str,
        upstream: &str,
    ) -> Vec<TimeoutRule> {
        let holds = |(key, patterns): &(FixedMatch, Vec<Box<str>>)| match key {
            FixedMatch::Engine => any_matches(patterns, engine.name()),
            FixedMatch::Provider => any_matches(patterns, provider),
            FixedMatch::Model => any_matches(patterns, alias) || any_matches(patterns, upstream),
            FixedMatch::RequestModel => any_matches(patterns, alias),
            FixedMatch::UpstreamModel => any_matches(patterns, upstream),
        };
        self.rules.iter().filter(|rule| rule.fixed.iter().all(holds)).cloned().collect()
    }
}

/// Whether one of the lower-case patterns is the text, or its beginning with a trailing `*`.
fn any_matches(patterns: &[Box<str>], text: &str) -> bool {
    let text = text.to_lowercase();
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => **pattern == *text,
    })
}

// === impl RequestTimeouts ===

impl RequestTimeouts {
    pub(super) fn asks_the_request(&self) -> bool {
        self.rules.iter().flatten().any(|rule| !rule.request.is_empty())
    }

    /// Merges the strongest rule of each level over the defaults; without facts only rules that
    /// ask none count.
    pub(super) fn for_request(&self, facts: Option<&RequestFacts<'_>>) -> Timeouts {
        let mut limits = self.base;
        for rules in &self.rules {
            let mut strongest: Option<&TimeoutRule> = None;
            for rule in rules.iter().filter(|rule| rule.holds(facts)) {
                // The earlier of two equally strong rules wins.
                if strongest.is_none_or(|best| rule.strength() > best.strength()) {
                    strongest = Some(rule);
                }
            }
            if let Some(rule) = strongest {
                limits = limits.overlaid(rule.limits);
            }
        }
        limits.applied(self.model_timeout)
    }
}

impl Timing for RequestTimeouts {
    fn timeouts(&self, request: Timed<'_>) -> Timeouts {
        self.for_request(Some(&RequestFacts {
            endpoint: request.endpoint.path,
            method: request.endpoint.method.as_str(),
            stream: request.stream,
            request_type: "",
            role: &request.caller.alias,
        }))
    }
}

// === impl TimeoutRule ===

impl TimeoutRule {
    fn strength(&self) -> usize {
        self.fixed.len() + self.request.len()
    }

    fn holds(&self, facts: Option<&RequestFacts<'_>>) -> bool {
        let Some(facts) = facts else {
            return self.request.is_empty();
        };
        self.request.iter().all(|(key, patterns)| match key {
            RequestMatch::Endpoint => any_matches(patterns, facts.endpoint),
            RequestMatch::Stream => any_matches(patterns, if facts.stream { "true" } else { "false" }),
            RequestMatch::RequestType => any_matches(patterns, facts.request_type),
            RequestMatch::Method => any_matches(patterns, facts.method),
            RequestMatch::Role => any_matches(patterns, facts.role),
        })
    }
}

// === impl TimeLimits ===

impl TimeLimits {
    pub(super) fn overlaid(self, over: Self) -> Self {
        Self {
            connect: over.connect.or(self.connect),
            first_byte: over.first_byte.or(self.first_byte),
            idle: over.idle.or(self.idle),
            total: over.total.or(self.total),
        }
    }

    /// Fills the gaps from `model_timeout` and the fixed bounds.
    fn applied(self, model_timeout: Duration) -> Timeouts {
        // A longer `first_byte` alone also lengthens the wait for the first byte itself.
        let idle = self.idle.unwrap_or_else(|| model_timeout.max(self.first_byte.unwrap_or_default()));
        Timeouts {
            idle,
            opening: self.first_byte.unwrap_or_else(|| idle.max(OPENING)),
            total: self.total.unwrap_or(TOTAL),
        }
    }
}
