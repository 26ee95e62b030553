use std::future::poll_fn;
use std::time::Duration;

use super::*;
use crate::testing::body::chunks;
use crate::testing::policy::limits;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn next(body: &mut Idle) -> Option<Result<Bytes, Broken>> {
    poll_fn(|cx| body.poll_data(cx)).await
}

#[tokio::test(start_paused = true)]
async fn each_byte_starts_the_silence_anew() {
    let body =
        chunks().after(seconds(9), "a").after(seconds(9), "b").after(seconds(9), "c").ends_after(seconds(9));

    let collected = body.idle(limits(10, 600, 3600)).collect(100, &mut Held::default()).await;

    assert_eq!(collected, Ok(Collected { bytes: "abc".into(), left: Left::Nothing }));
}

#[tokio::test(start_paused = true)]
async fn a_silence_of_the_limit_ends_it_and_names_the_limit() {
    let mut body = chunks().after(seconds(5), "a").hangs().idle(limits(10, 600, 3600));
    let began = Instant::now();
    next(&mut body).await.unwrap().unwrap();

    let broken = next(&mut body).await;

    assert_eq!((broken, began.elapsed()), (Some(Err(Broken::Silent(seconds(10)))), seconds(15)));
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_waits_does_not_count() {
    let mut body = chunks().now("a").after(seconds(9), "b").idle(limits(10, 600, 3600));
    next(&mut body).await.unwrap().unwrap();

    // A slow client.
    tokio::time::advance(seconds(500)).await;

    assert_eq!(next(&mut body).await, Some(Ok("b".into())));
}

#[tokio::test(start_paused = true)]
async fn a_busy_body_ends_with_the_time_of_the_whole_request() {
    let drops = (0..30).fold(chunks(), |body, _| body.after(seconds(9), "x"));
    let mut body = drops.idle(limits(10, 600, 100));
    let began = Instant::now();

    let broken = body.collect(1000, &mut Held::default()).await;

    assert_eq!((broken, began.elapsed()), (Err(Broken::Silent(seconds(100))), seconds(100)));
}

#[tokio::test(start_paused = true)]
async fn trailers_are_skipped_and_a_break_is_passed_on() {
    let mut body = chunks().now("a").trailers().now("b").breaks().patient();

    assert_eq!(next(&mut body).await, Some(Ok("a".into())));
    assert_eq!(next(&mut body).await, Some(Ok("b".into())));
    assert_eq!(next(&mut body).await, Some(Err(Broken::Connection(None))));
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_most_is_left_to_come() {
    let mut body = chunks().now("abc").now("def").now("ghi").patient();

    let collected = body.collect(5, &mut Held::default()).await.unwrap();

    assert_eq!(collected, Collected { bytes: "abcdef".into(), left: Left::TooLong });
    assert_eq!(next(&mut body).await, Some(Ok("ghi".into())));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_one_chunk_is_collected_without_a_copy() {
    let data = Bytes::from(b"only".to_vec());

    let collected = chunks().now(data.clone()).patient().collect(100, &mut Held::default()).await.unwrap();

    assert_eq!(collected.bytes.as_ptr(), data.as_ptr());
}
