//! Keeps what client keys may still spend: holds before a request, settles after it.
//!
//! A request is admitted while what was spent and what is held leave anything of the credits; its
//! own hold never refuses it, so a small rest can be used up. What is overspent is therefore at
//! most what the requests under way at the last admission really cost. Amounts are whole
//! picodollars: sums are exact in any order.
//!
//! Spending is summed beside the ledger and never read from it on the way of a request: what the
//! ledger holds is recalled once, before this process writes to it, and requests are booked here
//! as they end. Sums are kept by hour, because a balance without a starting point covers the last
//! thirty days, rolling. Every key is booked, also one without credits: it may get some with the
//! next configuration, and they act at once.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use layers::policy::{Credits, Fingerprint};

use super::clock::Calendar;

/// What a balance without a starting point covers, in hours.
pub const ROLLING_HOURS: i64 = 30 * 24;
const HOUR: i64 = 3600;
const SHARDS: usize = 16;
/// Most keys per shard that are remembered after they have left the configuration.
const MOST_STRANGERS: usize = 4096;

/// The balances of all client keys.
#[derive(Debug)]
pub struct Accounts {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    calendar: Calendar,
}

type Shard = HashMap<Fingerprint, Account, RandomState>;

/// One key's money, in picodollars.
#[derive(Debug, Default)]
struct Account {
    /// (Unix hour, cost), by hour: the last thirty days.
    hours: VecDeque<(i64, i128)>,
    /// Sum of `hours`.
    recent: i128,
    /// Spent before `hours` begins: from `since` on, or all that is known where it is not set.
    older: i128,
    /// Spent in the hour of `since`, but before it.
    early: i128,
    /// The starting point that `older` and `early` go by, once they were looked up.
    since: Option<i64>,
    /// Held for requests that are under way.
    reserved: i128,
    /// Added to the configured credits.
    granted: i128,
}

impl Account {
    /// Moves hours that have left the thirty days out of the ring.
    fn advance(&mut self, now: i64) {
        while let Some(&(hour, cost)) = self.hours.front()
            && hour < first_hour(now)
        {
            self.hours.pop_front();
            self.recent = self.recent.saturating_sub(cost);
            if self.since.is_none_or(|since| hour >= hour_of(since)) {
                self.older = self.older.saturating_add(cost);
            }
        }
    }

    fn book(&mut self, hour: i64, cost: i128) {
        let place = match self.hours.back() {
            Some((last, _)) if *last == hour => self.hours.len() - 1,
            _ => self.hours.partition_point(|(known, _)| *known < hour),
        };
        match self.hours.get_mut(place) {
            Some((known, sum)) if *known == hour => *sum = sum.saturating_add(cost),
            _ => self.hours.insert(place, (hour, cost)),
        }
        self.recent = self.recent.saturating_add(cost);
    }

    fn spent(&self, credits: &Credits, now: i64) -> i128 {
        let Some(since) = credits.since else { return self.recent };
        let spent = if hour_of(since) < first_hour(now) {
            self.recent.saturating_add(self.older)
        } else {
            let before = self.hours.iter().take_while(|(hour, _)| *hour < hour_of(since));
            self.recent.saturating_sub(before.map(|(_, cost)| *cost).sum())
        };
        let early = if self.since == Some(since) { self.early } else { 0 };
        spent.saturating_sub(early).max(0)
    }
}

/// The Unix hour that a time in Unix seconds lies in.
fn hour_of(at: i64) -> i64 {
    at.div_euclid(HOUR)
}

/// The oldest Unix hour within thirty days of `now`.
fn first_hour(now: i64) -> i64 {
    hour_of(now) - ROLLING_HOURS + 1
}

/// The amounts that a key has and had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Configured and granted.
    pub credits: i128,
    /// Spent in the time that the balance covers.
    pub spent: i128,
    /// Held for requests under way.
    pub reserved: i128,
}

impl Balance {
    /// Whether another request is admitted.
    pub fn is_open(&self) -> bool {
        self.spent.saturating_add(self.reserved) < self.credits
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            calendar: Calendar::default(),
        }
    }
}

impl Accounts {
    /// Admits a request that is estimated to cost `estimate`, and holds that; false when the
    /// balance is used up.
    pub fn hold(&self, caller: &Fingerprint, credits: &Credits, estimate: i128) -> bool {
        self.with(caller, |account, now| {
            let open = balance(account, credits, now).is_open();
            if open {
                account.reserved = account.reserved.saturating_add(estimate.max(0));
            }
            open
        })
    }

    /// Ends a hold and books what the request really cost.
    pub fn settle(&self, caller: &Fingerprint, held: i128, cost: i128) {
        if held <= 0 && cost <= 0 {
            return;
        }
        self.with(caller, |account, now| {
            account.reserved = account.reserved.saturating_sub(held.max(0)).max(0);
            if cost > 0 {
                account.book(hour_of(now), cost);
            }
        });
    }

    /// Sets the sum of all grants.
    pub fn grant(&self, caller: &Fingerprint, total: i128) {
        self.with(caller, |account, _| account.granted = total);
    }

    /// Adds what an earlier process booked at a time in Unix seconds within the last thirty days;
    /// what is older is for [`begin`](Self::begin).
    pub fn recall(&self, caller: &Fingerprint, at: i64, cost: i128) {
        self.with(caller, |account, now| {
            if hour_of(at) >= first_hour(now) && cost > 0 {
                account.book(hour_of(at), cost);
            }
        });
    }

    /// Sets the starting point of a balance. `costs` is what the ledger holds since then as (Unix
    /// seconds, picodollars), of which only what is older than thirty days is taken, and `early`
    /// what was spent in the hour of `since` before it.
    pub fn begin(
        &self,
        caller: &Fingerprint,
        since: Option<i64>,
        costs: impl IntoIterator<Item = (i64, i128)>,
        early: i128,
    ) {
        self.with(caller, |account, now| {
            let counts = |at: i64| {
                hour_of(at) < first_hour(now) && since.is_some_and(|since| hour_of(at) >= hour_of(since))
            };
            account.older = costs.into_iter().filter(|(at, _)| counts(*at)).map(|(_, cost)| cost).sum();
            (account.since, account.early) = (since, early);
        });
    }

    /// Whether the starting point of this key's balance is another one than what is known goes by,
    /// so that older spending has to be looked up.
    pub fn needs_begin(&self, caller: &Fingerprint, since: Option<i64>) -> bool {
        let shard = lock(self.shard(caller));
        since.is_some() && shard.get(caller).is_none_or(|account| account.since != since)
    }

    /// The balance as it is now.
    pub fn balance(&self, caller: &Fingerprint, credits: &Credits) -> Balance {
        self.with(caller, |account, now| balance(account, credits, now))
    }

    /// Forgets keys that are gone, have nothing under way and spent nothing in thirty days: a key
    /// that comes back finds its balance as it was.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        let now = self.unix();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let crowded = shard.len() > MOST_STRANGERS;
            shard.retain(|fingerprint, account| {
                account.advance(now);
                account.reserved > 0 || caller(fingerprint) || (account.recent > 0 && !crowded)
            });
        }
    }

    /// The time in Unix seconds that balances go by.
    pub fn unix(&self) -> i64 {
        self.calendar.now()
    }

    fn shard(&self, caller: &Fingerprint) -> &Mutex<Shard> {
        &self.shards[self.hasher.hash_one(caller) as usize % SHARDS]
    }

    fn with<T>(&self, caller: &Fingerprint, work: impl FnOnce(&mut Account, i64) -> T) -> T {
        let now = self.unix();
        let mut shard = lock(self.shard(caller));
        if let Some(account) = shard.get_mut(caller) {
            account.advance(now);
            return work(account, now);
        }
        work(shard.entry(caller.clone()).or_default(), now)
    }
}

fn balance(account: &Account, credits: &Credits, now: i64) -> Balance {
    Balance {
        credits: credits.amount.saturating_add(account.granted),
        spent: account.spent(credits, now),
        reserved: account.reserved,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const DAY: u64 = 86_400;

    fn accounts() -> (Accounts, Fingerprint) {
        (Accounts::default(), Fingerprint::new("k"))
    }

    fn credits(amount: i128) -> Credits {
        Credits { amount, since: None }
    }

    #[tokio::test(start_paused = true)]
    async fn credits_of_zero_block_and_a_grant_opens() {
        let (accounts, key) = accounts();
        assert!(!accounts.hold(&key, &credits(0), 1));

        accounts.grant(&key, 5);

        assert!(accounts.hold(&key, &credits(0), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn its_own_reservation_refuses_no_request_but_those_of_others_do() {
        let (accounts, key) = accounts();
        assert!(accounts.hold(&key, &credits(10), 1000));

        assert!(!accounts.hold(&key, &credits(10), 1));

        accounts.settle(&key, 1000, 9);
        assert!(accounts.hold(&key, &credits(10), 1));
        accounts.settle(&key, 1, 1);
        assert!(!accounts.hold(&key, &credits(10), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_balance_without_a_start_covers_thirty_days() {
        let (accounts, key) = accounts();
        assert!(accounts.hold(&key, &credits(10), 0));
        accounts.settle(&key, 0, 10);
        advance(Duration::from_secs(29 * DAY)).await;
        assert!(!accounts.hold(&key, &credits(10), 0));

        advance(Duration::from_secs(DAY + 3600)).await;

        assert_eq!(accounts.balance(&key, &credits(10)).spent, 0);
        assert!(accounts.hold(&key, &credits(10), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_balance_with_a_start_forgets_nothing_after_it() {
        let (accounts, key) = accounts();
        let start = accounts.unix() / HOUR * HOUR;
        let credits = Credits { amount: 10, since: Some(start - 5 * HOUR) };
        accounts.recall(&key, start - 9 * HOUR, 100);
        accounts.recall(&key, start - HOUR, 4);
        assert!(accounts.needs_begin(&key, credits.since));
        accounts.begin(&key, credits.since, [], 0);
        assert!(!accounts.needs_begin(&key, credits.since));
        accounts.settle(&key, 0, 3);
        assert_eq!(accounts.balance(&key, &credits).spent, 7);

        advance(Duration::from_secs(90 * DAY)).await;
        assert_eq!(accounts.balance(&key, &credits).spent, 7);
        accounts.settle(&key, 0, 2);

        assert_eq!(accounts.balance(&key, &credits).spent, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_long_ago_counts_what_the_ledger_holds_since_then_once() {
        let (accounts, key) = accounts();
        let start = accounts.unix() / HOUR * HOUR;
        let day = DAY as i64;
        let credits = Credits { amount: 1000, since: Some(start - 60 * day + 600) };
        let ledger =
            [(start - 61 * day, 100), (start - 60 * day, 20), (start - 31 * day, 3), (start - day, 4)];
        ledger.iter().for_each(|(at, cost)| accounts.recall(&key, *at, *cost));

        accounts.begin(&key, credits.since, ledger, 5);

        assert_eq!(accounts.balance(&key, &credits).spent, 20 - 5 + 3 + 4);
        let rolling = Credits { since: None, ..credits };
        assert_eq!(accounts.balance(&key, &rolling).spent, 4);
        let later = Credits { since: Some(start - HOUR), ..credits };
        assert_eq!(accounts.balance(&key, &later).spent, 0);
        // Looked up again while the process lives: what lies in the ring is not taken twice.
        accounts.settle(&key, 0, 7);
        accounts.begin(&key, credits.since, ledger, 5);
        assert_eq!(accounts.balance(&key, &credits).spent, 20 - 5 + 3 + 4 + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_twenty_nine_days_ago_count_and_those_of_thirty_one_do_not() {
        let (accounts, key) = accounts();
        let now = accounts.unix();

        accounts.recall(&key, now - 31 * DAY as i64, 100);
        accounts.recall(&key, now - 29 * DAY as i64, 4);

        assert_eq!(accounts.balance(&key, &credits(10)).spent, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_taken_out_finds_its_balance_when_it_comes_back() {
        let (accounts, key) = accounts();
        accounts.settle(&key, 0, 3);

        accounts.retain(&|_| false);
        assert_eq!(accounts.balance(&key, &credits(10)).spent, 3);

        advance(Duration::from_secs(31 * DAY)).await;
        accounts.retain(&|_| false);
        assert!(accounts.shards.iter().all(|shard| lock(shard).is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn pruning_keeps_keys_with_requests_under_way() {
        let (accounts, key) = accounts();
        accounts.hold(&key, &credits(10), 5);
        accounts.retain(&|_| false);
        assert_eq!(accounts.balance(&key, &credits(10)).reserved, 5);

        accounts.settle(&key, 5, 3);
        accounts.retain(&|_| false);

        assert_eq!(accounts.balance(&key, &credits(10)), Balance { credits: 10, spent: 3, reserved: 0 });
    }

    proptest! {
        /// A balance may open again when a request costs less than was held for it; what counts is
        /// when it closed for the last time, which is when the first of the refusals comes that
        /// no admission follows.
        #[test]
        fn what_is_overspent_is_at_most_the_cost_of_what_was_under_way_when_the_balance_closed(
            amount in 1i128..500,
            steps in prop::collection::vec((any::<bool>(), 0i128..60, 0i128..90, any::<prop::sample::Index>()), 1..200),
        ) {
            let (accounts, key) = accounts();
            let credits = credits(amount);
            let mut under_way = Vec::<(i128, i128)>::new();
            let cost_of = |requests: &[(i128, i128)]| requests.iter().map(|(_, cost)| *cost).sum::<i128>();
            let (mut spent, mut open, mut bound) = (0, true, 0);

            for (start, estimate, cost, which) in steps {
                let mut involved = cost_of(&under_way);
                if start {
                    let admitted = accounts.hold(&key, &credits, estimate);
                    prop_assert_eq!(admitted, open);
                    if admitted {
                        under_way.push((estimate, cost));
                        involved += cost;
                    }
                } else if !under_way.is_empty() {
                    let (estimate, cost) = under_way.swap_remove(which.index(under_way.len()));
                    accounts.settle(&key, estimate, cost);
                    spent += cost;
                }
                let was_open = std::mem::replace(&mut open, accounts.balance(&key, &credits).is_open());
                if was_open && !open {
                    bound = involved;
                }
            }
            if open {
                bound = cost_of(&under_way);
            }
            for (estimate, cost) in under_way.drain(..) {
                accounts.settle(&key, estimate, cost);
                spent += cost;
            }

            let balance = accounts.balance(&key, &credits);
            prop_assert_eq!((balance.spent, balance.reserved), (spent, 0));
            prop_assert!(spent - amount <= bound, "{} of {}, bound {}", spent, amount, bound);
        }
    }

    /// The same with real threads: a balance of 1000, requests of 7 that are held at 3.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sixty_four_clients_at_once_overspend_by_no_more_than_they_have_under_way() {
        let (accounts, key) = accounts();
        let accounts = Arc::new(accounts);

        let clients = (0..64).map(|_| {
            let (accounts, key) = (Arc::clone(&accounts), key.clone());
            tokio::spawn(async move {
                while accounts.hold(&key, &credits(1000), 3) {
                    tokio::task::yield_now().await;
                    accounts.settle(&key, 3, 7);
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }

        let balance = accounts.balance(&key, &credits(1000));
        assert_eq!(balance.reserved, 0);
        assert!(balance.spent >= 1000 && balance.spent <= 1000 + 64 * 7, "{balance:?}");
    }
}
