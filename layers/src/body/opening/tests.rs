use std::time::Duration;

use super::*;
use crate::testing::failures::broken;
use crate::testing::reply::{Script, erred, finished, piece, said, terminal};
use crate::testing::{pieces, read as collect};

/// What a body turned out to be, and what the client gets of it where it was accepted.
async fn judged(body: Script, triggers: &[&str]) -> (&'static str, String) {
    let triggers = Triggers::new(triggers.iter().map(|text| (*text).to_owned()));
    match read(body.body(), &triggers, Held::default()).await {
        Ok(Opening::Accepted(body)) => {
            let told = collect(body).await;
            (told.outcome(), told.text)
        }
        Ok(Opening::Empty(..)) => ("empty", String::new()),
        Ok(Opening::Triggered) => ("triggered", String::new()),
        Ok(Opening::Error(_)) => ("error", String::new()),
        Err(failure) => (failure.label(), String::new()),
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_accepted_at_the_first_content_and_replayed_from_its_first_byte() {
    let body = pieces().hums("start ").says("one ").says_after(Duration::from_secs(500), "two");
    let accepted = body.accepted();
    let began = tokio::time::Instant::now();

    let Ok(Opening::Accepted(body)) = read(body.body(), &Triggers::default(), Held::default()).await else {
        panic!()
    };

    assert!(began.elapsed().is_zero(), "it waits for nothing behind the first content");
    assert_eq!(accepted.count(), 1, "the adapter is told");
    assert_eq!(collect(body).await.text, "start one two");
}

#[tokio::test(start_paused = true)]
async fn lifecycle_and_comments_are_awaited_through() {
    let minute = Duration::from_secs(60);
    let body = pieces().hums_after(minute, "ping ").hums_after(minute, "ping ").says_after(minute, "one");

    assert_eq!(judged(body, &[]).await, ("ok", "ping ping one".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_error_before_content_is_a_failure_and_behind_it_is_the_client_s() {
    let error = || piece(" error", erred(500, "ill"));

    assert_eq!(judged(pieces().hums("start").gives(error()), &[]).await.0, "error");
    assert_eq!(judged(pieces().says("one").gives(error()), &[]).await, ("ok", "one error".to_owned()));
    // Also while it is held because of a trigger.
    let held = pieces().says("quo").gives(error());
    assert_eq!(judged(held, &["quota"]).await, ("ok", "quo error".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_end_a_marker_or_a_stop_without_content_says_nothing() {
    assert_eq!(judged(pieces(), &[]).await.0, "empty");
    assert_eq!(judged(pieces().hums("start"), &[]).await.0, "empty");
    assert_eq!(judged(pieces().gives(piece("d", terminal())).hangs(), &[]).await.0, "empty");
    assert_eq!(judged(pieces().gives(piece("s", finished(FinishReason::Stop))), &[]).await.0, "empty");
}

#[tokio::test(start_paused = true)]
async fn a_limit_or_a_filter_that_came_before_the_first_word_is_an_answer() {
    for reason in [FinishReason::Length, FinishReason::ContentFilter, FinishReason::StopSequence] {
        let body = pieces().gives(piece("cut", finished(reason)));

        assert_eq!(judged(body, &[]).await, ("ok", "cut".to_owned()), "{reason:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_break_before_content_is_its_failure() {
    assert_eq!(judged(pieces().hums("start").fails(broken()), &[]).await.0, "connection_broken");
}

#[tokio::test(start_paused = true)]
async fn two_megabytes_without_content_are_accepted_as_they_are() {
    let hum = "x".repeat(1 << 20);
    let full = pieces().hums(&hum).hums(&hum).hums("x").hangs();
    let Ok(Opening::Accepted(_)) = read(full.body(), &Triggers::default(), Held::default()).await else {
        panic!("not accepted")
    };

    let short = pieces().hums(&hum).hums(&hum);

    assert_eq!(judged(short, &[]).await.0, "empty", "not one byte before");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_spans_two_events_is_found() {
    assert_eq!(judged(pieces().says("the quo").says("ta is over"), &["quota"]).await.0, "triggered");
    assert_eq!(
        judged(pieces().says("the quo").says("te is over"), &["quota"]).await,
        ("ok", "the quote is over".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn content_is_held_only_while_its_end_may_be_the_beginning_of_a_trigger() {
    let body = pieces()
        .says("the quo")
        .says_after(Duration::from_secs(5), "rum ")
        .says_after(Duration::from_secs(50), "x");
    let began = tokio::time::Instant::now();

    let Ok(Opening::Accepted(_)) =
        read(body.body(), &Triggers::new(["quota".to_owned()]), Held::default()).await
    else {
        panic!()
    };

    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_ends_or_breaks_while_it_is_held_is_given_to_the_client() {
    let quo = || pieces().says("the quo");

    assert_eq!(judged(quo(), &["quota"]).await, ("ok", "the quo".to_owned()));
    assert_eq!(
        judged(quo().gives(piece(" end", terminal())), &["quota"]).await,
        ("ok", "the quo end".to_owned())
    );
    assert_eq!(judged(quo().fails(broken()), &["quota"]).await, ("connection_broken", "the quo".to_owned()));
}

#[test]
fn an_answer_is_cut_by_a_reason_that_explains_its_emptiness() {
    assert!(is_cut(&finished(FinishReason::Length)) && is_cut(&finished(FinishReason::Pause)));
    assert!(!is_cut(&finished(FinishReason::Stop)) && !is_cut(&said("one")));
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_finds_no_room_is_accepted_as_it_is() {
    let capacity = crate::capacity::Capacity::new(1, 100_000);
    let body = (0..9).fold(pieces(), |body, _| body.hums(&"x".repeat(10_000))).hangs();

    let opening = read(body.body(), &Triggers::default(), capacity.hold().for_answer()).await;

    let Ok(Opening::Accepted(mut body)) = opening else { panic!("it should be accepted") };
    assert!((60_000..=75_000).contains(&capacity.bytes()), "{}", capacity.bytes());
    for _ in 0..8 {
        body.next_piece().await.unwrap().unwrap();
    }
    assert_eq!(capacity.bytes(), 0, "given back with its last piece");
}

#[tokio::test(start_paused = true)]
async fn many_small_pieces_cost_no_more_than_their_bytes() {
    let body = (0..5000).fold(pieces(), |body, _| body.hums(":a\n\n")).says("one");

    let Ok(Opening::Accepted(body)) = read(body.body(), &Triggers::default(), Held::default()).await else {
        panic!("it should be accepted")
    };

    let told = collect(body).await;
    assert_eq!(told.text, ":a\n\n".repeat(5000) + "one");
    assert!(told.pieces.len() < 100, "{} pieces", told.pieces.len());
}
