use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::testing::failures::broken;
use crate::testing::reply::{piece, said, whole};
use crate::testing::{pieces, read, wire};

#[tokio::test(start_paused = true)]
async fn a_body_gives_its_opening_first_and_tells_the_adapter_that_it_was_accepted() {
    let rest = pieces().says("two ").says("three");
    let accepted = rest.accepted();

    let told = read(rest.body().with_opening([piece("one ", said("one "))].into())).await;

    assert_eq!((told.text.as_str(), accepted.count()), ("one two three", 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_within_a_stream_is_an_event_of_the_client_s_dialect() {
    let told = wire(pieces().says("one\n\n").fails(broken()).in_dialect(dialect::Dialect::OpenAiChat).body())
        .await
        .unwrap();

    let event = told.strip_prefix("one\n\n").unwrap();
    assert!(event.starts_with("data: {\"error\"") && event.ends_with("\n\n"), "{event}");
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_voice_is_cut_off() {
    let cut = wire(pieces().says("{").fails(broken()).body()).await.unwrap_err();

    assert_eq!(cut.to_string(), "the answer cannot be completed: connection_broken");
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_after_an_error() {
    let told = read(pieces().fails(broken()).says("more").body()).await;

    assert_eq!((told.text.as_str(), told.outcome()), ("", "connection_broken"));
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_given_back_when_the_body_is_dropped() {
    let permit = Arc::new(());
    let body = pieces().hangs().body().with_permit(Box::new(permit.clone()));
    assert_eq!(Arc::strong_count(&permit), 2);

    drop(body);

    assert_eq!(Arc::strong_count(&permit), 1);
}

#[tokio::test(start_paused = true)]
async fn the_curfew_ends_a_stream_that_is_still_silent_and_leaves_what_came_before_it() {
    for (seconds, expected) in [(6, ("one", "shutting_down")), (4, ("onetwo", "ok"))] {
        let stream = pieces().says("one").says_after(Duration::from_secs(seconds), "two");
        let deadline = Box::pin(tokio::time::sleep(Duration::from_secs(5)));

        let told = read(stream.body().with_deadline(deadline)).await;

        assert_eq!((told.text.as_str(), told.outcome()), expected, "after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn empty_pieces_make_no_frames() {
    let mut body = pieces().says("").says("one").body();

    let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();

    assert_eq!(frame.into_data().unwrap(), "one");
}

#[test]
fn the_length_of_what_is_there_is_known_and_that_of_a_stream_is_not() {
    let mut whole = whole("four").into_body();
    assert_eq!((whole.size_hint().exact(), whole.is_end_stream()), (Some(4), false));
    let _ = whole.poll_piece(&mut Context::from_waker(std::task::Waker::noop()));
    assert_eq!((whole.size_hint().exact(), whole.is_end_stream()), (Some(0), true));

    assert_eq!(pieces().says("four").body().size_hint().exact(), None);
}
