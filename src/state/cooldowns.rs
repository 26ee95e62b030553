//! Remembers which (channel, model, place) is cooling, and lets one request try it before the others.
//!
//! One number for each, read by every pick of every route that holds the channel, so reading it
//! is one atomic load. Deadlines only extend: a late success of a request that began before the
//! failure says nothing about the channel now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use layers::ports::Health;
use tokio::time::Instant;

use super::clock::{Clock, ticks};

/// How long the others wait for the request that tries a channel out. If nothing is heard of it
/// until then (its client may have gone), the next one tries.
const TRIAL: Duration = Duration::from_secs(30);

/// Set while a trial is under way; the deadline is then the trial's.
const ON_TRIAL: u64 = 1;

/// The health of one (channel, alias, place).
///
/// 0 while it is healthy, else the tick until which it is left alone. A deadline that has passed
/// stays until a request tries the channel out, and ends with a success.
#[derive(Debug)]
pub struct Cooldown {
    state: AtomicU64,
    clock: Clock,
}

impl Cooldown {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: AtomicU64::new(0), clock }
    }

    fn change(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        // Relaxed is enough: the number publishes nothing but itself.
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Health for Cooldown {
    fn settle(&self, failed: bool, period: Duration, now: Instant) {
        if !failed && self.state.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = self.clock.tick(now);
        self.change(|state| {
            let cooling = state & ON_TRIAL == 0 && state > now;
            match (failed, cooling) {
                (false, true) => None,
                (false, false) => Some(0),
                (true, _) if period.is_zero() => (!cooling).then_some(0),
                (true, true) => Some(state.max(now.saturating_add(ticks(period)) & !ON_TRIAL)),
                (true, false) => Some(now.saturating_add(ticks(period)) & !ON_TRIAL),
            }
        });
    }

    fn cooling_until(&self, now: Instant) -> Option<Instant> {
        let state = self.state.load(Ordering::Relaxed);
        if state == 0 {
            return None;
        }
        (state & !ON_TRIAL > self.clock.tick(now)).then(|| self.clock.instant(state & !ON_TRIAL))
    }

    fn admit(&self, now: Instant) -> bool {
        if self.state.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let now = self.clock.tick(now);
        let mut healthy = false;
        let claimed = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            healthy = state == 0;
            (!healthy && state & !ON_TRIAL <= now).then(|| now.saturating_add(ticks(TRIAL)) | ON_TRIAL)
        });
        healthy || claimed.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(300);

    fn cooldown() -> (Cooldown, Instant) {
        (Cooldown::new(Clock::new()), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_benches_for_its_period_and_no_longer() {
        let (cooldown, start) = cooldown();

        cooldown.settle(true, COOLDOWN, start);

        assert_eq!(cooldown.cooling_until(start), Some(start + COOLDOWN));
        assert!(cooldown.cooling_until(start + Duration::from_secs(299)).is_some());
        assert_eq!(cooldown.cooling_until(start + Duration::from_secs(301)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_only_extends() {
        let (cooldown, start) = cooldown();
        cooldown.settle(true, COOLDOWN, start);

        cooldown.settle(true, Duration::from_secs(5), start + Duration::from_secs(1));
        cooldown.settle(false, COOLDOWN, start + Duration::from_secs(2));
        cooldown.settle(true, Duration::ZERO, start + Duration::from_secs(2));

        assert_eq!(cooldown.cooling_until(start + Duration::from_secs(3)), Some(start + COOLDOWN));
        cooldown.settle(true, COOLDOWN, start + Duration::from_secs(100));
        assert_eq!(
            cooldown.cooling_until(start + COOLDOWN),
            Some(start + COOLDOWN + Duration::from_secs(100))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_of_zero_never_benches() {
        let (cooldown, start) = cooldown();

        cooldown.settle(true, Duration::ZERO, start);

        assert_eq!(cooldown.cooling_until(start), None);
        assert!(cooldown.admit(start) && cooldown.admit(start));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_tries_a_recovered_channel_and_a_success_opens_it() {
        let (cooldown, start) = cooldown();
        cooldown.settle(true, COOLDOWN, start);
        let later = start + COOLDOWN;

        assert_eq!(cooldown.cooling_until(later), None);
        assert!(cooldown.admit(later));
        assert!(!cooldown.admit(later));
        assert!(cooldown.cooling_until(later).is_some());

        cooldown.settle(false, COOLDOWN, later);
        assert!(cooldown.admit(later) && cooldown.admit(later));
        assert_eq!(cooldown.cooling_until(later), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_trial_benches_for_another_period() {
        let (cooldown, start) = cooldown();
        cooldown.settle(true, COOLDOWN, start);
        let later = start + COOLDOWN;
        assert!(cooldown.admit(later));

        cooldown.settle(true, Duration::from_secs(3), later);

        assert_eq!(cooldown.cooling_until(later), Some(later + Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_nobody_settles_lapses() {
        let (cooldown, start) = cooldown();
        cooldown.settle(true, COOLDOWN, start);
        assert!(cooldown.admit(start + COOLDOWN));

        assert!(!cooldown.admit(start + COOLDOWN + TRIAL / 2));
        assert!(cooldown.admit(start + COOLDOWN + TRIAL));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_64_requests_at_once_one_is_the_trial() {
        let cooldown = std::sync::Arc::new(Cooldown::new(Clock::new()));
        let start = Instant::now();
        cooldown.settle(true, COOLDOWN, start);

        let claims = (0..64).map(|_| {
            let cooldown = std::sync::Arc::clone(&cooldown);
            tokio::spawn(async move { cooldown.admit(start + COOLDOWN) })
        });
        let mut admitted = 0;
        for claim in claims.collect::<Vec<_>>() {
            admitted += u32::from(claim.await.unwrap());
        }

        assert_eq!(admitted, 1);
    }
}
