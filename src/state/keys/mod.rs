//! Hands out the keys of a channel: which one is next, which ones rest, and for how long.
//!
//! A pool belongs to one configuration, because a request may only be given keys that its own
//! configuration names for that channel. What was learnt about a key is keyed by its fingerprint
//! and moves on to the next pool of the channel; outcomes that come in for an old pool are told to
//! the new one too.
//!
//! Pools may hold tens of thousands of keys nearly all of which rest. Usable keys are therefore
//! bits, looked up through a summary, and recoveries lie in a heap by time: a pick never walks over
//! keys that cannot be picked. Cooling is per key; windows are per (key, model) or per key, as the
//! configuration says, each with bits of its own.

mod bits;
mod history;
mod standing;
mod state;
mod turns;
mod wanted;

use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use layers::policy::{ChannelName, Fingerprint, Quota, Target};
use layers::ports::{Credential, InputTokens, KeyOutcome, KeyStanding, Keys, KeysExhausted, Lease};
use layers::stage::TriedKeys;
use tokio::time::Instant;

pub use self::history::{History, KeyHistory, Record, RecordsReply, SPAN as HISTORY_SPAN};

use self::bits::Both;
use super::clock::{Clock, ticks};
use crate::values::KeyAlgorithm;

use self::state::{Bucket, State, without_repeats};

/// The longest rest that an upstream's hint gives a key.
const LONGEST_HINT: Duration = Duration::from_secs(3600);
/// The same when its quota or billing is used up.
const LONGEST_QUOTA_HINT: Duration = Duration::from_secs(6 * 3600);
/// The shortest rest of a key that was rejected for what it is; doubles with each rejection …
const SHORTEST_REJECTION: Duration = Duration::from_secs(60);
/// … up to this one.
const LONGEST_REJECTION: Duration = Duration::from_secs(3600);
/// Pools up to this size are searched for the exact time of the first recovery.
const SMALL_POOL: usize = 256;
/// Blind draws before the usable keys are counted.
const BLIND_DRAWS: usize = 16;

/// The settings by which a channel's keys are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeySettings {
    /// In which order.
    pub algorithm: KeyAlgorithm,
    /// `api_key_cooldown_period`: none when it is not configured, zero when cooling is off.
    pub cooldown: Option<Duration>,
    /// Whether `api_key_rate_limit` is a map: then each (key, upstream model) has windows of its
    /// own, otherwise each key has them over all models.
    pub windows_per_model: bool,
}

/// The place where the pools of one channel, one per configuration, find the latest of them.
#[derive(Debug, Default)]
pub(crate) struct Home {
    generation: AtomicU64,
    latest: Mutex<Weak<KeyPool>>,
}

/// The keys of one channel in one configuration.
pub struct KeyPool {
    channel: ChannelName,
    settings: KeySettings,
    /// By slot, in the order of the configuration.
    keys: Box<[Credential]>,
    /// Slots in the order of their fingerprints.
    by_fingerprint: Box<[u32]>,
    state: Mutex<State>,
    /// Whether any key has strikes or any window was counted: lets the common outcome of a
    /// healthy pool pass without the lock. Set under the lock, never unset.
    eventful: AtomicBool,
    /// Whether a new order is being fetched.
    resorting: AtomicBool,
    history: Option<Arc<dyn History>>,
    home: Arc<Home>,
    generation: u64,
    clock: Clock,
}

impl std::fmt::Debug for KeyPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPool")
            .field("channel", &self.channel)
            .field("settings", &self.settings)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl KeyPool {
    /// A pool with these keys, each counted once however often it is listed, that goes on where
    /// `before` is.
    pub(super) fn new(
        channel: &ChannelName,
        settings: KeySettings,
        keys: Vec<Credential>,
        clock: Clock,
        history: Option<Arc<dyn History>>,
        home: &Arc<Home>,
    ) -> Arc<Self> {
        let before = lock(&home.latest).upgrade();
        let keys = without_repeats(keys);
        if let Some(before) = &before
            && before.settings == settings
            && before.keys == keys
        {
            return Arc::clone(before);
        }
        let mut by_fingerprint: Box<[u32]> = (0..keys.len() as u32).collect();
        by_fingerprint.sort_unstable_by_key(|slot| keys[*slot as usize].fingerprint());
        let generation = home.generation.fetch_add(1, Ordering::AcqRel) + 1;
        let pool = Arc::new(Self {
            channel: channel.clone(),
            settings,
            state: Mutex::new(State::new(keys.len())),
            keys,
            by_fingerprint,
            eventful: AtomicBool::new(false),
            resorting: AtomicBool::new(false),
            history,
            home: Arc::clone(home),
            generation,
            clock,
        });
        if let Some(before) = before {
            pool.inherit(&before);
        }
        *lock(&home.latest) = Arc::downgrade(&pool);
        pool.resort();
        pool
    }

    fn slot_of(&self, fingerprint: &Fingerprint) -> Option<u32> {
        let at = self
            .by_fingerprint
            .binary_search_by_key(&fingerprint, |slot| self.keys[*slot as usize].fingerprint())
            .ok()?;
        Some(self.by_fingerprint[at])
    }

    /// Takes over what an earlier pool of the channel knows of keys that this one has too.
    fn inherit(&self, before: &Self) {
        let now = self.clock.tick(Instant::now());
        let old = lock(&before.state);
        let mut new = lock(&self.state);
        let new = &mut *new;
        let moves: Vec<Option<u32>> = before.keys.iter().map(|key| self.slot_of(key.fingerprint())).collect();
        for (from, to) in moves.iter().enumerate() {
            let Some(to) = *to else { continue };
            new.strikes[to as usize] = old.strikes[from];
            if old.cool[from] > now {
                new.rest(to, old.cool[from]);
            }
        }
        if self.settings.windows_per_model == before.settings.windows_per_model {
            for (name, bucket) in &old.buckets {
                let tallies = bucket
                    .tallies
                    .iter()
                    .filter_map(|(slot, tally)| Some((moves[*slot as usize]?, tally.clone())));
                let mut moved = Bucket::new(self.keys.len(), &bucket.quota, tallies.collect());
                moved.refit(self.keys.len(), None, now);
                new.buckets.insert(name.clone(), moved);
            }
        }
        let next = (0..before.keys.len())
            .map(|ahead| old.slot((old.cursor + ahead) % before.keys.len()))
            .find_map(|slot| moves[slot as usize]);
        new.cursor = next.unwrap_or(0) as usize;
        self.eventful.store(before.eventful.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn bucket_name(&self, model: &Arc<str>) -> Option<Arc<str>> {
        self.settings.windows_per_model.then(|| Arc::clone(model))
    }

    /// The position of a usable key that was not tried.
    fn find(
        &self,
        state: &State,
        usable: Both<'_>,
        tried: &TriedKeys,
        place: Option<&Arc<str>>,
    ) -> Option<usize> {
        let keys = self.keys.len();
        let untried = |position: &usize| !tried.contains(state.slot(*position));
        let from = match self.settings.algorithm {
            KeyAlgorithm::RoundRobin | KeyAlgorithm::SmartRoundRobin => state.cursor_in(place),
            KeyAlgorithm::FixedPriority => 0,
            KeyAlgorithm::Random => {
                let blind = || (0..BLIND_DRAWS).map(|_| fastrand::usize(..keys));
                if let Some(at) = blind().filter(|at| usable.get(*at)).find(untried) {
                    return Some(at);
                }
                let count = usable.count();
                let counted =
                    || (0..if count == 0 { 0 } else { BLIND_DRAWS }).map(|_| fastrand::usize(..count));
                if let Some(at) = counted().filter_map(|rank| usable.nth(rank)).find(untried) {
                    return Some(at);
                }
                fastrand::usize(..keys)
            }
        };
        let from_here_on = |from: usize| {
            let mut at = from;
            std::iter::from_fn(move || {
                let found = usable.next(at)?;
                at = found + 1;
                Some(found)
            })
        };
        from_here_on(from)
            .find(untried)
            .or_else(|| from_here_on(0).take_while(|position| *position < from).find(untried))
    }

    /// Takes a key where there is more to it than one key without windows.
    fn take(self: &Arc<Self>, target: &Target, tried: &TriedKeys) -> Result<u32, KeysExhausted> {
        let (slot, turned) = {
            let mut state = lock(&self.state);
            let state = &mut *state;
            let (now, name) = self.prepare(state, target);
            let open = name.as_ref().and_then(|name| state.buckets.get(name)).map(|bucket| &bucket.open);
            let Some(position) = self.find(state, Both(&state.awake, open), tried, target.place.as_ref())
            else {
                return Err(KeysExhausted::For(self.first_recovery(state, name.as_ref(), tried, now)));
            };
            let slot = state.slot(position);
            if let Some(bucket) = name.as_ref().and_then(|name| state.buckets.get_mut(name)) {
                bucket.hit(slot, position, now);
            }
            let mut turned = false;
            if matches!(self.settings.algorithm, KeyAlgorithm::RoundRobin | KeyAlgorithm::SmartRoundRobin) {
                let place = target.place.as_ref();
                turned = position < state.cursor_in(place) || position + 1 == self.keys.len();
                state.set_cursor_in(place, (position + 1) % self.keys.len());
            }
            (slot, turned)
        };
        // Outside the lock: the history may answer at once.
        if turned {
            self.resort();
        }
        Ok(slot)
    }

    /// Brings the state up to date for a pick; gives the tick and the bucket that will count it.
    /// The tick is 0 where nothing needs to know the time.
    fn prepare(&self, state: &mut State, target: &Target) -> (u64, Option<Option<Arc<str>>>) {
        let quota = target.key_quota.as_ref().filter(|quota| quota.has_windows());
        if quota.is_none() && state.sleepers.is_empty() {
            return (0, None);
        }
        let now = self.clock.tick(Instant::now());
        state.wake(now);
        let name = quota.map(|quota| {
            self.eventful.store(true, Ordering::Relaxed);
            let name = self.bucket_name(&target.upstream_model);
            state.open_bucket(name.clone(), quota, now);
            name
        });
        (now, name)
    }

    /// How long until a key that was not tried is usable.
    fn first_recovery(
        &self,
        state: &mut State,
        name: Option<&Option<Arc<str>>>,
        tried: &TriedKeys,
        now: u64,
    ) -> Option<Duration> {
        let mut bucket = name.and_then(|name| state.buckets.get_mut(name));
        let soonest = if self.keys.len() <= SMALL_POOL {
            (0..self.keys.len() as u32)
                .filter(|slot| !tried.contains(*slot))
                .map(|slot| {
                    let room = bucket.as_mut().and_then(|bucket| bucket.room_at(slot, now));
                    state.cool[slot as usize].max(room.unwrap_or(0))
                })
                .min()
        } else {
            // Not before the first event in either heap; exact enough for a pool this large.
            let awake = state.sleepers.peek().map(|Reverse((at, _))| *at);
            let open = bucket.and_then(|bucket| bucket.shut.peek().map(|Reverse((at, _))| *at));
            awake.into_iter().chain(open).min()
        };
        soonest.map(|at| at.saturating_sub(now)).filter(|left| *left > 0).map(Duration::from_nanos)
    }

    /// Books a fault on the key itself.
    fn fault(&self, slot: u32, hint: Option<Duration>, rejected: bool, quota: bool) {
        // With one key there is no other to prefer; what cools then is (channel, model).
        if self.keys.len() < 2 || self.settings.cooldown == Some(Duration::ZERO) {
            return;
        }
        let now = self.clock.tick(Instant::now());
        let mut state = lock(&self.state);
        let mut rest = hint.unwrap_or_default().min(if quota { LONGEST_QUOTA_HINT } else { LONGEST_HINT });
        rest = rest.max(self.settings.cooldown.unwrap_or_default());
        if rejected || quota {
            self.eventful.store(true, Ordering::Relaxed);
            let strikes = state.strikes[slot as usize];
            // Requests that were under way together are one rejection, not many.
            let strikes =
                if state.cool[slot as usize] > now { strikes.max(1) } else { strikes.saturating_add(1) };
            state.strikes[slot as usize] = strikes;
            let doubled = SHORTEST_REJECTION
                .saturating_mul(1u32.checked_shl(u32::from(strikes) - 1).unwrap_or(u32::MAX));
            rest = rest.max(doubled.min(LONGEST_REJECTION));
        }
        if !rest.is_zero() {
            state.rest(slot, now.saturating_add(ticks(rest)));
        }
    }

    /// Tells the pool that has replaced this one, if one has and it knows the key.
    fn tell_latest(&self, slot: u32, book: impl FnOnce(&Self, u32)) {
        if self.home.generation.load(Ordering::Acquire) == self.generation {
            return;
        }
        let latest = lock(&self.home.latest).upgrade();
        let Some(latest) = latest.filter(|latest| latest.generation != self.generation) else { return };
        let Some(key) = self.keys.get(slot as usize) else { return };
        if let Some(slot) = latest.slot_of(key.fingerprint()) {
            book(&latest, slot);
        }
    }

    fn book(&self, slot: u32, outcome: KeyOutcome) {
        match outcome {
            KeyOutcome::Served => {
                if self.eventful.load(Ordering::Relaxed) {
                    lock(&self.state).strikes[slot as usize] = 0;
                }
            }
            KeyOutcome::Faulty { hint, rejected, quota } => self.fault(slot, hint, rejected, quota),
            KeyOutcome::Blameless => {}
        }
    }

    /// Counts an attempt of the time before the start in the windows of its key.
    pub(super) fn recall(&self, target: &Target, key: &Fingerprint, age: Duration) {
        let Some(quota) = target.key_quota.as_ref().filter(|quota| quota.has_windows()) else { return };
        let Some(slot) = self.slot_of(key) else { return };
        let now = self.clock.tick(Instant::now());
        let name = self.bucket_name(&target.upstream_model);
        self.eventful.store(true, Ordering::Relaxed);
        let mut state = lock(&self.state);
        state.open_bucket(name.clone(), quota, now);
        let position = state.position(slot);
        if let Some(bucket) = state.buckets.get_mut(&name) {
            bucket.recall(slot, position, now.saturating_sub(ticks(age)), now);
        }
    }

    /// Forgets windows in which nothing counts any more.
    pub(super) fn sweep(&self) {
        let now = self.clock.tick(Instant::now());
        let mut state = lock(&self.state);
        for bucket in state.buckets.values_mut() {
            let quota = Arc::clone(&bucket.quota);
            bucket.tallies.retain(|_, tally| tally.queued || tally.hits.expires(&quota) > now);
        }
    }
}

impl Keys for KeyPool {
    fn lease(
        self: Arc<Self>,
        target: &Target,
        tried: &TriedKeys,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        let quota = target.key_quota.as_deref();
        if quota.and_then(|quota| quota.tokens_per_request).is_some_and(|most| input.0 > most) {
            return Err(KeysExhausted::TooLong);
        }
        let slot = match self.keys.len() {
            0 => return Ok(Lease::keyless()),
            1 if !quota.is_some_and(Quota::has_windows) => {
                if tried.contains(0) {
                    return Err(KeysExhausted::For(None));
                }
                0
            }
            _ => self.take(target, tried)?,
        };
        let credential = self.keys[slot as usize].clone();
        Ok(Lease::new(self, slot, credential, Arc::clone(&target.upstream_model)))
    }

    fn lease_wanted(
        self: Arc<Self>,
        target: &Target,
        wanted: &Fingerprint,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        self.lease_only(target, wanted, input)
    }

    fn lease_rather(
        self: Arc<Self>,
        target: &Target,
        rather: &Fingerprint,
        tried: &TriedKeys,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        self.lease_first(target, rather, tried, input)
    }

    fn can_use(&self, target: &Target, key: &Fingerprint) -> bool {
        self.is_usable(target, key)
    }

    fn has_spare(&self, target: &Target, tried: &TriedKeys) -> bool {
        match self.keys.len() {
            0 => false,
            1 if tried.contains(0) => false,
            1 if !target.key_quota.as_deref().is_some_and(Quota::has_windows) => true,
            _ => {
                let mut state = lock(&self.state);
                let (_, name) = self.prepare(&mut state, target);
                let open = name.and_then(|name| state.buckets.get(&name)).map(|bucket| &bucket.open);
                self.find(&state, Both(&state.awake, open), tried, target.place.as_ref()).is_some()
            }
        }
    }

    fn settle(&self, slot: u32, _: &str, outcome: KeyOutcome) {
        self.book(slot, outcome);
        self.tell_latest(slot, |latest, slot| latest.book(slot, outcome));
    }

    fn release(&self, slot: u32, model: &str) {
        let take_back = |pool: &Self, slot: u32| {
            if !pool.eventful.load(Ordering::Relaxed) {
                return;
            }
            let now = pool.clock.tick(Instant::now());
            let name = pool.settings.windows_per_model.then(|| Arc::from(model));
            let mut state = lock(&pool.state);
            let position = state.position(slot);
            if let Some(bucket) = state.buckets.get_mut(&name) {
                bucket.take_back(slot, position, now);
            }
        };
        take_back(self, slot);
        self.tell_latest(slot, take_back);
    }

    fn count(&self) -> usize {
        self.keys.len()
    }

    fn standings(&self, target: &Target) -> Vec<(Fingerprint, KeyStanding)> {
        self.standings_at(target, Instant::now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
