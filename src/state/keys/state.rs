//! What a pool of keys knows at one moment: who is awake, who has room, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use layers::policy::Quota;
use layers::ports::Credential;

use super::bits::Bits;
use crate::state::windows::Tally;

/// Recoveries that one pick works off before it looks whether a key is usable already.
const WAKES_PER_PICK: usize = 64;

/// The part that changes with each request. Bits and cursor go by position in the turn, everything
/// else by slot; the two differ under `smart_round_robin` only.
#[derive(Debug)]
pub(super) struct State {
    /// The position that the next turn starts its search at.
    pub(super) cursor: usize,
    /// Keys that do not cool.
    pub(super) awake: Bits,
    /// Until which tick each key cools; 0 for never yet.
    pub(super) cool: Box<[u64]>,
    /// How often each key was rejected since it last served.
    pub(super) strikes: Box<[u8]>,
    /// Cooling keys by the earliest tick at which they may be awake; each key once.
    pub(super) sleepers: BinaryHeap<Reverse<(u64, u32)>>,
    /// Windows by upstream model; by nothing where they are over all models.
    pub(super) buckets: HashMap<Option<Arc<str>>, Bucket, RandomState>,
    /// Where it is not the order of the slots.
    pub(super) order: Option<Turn>,
}

/// An order of the slots and its inverse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) slots: Box<[u32]>,
    pub(super) positions: Box<[u32]>,
}

/// The windows of all keys for one model.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) quota: Arc<Quota>,
    /// Keys with room.
    pub(super) open: Bits,
    /// By slot; only keys that were used.
    pub(super) tallies: HashMap<u32, KeyTally, RandomState>,
    /// Keys that ran out of room by the earliest tick at which they may have some; each key once.
    pub(super) shut: BinaryHeap<Reverse<(u64, u32)>>,
}

/// The hits of one key.
#[derive(Debug, Default, Clone)]
pub(super) struct KeyTally {
    pub(super) hits: Tally,
    /// Whether it is in the heap. It may be while there is room: a hit can be taken back.
    pub(super) queued: bool,
}

impl State {
    pub(super) fn new(keys: usize) -> Self {
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

    pub(super) fn slot(&self, position: usize) -> u32 {
        self.order.as_ref().map_or(position as u32, |turn| turn.slots[position])
    }

    pub(super) fn position(&self, slot: u32) -> usize {
        self.order.as_ref().map_or(slot as usize, |turn| turn.positions[slot as usize] as usize)
    }

    /// Wakes keys whose rest is over: all of the first few, more only while nobody is awake.
    pub(super) fn wake(&mut self, now: u64) {
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

    /// Lets a key rest until this tick, unless it cools longer already.
    pub(super) fn rest(&mut self, slot: u32, until: u64) {
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
    pub(super) fn open_bucket(&mut self, name: Option<Arc<str>>, quota: &Arc<Quota>, now: u64) {
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

pub(super) fn position_of(order: Option<&Turn>, slot: u32) -> usize {
    order.map_or(slot as usize, |turn| turn.positions[slot as usize] as usize)
}

impl Bucket {
    pub(super) fn new(keys: usize, quota: &Arc<Quota>, tallies: HashMap<u32, KeyTally, RandomState>) -> Self {
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

    pub(super) fn hit(&mut self, slot: u32, position: usize, now: u64) {
        self.recall(slot, position, now, now);
    }

    /// Counts a hit that was at the tick `at`.
    pub(super) fn recall(&mut self, slot: u32, position: usize, at: u64, now: u64) {
        let tally = self.tallies.entry(slot).or_default();
        tally.hits.hit(&self.quota, at);
        if let Some((until, _)) = tally.hits.refusal(&self.quota, now) {
            self.open.clear(position);
            if !std::mem::replace(&mut tally.queued, true) {
                self.shut.push(Reverse((until, slot)));
            }
        }
    }

    pub(super) fn take_back(&mut self, slot: u32, position: usize, now: u64) {
        let Some(tally) = self.tallies.get_mut(&slot) else { return };
        tally.hits.take_back(&self.quota);
        if tally.hits.refusal(&self.quota, now).is_none() {
            self.open.set(position);
        }
    }

    /// Judges all keys anew: by other limits or in another order.
    pub(super) fn refit(&mut self, keys: usize, order: Option<&Turn>, now: u64) {
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
    pub(super) fn room_at(&mut self, slot: u32, now: u64) -> Option<u64> {
        self.tallies.get_mut(&slot)?.hits.refusal(&self.quota, now).map(|(until, _)| until)
    }
}

/// Each key where it stands first. Sorts positions, because a set of tens of thousands of
/// fingerprints would be memory that the allocator keeps.
pub(super) fn without_repeats(keys: Vec<Credential>) -> Box<[Credential]> {
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
