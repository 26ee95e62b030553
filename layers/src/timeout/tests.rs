use super::*;
use crate::testing::reply::whole;
use crate::testing::{Scripted, call, exchange, mount, target};

type Calls = Scripted<Call>;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long an attempt with these limits lasts when nobody answers, and what it fails with.
async fn lasts(limits: (u64, u64, u64), spent: u64) -> (Duration, String) {
    let exchange = exchange().shared();
    tokio::time::advance(seconds(spent)).await;
    let target = target("a").limits(limits.0, limits.1, limits.2).build();
    let began = Instant::now();

    let failure =
        mount(TimeoutLayer, &Calls::new().hangs()).ask(call(exchange, target).build()).await.unwrap_err();

    assert_eq!(failure.label(), "timeout");
    (began.elapsed(), failure.to_string())
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_bound_passes() {
    let calls = Calls::new().after(seconds(49), Ok(whole("late")));
    let target = target("a").limits(100, 50, 3600).build();

    assert!(mount(TimeoutLayer, &calls).ask(call(exchange().shared(), target).build()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_never_accepted_is_left_after_its_bound() {
    let (lasted, told) = lasts((100, 50, 3600), 0).await;

    assert!(lasted >= seconds(50) && lasted < seconds(51), "{lasted:?}");
    assert!(told.contains("after 50 seconds"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_whole_request_bounds_it_too_and_the_failure_names_the_whole() {
    let (lasted, told) = lasts((100, 600, 90), 60).await;

    assert!(lasted >= seconds(30) && lasted < seconds(31), "{lasted:?}");
    assert!(told.contains("after 90 seconds"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_upstream_that_says_nothing_is_left_at_the_first_wake_after_the_bound() {
    // No timer of its own: a bound longer than a silence is looked at when something wakes it.
    let bytes_every_forty_seconds = tower::service_fn(|_: Call| async {
        loop {
            tokio::time::sleep(seconds(40)).await;
        }
    });
    let target = target("a").limits(100, 150, 3600).build();
    let began = Instant::now();
    let mut timeout = mount(TimeoutLayer, &bytes_every_forty_seconds);

    let failure = timeout.ask(call(exchange().shared(), target).build()).await.unwrap_err();

    assert_eq!((failure.label(), began.elapsed().as_secs()), ("timeout", 160));
}

#[tokio::test(start_paused = true)]
async fn the_attempt_is_dropped_with_its_upstream_when_the_client_leaves() {
    let calls = Calls::new().hangs();

    drop(mount(TimeoutLayer, &calls).start(call(exchange().shared(), target("a").build()).build()).await);

    assert_eq!((calls.calls(), calls.abandoned()), (1, 1));
}
