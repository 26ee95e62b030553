//! Counts and measures, and renders it for Prometheus.
//!
//! All names, help texts, units and buckets are in [`SERIES`]; a test reads every one of them back
//! from a scrape. Labels come from fixed sets: operations, outcomes, the models and channels of the
//! configuration (`other` for any other model). Never a key, a path or a user.
//!
//! The request path looks nothing up by label. Handles are resolved once per (operation, model)
//! and per (channel, model); closing a record finds them in a map that is replaced, not locked,
//! when a new pair appears. A sample of a histogram goes into a lock-free bucket and is sorted in
//! by [`Metrics::upkeep`]. Gauges of things that count themselves (queues, permits, memory) are
//! read when somebody scrapes.
//!
//! Cost is kept here in whole picodollars and rendered in dollars, because the exporter's counters
//! are whole numbers; so is the configuration's hash, because its label changes.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use dialect::{Dialect, Kind};
use foldhash::fast::RandomState;
use layers::capacity::Capacity;
use layers::ports::Meters;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::values::Closed;

/// How a series behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesType {
    /// Grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Sorted into buckets.
    Histogram,
}

/// A series that `/metrics` may hold.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// Its exact name.
    pub name: &'static str,
    /// Its kind.
    pub series_type: SeriesType,
    /// What it is measured in; the name says it too.
    pub unit: Unit,
    /// Upper bounds, for histograms.
    pub buckets: &'static [f64],
    /// What it says.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Counter, unit: Unit::Count, buckets: &[], help }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Gauge, unit, buckets: &[], help }
}

const fn histogram(name: &'static str, unit: Unit, buckets: &'static [f64], help: &'static str) -> Series {
    Series { name, series_type: SeriesType::Histogram, unit, buckets, help }
}

const SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 300.0, 600.0];
const FIRST_TOKEN: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const OVERHEAD: &[f64] = &[
    5e-6, 10e-6, 20e-6, 30e-6, 40e-6, 60e-6, 80e-6, 100e-6, 150e-6, 200e-6, 300e-6, 500e-6, 1e-3, 2e-3, 5e-3,
    10e-3, 100e-3,
];

/// Requests by what became of them.
pub const REQUESTS: Series =
    counter("uni_api_requests_total", "Requests by operation, model, outcome and status class.");
/// Requests that are being served.
pub const IN_FLIGHT: Series =
    gauge("uni_api_requests_in_flight", Unit::Count, "Requests whose answer has not ended.");
/// Event streams that are open.
pub const STREAMS: Series = gauge("uni_api_streams_open", Unit::Count, "Event streams open to clients.");
/// How long requests take.
pub const DURATION: Series = histogram(
    "uni_api_request_duration_seconds",
    Unit::Seconds,
    SECONDS,
    "Time from the request line to the end of the answer.",
);
/// What the gateway adds.
pub const OVERHEAD_TIME: Series = histogram(
    "uni_api_overhead_seconds",
    Unit::Seconds,
    OVERHEAD,
    "Time until the answer was accepted that was not spent waiting for an upstream.",
);
/// Tries by how they ended.
pub const ATTEMPTS: Series = counter("uni_api_attempts_total", "Attempts by channel, model and outcome.");
/// How long tries take.
pub const ATTEMPT_DURATION: Series = histogram(
    "uni_api_attempt_duration_seconds",
    Unit::Seconds,
    SECONDS,
    "Time until an attempt was accepted or had failed, by channel and model.",
);
/// Tokens by kind.
pub const TOKENS_TOTAL: Series = counter(
    "uni_api_tokens_total",
    "Tokens as upstreams told them; input holds cache_read and cache_write, output holds reasoning.",
);
/// Money spent.
pub const COST: Series = counter("uni_api_cost_usd_total", "Cost of requests in US dollars.");
/// Answers without usage.
pub const ESTIMATED: Series =
    counter("uni_api_usage_missing_total", "Answers that came without usage, charged by an estimate.");
/// Records that wait for the database.
pub const LEDGER_QUEUE: Series =
    gauge("uni_api_ledger_queue_depth", Unit::Count, "Records that wait for the database.");
/// Records that found no room.
pub const LEDGER_DROPPED: Series =
    counter("uni_api_ledger_dropped_total", "Detail rows dropped; their tokens and cost are in the sums.");
/// Records that are stored.
pub const LEDGER_WRITTEN: Series = counter("uni_api_ledger_written_total", "Records stored.");
/// Whether the database is open.
pub const LEDGER_UP: Series =
    gauge("uni_api_ledger_up", Unit::Count, "1 while the database is open, else 0.");
/// Log lines that found no room.
pub const LOG_DROPPED: Series =
    counter("uni_api_log_dropped_total", "Log lines dropped because the log was behind.");
/// Whether the last reload worked.
pub const RELOAD_SUCCESS: Series = gauge(
    "uni_api_config_reload_success",
    Unit::Count,
    "1 when the last configuration that was read could be used, else 0.",
);
/// When the configuration was last replaced.
pub const RELOAD_TIME: Series = gauge(
    "uni_api_config_reload_timestamp_seconds",
    Unit::Seconds,
    "Unix time at which the configuration that is served was loaded.",
);
/// Which configuration is served.
pub const CONFIG: Series =
    gauge("uni_api_config_info", Unit::Count, "1, with the hash of the configuration served.");
/// Which program this is.
pub const BUILD: Series = gauge("uni_api_build_info", Unit::Count, "1, with the version of this program.");
/// Memory.
pub const MEMORY: Series = gauge("process_resident_memory_bytes", Unit::Bytes, "Resident memory.");
/// When the program started.
pub const STARTED: Series =
    gauge("process_start_time_seconds", Unit::Seconds, "Unix time at which the program started.");
/// Requests let in.
pub const PERMITS_USED: Series =
    gauge("uni_api_admission_permits_used", Unit::Count, "Requests that hold a permit of admission.");
/// Requests that may be let in.
pub const PERMITS_LIMIT: Series =
    gauge("uni_api_admission_permits_limit", Unit::Count, "Requests that may hold a permit of admission.");
/// Bytes of buffered bodies.
pub const BYTES_USED: Series =
    gauge("uni_api_admission_buffer_bytes_used", Unit::Bytes, "Bytes held for buffered bodies.");
/// Bytes that may be buffered.
pub const BYTES_LIMIT: Series =
    gauge("uni_api_admission_buffer_bytes_limit", Unit::Bytes, "Bytes that may be held for buffered bodies.");
/// Requests refused at the door.
pub const REFUSED: Series = counter(
    "uni_api_admission_refused_total",
    "Requests refused because permits or buffer bytes were used up.",
);
/// Tokens under the name that stock dashboards use.
pub const GENAI_TOKENS: Series =
    histogram("gen_ai_client_token_usage", Unit::Count, TOKENS, "Tokens of one request, by type.");
/// Duration under the name that stock dashboards use.
pub const GENAI_DURATION: Series = histogram(
    "gen_ai_server_request_duration_seconds",
    Unit::Seconds,
    SECONDS,
    "Duration of a request; error_type is empty when it went well.",
);
/// Time to the first token under the name that stock dashboards use.
pub const GENAI_FIRST_TOKEN: Series = histogram(
    "gen_ai_server_time_to_first_token_seconds",
    Unit::Seconds,
    FIRST_TOKEN,
    "Time from the request line to the first content of a stream.",
);

/// Everything that a scrape may hold.
pub const SERIES: &[Series] = &[
    REQUESTS,
    IN_FLIGHT,
    STREAMS,
    DURATION,
    OVERHEAD_TIME,
    ATTEMPTS,
    ATTEMPT_DURATION,
    TOKENS_TOTAL,
    COST,
    ESTIMATED,
    LEDGER_QUEUE,
    LEDGER_DROPPED,
    LEDGER_WRITTEN,
    LEDGER_UP,
    LOG_DROPPED,
    RELOAD_SUCCESS,
    RELOAD_TIME,
    CONFIG,
    BUILD,
    MEMORY,
    STARTED,
    PERMITS_USED,
    PERMITS_LIMIT,
    BYTES_USED,
    BYTES_LIMIT,
    REFUSED,
    GENAI_TOKENS,
    GENAI_DURATION,
    GENAI_FIRST_TOKEN,
];

/// How often samples are sorted into their buckets: it bounds the memory of those that wait.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// Most models with series of their own per process; names from configurations long gone count.
const MOST_MODELS: usize = 4096;

/// The model label of models that no channel has.
const OTHER: &str = "other";

/// The outcomes that have a label: `ok`, the failures' labels, and [`OTHER`] for any other.
const OUTCOMES: [&str; 39] = [
    "ok",
    "client_gone",
    "timeout",
    "upstream_error",
    "upstream_rate_limited",
    "upstream_key_rejected",
    "upstream_client_error",
    "upstream_too_long",
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
    "invalid_request",
    "unauthenticated",
    "permission_denied",
    "body_too_large",
    "body_timeout",
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

/// One handle per outcome, resolved when it first occurs: [`OUTCOMES`], and one for all others.
struct ByOutcome<T>([OnceLock<T>; OUTCOMES.len() + 1]);

impl<T> ByOutcome<T> {
    fn new() -> Self {
        Self([const { OnceLock::new() }; OUTCOMES.len() + 1])
    }

    fn get(&self, outcome: &str, resolve: impl FnOnce(&'static str) -> T) -> &T {
        let slot = OUTCOMES.iter().position(|known| *known == outcome).unwrap_or(OUTCOMES.len());
        self.0[slot].get_or_init(|| resolve(OUTCOMES.get(slot).copied().unwrap_or(OTHER)))
    }
}

/// The metrics of this process. Clones are handles on the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    handle: PrometheusHandle,
    models: ArcSwap<HashMap<Arc<str>, Vec<Arc<Handles>>, RandomState>>,
    /// Held while handles are added, so that none is added twice.
    growing: Mutex<()>,
    meters: Mutex<HashMap<(String, String), Arc<dyn Meters>>>,
    scraped: Mutex<Vec<Scraped>>,
    reload_success: Gauge,
    reload_time: Gauge,
    /// Hash of the configuration that is served.
    config: Mutex<Option<String>>,
}

/// Something that is read when somebody scrapes.
enum Scraped {
    Gauge(Gauge, Box<dyn Fn() -> f64 + Send>),
    Counter(Counter, Box<dyn Fn() -> u64 + Send>),
}

/// Resolves handles.
#[derive(Clone)]
struct Registry(Arc<PrometheusRecorder>);

impl Registry {
    const METADATA: Metadata<'static> = Metadata::new("uni_api", Level::INFO, None);

    fn key(series: &Series, labels: &[(&'static str, &str)]) -> Key {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        Key::from_parts(series.name, labels)
    }

    fn counter(&self, series: &Series, labels: &[(&'static str, &str)]) -> Counter {
        self.0.register_counter(&Self::key(series, labels), &Self::METADATA)
    }

    fn gauge(&self, series: &Series, labels: &[(&'static str, &str)]) -> Gauge {
        self.0.register_gauge(&Self::key(series, labels), &Self::METADATA)
    }

    fn histogram(&self, series: &Series, labels: &[(&'static str, &str)]) -> Histogram {
        self.0.register_histogram(&Self::key(series, labels), &Self::METADATA)
    }
}

/// Makes the metrics and lets the `metrics` macros of libraries count in them too. A second call
/// in one process gives metrics of their own that the macros do not reach.
pub fn install() -> Metrics {
    let metrics = Metrics::new();
    // An earlier recorder stays; what is counted here does not depend on it.
    let _ = metrics::set_global_recorder(metrics.0.registry.0.clone());
    metrics
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that nobody else counts in.
    pub fn new() -> Self {
        let mut builder = PrometheusBuilder::new();
        for series in SERIES.iter().filter(|series| series.series_type == SeriesType::Histogram) {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(series.name.to_owned()), series.buckets)
                .expect("a histogram has buckets");
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let registry = Registry(Arc::new(recorder));
        for series in SERIES {
            let (name, unit, help) = (series.name.into(), Some(series.unit), SharedString::from(series.help));
            match series.series_type {
                SeriesType::Counter => registry.0.describe_counter(name, unit, help),
                SeriesType::Gauge => registry.0.describe_gauge(name, unit, help),
                SeriesType::Histogram => registry.0.describe_histogram(name, unit, help),
            }
        }
        registry.gauge(&BUILD, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        registry.gauge(&STARTED, &[]).set(now.as_secs_f64());
        let metrics = Self(Arc::new(Inner {
            handle,
            models: ArcSwap::default(),
            growing: Mutex::default(),
            meters: Mutex::default(),
            scraped: Mutex::default(),
            reload_success: registry.gauge(&RELOAD_SUCCESS, &[]),
            reload_time: registry.gauge(&RELOAD_TIME, &[]),
            config: Mutex::default(),
            registry,
        }));
        metrics.observe(&MEMORY, resident_memory);
        metrics
    }

    /// The text of a scrape, in Prometheus' format 0.0.4.
    pub fn render(&self) -> String {
        let inner = &*self.0;
        for scraped in lock(&inner.scraped).iter() {
            match scraped {
                Scraped::Gauge(gauge, read) => gauge.set(read()),
                Scraped::Counter(counter, read) => counter.absolute(read()),
            }
        }
        let mut text = inner.handle.render();
        self.render_cost(&mut text);
        if let Some(hash) = lock(&inner.config).as_ref() {
            head(&mut text, &CONFIG, "gauge");
            let _ = writeln!(text, "{}{{hash=\"{}\"}} 1", CONFIG.name, Escaped(hash));
        }
        text
    }

    fn render_cost(&self, text: &mut String) {
        let models = self.0.models.load();
        // One series per label set: handles differ by dialect too.
        let mut sums: Vec<(&str, &str, u64)> = Vec::new();
        for handles in models.values().flatten() {
            let cost = handles.cost.load(Ordering::Relaxed);
            match sums
                .iter_mut()
                .find(|(op, model, _)| *op == handles.kind.label() && *model == &*handles.model)
            {
                Some((_, _, sum)) => *sum = sum.wrapping_add(cost),
                None => sums.push((handles.kind.label(), &handles.model, cost)),
            }
        }
        if sums.is_empty() {
            return;
        }
        head(text, &COST, "counter");
        for (operation, model, picodollars) in sums {
            let dollars = picodollars as f64 / 1e12;
            let model = Escaped(model);
            let _ = writeln!(text, "{}{{operation=\"{operation}\",model=\"{model}\"}} {dollars}", COST.name);
        }
    }

    /// Sorts samples into buckets for ever; to be spawned once.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.handle.run_upkeep();
        }
    }

    /// The handles of attempts on a channel for a model (its alias). The same for the same names.
    pub fn meters(&self, channel: &str, model: &str) -> Arc<dyn Meters> {
        let mut meters = lock(&self.0.meters);
        let key = (channel.to_owned(), model.to_owned());
        meters
            .entry(key)
            .or_insert_with(|| {
                Arc::new(ChannelMeters {
                    registry: self.0.registry.clone(),
                    duration: self
                        .0
                        .registry
                        .histogram(&ATTEMPT_DURATION, &[("channel", channel), ("model", model)]),
                    channel: channel.into(),
                    model: model.into(),
                    counters: ByOutcome::new(),
                })
            })
            .clone()
    }

    /// The handles of requests. The same for the same values.
    pub fn handles(&self, kind: Kind, dialect: Option<Dialect>, model: &str) -> Arc<Handles> {
        let matches = |handles: &&Arc<Handles>| handles.kind == kind && handles.dialect == dialect;
        let models = self.0.models.load();
        if let Some(handles) = models.get(model).and_then(|all| all.iter().find(matches)) {
            return handles.clone();
        }
        drop(models);
        let _growing = lock(&self.0.growing);
        let models = self.0.models.load_full();
        if let Some(handles) = models.get(model).and_then(|all| all.iter().find(matches)) {
            return handles.clone();
        }
        let model = if models.len() < MOST_MODELS || models.contains_key(model) { model } else { OTHER };
        let mut models = HashMap::clone(&models);
        let known = models.entry(model.into()).or_default();
        if let Some(handles) = known.iter().find(matches) {
            return handles.clone();
        }
        let handles = Arc::new(Handles::new(&self.0.registry, kind, dialect, model));
        known.push(handles.clone());
        self.0.models.store(Arc::new(models));
        handles
    }

    /// Counts a closed record.
    pub fn close(&self, closed: &Closed) {
        let entry = &closed.entry;
        let model = if entry.model_known { &*entry.model } else { OTHER };
        let dialect = entry.target.as_ref().map(|target| target.channel.dialect);
        self.handles(entry.endpoint.kind, dialect, model).close(closed);
    }

    /// Shows how full the gateway is.
    pub fn observe_capacity(&self, capacity: &Arc<Capacity>) {
        let read = |series: &Series, value: fn(&Capacity) -> usize| {
            let capacity = capacity.clone();
            self.observe(series, move || value(&capacity) as f64);
        };
        read(&IN_FLIGHT, Capacity::requests);
        read(&STREAMS, Capacity::streams);
        read(&PERMITS_USED, Capacity::requests);
        read(&PERMITS_LIMIT, |capacity| capacity.limits().0);
        read(&BYTES_USED, Capacity::bytes);
        read(&BYTES_LIMIT, |capacity| capacity.limits().1);
        let capacity = capacity.clone();
        self.observe_total(&REFUSED, move || capacity.refused());
    }

    /// Reads a gauge of [`SERIES`] whenever somebody scrapes.
    pub fn observe(&self, series: &Series, read: impl Fn() -> f64 + Send + 'static) {
        let gauge = self.0.registry.gauge(series, &[]);
        lock(&self.0.scraped).push(Scraped::Gauge(gauge, Box::new(read)));
    }

    /// Reads a counter of [`SERIES`] whenever somebody scrapes.
    pub fn observe_total(&self, series: &Series, read: impl Fn() -> u64 + Send + 'static) {
        let counter = self.0.registry.counter(series, &[]);
        lock(&self.0.scraped).push(Scraped::Counter(counter, Box::new(read)));
    }

    /// Tells that a configuration was read: the hash of the one now served, or that it was broken
    /// and the one before goes on.
    pub fn reloaded(&self, hash: Option<&str>) {
        self.0.reload_success.set(f64::from(u8::from(hash.is_some())));
        if let Some(hash) = hash {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.0.reload_time.set(now.as_secs_f64());
            *lock(&self.0.config) = Some(hash.to_owned());
        }
    }
}

/// The resolved handles of one operation and model.
pub struct Handles {
    registry: Registry,
    kind: Kind,
    dialect: Option<Dialect>,
    model: Arc<str>,
    outcomes: ByOutcome<Outcome>,
    duration: Histogram,
    overhead: Histogram,
    first_token: Histogram,
    input_size: Histogram,
    output_size: Histogram,
    input: Counter,
    output: Counter,
    cache_read: Counter,
    cache_write: Counter,
    reasoning: Counter,
    estimated: Counter,
    /// Picodollars.
    cost: AtomicU64,
}

/// The handles of requests that ended in one way.
struct Outcome {
    label: &'static str,
    requests: [OnceLock<Counter>; STATUS_CLASSES.len()],
    duration: Histogram,
}

impl Handles {
    fn new(registry: &Registry, kind: Kind, dialect: Option<Dialect>, model: &str) -> Self {
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
        let class = usize::from(entry.status.as_u16() / 100);
        let class = if class < STATUS_CLASSES.len() { class } else { 0 };
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
        Some(Dialect::OpenAiChat) => "openai",
        Some(other) => other.label(),
        None => "",
    };
    [
        ("gen_ai_operation_name", kind.label()),
        ("gen_ai_provider_name", provider),
        ("gen_ai_request_model", model),
    ]
}

struct ChannelMeters {
    registry: Registry,
    channel: Box<str>,
    model: Box<str>,
    counters: ByOutcome<Counter>,
    duration: Histogram,
}

impl Meters for ChannelMeters {
    fn attempt(&self, outcome: &'static str, elapsed: Duration) {
        let counter = self.counters.get(outcome, |label| {
            let labels = [("channel", &*self.channel), ("model", &*self.model), ("outcome", label)];
            self.registry.counter(&ATTEMPTS, &labels)
        });
        counter.increment(1);
        self.duration.record(elapsed.as_secs_f64());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn head(text: &mut String, series: &Series, kind: &str) {
    let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", series.name, series.help, series.name);
}

/// A label value as the text format wants it.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Resident memory in bytes, as the kernel tells it; 0 where it does not.
fn resident_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) * 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Price;
    use crate::values::testing::entry;

    fn closed(change: impl FnOnce(&mut layers::ledger::Entry)) -> Closed {
        let mut entry = entry("gpt-4o");
        change(&mut entry);
        Closed::new(entry, Price::flat(1_000_000, 2_000_000))
    }

    fn has(text: &str, line: &str) -> bool {
        text.lines().any(|found| found == line)
    }

    #[test]
    fn every_declared_series_is_rendered_under_its_name_with_its_help_and_kind() {
        let metrics = Metrics::new();
        metrics.close(&closed(|_| {}));
        metrics.meters("main", "gpt-4o").attempt("ok", Duration::from_millis(3));
        metrics.reloaded(Some("abc"));
        metrics.observe_capacity(&Capacity::new(1, 1));
        for series in [&LEDGER_QUEUE, &LEDGER_UP] {
            metrics.observe(series, || 1.0);
        }
        for series in [&LEDGER_DROPPED, &LEDGER_WRITTEN, &LOG_DROPPED] {
            metrics.observe_total(series, || 1);
        }

        let text = metrics.render();

        for series in SERIES {
            let (kind, sample) = match series.series_type {
                SeriesType::Counter => ("counter", series.name.to_owned()),
                SeriesType::Gauge => ("gauge", series.name.to_owned()),
                SeriesType::Histogram => ("histogram", format!("{}_bucket", series.name)),
            };
            assert!(
                has(&text, &format!("# HELP {} {}", series.name, series.help)),
                "help of {}",
                series.name
            );
            assert!(has(&text, &format!("# TYPE {} {kind}", series.name)), "type of {}", series.name);
            let sampled = text.lines().any(|line| {
                line.strip_prefix(&sample).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
            });
            assert!(sampled, "no sample of {}:\n{text}", series.name);
        }
    }

    #[test]
    fn names_carry_our_prefix_or_a_stock_one_and_end_in_their_unit() {
        for series in SERIES {
            let name = series.name;
            assert!(
                ["uni_api_", "process_", "gen_ai_"].iter().any(|prefix| name.starts_with(prefix)),
                "{name}"
            );
            assert_eq!(series.series_type == SeriesType::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(series.unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
            assert_eq!(series.unit == Unit::Bytes, name.contains("_bytes"), "{name}");
            assert_eq!(series.series_type == SeriesType::Histogram, !series.buckets.is_empty(), "{name}");
            assert!(series.buckets.is_sorted(), "{name}");
        }
    }

    #[test]
    fn cost_is_told_in_dollars_over_all_dialects_of_a_model() {
        let metrics = Metrics::new();

        metrics.close(&closed(|_| {}));
        metrics.close(&closed(|entry| entry.target = None));

        let line = "uni_api_cost_usd_total{operation=\"chat\",model=\"gpt-4o\"} 0.00004";
        assert!(has(&metrics.render(), line), "{}", metrics.render());
    }

    #[test]
    fn a_model_that_no_channel_has_is_never_a_label() {
        let metrics = Metrics::new();

        metrics.close(&closed(|entry| {
            entry.model = "sk-pasted-by-mistake".into();
            entry.model_known = false;
        }));

        let text = metrics.render();
        assert!(text.contains("model=\"other\"") && !text.contains("sk-pasted"), "{text}");
    }

    #[test]
    fn the_wait_for_an_upstream_is_not_overhead() {
        let metrics = Metrics::new();

        // Accepted after 250.1 ms, 250 ms of them waiting.
        metrics.close(&closed(|_| {}));

        let text = metrics.render();
        assert!(has(&text, "uni_api_overhead_seconds_bucket{operation=\"chat\",le=\"0.0001\"} 1"), "{text}");
        assert!(has(&text, "uni_api_overhead_seconds_bucket{operation=\"chat\",le=\"0.00008\"} 0"), "{text}");
    }

    #[test]
    fn an_outcome_without_a_label_of_its_own_counts_as_other() {
        let metrics = Metrics::new();

        metrics.meters("main", "gpt-4o").attempt("brand_new", Duration::ZERO);

        let line = "uni_api_attempts_total{channel=\"main\",model=\"gpt-4o\",outcome=\"other\"} 1";
        assert!(has(&metrics.render(), line), "{}", metrics.render());
    }

    #[test]
    fn buffered_bytes_are_shown_while_they_are_held() {
        let metrics = Metrics::new();
        let capacity = Capacity::new(7, 1000);
        metrics.observe_capacity(&capacity);

        let mut held = capacity.hold();
        held.grow(300).unwrap();
        let during = metrics.render();
        drop(held);

        assert!(has(&during, &format!("{} 300", BYTES_USED.name)), "{during}");
        assert!(has(&during, &format!("{} 7", PERMITS_LIMIT.name)), "{during}");
        assert!(has(&metrics.render(), &format!("{} 0", BYTES_USED.name)));
    }

    #[test]
    fn a_broken_reload_keeps_the_hash_of_what_is_served() {
        let metrics = Metrics::new();
        metrics.reloaded(Some("good"));

        metrics.reloaded(None);

        let text = metrics.render();
        assert!(has(&text, "uni_api_config_reload_success 0"));
        assert!(has(&text, "uni_api_config_info{hash=\"good\"} 1"));
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(Escaped("a\"b\\c\nd").to_string(), "a\\\"b\\\\c\\nd");
    }
}
