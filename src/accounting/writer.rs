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

mod task;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use layers::policy::Fingerprint;
use layers::ports::BoxFuture;
use tokio::sync::mpsc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::hours::Hours;
use super::store::{Database, PlainKeys, Scratch, Store};
use crate::lifecycle::Phase;
use crate::telemetry::metrics::{LEDGER_DROPPED, LEDGER_QUEUE, LEDGER_UP, LEDGER_WRITTEN, Metrics};
use crate::values::Closed;

use self::task::{Complaints, PAUSES, Task};

/// Records that may wait: some seconds of a busy gateway, a few megabytes.
pub const QUEUE: usize = 8192;

/// Most records in one transaction.
pub(super) const BATCH: usize = 512;

/// How long a record waits for company. After a kill at most this much is lost, and what a
/// transaction under way holds.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// Days that detail rows are kept in a database that this program created.
const RETENTION_DAYS: u32 = 180;

/// The settings by which the ledger is kept.
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

/// A reader of a database that has just been opened.
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
    /// Records that the task has taken out of the queue and not stored yet.
    in_hand: AtomicUsize,
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
        in_hand: AtomicUsize::new(0),
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
                if self.queued().is_multiple_of(BATCH) {
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

    /// How many records wait, in the queue or in the hands of a task that cannot store them.
    pub fn depth(&self) -> usize {
        self.queued() + self.0.in_hand.load(Ordering::Relaxed)
    }

    fn queued(&self) -> usize {
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
