//! Keeps what client keys may still spend: reserves before a request, settles after it.
//!
//! A request is admitted while what was spent and what is reserved leave anything of the credits;
//! its own reservation never refuses it, so a small rest can be used up. What is overspent is
//! therefore at most what the requests under way at the last admission really cost. Amounts are
//! whole picodollars: sums are exact in any order.
//!
//! Spending is summed beside the ledger and never read from it on the way of a request: costs are
//! restored from the ledger at the start, booked here as requests end, and kept by hour, because
//! a balance without a starting point covers the last thirty days, rolling.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use layers::Failure;
use layers::policy::{Credits, Fingerprint};
use layers::ports::{Balances, Verdict};
use layers::stage::Exchange;
use tokio::time::Instant;

/// What a balance without a starting point covers, in hours.
const ROLLING_HOURS: i64 = 30 * 24;
const HOUR: i64 = 3600;
const SHARDS: usize = 16;

/// What a request will cost at most, as far as can be told before it is sent: picodollars.
pub type Estimate = Arc<dyn Fn(&Exchange) -> i128 + Send + Sync>;

/// The balances of all client keys that have credits.
pub struct Accounts {
    shards: Box<[Mutex<HashMap<Fingerprint, Account, RandomState>>]>,
    hasher: RandomState,
    estimate: Estimate,
    /// The wall clock at the start, in Unix seconds, and the moment when it was read.
    started: (i64, Instant),
}

/// One key's money, in picodollars.
#[derive(Debug, Default)]
struct Account {
    /// (Unix hour, cost), by hour; the last thirty days and what is not yet cut off before them.
    hours: VecDeque<(i64, i128)>,
    /// Sum of `hours`.
    recent: i128,
    /// Spent since the starting point, if there is one, and before `hours` begins.
    older: i128,
    /// The starting point that `older` goes by.
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
            && hour <= now / HOUR - ROLLING_HOURS
        {
            self.hours.pop_front();
            self.recent = self.recent.saturating_sub(cost);
            self.older = self.older.saturating_add(cost);
        }
    }

    fn book(&mut self, at: i64, cost: i128) {
        let hour = at / HOUR;
        let place = self.hours.partition_point(|(known, _)| *known < hour);
        match self.hours.get_mut(place) {
            Some((known, sum)) if *known == hour => *sum = sum.saturating_add(cost),
            _ => self.hours.insert(place, (hour, cost)),
        }
        self.recent = self.recent.saturating_add(cost);
    }

    fn spent(&self, credits: &Credits) -> i128 {
        let Some(since) = credits.since else { return self.recent };
        let before: i128 =
            self.hours.iter().take_while(|(hour, _)| *hour < since / HOUR).map(|(_, cost)| *cost).sum();
        self.recent.saturating_sub(before).saturating_add(self.older)
    }
}

/// What a key has and had.
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

impl Accounts {
    /// No spending yet. `estimate` says what is to be reserved for a request.
    pub fn new(estimate: Estimate) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            estimate,
            started: (unix.as_secs() as i64, Instant::now()),
        }
    }

    /// Admits a request that is estimated to cost `estimate`, and holds that; false when the
    /// balance is used up.
    pub fn hold(&self, caller: &Fingerprint, credits: &Credits, estimate: i128) -> bool {
        self.with(caller, |account| {
            let open = balance(account, credits).is_open();
            if open {
                account.reserved = account.reserved.saturating_add(estimate.max(0));
            }
            open
        })
    }

    /// Ends a hold and books what the request really cost.
    pub fn settle(&self, caller: &Fingerprint, held: i128, cost: i128) {
        let now = self.unix();
        self.with(caller, |account| {
            account.reserved = account.reserved.saturating_sub(held.max(0)).max(0);
            if cost > 0 {
                account.book(now, cost);
            }
        });
    }

    /// Sets the sum of all grants.
    pub fn grant(&self, caller: &Fingerprint, total: i128) {
        self.with(caller, |account| account.granted = total);
    }

    /// Replaces the spending by what the ledger knows: (Unix seconds, picodollars) of each request
    /// or hour since `since`, or of the last thirty days. Holds stay.
    pub fn restore(
        &self,
        caller: &Fingerprint,
        since: Option<i64>,
        costs: impl IntoIterator<Item = (i64, i128)>,
    ) {
        let first_hour = since.map_or(i64::MIN, |since| since / HOUR);
        self.with(caller, |account| {
            (account.recent, account.older, account.since) = (0, 0, since);
            account.hours.clear();
            costs
                .into_iter()
                .filter(|(at, _)| at / HOUR >= first_hour)
                .for_each(|(at, cost)| account.book(at, cost));
            account.advance(self.unix());
        });
    }

    /// Whether the starting point of this key's balance is another one than what was restored
    /// goes by, so that spending has to be restored before it can be trusted.
    pub fn needs_restore(&self, caller: &Fingerprint, since: Option<i64>) -> bool {
        self.with(caller, |account| account.since != since)
    }

    /// The balance as it is now.
    pub fn balance(&self, caller: &Fingerprint, credits: &Credits) -> Balance {
        self.with(caller, |account| balance(account, credits))
    }

    /// Forgets keys that are gone and have nothing under way.
    pub fn retain(&self, caller: &dyn Fn(&Fingerprint) -> bool) {
        for shard in &self.shards {
            lock(shard).retain(|fingerprint, account| account.reserved > 0 || caller(fingerprint));
        }
    }

    fn with<T>(&self, caller: &Fingerprint, work: impl FnOnce(&mut Account) -> T) -> T {
        let now = self.unix();
        let mut shard = lock(&self.shards[self.hasher.hash_one(caller) as usize % SHARDS]);
        let account = shard.entry(caller.clone()).or_default();
        account.advance(now);
        work(account)
    }

    fn unix(&self) -> i64 {
        self.started.0.saturating_add(self.started.1.elapsed().as_secs() as i64)
    }
}

fn balance(account: &Account, credits: &Credits) -> Balance {
    Balance {
        credits: credits.amount.saturating_add(account.granted),
        spent: account.spent(credits),
        reserved: account.reserved,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Balances for Accounts {
    fn reserve(&self, exchange: &Exchange) -> Verdict<()> {
        let Some(credits) = &exchange.caller.credits else { return Verdict::Ready(Ok(())) };
        let estimate = (self.estimate)(exchange).max(0);
        if !self.hold(&exchange.caller.fingerprint, credits, estimate) {
            return Verdict::Ready(Err(Failure::BalanceExhausted));
        }
        exchange.ledger.entry().reserved = estimate;
        Verdict::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const DAY: u64 = 86_400;

    fn accounts() -> (Accounts, Fingerprint) {
        (Accounts::new(Arc::new(|_: &Exchange| 0)), Fingerprint::new("k"))
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
        let start = accounts.unix();
        let credits = Credits { amount: 10, since: Some(start - 5 * 3600) };
        accounts.restore(&key, credits.since, [(start - 9 * 3600, 100), (start - 3600, 4)]);
        assert!(!accounts.needs_restore(&key, credits.since));
        assert!(accounts.needs_restore(&key, None));
        accounts.settle(&key, 0, 3);

        advance(Duration::from_secs(90 * DAY)).await;
        assert_eq!(accounts.balance(&key, &credits).spent, 7);
        accounts.settle(&key, 0, 2);

        assert_eq!(accounts.balance(&key, &credits).spent, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn pruning_keeps_keys_with_requests_under_way() {
        let (accounts, key) = accounts();
        accounts.hold(&key, &credits(10), 5);
        accounts.retain(&|_| false);
        assert_eq!(accounts.balance(&key, &credits(10)).reserved, 5);

        accounts.settle(&key, 5, 3);
        accounts.retain(&|_| false);

        assert_eq!(accounts.balance(&key, &credits(10)).spent, 0);
    }

    proptest! {
        #[test]
        fn what_is_overspent_was_under_way_at_the_last_admission(
            amount in 1i128..500,
            steps in prop::collection::vec((any::<bool>(), 0i128..60, 0i128..90, any::<prop::sample::Index>()), 1..200),
        ) {
            let (accounts, key) = accounts();
            let credits = credits(amount);
            let mut under_way = Vec::<(i128, i128)>::new();
            let mut at_last_admission = 0;
            let mut spent = 0;

            for (start, estimate, cost, which) in steps {
                if start {
                    if accounts.hold(&key, &credits, estimate) {
                        prop_assert!(spent < amount);
                        under_way.push((estimate, cost));
                        at_last_admission = under_way.iter().map(|(_, cost)| *cost).sum();
                    }
                } else if !under_way.is_empty() {
                    let (estimate, cost) = under_way.swap_remove(which.index(under_way.len()));
                    accounts.settle(&key, estimate, cost);
                    spent += cost;
                }
            }
            for (estimate, cost) in under_way.drain(..) {
                accounts.settle(&key, estimate, cost);
                spent += cost;
            }

            let balance = accounts.balance(&key, &credits);
            prop_assert_eq!((balance.spent, balance.reserved), (spent, 0));
            prop_assert!(spent <= amount + at_last_admission);
        }
    }
}
