use std::time::Duration;

use tower::ServiceExt as _;

use super::*;
use crate::keepalive::KeepaliveLayer;
use crate::ledger::Entry;
use crate::observe::ObserveLayer;
use crate::resolve::ResolveLayer;
use crate::stage::{Attempt, Routed};
use crate::testing::failures::{broken, refused};
use crate::testing::ports::{Closed, EndsAfter, no_homes};
use crate::testing::reply::{counted, piece, said, terminal, whole, whole_seen};
use crate::testing::{Scripted, attempt, catalog, exchange, mount, pieces, read, route, target};

type Inner = Scripted<Exchange>;

/// Mounts the layer over `inner` and asks it once.
async fn run(inner: Inner) -> (Result<Reply, Failure>, Arc<Closed>) {
    let closed = Arc::new(Closed::default());
    let result = mount(AccountLayer::new(closed.clone()), &inner).ask(exchange().build()).await;
    (result, closed)
}

/// The one entry that was closed.
fn only(closed: &Closed) -> Entry {
    let mut entries = closed.0.take();
    assert_eq!(entries.len(), 1, "closed exactly once");
    entries.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_record_is_closed_at_the_end_of_the_body_and_not_before() {
    let body = pieces().says("one").says_after(Duration::from_secs(7), "two");
    let (result, closed) = run(Inner::new().answers(body.reply())).await;
    assert_eq!(closed.0.count(), 0);

    drop(read(result.unwrap().into_body()).await);

    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.elapsed, entry.answer_bytes), ("ok", Duration::from_secs(7), 6));
}

#[tokio::test(start_paused = true)]
async fn what_the_pieces_were_seen_to_hold_is_in_the_record() {
    let body = pieces().says("hello").gives(piece("u", counted(3, 5))).gives(piece("d", terminal()));
    let (result, closed) = run(Inner::new().answers(body.reply())).await;

    drop(read(result.unwrap().into_body()).await);

    let entry = only(&closed);
    let usage = entry.usage.unwrap();
    assert_eq!((usage.input_total, usage.output_total, entry.delivered), (3, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_closes_its_record_once_with_the_reason() {
    let body = pieces().says("one").fails(broken());
    let (result, closed) = run(Inner::new().answers(body.reply())).await;

    drop(read(result.unwrap().into_body()).await);

    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.abandoned, entry.answer_bytes), ("connection_broken", false, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_before_its_end_was_abandoned() {
    let (result, closed) = run(Inner::new().answers(pieces().says("one").hangs().reply())).await;
    let mut body = result.unwrap().into_body();
    body.next_piece().await;

    drop(body);

    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.abandoned), ("client_gone", true));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_after_the_terminal_marker_has_everything() {
    let body = pieces().says("one").gives(piece("d", terminal())).hangs();
    let (result, closed) = run(Inner::new().answers(body.reply())).await;
    let mut body = result.unwrap().into_body();
    for _ in 0..2 {
        body.next_piece().await;
    }

    drop(body);

    assert_eq!(only(&closed).outcome(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_that_was_taken_is_no_abandoned_one() {
    let (result, closed) = run(Inner::new().answers(whole_seen("{}", said("x")))).await;
    let mut body = result.unwrap().into_body();
    body.next_piece().await;

    drop(body);

    assert_eq!(only(&closed).outcome(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_recorded_with_the_status_that_the_client_sees() {
    let (result, closed) = run(Inner::new().fails(refused(401))).await;

    result.unwrap_err();

    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.status.as_u16()), ("upstream_key_rejected", 502));
}

#[tokio::test(start_paused = true)]
async fn when_all_channels_fail_behind_a_comment_the_record_has_the_status_that_the_client_has_not() {
    let inner = Scripted::<Routed>::new().after(Duration::from_secs(15), Err(refused(503)));
    let warmed = route([target("a").build()]).keepalive(Duration::from_secs(10)).build();
    let exchange = exchange().stream().catalog(catalog().route("m", warmed).build()).build();
    let closed = Arc::new(Closed::default());
    let request_stack = ResolveLayer::new(no_homes()).layer(KeepaliveLayer.layer(inner));

    let reply = mount(AccountLayer::new(closed.clone()), &request_stack).ask(exchange).await.unwrap();
    let status = reply.status().as_u16();
    drop(read(reply.into_body()).await);

    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.status.as_u16(), status), ("upstream_error", 503, 200));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_answer_that_breaks_keeps_its_status() {
    let body = pieces().says("one").fails(broken());
    let exchange = exchange().build();
    exchange.ledger.entry().accepted = Some(Duration::ZERO);
    let closed = Arc::new(Closed::default());
    let inner = Inner::new().answers(body.reply());

    let reply = mount(AccountLayer::new(closed.clone()), &inner).ask(exchange).await.unwrap();
    drop(read(reply.into_body()).await);

    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.status.as_u16()), ("connection_broken", 200));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_answer_is_recorded() {
    let (closed, inner) = (Arc::new(Closed::default()), Inner::new().hangs());
    let mut account = mount(AccountLayer::new(closed.clone()), &inner);

    drop(account.start(exchange().build()).await);

    assert_eq!(only(&closed).outcome(), "client_gone");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_gateways_own_fault_and_no_client_that_left() {
    let closed = Arc::new(Closed::default());
    let panics = tower::service_fn(|_: Attempt| async { panic!("as a test wants it") });
    let observed = ObserveLayer.layer(panics);
    let inner = tower::service_fn(move |exchange: Exchange| {
        let attempt = attempt(Arc::new(exchange), target("a").build());
        observed.clone().oneshot(attempt)
    });
    let mut answering = Box::pin(AccountLayer::new(closed.clone()).layer(inner).oneshot(exchange().build()));
    let mut context = Context::from_waker(std::task::Waker::noop());

    let polled =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answering.as_mut().poll(&mut context)));

    assert!(polled.is_err());
    let entry = only(&closed);
    assert_eq!((entry.outcome(), entry.abandoned, entry.status.as_u16()), ("internal", false, 500));
    assert_eq!(entry.attempts[0].outcome, "internal");
    drop(answering);
    assert_eq!(closed.0.count(), 0, "it is closed once");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_end_of_the_process_finds_without_an_answer_blames_no_client() {
    let closed = Arc::new(Closed::default());
    let attempts = Scripted::<Attempt>::new().hangs();
    let exchange = exchange().build();
    let ledger = exchange.ledger.clone();
    let observed = ObserveLayer.layer(attempts);
    let inner = tower::service_fn(move |exchange: Exchange| {
        let attempt = attempt(Arc::new(exchange), target("a").build());
        observed.clone().oneshot(attempt)
    });
    let layer = AccountLayer::new(closed.clone()).until(Arc::new(EndsAfter::new(Duration::from_secs(60))));
    let mut answering = Box::pin(layer.layer(inner).oneshot(exchange));
    let waited = tokio::time::timeout(Duration::from_secs(59), &mut answering).await;
    assert!(waited.is_err());
    tokio::time::advance(Duration::from_secs(1)).await;

    let failure = tokio::time::timeout(Duration::ZERO, answering).await.unwrap().unwrap_err();

    let entry = only(&closed);
    assert_eq!(
        (failure.label(), entry.outcome(), entry.status.as_u16()),
        ("shutting_down", "shutting_down", 503)
    );
    assert_eq!(entry.attempts[0].outcome, "shutting_down");
    assert!(!entry.abandoned && ledger.entry().attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_answer_is_changed() {
    let (result, _closed) = run(Inner::new().answers(whole("as it is"))).await;

    assert_eq!(read(result.unwrap().into_body()).await.text, "as it is");
}
