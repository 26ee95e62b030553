//! Counts requests in sliding windows and says which limit a request would break.
//!
//! A window is a log of hits: exact, and its memory is bounded by its own limit, since refused
//! requests are not counted. Limits above 10,000 count in sixty cells of the period instead,
//! which is exact to a sixtieth of the period. The same `Tally` serves client keys, the whole
//! gateway and, in [`super::keys`], provider keys.

mod usage;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::failure::{Exceeded, Whose};
use layers::policy::{Fingerprint, Quota, Window};
use layers::ports::Limits;
use tokio::time::Instant;

pub use self::usage::{Usage, WindowUse};
use super::clock::{Clock, ticks};

/// The largest limit that is counted hit by hit.
const LONGEST_LOG: u64 = 10_000;
/// Into how many cells the period of a larger one is cut.
const CELLS: usize = 60;
/// How many buckets are kept over all client keys and models.
const CAPACITY: usize = 1 << 16;
const SHARDS: usize = 64;

/// The hits of one bucket.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Hits in order of time, for all windows that are counted hit by hit.
    log: VecDeque<u64>,
    /// One for each larger window, by its period.
    rings: Vec<Ring>,
}

#[derive(Debug, Clone)]
struct Ring {
    period: u64,
    cells: Box<[u64; CELLS]>,
    total: u64,
    /// The number of the newest cell: tick divided by the width of a cell.
    newest: u64,
}

impl Ring {
    fn new(period: u64) -> Self {
        Self { period, cells: Box::new([0; CELLS]), total: 0, newest: 0 }
    }

    fn width(&self) -> u64 {
        (self.period / CELLS as u64).max(1)
    }

    fn cell(&mut self, number: u64) -> &mut u64 {
        &mut self.cells[(number % CELLS as u64) as usize]
    }

    /// Forgets the cells that have left the period.
    fn advance(&mut self, now: u64) {
        let number = now / self.width();
        if number >= self.newest.saturating_add(CELLS as u64) {
            self.cells.fill(0);
            self.total = 0;
            self.newest = number;
        }
        while self.newest < number {
            self.newest += 1;
            let left = std::mem::take(self.cell(self.newest));
            self.total -= left;
        }
    }

    fn hit(&mut self, at: u64, times: u64) {
        let number = at / self.width();
        if number < self.newest {
            // A hit of the past, recalled when newer ones were there already.
            if number + CELLS as u64 > self.newest {
                *self.cell(number) += times;
                self.total += times;
            }
            return;
        }
        self.advance(at);
        *self.cell(self.newest) += times;
        self.total += times;
    }

    fn take_back(&mut self) {
        for back in 0..CELLS as u64 {
            let cell = self.cell(self.newest.saturating_sub(back));
            if *cell > 0 {
                *cell -= 1;
                self.total -= 1;
                return;
            }
        }
    }

    /// The tick at which fewer than `count` will be left.
    fn room_at(&mut self, count: u64) -> u64 {
        let oldest = self.newest.saturating_sub(CELLS as u64 - 1);
        let mut left = self.total;
        for number in oldest..=self.newest {
            left -= *self.cell(number);
            if left < count {
                return (number + CELLS as u64).saturating_mul(self.width());
            }
        }
        (self.newest + CELLS as u64).saturating_mul(self.width())
    }
}

impl Tally {
    /// When the request would be admitted, and by which window it is refused now; none when it
    /// would be admitted now. Of several windows that refuse, the one that does so longest.
    pub(crate) fn refusal(&mut self, quota: &Quota, now: u64) -> Option<(u64, Window)> {
        let mut worst = None::<(u64, Window)>;
        for window in &quota.windows {
            let period = ticks(window.period);
            let until = if window.count == 0 {
                Some(now.saturating_add(period))
            } else if window.count <= LONGEST_LOG {
                // The hit that has to leave the window before another one fits.
                let at = self.log.len().checked_sub(window.count as usize);
                at.map(|at| self.log[at].saturating_add(period)).filter(|until| *until > now)
            } else {
                let ring = self.ring(period);
                ring.advance(now);
                (ring.total >= window.count).then(|| ring.room_at(window.count))
            };
            if let Some(until) = until.filter(|until| worst.is_none_or(|(worst, _)| *until > worst)) {
                worst = Some((until, *window));
            }
        }
        worst
    }

    /// Counts a hit in every window of `quota`.
    pub(crate) fn hit(&mut self, quota: &Quota, now: u64) {
        self.hits(quota, now, 1);
    }

    /// Counts several hits of the same moment.
    fn hits(&mut self, quota: &Quota, now: u64, times: u64) {
        let (mut longest, mut most) = (0, 0);
        for window in &quota.windows {
            let period = ticks(window.period);
            if window.count <= LONGEST_LOG {
                longest = period.max(longest);
                most = (window.count as usize).max(most);
            } else {
                self.ring(period).hit(now, times);
            }
        }
        if most > 0 {
            while self.log.front().is_some_and(|at| at.saturating_add(longest) <= now) {
                self.log.pop_front();
            }
            // Anywhere but at the end only where a hit of the past is recalled.
            let place = match self.log.back() {
                Some(last) if *last > now => self.log.partition_point(|at| *at <= now),
                _ => self.log.len(),
            };
            for _ in 0..times.min(most as u64) {
                self.log.insert(place, now);
            }
            while self.log.len() > most {
                self.log.pop_front();
            }
        }
    }

    /// Takes the latest hit back.
    pub(crate) fn take_back(&mut self, quota: &Quota) {
        self.log.pop_back();
        for window in quota.windows.iter().filter(|window| window.count > LONGEST_LOG) {
            self.ring(ticks(window.period)).take_back();
        }
    }

    /// The tick at which nothing of it will count any more.
    pub(crate) fn expires(&self, quota: &Quota) -> u64 {
        let last_logged = self.log.back().copied().unwrap_or(0);
        let last_in_cells =
            self.rings.iter().map(|ring| (ring.newest + 1).saturating_mul(ring.width())).max().unwrap_or(0);
        let longest = quota.windows.iter().map(|window| ticks(window.period)).max().unwrap_or(0);
        last_logged.max(last_in_cells).saturating_add(longest)
    }

    fn ring(&mut self, period: u64) -> &mut Ring {
        let at = self.rings.iter().position(|ring| ring.period == period).unwrap_or_else(|| {
            self.rings.push(Ring::new(period));
            self.rings.len() - 1
        });
        &mut self.rings[at]
    }
}

/// A quota's tally with the moment when it may be forgotten.
#[derive(Debug, Default)]
struct Bucket {
    tally: Tally,
    expires: u64,
}

impl Bucket {
    fn hit(&mut self, quota: &Quota, at: u64, times: u64) {
        self.tally.hits(quota, at, times);
        self.expires = self.tally.expires(quota);
    }
}

type Name = (Fingerprint, Option<Arc<str>>);
type Shard = HashMap<Name, Bucket, RandomState>;

/// The request windows of all client keys and of the gateway.
#[derive(Debug)]
pub struct Windows {
    global: Mutex<Bucket>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    clock: Clock,
}

impl Windows {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            global: Mutex::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            clock,
        }
    }

    /// Counts the request in all of its windows, or says which one refuses it and counts it in
    /// none.
    pub fn check(&self, caller: &Fingerprint, limits: &Limits, now: Instant) -> Option<Exceeded> {
        let now = self.clock.tick(now);
        self.with(caller, limits, now, |parts| {
            let last = parts.len().saturating_sub(1);
            let refused = parts
                .iter_mut()
                .enumerate()
                .filter_map(|(at, (bucket, quota))| Some((at, bucket.tally.refusal(quota, now)?)))
                .max_by_key(|(_, (until, _))| *until);
            if let Some((at, (until, window))) = refused {
                let reset = Duration::from_nanos(until.saturating_sub(now));
                // The caller's stand before the gateway's.
                let is_global = at == last && limits.global.as_deref().is_some_and(Quota::has_windows);
                let whose = if is_global { Whose::Gateway } else { Whose::Key };
                return Some(Exceeded { limit: window.count, period: window.period, whose, reset });
            }
            parts.iter_mut().for_each(|(bucket, quota)| bucket.hit(quota, now, 1));
            None
        })
    }

    /// Takes back what the latest request counted.
    pub fn take_back(&self, caller: &Fingerprint, limits: &Limits) {
        self.with(caller, limits, 0, |parts| {
            parts.iter_mut().for_each(|(bucket, quota)| bucket.tally.take_back(quota));
        });
    }

    /// Counts requests of one moment before the start, given by its age.
    pub fn recall(&self, caller: &Fingerprint, limits: &Limits, age: Duration, times: u64) {
        let now = self.clock.tick(Instant::now());
        let at = now.saturating_sub(ticks(age));
        self.with(caller, limits, now, |parts| {
            parts.iter_mut().for_each(|(bucket, quota)| bucket.hit(quota, at, times));
        });
    }

    /// Forgets the windows of keys that are gone and those in which nothing counts any more.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        let now = self.clock.tick(Instant::now());
        for shard in &self.shards {
            lock(shard).retain(|(fingerprint, _), bucket| bucket.expires > now && caller(fingerprint));
        }
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs `work` on the buckets that the request counts in, all of them locked: the caller's
    /// before the global one, everywhere.
    fn with<T>(
        &self,
        caller: &Fingerprint,
        limits: &Limits,
        now: u64,
        work: impl FnOnce(&mut [(&mut Bucket, &Quota)]) -> T,
    ) -> T {
        let own = limits.caller.as_ref().filter(|(quota, _)| quota.has_windows());
        let global = limits.global.as_deref().filter(|quota| quota.has_windows());
        let mut shard;
        let mut whole;
        let own = match own {
            Some((quota, model)) => {
                let name = (caller.clone(), model.clone());
                shard = lock(&self.shards[self.hasher.hash_one(&name) as usize % SHARDS]);
                make_room(&mut shard, &name, now);
                Some((shard.entry(name).or_default(), &**quota))
            }
            None => None,
        };
        let global = match global {
            Some(quota) => {
                whole = lock(&self.global);
                Some((&mut *whole, quota))
            }
            None => None,
        };
        match (own, global) {
            (Some(own), Some(global)) => work(&mut [own, global]),
            (Some(one), None) | (None, Some(one)) => work(&mut [one]),
            (None, None) => work(&mut []),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Tallies are consistent between any two statements, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a shard within its share of the capacity before a new bucket goes in: first what counts
/// no more leaves, then the one that would soonest.
fn make_room(shard: &mut Shard, name: &Name, now: u64) {
    if shard.len() < CAPACITY / SHARDS || shard.contains_key(name) {
        return;
    }
    shard.retain(|_, bucket| bucket.expires > now);
    if shard.len() >= CAPACITY / SHARDS {
        let soonest = shard.iter().min_by_key(|(_, bucket)| bucket.expires).map(|(name, _)| name.clone());
        soonest.map(|name| shard.remove(&name));
    }
}

#[cfg(test)]
mod tests;
