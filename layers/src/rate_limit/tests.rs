use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::testing::ports::{ScriptedAllowances, exceeded};
use crate::testing::reply::whole;
use crate::testing::{Scripted, exchange, mount};

type Inner = Scripted<Exchange>;

/// One request under these allowances: how it ended, how many requests count, and how many
/// reached the inner service.
async fn run(allowances: ScriptedAllowances) -> (&'static str, usize, usize) {
    let (allowances, inner) = (Arc::new(allowances), Inner::new().answers(whole("ok")));

    let result = mount(RateLimitLayer::new(allowances.clone()), &inner).ask(exchange().build()).await;

    (result.map_or_else(|failure| failure.label(), |_| "ok"), allowances.count(), inner.calls())
}

/// These in embedded and in shared state.
fn both(of: impl Fn() -> ScriptedAllowances) -> [ScriptedAllowances; 2] {
    [of(), of().shared()]
}

fn full() -> ScriptedAllowances {
    ScriptedAllowances::spent(Failure::RateLimited(exceeded()))
}

#[tokio::test(start_paused = true)]
async fn an_admitted_request_counts_once_and_goes_on() {
    for allowances in both(ScriptedAllowances::default) {
        assert_eq!(run(allowances).await, ("ok", 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_refuses_and_counts_nothing() {
    for allowances in both(full) {
        assert_eq!(run(allowances).await, ("rate_limited", 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_balance_refuses_counts_in_no_window() {
    for allowances in both(|| ScriptedAllowances::spent(Failure::BalanceExhausted)) {
        assert_eq!(run(allowances).await, ("balance_exhausted", 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_refusal_says_when_to_come_back() {
    for allowances in both(full) {
        let mut layer = mount(RateLimitLayer::new(Arc::new(allowances)), &Inner::new());

        let failure = layer.ask(exchange().build()).await.unwrap_err();

        assert_eq!(failure.retry_after().map(|after| after.as_secs()), Some(60));
    }
}

#[tokio::test(start_paused = true)]
async fn embedded_state_decides_without_waiting() {
    let began = Instant::now();

    run(ScriptedAllowances::default()).await;
    assert!(began.elapsed().is_zero());
    run(ScriptedAllowances::default().shared()).await;

    assert_eq!(began.elapsed().as_secs(), 1, "shared state is awaited, once for all of it");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_shared_state_is_awaited_counts_nowhere_and_is_not_passed_on() {
    let (allowances, inner) = (Arc::new(ScriptedAllowances::default().shared()), Inner::new());
    let mut layer = mount(RateLimitLayer::new(allowances.clone()), &inner);
    let answering = layer.start(exchange().build()).await;
    assert_eq!(allowances.count(), 1);

    timeout(Duration::from_millis(500), answering).await.unwrap_err();

    assert_eq!((allowances.count(), inner.calls()), (0, 0));
}
