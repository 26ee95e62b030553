//! Remembers for three days how often each provider key was answered: what `smart_round_robin`
//! goes by.
//!
//! Kept in memory by hour and fed as requests end, because a pool of three keys asks after every
//! third request; the ledger is read once, for what earlier processes saw. Only channels that
//! have asked are kept, so without `smart_round_robin` an attempt costs one look at a flag.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use layers::policy::{ChannelName, Fingerprint};

use crate::state::clock::Calendar;

/// How far back attempts count, in hours.
const HOURS: i64 = 72;
/// The same in seconds.
pub const SPAN: i64 = HOURS * 3600;
/// Channels of more keys are put in order by the blocking pool: no request waits for that.
const MANY: usize = 1000;
/// Pools of one channel that may wait for the ledger.
const MOST_WAITING: usize = 16;

/// The ledger's knowledge of one key over the last 72 hours, all models together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Record {
    /// Attempts that were answered.
    pub successes: u64,
    /// All attempts.
    pub attempts: u64,
}

/// A taker of the records of a channel's keys; keys without attempts may be left out.
pub type RecordsReply = Box<dyn FnOnce(Vec<(Fingerprint, Record)>) + Send>;

/// A source from which `smart_round_robin` learns how its keys did.
pub trait History: Send + Sync {
    /// Looks the records of one channel up and gives them to `reply`, at once or later, or drops
    /// it when they cannot be had. Never waits.
    fn fetch(&self, channel: &ChannelName, reply: RecordsReply);
    /// Forgets channels that are gone.
    fn retain(&self, _channel: &dyn Fn(&ChannelName) -> bool) {}
}

/// The record of how provider keys did, by channel.
#[derive(Default)]
pub struct KeyHistory {
    channels: Arc<Mutex<Channels>>,
    /// Whether any channel is kept.
    kept: AtomicBool,
    /// Whether a ledger is about to tell what was before.
    expecting: AtomicBool,
    calendar: Calendar,
}

type Channels = HashMap<ChannelName, Channel, RandomState>;

#[derive(Default)]
struct Channel {
    keys: HashMap<Fingerprint, Tries, RandomState>,
    /// Since when attempts are noted, in Unix seconds.
    kept_since: i64,
    /// Whether the ledger was read for it.
    recalled: bool,
    waiting: Vec<RecordsReply>,
}

/// The attempts of one key.
#[derive(Default)]
struct Tries {
    /// (Unix hour, attempts of it), by hour.
    hours: VecDeque<(i64, Record)>,
    sum: Record,
}

impl Tries {
    fn add(&mut self, hour: i64, record: Record) {
        let place = self.hours.partition_point(|(known, _)| *known < hour);
        match self.hours.get_mut(place) {
            Some((known, sum)) if *known == hour => sum.add(record),
            _ => self.hours.insert(place, (hour, record)),
        }
        self.sum.add(record);
    }

    fn advance(&mut self, now: i64) {
        while let Some((hour, gone)) = self.hours.front()
            && *hour <= now.div_euclid(3600) - HOURS
        {
            self.sum.successes -= gone.successes;
            self.sum.attempts -= gone.attempts;
            self.hours.pop_front();
        }
    }
}

impl Record {
    fn add(&mut self, other: Self) {
        self.successes = self.successes.saturating_add(other.successes);
        self.attempts = self.attempts.saturating_add(other.attempts);
    }
}

impl Channel {
    /// The records of all keys that were tried.
    fn records(&mut self, now: i64) -> Vec<(Fingerprint, Record)> {
        self.keys.retain(|_, tries| {
            tries.advance(now);
            tries.sum.attempts > 0
        });
        self.keys.iter().map(|(key, tries)| (key.clone(), tries.sum)).collect()
    }
}

impl KeyHistory {
    /// Nothing is known yet. With `expecting` the first answers wait for
    /// [`recalled`](Self::recalled).
    pub fn new(expecting: bool) -> Self {
        Self { expecting: AtomicBool::new(expecting), ..Self::default() }
    }

    /// Notes an attempt that says something about its key.
    pub fn note(&self, channel: &ChannelName, key: &Fingerprint, success: bool) {
        if !self.kept.load(Ordering::Relaxed) {
            return;
        }
        let mut channels = lock(&self.channels);
        let Some(channel) = channels.get_mut(channel) else { return };
        let record = Record { successes: u64::from(success), attempts: 1 };
        let hour = self.calendar.now().div_euclid(3600);
        if let Some(tries) = channel.keys.get_mut(key) {
            return tries.add(hour, record);
        }
        channel.keys.entry(key.clone()).or_default().add(hour, record);
    }

    /// The channels that the ledger was not read for, and before which time in Unix seconds it
    /// knows more than was noted here.
    pub fn missing(&self) -> Vec<(ChannelName, i64)> {
        if !self.kept.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let channels = lock(&self.channels);
        let missing = channels.iter().filter(|(_, channel)| !channel.recalled);
        missing.map(|(name, channel)| (name.clone(), channel.kept_since)).collect()
    }

    /// Adds what the ledger says of one key at some time in Unix seconds.
    pub fn recall(&self, channel: &ChannelName, key: &Fingerprint, at: i64, record: Record) {
        let mut channels = lock(&self.channels);
        if let Some(channel) = channels.get_mut(channel) {
            channel.keys.entry(key.clone()).or_default().add(at.div_euclid(3600), record);
        }
    }

    /// These channels' part of the ledger is read: who waited for it is answered.
    pub fn recalled<'a>(&self, names: impl IntoIterator<Item = &'a ChannelName>) {
        let now = self.calendar.now();
        for name in names {
            let answers = {
                let mut channels = lock(&self.channels);
                let Some(channel) = channels.get_mut(name) else { continue };
                channel.recalled = true;
                let waiting = std::mem::take(&mut channel.waiting);
                let records = channel.records(now);
                waiting.into_iter().map(move |reply| (reply, records.clone()))
            };
            answers.for_each(|(reply, records)| reply(records));
        }
    }

    /// Answers from now on with what is there: the ledger cannot be read for the time being.
    pub fn go_on(&self) {
        self.expecting.store(false, Ordering::Release);
        let now = self.calendar.now();
        let mut answers = Vec::new();
        for channel in lock(&self.channels).values_mut() {
            let records = channel.records(now);
            answers.extend(channel.waiting.drain(..).map(|reply| (reply, records.clone())));
        }
        answers.into_iter().for_each(|(reply, records)| reply(records));
    }

    /// The time in Unix seconds that hours go by.
    pub fn unix(&self) -> i64 {
        self.calendar.now()
    }
}

impl History for KeyHistory {
    fn fetch(&self, name: &ChannelName, reply: RecordsReply) {
        let now = self.calendar.now();
        let records = {
            let mut channels = lock(&self.channels);
            self.kept.store(true, Ordering::Relaxed);
            let channel = channels
                .entry(name.clone())
                .or_insert_with(|| Channel { kept_since: now, ..Channel::default() });
            if !channel.recalled && self.expecting.load(Ordering::Acquire) {
                if channel.waiting.len() < MOST_WAITING {
                    channel.waiting.push(reply);
                }
                return;
            }
            if channel.keys.len() > MANY
                && let Ok(runtime) = tokio::runtime::Handle::try_current()
            {
                let (channels, name) = (Arc::clone(&self.channels), name.clone());
                runtime.spawn_blocking(move || {
                    let records = lock(&channels).get_mut(&name).map(|channel| channel.records(now));
                    reply(records.unwrap_or_default());
                });
                return;
            }
            channel.records(now)
        };
        // Outside the lock: the pool sorts its keys.
        reply(records);
    }

    fn retain(&self, alive: &dyn Fn(&ChannelName) -> bool) {
        lock(&self.channels).retain(|name, _| alive(name));
    }
}

impl std::fmt::Debug for KeyHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyHistory").field("channels", &lock(&self.channels).len()).finish_non_exhaustive()
    }
}

fn lock(mutex: &Mutex<Channels>) -> MutexGuard<'_, Channels> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn channel() -> ChannelName {
        ChannelName::from("c")
    }

    fn key(name: &str) -> Fingerprint {
        Fingerprint::new(name)
    }

    /// What the history answers at once, if it does.
    fn told(history: &KeyHistory) -> Option<Vec<(Fingerprint, Record)>> {
        asked(history).try_recv().ok()
    }

    fn asked(history: &KeyHistory) -> mpsc::Receiver<Vec<(Fingerprint, Record)>> {
        let (told, records) = mpsc::channel();
        history.fetch(
            &channel(),
            Box::new(move |mut records| {
                records.sort_by_key(|(key, _)| key.clone());
                let _ = told.send(records);
            }),
        );
        records
    }

    fn record(successes: u64, attempts: u64) -> Record {
        Record { successes, attempts }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_count_for_seventy_two_hours() {
        let history = KeyHistory::new(false);
        assert_eq!(told(&history), Some(vec![]));
        history.note(&channel(), &key("a"), true);
        history.note(&channel(), &key("a"), false);
        tokio::time::advance(Duration::from_secs(71 * 3600)).await;
        history.note(&channel(), &key("b"), true);
        assert_eq!(told(&history), Some(vec![(key("a"), record(1, 2)), (key("b"), record(1, 1))]));

        tokio::time::advance(Duration::from_secs(3600)).await;

        assert_eq!(told(&history), Some(vec![(key("b"), record(1, 1))]));
    }

    #[tokio::test(start_paused = true)]
    async fn rows_of_the_ledger_from_before_that_do_not_count() {
        let history = KeyHistory::new(true);
        let answer = asked(&history);
        let now = history.unix();

        history.recall(&channel(), &key("a"), now - 73 * 3600, record(9, 9));
        history.recall(&channel(), &key("b"), now - 71 * 3600, record(1, 2));
        assert!(answer.try_recv().is_err(), "the ledger is not read yet");
        history.recalled(&[channel()]);

        assert_eq!(answer.try_recv(), Ok(vec![(key("b"), record(1, 2))]));
        assert_eq!(history.missing(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_is_away_keeps_nobody_waiting() {
        let history = KeyHistory::new(true);
        let answer = asked(&history);
        history.note(&channel(), &key("a"), true);

        history.go_on();

        assert_eq!(answer.try_recv(), Ok(vec![(key("a"), record(1, 1))]));
        assert!(told(&history).is_some());
        assert_eq!(history.missing().len(), 1, "it may be read later");
    }

    #[tokio::test(start_paused = true)]
    async fn channels_that_never_asked_and_those_that_are_gone_are_not_kept() {
        let history = KeyHistory::new(false);
        history.note(&channel(), &key("a"), true);
        assert_eq!(told(&history), Some(vec![]));
        history.note(&channel(), &key("a"), true);

        history.retain(&|_| false);

        assert_eq!(told(&history), Some(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_of_fifty_thousand_keys_is_put_in_order_and_goes_on_in_it() {
        use layers::ports::{InputTokens, Secret};
        use layers::stage::TriedKeys;

        use crate::routing::testing::{channel_with, target};
        use crate::state::Runtime;
        use crate::state::keys::KeySettings;
        use crate::values::KeyAlgorithm;

        let history = Arc::new(KeyHistory::new(true));
        let runtime = Runtime::new(Some(history.clone()));
        let settings = KeySettings { algorithm: KeyAlgorithm::SmartRoundRobin, ..KeySettings::default() };
        let name = |at: usize| format!("{at:05}");
        let secrets = (0..50_000).map(|at| Secret::new(&name(at), key(&name(at))).into()).collect();
        let keys = runtime.keys(&channel(), settings, secrets);
        // The later a key is listed, the better it did.
        for at in 0..50_000 {
            let record = record(at as u64, 50_000);
            history.recall(&channel(), &key(&name(at)), history.unix(), record);
        }
        history.recalled(&[channel()]);

        let target = target(&channel_with("c", keys.clone()), "m");
        let mut seen = std::collections::HashSet::new();
        let mut first = None;
        for _ in 0..50_000 {
            let lease = keys.clone().lease(&target, &TriedKeys::default(), InputTokens(0));
            let Ok(lease) = lease else { panic!("every key may serve") };
            let secret = lease.credential().expect("it has keys").fingerprint().as_str().to_owned();
            lease.settle(layers::ports::KeyOutcome::Served);
            first.get_or_insert(secret.clone());
            seen.insert(secret);
        }

        assert_eq!(first.as_deref(), Some("49999"));
        assert_eq!(seen.len(), 50_000, "one full turn uses every key once");
    }
}
