//! What it costs to remember: cooldowns, keys, windows.
//!
//! `cargo bench --bench state`

#[expect(dead_code, reason = "each bench uses its part of the fixture")]
mod fixture;

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use layers::policy::{ChannelName, Fingerprint, Quota, Target, Window};
use layers::ports::{Credential, InputTokens, KeyOutcome, Limits, Secret};
use layers::stage::TriedKeys;
use tokio::time::Instant;
use uni_api::state::Runtime;
use uni_api::state::keys::KeySettings;
use uni_api::values::KeyAlgorithm;

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const LARGE: usize = 50_000;
const ALGORITHMS: [KeyAlgorithm; 3] =
    [KeyAlgorithm::RoundRobin, KeyAlgorithm::Random, KeyAlgorithm::FixedPriority];
const REST: KeyOutcome =
    KeyOutcome::Faulty { hint: Some(Duration::from_secs(3600)), rejected: false, quota: false };

fn quota(count: u64, seconds: u64) -> Arc<Quota> {
    let window = Window { count, period: Duration::from_secs(seconds) };
    Arc::new(Quota { windows: [window].into(), tokens_per_request: None })
}

fn secrets(keys: usize) -> Vec<Credential> {
    let key = |at| format!("sk-proj-0123456789abcdefghijklmnopqrstuvwxyz-{at:06}");
    (0..keys).map(|at| Secret::new(&key(at), Fingerprint::new(&format!("{at:016x}"))).into()).collect()
}

fn channel(algorithm: KeyAlgorithm, keys: usize, limit: Option<Arc<Quota>>) -> (Runtime, Target) {
    let runtime = Runtime::new(None);
    let settings = KeySettings { algorithm, ..KeySettings::default() };
    let pool = runtime.keys(&ChannelName::from("c"), settings, secrets(keys));
    let target = fixture::target(&runtime, "c", pool, limit);
    (runtime, target)
}

fn lease_and_settle(target: &Target) {
    let pool = Arc::clone(&target.channel.keys);
    if let Ok(lease) = pool.lease(black_box(target), &TriedKeys::default(), InputTokens(0)) {
        lease.settle(KeyOutcome::Served);
    }
}

#[divan::bench]
fn health_of_a_healthy_channel(bencher: Bencher) {
    let health = Runtime::new(None).health(&ChannelName::from("c"), "m");
    let now = Instant::now();
    bencher.bench_local(|| black_box(&health).cooling_until(now));
}

#[divan::bench]
fn health_of_a_benched_channel(bencher: Bencher) {
    let health = Runtime::new(None).health(&ChannelName::from("c"), "m");
    let now = Instant::now();
    health.settle(true, Duration::from_secs(300), now);
    bencher.bench_local(|| black_box(&health).cooling_until(now));
}

#[divan::bench]
fn lease_of_a_single_key(bencher: Bencher) {
    let (_runtime, target) = channel(KeyAlgorithm::RoundRobin, 1, None);
    bencher.bench_local(|| lease_and_settle(&target));
}

#[divan::bench(args = [3, 1000, LARGE])]
fn lease_of_healthy_keys(bencher: Bencher, keys: usize) {
    let (_runtime, target) = channel(KeyAlgorithm::RoundRobin, keys, None);
    bencher.bench_local(|| lease_and_settle(&target));
}

#[divan::bench(args = [3, 1000, LARGE])]
fn lease_with_windows(bencher: Bencher, keys: usize) {
    let (_runtime, target) = channel(KeyAlgorithm::RoundRobin, keys, Some(quota(9_999, 1)));
    bencher.bench_local(|| lease_and_settle(&target));
}

#[divan::bench(args = ALGORITHMS)]
fn lease_of_50_000_with_all_but_ten_cooling(bencher: Bencher, algorithm: KeyAlgorithm) {
    let (_runtime, target) = channel(algorithm, LARGE, None);
    for slot in (0..LARGE as u32).filter(|slot| slot % 5000 != 77) {
        target.channel.keys.settle(slot, "m", REST);
    }
    bencher.bench_local(|| lease_and_settle(&target));
}

#[divan::bench(args = ALGORITHMS)]
fn lease_of_50_000_with_all_but_ten_over_their_window(bencher: Bencher, algorithm: KeyAlgorithm) {
    // Every key is used up; the leases of ten are dropped, so that these have room again.
    let (_runtime, target) = channel(algorithm, LARGE, Some(quota(1, 36_000)));
    let spare = |slot: u32| slot % 5000 == 77;
    let pool = &target.channel.keys;
    let held: Vec<_> = (0..LARGE)
        .filter_map(|_| Arc::clone(pool).lease(&target, &TriedKeys::default(), InputTokens(0)).ok())
        .collect();
    for lease in held {
        if lease.slot().is_some_and(spare) { drop(lease) } else { lease.settle(KeyOutcome::Served) }
    }
    bencher.bench_local(|| {
        drop(Arc::clone(pool).lease(black_box(&target), &TriedKeys::default(), InputTokens(0)));
    });
}

#[divan::bench]
fn lease_of_50_000_half_cooling_and_the_others_over_their_window(bencher: Bencher) {
    // The hardest case: every word of either set has members, and none of them is in both.
    let (_runtime, target) = channel(KeyAlgorithm::FixedPriority, LARGE, Some(quota(1, 36_000)));
    let pool = &target.channel.keys;
    for slot in 0..LARGE as u32 {
        let lease = Arc::clone(pool).lease(&target, &TriedKeys::default(), InputTokens(0));
        let Ok(lease) = lease else { continue };
        if slot % 2 == 0 && (slot as usize) < LARGE - 10 {
            lease.settle(KeyOutcome::Served);
        } else {
            pool.settle(slot, "m", if (slot as usize) < LARGE - 10 { REST } else { KeyOutcome::Served });
            drop(lease);
        }
    }
    bencher.bench_local(|| {
        drop(Arc::clone(pool).lease(black_box(&target), &TriedKeys::default(), InputTokens(0)));
    });
}

/// The allocation columns show what a pool holds: bytes divided by 50,000 is the cost of a key,
/// its text and fingerprint not included (they are made before).
#[divan::bench(sample_count = 10)]
fn a_pool_of_50_000(bencher: Bencher) {
    bencher.with_inputs(|| (Runtime::new(None), secrets(LARGE))).bench_local_values(|(runtime, secrets)| {
        let pool = runtime.keys(&ChannelName::from("c"), KeySettings::default(), secrets);
        (runtime, pool)
    });
}

/// The same with text and fingerprint.
#[divan::bench(sample_count = 10)]
fn a_pool_of_50_000_with_its_secrets(bencher: Bencher) {
    bencher.with_inputs(|| Runtime::new(None)).bench_local_values(|runtime| {
        let pool = runtime.keys(&ChannelName::from("c"), KeySettings::default(), secrets(LARGE));
        (runtime, pool)
    });
}

fn limits(count: u64, seconds: u64, global: bool) -> Limits {
    Limits {
        global: global.then(|| quota(9_999, 1)),
        caller: Some((quota(count, seconds), Some("gpt-4o".into()))),
    }
}

fn check(bencher: Bencher, limits: &Limits) {
    let runtime = Runtime::new(None);
    let caller = Fingerprint::new("0123456789abcdef");
    bencher.bench_local(|| runtime.windows().check(&caller, black_box(limits), Instant::now()));
}

#[divan::bench]
fn window_that_refuses(bencher: Bencher) {
    check(bencher, &limits(15, 3600, false));
}

#[divan::bench]
fn window_that_admits(bencher: Bencher) {
    check(bencher, &limits(10_000, 1, false));
}

#[divan::bench]
fn window_counted_in_cells(bencher: Bencher) {
    check(bencher, &limits(900_000, 60, false));
}

#[divan::bench]
fn window_of_caller_and_gateway(bencher: Bencher) {
    check(bencher, &limits(10_000, 1, true));
}

#[divan::bench]
fn cursor(bencher: Bencher) {
    let runtime = Runtime::new(None);
    let (caller, model) = (Fingerprint::new("0123456789abcdef"), Arc::from("gpt-4o"));
    bencher.bench_local(|| runtime.cursors().of(black_box(&caller), &model).next());
}
