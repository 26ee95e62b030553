use super::*;
use crate::testing::failures::refused;
use crate::testing::reply::whole;
use crate::testing::stage::ExchangeBuilder;
use crate::testing::{Scripted, exchange, mount, pieces, read, route, routed, target, wire};

type Inner = Scripted<Routed>;

const COMMENT: &str = ": keepalive\n\n";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A request over a route with an interval of ten seconds.
fn every_ten(exchange: ExchangeBuilder) -> Routed {
    routed(exchange.shared(), route([target("a").build()]).keepalive(seconds(10)).build())
}

async fn run(inner: &Inner, routed: Routed) -> Result<Reply, Failure> {
    mount(KeepaliveLayer, inner).ask(routed).await
}

#[tokio::test(start_paused = true)]
async fn the_first_comment_goes_out_after_one_interval_and_commits_the_status_only() {
    let inner = Inner::new().after(seconds(25), Ok(pieces().says("data: late\n\n").reply()));
    let began = Instant::now();

    let reply = run(&inner, every_ten(exchange().stream())).await.unwrap();

    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    assert_eq!(reply.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(read(reply.into_body()).await.pieces, [COMMENT, COMMENT, "data: late\n\n"]);
}

#[tokio::test(start_paused = true)]
async fn behind_the_first_comment_the_request_goes_on() {
    let inner = Inner::new().after(seconds(295), Ok(pieces().says("data: b\n\n").reply()));

    let reply = run(&inner, every_ten(exchange().stream())).await.unwrap();

    assert_eq!(inner.abandoned(), 0, "the comment ends nothing");
    let told = read(reply.into_body()).await;
    assert_eq!((told.pieces.len(), told.pieces.last().map(String::as_str)), (30, Some("data: b\n\n")));
}

#[tokio::test(start_paused = true)]
async fn when_all_channels_fail_behind_a_comment_the_stream_says_so_without_a_terminal_marker() {
    let inner = Inner::new().after(seconds(15), Err(refused(503)));

    let reply = run(&inner, every_ten(exchange().stream())).await.unwrap();
    let told = wire(reply.into_body()).await.unwrap();

    let error = told.strip_prefix(COMMENT).unwrap();
    assert!(error.starts_with("data: {\"error\"") && error.ends_with("\n\n"), "{error}");
    assert!(!told.contains("[DONE]"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_within_the_interval_keeps_its_own_status() {
    let inner = Inner::new().after(seconds(9), Err(refused(503)));

    let failure = run(&inner, every_ten(exchange().stream())).await.unwrap_err();

    assert_eq!(failure.status().as_u16(), 503);
}

#[tokio::test(start_paused = true)]
async fn later_silences_are_filled_and_each_event_starts_the_interval_anew() {
    let body = pieces()
        .in_dialect(Dialect::OpenAiChat)
        .says("one\n\n")
        .says_after(seconds(9), "two\n\n")
        .says_after(seconds(21), "three\n\n");
    let inner = Inner::new().answers(body.reply());

    let reply = run(&inner, every_ten(exchange().stream())).await.unwrap();

    assert_eq!(read(reply.into_body()).await.pieces, ["one\n\n", "two\n\n", COMMENT, COMMENT, "three\n\n"]);
}

#[tokio::test(start_paused = true)]
async fn no_comment_lands_inside_a_torn_event() {
    let body = pieces()
        .in_dialect(Dialect::OpenAiChat)
        .tears("data: to")
        .says_after(seconds(35), "rn\n\n")
        .says_after(seconds(15), "end\n\n");
    let inner = Inner::new().answers(body.reply());

    let reply = run(&inner, every_ten(exchange().stream())).await.unwrap();

    assert_eq!(read(reply.into_body()).await.pieces, ["data: to", "rn\n\n", COMMENT, "end\n\n"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_or_an_interval_it_waits_in_silence() {
    let silent = routed(exchange().stream().shared(), route([target("a").build()]).build());
    for routed in [every_ten(exchange()), silent] {
        let inner = Inner::new().after(seconds(50), Ok(whole("late")));
        let began = Instant::now();

        let reply = run(&inner, routed).await.unwrap();

        assert_eq!((read(reply.into_body()).await.text.as_str(), began.elapsed().as_secs()), ("late", 50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_behind_a_comment_takes_the_request_with_it() {
    let inner = Inner::new().hangs();
    let reply = run(&inner, every_ten(exchange().stream())).await.unwrap();

    drop(reply);

    assert_eq!(inner.abandoned(), 1);
}
