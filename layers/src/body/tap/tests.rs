use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::reply::ReplyBody;
use crate::testing::adapters::{Watching, tap};
use crate::testing::reply::{
    Read, delta, done, error_event, read_accepted, read_pieces, role, stop, usage_chunk,
};
use crate::testing::{Chunks, chunks};

/// What the client gets of this body, its opening accepted.
async fn relayed(body: Chunks) -> Read {
    read_accepted(tap(body.patient(), Watching::default())).await
}

fn hiding(body: Chunks) -> Tap {
    tap(body.patient(), Watching { hide_usage: true, ..Watching::default() })
}

/// A whole stream in one text.
fn stream() -> String {
    [role(), delta("one"), delta("two é"), stop(), done().to_owned()].concat()
}

#[tokio::test(start_paused = true)]
async fn every_byte_comes_through_as_it_was_wherever_the_stream_is_cut() {
    let stream = stream();
    for cut in (0..stream.len()).step_by(7) {
        let (first, rest) = stream.as_bytes().split_at(cut);
        let second = Duration::from_secs(1);

        let told = relayed(chunks().now(first.to_vec()).after(second, rest.to_vec())).await;

        assert_eq!((told.text.as_str(), told.outcome()), (stream.as_str(), "ok"), "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_event_is_never_released() {
    let second = Duration::from_secs(1);
    let event = delta("one");
    let body = chunks().now(event[..20].to_owned()).after(second, event[20..].to_owned() + "data: {").hangs();
    let mut body = ReplyBody::stream(tap(body.patient(), Watching::default()));

    let piece = body.next_piece().await.unwrap().unwrap();

    assert_eq!((&piece.bytes[..], piece.torn), (event.as_bytes(), false));
}

#[tokio::test(start_paused = true)]
async fn a_torn_tail_is_dropped_and_the_break_is_told() {
    let torn = delta("two");
    let ended = relayed(chunks().now(delta("one")).now(torn[..30].to_owned())).await;
    let broken = relayed(chunks().now(delta("one")).now(torn[..30].to_owned()).breaks()).await;

    assert_eq!(
        (ended.text, ended.failure.map(|failure| failure.label())),
        (delta("one"), Some("truncated_answer"))
    );
    assert_eq!(
        (broken.text, broken.failure.map(|failure| failure.label())),
        (delta("one"), Some("connection_broken"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_last_event_that_lacks_only_its_blank_line_is_whole() {
    let told = relayed(chunks().now(delta("one")).now("data: [DONE]")).await;

    assert_eq!((told.text.ends_with("data: [DONE]\n\n"), told.outcome()), (true, "ok"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_after_the_finish_reason_ended_well() {
    let told = relayed(chunks().now(delta("one")).now(stop()).breaks()).await;

    assert_eq!(told.outcome(), "ok");
}

#[tokio::test(start_paused = true)]
async fn our_usage_chunk_is_hidden_and_counted_and_nothing_else_is_hidden() {
    let body = chunks().now(delta("one") + &stop() + &usage_chunk() + done());

    let told = read_accepted(hiding(body)).await;

    assert_eq!(told.text, delta("one") + &stop() + done());
    assert_eq!(told.sighting.usage().map(|usage| usage.output_total), Some(5));
    let kept = relayed(chunks().now(usage_chunk()).now(done())).await;
    assert_eq!(kept.text, usage_chunk() + done(), "the client's own is the client's");
}

#[tokio::test(start_paused = true)]
async fn usage_beside_choices_is_not_hidden() {
    let beside = r#"data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#;
    let body = format!("{beside}\n\n{}", done());

    let told = read_accepted(hiding(chunks().now(body.clone()))).await;

    assert_eq!(told.text, body);
}

#[tokio::test(start_paused = true)]
async fn an_event_too_long_to_be_held_is_forwarded_torn_and_is_content() {
    let event = delta(&"x".repeat(3 * LONGEST_HELD));
    let second = Duration::from_secs(1);
    let (first, rest) = event.split_at(LONGEST_HELD + 10);
    let body =
        chunks().now(first.to_owned()).after(second, rest.to_owned()).after(second, stop()).now(done());

    let told = relayed(body).await;

    assert_eq!(told.text, event.clone() + &stop() + done());
    assert_eq!((told.torn[0], told.torn.last()), (true, Some(&false)));
    assert!(told.sighting.content);
}

#[tokio::test(start_paused = true)]
async fn an_error_event_behind_content_ends_the_stream_in_our_words_without_the_key() {
    let body = chunks().now(delta("one")).now(error_event("bad key sk-provider-key")).now(done()).hangs();

    let told = relayed(body).await;

    assert_eq!(told.text, delta("one"));
    let failure = told.failure.unwrap();
    assert!(!format!("{failure:?}").contains("sk-provider-key"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn the_opening_is_given_event_by_event_with_its_text_and_later_pieces_are_joined() {
    let events = || chunks().now(delta("one")).now(delta("two")).now(delta("three"));
    let watching = Watching { want_text: true, ..Watching::default() };

    let opening = read_pieces(tap(events().patient(), watching)).await;
    let accepted = relayed(events()).await;

    assert_eq!((opening.pieces.len(), opening.sighting.text()), (3, Some("onetwothree")));
    assert_eq!(accepted.pieces.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn chunks_of_one_packet_cost_one_piece_and_none_waits_for_a_later_one() {
    let packet = chunks().now(delta("one")).next_turn(delta("two")).hangs();
    let mut body =
        ReplyBody::stream(tap(packet.patient(), Watching::default())).with_opening(VecDeque::new());
    let began = tokio::time::Instant::now();

    let piece = body.next_piece().await.unwrap().unwrap();

    assert_eq!(piece.bytes, delta("one") + &delta("two"));
    assert!(began.elapsed().is_zero());
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout_after_what_came_was_given() {
    let told = relayed(chunks().now(delta("one")).hangs()).await;

    assert_eq!((told.text.as_str(), told.outcome()), (delta("one").as_str(), "timeout"));
}
