//! From checked settings to what runs: interned names, providers, targets, routes.
//!
//! Nothing here can fail: what could not be served was refused when the text was loaded. State
//! that outlives a configuration is fetched from the [`Runtime`] by name, so compiling the same
//! channel again finds its cooldowns and keys as they were.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use layers::address::Addresses;
use layers::endpoint;
use layers::policy::{Caller, Channel, ChannelName, Takes, Target, UsageWish};
use layers::ports::{Provider, Timing};

use super::access::{self, ChannelAccess};
use super::discovery::{FIRST_ROUND, Listed, Told};
use super::{CallerEntry, KeyTable, Snapshot};
use crate::config::settings::{CallerSettings, ChannelSettings, ModelSettings, Settings};
use crate::engine::Engine;
use crate::providers;
use crate::routing::{Access, Offers, Routes};
use crate::state::Runtime;
use crate::state::keys::KeySettings;
use crate::telemetry::metrics::Metrics;

/// Model lists that upstreams told, by channel.
pub type Discovered = HashMap<ChannelName, Arc<[Listed]>>;

/// Compiles settings, with the models that were discovered so far.
pub fn compile(
    settings: Arc<Settings>,
    discovered: &Discovered,
    runtime: &Runtime,
    metrics: &Metrics,
) -> Snapshot {
    let mut pending = None;
    let mut targets = Vec::new();
    let mut told = HashMap::default();
    for (ordinal, settings) in settings.channels.iter().enumerate() {
        let found = settings.discover.then(|| discovered.get(&settings.name));
        if matches!(found, Some(None)) && settings.listing().is_some() {
            pending = Some(runtime.started() + FIRST_ROUND);
        }
        let found = found.flatten().map(AsRef::as_ref).unwrap_or_default();
        let models = models(settings, found, &mut told);
        let mut channels = Channels::new(settings, &models, runtime);
        for model in &models {
            let mut known: Vec<Addresses> = Vec::new();
            for place in channels.places(model) {
                let (channel, addresses) = channels.of(model, place.as_deref());
                // A written address is one place, however many regions stand beside it.
                if known.contains(&addresses) {
                    continue;
                }
                known.push(addresses.clone());
                let target = target(channel, addresses, place, model, runtime, metrics);
                targets.push((ordinal, Arc::new(target)));
            }
        }
    }
    let callers: Vec<Arc<Caller>> = settings
        .callers
        .iter()
        .enumerate()
        .map(|(ordinal, settings)| Arc::new(caller(ordinal, settings)))
        .collect();
    let access = settings
        .callers
        .iter()
        .zip(&callers)
        .map(|(settings, caller)| Access {
            caller: caller.clone(),
            rules: settings.rules.as_slice().into(),
            algorithm: settings.algorithm,
        })
        .collect();
    let by_key = KeyTable::new(settings.callers.iter().map(|caller| &caller.key));
    let fingerprints = callers.iter().map(|caller| caller.fingerprint.clone()).collect();
    let channels = settings
        .channels
        .iter()
        .enumerate()
        .map(|(ordinal, channel)| (channel.name.clone(), ordinal))
        .collect();
    let entries = settings
        .callers
        .iter()
        .zip(callers)
        .map(|(settings, caller)| CallerEntry {
            caller,
            limit: settings.rate_limit.clone(),
            limits: std::sync::RwLock::default(),
        })
        .collect();
    let forwarded =
        settings.channels.iter().flat_map(|channel| &channel.passthrough_headers).cloned().collect();
    let prices = if settings.globals.prices.is_by_name() {
        targets
            .iter()
            .map(|(_, target)| (target.alias.clone(), settings.globals.price(&target.alias)))
            .collect()
    } else {
        HashMap::default()
    };
    Snapshot {
        prices,
        callers: entries,
        forwarded,
        by_key,
        fingerprints,
        channels,
        routes: Routes::new(Offers::new(targets), access),
        cursors: runtime.cursors().clone(),
        pending,
        told,
        settings,
    }
}

/// The written models of a channel, and the discovered ones that none of them stands for. What the
/// upstream tells of them is noted by alias.
fn models(
    settings: &ChannelSettings,
    discovered: &[Listed],
    told: &mut HashMap<Arc<str>, Told, RandomState>,
) -> Vec<ModelSettings> {
    let mut list: Vec<(Arc<str>, Arc<str>)> =
        settings.models.iter().map(|model| (model.alias.clone(), model.upstream.clone())).collect();
    if discovered.is_empty() {
        return settings.models.clone();
    }
    for Listed { name, .. } in discovered {
        // A renamed model is reached by its alias; its own name stays hidden.
        if !settings.models.iter().any(|model| model.alias == *name || model.upstream == *name) {
            list.push((name.clone(), name.clone()));
        }
    }
    let known: HashMap<&str, &Told> = discovered.iter().map(|listed| (&*listed.name, &listed.told)).collect();
    let mut models = settings.with_models(&list);
    for model in &mut models {
        if let Some(found) = known.get(&*model.upstream) {
            model.context = model.context.or(found.context);
            told.entry(model.alias.clone()).or_default().add(found);
        }
    }
    models
}

/// The runtime channels of one configured channel: one for each engine that its models have.
struct Channels<'a> {
    settings: &'a ChannelSettings,
    models: &'a [ModelSettings],
    access: ChannelAccess,
    keys: Arc<dyn layers::ports::Keys>,
    usage_wish: Arc<UsageWish>,
    by_engine: Vec<(&'static Engine, Arc<Channel>)>,
    /// Of the model before: most upstreams have no model in the path, and then one list is for all.
    addresses: Option<Addresses>,
}

impl<'a> Channels<'a> {
    fn new(settings: &'a ChannelSettings, models: &'a [ModelSettings], runtime: &Runtime) -> Self {
        let pool = KeySettings {
            algorithm: settings.key_algorithm,
            cooldown: settings.key_cooldown,
            windows_per_model: settings.key_quotas.is_by_name(),
        };
        let access = ChannelAccess::new(settings, settings.keys.len());
        let credentials = access.credentials(settings.engine, runtime);
        Self {
            settings,
            models,
            access,
            keys: runtime.keys(&settings.name, pool, credentials),
            usage_wish: runtime.usage_wish(&settings.name),
            by_engine: Vec::new(),
            addresses: None,
        }
    }

    /// The places in which a model is served, one for each target that it needs; a place without a
    /// name where nothing of the address depends on it.
    fn places(&self, model: &ModelSettings) -> Vec<Option<Arc<str>>> {
        let places = self.access.places(model, &self.settings.regions);
        if places.is_empty() { vec![None] } else { places.into_iter().map(Some).collect() }
    }

    /// The channel of this model, and where requests for it go.
    fn of(&mut self, model: &ModelSettings, place: Option<&str>) -> (Arc<Channel>, Addresses) {
        let engine = model.engine;
        let known = self.by_engine.iter().find(|(known, _)| *known == engine);
        let channel = match known {
            Some((_, channel)) => channel.clone(),
            None => {
                let provider = self.access.provider(engine);
                let channel = Arc::new(self.build(engine, provider));
                self.by_engine.push((engine, channel.clone()));
                channel
            }
        };
        let addresses = Addresses::of(&*channel.provider, &model.upstream, place);
        let addresses = self.addresses.take().filter(|before| *before == addresses).unwrap_or(addresses);
        self.addresses = Some(addresses.clone());
        (channel, addresses)
    }

    fn build(&self, engine: &'static Engine, provider: Arc<dyn Provider>) -> Channel {
        let settings = self.settings;
        Channel {
            name: settings.name.clone(),
            dialect: engine.dialect,
            envelope: engine.envelope,
            provider,
            keys: self.keys.clone(),
            link: access::link(settings, engine),
            headers: settings.headers.clone(),
            passthrough_headers: settings.passthrough_headers.clone(),
            tools: settings.tools,
            image: settings.image,
            takes: Takes {
                excluded: settings
                    .exclude_endpoints
                    .iter()
                    .flat_map(|path| endpoint::on_path(path))
                    .collect(),
                most_body: settings.max_request_body_bytes,
            },
            quirks: providers::quirks(engine, settings.base_url.as_deref(), &settings.quirks),
            secrets: access::secrets(settings, self.models),
            usage_wish: self.usage_wish.clone(),
        }
    }
}

fn target(
    channel: Arc<Channel>,
    addresses: Addresses,
    place: Option<Arc<str>>,
    model: &ModelSettings,
    runtime: &Runtime,
    metrics: &Metrics,
) -> Target {
    let json = serde_json::to_string(&*model.upstream).expect("a string can be written as JSON");
    Target {
        health: runtime.health_in(&channel.name, &model.alias, place.as_ref()),
        meters: metrics.meters(channel.name.as_str(), &model.alias),
        upstream_model_json: Bytes::from(json),
        upstream_model: model.upstream.clone(),
        addresses,
        alias: model.alias.clone(),
        timeouts: model.timeouts,
        timing: model.request_timeouts.clone().map(|rules| rules as Arc<dyn Timing>),
        keepalive: model.keepalive,
        cooldown: model.cooldown,
        overrides: model.overrides.clone(),
        forced_stream: model.forced_stream,
        key_quota: model.key_quota.clone(),
        context: model.context,
        channel,
        place,
    }
}

fn caller(ordinal: usize, settings: &CallerSettings) -> Caller {
    let key = access::secret(&settings.key);
    Caller {
        alias: settings.alias.clone(),
        fingerprint: key.fingerprint().clone(),
        role: settings.role,
        retries: settings.retries,
        moderation: settings.moderation,
        affinity: settings.affinity,
        credits: settings.credits,
        expose_route: settings.expose_route,
        store_responses: settings.store_responses,
        ordinal,
        key: Some(key),
    }
}
