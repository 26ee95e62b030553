//! Failed sign-ins: who shows one unknown key after another is told to stop.
//!
//! Counted by address, and asked only about keys that are unknown: many people may share an address,
//! and whoever has a good key is never kept out for the others. So a guess is not made slower by this;
//! that keys cannot be guessed is a matter of their length. It keeps programs with an old key, and
//! those that try lists of keys, from being answered without end.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failed sign-ins of an address in a [`PERIOD`].
const MOST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);
/// Most addresses that are remembered. More than that are an attack that no memory would stop.
const ADDRESSES: usize = 4096;

/// The failed sign-ins of the last minute.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<HashMap<IpAddr, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Strangers {
    /// Counts a failed sign-in. Tells how long the address has to wait, if it has had too many.
    pub(super) fn failed(&self, address: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = neighbourhood(address);
        if addresses.len() >= ADDRESSES && !addresses.contains_key(&address) {
            addresses.retain(|_, failures| now < failures.since + PERIOD);
            if addresses.len() >= ADDRESSES {
                return None;
            }
        }
        let failures = addresses.entry(address).or_insert(Failures { since: now, count: 0 });
        if now >= failures.since + PERIOD {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        (failures.count > MOST).then(|| (failures.since + PERIOD).duration_since(now))
    }
}

/// What one party has: a single address, or a network of IPv6.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_failure_within_a_minute_has_to_wait_for_the_rest_of_it() {
        let strangers = Strangers::default();
        for _ in 0..10 {
            assert_eq!(strangers.failed(address("203.0.113.7")), None);
        }
        tokio::time::advance(Duration::from_secs(20)).await;

        assert_eq!(strangers.failed(address("203.0.113.7")), Some(Duration::from_secs(40)));
        assert_eq!(strangers.failed(address("203.0.113.8")), None);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(strangers.failed(address("203.0.113.7")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_party() {
        let strangers = Strangers::default();
        for last in 1..=10 {
            assert_eq!(strangers.failed(address(&format!("2001:db8::{last}"))), None);
        }

        assert!(strangers.failed(address("2001:db8::ffff")).is_some());
        assert!(strangers.failed(address("2001:db8:0:1::1")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_remembers_a_bounded_number_of_addresses() {
        let strangers = Strangers::default();
        for n in 0..10_000_u32 {
            strangers.failed(IpAddr::from(n.to_be_bytes()));
        }

        assert_eq!(strangers.0.lock().unwrap().len(), ADDRESSES);
        tokio::time::advance(PERIOD).await;
        strangers.failed(address("203.0.113.7"));
        assert_eq!(strangers.0.lock().unwrap().len(), 1);
    }
}
