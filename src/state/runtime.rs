//! Owns everything that is remembered, and gives out handles by name.

mod standing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::policy::{ChannelName, Fingerprint, Target, UsageWish};
use layers::ports::{Credential, Health, Keys};

use tokio::time::Instant;

use super::affinity::Affinity;
use super::answers::AnswerMemory;
use super::balances::Accounts;
use super::clock::Clock;
use super::cooldowns::Cooldown;
use super::cursors::Cursors;
use super::keys::{History, Home, KeyPool, KeySettings};
use super::seals::SealMemory;
use super::stored::Pins;
use super::tokens::TokenStore;
use super::windows::Windows;

pub use self::standing::{ChannelStanding, Standing};

/// The memory of the process. One for its whole life; configurations come and go around it.
pub struct Runtime {
    started: Instant,
    clock: Clock,
    history: Option<Arc<dyn History>>,
    cooldowns: Mutex<Cooldowns>,
    pools: Mutex<HashMap<ChannelName, Slot, RandomState>>,
    usage_wishes: Mutex<HashMap<ChannelName, Arc<UsageWish>, RandomState>>,
    windows: Arc<Windows>,
    accounts: Arc<Accounts>,
    cursors: Arc<Cursors>,
    pins: Arc<Pins>,
    affinity: Arc<Affinity>,
    seals: Arc<SealMemory>,
    answers: Arc<AnswerMemory>,
    tokens: Arc<TokenStore>,
}

/// By channel, alias and place.
type Cooldowns = HashMap<(ChannelName, Arc<str>, Option<Arc<str>>), Arc<Cooldown>, RandomState>;

/// The keeping place of a channel's keys. Holds the latest pool, so that what it knows outlives
/// the configuration that it was made for.
struct Slot {
    home: Arc<Home>,
    latest: Arc<KeyPool>,
}

/// The parts that a new configuration still has.
pub struct Live<'a> {
    /// Whether this channel exists.
    pub channel: &'a dyn Fn(&ChannelName) -> bool,
    /// Whether this channel has this alias in this place.
    pub target: &'a dyn Fn(&ChannelName, &str, Option<&str>) -> bool,
    /// Whether a client key with this fingerprint exists.
    pub caller: &'a dyn Fn(&Fingerprint) -> bool,
    /// Whether any channel has this alias.
    pub model: &'a dyn Fn(&str) -> bool,
}

impl Runtime {
    /// An empty memory. Without a history `smart_round_robin` keeps the configured order.
    pub fn new(history: Option<Arc<dyn History>>) -> Self {
        let clock = Clock::new();
        Self {
            started: Instant::now(),
            clock,
            history,
            cooldowns: Mutex::default(),
            pools: Mutex::default(),
            usage_wishes: Mutex::default(),
            windows: Arc::new(Windows::new(clock)),
            accounts: Arc::default(),
            cursors: Arc::default(),
            pins: Arc::default(),
            affinity: Arc::default(),
            seals: Arc::default(),
            answers: Arc::default(),
            tokens: Arc::default(),
        }
    }

    /// When the process began to remember: its start.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The health of this model on this channel, where that has no places.
    pub fn health(&self, channel: &ChannelName, alias: &str) -> Arc<dyn Health> {
        self.health_in(channel, alias, None)
    }

    /// The health of this model in this place of a channel.
    pub fn health_in(&self, channel: &ChannelName, alias: &str, place: Option<&Arc<str>>) -> Arc<dyn Health> {
        let name = (channel.clone(), Arc::from(alias), place.cloned());
        Arc::clone(lock(&self.cooldowns).entry(name).or_insert_with(|| Arc::new(Cooldown::new(self.clock))))
            as _
    }

    /// The keys of this channel, in the order of the configuration, with what is known of them.
    ///
    /// What an earlier configuration's keys learn from now on is told to this pool, so it is to be
    /// asked for when nothing can keep the new configuration from being used any more.
    pub fn keys(&self, channel: &ChannelName, settings: KeySettings, keys: Vec<Credential>) -> Arc<dyn Keys> {
        let mut pools = lock(&self.pools);
        let home = pools.get(channel).map(|slot| Arc::clone(&slot.home)).unwrap_or_default();
        let latest = KeyPool::new(channel, settings, keys, self.clock, self.history.clone(), &home);
        pools.insert(channel.clone(), Slot { home, latest: Arc::clone(&latest) });
        latest
    }

    /// What was learnt of this channel's upstream and streams that are asked for their usage.
    pub fn usage_wish(&self, channel: &ChannelName) -> Arc<UsageWish> {
        Arc::clone(lock(&self.usage_wishes).entry(channel.clone()).or_default())
    }

    /// The request windows.
    pub fn windows(&self) -> &Arc<Windows> {
        &self.windows
    }

    /// What client keys have spent.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    /// The tokens of accounts.
    pub fn tokens(&self) -> &Arc<TokenStore> {
        &self.tokens
    }

    /// The cursors of rotations.
    pub fn cursors(&self) -> &Arc<Cursors> {
        &self.cursors
    }

    /// Where the objects are that upstreams keep for callers.
    pub fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    /// Who served each conversation last.
    pub fn affinity(&self) -> &Arc<Affinity> {
        &self.affinity
    }

    /// What models have sealed.
    pub fn seals(&self) -> &Arc<SealMemory> {
        &self.seals
    }

    /// Answers that no upstream keeps.
    pub fn answers(&self) -> &Arc<AnswerMemory> {
        &self.answers
    }

    /// Counts an attempt of the time before the start in the windows of the key that it used.
    pub fn recall_attempt(&self, target: &Target, key: &Fingerprint, age: Duration) {
        let pools = lock(&self.pools);
        if let Some(slot) = pools.get(&target.channel.name) {
            slot.latest.recall(target, key, age);
        }
    }

    /// Forgets what is not alive any more, and what has lost its meaning with time. To be called
    /// after each change of the configuration, and now and then.
    pub fn prune(&self, live: &Live<'_>) {
        lock(&self.cooldowns)
            .retain(|(channel, alias, place), _| (live.target)(channel, alias, place.as_deref()));
        let mut pools = lock(&self.pools);
        pools.retain(|channel, _| (live.channel)(channel));
        pools.values().for_each(|slot| slot.latest.sweep());
        drop(pools);
        // After the pools, which hold the accounts.
        self.tokens.prune();
        lock(&self.usage_wishes).retain(|channel, _| (live.channel)(channel));
        if let Some(history) = &self.history {
            history.retain(live.channel);
        }
        self.windows.retain(live.caller);
        self.accounts.retain(live.caller);
        self.cursors.retain(live.caller, live.model);
        self.pins.retain(live.caller);
        self.affinity.retain(live.caller);
        self.seals.retain(live.caller);
        self.answers.retain(live.caller);
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("cooldowns", &lock(&self.cooldowns).len())
            .field("pools", &lock(&self.pools).len())
            .field("windows", &self.windows.len())
            .field("cursors", &self.cursors.len())
            .field("pins", &self.pins.len())
            .field("affinity", &self.affinity.len())
            .field("seals", &self.seals.len())
            .field("answers", &self.answers.len())
            .field("tokens", &self.tokens.len())
            .finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reload_keeps_benches_and_pruning_forgets_what_is_gone() {
        let runtime = Runtime::new(None);
        let (a, b) = (ChannelName::from("a"), ChannelName::from("b"));
        let now = Instant::now();
        runtime.health(&a, "m").settle(true, Duration::from_secs(300), now);
        runtime.health(&b, "m").settle(true, Duration::from_secs(300), now);
        let places = ["kept", "gone"].map(Arc::<str>::from);
        for place in &places {
            runtime.health_in(&a, "m", Some(place)).settle(true, Duration::from_secs(300), now);
        }
        runtime.cursors().of(&Fingerprint::new("x"), &"m".into()).next();

        runtime.prune(&Live {
            channel: &|name| *name == a,
            target: &|name, _, place| *name == a && place != Some("gone"),
            caller: &|_| false,
            model: &|_| true,
        });

        assert!(runtime.health(&a, "m").cooling_until(now).is_some());
        let cooling =
            places.map(|place| runtime.health_in(&a, "m", Some(&place)).cooling_until(now).is_some());
        assert_eq!(cooling, [true, false]);
        assert!(runtime.health(&a, "other").cooling_until(now).is_none());
        assert!(runtime.health(&b, "m").cooling_until(now).is_none());
        assert!(runtime.cursors().is_empty());
    }
}
