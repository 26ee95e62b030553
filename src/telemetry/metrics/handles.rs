//! Resolved handles: what a request counts in without looking a series up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use dialect::{Dialect, Kind};
use http::StatusCode;
use layers::ports::Meters;
use metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::Registry;
use super::series::{
    ATTEMPTS, DURATION, ESTIMATED, GENAI_DURATION, GENAI_FIRST_TOKEN, GENAI_TOKENS, OVERHEAD_TIME, REQUESTS,
    TOKENS_TOTAL,
};
use crate::telemetry::throttle::Throttle;
use crate::values::Closed;

/// The model label of models that no channel has.
pub(super) const OTHER: &str = "other";

/// The outcomes that have a label: `ok`, the failures' labels, and [`OTHER`] for any other.
const OUTCOMES: [&str; 44] = [
    "ok",
    "client_gone",
    "timeout",
    "upstream_error",
    "upstream_rate_limited",
    "upstream_key_rejected",
    "upstream_client_error",
    "upstream_too_long",
    "upstream_declined",
    "upstream_model_missing",
    "upstream_refused",
    "connect_failed",
    "connect_timeout",
    "proxy_failed",
    "connection_broken",
    "empty_answer",
    "error_trigger",
    "garbled_answer",
    "truncated_answer",
    "keys_exhausted",
    "rate_limited",
    "balance_exhausted",
    "model_not_found",
    "models_pending",
    "no_channel",
    "too_long",
    "unsupported",
    "no_token",
    "stored_not_found",
    "invalid_request",
    "unauthenticated",
    "too_many_sign_ins",
    "permission_denied",
    "body_too_large",
    "body_timeout",
    "unknown_coding",
    "unknown_endpoint",
    "method_not_allowed",
    "overloaded",
    "shutting_down",
    "flagged",
    "moderation_unavailable",
    "moderation_failed",
    "internal",
];

const STATUS_CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of a status in [`STATUS_CLASSES`].
fn class_of(status: StatusCode) -> usize {
    let class = usize::from(status.as_u16() / 100);
    if class < STATUS_CLASSES.len() { class } else { 0 }
}

/// The label of a status.
pub(super) fn status_class(status: StatusCode) -> &'static str {
    STATUS_CLASSES[class_of(status)]
}

/// One handle per outcome, resolved when it first occurs: [`OUTCOMES`], and one for all others.
pub(super) struct ByOutcome<T>([OnceLock<T>; OUTCOMES.len() + 1]);

impl<T> ByOutcome<T> {
    pub(super) fn new() -> Self {
        Self([const { OnceLock::new() }; OUTCOMES.len() + 1])
    }

    pub(super) fn get(&self, outcome: &str, resolve: impl FnOnce(&'static str) -> T) -> &T {
        let slot = OUTCOMES.iter().position(|known| *known == outcome).unwrap_or(OUTCOMES.len());
        self.0[slot].get_or_init(|| resolve(OUTCOMES.get(slot).copied().unwrap_or(OTHER)))
    }
}

/// The resolved handles of one operation and model.
pub struct Handles {
    pub(super) registry: Registry,
    pub(super) kind: Kind,
    pub(super) dialect: Option<Dialect>,
    pub(super) model: Arc<str>,
    outcomes: ByOutcome<Outcome>,
    pub(super) duration: Histogram,
    overhead: Histogram,
    first_token: Histogram,
    input_size: Histogram,
    output_size: Histogram,
    pub(super) input: Counter,
    pub(super) output: Counter,
    pub(super) cache_read: Counter,
    pub(super) cache_write: Counter,
    pub(super) reasoning: Counter,
    estimated: Counter,
    /// Picodollars.
    pub(super) cost: AtomicU64,
}

/// The handles of requests that ended in one way.
struct Outcome {
    pub(super) label: &'static str,
    pub(super) requests: [OnceLock<Counter>; STATUS_CLASSES.len()],
    pub(super) duration: Histogram,
}

impl Handles {
    pub(super) fn new(registry: &Registry, kind: Kind, dialect: Option<Dialect>, model: &str) -> Self {
        let op = kind.label();
        let ours = [("operation", op), ("model", model)];
        let stock = stock_labels(kind, dialect, model);
        let tokens = |kind: &'static str| {
            registry.counter(&TOKENS_TOTAL, &[("operation", op), ("model", model), ("kind", kind)])
        };
        let size = |kind: &'static str| {
            let mut labels = stock.to_vec();
            labels.push(("gen_ai_token_type", kind));
            registry.histogram(&GENAI_TOKENS, &labels)
        };
        Self {
            kind,
            dialect,
            model: model.into(),
            outcomes: ByOutcome::new(),
            duration: registry.histogram(&DURATION, &ours),
            overhead: registry.histogram(&OVERHEAD_TIME, &[("operation", op)]),
            first_token: registry.histogram(&GENAI_FIRST_TOKEN, &stock),
            input_size: size("input"),
            output_size: size("output"),
            input: tokens("input"),
            output: tokens("output"),
            cache_read: tokens("cache_read"),
            cache_write: tokens("cache_write"),
            reasoning: tokens("reasoning"),
            estimated: registry.counter(&ESTIMATED, &ours),
            cost: AtomicU64::new(0),
            registry: registry.clone(),
        }
    }

    /// Counts a closed record of this operation and model.
    pub fn close(&self, closed: &Closed) {
        let entry = &closed.entry;
        let outcome = self.outcomes.get(entry.outcome(), |label| Outcome {
            label,
            requests: [const { OnceLock::new() }; STATUS_CLASSES.len()],
            duration: {
                let mut labels = stock_labels(self.kind, self.dialect, &self.model).to_vec();
                labels.push(("error_type", if label == "ok" { "" } else { label }));
                self.registry.histogram(&GENAI_DURATION, &labels)
            },
        });
        let class = class_of(entry.status);
        let requests = outcome.requests[class].get_or_init(|| {
            let labels = [
                ("operation", self.kind.label()),
                ("model", &*self.model),
                ("outcome", outcome.label),
                ("status", STATUS_CLASSES[class]),
            ];
            self.registry.counter(&REQUESTS, &labels)
        });
        requests.increment(1);
        let elapsed = entry.elapsed.as_secs_f64();
        self.duration.record(elapsed);
        outcome.duration.record(elapsed);
        self.overhead.record(closed.overhead().as_secs_f64());
        if let Some(accepted) = entry.accepted.filter(|_| entry.stream) {
            self.first_token.record(accepted.as_secs_f64());
        }
        if let Some(usage) = &entry.usage {
            self.input_size.record(usage.input_total as f64);
            self.output_size.record(usage.output_total as f64);
            self.input.increment(usage.input_total);
            self.output.increment(usage.output_total);
            for (counter, tokens) in [
                (&self.cache_read, usage.cached_read),
                (&self.cache_write, usage.cache_write),
                (&self.reasoning, usage.reasoning),
            ] {
                if tokens > 0 {
                    counter.increment(tokens);
                }
            }
        }
        if closed.estimated {
            self.estimated.increment(1);
        }
        // Wraps after 18 million dollars of one model, which Prometheus takes for a restart.
        self.cost.fetch_add(u64::try_from(closed.cost).unwrap_or(0), Ordering::Relaxed);
    }
}

/// The labels of the stock series; the provider name is that of the wire format.
fn stock_labels(kind: Kind, dialect: Option<Dialect>, model: &str) -> [(&'static str, &str); 3] {
    let provider = match dialect {
        Some(Dialect::OpenAiChat | Dialect::Responses) => "openai",
        Some(other) => other.label(),
        None => "",
    };
    [
        ("gen_ai_operation_name", kind.label()),
        ("gen_ai_provider_name", provider),
        ("gen_ai_request_model", model),
    ]
}

pub(super) struct ChannelMeters {
    pub(super) registry: Registry,
    pub(super) channel: Box<str>,
    pub(super) model: Box<str>,
    pub(super) counters: ByOutcome<Counter>,
    pub(super) duration: Histogram,
    /// One for each outcome of which the log was told.
    pub(super) told: Mutex<Vec<(&'static str, Throttle)>>,
    /// Whether some were kept back of which it was not told yet.
    pub(super) owes: AtomicBool,
}

/// Lines a second about attempts that failed alike; the others are counted.
const MOST_TOLD: u32 = 1;

impl ChannelMeters {
    /// Tells the log of the attempts that it was not told of, if nobody has asked since.
    pub(super) fn tell_rest(&self, now: Instant, is_end: bool) {
        if !self.owes.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (outcome, throttle) in told.iter_mut() {
            if let Some(more) = throttle.rest(now, is_end) {
                let (channel, model) = (&*self.channel, &*self.model);
                tracing::warn!(
                    channel,
                    model,
                    outcome,
                    and_more = more,
                    "… and {more} more attempts failed alike."
                );
            }
        }
        self.owes.store(told.iter().any(|(_, throttle)| throttle.owes()), Ordering::Relaxed);
    }
}

impl Meters for ChannelMeters {
    fn may_tell(&self, outcome: &'static str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let at = told.iter().position(|(known, _)| *known == outcome).unwrap_or_else(|| {
            told.push((outcome, Throttle::new(MOST_TOLD)));
            told.len() - 1
        });
        let passed = told[at].1.pass(now);
        if passed.is_none() {
            self.owes.store(true, Ordering::Relaxed);
        }
        passed
    }

    fn attempt(&self, outcome: &'static str, elapsed: Duration) {
        let counter = self.counters.get(outcome, |label| {
            let labels = [("channel", &*self.channel), ("model", &*self.model), ("outcome", label)];
            self.registry.counter(&ATTEMPTS, &labels)
        });
        counter.increment(1);
        self.duration.record(elapsed.as_secs_f64());
    }
}
