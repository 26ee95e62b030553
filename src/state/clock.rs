//! Writes instants as numbers, so that they fit into an atomic.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Nanoseconds that lie before the epoch: windows are rebuilt from a ledger that is older than the
/// process. Two years, more than the longest window.
const PAST: u64 = 2 * 366 * 86_400 * 1_000_000_000;

/// A count of nanoseconds since some moment two years before it was made. Never 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now() }
    }

    /// The number of this instant.
    pub(crate) fn tick(self, at: Instant) -> u64 {
        PAST + ticks(at.saturating_duration_since(self.epoch))
    }

    /// The instant of this number, as far as it is not before the epoch.
    pub(crate) fn instant(self, tick: u64) -> Instant {
        self.epoch + Duration::from_nanos(tick.saturating_sub(PAST))
    }
}

/// A source of Unix seconds: the wall clock at the start, and what has passed since. A wall clock
/// that is set while the process runs moves no hour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calendar {
    started: (i64, Instant),
}

impl Default for Calendar {
    fn default() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: (i64::try_from(unix.as_secs()).unwrap_or(i64::MAX), Instant::now()) }
    }
}

impl Calendar {
    /// Unix seconds.
    pub(crate) fn now(self) -> i64 {
        self.started.0.saturating_add_unsigned(self.started.1.elapsed().as_secs())
    }
}

/// A duration in ticks; what is longer than five hundred years is five hundred years.
pub(crate) fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX >> 2)
}
