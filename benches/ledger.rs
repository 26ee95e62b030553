//! What it costs to account for a request.
//!
//! `cargo bench --bench ledger [-- ROWS [PER_SECOND]]`
//!
//! Closes records the way the pipeline does, first one sink at a time and then all together, and
//! tells the CPU time of the whole process per record (all threads, from the kernel's count), the
//! making of the record itself taken off. With PER_SECOND records come at that pace, which is what
//! batches and wake-ups cost outside a burst; without it they come as fast as they are stored.

mod fixture;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialect::ir::Usage;
use layers::endpoint::CHAT_COMPLETIONS;
use layers::ledger::{AttemptRecord, Entry};
use layers::policy::{Caller, ChannelName, Fingerprint, Target};
use layers::ports::Records;
use layers::request_id::RequestId;
use tokio::sync::watch;
use uni_api::accounting::{self, Database, LedgerSettings, Recorder, Store};
use uni_api::lifecycle::Phase;
use uni_api::state::Runtime;
use uni_api::state::keys::KeySettings;
use uni_api::telemetry::metrics::Metrics;
use uni_api::telemetry::request_log::{self, Format};
use uni_api::values::{Closed, Price};

struct Sample {
    caller: Arc<Caller>,
    model: Arc<str>,
    target: Arc<Target>,
}

impl Sample {
    fn new(metrics: &Metrics) -> Self {
        let model: Arc<str> = "gpt-4o-mini".into();
        let runtime = Runtime::new(None);
        let name = ChannelName::from("openai-main");
        let keys = runtime.keys(&name, KeySettings::default(), Vec::new());
        let target = Arc::new(Target {
            meters: metrics.meters(name.as_str(), &model),
            alias: model.clone(),
            ..fixture::target(&runtime, name.as_str(), keys, None)
        });
        let caller = fixture::caller(0);
        Self { caller, model, target }
    }

    fn entry(&self) -> Entry {
        let now = tokio::time::Instant::now();
        let mut entry =
            Entry::new(RequestId::draw(), &CHAT_COMPLETIONS, self.caller.clone(), self.model.clone(), now);
        entry.model_known = true;
        entry.stream = true;
        entry.client = Some([203, 0, 113, 9].into());
        entry.target = Some(self.target.clone());
        entry.accepted = Some(Duration::from_millis(251));
        entry.waited = Duration::from_millis(250);
        entry.elapsed = Duration::from_millis(1500);
        entry.usage = Some(Usage { input_total: 1200, output_total: 300, ..Usage::default() });
        entry.attempts.push(AttemptRecord {
            channel: self.target.channel.name.clone(),
            place: None,
            side_call: None,
            began: Duration::ZERO,
            waited: Duration::ZERO,
            key: Some(Fingerprint::new("fedcba9876543210")),
            outcome: "ok",
            elapsed: Duration::from_millis(250),
            fault: None,
            traced: None,
        });
        entry
    }
}

/// CPU nanoseconds of all threads, those that ended included only as far as ticks tell.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs is there");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum()
}

async fn measure(
    name: &str,
    rows: u64,
    pace: Option<u64>,
    floor: f64,
    mut each: impl FnMut(),
    done: impl Fn() -> bool,
) -> f64 {
    let before = cpu();
    let start = Instant::now();
    match pace {
        None => {
            for row in 0..rows {
                each();
                if row % 256 == 255 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
        Some(pace) => {
            // Bursts each millisecond, so that the clock is not what is measured.
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            let mut sent = 0;
            while sent < rows {
                ticks.tick().await;
                let due = (start.elapsed().as_secs_f64() * pace as f64) as u64;
                while sent < due.min(rows) {
                    each();
                    sent += 1;
                }
            }
        }
    }
    while !done() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let each = (cpu() - before) / rows as f64 / 1000.0;
    println!("{name:<34} {each:7.2} µs a record, {:7.2} µs without its making", each - floor);
    each
}

async fn ledger(folder: &Path, name: &str) -> (accounting::Writer, watch::Sender<Phase>, Database) {
    let database = Database::Sqlite(folder.join(name));
    let (phase, seen) = watch::channel(Phase::Serving);
    let settings = LedgerSettings::new(database.clone(), Fingerprint::new);
    let (writer, _task) = accounting::start(LedgerSettings { queue: 65_536, ..settings }, seen);
    writer.opened().await;
    (writer, phase, database)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let rows: u64 = numbers.next().unwrap_or(50_000);
    let pace: Option<u64> = numbers.next();
    let folder = std::env::temp_dir().join(format!("ledger-cost-{}", std::process::id()));
    let metrics = Metrics::new();
    tokio::spawn(metrics.clone().upkeep());
    let sample = Sample::new(&metrics);
    let prices = || Arc::new(|_: &str| Price::flat(1_000_000, 2_000_000));

    let floor =
        measure("making a record", rows, pace, 0.0, || drop(std::hint::black_box(sample.entry())), || true)
            .await;

    let recorder = Recorder::new(prices(), metrics.clone());
    let upkeep = || {
        metrics.render();
        true
    };
    measure("metrics, samples sorted in", rows, pace, floor, || recorder.close(sample.entry()), upkeep).await;

    let (log, thread) = request_log::start(Format::Json, std::io::sink()).expect("a thread can start");
    let recorder = Recorder::new(prices(), metrics.clone()).with_log(log.clone());
    let logged = || {
        thread.flush();
        true
    };
    measure("metrics, JSON line", rows, pace, floor, || recorder.close(sample.entry()), logged).await;
    println!("{:34} {} lines dropped", "", log.dropped());

    let (writer, _phase, _) = ledger(&folder, "alone.db").await;
    let alone = writer.clone();
    let price = Price::flat(1_000_000, 2_000_000);
    let stored = || alone.written() >= rows;
    let send = || writer.record(Arc::new(Closed::new(sample.entry(), price)));
    measure("ledger", rows, pace, floor, send, stored).await;

    let (writer, _phase, database) = ledger(&folder, "all.db").await;
    let all = writer.clone();
    let recorder = Recorder::new(prices(), metrics.clone()).with_log(log).with_writer(Some(writer));
    measure(
        "metrics, JSON line and ledger",
        rows,
        pace,
        floor,
        || recorder.close(sample.entry()),
        || all.written() >= rows,
    )
    .await;

    let store = Store::open(&database).await.expect("the ledger is there");
    let hours = store.hours(0).await.expect("the ledger can be read");
    let stored: i64 = hours.iter().map(|(_, sums)| sums.requests).sum();
    assert_eq!(stored, rows as i64, "every record was stored");
    let _ = std::fs::remove_dir_all(folder);
}
