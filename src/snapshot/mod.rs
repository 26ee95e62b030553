//! What runs: one compiled configuration, immutable, shared by the requests that began under it.
//!
//! Implements [`Catalog`], which is all that the layers see of it. Patterns were matched when it
//! was compiled; what depends on pairs of client key and model (routes, limits by model) is built
//! when it is first asked for and kept, so that a thousand keys over five hundred models cost
//! nothing until they are used.

mod access;
mod addresses;
mod compile;
mod current;
mod difference;
mod discovery;
mod probe;
mod publisher;
mod strangers;

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::HeaderName;
use layers::Failure;
use layers::policy::{Caller, ChannelName, Fingerprint, Quota, Target, Triggers};
use layers::ports::{Catalog, Limits, Pin, Route};
use tokio::time::Instant;

pub use self::addresses::{ModelAddress, addresses, channel_addresses};
pub use self::compile::{Discovered, compile};
pub use self::current::CurrentSnapshot;
pub use self::discovery::{FIRST_ROUND, Listed, Told};
pub use self::probe::{ListProbe, ModelList, Probed, date, list_probes};
pub use self::publisher::{Publisher, fingerprint, prune, tell};

use crate::config::problem::nearest;
use crate::config::settings::{CallerLimit, CallerSettings, Globals, SecretText, Settings};
use crate::routing::{CallerRoute, Routes};
use crate::state::cursors::Cursors;
use crate::values::{Price, RuleMatch};

/// The bucket that all models share which no channel has, so that inventing names neither evades
/// a limit nor grows a table.
const UNKNOWN_MODEL: &str = "";

/// A compiled configuration.
pub struct Snapshot {
    settings: Arc<Settings>,
    callers: Box<[CallerEntry]>,
    by_key: KeyTable,
    fingerprints: HashSet<Fingerprint, RandomState>,
    channels: HashMap<ChannelName, usize, RandomState>,
    routes: Routes,
    /// Headers of clients that some channel passes on.
    forwarded: Box<[HeaderName]>,
    cursors: Arc<Cursors>,
    /// Of every model that a channel has; empty where one price is for all.
    prices: HashMap<Arc<str>, Price, RandomState>,
    /// Until when channels are waited for whose model lists are still being fetched.
    pending: Option<Instant>,
    /// What upstreams tell of models, by the name that clients use.
    told: HashMap<Arc<str>, Told, RandomState>,
}

/// A client key with what was compiled of it.
struct CallerEntry {
    caller: Arc<Caller>,
    limit: CallerLimit,
    /// Limits by model that were asked for.
    limits: RwLock<HashMap<Arc<str>, Option<Arc<Quota>>, RandomState>>,
}

/// Table that finds the caller of a presented key.
///
/// Looked up by a hash that is seeded at random in each process, then compared in a time that does
/// not depend on where two texts differ: how long it takes tells nothing about how much of a guess
/// was right, at a tenth of what a cryptographic digest costs each request.
struct KeyTable {
    seed: RandomState,
    ordinals: HashMap<u64, Vec<usize>, RandomState>,
}

impl KeyTable {
    /// The keys of all callers, by ordinal.
    fn new<'a>(keys: impl Iterator<Item = &'a SecretText>) -> Self {
        let mut table = Self { seed: RandomState::default(), ordinals: HashMap::default() };
        for (ordinal, key) in keys.enumerate() {
            table.ordinals.entry(table.seed.hash_one(key.expose())).or_default().push(ordinal);
        }
        table
    }

    fn find(&self, key: &str, callers: &[CallerSettings]) -> Option<usize> {
        let ordinals = self.ordinals.get(&self.seed.hash_one(key))?;
        ordinals.iter().rev().copied().find(|&ordinal| callers[ordinal].key.is(key))
    }
}

impl Snapshot {
    /// The caller whose key this is.
    pub fn caller(&self, key: &str) -> Option<Arc<Caller>> {
        let ordinal = self.by_key.find(key, &self.settings.callers)?;
        Some(self.callers[ordinal].caller.clone())
    }

    /// What upstreams tell of a model by the name that clients use.
    pub fn told(&self, alias: &str) -> Option<&Told> {
        self.told.get(alias)
    }

    /// The models that this caller can route, in the order of its rules, each once.
    pub fn models(&self, caller: &Caller) -> Vec<Arc<str>> {
        let mut models = Vec::new();
        let mut seen = HashSet::new();
        for alias in self.mentioned(caller.ordinal) {
            if self.routes.admits(caller, &alias) && seen.insert(alias.clone()) {
                models.push(alias);
            }
        }
        models
    }

    /// Aliases that the rules of a caller lead to, in order; with repeats. What a nested key leads to
    /// is told where it is named first. An explicit stack: a chain of keys may be long.
    fn mentioned(&self, ordinal: usize) -> Vec<Arc<str>> {
        let of_channel = |ordinal: usize| self.routes.offers().of_channel(ordinal).cloned();
        let rules = |ordinal: usize| {
            self.settings.callers.get(ordinal).map(|caller| caller.rules.iter()).unwrap_or_default()
        };
        let mut aliases = Vec::new();
        let mut entered = HashSet::from([ordinal]);
        let mut open = vec![rules(ordinal)];
        while let Some(top) = open.last_mut() {
            match top.next().map(|rule| &rule.matcher) {
                None => drop(open.pop()),
                Some(RuleMatch::All) => {
                    aliases.extend((0..self.settings.channels.len()).flat_map(of_channel));
                }
                Some(RuleMatch::ChannelAll(channels)) => {
                    aliases.extend(channels.iter().copied().flat_map(of_channel));
                }
                Some(
                    RuleMatch::Model(model)
                    | RuleMatch::ChannelModel(_, model)
                    | RuleMatch::NestedModel(_, model),
                ) => aliases.push(model.clone()),
                Some(RuleMatch::NestedAll(inner)) if entered.insert(*inner) => open.push(rules(*inner)),
                Some(RuleMatch::NestedAll(_)) => {}
            }
        }
        aliases
    }

    /// The route of this caller for this model, as more than the layers see of it.
    ///
    /// # Errors
    /// As [`Catalog::route`].
    pub fn caller_route(&self, caller: &Caller, model: &str) -> Result<Arc<CallerRoute>, Failure> {
        match self.routes.route(caller, model, &self.cursors) {
            Some(route) => Ok(route),
            None if self.is_pending() => Err(Failure::ModelsPending { model: model.to_owned() }),
            None => Err(Failure::ModelNotFound { model: model.to_owned() }),
        }
    }

    /// The callers that are meant by a key, a key's fingerprint or the name that logs show.
    pub fn callers_called(&self, name: &str) -> Vec<Arc<Caller>> {
        if let Some(caller) = self.caller(name) {
            return vec![caller];
        }
        let callers = self.callers.iter().map(|entry| &entry.caller);
        callers
            .filter(|caller| *caller.alias == *name || caller.fingerprint.as_str() == name)
            .cloned()
            .collect()
    }

    /// The channels that have this model, in their order.
    pub fn channels_with(&self, alias: &str) -> Vec<ChannelName> {
        let names = self.settings.channels.iter().map(|channel| &channel.name);
        names.filter(|name| self.has_target(name, alias)).cloned().collect()
    }

    /// Whether a model list may still be on its way: not long after the start, and not after the
    /// channel has answered.
    fn is_pending(&self) -> bool {
        self.pending.is_some_and(|until| Instant::now() < until)
    }

    /// The channels whose model lists may still be on their way.
    pub fn awaited(&self) -> Vec<ChannelName> {
        let asked = self.settings.channels.iter().filter(|channel| self.is_pending() && channel.discover);
        asked.map(|channel| channel.name.clone()).collect()
    }

    /// The model that this caller can route and that `name` is most likely a slip of.
    pub fn resembling(&self, caller: &Caller, name: &str) -> Option<Arc<str>> {
        let models = self.models(caller);
        let near = nearest(name, models.iter().map(|model| &**model))?;
        Some(near.into())
    }

    /// What was typed, checked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Global preferences.
    pub fn globals(&self) -> &Globals {
        &self.settings.globals
    }

    /// What a token of this model costs.
    pub fn price(&self, model: &str) -> Price {
        self.prices.get(model).copied().unwrap_or_else(|| self.settings.globals.price(model))
    }

    /// All callers, in the order of the configuration.
    pub fn callers(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.callers.iter().map(|entry| &entry.caller)
    }

    /// Whether a client key with this fingerprint is configured.
    pub fn has_caller(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprints.contains(fingerprint)
    }

    /// The key behind a fingerprint, for front ends that are shown keys in clear.
    pub fn plain_key(&self, fingerprint: &Fingerprint) -> Option<Arc<str>> {
        let ordinal = self.callers.iter().position(|entry| entry.caller.fingerprint == *fingerprint)?;
        Some(self.settings.callers[ordinal].key.shared())
    }

    /// The longest period of any window of this caller; zero without any.
    pub fn longest_window(&self, caller: &Caller) -> Duration {
        match &self.callers[caller.ordinal].limit {
            CallerLimit::None => Duration::ZERO,
            CallerLimit::Single(quota) => longest_window(quota),
            CallerLimit::PerModel(patterns) => {
                patterns.values().map(|quota| longest_window(quota)).max().unwrap_or_default()
            }
        }
    }

    /// The longest period of the gateway's own windows.
    pub fn longest_global_window(&self) -> Duration {
        self.settings.globals.rate_limit.as_deref().map(longest_window).unwrap_or_default()
    }

    /// The longest period of any window of a provider key.
    pub fn longest_key_window(&self) -> Duration {
        let quotas = self.routes.offers().targets().filter_map(|target| target.key_quota.as_deref());
        quotas.map(longest_window).max().unwrap_or_default()
    }

    /// This alias on the channel of this name.
    pub fn target(&self, channel: &ChannelName, alias: &str) -> Option<&Arc<Target>> {
        self.routes.offers().target(*self.channels.get(channel)?, alias)
    }

    /// Whether there is a channel of this name.
    pub fn has_channel(&self, name: &ChannelName) -> bool {
        self.channels.contains_key(name)
    }

    /// Whether this channel has a model of this alias.
    pub fn has_target(&self, name: &ChannelName, alias: &str) -> bool {
        self.channels
            .get(name)
            .is_some_and(|&ordinal| self.routes.offers().of_channel(ordinal).any(|known| **known == *alias))
    }

    /// Whether this channel has a model of this alias in this place.
    pub fn has_place(&self, name: &ChannelName, alias: &str, place: Option<&str>) -> bool {
        let offers = self.routes.offers();
        let mut places = self.channels.get(name).into_iter().flat_map(|&at| offers.places(at, alias));
        places.any(|target| target.place.as_deref() == place)
    }

    /// Whether any channel has a model of this alias.
    pub fn has_model(&self, alias: &str) -> bool {
        self.routes.offers().known(alias).is_some()
    }

    /// The models that channels have, by the names that clients use.
    pub fn aliases(&self) -> impl Iterator<Item = &Arc<str>> {
        self.routes.offers().aliases()
    }

    /// How many callers and channels there are, and how many models they offer.
    pub fn size(&self) -> (usize, usize, usize) {
        (self.callers.len(), self.settings.channels.len(), self.routes.offers().aliases().count())
    }
}

/// The longest period of a quota's windows; zero without any.
pub fn longest_window(quota: &Quota) -> Duration {
    quota.windows.iter().map(|window| window.period).max().unwrap_or_default()
}

impl CallerEntry {
    /// The quota and the bucket of one model.
    fn limit_of(&self, model: Option<&Arc<str>>) -> Option<(Arc<Quota>, Option<Arc<str>>)> {
        match &self.limit {
            CallerLimit::None => None,
            CallerLimit::Single(quota) => Some((quota.clone(), None)),
            CallerLimit::PerModel(patterns) => {
                let bucket = model.cloned().unwrap_or_else(|| UNKNOWN_MODEL.into());
                let known = self.limits.read().unwrap_or_else(PoisonError::into_inner).get(&bucket).cloned();
                let quota = known.unwrap_or_else(|| {
                    let quota = patterns.get(&bucket).filter(|quota| !quota.is_unlimited()).cloned();
                    let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
                    limits.insert(bucket.clone(), quota.clone());
                    quota
                });
                quota.map(|quota| (quota, Some(bucket)))
            }
        }
    }
}

impl Catalog for Snapshot {
    fn route(&self, caller: &Caller, model: &str) -> Result<Arc<dyn Route>, Failure> {
        self.caller_route(caller, model).map(|route| route as _)
    }

    fn pinned(&self, caller: &Caller, pin: &Pin, model: &str) -> Option<Arc<dyn Route>> {
        self.routes.pinned(caller, pin, model).map(|route| Arc::new(route) as _)
    }

    fn limits(&self, caller: &Caller, model: &str) -> Limits {
        Limits {
            global: self.settings.globals.rate_limit.clone(),
            caller: self.callers[caller.ordinal].limit_of(self.routes.offers().known(model)),
        }
    }

    fn triggers(&self) -> &Triggers {
        &self.settings.globals.triggers
    }

    fn known_model(&self, model: &str) -> Option<Arc<str>> {
        self.routes.offers().known(model).cloned()
    }

    fn forwards(&self, header: &HeaderName) -> bool {
        self.forwarded.contains(header)
    }
}
