//! Sends traces to a receiver of OTLP, beside the request path.
//!
//! Whether a request's spans are sent is decided when it comes (`layers::trace_context`); nothing
//! lives or is carried for them while it is served. A closed record is left in a bounded queue; one
//! task makes its spans (`tree`) and hands them over in batches (`export`). What finds no room, or no
//! receiver, is counted and lost: a trace never slows a request.
//!
//! What the process itself does (start, reload, discovery, renewal of tokens, the database's
//! migration) are spans of `tracing` with the target [`PROCESS`], which [`Traces::layer`] turns into
//! spans of the same queue. They are few, so all of them are sent unless the sampler is `always_off`.

mod export;
mod tree;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use layers::trace_context::Sampler;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{RandomIdGenerator, Span, SpanData, SpanProcessor};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use self::export::Exporter;
pub use self::export::Receivers;
use super::metrics::{Metrics, SPANS_DROPPED, SPANS_EXPORTED, SPANS_WAITING};
use crate::values::{Closed, TraceSettings};

/// The target of spans about the process itself. No line of the log tells of them.
pub const PROCESS: &str = "process";

/// The way to the receiver. Clones share one queue.
#[derive(Clone)]
pub struct Traces(Arc<Shared>);

struct Shared {
    settings: TraceSettings,
    queue: mpsc::Sender<Waiting>,
    /// Taken by whoever sends.
    rest: Mutex<Option<mpsc::Receiver<Waiting>>>,
    finish: Notify,
    counts: Counts,
}

/// Spans, or what they will be made of.
enum Waiting {
    /// A record, and when it was closed.
    Request(Arc<Closed>, SystemTime),
    Made(Box<SpanData>),
}

/// Numbers of spans by what became of them.
#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicU64,
    exported: AtomicU64,
    queue_full: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

impl Waiting {
    fn spans(&self) -> u64 {
        match self {
            Self::Request(closed, _) => tree::count(&closed.entry),
            Self::Made(_) => 1,
        }
    }
}

impl Traces {
    /// A queue that nobody empties yet.
    pub fn new(settings: TraceSettings) -> Self {
        let (queue, rest) = mpsc::channel(settings.queue.max(1));
        let (rest, finish, counts) = (Mutex::new(Some(rest)), Notify::new(), Counts::default());
        Self(Arc::new(Shared { settings, queue, rest, finish, counts }))
    }

    /// By which it is decided what is sent.
    pub fn sampler(&self) -> Sampler {
        self.0.settings.sampler
    }

    /// Takes a record that was closed just now and whose spans are sent. Never waits.
    pub fn record(&self, closed: Arc<Closed>) {
        self.leave(Waiting::Request(closed, SystemTime::now()));
    }

    fn leave(&self, waiting: Waiting) {
        let (counts, spans) = (&self.0.counts, waiting.spans());
        counts.waiting.fetch_add(spans, Ordering::Relaxed);
        if self.0.queue.try_send(waiting).is_err() {
            counts.waiting.fetch_sub(spans, Ordering::Relaxed);
            counts.queue_full.fetch_add(spans, Ordering::Relaxed);
        }
    }

    /// What makes spans of the process's own ones; none where no trace that begins here is sent.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let tracer = tree::tracer(RandomIdGenerator::default(), OfProcess(self.clone()));
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false);
        let of_process = filter_fn(|metadata| metadata.target() == PROCESS);
        (!self.sampler().is_never()).then(|| layer.with_filter(of_process))
    }

    /// Starts sending, by way of `receivers`. A second call starts nothing.
    pub fn start(&self, receivers: impl Receivers) -> Option<JoinHandle<()>> {
        let rest = self.0.rest.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(tokio::spawn(Exporter::new(self.0.clone(), rest, receivers).run()))
    }

    /// Sends what waits, takes no more, and ends the task that sends.
    pub fn finish(&self) {
        self.0.finish.notify_one();
    }

    /// Shows what becomes of spans.
    pub fn report_to(&self, metrics: &Metrics) {
        let read = |value: fn(&Counts) -> &AtomicU64| {
            let shared = self.0.clone();
            move || value(&shared.counts).load(Ordering::Relaxed)
        };
        metrics.observe_total(&SPANS_EXPORTED, read(|counts| &counts.exported));
        let waiting = read(|counts| &counts.waiting);
        metrics.observe(&SPANS_WAITING, move || waiting() as f64);
        let shared = self.0.clone();
        metrics.observe_page(move |page| {
            let mut samples = page.of(&SPANS_DROPPED);
            let Counts { queue_full, rejected, failed, .. } = &shared.counts;
            for (reason, count) in [("queue_full", queue_full), ("rejected", rejected), ("failed", failed)] {
                samples.add(&[reason], count.load(Ordering::Relaxed) as f64);
            }
        });
    }
}

/// A processor that leaves spans of the process in the queue.
struct OfProcess(Traces);

impl std::fmt::Debug for OfProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OfProcess")
    }
}

impl SpanProcessor for OfProcess {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.leave(Waiting::Made(Box::new(span)));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
