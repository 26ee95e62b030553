//! Turns what changes (the configuration's text, discovered models) into what is served.
//!
//! The only writer of the [`CurrentSnapshot`]. A text that is broken changes nothing: the last good
//! configuration serves on, a log line and a gauge say so. What is learnt at run time is in the
//! [`Runtime`], keyed by name, and is pruned after each change.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tracing::field::Empty;

use super::difference::Difference;
use super::discovery::{Discovery, Found};
use super::{CurrentSnapshot, Discovered, Snapshot, compile};
use crate::config::source::{Fetch, LastGood, Source, Text};
use crate::config::watch::Change;
use crate::config::{Environment, Loaded, Origin, Problem, Settings, Severity, load};
use crate::lifecycle::{Phase, reached};
use crate::state::{Live, Runtime};
use crate::telemetry::metrics::{Metrics, Reload};

/// Writer of the current snapshot, with everything that a configuration is compiled with.
pub struct Publisher {
    env: Arc<Environment>,
    runtime: Arc<Runtime>,
    metrics: Metrics,
    settings: Arc<Settings>,
    discovered: Discovered,
    discovery: Discovery,
    found: mpsc::Receiver<Found>,
    current: Arc<CurrentSnapshot>,
    /// Where the last text from a URL that could be served is kept.
    copy: Option<LastGood>,
}

impl Publisher {
    /// Compiles and publishes a first configuration.
    pub fn new(loaded: Loaded, env: Arc<Environment>, runtime: Arc<Runtime>, metrics: Metrics) -> Self {
        let (sender, found) = mpsc::channel(64);
        let mut discovery = Discovery::new(sender);
        let settings = Arc::new(loaded.settings);
        discovery.follow(&settings, &runtime);
        let discovered = Discovered::new();
        let snapshot = Arc::new(compile(settings.clone(), &discovered, &runtime, &metrics));
        let current = Arc::new(CurrentSnapshot::new(snapshot));
        Self { env, runtime, metrics, settings, discovered, discovery, found, current, copy: None }
    }

    /// Where it publishes.
    pub fn current(&self) -> Arc<CurrentSnapshot> {
        self.current.clone()
    }

    /// Keeps texts from `source` that could be served, if it is a URL.
    pub fn keep_copies(&mut self, source: &Source, folder: &Path) {
        if let Source::Url(url) = source {
            self.copy = Some(LastGood::beside(&self.env.database, url, folder));
        }
    }

    /// Keeps this text as one that could be served.
    pub fn keep(&self, text: &str) {
        if let Some(copy) = &self.copy
            && let Err(error) = copy.store(text)
        {
            tracing::warn!(%error, "The configuration could not be kept for a start without its URL.");
        }
    }

    /// Waits until every channel that is asked for its models has answered.
    pub async fn first_round(&mut self) {
        while self.discovered.len() < self.discovery.count() {
            let Some(found) = self.found.recv().await else { return };
            self.learn(found);
        }
    }

    /// Follows `source` until the process ends; `reload` asks for it now, changed or not.
    pub async fn run(
        mut self,
        source: Source,
        text: Text,
        reload: Arc<Notify>,
        fetch: Arc<dyn Fetch>,
        mut phase: watch::Receiver<Phase>,
    ) {
        let (sender, mut changes) = mpsc::channel(1);
        let origin = text.origin.clone();
        let poll = self.env.config_url_poll;
        let mut stop = phase.clone();
        let watching = tokio::spawn(async move {
            let stop = async move { reached(&mut stop, Phase::Closing).await };
            crate::config::watch::watch(source, &text, poll, &reload, fetch, sender, stop).await;
        });
        loop {
            tokio::select! {
                Some(change) = changes.recv() => match change {
                    Change::Text(text) => self.change(&text, &origin),
                    Change::Unusable(error) => {
                        tracing::error!(%error, "Configuration cannot be used; the last good one serves on.");
                        self.metrics.reloaded(Reload::Unreadable);
                    }
                },
                Some(found) = self.found.recv() => self.learn(found),
                () = reached(&mut phase, Phase::Closing) => break,
            }
        }
        let _ = watching.await;
    }

    /// A new text came.
    fn change(&mut self, text: &str, origin: &Origin) {
        let span = tracing::info_span!(target: "process", "reload", otel.status_code = Empty);
        let _entered = span.enter();
        match load(text, origin.clone(), &self.env) {
            Ok(loaded) => {
                tell(&loaded.warnings);
                self.keep(text);
                self.settings = Arc::new(loaded.settings);
                for channel in self.discovery.follow(&self.settings, &self.runtime) {
                    self.discovered.remove(&channel);
                }
                let before = self.current.load();
                self.publish();
                let after = self.current.load();
                let (client_keys, channels, models) = after.size();
                let Difference { added, removed, changed } = Difference::between(&before, &after);
                tracing::info!(
                    client_keys,
                    channels,
                    models,
                    added,
                    removed,
                    changed,
                    "Configuration loaded."
                );
                self.metrics.reloaded(Reload::Loaded(&fingerprint(text)));
            }
            Err(problems) => {
                tell(&problems);
                span.record("otel.status_code", "ERROR");
                tracing::error!("Configuration cannot be used; the last good one serves on.");
                self.metrics.reloaded(Reload::Broken);
            }
        }
    }

    fn learn(&mut self, found: Found) {
        if found.models.is_empty() {
            // It has answered; what it told before stands.
            self.discovered.entry(found.channel).or_default();
        } else {
            self.discovered.insert(found.channel, found.models);
        }
        self.publish();
    }

    fn publish(&self) {
        let snapshot =
            Arc::new(compile(self.settings.clone(), &self.discovered, &self.runtime, &self.metrics));
        self.current.publish(snapshot.clone());
        prune(&self.runtime, &snapshot);
    }
}

/// Forgets what the configuration no longer has.
pub fn prune(runtime: &Runtime, snapshot: &Snapshot) {
    runtime.prune(&Live {
        channel: &|name| snapshot.has_channel(name),
        target: &|name, alias, place| snapshot.has_place(name, alias, place),
        caller: &|fingerprint| snapshot.has_caller(fingerprint),
        model: &|alias| snapshot.has_model(alias),
    });
}

/// What stands for a configuration's text in a metric.
pub fn fingerprint(text: &str) -> String {
    crate::config::settings::SecretText::from(text).fingerprint().as_str().to_owned()
}

/// Logs problems of a configuration, one line each.
pub fn tell(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Error => tracing::error!(%problem, "Configuration problem."),
            Severity::Warning => tracing::warn!(%problem, "Configuration problem."),
            Severity::Note => tracing::info!(%problem, "Configuration note."),
        }
    }
}
