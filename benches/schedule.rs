//! What it costs to find out who is next.
//!
//! `cargo bench --bench schedule`

mod fixture;

use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use layers::plan::{Plan, Step};
use layers::policy::{ChannelName, Retries};
use layers::ports::Route;
use tokio::time::Instant;
use uni_api::routing::{Access, CallerRoute, Offers, Routes};
use uni_api::state::Runtime;
use uni_api::state::keys::KeySettings;
use uni_api::values::{Algorithm, Rule, RuleMatch};

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Caller 0 rules over `channels` channels with weights 1, 2, 3, …; caller 1 over a group of them.
fn world(channels: usize, algorithm: Algorithm) -> (Runtime, Routes) {
    let runtime = Runtime::new(None);
    let offers = Offers::new((0..channels).map(|at| {
        let name = format!("channel-{at}");
        let keys = runtime.keys(&ChannelName::from(&*name), KeySettings::default(), Vec::new());
        (at, Arc::new(fixture::target(&runtime, &name, keys, None)))
    }));
    let rules = (0..channels)
        .map(|at| Rule { matcher: RuleMatch::ChannelAll([at].into()), weight: Some(at as u32 + 1) })
        .collect();
    let nested = [
        Rule { matcher: RuleMatch::NestedAll(0), weight: None },
        Rule { matcher: RuleMatch::All, weight: None },
    ];
    let access = vec![
        Access { caller: fixture::caller(0), rules, algorithm },
        Access { caller: fixture::caller(1), rules: nested.into(), algorithm: Algorithm::FixedPriority },
    ];
    (runtime, Routes::new(offers, access))
}

fn route(runtime: &Runtime, routes: &Routes, caller: usize) -> Arc<CallerRoute> {
    routes.route(&fixture::caller(caller), "m", runtime.cursors()).expect("the model is known")
}

/// Looks the route up, draws a ticket and picks: all that routing adds to a request.
fn request(bencher: Bencher, channels: usize, algorithm: Algorithm, benched: &[usize]) {
    let (runtime, routes) = world(channels, algorithm);
    for at in benched {
        let name = format!("channel-{at}");
        let health = runtime.health(&ChannelName::from(&*name), "m");
        health.settle(true, Duration::from_secs(3600), Instant::now());
    }
    let (caller, now) = (fixture::caller(0), Instant::now());
    bencher.bench_local(|| {
        let route =
            routes.route(black_box(&caller), black_box("m"), runtime.cursors()).expect("the model is known");
        let plan = Plan::new(route, Retries::Budget);
        plan.route.pick(&plan, now)
    });
}

#[divan::bench(args = [1, 3, 20, 100])]
fn fixed_priority(bencher: Bencher, channels: usize) {
    request(bencher, channels, Algorithm::FixedPriority, &[]);
}

#[divan::bench(args = [3, 20, 100])]
fn weighted(bencher: Bencher, channels: usize) {
    request(bencher, channels, Algorithm::WeightedRoundRobin, &[]);
}

#[divan::bench(args = [3, 20, 100])]
fn weighted_with_one_benched(bencher: Bencher, channels: usize) {
    request(bencher, channels, Algorithm::WeightedRoundRobin, &[1]);
}

#[divan::bench(args = [3, 20])]
fn random(bencher: Bencher, channels: usize) {
    request(bencher, channels, Algorithm::Random, &[]);
}

#[divan::bench(args = [3, 20])]
fn through_a_group(bencher: Bencher, channels: usize) {
    let (runtime, routes) = world(channels, Algorithm::WeightedRoundRobin);
    let now = Instant::now();
    let mut plan = Plan::new(route(&runtime, &routes, 1), Retries::Budget);
    if let Step::Enter(group) = plan.route.clone().pick(&plan, now) {
        plan.gate(group, true);
    }
    bencher.bench_local(|| plan.route.pick(black_box(&plan), now));
}

#[divan::bench(args = [3, 20, 100])]
fn build_a_route(bencher: Bencher, channels: usize) {
    bencher.with_inputs(|| world(channels, Algorithm::WeightedRoundRobin)).bench_local_values(
        |(runtime, routes)| {
            let route = route(&runtime, &routes, 0);
            (runtime, routes, route.leaves())
        },
    );
}
