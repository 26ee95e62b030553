//! Says how each key of a pool stands, and changes nothing by it.

use std::time::Duration;

use layers::policy::{Fingerprint, Target};
use layers::ports::KeyStanding;
use tokio::time::Instant;

use super::{KeyPool, lock};
use crate::state::windows::Tally;
use crate::values::KeyAlgorithm;

impl KeyPool {
    /// How many keys there are, and how many of them cool.
    pub(in crate::state) fn cooling_at(&self, now: Instant) -> (usize, usize) {
        let now = self.clock.tick(now);
        let cooling = lock(&self.state).cool.iter().filter(|until| **until > now).count();
        (self.keys.len(), cooling)
    }

    /// How each key stands towards a request for this target, in the order of their turns.
    pub(super) fn standings_at(&self, target: &Target, now: Instant) -> Vec<(Fingerprint, KeyStanding)> {
        let now = self.clock.tick(now);
        let quota = target.key_quota.as_ref().filter(|quota| quota.has_windows());
        let mut state = lock(&self.state);
        let state = &mut *state;
        let keys = self.keys.len();
        let first = match self.settings.algorithm {
            KeyAlgorithm::RoundRobin | KeyAlgorithm::SmartRoundRobin => {
                state.cursor_in(target.place.as_ref())
            }
            KeyAlgorithm::FixedPriority | KeyAlgorithm::Random => 0,
        };
        let slots: Vec<u32> = (0..keys).map(|ahead| state.slot((first + ahead) % keys)).collect();
        let mut bucket = quota.and_then(|_| state.buckets.get_mut(&self.bucket_name(&target.upstream_model)));
        let mut standing = |slot: u32| {
            let cool = state.cool[slot as usize];
            if cool > now {
                return KeyStanding::Cooling(Duration::from_nanos(cool - now));
            }
            let Some(quota) = quota else { return KeyStanding::Usable };
            let refusal = match bucket.as_mut().and_then(|bucket| bucket.tallies.get_mut(&slot)) {
                Some(tally) => tally.hits.refusal(quota, now),
                None => Tally::default().refusal(quota, now),
            };
            match refusal {
                Some((until, _)) => KeyStanding::OverLimit(Duration::from_nanos(until.saturating_sub(now))),
                None => KeyStanding::Usable,
            }
        };
        slots
            .into_iter()
            .map(|slot| (self.keys[slot as usize].fingerprint().clone(), standing(slot)))
            .collect()
    }
}
