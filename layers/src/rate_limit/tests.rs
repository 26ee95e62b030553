use super::*;
use crate::testing::ports::{ScriptedBalances, ScriptedWindows};
use crate::testing::reply::whole;
use crate::testing::{Scripted, exchange, mount};

type Inner = Scripted<Exchange>;

/// One request over these windows and balances: how it ended, how many requests count, and how
/// many reached the inner service.
async fn run(windows: ScriptedWindows, balances: ScriptedBalances) -> (&'static str, usize, usize) {
    let (windows, inner) = (Arc::new(windows), Inner::new().answers(whole("ok")));
    let layer = RateLimitLayer::new(windows.clone(), Arc::new(balances));

    let result = mount(layer, &inner).ask(exchange().build()).await;

    (result.map_or_else(|failure| failure.label(), |_| "ok"), windows.count(), inner.calls())
}

/// Each of these in embedded and in shared state.
fn both<T>(of: impl Fn() -> T, shared: impl Fn(T) -> T) -> [T; 2] {
    [of(), shared(of())]
}

#[tokio::test(start_paused = true)]
async fn an_admitted_request_counts_once_and_goes_on() {
    for windows in both(ScriptedWindows::with_room, ScriptedWindows::shared) {
        assert_eq!(run(windows, ScriptedBalances::rich()).await, ("ok", 1, 1));
    }
    for windows in both(ScriptedWindows::with_room, ScriptedWindows::shared) {
        assert_eq!(run(windows, ScriptedBalances::rich().shared()).await, ("ok", 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_refuses_and_counts_nothing() {
    for windows in both(ScriptedWindows::full, ScriptedWindows::shared) {
        assert_eq!(run(windows, ScriptedBalances::rich()).await, ("rate_limited", 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_balance_refuses_counts_in_no_window() {
    for windows in both(ScriptedWindows::with_room, ScriptedWindows::shared) {
        assert_eq!(run(windows, ScriptedBalances::empty()).await, ("balance_exhausted", 0, 0));
    }
    for windows in both(ScriptedWindows::with_room, ScriptedWindows::shared) {
        assert_eq!(run(windows, ScriptedBalances::empty().shared()).await, ("balance_exhausted", 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_window_reserves_nothing() {
    for windows in both(ScriptedWindows::full, ScriptedWindows::shared) {
        let balances = Arc::new(ScriptedBalances::rich());
        let layer = RateLimitLayer::new(Arc::new(windows), balances.clone());

        mount(layer, &Inner::new()).ask(exchange().build()).await.unwrap_err();

        assert_eq!(balances.reserved.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_refusal_says_when_to_come_back() {
    let layer = RateLimitLayer::new(Arc::new(ScriptedWindows::full()), Arc::new(ScriptedBalances::rich()));

    let failure = mount(layer, &Inner::new()).ask(exchange().build()).await.unwrap_err();

    assert_eq!(failure.retry_after().map(|after| after.as_secs()), Some(60));
}

#[tokio::test(start_paused = true)]
async fn embedded_state_decides_without_waiting() {
    let began = tokio::time::Instant::now();

    run(ScriptedWindows::with_room(), ScriptedBalances::rich()).await;
    assert!(began.elapsed().is_zero());
    run(ScriptedWindows::with_room().shared(), ScriptedBalances::rich().shared()).await;

    assert_eq!(began.elapsed().as_secs(), 2, "shared state is awaited, one after the other");
}
