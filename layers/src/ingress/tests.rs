//! The layer, mounted over a scripted inner service.

use std::time::Duration;

use crate::testing::failures;
use crate::testing::ports::Visits;
use crate::testing::reply::whole;
use crate::testing::stage::{admitted, asked, body_of, conversation_of, kept_headers};
use crate::testing::{Chunks, Scripted, catalog, chunks, mount};

use super::*;

type Inner = Scripted<Exchange>;

const BODY: &str = r#"{"model":"m","stream":true,"messages":[]}"#;
const MOST: usize = 100;

fn post(body: Chunks) -> http::Request<Chunks> {
    http::Request::post("/v1/chat/completions").body(body).unwrap()
}

/// Asks the layer, with room for `MOST` bytes in a body.
async fn run(
    inner: &Inner,
    capacity: &Arc<Capacity>,
    request: http::Request<Chunks>,
) -> Result<Reply, Failure> {
    let catalog = catalog().knows("m").forwards("x-wanted").build();
    let visits = Arc::new(Visits::default());
    let layer = IngressLayer::new(capacity.clone(), MOST, visits.clone());
    let asked = inner.calls();
    let result = mount(layer, inner).ask(admitted(request, catalog)).await;
    // What the layer refuses leaves one visit, and nothing else does.
    let refused = result.as_ref().err().filter(|_| inner.calls() == asked);
    assert_eq!(visits.take(), refused.iter().map(|failure| (failure.label(), true)).collect::<Vec<_>>());
    result
}

fn roomy() -> Arc<Capacity> {
    Capacity::new(1, 1 << 20)
}

/// What a body is refused with, nobody being asked.
async fn refused(body: Chunks) -> &'static str {
    let (inner, capacity) = (Inner::new(), roomy());
    let failure = run(&inner, &capacity, post(body)).await.unwrap_err();
    assert_eq!((inner.calls(), capacity.bytes()), (0, 0), "nothing is asked, nothing stays held");
    failure.label()
}

#[tokio::test(start_paused = true)]
async fn a_body_in_one_piece_goes_on_as_it_came() {
    let inner = Inner::new().answers(whole("ok"));

    run(&inner, &roomy(), post(chunks().now(BODY))).await.unwrap();

    let exchange = inner.request();
    assert_eq!(asked(&exchange), ("m", true, r#""m""#));
    assert_eq!(body_of(&exchange), BODY);
    let entry = exchange.ledger.entry();
    assert_eq!((entry.body_bytes, entry.stream, entry.model_known), (BODY.len(), true, true));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_slow_pieces_is_joined() {
    let inner = Inner::new().answers(whole("ok"));
    let pause = Duration::from_secs(29);
    let body = chunks().now(&BODY[..5]).after(pause, &BODY[5..20]).trailers().after(pause, &BODY[20..]);

    run(&inner, &roomy(), post(body)).await.unwrap();

    assert_eq!(body_of(&inner.request()), BODY);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_refused_also_when_it_only_says_so() {
    let announced = chunks().announcing(MOST as u64 + 1).now(BODY).hangs();
    let traces = announced.traces();

    assert_eq!(refused(announced).await, "body_too_large");
    assert_eq!(traces.read(), 0, "on the client's word alone");
    assert_eq!(refused(chunks().now(" ".repeat(MOST)).now("{}")).await, "body_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_left_after_thirty_seconds() {
    let began = Instant::now();

    assert_eq!(refused(chunks().now("{").hangs()).await, "body_timeout");

    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_left_after_ten_minutes() {
    let began = Instant::now();
    let drops = (0..60).fold(chunks(), |body, _| body.after(Duration::from_secs(29), " "));

    assert_eq!(refused(drops).await, "body_timeout");

    assert_eq!(began.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_within_its_body_is_gone() {
    assert_eq!(refused(chunks().now(&BODY[..9]).breaks()).await, "client_gone");
    assert_eq!(refused(chunks().after(Duration::from_secs(1), &BODY[..9]).breaks()).await, "client_gone");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_read_or_names_two_models_is_refused() {
    assert_eq!(refused(chunks().now("not JSON")).await, "invalid_request");
    assert_eq!(refused(chunks().now(&BODY[..BODY.len() - 1])).await, "invalid_request");
    assert_eq!(refused(chunks().now(r#"{"model":"a","model":"m"}"#)).await, "invalid_request");
    assert_eq!(refused(chunks()).await, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn bytes_are_held_as_long_as_the_exchange_and_a_full_budget_refuses() {
    let capacity = Capacity::new(1, BODY.len() + 5);
    let inner = Inner::new().answers(whole("ok"));
    run(&inner, &capacity, post(chunks().now(BODY))).await.unwrap();
    assert_eq!(capacity.bytes(), BODY.len());

    let failure = run(&inner, &capacity, post(chunks().now(BODY))).await.unwrap_err();

    assert!(matches!(failure, Failure::Overloaded), "{failure:?}");
    drop(inner.requests());
    assert_eq!(capacity.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn other_paths_and_methods_are_refused_unread() {
    for (request, label) in [
        (http::Request::post("/v1/nothing"), "unknown_endpoint"),
        (http::Request::get("/v1/chat/completions"), "method_not_allowed"),
    ] {
        let body = chunks().now(BODY);
        let traces = body.traces();

        let failure = run(&Inner::new(), &roomy(), request.body(body).unwrap()).await.unwrap_err();

        assert_eq!((failure.label(), traces.read()), (label, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn only_headers_of_dialects_and_those_that_channels_want_are_kept() {
    let inner = Inner::new().answers(whole("ok"));
    let mut request = post(chunks().now(BODY));
    for name in ["openai-organization", "anthropic-beta", "x-wanted", "cookie", "authorization", "x-other"] {
        request.headers_mut().insert(name, "value".parse().unwrap());
    }

    run(&inner, &roomy(), request).await.unwrap();

    let exchange = inner.request();
    assert_eq!(kept_headers(&exchange), ["anthropic-beta", "openai-organization", "x-wanted"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_model_goes_on_and_is_known_to_be_unknown() {
    let inner = Inner::new().answers(whole("ok"));

    run(&inner, &roomy(), post(chunks().now(r#"{"model":"other"}"#))).await.unwrap();

    let exchange = inner.request();
    assert_eq!(asked(&exchange).0, "other");
    assert!(!exchange.ledger.entry().model_known);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_within_its_body_leaves_one_visit() {
    let visits = Arc::new(Visits::default());
    let layer = IngressLayer::new(roomy(), MOST, visits.clone());
    let request = admitted(post(chunks().now("{").hangs()), catalog().build());
    let mut ingress = mount(layer, &Inner::new());

    assert!(tokio::time::timeout(Duration::from_secs(3), ingress.ask(request)).await.is_err());

    let [visit] = &visits.0.take()[..] else { panic!("one visit") };
    assert_eq!((visit.outcome(), visit.elapsed.as_secs()), ("client_gone", 3));
    assert_eq!(visit.endpoint.map(|endpoint| endpoint.label), Some("POST /v1/chat/completions"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_from_further_in_leaves_no_visit() {
    let inner = Inner::new().fails(failures::refused(503));

    let failure = run(&inner, &roomy(), post(chunks().now(BODY))).await.unwrap_err();

    assert_eq!(failure.label(), "upstream_error", "its record is the ledger's");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_client_takes_to_send_its_body_is_not_ours() {
    let inner = Inner::new().answers(whole("ok"));
    let body = chunks().now(&BODY[..5]).after(Duration::from_secs(9), &BODY[5..]);

    run(&inner, &roomy(), post(body)).await.unwrap();

    assert_eq!(inner.request().ledger.entry().waited.as_secs(), 9);
}

/// The conversation that a request is taken for, by a caller of this affinity.
async fn conversation(
    affinity: crate::policy::Affinity,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<u64> {
    let inner = Inner::new().answers(whole("ok"));
    let mut request = post(chunks().now(body.to_owned()));
    for (name, value) in headers {
        let name = http::HeaderName::try_from(*name).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let mut admitted = admitted(request, catalog().knows("m").build());
    admitted.caller = crate::testing::caller().affinity(affinity).build();
    let layer = IngressLayer::new(roomy(), 1000, Arc::new(Visits::default()));
    mount(layer, &inner).ask(admitted).await.unwrap();
    conversation_of(&inner.request()).map(|conversation| conversation.name)
}

#[tokio::test(start_paused = true)]
async fn a_header_of_an_agent_names_the_conversation_before_the_body_does() {
    use crate::policy::Affinity::{Named, Off};
    let body = r#"{"model":"m","prompt_cache_key":"b","messages":[]}"#;
    let name = |name: &str| Some(conversation::name_of(name.as_bytes()));

    for header in ["x-claude-code-session-id", "session_id", "conversation_id", "x-session-id"] {
        assert_eq!(conversation(Named, &[(header, "h")], body).await, name("h"), "{header}");
    }
    assert_eq!(conversation(Named, &[("x-other", "h")], body).await, name("b"));
    assert_eq!(conversation(Named, &[("session_id", "")], body).await, name("b"));
    assert_eq!(conversation(Off, &[("session_id", "h")], body).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_without_a_name_is_known_by_its_beginning_where_the_key_asks_for_it() {
    use crate::policy::Affinity::{Named, Prefix};
    let body = |more: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}{more}]}}"#);
    let later = body(r#",{"role":"assistant","content":"x"},{"role":"user","content":"y"}"#);

    let begun = conversation(Prefix, &[], &body("")).await;

    assert!(begun.is_some());
    assert_eq!(conversation(Prefix, &[], &later).await, begun);
    assert_eq!(conversation(Named, &[], &later).await, None);
    let named = conversation(Prefix, &[("session_id", "h")], &later).await;
    assert_eq!(named, Some(conversation::name_of(b"h")));
}
