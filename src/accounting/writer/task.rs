//! The task that empties the queue into the database, and all that it does in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use sqlx::error::DatabaseError;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::{BATCH, LedgerSettings, PERIOD, RETENTION_DAYS, Shared};
use crate::accounting::hours::Hours;
use crate::accounting::store::{Scratch, Store};
use crate::lifecycle::Phase;
use crate::values::{Closed, seconds};

/// Pauses between tries of a database that is away: the first, and the longest.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// How long the last records may take once the program ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// At most one complaint of a kind in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Between steps that give old rows their `key_id`, when nothing else is to be done.
const BACKFILL_PAUSE: Duration = Duration::from_millis(50);

/// Between looks for rows that are past retention.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);

/// Between looks whether the file is still in its place.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long reading what earlier processes left may take, since nothing is written meanwhile and
/// the queue fills; and how often it is tried.
const RECALL: Duration = Duration::from_secs(30);
const RECALLS: u32 = 3;

/// How often a batch is tried whose values the database refuses.
const REFUSALS: u32 = 3;

pub(super) struct Task {
    pub(super) rows: mpsc::Receiver<Arc<Closed>>,
    pub(super) shared: Arc<Shared>,
    pub(super) settings: LedgerSettings,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) batch: Vec<Arc<Closed>>,
    /// The sums of the batch, and of what was dropped before it.
    pub(super) hours: Hours,
    pub(super) scratch: Scratch,
    pub(super) store: Option<Arc<Store>>,
    /// When the file was last seen in its place.
    pub(super) looked: Instant,
    /// When the last tries end; set once the program has ended.
    pub(super) farewell: Option<Instant>,
    pub(super) pause: Duration,
    pub(super) failing: bool,
    pub(super) complaints: Complaints,
    pub(super) drops: Complaints,
    pub(super) dropped_before: u64,
    /// Whether there may be rows from before fingerprints.
    pub(super) backfilling: bool,
    pub(super) pruned: Option<Instant>,
    /// How often the recall was tried in vain.
    pub(super) recalls: u32,
}

impl Task {
    pub(super) async fn run(mut self) {
        // Tables are there before the first request, and front ends find them.
        let opened = self.open().await;
        self.shared.tried.send_replace(Some(opened.is_ok()));
        if let Err(error) = opened {
            self.complain(&error);
        }
        loop {
            self.gather().await;
            self.shared.in_hand.store(self.batch.len(), Ordering::Relaxed);
            self.settle().await;
            self.shared.in_hand.store(0, Ordering::Relaxed);
            self.report_drops();
            if self.farewell.is_some() && self.rows.is_empty() {
                break;
            }
            self.keep_house().await;
        }
        if let Some(store) = self.store.take() {
            self.shared.store.send_replace(None);
            store.close().await;
        }
    }

    /// Waits for records, then for more of them, then takes a batch.
    async fn gather(&mut self) {
        let mut patient = true;
        if self.farewell.is_none() && self.rows.is_empty() {
            let idle = match &self.store {
                None => self.pause,
                Some(_) if self.backfilling => BACKFILL_PAUSE,
                Some(_) => PRUNE_PAUSE,
            };
            tokio::select! {
                count = self.rows.recv_many(&mut self.batch, BATCH) => if count == 0 { self.end() },
                changed = self.phase.changed() => {
                    patient = false;
                    if changed.is_err() { self.end() }
                }
                () = self.shared.finish.notified() => self.end(),
                () = self.shared.hurry.notified() => patient = false,
                () = sleep(idle) => {}
            }
        }
        self.shared.in_hand.store(self.batch.len(), Ordering::Relaxed);
        // A busy gateway fills the queue while a batch is written. What came meanwhile waits for
        // company too: small transactions cost several times as much for each record.
        if patient && self.farewell.is_none() && self.grows() {
            tokio::select! {
                () = sleep(PERIOD) => {}
                () = self.shared.full.notified() => {}
                () = self.shared.hurry.notified() => {}
                () = self.shared.finish.notified() => self.end(),
                changed = self.phase.changed() => if changed.is_err() { self.end() },
            }
        }
        while self.batch.len() < BATCH {
            match self.rows.try_recv() {
                Ok(closed) => self.batch.push(closed),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    /// Whether there is a batch that is not yet full.
    fn grows(&self) -> bool {
        (1..BATCH).contains(&(self.batch.len() + self.rows.len()))
    }

    fn end(&mut self) {
        self.rows.close();
        self.farewell.get_or_insert_with(|| Instant::now() + FAREWELL);
    }

    /// Stores the batch, however long it takes, unless the program ends meanwhile.
    async fn settle(&mut self) {
        for closed in &self.batch {
            self.hours.fold(closed);
        }
        self.hours.merge(&mut self.shared.overflow());
        if self.hours.is_empty() {
            return;
        }
        let mut refused = 0;
        loop {
            let error = match self.try_write().await {
                Ok(()) => break,
                Err(error) => error,
            };
            self.complain(&error);
            if is_refusal(&error) {
                refused += 1;
                if refused == REFUSALS {
                    // Some row can never be stored. It must not keep all others out for ever.
                    self.shared.dropped.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
                    self.batch.clear();
                } else if refused > 2 * REFUSALS {
                    self.shared.overflow().merge(&mut self.hours);
                    return;
                }
            }
            if self.farewell.is_some_and(|end| Instant::now() >= end) {
                warn!(
                    rows = self.batch.len() + self.rows.len(),
                    "Ledger rows are lost: the database is away."
                );
                self.batch.clear();
                self.hours.clear();
                while self.rows.try_recv().is_ok() {}
                return;
            }
            tokio::select! {
                () = sleep(self.pause) => {}
                () = self.shared.finish.notified(), if self.farewell.is_none() => {
                    self.end();
                    self.pause = PAUSES.0;
                }
                changed = self.phase.changed(), if self.farewell.is_none() => {
                    if changed.is_err() {
                        self.end();
                    }
                    self.pause = PAUSES.0;
                }
                () = sleep_until(self.farewell.unwrap_or_else(Instant::now)), if self.farewell.is_some() => {}
            }
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
        self.shared.written.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        self.batch.clear();
        self.hours.clear();
        self.recovered();
    }

    fn recovered(&mut self) {
        self.pause = PAUSES.0;
        if std::mem::take(&mut self.failing) {
            self.complaints = Complaints::default();
            info!(database = self.settings.database.label(), "Ledger is written again.");
        }
    }

    async fn try_write(&mut self) -> Result<(), sqlx::Error> {
        let store = self.open().await?;
        let plain = self.settings.plain_keys.as_ref();
        let result = store.write(&self.batch, &self.hours, plain, &mut self.scratch).await;
        if result.is_err() {
            self.forget().await;
        }
        result
    }

    /// The database, opened if it is not, or no longer the one that stands in its place.
    pub(super) async fn open(&mut self) -> Result<Arc<Store>, sqlx::Error> {
        if let Some(store) = &self.store {
            if self.looked.elapsed() < LOOK_PAUSE {
                return Ok(store.clone());
            }
            self.looked = Instant::now();
            let store = store.clone();
            let looked = store.clone();
            // A network file system may hang.
            if tokio::task::spawn_blocking(move || looked.is_in_place()).await.unwrap_or(false) {
                return Ok(store);
            }
            self.forget().await;
        }
        let store = Arc::new(Store::open(&self.settings.database).await?);
        if let Err(error) = self.recall(&store).await {
            store.close().await;
            return Err(error);
        }
        self.looked = Instant::now();
        self.backfilling = !store.is_ours();
        self.store = Some(store.clone());
        self.shared.store.send_replace(Some(store.clone()));
        Ok(store)
    }

    /// Reads what earlier processes left: once, and before anything is written, so that nothing of
    /// this process is taken for the past. A ledger that opens and cannot be read is written all
    /// the same after some tries.
    pub(super) async fn recall(&mut self, store: &Arc<Store>) -> Result<(), sqlx::Error> {
        let Some(recall) = &self.settings.recall else { return Ok(()) };
        let error = match timeout(RECALL, recall(store.clone())).await {
            Ok(Ok(())) => {
                self.settings.recall = None;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                let said = format!("reading what is there took more than {} s", RECALL.as_secs());
                sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, said))
            }
        };
        self.recalls += 1;
        if self.recalls < RECALLS {
            return Err(error);
        }
        warn!(%error, "What was spent and used before the start cannot be read; it counts no more.");
        self.settings.recall = None;
        Ok(())
    }

    async fn forget(&mut self) {
        if let Some(store) = self.store.take() {
            self.shared.store.send_replace(None);
            store.close().await;
        }
    }

    /// Small steps of work that nobody waits for.
    async fn keep_house(&mut self) {
        let Some(store) = self.store.clone() else {
            // Readers want it too, so it is opened again without a record to store.
            if let Err(error) = self.open().await {
                self.complain(&error);
                self.pause = (self.pause * 2).min(PAUSES.1);
            } else {
                self.recovered();
            }
            return;
        };
        if self.backfilling {
            match store.backfill(self.settings.fingerprint).await {
                Ok(done) => self.backfilling = !done,
                Err(error) => self.complain(&error),
            }
            // Rows may go only after they were summed.
            return;
        }
        let days = self.settings.retention_days.unwrap_or(if store.is_ours() { RETENTION_DAYS } else { 0 });
        if days == 0 || self.pruned.is_some_and(|last| last.elapsed() < PRUNE_PAUSE) {
            return;
        }
        let before = seconds(SystemTime::now()) - i64::from(days) * 86_400;
        match store.prune(before).await {
            // There may be more: the next look comes with the next batch.
            Ok(gone) => self.pruned = (gone == 0).then(Instant::now),
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &sqlx::Error) {
        let is_first = !std::mem::replace(&mut self.failing, true);
        // A pool that timed out is given up, and the next try finds out why.
        let says_nothing = is_first && matches!(error, sqlx::Error::PoolTimedOut);
        if !says_nothing && self.complaints.due() {
            let (database, cure) = (self.settings.database.label(), self.settings.database.cure());
            warn!(
                database,
                %error,
                cure,
                "Ledger of the statistics cannot be written; requests are served, rows wait and are tried again."
            );
        }
    }

    fn report_drops(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.dropped_before && self.drops.due() {
            let rows = dropped - self.dropped_before;
            warn!(rows, "Ledger rows were dropped; their tokens and cost are in the sums.");
            self.dropped_before = dropped;
        }
    }
}

/// A guard that keeps a complaint from filling the log.
#[derive(Default)]
pub(super) struct Complaints(Option<Instant>);

impl Complaints {
    fn due(&mut self) -> bool {
        if self.0.is_some_and(|last| last.elapsed() < QUIET) {
            return false;
        }
        self.0 = Some(Instant::now());
        true
    }
}

/// Whether the database is there and refuses the values, so that trying again changes nothing.
fn is_refusal(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return matches!(error, sqlx::Error::Encode(_)) };
    let Some(code) = DatabaseError::code(&**error) else { return false };
    match code.parse::<u32>() {
        // SQLite: too big, constraint, mismatch. The low byte is the primary code.
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 18..=20),
        // PostgreSQL: data exception, constraint violation.
        _ => code.starts_with("22") || code.starts_with("23"),
    }
}
