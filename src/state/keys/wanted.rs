//! Leases one key that is named: for what exists under that key and no other, and for conversations
//! that it served before.

use std::sync::Arc;
use std::time::Duration;

use layers::policy::{Fingerprint, Quota, Target};
use layers::ports::{InputTokens, Keys as _, KeysExhausted, Lease};
use layers::stage::TriedKeys;
use tokio::time::Instant;

use super::state::State;
use super::{KeyPool, lock};
use crate::state::windows::Tally;

impl KeyPool {
    /// Takes this key, if it can be used now. It counts in its windows like any lease; the turn of
    /// the other keys does not move.
    pub(super) fn lease_only(
        self: Arc<Self>,
        target: &Target,
        wanted: &Fingerprint,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        let quota = target.key_quota.as_deref();
        let slot = self.slot_of(wanted).ok_or(KeysExhausted::Gone)?;
        if quota.and_then(|quota| quota.tokens_per_request).is_some_and(|most| input.0 > most) {
            return Err(KeysExhausted::TooLong);
        }
        if self.keys.len() > 1 || quota.is_some_and(Quota::has_windows) {
            self.take_only(slot, target)?;
        }
        let secret = self.keys[slot as usize].clone();
        Ok(Lease::new(self, slot, secret, Arc::clone(&target.upstream_model)))
    }

    /// Takes this key, if it can be used now and was not tried, else the next one. Where it is this
    /// one, the turn of the others does not move.
    pub(super) fn lease_first(
        self: Arc<Self>,
        target: &Target,
        rather: &Fingerprint,
        tried: &TriedKeys,
        input: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        let is_tried = self.slot_of(rather).is_none_or(|slot| tried.contains(slot));
        if !is_tried && let Ok(lease) = Arc::clone(&self).lease_only(target, rather, input) {
            return Ok(lease);
        }
        self.lease(target, tried, input)
    }

    /// Whether this key can be used now.
    pub(super) fn is_usable(&self, target: &Target, key: &Fingerprint) -> bool {
        let Some(slot) = self.slot_of(key) else { return false };
        let quota = target.key_quota.as_deref();
        if self.keys.len() == 1 && !quota.is_some_and(Quota::has_windows) {
            return true;
        }
        let mut state = lock(&self.state);
        self.free(&mut state, slot, target).is_ok()
    }

    /// The bucket that would count a use of this key, if it can be used now.
    fn free(&self, state: &mut State, slot: u32, target: &Target) -> Result<Option<Option<Arc<str>>>, u64> {
        let (_, name) = self.prepare(state, target);
        let now = self.clock.tick(Instant::now());
        let mut until = state.cool[slot as usize];
        if let Some(bucket) = name.as_ref().and_then(|name| state.buckets.get_mut(name)) {
            // Not its bit: that is set when the turn comes to it.
            let refusal = match bucket.tallies.get_mut(&slot) {
                Some(tally) => tally.hits.refusal(&bucket.quota, now),
                None => Tally::default().refusal(&bucket.quota, now),
            };
            until = until.max(refusal.map_or(0, |(until, _)| until));
        }
        if until > now { Err(until - now) } else { Ok(name) }
    }

    fn take_only(&self, slot: u32, target: &Target) -> Result<(), KeysExhausted> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let position = state.position(slot);
        let name = self
            .free(state, slot, target)
            .map_err(|left| KeysExhausted::For(Some(Duration::from_nanos(left))))?;
        if let Some(bucket) = name.and_then(|name| state.buckets.get_mut(&name)) {
            bucket.hit(slot, position, self.clock.tick(Instant::now()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use layers::policy::{ChannelName, Window};
    use layers::ports::{KeyOutcome, Secret};

    use super::*;
    use crate::routing::testing::{channel_with, target};
    use crate::state::Runtime;
    use crate::state::keys::KeySettings;

    /// A target of a channel with these keys, which rest for a minute after a fault.
    fn aim(keys: &[&str], most_in_a_minute: Option<u64>) -> Target {
        let keys = keys.iter().map(|key| Secret::new(key, Fingerprint::new(key)).into()).collect();
        let settings = KeySettings { cooldown: Some(Duration::from_secs(60)), ..KeySettings::default() };
        let pool = Runtime::new(None).keys(&ChannelName::from("c"), settings, keys);
        let quota = |count| {
            let window = Window { count, period: Duration::from_secs(60) };
            Arc::new(Quota { windows: [window].into(), tokens_per_request: Some(100) })
        };
        let target = Arc::into_inner(target(&channel_with("c", pool), "m")).expect("it is new");
        Target { key_quota: most_in_a_minute.map(quota), ..target }
    }

    fn wanted(target: &Target, key: &str) -> Result<Lease, KeysExhausted> {
        target.channel.keys.clone().lease_wanted(target, &Fingerprint::new(key), InputTokens(1))
    }

    fn carried(lease: Result<Lease, KeysExhausted>) -> Option<String> {
        lease.ok()?.credential().map(|credential| credential.fingerprint().as_str().to_owned())
    }

    fn next(target: &Target) -> Option<String> {
        carried(target.channel.keys.clone().lease(target, &TriedKeys::default(), InputTokens(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_the_key_that_is_named_and_the_turn_of_the_others_goes_on() {
        let target = aim(&["a", "b", "c"], None);
        assert_eq!(next(&target).as_deref(), Some("a"));

        assert_eq!(carried(wanted(&target, "c")).as_deref(), Some("c"));

        assert_eq!(next(&target).as_deref(), Some("b"));
        assert_eq!(wanted(&target, "d").err(), Some(KeysExhausted::Gone));
        assert_eq!(carried(wanted(&aim(&["a"], None), "a")).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_rests_it_is_refused_until_its_rest_is_over() {
        let target = aim(&["a", "b"], None);
        let lease = wanted(&target, "a").expect("it is awake");
        lease.settle(KeyOutcome::Faulty { hint: None, rejected: false, quota: false });

        let left = Duration::from_secs(60);
        assert_eq!(wanted(&target, "a").err(), Some(KeysExhausted::For(Some(left))));
        assert_eq!(carried(wanted(&target, "b")).as_deref(), Some("b"));
        tokio::time::advance(left).await;

        assert_eq!(carried(wanted(&target, "a")).as_deref(), Some("a"));
        // Also when nobody cools any more, so that nothing is looked up by time.
        assert_eq!(carried(wanted(&target, "a")).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_counts_in_its_windows_and_is_refused_when_they_are_full() {
        for keys in [&["a"][..], &["a", "b"]] {
            let target = aim(keys, Some(2));
            for _ in 0..2 {
                wanted(&target, "a").expect("there is room").settle(KeyOutcome::Served);
            }

            assert_eq!(wanted(&target, "a").err(), Some(KeysExhausted::For(Some(Duration::from_secs(60)))));
            tokio::time::advance(Duration::from_secs(61)).await;
            drop(wanted(&target, "a").expect("there is room again"));
            wanted(&target, "a").expect("what was dropped does not count").settle(KeyOutcome::Served);
            wanted(&target, "a").expect("the second").settle(KeyOutcome::Served);
            assert!(wanted(&target, "a").is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_too_long_for_the_key_is_refused_and_counts_nowhere() {
        let target = aim(&["a", "b"], Some(1));
        let keys = target.channel.keys.clone();

        let refused = keys.lease_wanted(&target, &Fingerprint::new("a"), InputTokens(101));

        assert_eq!(refused.err(), Some(KeysExhausted::TooLong));
        assert!(wanted(&target, "a").is_ok());
    }

    fn rather(target: &Target, key: &str, tried: &TriedKeys) -> Option<String> {
        let keys = target.channel.keys.clone();
        carried(keys.lease_rather(target, &Fingerprint::new(key), tried, InputTokens(1)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_rather_taken_moves_no_turn_and_gives_way_when_it_cannot_serve() {
        for quota in [None, Some(100)] {
            let target = aim(&["a", "b", "c"], quota);
            let fresh = TriedKeys::default();
            assert_eq!(next(&target).as_deref(), Some("a"));

            assert_eq!(rather(&target, "c", &fresh).as_deref(), Some("c"));
            assert_eq!(rather(&target, "c", &fresh).as_deref(), Some("c"));
            assert_eq!(rather(&target, "c", &fresh.with(2)).as_deref(), Some("b"), "it was tried");
            wanted(&target, "c").unwrap().settle(KeyOutcome::Faulty {
                hint: None,
                rejected: false,
                quota: false,
            });
            assert!(!target.channel.keys.can_use(&target, &Fingerprint::new("c")));
            assert_eq!(
                rather(&target, "c", &fresh).as_deref(),
                Some("a"),
                "it cools, and it is the turn of a"
            );
            assert_eq!(rather(&target, "gone", &fresh).as_deref(), Some("b"));
            tokio::time::advance(Duration::from_secs(60)).await;
            assert!(target.channel.keys.can_use(&target, &Fingerprint::new("c")));
            assert_eq!(rather(&target, "c", &fresh).as_deref(), Some("c"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_windows_are_full_cannot_be_used_until_they_have_room() {
        let target = aim(&["a", "b"], Some(1));
        let can = |key: &str| target.channel.keys.can_use(&target, &Fingerprint::new(key));
        wanted(&target, "a").unwrap().settle(KeyOutcome::Served);

        assert_eq!((can("a"), can("b"), can("c")), (false, true, false));
        tokio::time::advance(Duration::from_secs(61)).await;

        assert!(can("a") && can("b"));
    }
}
