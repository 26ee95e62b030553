//! The life of a serving process: configuration, state, listeners, and an end that loses nothing.

mod demo;
mod descriptors;
mod gauges;
mod memory;
mod signals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use layers::capacity::Capacity;
use layers::policy::Fingerprint;
use layers::ports::Records;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

pub use self::demo::demo;
pub use self::signals::Signals;

use self::memory::buffer_budget;
use crate::accounting::{self, Recorder, Writer};
use crate::admin;
use crate::config::problem::count;
use crate::config::source::{LastGood, Source, Text};
use crate::config::{Environment, Loaded, environment, load};
use crate::lifecycle::{Phase, reached};
use crate::pipeline::{Parts, Room};
use crate::providers;
use crate::recall::Recall;
use crate::server::{self, Serving, Trusted};
use crate::snapshot::{CurrentSnapshot, FIRST_ROUND, Publisher, fingerprint, tell};
use crate::state::Runtime;
use crate::state::keys::KeyHistory;
use crate::telemetry::metrics::{self, Metrics, Reload};
use crate::telemetry::request_log::RequestLog;
use crate::telemetry::traces::Traces;
use crate::upstream::{Aside, Fetcher, GuardedMedia, Upstream, certificate_problems};

/// Requests at once. Each costs some tens of kilobytes, so memory is gone before this is.
const MOST_REQUESTS: usize = 50_000;

/// The parts that a serving process starts from.
pub struct Startup {
    /// Where the configuration comes from.
    pub source: Source,
    /// Its first text.
    pub text: Text,
    /// The process's environment.
    pub env: Arc<Environment>,
    /// Where the log goes.
    pub log: RequestLog,
    /// Where spans go; none where no traces are sent.
    pub traces: Option<Traces>,
    /// Told to a person when it is known where the process listens: the demo's lines to try.
    pub announce: Option<fn(SocketAddr) -> std::io::Result<()>>,
}

impl Startup {
    /// Finds and reads the configuration.
    ///
    /// # Errors
    /// One sentence that says what to do.
    pub async fn find(
        flag: Option<&Path>,
        env: Arc<Environment>,
        log: RequestLog,
        traces: Option<Traces>,
    ) -> anyhow::Result<Self> {
        let folder = PathBuf::from(".");
        let source = Source::find(flag, &env, &folder)?;
        let copy = match &source {
            Source::Url(url) => LastGood::beside(&env.database, url, &folder),
            _ => LastGood::beside(&env.database, "", &folder),
        };
        let text = source.read_first(&Fetcher::new(None), &copy).await?;
        if let Some(reason) = &text.stale {
            tracing::warn!(reason, "The configuration's URL cannot be reached; its last good copy serves.");
        }
        Ok(Self { source, text, env, log, traces, announce: None })
    }

    /// Serves until the process is told to stop.
    ///
    /// # Errors
    /// A configuration that cannot be served, with all its problems; an address that cannot be
    /// bound.
    pub async fn serve(self, signals: Signals) -> anyhow::Result<()> {
        let Self { source, text, env, log, traces, announce } = self;
        let start = tracing::info_span!(target: "process", "start", source = source.describe());
        descriptors::raise();
        tell(&env.warnings);
        for problem in certificate_problems(env.var("SSL_CERT_FILE"), env.var("SSL_CERT_DIR")) {
            tracing::warn!(problem, "Certificates that the environment names cannot be used.");
        }
        let loaded = load(&text.text, text.origin.clone(), &env)
            .map_err(|problems| ConfigRefused { what: source.describe(), problems })?;
        tell(&loaded.warnings);

        let (steer, phase) = watch::channel(Phase::Starting);
        let reload = signals.reload();
        let steering = tokio::spawn(steer_phases(signals, steer.clone(), env.clone()));
        let metrics = metrics::install();
        let history = Arc::new(KeyHistory::new(env.database != environment::Database::Off));
        let runtime = Arc::new(Runtime::new(Some(history.clone())));
        let publisher = publisher(loaded, &env, &runtime, &metrics, &source);
        publisher.keep(&text.text);
        metrics.reloaded(Reload::Loaded(&fingerprint(&text.text)));
        if text.stale.is_some() {
            metrics.reloaded(Reload::Unreadable);
        }
        let current = publisher.current();

        let recall = Recall::new(runtime.clone(), history.clone(), current.clone());
        let ledger = ledger(&env, &current, &metrics, &recall, phase.clone())?;
        let writer = ledger.as_ref().map(|(writer, _)| writer.clone());
        let records = Recorder::new(current.clone(), metrics.clone())
            .with_log(log.clone())
            .with_writer(writer.clone())
            .with_traces(traces.clone())
            .with_balances(runtime.accounts().clone())
            .with_history(history);
        let records: Arc<dyn Records> = Arc::new(records);
        let capacity = Capacity::new(MOST_REQUESTS, buffer_budget());
        metrics.observe_capacity(&capacity);
        gauges::observe(&metrics, &runtime, &current);
        observe_rest(&metrics, &log);
        let most_body = usize::try_from(env.max_body_bytes).unwrap_or(usize::MAX);
        let media = Arc::new(GuardedMedia::new(capacity.clone(), env.fetch_allow_private));
        let room = Room { capacity, most_body };
        let parts = Parts {
            sampler: traces.as_ref().map(Traces::sampler),
            ..Parts::new(&runtime, &current, metrics.clone(), records, media, room)
        };

        let listener = bind(&env.host, env.port).await?;
        if let Some(writer) = &writer {
            let mut told = phase.clone();
            tokio::select! {
                () = recall.ready(writer) => {}
                () = reached(&mut told, Phase::Draining) => {}
            }
        }
        let scraping = match env.metrics_addr {
            Some(address) => admin::metrics_listener(address, metrics.clone(), phase.clone()).await,
            None => None,
        };
        let (client_keys, channels, models) = current.load().size();
        tracing::info!(
            address = %listener.local_addr()?,
            metrics = scraping.map(|address| address.to_string()),
            configuration = source.describe(),
            client_keys,
            channels,
            models,
            "Serving."
        );
        if let Some(announce) = announce {
            announce(listener.local_addr()?)?;
        }
        drop(start);
        let sending = traces.as_ref().and_then(|traces| {
            traces.report_to(&metrics);
            traces.start(Upstream::new(providers::inside))
        });
        let upkeep = tokio::spawn(metrics.clone().upkeep());
        let side_client = Arc::new(Aside::new(Upstream::new(providers::inside)));
        let renewing = tokio::spawn(runtime.tokens().clone().renew(side_client));
        let remembering = tokio::spawn(recall.follow(writer));
        let following = tokio::spawn(follow(publisher, source, text, reload, steer.clone(), phase.clone()));
        let serving = Serving {
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            client_stall: env.client_stall,
            trusted: Trusted::new(env.trusted_proxies.clone()),
            metrics: metrics.clone(),
        };
        server::serve(listener, parts, serving, phase).await?;

        steer.send_replace(Phase::Ended);
        upkeep.abort();
        metrics.tell_rest(true);
        renewing.abort();
        remembering.abort();
        let _ = following.await;
        if let Some(traces) = &traces {
            traces.finish();
        }
        if let Some((writer, writing)) = ledger {
            writer.finish();
            let _ = writing.await;
        }
        if let Some(sending) = sending {
            let _ = sending.await;
        }
        steering.abort();
        tracing::info!("Stopped.");
        Ok(())
    }
}

/// A configuration that cannot be served.
#[derive(Debug)]
pub struct ConfigRefused {
    /// Where it is from.
    pub what: String,
    /// Why not.
    pub problems: Vec<crate::config::Problem>,
}

impl std::fmt::Display for ConfigRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, problems } = self;
        writeln!(f, "{what} cannot be served:")?;
        // Errors last: they are what is looked for, and warnings would push them off the screen.
        let (errors, others): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.is_error());
        others.iter().chain(&errors).try_for_each(|problem| writeln!(f, "{problem}"))?;
        writeln!(f, "{} in {what}", count(errors.len(), "problem"))
    }
}

impl std::error::Error for ConfigRefused {}

fn publisher(
    loaded: Loaded,
    env: &Arc<Environment>,
    runtime: &Arc<Runtime>,
    metrics: &Metrics,
    source: &Source,
) -> Publisher {
    let mut publisher = Publisher::new(loaded, env.clone(), runtime.clone(), metrics.clone());
    publisher.keep_copies(source, Path::new("."));
    publisher
}

/// Waits for the first model lists, declares readiness, and follows the configuration.
async fn follow(
    mut publisher: Publisher,
    source: Source,
    text: Text,
    reload: Arc<Notify>,
    steer: watch::Sender<Phase>,
    phase: watch::Receiver<Phase>,
) {
    let mut told = phase.clone();
    tokio::select! {
        _round = tokio::time::timeout(FIRST_ROUND, publisher.first_round()) => {}
        () = reached(&mut told, Phase::Draining) => {}
    }
    steer.send_if_modified(|phase| {
        let starting = *phase == Phase::Starting;
        if starting {
            *phase = Phase::Serving;
        }
        starting
    });
    publisher.run(source, text, reload, Arc::new(Fetcher::new(None)), phase).await;
}

/// Told to stop: first readiness fails, then the listener closes, then a grace for what is under
/// way. Told again, what is left of the grace is skipped, and then what is left of everything.
async fn steer_phases(mut signals: Signals, steer: watch::Sender<Phase>, env: Arc<Environment>) {
    signals.told_to_stop().await;
    // Nobody sends requests to a process that was never ready.
    let starting = *steer.borrow() == Phase::Starting;
    let delay = if starting { Duration::ZERO } else { env.drain_delay };
    tracing::info!(?delay, grace = ?env.drain_seconds, "Told to stop.");
    let advance = |to| {
        steer.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = to.max(*phase);
            later
        })
    };
    for (next, pause) in [(Phase::Draining, delay), (Phase::Closing, env.drain_seconds)] {
        advance(next);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.told_to_stop() => break,
        }
    }
    if advance(Phase::Ending) {
        signals.told_to_stop().await;
    }
    // What is left is the ledger's last rows, and a database that does not take them.
    tracing::warn!("Told to stop once more: ends at once.");
    std::process::exit(1);
}

type Ledger = (Writer, tokio::task::JoinHandle<()>);

fn ledger(
    env: &Environment,
    current: &Arc<CurrentSnapshot>,
    metrics: &Metrics,
    recall: &Recall,
    phase: watch::Receiver<Phase>,
) -> anyhow::Result<Option<Ledger>> {
    let Some(database) = accounting::Database::of(&env.database)? else { return Ok(None) };
    let mut settings = accounting::LedgerSettings::new(database, |key| {
        crate::config::settings::SecretText::from(key).fingerprint()
    });
    settings.retention_days = env.retention_days;
    settings.recall = Some(recall.reading());
    if env.stats_plain_keys {
        let current = current.clone();
        settings.plain_keys =
            Some(Arc::new(move |fingerprint: &Fingerprint| current.load().plain_key(fingerprint)));
    }
    let (writer, task) = accounting::start(settings, phase);
    writer.report_to(metrics);
    Ok(Some((writer, task)))
}

/// Shows what the log and the machine tell.
fn observe_rest(metrics: &Metrics, log: &RequestLog) {
    let (dropped, waiting) = (log.clone(), log.clone());
    metrics.observe_total(&metrics::LOG_DROPPED, move || dropped.dropped());
    metrics.observe(&metrics::LOG_WAITING, move || waiting.waiting() as f64);
    if let Some(limit) = memory::limit() {
        metrics.observe(&metrics::MEMORY_LIMIT, move || limit as f64);
    }
}

async fn bind(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    let address = (host, port);
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{host}:{port} cannot be listened on: set HOST and PORT"))
}
