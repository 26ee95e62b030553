use std::time::Duration;

use crate::testing::adapters::{anthropic_event, anthropic_stream, converting};
use crate::testing::reply::{Read, read_accepted, read_pieces};
use crate::testing::{Chunks, chunks};

async fn converted(body: Chunks) -> Read {
    read_accepted(converting(body.patient(), false)).await
}

fn stream() -> String {
    let (opening, texts, ending) = anthropic_stream(&["one", "two é"]);
    opening + &texts.concat() + &ending
}

fn error_event() -> String {
    let error = serde_json::json!({ "type": "overloaded_error", "message": "too busy for sk-provider-key" });
    anthropic_event("error", &serde_json::json!({ "type": "error", "error": error }))
}

#[tokio::test(start_paused = true)]
async fn the_same_is_told_wherever_the_stream_is_cut() {
    let stream = stream();
    let whole = converted(chunks().now(stream.clone())).await;
    assert!(whole.text.contains("two é") && whole.text.ends_with("data: [DONE]\n\n"), "{}", whole.text);
    for cut in (0..stream.len()).step_by(7) {
        let (first, rest) = stream.as_bytes().split_at(cut);

        let told = converted(chunks().now(first.to_vec()).after(Duration::from_secs(1), rest.to_vec())).await;

        assert_eq!((told.text, told.failure.is_none()), (whole.text.clone(), true), "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_by_is_seen_without_a_second_look() {
    let told = converted(chunks().now(stream())).await;

    let usage = told.sighting.usage().unwrap();
    assert_eq!((usage.input_total, usage.output_total), (3, 5));
    assert!(told.sighting.content && told.sighting.done);
    assert_eq!(told.sighting.delivered as usize, "onetwo é".len());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_early_fails_and_has_no_terminal_marker() {
    let (opening, texts, _) = anthropic_stream(&["one"]);
    for rest in [chunks(), chunks().breaks(), chunks().hangs()] {
        let told = converted(chunks_of(&opening, &texts).then(rest)).await;

        assert!(told.failure.is_some());
        assert!(told.text.contains("one") && !told.text.contains("[DONE]"), "{}", told.text);
    }
}

fn chunks_of(opening: &str, texts: &[String]) -> Chunks {
    chunks().now(opening.to_owned() + &texts.concat())
}

#[tokio::test(start_paused = true)]
async fn an_error_event_behind_content_ends_the_stream_in_our_words_without_the_key() {
    let (opening, texts, _) = anthropic_stream(&["one"]);

    let told = converted(chunks_of(&opening, &texts).now(error_event()).hangs()).await;

    assert!(told.text.contains("one") && !told.text.contains("[DONE]"), "{}", told.text);
    let failure = told.failure.unwrap();
    assert!(!format!("{failure:?}").contains("sk-provider-key"), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn an_error_event_within_the_opening_is_told_by_the_sighting_and_not_encoded() {
    let (opening, _, _) = anthropic_stream(&[]);

    let told = read_pieces(converting(chunks().now(opening).now(error_event()).patient(), false)).await;

    assert!(told.sighting.error().is_some());
    assert!(!told.text.contains("too busy"), "{}", told.text);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_ends_the_stream_as_garbled() {
    let (opening, texts, _) = anthropic_stream(&["one"]);

    let told =
        converted(chunks_of(&opening, &texts).now("event: content_block_delta\ndata: {nonsense\n\n").hangs())
            .await;

    assert_eq!(told.outcome(), "garbled_answer");
}

#[tokio::test(start_paused = true)]
async fn the_opening_is_given_piece_by_piece_with_its_text() {
    let (opening, texts, ending) = anthropic_stream(&["one", "two"]);
    let body = || {
        texts
            .iter()
            .fold(chunks().now(opening.clone()), |body, text| body.now(text.clone()))
            .now(ending.clone())
    };

    let unaccepted = read_pieces(converting(body().patient(), true)).await;
    let accepted = converted(body()).await;

    assert_eq!(unaccepted.sighting.text(), Some("onetwo"));
    assert!(unaccepted.pieces.len() >= 4 && accepted.pieces.len() == 1, "{:?}", unaccepted.pieces);
    assert_eq!(unaccepted.text, accepted.text);
}

#[tokio::test(start_paused = true)]
async fn an_event_longer_than_can_be_held_is_garbled() {
    let piece = "x".repeat(1 << 20);
    let body = (0..17).fold(chunks().now("event: ping\ndata: "), |body, _| body.now(piece.clone())).hangs();

    assert_eq!(converted(body).await.outcome(), "garbled_answer");
}

#[tokio::test(start_paused = true)]
async fn how_a_stream_ended_early_is_told() {
    let (opening, texts, _) = anthropic_stream(&["one"]);
    let mut told = Vec::new();
    for rest in [chunks(), chunks().breaks(), chunks().hangs()] {
        told.push(converted(chunks_of(&opening, &texts).then(rest)).await.outcome());
    }

    assert_eq!(told, ["truncated_answer", "connection_broken", "timeout"]);
}
