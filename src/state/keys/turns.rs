//! The turns of `smart_round_robin`: an order that follows how the keys did.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use layers::policy::Fingerprint;
use tokio::time::Instant;

use super::bits::Bits;
use super::state::{Turn, position_of};
use super::{KeyPool, Record, lock};
use crate::values::KeyAlgorithm;

/// How many keys one group of `smart_round_robin` holds.
const GROUP: usize = 100;

impl KeyPool {
    /// Asks the history for a new order, unless one is on its way.
    pub(super) fn resort(self: &Arc<Self>) {
        let Some(history) = &self.history else { return };
        let wanted = self.settings.algorithm == KeyAlgorithm::SmartRoundRobin && self.keys.len() > 1;
        if !wanted || self.resorting.swap(true, Ordering::AcqRel) {
            return;
        }
        /// A guard that ends the flight also where the reply is dropped.
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
        state.reset_cursors();
        for bucket in state.buckets.values_mut() {
            bucket.refit(self.keys.len(), state.order.as_ref(), now);
        }
    }
}

/// The order of `smart_round_robin`: keys from best to worst, never used ones last, dealt into
/// groups of about a hundred like cards, group after group. So every group has keys of all
/// qualities, best first, and the best keys do not carry all of the load.
pub(super) fn explore(records: &[Record]) -> Box<[u32]> {
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
