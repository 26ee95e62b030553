//! Writes closed records to the database, beside the request path.
//!
//! A request leaves its record in a bounded queue and goes on. One task empties the queue, a batch
//! each quarter of a second or sooner when one is full, in one transaction. While it waits for a
//! batch to grow it does not listen to the queue, so that a record costs no wake-up.
//!
//! A database that is away, read-only or broken is tried again with growing pauses, for ever; the
//! queue fills meanwhile, and then records are dropped. What is dropped is the detail row alone:
//! its tokens and its cost are added to sums that are stored with the next batch, so balances are
//! exact whatever happens to the rows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use layers::policy::Fingerprint;
use layers::ports::BoxFuture;
use sqlx::error::DatabaseError;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::hours::Hours;
use super::store::{Database, PlainKeys, Scratch, Store};
use crate::lifecycle::Phase;
use crate::telemetry::metrics::{LEDGER_DROPPED, LEDGER_QUEUE, LEDGER_UP, LEDGER_WRITTEN, Metrics};
use crate::values::{Closed, seconds};

/// Records that may wait: some seconds of a busy gateway, a few megabytes.
pub const QUEUE: usize = 8192;

/// Most records in one transaction.
pub(super) const BATCH: usize = 512;

/// How long a record waits for company. After a kill at most this much is lost, and what a
/// transaction under way holds.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// Pauses between tries of a database that is away: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

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

/// Days that detail rows are kept in a database that this program created.
const RETENTION_DAYS: u32 = 180;

/// How the ledger is kept.
#[derive(Clone)]
pub struct LedgerSettings {
    /// Where.
    pub database: Database,
    /// Finds the clear text for the `api_key` column: `STATS_PLAIN_KEYS`. Without it the column
    /// holds fingerprints.
    pub plain_keys: Option<PlainKeys>,
    /// `RETENTION_DAYS`; 0 keeps everything. Unset means 180 in a database of our own and
    /// everything in one that was found.
    pub retention_days: Option<u32>,
    /// Fingerprints a key in clear, for rows from before fingerprints.
    pub fingerprint: fn(&str) -> Fingerprint,
    /// Records that may wait: [`QUEUE`].
    pub queue: usize,
    /// Reads what earlier processes left, before this one writes anything.
    pub recall: Option<FirstReading>,
}

/// Reads from a database that has just been opened.
pub type FirstReading = Arc<dyn Fn(Arc<Store>) -> BoxFuture<Result<(), sqlx::Error>> + Send + Sync>;

impl LedgerSettings {
    /// The usual settings for a database.
    pub fn new(database: Database, fingerprint: fn(&str) -> Fingerprint) -> Self {
        Self { database, plain_keys: None, retention_days: None, fingerprint, queue: QUEUE, recall: None }
    }
}

/// The way into the ledger. Clones share one queue.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

struct Shared {
    queue: mpsc::Sender<Arc<Closed>>,
    /// Told when a whole batch waits.
    full: Notify,
    /// Told when everything that waits shall be written now.
    hurry: Notify,
    /// Told when nothing more will come.
    finish: Notify,
    /// Sums of records that found no room.
    overflow: Mutex<Hours>,
    dropped: AtomicU64,
    written: AtomicU64,
    /// The open database; the writer task replaces it, readers take it.
    store: watch::Sender<Option<Arc<Store>>>,
    /// What came of the first try to open it, once there was one.
    tried: watch::Sender<Option<bool>>,
}

impl Shared {
    fn overflow(&self) -> MutexGuard<'_, Hours> {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the writer. It returns at once whatever the state of the database. With each change of
/// `phase` what waits is stored at once. The task ends, with everything stored, when it is told to
/// [`finish`](Writer::finish) or nobody steers `phase` any more.
pub fn start(settings: LedgerSettings, phase: watch::Receiver<Phase>) -> (Writer, JoinHandle<()>) {
    let (queue, rows) = mpsc::channel(settings.queue.max(1));
    let shared = Arc::new(Shared {
        queue,
        full: Notify::new(),
        hurry: Notify::new(),
        finish: Notify::new(),
        overflow: Mutex::default(),
        dropped: AtomicU64::new(0),
        written: AtomicU64::new(0),
        store: watch::Sender::new(None),
        tried: watch::Sender::new(None),
    });
    let task = Task {
        rows,
        shared: shared.clone(),
        settings,
        phase,
        batch: Vec::with_capacity(BATCH),
        hours: Hours::default(),
        scratch: Scratch::default(),
        store: None,
        looked: Instant::now(),
        farewell: None,
        pause: PAUSES.0,
        failing: false,
        complaints: Complaints::default(),
        drops: Complaints::default(),
        dropped_before: 0,
        backfilling: true,
        pruned: None,
        recalls: 0,
    };
    (Writer(shared), tokio::spawn(task.run()))
}

impl Writer {
    /// Takes a record. Never waits: without room its sums are kept and its row is dropped.
    pub fn record(&self, closed: Arc<Closed>) {
        match self.0.queue.try_send(closed) {
            Ok(()) => {
                if self.depth().is_multiple_of(BATCH) {
                    self.0.full.notify_one();
                }
            }
            Err(mpsc::error::TrySendError::Full(closed) | mpsc::error::TrySendError::Closed(closed)) => {
                self.0.overflow().fold(&closed);
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Shows in metrics how the ledger does, whenever somebody scrapes.
    pub fn report_to(&self, metrics: &Metrics) {
        let (depth, dropped, written, up) = (self.clone(), self.clone(), self.clone(), self.clone());
        metrics.observe(&LEDGER_QUEUE, move || depth.depth() as f64);
        metrics.observe_total(&LEDGER_DROPPED, move || dropped.dropped());
        metrics.observe_total(&LEDGER_WRITTEN, move || written.written());
        metrics.observe(&LEDGER_UP, move || f64::from(u8::from(up.store().is_some())));
    }

    /// How many records wait.
    pub fn depth(&self) -> usize {
        self.0.queue.max_capacity() - self.0.queue.capacity()
    }

    /// How many rows were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// How many records were stored so far.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// The database, for reading; none while it is away.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.0.store.borrow().clone()
    }

    /// Waits until the database is open, which may be for ever.
    pub async fn opened(&self) -> Option<Arc<Store>> {
        let mut store = self.0.store.subscribe();
        let open = store.wait_for(Option::is_some).await.ok()?;
        open.clone()
    }

    /// Waits until the database was opened and read, or could not be: true when it was.
    pub async fn tried(&self) -> bool {
        let mut tried = self.0.tried.subscribe();
        tried.wait_for(Option::is_some).await.is_ok_and(|tried| *tried == Some(true))
    }

    /// Asks for everything that waits to be stored now.
    pub fn flush(&self) {
        self.0.hurry.notify_one();
    }

    /// Tells the task to store what it has, for some seconds at most, and to end. To be called
    /// when the last request is done; the task's handle says when it has ended.
    pub fn finish(&self) {
        self.0.finish.notify_one();
    }
}

struct Task {
    rows: mpsc::Receiver<Arc<Closed>>,
    shared: Arc<Shared>,
    settings: LedgerSettings,
    phase: watch::Receiver<Phase>,
    batch: Vec<Arc<Closed>>,
    /// The sums of the batch, and of what was dropped before it.
    hours: Hours,
    scratch: Scratch,
    store: Option<Arc<Store>>,
    /// When the file was last seen in its place.
    looked: Instant,
    /// When the last tries end; set once the program has ended.
    farewell: Option<Instant>,
    pause: Duration,
    failing: bool,
    complaints: Complaints,
    drops: Complaints,
    dropped_before: u64,
    /// Whether there may be rows from before fingerprints.
    backfilling: bool,
    pruned: Option<Instant>,
    /// How often the recall was tried in vain.
    recalls: u32,
}

impl Task {
    async fn run(mut self) {
        // Tables are there before the first request, and front ends find them.
        let opened = self.open().await;
        self.shared.tried.send_replace(Some(opened.is_ok()));
        if let Err(error) = opened {
            self.complain(&error);
        }
        loop {
            self.gather().await;
            self.settle().await;
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
    async fn open(&mut self) -> Result<Arc<Store>, sqlx::Error> {
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
    async fn recall(&mut self, store: &Arc<Store>) -> Result<(), sqlx::Error> {
        let Some(recall) = &self.settings.recall else { return Ok(()) };
        let error = match timeout(RECALL, recall(store.clone())).await {
            Ok(Ok(())) => {
                self.settings.recall = None;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_elapsed) => sqlx::Error::PoolTimedOut,
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
        self.failing = true;
        if self.complaints.due() {
            let database = self.settings.database.label();
            warn!(database, %error, "Ledger cannot be written; requests are served, rows wait and are tried again.");
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

/// Keeps a complaint from filling the log.
#[derive(Default)]
struct Complaints(Option<Instant>);

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
