use std::time::Duration;

use super::*;
use crate::testing::failures::{
    broken, empty, no_key, refused, refused_key, timed_out, truncated, unsupported,
};
use crate::testing::handles::HealthNotes;
use crate::testing::policy::TargetBuilder;
use crate::testing::reply::whole;
use crate::testing::{Scripted, attempt, exchange, mount, target};

/// What health is told when an attempt ends like this, with a cooldown of five seconds.
async fn told(result: Result<Reply, Failure>) -> Vec<(bool, Duration)> {
    told_of(target("a"), result).await
}

async fn told_of(target: TargetBuilder, result: Result<Reply, Failure>) -> Vec<(bool, Duration)> {
    let health = Arc::new(HealthNotes::default());
    let target = target.cooldown(Duration::from_secs(5)).health(health.clone()).build();
    let inner = Scripted::new().after(Duration::ZERO, result);

    let _ = mount(CooldownLayer, &inner).ask(attempt(exchange().shared(), target)).await;

    health.0.all()
}

const WELL: (bool, Duration) = (false, Duration::from_secs(5));
const ILL: (bool, Duration) = (true, Duration::from_secs(5));

#[tokio::test(start_paused = true)]
async fn an_answer_is_booked_as_health() {
    assert_eq!(told(Ok(whole("ok"))).await, [WELL]);
}

#[tokio::test(start_paused = true)]
async fn what_ails_the_channel_benches_it_for_its_own_period() {
    for failure in [refused(500), refused(503), refused(408), broken(), timed_out(), empty(), truncated()] {
        let label = failure.label();

        assert_eq!(told(Err(failure)).await, [ILL], "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_s_fault_benches_nobody_while_there_is_a_spare_key() {
    for status in [401, 402, 403, 429] {
        assert_eq!(told(Err(refused_key(status, 0, true))).await, [], "{status}");
        assert_eq!(told(Err(refused_key(status, 0, false))).await, [ILL], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_refuses_the_request_itself_has_shown_that_it_is_well() {
    assert_eq!(told(Err(refused(400))).await, [WELL]);
    assert_eq!(told(Err(refused(413))).await, [WELL]);
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_the_channel_is_not_booked() {
    for failure in [no_key(), unsupported(), refused(405)] {
        let label = failure.label();

        assert_eq!(told(Err(failure)).await, [], "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_benches_a_place_and_not_a_channel_without_places() {
    assert_eq!(told_of(target("a").place("east"), Err(refused(404))).await, [ILL]);
    assert_eq!(told(Err(refused(404))).await, []);
    assert_eq!(told_of(target("a").place("east"), Err(refused(405))).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_dropped_is_not_booked() {
    let health = Arc::new(HealthNotes::default());
    let target = target("a").health(health.clone()).build();
    let inner = Scripted::<Attempt>::new().hangs();

    drop(mount(CooldownLayer, &inner).start(attempt(exchange().shared(), target)).await);

    assert_eq!(health.0.count(), 0);
}
