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

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::policy::{ChannelName, Fingerprint, Quota, Target};
use layers::ports::{Credential, InputTokens, KeyOutcome, KeyStanding, Keys, KeysExhausted, Lease};
use layers::stage::TriedKeys;
use tokio::time::Instant;

pub use self::history::{KeyHistory, SPAN as HISTORY_SPAN};

use self::bits::{Bits, Both};
use super::clock::{Clock, ticks};
use super::windows::{Tally, is_no_limit};
use crate::values::KeyAlgorithm;

/// The longest rest that an upstream's hint gives a key.
const LONGEST_HINT: Duration = Duration::from_secs(3600);
/// The same when its quota or billing is used up.
const LONGEST_QUOTA_HINT: Duration = Duration::from_secs(6 * 3600);
/// The shortest rest of a key that was rejected for what it is; doubles with each rejection …
const SHORTEST_REJECTION: Duration = Duration::from_secs(60);
/// … up to this one.
const LONGEST_REJECTION: Duration = Duration::from_secs(3600);
/// Recoveries that one pick works off before it looks whether a key is usable already.
const WAKES_PER_PICK: usize = 64;
/// Pools up to this size are searched for the exact time of the first recovery.
const SMALL_POOL: usize = 256;
/// How many keys one group of `smart_round_robin` holds.
const GROUP: usize = 100;
/// Blind draws before the usable keys are counted.
const BLIND_DRAWS: usize = 16;

/// How a channel's keys are used.
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

/// What the ledger knows of one key over the last 72 hours, all models together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// Attempts that were answered.
    pub successes: u64,
    /// All attempts.
    pub attempts: u64,
}

/// Takes the records of a channel's keys; keys without attempts may be left out.
pub type RecordsReply = Box<dyn FnOnce(Vec<(Fingerprint, Record)>) + Send>;

/// Where `smart_round_robin` learns how its keys did.
pub trait History: Send + Sync {
    /// Looks the records of one channel up and gives them to `reply`, at once or later, or drops
    /// it when they cannot be had. Never waits.
    fn fetch(&self, channel: &ChannelName, reply: RecordsReply);
    /// Forgets channels that are gone.
    fn retain(&self, _channel: &dyn Fn(&ChannelName) -> bool) {}
}

/// Where the pools of one channel, one per configuration, find the latest of them.
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

/// What changes with each request. Bits and cursor go by position in the turn, everything else by
/// slot; the two differ under `smart_round_robin` only.
#[derive(Debug)]
struct State {
    /// The position that the next turn starts its search at.
    cursor: usize,
    /// Keys that do not cool.
    awake: Bits,
    /// Until which tick each key cools; 0 for never yet.
    cool: Box<[u64]>,
    /// How often each key was rejected since it last served.
    strikes: Box<[u8]>,
    /// Cooling keys by the earliest tick at which they may be awake; each key once.
    sleepers: BinaryHeap<Reverse<(u64, u32)>>,
    /// Windows by upstream model; by nothing where they are over all models.
    buckets: HashMap<Option<Arc<str>>, Bucket, RandomState>,
    /// Where it is not the order of the slots.
    order: Option<Turn>,
}

/// An order of the slots and its inverse.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    slots: Box<[u32]>,
    positions: Box<[u32]>,
}

/// The windows of all keys for one model.
#[derive(Debug)]
struct Bucket {
    quota: Arc<Quota>,
    /// Keys with room.
    open: Bits,
    /// By slot; only keys that were used.
    tallies: HashMap<u32, KeyTally, RandomState>,
    /// Keys that ran out of room by the earliest tick at which they may have some; each key once.
    shut: BinaryHeap<Reverse<(u64, u32)>>,
}

/// The hits of one key.
#[derive(Debug, Default, Clone)]
struct KeyTally {
    hits: Tally,
    /// Whether it is in the heap. It may be while there is room: a hit can be taken back.
    queued: bool,
}

impl State {
    fn new(keys: usize) -> Self {
        Self {
            cursor: 0,
            awake: Bits::all(keys),
            cool: vec![0; keys].into(),
            strikes: vec![0; keys].into(),
            sleepers: BinaryHeap::new(),
            buckets: HashMap::default(),
            order: None,
        }
    }

    fn slot(&self, position: usize) -> u32 {
        self.order.as_ref().map_or(position as u32, |turn| turn.slots[position])
    }

    fn position(&self, slot: u32) -> usize {
        self.order.as_ref().map_or(slot as usize, |turn| turn.positions[slot as usize] as usize)
    }

    /// Wakes keys whose rest is over: all of the first few, more only while nobody is awake.
    fn wake(&mut self, now: u64) {
        let mut woken = 0;
        while let Some(&Reverse((at, slot))) = self.sleepers.peek() {
            if at > now || (woken >= WAKES_PER_PICK && !self.awake.is_empty()) {
                return;
            }
            self.sleepers.pop();
            woken += 1;
            let until = self.cool[slot as usize];
            if until > now {
                self.sleepers.push(Reverse((until, slot)));
            } else {
                self.awake.set(self.position(slot));
            }
        }
    }

    /// Lets a key rest until this tick, unless it rests longer already.
    fn rest(&mut self, slot: u32, until: u64) {
        let position = self.position(slot);
        let cool = &mut self.cool[slot as usize];
        *cool = until.max(*cool);
        if self.awake.get(position) {
            self.awake.clear(position);
            self.sleepers.push(Reverse((until, slot)));
        }
    }

    /// The windows for `name`, made or refitted where their limits are not `quota`, with keys that
    /// have room again counted in.
    fn open_bucket(&mut self, name: Option<Arc<str>>, quota: &Arc<Quota>, now: u64) {
        let keys = self.cool.len();
        let order = self.order.as_ref();
        let bucket = self.buckets.entry(name).or_insert_with(|| {
            let mut bucket = Bucket::new(keys, quota, HashMap::default());
            bucket.refit(keys, order, now);
            bucket
        });
        if !Arc::ptr_eq(&bucket.quota, quota) {
            let changed = bucket.quota != *quota;
            bucket.quota = Arc::clone(quota);
            if changed {
                bucket.refit(keys, order, now);
            }
        }
        bucket.reopen(order, now);
    }
}

fn position_of(order: Option<&Turn>, slot: u32) -> usize {
    order.map_or(slot as usize, |turn| turn.positions[slot as usize] as usize)
}

impl Bucket {
    fn new(keys: usize, quota: &Arc<Quota>, tallies: HashMap<u32, KeyTally, RandomState>) -> Self {
        Self { quota: Arc::clone(quota), open: Bits::none(keys), tallies, shut: BinaryHeap::new() }
    }

    /// Counts keys in whose windows have room again, as [`State::wake`] does.
    fn reopen(&mut self, order: Option<&Turn>, now: u64) {
        let mut opened = 0;
        while let Some(&Reverse((at, slot))) = self.shut.peek() {
            if at > now || (opened >= WAKES_PER_PICK && !self.open.is_empty()) {
                return;
            }
            self.shut.pop();
            opened += 1;
            let Some(tally) = self.tallies.get_mut(&slot) else { continue };
            let refusal = tally.hits.refusal(&self.quota, now);
            tally.queued = refusal.is_some();
            match refusal {
                Some((until, _)) => self.shut.push(Reverse((until, slot))),
                None => self.open.set(position_of(order, slot)),
            }
        }
    }

    fn hit(&mut self, slot: u32, position: usize, now: u64) {
        self.recall(slot, position, now, now);
    }

    /// Counts a hit that was at the tick `at`.
    fn recall(&mut self, slot: u32, position: usize, at: u64, now: u64) {
        let tally = self.tallies.entry(slot).or_default();
        tally.hits.hit(&self.quota, at);
        if let Some((until, _)) = tally.hits.refusal(&self.quota, now) {
            self.open.clear(position);
            if !std::mem::replace(&mut tally.queued, true) {
                self.shut.push(Reverse((until, slot)));
            }
        }
    }

    fn take_back(&mut self, slot: u32, position: usize, now: u64) {
        let Some(tally) = self.tallies.get_mut(&slot) else { return };
        tally.hits.take_back(&self.quota);
        if tally.hits.refusal(&self.quota, now).is_none() {
            self.open.set(position);
        }
    }

    /// Judges all keys anew: by other limits or in another order.
    fn refit(&mut self, keys: usize, order: Option<&Turn>, now: u64) {
        self.shut.clear();
        // A limit of zero refuses keys that were never used, too, and for good.
        if Tally::default().refusal(&self.quota, now).is_some() {
            self.open = Bits::none(keys);
            return;
        }
        self.open = Bits::all(keys);
        for (slot, tally) in &mut self.tallies {
            let refusal = tally.hits.refusal(&self.quota, now);
            tally.queued = refusal.is_some();
            if let Some((until, _)) = refusal {
                self.open.clear(position_of(order, *slot));
                self.shut.push(Reverse((until, *slot)));
            }
        }
    }

    /// When this key has room, if it has none now.
    fn room_at(&mut self, slot: u32, now: u64) -> Option<u64> {
        self.tallies.get_mut(&slot)?.hits.refusal(&self.quota, now).map(|(until, _)| until)
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

    /// Asks the history for a new order, unless one is on its way.
    fn resort(self: &Arc<Self>) {
        let Some(history) = &self.history else { return };
        let wanted = self.settings.algorithm == KeyAlgorithm::SmartRoundRobin && self.keys.len() > 1;
        if !wanted || self.resorting.swap(true, Ordering::AcqRel) {
            return;
        }
        /// Ends the flight also where the reply is dropped.
        struct Flight(Weak<KeyPool>);
        impl Drop for Flight {
            fn drop(&mut self) {
                if let Some(pool) = self.0.upgrade() {
                    pool.resorting.store(false, Ordering::Release);
                }
            }
        }
        let flight = Flight(Arc::downgrade(self));
        history.fetch(
            &self.channel,
            Box::new(move |records| {
                if let Some(pool) = flight.0.upgrade() {
                    pool.reorder(&records);
                }
            }),
        );
    }

    /// Puts the keys into the order that these records give.
    fn reorder(&self, records: &[(Fingerprint, Record)]) {
        let mut known = vec![Record::default(); self.keys.len()];
        for (fingerprint, record) in records {
            if let Some(slot) = self.slot_of(fingerprint) {
                known[slot as usize] = *record;
            }
        }
        let slots = explore(&known);
        let mut positions: Box<[u32]> = vec![0; slots.len()].into();
        slots.iter().enumerate().for_each(|(position, slot)| positions[*slot as usize] = position as u32);
        let turn = Some(Turn { slots, positions });

        let now = self.clock.tick(Instant::now());
        let mut state = lock(&self.state);
        let state = &mut *state;
        if state.order == turn {
            return;
        }
        let mut awake = Bits::none(self.keys.len());
        for slot in 0..self.keys.len() as u32 {
            if state.awake.get(state.position(slot)) {
                awake.set(position_of(turn.as_ref(), slot));
            }
        }
        state.awake = awake;
        state.order = turn;
        state.cursor = 0;
        for bucket in state.buckets.values_mut() {
            bucket.refit(self.keys.len(), state.order.as_ref(), now);
        }
    }

    fn bucket_name(&self, model: &Arc<str>) -> Option<Arc<str>> {
        self.settings.windows_per_model.then(|| Arc::clone(model))
    }

    /// The position of a usable key that was not tried.
    fn find(&self, state: &State, usable: Both<'_>, tried: &TriedKeys) -> Option<usize> {
        let keys = self.keys.len();
        let untried = |position: &usize| !tried.contains(state.slot(*position));
        let from = match self.settings.algorithm {
            KeyAlgorithm::RoundRobin | KeyAlgorithm::SmartRoundRobin => state.cursor,
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
            let Some(position) = self.find(state, Both(&state.awake, open), tried) else {
                return Err(KeysExhausted::For(self.first_recovery(state, name.as_ref(), tried, now)));
            };
            let slot = state.slot(position);
            if let Some(bucket) = name.as_ref().and_then(|name| state.buckets.get_mut(name)) {
                bucket.hit(slot, position, now);
            }
            let mut turned = false;
            if matches!(self.settings.algorithm, KeyAlgorithm::RoundRobin | KeyAlgorithm::SmartRoundRobin) {
                turned = position < state.cursor || position + 1 == self.keys.len();
                state.cursor = (position + 1) % self.keys.len();
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
        let quota = target.key_quota.as_ref().filter(|quota| counts(quota));
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
        let Some(quota) = target.key_quota.as_ref().filter(|quota| counts(quota)) else { return };
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
            1 if !quota.is_some_and(counts) => {
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

    fn has_spare(&self, target: &Target, tried: &TriedKeys) -> bool {
        match self.keys.len() {
            0 => false,
            1 if tried.contains(0) => false,
            1 if !target.key_quota.as_deref().is_some_and(counts) => true,
            _ => {
                let mut state = lock(&self.state);
                let (_, name) = self.prepare(&mut state, target);
                let open = name.and_then(|name| state.buckets.get(&name)).map(|bucket| &bucket.open);
                self.find(&state, Both(&state.awake, open), tried).is_some()
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

/// Whether a quota has windows that can refuse.
fn counts(quota: &Quota) -> bool {
    quota.windows.iter().any(|window| !is_no_limit(window))
}

/// Each key where it stands first. Sorts positions, because a set of tens of thousands of
/// fingerprints would be memory that the allocator keeps.
fn without_repeats(keys: Vec<Credential>) -> Box<[Credential]> {
    let mut sorted: Vec<u32> = (0..keys.len() as u32).collect();
    let fingerprint = |at: u32| keys[at as usize].fingerprint();
    sorted.sort_unstable_by(|a, b| fingerprint(*a).cmp(fingerprint(*b)).then(a.cmp(b)));
    let mut repeats: Vec<u32> = sorted
        .windows(2)
        .filter(|pair| fingerprint(pair[0]) == fingerprint(pair[1]))
        .map(|pair| pair[1])
        .collect();
    if repeats.is_empty() {
        return keys.into();
    }
    repeats.sort_unstable();
    let each_once = keys.into_iter().zip(0u32..).filter(|(_, at)| repeats.binary_search(at).is_err());
    each_once.map(|(key, _)| key).collect()
}

/// The order of `smart_round_robin`: keys from best to worst, never used ones last, dealt into
/// groups of about a hundred like cards, group after group. So every group has keys of all
/// qualities, best first, and the best keys do not carry all of the load.
fn explore(records: &[Record]) -> Box<[u32]> {
    let mut ranked: Vec<u32> = (0..records.len() as u32).collect();
    ranked.sort_by(|a, b| {
        let (a, b) = (records[*a as usize], records[*b as usize]);
        let rate = |mine: Record, other: Record| u128::from(mine.successes) * u128::from(other.attempts);
        (b.attempts > 0)
            .cmp(&(a.attempts > 0))
            .then_with(|| rate(b, a).cmp(&rate(a, b)))
            .then_with(|| b.attempts.cmp(&a.attempts))
    });
    let groups = records.len().div_ceil(GROUP).max(1);
    (0..groups).flat_map(|group| ranked.iter().skip(group).step_by(groups)).copied().collect()
}

#[cfg(test)]
mod tests;
