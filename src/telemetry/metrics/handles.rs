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
    ATTEMPT_DURATION, ATTEMPTS, DURATION, ESTIMATED, GENAI_DURATION, GENAI_FIRST_TOKEN, GENAI_PER_TOKEN,
    GENAI_TOKENS, OVERHEAD_TIME, REFUSED_REQUESTS, REQUESTS, RETRIED, STAGE_TIME, Series, TOKENS_TOTAL,
};
use crate::telemetry::semconv;
use crate::telemetry::throttle::Throttle;
use crate::values::Closed;

/// The model label of models that no channel has.
pub(super) const OTHER: &str = "other";

/// The outcomes that have a label: `ok`, the failures' labels, and [`OTHER`] for any other.
const OUTCOMES: [&str; 46] = [
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
    "previous_not_found",
    "no_websocket",
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

/// The words by which requests are told apart where they are counted.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) kind: Kind,
    pub(super) dialect: Option<Dialect>,
    pub(super) model: &'a str,
    /// The model in stock series.
    pub(super) stock: &'a str,
}

/// The resolved handles of one operation, dialect and model. Those of series that may never have a
/// sample are resolved with the first: an empty histogram is as long as a full one.
pub struct Handles {
    pub(super) registry: Registry,
    pub(super) kind: Kind,
    pub(super) dialect: Option<Dialect>,
    pub(super) model: Arc<str>,
    stock: Arc<str>,
    outcomes: ByOutcome<Outcome>,
    duration: Histogram,
    overhead: Histogram,
    /// By [`STAGES`].
    stages: [Histogram; 2],
    /// Of those that went well, and of the others.
    stock_duration: [OnceLock<Histogram>; 2],
    first_token: OnceLock<Histogram>,
    per_token: OnceLock<Histogram>,
    input_size: OnceLock<Histogram>,
    output_size: OnceLock<Histogram>,
    /// By [`KINDS`].
    tokens: [OnceLock<Counter>; KINDS.len()],
    estimated: OnceLock<Counter>,
    /// Of those that went well, and of the others.
    retried: [OnceLock<Counter>; 2],
    /// Picodollars.
    pub(super) cost: AtomicU64,
}

/// The stages of a request's overhead.
const STAGES: [&str; 2] = ["request", "attempts"];

/// The kinds of tokens.
const KINDS: [&str; 5] = ["input", "output", "cache_read", "cache_write", "reasoning"];

/// The handles of requests that ended in one way.
struct Outcome {
    label: &'static str,
    requests: [OnceLock<Counter>; STATUS_CLASSES.len()],
    refused: OnceLock<Counter>,
}

impl Handles {
    pub(super) fn new(registry: &Registry, told: Told<'_>) -> Self {
        let op = [("operation", told.kind.label())];
        Self {
            kind: told.kind,
            dialect: told.dialect,
            model: told.model.into(),
            stock: told.stock.into(),
            outcomes: ByOutcome::new(),
            duration: registry.histogram(&DURATION, &op),
            overhead: registry.histogram(&OVERHEAD_TIME, &op),
            stages: STAGES.map(|stage| registry.histogram(&STAGE_TIME, &[("stage", stage)])),
            stock_duration: Default::default(),
            first_token: OnceLock::new(),
            per_token: OnceLock::new(),
            input_size: OnceLock::new(),
            output_size: OnceLock::new(),
            tokens: Default::default(),
            estimated: OnceLock::new(),
            retried: Default::default(),
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
            refused: OnceLock::new(),
        });
        self.count(outcome, entry.status).increment(1);
        let elapsed = entry.elapsed.as_secs_f64();
        self.duration.record(elapsed);
        let is_failed = outcome.label != "ok";
        let stock_duration = self.stock_duration[usize::from(is_failed)].get_or_init(|| {
            let error = if is_failed { "_OTHER" } else { "" };
            self.stock(&GENAI_DURATION, Some(("error_type", error)))
        });
        stock_duration.record(elapsed);
        let overhead = closed.overhead();
        self.overhead.record(overhead.as_secs_f64());
        let before = closed.overhead_before().map_or(overhead, |before| before.min(overhead));
        self.stages[0].record(before.as_secs_f64());
        let tries = entry.attempts.iter().filter(|attempt| attempt.side_call.is_none()).count();
        match tries {
            0 if entry.failure.is_some() => {
                let refused = outcome
                    .refused
                    .get_or_init(|| self.registry.counter(&REFUSED_REQUESTS, &[("reason", outcome.label)]));
                refused.increment(1);
            }
            0 => {}
            _ => self.stages[1].record((overhead - before).as_secs_f64()),
        }
        if tries > 1 {
            let retried = self.retried[usize::from(is_failed)].get_or_init(|| {
                let result = if is_failed { "failed" } else { "ok" };
                self.registry.counter(&RETRIED, &[("result", result)])
            });
            retried.increment(1);
        }
        if let Some(accepted) = entry.accepted.filter(|_| entry.stream) {
            let first_token = self.first_token.get_or_init(|| self.stock(&GENAI_FIRST_TOKEN, None));
            first_token.record(accepted.as_secs_f64());
            let output = entry.usage.map_or(0, |usage| usage.output_total);
            if output > 1 && !is_failed {
                let per_token = self.per_token.get_or_init(|| self.stock(&GENAI_PER_TOKEN, None));
                per_token.record(
                    (entry.elapsed - accepted.min(entry.elapsed)).as_secs_f64() / (output - 1) as f64,
                );
            }
        }
        if let Some(usage) = &entry.usage {
            let size = |kind| self.stock(&GENAI_TOKENS, Some(("gen_ai_token_type", kind)));
            self.input_size.get_or_init(|| size("input")).record(usage.input_total as f64);
            self.output_size.get_or_init(|| size("output")).record(usage.output_total as f64);
            let of_kinds = [
                usage.input_total,
                usage.output_total,
                usage.cached_read,
                usage.cache_write,
                usage.reasoning,
            ];
            for ((slot, kind), tokens) in self.tokens.iter().zip(KINDS).zip(of_kinds) {
                if tokens > 0 {
                    let counter = || {
                        let labels =
                            [("operation", self.kind.label()), ("model", &*self.model), ("kind", kind)];
                        self.registry.counter(&TOKENS_TOTAL, &labels)
                    };
                    slot.get_or_init(counter).increment(tokens);
                }
            }
        }
        if closed.estimated {
            let labels = [("operation", self.kind.label()), ("model", &*self.model)];
            self.estimated.get_or_init(|| self.registry.counter(&ESTIMATED, &labels)).increment(1);
        }
        // Wraps after 18 million dollars of one model, which Prometheus takes for a restart.
        self.cost.fetch_add(u64::try_from(closed.cost).unwrap_or(0), Ordering::Relaxed);
    }

    /// The counter of requests that ended in one way, with this status.
    fn count<'a>(&self, outcome: &'a Outcome, status: StatusCode) -> &'a Counter {
        let class = class_of(status);
        outcome.requests[class].get_or_init(|| {
            let labels = [
                ("operation", self.kind.label()),
                ("model", &*self.model),
                ("outcome", outcome.label),
                ("status", STATUS_CLASSES[class]),
            ];
            self.registry.counter(&REQUESTS, &labels)
        })
    }

    /// A stock series of this operation and model; the provider's name is that of the wire format.
    fn stock(&self, series: &Series, more: Option<(&'static str, &str)>) -> Histogram {
        let labels = [
            ("gen_ai_operation_name", semconv::operation(self.kind)),
            ("gen_ai_provider_name", self.dialect.map_or("", semconv::provider)),
            ("gen_ai_request_model", &*self.stock),
        ];
        let labels: Vec<_> = labels.into_iter().chain(more).collect();
        self.registry.histogram(series, &labels)
    }
}

pub(super) struct ChannelMeters {
    registry: Registry,
    channel: Box<str>,
    model: Box<str>,
    counters: ByOutcome<Counter>,
    duration: OnceLock<Histogram>,
    /// One for each outcome of which the log was told.
    told: Mutex<Vec<(&'static str, Throttle)>>,
    /// Whether some were kept back of which it was not told yet.
    owes: AtomicBool,
}

/// Lines a second about attempts that failed alike; the others are counted.
const MOST_TOLD: u32 = 1;

impl ChannelMeters {
    pub(super) fn new(registry: &Registry, channel: &str, model: &str) -> Self {
        Self {
            registry: registry.clone(),
            channel: channel.into(),
            model: model.into(),
            counters: ByOutcome::new(),
            duration: OnceLock::new(),
            told: Mutex::default(),
            owes: AtomicBool::new(false),
        }
    }

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
            let labels = [("channel", &*self.channel), ("outcome", label)];
            self.registry.counter(&ATTEMPTS, &labels)
        });
        counter.increment(1);
        let duration = || self.registry.histogram(&ATTEMPT_DURATION, &[("channel", &*self.channel)]);
        self.duration.get_or_init(duration).record(elapsed.as_secs_f64());
    }
}
