use super::*;
use crate::testing::failures::refused;
use crate::testing::ports::Visits;
use crate::testing::reply::whole;
use crate::testing::{Scripted, mount, pieces, read};

type Inner = Scripted<http::Request<()>>;

fn layer(capacity: &Arc<Capacity>) -> AdmissionLayer {
    AdmissionLayer::new(capacity.clone(), Arc::new(Visits::default()))
}

fn request() -> http::Request<()> {
    http::Request::new(())
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_stream_comes_back_when_its_body_is_dropped() {
    let capacity = Capacity::new(1, 0);
    let inner = Inner::new().answers(pieces().says("one").hangs().reply());
    let mut reply = mount(layer(&capacity), &inner).ask(request()).await.unwrap();
    reply.body_mut().next_piece().await;
    assert_eq!((capacity.requests(), capacity.streams()), (1, 1));

    drop(reply);

    assert_eq!((capacity.requests(), capacity.streams()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_gives_its_permit_back_at_once() {
    let capacity = Capacity::new(1, 0);
    let inner = Inner::new().answers(whole("ok"));

    let reply = mount(layer(&capacity), &inner).ask(request()).await.unwrap();

    assert_eq!((capacity.requests(), capacity.streams()), (0, 0));
    assert_eq!(read(reply.into_body()).await.text, "ok");
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_nobody_is_asked_and_the_client_may_come_back_soon() {
    let capacity = Capacity::new(1, 0);
    let inner = Inner::new().hangs();
    let visits = Arc::new(Visits::default());
    let mut admission = mount(AdmissionLayer::new(capacity.clone(), visits.clone()), &inner);
    let _first = admission.start(request()).await;

    let failure = admission.ask(request()).await.unwrap_err();

    assert!(matches!(failure, Failure::Overloaded) && failure.retry_after().is_some());
    assert_eq!((inner.calls(), capacity.refused(), capacity.requests()), (1, 1, 1));
    assert_eq!(visits.take(), [("overloaded", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_and_an_abandoned_request_give_their_permits_back() {
    let capacity = Capacity::new(1, 0);
    let inner = Inner::new().fails(refused(503)).hangs();
    let mut admission = mount(layer(&capacity), &inner);

    admission.ask(request()).await.unwrap_err();
    assert_eq!(capacity.requests(), 0);
    drop(admission.start(request()).await);

    assert_eq!(capacity.requests(), 0);
}

#[test]
fn held_bytes_are_bounded_and_come_back() {
    let capacity = Capacity::new(0, 100);
    let mut held = capacity.hold();
    held.grow(60).unwrap();
    let mut another = held.another();

    assert!(matches!(another.grow(41), Err(Failure::Overloaded)));
    another.grow(40).unwrap();
    assert_eq!((capacity.bytes(), capacity.refused()), (100, 1));
    drop((held, another));

    assert_eq!(capacity.bytes(), 0);
}
