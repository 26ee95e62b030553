//! Gives state back what earlier processes knew: spending and grants, request windows of an hour
//! and more, and how provider keys did.
//!
//! Done once when the ledger is first opened, before this process writes to it, so that nothing is
//! counted twice; requests wait for it for some seconds at most, when the process starts. Later
//! only what a new configuration asks about the past is looked up: an older starting point of a
//! balance, the keys of a channel that has become `smart_round_robin`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use layers::policy::{Caller, ChannelName, Credits, Fingerprint};
use layers::ports::{Catalog, Limits};
use tokio::time::{Instant, sleep};

use crate::accounting::{FirstReading, Store, Writer};
use crate::config::settings::SecretText;
use crate::snapshot::{CurrentSnapshot, Snapshot, longest_window, prune};
use crate::state::Runtime;
use crate::state::balances::ROLLING_HOURS;
use crate::state::keys::{HISTORY_SPAN, KeyHistory, Record};

const HOUR: i64 = 3600;
/// Windows that are shorter begin anew with the process.
const SHORTEST: Duration = Duration::from_secs(3600);
/// How long the first requests wait for the past.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks for state that has lost its meaning.
const UPKEEP: Duration = Duration::from_secs(600);
/// Between tries of a look-up that failed.
const PAUSE: Duration = Duration::from_secs(5);

/// Reader of the past: knows what is to be remembered and where it belongs.
#[derive(Clone)]
pub struct Recall {
    runtime: Arc<Runtime>,
    history: Arc<KeyHistory>,
    current: Arc<CurrentSnapshot>,
    /// How much of it was read. Each part is taken over once, even where a later one has to be
    /// tried again.
    done: Arc<AtomicU8>,
}

fn fingerprint(key: &str) -> Fingerprint {
    SecretText::from(key).fingerprint()
}

impl Recall {
    /// For this state, under the configuration of the moment.
    pub fn new(runtime: Arc<Runtime>, history: Arc<KeyHistory>, current: Arc<CurrentSnapshot>) -> Self {
        Self { runtime, history, current, done: Arc::default() }
    }

    /// What the ledger does when it is first opened.
    pub fn reading(&self) -> FirstReading {
        let this = self.clone();
        Arc::new(move |store| {
            let this = this.clone();
            Box::pin(async move { this.read(&store).await })
        })
    }

    /// Waits until the past is known, where the configuration asks for it, or cannot be known for
    /// now: then what needs it goes on without.
    pub async fn ready(&self, writer: &Writer) {
        let snapshot = self.current.load();
        let needed = !self.history.missing().is_empty()
            || snapshot.longest_global_window().max(snapshot.longest_key_window()) >= SHORTEST
            || snapshot
                .callers()
                .any(|caller| caller.credits.is_some() || snapshot.longest_window(caller) >= SHORTEST);
        if needed && !matches!(tokio::time::timeout(PATIENCE, writer.tried()).await, Ok(true)) {
            self.history.go_on();
        }
    }

    /// Looks up what new configurations ask about the past, and forgets what is over.
    pub async fn follow(self, writer: Option<Writer>) {
        let mut changes = self.current.changes();
        let mut due = Instant::now() + UPKEEP;
        loop {
            let wanted =
                !self.beginners(&self.current.load()).is_empty() || !self.history.missing().is_empty();
            let failed = match &writer {
                Some(writer) if wanted => self.catch_up(writer).await.is_err(),
                _ => false,
            };
            if failed {
                self.history.go_on();
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(due) => {
                    prune(&self.runtime, &self.current.load());
                    due = Instant::now() + UPKEEP;
                }
                () = sleep(PAUSE), if failed => {}
            }
        }
    }

    async fn catch_up(&self, writer: &Writer) -> Result<(), sqlx::Error> {
        // A ledger that is away is read as a whole when it comes, or asked again.
        let Some(store) = writer.store() else { return Err(sqlx::Error::PoolClosed) };
        let beginners = self.beginners(&self.current.load());
        if !beginners.is_empty() {
            let mut older = Older::new(&beginners, self.first_hour());
            store
                .costs(older.from, self.first_hour() + 48 * HOUR, fingerprint, &mut |cost| {
                    older.take(&cost.key, cost.hour, cost.cost);
                })
                .await?;
            self.begin(&store, &beginners, older).await?;
        }
        let missing = self.history.missing();
        if !missing.is_empty() {
            let noted_since = missing.iter().map(|(_, since)| *since).min().unwrap_or_default();
            self.keys(&store, &missing, noted_since).await?;
        }
        Ok(())
    }

    /// All of it.
    async fn read(&self, store: &Store) -> Result<(), sqlx::Error> {
        let snapshot = self.current.load();
        if self.done.load(Ordering::Relaxed) == 0 {
            self.money(store, &snapshot).await?;
            self.done.store(1, Ordering::Relaxed);
        }
        // Hits are counted as they are read, so a second reading would count some of them twice.
        if self.done.fetch_max(2, Ordering::Relaxed) < 2 {
            self.requests(store, &snapshot).await?;
        }
        if self.done.fetch_max(3, Ordering::Relaxed) < 3 {
            self.attempts(store, &snapshot).await?;
        }
        // All of what is there is of the past, also what ended within this second.
        self.keys(store, &self.history.missing(), self.history.unix() + HOUR).await
    }

    // === money ===

    /// Keys whose balance begins at a time that was not looked up, with that time.
    fn beginners(&self, snapshot: &Snapshot) -> Vec<(Fingerprint, i64)> {
        let since = |caller: &Arc<Caller>| {
            let Credits { since, .. } = caller.credits?;
            let needed = self.runtime.accounts().needs_begin(&caller.fingerprint, since);
            Some((caller.fingerprint.clone(), since.filter(|_| needed)?))
        };
        snapshot.callers().filter_map(since).collect()
    }

    /// Start of the oldest hour of the last thirty days.
    fn first_hour(&self) -> i64 {
        (self.runtime.accounts().unix().div_euclid(HOUR) - ROLLING_HOURS + 1) * HOUR
    }

    async fn money(&self, store: &Store, snapshot: &Snapshot) -> Result<(), sqlx::Error> {
        let accounts = self.runtime.accounts();
        let beginners = self.beginners(snapshot);
        let mut older = Older::new(&beginners, self.first_hour());
        // Collected first: a read that breaks off leaves nothing half counted behind.
        let mut costs = Vec::new();
        store
            .costs(older.from, accounts.unix() + 48 * HOUR, fingerprint, &mut |cost| {
                older.take(&cost.key, cost.hour, cost.cost);
                if cost.hour >= self.first_hour() {
                    costs.push(cost);
                }
            })
            .await?;
        let mut grants = HashMap::<Fingerprint, i128, RandomState>::default();
        for grant in store.grants().await? {
            *grants.entry(grant.key).or_default() += i128::from(grant.amount);
        }
        self.begin(store, &beginners, older).await?;
        grants.into_iter().for_each(|(key, total)| accounts.grant(&key, total));
        costs.into_iter().for_each(|cost| accounts.recall(&cost.key, cost.hour, cost.cost));
        Ok(())
    }

    async fn begin(
        &self,
        store: &Store,
        beginners: &[(Fingerprint, i64)],
        mut older: Older,
    ) -> Result<(), sqlx::Error> {
        for (key, since) in beginners {
            let early = store.early(key, *since).await?;
            let costs = older.by_key.remove(key).map(|(_, costs)| costs).unwrap_or_default();
            self.runtime.accounts().begin(key, Some(*since), costs, early);
        }
        Ok(())
    }

    // === windows ===

    async fn requests(&self, store: &Store, snapshot: &Snapshot) -> Result<(), sqlx::Error> {
        let global = snapshot.longest_global_window();
        let callers: HashMap<&Fingerprint, &Arc<Caller>, RandomState> = snapshot
            .callers()
            .filter(|caller| snapshot.longest_window(caller) >= SHORTEST)
            .map(|caller| (&caller.fingerprint, caller))
            .collect();
        let longest_own = callers.values().map(|caller| snapshot.longest_window(caller)).max();
        let reach = longest_own.unwrap_or_default().max(global);
        if reach < SHORTEST {
            return Ok(());
        }
        let now = self.runtime.accounts().unix();
        let since = now.saturating_sub_unsigned(reach.as_secs());
        let own = |key: &Fingerprint, model: &str| {
            let (quota, model) = snapshot.limits(callers.get(key)?, model).caller?;
            (longest_window(&quota) >= SHORTEST).then_some((quota, model))
        };
        let whole = snapshot.globals().rate_limit.clone().filter(|_| global >= SHORTEST);
        let windows = self.runtime.windows();
        store
            .past_hours(since, &mut |past| {
                let limits = Limits { global: whole.clone(), caller: own(&past.key, &past.model) };
                windows.recall(&past.key, &limits, age(now, past.hour), past.requests);
            })
            .await?;
        let mut page = None;
        loop {
            let (requests, next) = store.past_requests(since, page, fingerprint).await?;
            for request in requests {
                let age = age(now, request.at);
                let limits = Limits { global: whole.clone(), caller: own(&request.key, &request.model) };
                windows.recall(&request.key, &limits, age, 1);
                for group in &request.groups {
                    let limits = Limits { global: None, caller: own(group, &request.model) };
                    windows.recall(group, &limits, age, 1);
                }
            }
            page = next;
            if page.is_none() {
                return Ok(());
            }
        }
    }

    async fn attempts(&self, store: &Store, snapshot: &Snapshot) -> Result<(), sqlx::Error> {
        let reach = snapshot.longest_key_window();
        if reach < SHORTEST {
            return Ok(());
        }
        let now = self.runtime.accounts().unix();
        let since = now.saturating_sub_unsigned(reach.as_secs());
        let mut page = None;
        loop {
            let (attempts, next) = store.past_attempts(since, page, fingerprint).await?;
            for attempt in attempts {
                if let Some(target) = snapshot.target(&attempt.channel, &attempt.model)
                    && target.key_quota.as_deref().is_some_and(|quota| longest_window(quota) >= SHORTEST)
                {
                    self.runtime.recall_attempt(target, &attempt.key, age(now, attempt.at));
                }
            }
            page = next;
            if page.is_none() {
                return Ok(());
            }
        }
    }

    // === provider keys ===

    /// Reads how the keys of these channels did up to a time in Unix seconds, hour by hour.
    async fn keys(
        &self,
        store: &Store,
        channels: &[(ChannelName, i64)],
        until: i64,
    ) -> Result<(), sqlx::Error> {
        let earliest = until.min(self.history.unix()) - HISTORY_SPAN;
        let mut start = if channels.is_empty() { until } else { earliest };
        let mut found = Vec::new();
        while start < until {
            let end = (start.div_euclid(HOUR) + 1).saturating_mul(HOUR).min(until);
            let tries = store.tries(start, end, fingerprint).await?;
            let wanted =
                tries.into_iter().filter(|tries| channels.iter().any(|(name, _)| *name == tries.channel));
            found.extend(wanted.map(|tries| (start, tries)));
            start = end;
        }
        for (at, tries) in found {
            let record = Record { successes: tries.successes, attempts: tries.attempts };
            self.history.recall(&tries.channel, &tries.key, at, record);
        }
        self.history.recalled(channels.iter().map(|(name, _)| name));
        Ok(())
    }
}

/// The start of the hour from which a key's costs are needed, and the costs by hour.
type Reach = (i64, Vec<(i64, i128)>);

/// Costs from before the last thirty days, of the keys whose balances reach back so far.
struct Older {
    by_key: HashMap<Fingerprint, Reach, RandomState>,
    /// The earliest time that is needed, in Unix seconds.
    from: i64,
}

impl Older {
    fn new(beginners: &[(Fingerprint, i64)], first_hour: i64) -> Self {
        let by_key: HashMap<_, _, RandomState> = beginners
            .iter()
            .filter(|(_, since)| *since < first_hour)
            .map(|(key, since)| (key.clone(), (since.div_euclid(HOUR) * HOUR, Vec::new())))
            .collect();
        let from = by_key.values().map(|(since, _)| *since).chain([first_hour]).min().unwrap_or(first_hour);
        // Nothing is recorded from before 1970, and time is read in slices.
        Self { by_key, from: from.max(0) }
    }

    fn take(&mut self, key: &Fingerprint, hour: i64, cost: i128) {
        if let Some((since, costs)) = self.by_key.get_mut(key)
            && hour >= *since
        {
            costs.push((hour, cost));
        }
    }
}

/// How long ago something was, in Unix seconds.
fn age(now: i64, at: i64) -> Duration {
    Duration::from_secs(u64::try_from(now.saturating_sub(at)).unwrap_or(0))
}
