use crate::testing::adapters::raw;
use crate::testing::chunks;
use crate::testing::reply::read_pieces;

#[tokio::test(start_paused = true)]
async fn the_beginning_comes_first_and_the_rest_as_it_comes() {
    let told = read_pieces(raw("{\"a\":", chunks().now("1,").now("\"b\":2}").patient())).await;

    assert_eq!(
        (told.pieces, told.failure.is_none()),
        (vec!["{\"a\":".into(), "1,".into(), "\"b\":2}".into()], true)
    );
}

#[tokio::test(start_paused = true)]
async fn its_pieces_are_content_and_no_place_for_a_comment() {
    let told = read_pieces(raw("{", chunks().now("}").patient())).await;

    assert!(told.sighting.content && told.torn.iter().all(|torn| *torn));
}

#[tokio::test(start_paused = true)]
async fn a_break_and_a_silence_are_told() {
    let broken = read_pieces(raw("{", chunks().now("\"a\"").breaks().patient())).await;
    let silent = read_pieces(raw("{", chunks().hangs().patient())).await;

    assert_eq!((broken.text.as_str(), broken.outcome()), ("{\"a\"", "connection_broken"));
    assert_eq!((silent.text.as_str(), silent.outcome()), ("{", "timeout"));
}
