//! Says how far windows are used, and counts nothing by it.

use std::time::Duration;

use layers::policy::{Fingerprint, Quota, Window};
use layers::ports::Limits;
use tokio::time::Instant;

use super::{Bucket, LONGEST_LOG, SHARDS, Tally, Windows, lock, ticks};

/// Uses of the windows that one request counts in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Those over all callers.
    pub global: Vec<WindowUse>,
    /// Those of the caller.
    pub caller: Vec<WindowUse>,
}

/// Use of one window, as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowUse {
    /// The window.
    pub window: Window,
    /// Requests that count in it now.
    pub used: u64,
    /// Until it admits a request again; none while it does.
    pub full_for: Option<Duration>,
}

impl Windows {
    /// How far the windows are used in which this request would count.
    pub fn usage_at(&self, caller: &Fingerprint, limits: &Limits, now: Instant) -> Usage {
        use std::hash::BuildHasher;

        let now = self.clock.tick(now);
        let own = limits.caller.as_ref().map(|(quota, model)| {
            let name = (caller.clone(), model.clone());
            let mut shard = lock(&self.shards[self.hasher.hash_one(&name) as usize % SHARDS]);
            // Asking makes no bucket: administrators may ask for anything.
            uses(shard.get_mut(&name), quota, now)
        });
        let global = limits.global.as_ref().map(|quota| uses(Some(&mut lock(&self.global)), quota, now));
        Usage { global: global.unwrap_or_default(), caller: own.unwrap_or_default() }
    }
}

fn uses(bucket: Option<&mut Bucket>, quota: &Quota, now: u64) -> Vec<WindowUse> {
    let mut fresh = Tally::default();
    let tally = bucket.map_or(&mut fresh, |bucket| &mut bucket.tally);
    quota
        .windows
        .iter()
        .map(|window| {
            let alone = Quota { windows: [*window].into(), tokens_per_request: None };
            let full = tally.refusal(&alone, now);
            WindowUse {
                window: *window,
                used: tally.used(window, now),
                full_for: full.map(|(until, _)| Duration::from_nanos(until.saturating_sub(now))),
            }
        })
        .collect()
}

impl Tally {
    /// Hits that count in this window now.
    fn used(&mut self, window: &Window, now: u64) -> u64 {
        let period = ticks(window.period);
        if window.count <= LONGEST_LOG {
            let counts = |at: &&u64| at.saturating_add(period) > now;
            return self.log.iter().rev().take_while(counts).count() as u64;
        }
        let ring = self.ring(period);
        ring.advance(now);
        ring.total
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::clock::Clock;

    fn limits(windows: &[(u64, u64)]) -> Limits {
        let windows = windows
            .iter()
            .map(|(count, seconds)| Window { count: *count, period: Duration::from_secs(*seconds) })
            .collect();
        let quota = Arc::new(Quota { windows, tokens_per_request: None });
        Limits { global: Some(quota.clone()), caller: Some((quota, None)) }
    }

    fn told(usage: &[WindowUse]) -> Vec<(u64, Option<u64>)> {
        usage.iter().map(|each| (each.used, each.full_for.map(|left| left.as_secs()))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_window_tells_what_counts_in_it_and_when_it_has_room() {
        let windows = Windows::new(Clock::new());
        let (caller, limits) = (Fingerprint::new("a"), limits(&[(2, 60), (100, 3600), (20_000, 3600)]));
        let start = Instant::now();
        for second in [0, 50] {
            assert!(windows.check(&caller, &limits, start + Duration::from_secs(second)).is_none());
        }

        let usage = windows.usage_at(&caller, &limits, start + Duration::from_secs(55));
        assert_eq!(told(&usage.caller), [(2, Some(5)), (2, None), (2, None)]);
        assert_eq!(told(&usage.global), told(&usage.caller));

        let later = windows.usage_at(&caller, &limits, start + Duration::from_secs(65));
        assert_eq!(told(&later.caller), [(1, None), (2, None), (2, None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn asking_counts_nothing_and_remembers_nobody() {
        let windows = Windows::new(Clock::new());
        let limits = limits(&[(1, 60)]);

        for name in ["a", "b", "b"] {
            let usage = windows.usage_at(&Fingerprint::new(name), &limits, Instant::now());
            assert_eq!(told(&usage.caller), [(0, None)]);
        }

        assert!(windows.is_empty());
        assert!(windows.check(&Fingerprint::new("b"), &limits, Instant::now()).is_none());
    }
}
