use std::time::Duration;

use super::*;
use crate::stage::Exchange;
use crate::testing::failures::refused;
use crate::testing::handles::MeterNotes;
use crate::testing::reply::whole;
use crate::testing::{Scripted, attempt, exchange, mount, target};

fn attempts_of(exchange: &Exchange) -> Vec<(String, &'static str, Duration)> {
    let entry = exchange.ledger.entry();
    let told = |record: &AttemptRecord| (record.channel.as_str().to_owned(), record.outcome, record.elapsed);
    entry.attempts.iter().map(told).collect()
}

#[tokio::test(start_paused = true)]
async fn an_accepted_attempt_is_noted_with_its_time_and_who_served() {
    let exchange = exchange().shared();
    let inner = Scripted::new().after(Duration::from_secs(3), Ok(whole("ok")));
    tokio::time::advance(Duration::from_secs(1)).await;

    mount(ObserveLayer, &inner).ask(attempt(exchange.clone(), target("a").build())).await.unwrap();

    assert_eq!(attempts_of(&exchange), [("a".to_owned(), "ok", Duration::from_secs(3))]);
    let entry = exchange.ledger.entry();
    assert_eq!(entry.accepted, Some(Duration::from_secs(4)), "since the request was received");
    assert_eq!(entry.target.as_ref().map(|target| target.channel.name.as_str()), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn each_failed_attempt_is_noted_by_its_label_and_nobody_has_served() {
    let exchange = exchange().shared();
    let inner = Scripted::new().fails(refused(503)).after(Duration::from_secs(2), Err(refused(429)));
    let mut observe = mount(ObserveLayer, &inner);

    for name in ["a", "b"] {
        observe.ask(attempt(exchange.clone(), target(name).build())).await.unwrap_err();
    }

    let expected = [
        ("a".to_owned(), "upstream_error", Duration::ZERO),
        ("b".to_owned(), "upstream_rate_limited", Duration::from_secs(2)),
    ];
    assert_eq!(attempts_of(&exchange), expected);
    assert!(exchange.ledger.entry().target.is_none() && exchange.ledger.entry().accepted.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_dropped_is_the_client_s_leaving() {
    let exchange = exchange().shared();
    let inner = Scripted::<Attempt>::new().hangs();
    let answering = mount(ObserveLayer, &inner).start(attempt(exchange.clone(), target("a").build())).await;
    tokio::time::advance(Duration::from_secs(5)).await;

    drop(answering);

    assert_eq!(attempts_of(&exchange), [("a".to_owned(), "client_gone", Duration::from_secs(5))]);
}

#[tokio::test(start_paused = true)]
async fn the_meters_of_the_target_are_told_each_outcome_once() {
    let meters = Arc::new(MeterNotes::default());
    let target = target("a").meters(meters.clone()).build();
    let inner = Scripted::new().fails(refused(503)).answers(whole("ok")).hangs();
    let mut observe = mount(ObserveLayer, &inner);
    let exchange = exchange().shared();

    let _ = observe.ask(attempt(exchange.clone(), target.clone())).await;
    let _ = observe.ask(attempt(exchange.clone(), target.clone())).await;
    drop(observe.start(attempt(exchange, target)).await);

    let outcomes: Vec<_> = meters.0.all().into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, ["upstream_error", "ok", "client_gone"]);
}
