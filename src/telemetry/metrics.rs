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
//! Histograms are long, so none has a label for which a configuration may have hundreds of values: the
//! stock ones know the first [`MOST_STOCK`] models by name.
//!
//! Cost is kept here in whole picodollars and rendered in dollars, because the exporter's counters
//! are whole numbers; whatever has labels that come and go (channels, client keys, the configuration's
//! hash) is rendered here too ([`Page`]).

mod handles;
mod process;
mod samples;
mod series;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use dialect::{Dialect, Kind};
use foldhash::fast::RandomState;
use layers::capacity::Capacity;
use layers::ports::Meters;
use layers::visit::Visit;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::visit_line::operation;
use crate::values::Closed;

pub use self::handles::Handles;
pub use self::samples::{Page, Samples};
pub use self::series::*;

use self::handles::{ChannelMeters, OTHER, Told, status_class};

/// How often samples are sorted into their buckets: it bounds the memory of those that wait.
pub const UPKEEP: Duration = Duration::from_secs(5);

/// Most models with series of their own per process; names from configurations long gone count.
const MOST_MODELS: usize = 4096;

/// Models that have stock series of their own: the first that are used.
pub const MOST_STOCK: usize = 20;

/// The metrics of this process. Clones are handles on the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    handle: PrometheusHandle,
    models: ArcSwap<HashMap<Arc<str>, Vec<Arc<Handles>>, RandomState>>,
    /// Held while handles are added, so that none is added twice. The models with stock series.
    growing: Mutex<HashSet<Arc<str>>>,
    meters: Mutex<HashMap<(String, String), Arc<ChannelMeters>>>,
    scraped: Mutex<Vec<Scraped>>,
    reload_success: Gauge,
    reload_time: Gauge,
    source_up: Gauge,
    /// Hash of the configuration that is served.
    config: Mutex<Option<String>>,
}

/// A metric whose value is read when somebody scrapes.
enum Scraped {
    Gauge(Gauge, Box<dyn Fn() -> f64 + Send>),
    Counter(Counter, Box<dyn Fn() -> u64 + Send>),
    Page(Box<dyn Fn(&mut Page<'_>) + Send>),
}

/// An outcome of reading the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload<'a> {
    /// The one with this hash is served now.
    Loaded(&'a str),
    /// It could not be used; the one before serves on.
    Broken,
    /// Its source is gone, empty or cannot be reached; the one before serves on.
    Unreadable,
}

/// A recorder that resolves handles.
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
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("os", std::env::consts::OS),
            ("arch", std::env::consts::ARCH),
        ];
        registry.gauge(&BUILD, &build).set(1.0);
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
            source_up: registry.gauge(&SOURCE_UP, &[]),
            config: Mutex::default(),
            registry,
        }));
        process::observe(&metrics);
        metrics
    }

    /// The text of a scrape, in Prometheus' format 0.0.4.
    pub fn render(&self) -> String {
        let inner = &*self.0;
        let scraped = lock(&inner.scraped);
        for one in scraped.iter() {
            match one {
                Scraped::Gauge(gauge, read) => gauge.set(read()),
                Scraped::Counter(counter, read) => counter.absolute(read()),
                Scraped::Page(_) => {}
            }
        }
        let mut text = inner.handle.render();
        for one in scraped.iter() {
            if let Scraped::Page(write) = one {
                write(&mut Page(&mut text));
            }
        }
        drop(scraped);
        self.render_cost(&mut text);
        if let Some(hash) = lock(&inner.config).as_ref() {
            Page(&mut text).of(&CONFIG).add(&[hash], 1.0);
        }
        text
    }

    fn render_cost(&self, text: &mut String) {
        let models = self.0.models.load();
        let mut page = Page(text);
        let mut samples = page.of(&COST);
        for (model, handles) in models.iter() {
            // One sample per label set: handles differ by dialect too.
            let mut sums: Vec<(&str, u64)> = Vec::new();
            for handles in handles {
                let (operation, cost) = (handles.kind.label(), handles.cost.load(Ordering::Relaxed));
                match sums.iter_mut().find(|(known, _)| *known == operation) {
                    Some((_, sum)) => *sum = sum.wrapping_add(cost),
                    None => sums.push((operation, cost)),
                }
            }
            for (operation, picodollars) in sums {
                samples.add(&[operation, model], picodollars as f64 / 1e12);
            }
        }
    }

    /// Sorts samples into buckets, and tells the log what was kept back from it, for ever; to be
    /// spawned once.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.handle.run_upkeep();
            self.tell_rest(false);
        }
    }

    /// Tells the log how many failed attempts it was not told of; at the end of the program also of
    /// those that were just now.
    pub fn tell_rest(&self, is_end: bool) {
        let now = tokio::time::Instant::now();
        lock(&self.0.meters).values().for_each(|meters| meters.tell_rest(now, is_end));
    }

    /// The handles of attempts on a channel for a model (its alias). The same for the same names.
    pub fn meters(&self, channel: &str, model: &str) -> Arc<dyn Meters> {
        let mut meters = lock(&self.0.meters);
        let key = (channel.to_owned(), model.to_owned());
        let new = || Arc::new(ChannelMeters::new(&self.0.registry, channel, model));
        meters.entry(key).or_insert_with(new).clone()
    }

    /// The handles of requests. The same for the same values.
    pub fn handles(&self, kind: Kind, dialect: Option<Dialect>, model: &str) -> Arc<Handles> {
        let matches = |handles: &&Arc<Handles>| handles.kind == kind && handles.dialect == dialect;
        let models = self.0.models.load();
        if let Some(handles) = models.get(model).and_then(|all| all.iter().find(matches)) {
            return handles.clone();
        }
        drop(models);
        let mut stock = lock(&self.0.growing);
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
        let has_stock = model != OTHER
            && (stock.contains(model) || (stock.len() < MOST_STOCK && stock.insert(model.into())));
        let told = Told { kind, dialect, model, stock: if has_stock { model } else { OTHER } };
        let handles = Arc::new(Handles::new(&self.0.registry, told));
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

    /// Counts a request without a record. What it asked for may be anybody's invention, so no model
    /// and no path is a label.
    pub fn visit(&self, visit: &Visit) {
        let labels = [
            ("operation", operation(visit)),
            ("model", OTHER),
            ("outcome", visit.outcome()),
            ("status", status_class(visit.status)),
        ];
        self.0.registry.counter(&REQUESTS, &labels).increment(1);
        if let Some(reason) = visit.failure {
            self.0.registry.counter(&REFUSED_REQUESTS, &[("reason", reason)]).increment(1);
        }
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

    /// Lets `write` add samples whenever somebody scrapes: those of series whose labels come and go.
    pub fn observe_page(&self, write: impl Fn(&mut Page<'_>) + Send + 'static) {
        lock(&self.0.scraped).push(Scraped::Page(Box::new(write)));
    }

    /// Tells what came of reading the configuration.
    pub fn reloaded(&self, reload: Reload<'_>) {
        let result = match reload {
            Reload::Loaded(_) => "ok",
            Reload::Broken => "broken",
            Reload::Unreadable => "unreadable",
        };
        self.0.registry.counter(&RELOADS, &[("result", result)]).increment(1);
        self.0.source_up.set(f64::from(u8::from(reload != Reload::Unreadable)));
        self.0.reload_success.set(f64::from(u8::from(matches!(reload, Reload::Loaded(_)))));
        if let Reload::Loaded(hash) = reload {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.0.reload_time.set(now.as_secs_f64());
            *lock(&self.0.config) = Some(hash.to_owned());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
