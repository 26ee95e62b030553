use std::time::Duration;

use dialect::Sighting;
use dialect::ir::FinishReason;

use super::*;
use crate::testing::failures::broken;
use crate::testing::reply::{erred, finished, piece, said, terminal, whole, whole_seen};
use crate::testing::stage::ExchangeBuilder;
use crate::testing::{Scripted, call, catalog, exchange, mount, pieces, read, target, wire};

type Calls = Scripted<Call>;

fn triggered(texts: &[&str]) -> ExchangeBuilder {
    exchange().catalog(catalog().triggers(texts).build())
}

async fn run(exchange: ExchangeBuilder, reply: Reply) -> Result<Reply, Failure> {
    let calls = Calls::new().answers(reply);
    mount(ErrorTriggerLayer, &calls).ask(call(exchange.shared(), target("a").build()).build()).await
}

/// `ok`, or what the answer is refused with.
async fn verdict(exchange: ExchangeBuilder, reply: Reply) -> &'static str {
    run(exchange, reply).await.map_or_else(|failure| failure.label(), |_| "ok")
}

/// A whole answer that says nothing, but is one.
fn nothing() -> Reply {
    whole_seen("{}", Sighting { done: true, ..Sighting::machinery() })
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_content_passes_untouched() {
    let reply = run(exchange(), whole("hello")).await.unwrap();

    assert_eq!(read(reply.into_body()).await.text, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_without_content_is_a_failure() {
    assert_eq!(verdict(exchange(), nothing()).await, "empty_answer");
}

#[tokio::test(start_paused = true)]
async fn nothing_more_to_say_is_an_answer_where_it_has_a_reason() {
    let prefilled = serde_json::json!({ "messages": [
        { "role": "user", "content": "hi" }, { "role": "assistant", "content": "hello" },
    ] });

    assert_eq!(verdict(exchange().fields(prefilled), nothing()).await, "ok");
    assert_eq!(verdict(exchange().judging("text"), nothing()).await, "ok");
    let cut = whole_seen("{}", finished(FinishReason::ContentFilter));
    assert_eq!(verdict(exchange(), cut).await, "ok");
    let stopped = whole_seen("{}", finished(FinishReason::Stop));
    assert_eq!(verdict(exchange(), stopped).await, "empty_answer");
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_a_success_is_judged_like_a_refusal() {
    for (status, label) in
        [(429, "upstream_rate_limited"), (500, "upstream_error"), (400, "upstream_client_error")]
    {
        assert_eq!(verdict(exchange(), whole_seen("{}", erred(status, "no"))).await, label);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trigger_is_found_in_the_text_and_in_the_raw_body() {
    let raw = || whole_seen(r#"{"note":"quota reached"}"#, said("fine"));

    assert_eq!(
        verdict(triggered(&["quota reached"]), whole("your quota reached its end")).await,
        "error_trigger"
    );
    assert_eq!(verdict(triggered(&["quota reached"]), raw()).await, "error_trigger");
    assert_eq!(verdict(triggered(&["something else"]), raw()).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_accepted_at_its_first_content_and_loses_nothing_of_its_opening() {
    let body = pieces()
        .hums("role\n")
        .says_after(Duration::from_secs(4), "one\n")
        .says_after(Duration::from_secs(60), "two\n");
    let began = Instant::now();
    let exchange = exchange().stream().shared();
    let calls = Calls::new().answers(body.reply());
    let call = call(exchange.clone(), target("a").build()).build();

    let reply = mount(ErrorTriggerLayer, &calls).ask(call).await.unwrap();

    assert_eq!(began.elapsed().as_secs(), 4);
    assert_eq!(exchange.ledger.entry().waited.as_secs(), 4);
    assert_eq!(read(reply.into_body()).await.pieces, ["role\n", "one\n", "two\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_errs_ends_or_breaks_before_content_is_a_failure() {
    let erring = pieces().hums("role").gives(piece("e", erred(429, "slow down")));
    let ending = pieces().hums("role").gives(piece("d", terminal()));
    let breaking = pieces().hums("role").fails(broken());
    let cases = [
        (erring, "upstream_rate_limited"),
        (ending, "empty_answer"),
        (breaking, "connection_broken"),
        (pieces(), "empty_answer"),
    ];
    for (body, label) in cases {
        assert_eq!(verdict(exchange().stream(), body.reply()).await, label);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_after_content_is_told_in_the_stream_in_the_client_s_dialect() {
    let body = pieces()
        .in_dialect(dialect::Dialect::OpenAiChat)
        .says("one\n\n")
        .fails_after(Duration::from_secs(1), broken());

    let reply = run(exchange().stream(), body.reply()).await.unwrap();

    let told = wire(reply.into_body()).await.unwrap();
    assert!(told.starts_with("one\n\ndata: {\"error\"") && !told.contains("[DONE]"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_spans_two_events_of_the_opening_is_found() {
    let body = pieces().says("quota ").says("reached");

    assert_eq!(verdict(triggered(&["quota reached"]).stream(), body.reply()).await, "error_trigger");
}

#[tokio::test(start_paused = true)]
async fn the_key_is_in_no_error_that_an_event_told() {
    let erring = whole_seen("{}", erred(400, "bad key sk-provider-key"));

    let failure = run(exchange(), erring).await.unwrap_err();

    assert!(!format!("{failure:?}").contains("sk-provider-key"), "{failure:?}");
}
