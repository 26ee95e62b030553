use std::time::Duration;

use super::*;
use crate::testing::body::chunks;
use crate::testing::ports::{Door, Visits};
use crate::testing::reply::whole;
use crate::testing::{Chunks, Scripted, catalog, mount};

type Inner = Scripted<Admitted<Chunks>>;

fn layer() -> AuthLayer {
    leaving(&Arc::new(Visits::default()))
}

fn leaving(visits: &Arc<Visits>) -> AuthLayer {
    AuthLayer::new(Arc::new(Door(catalog().knows("m").build())), visits.clone())
}

fn request(key: &str, body: Chunks) -> http::Request<Chunks> {
    http::Request::post("/v1/chat/completions")
        .header("authorization", format!("Bearer {key}"))
        .body(body)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_known_key_goes_on_with_its_caller_and_its_configuration() {
    let inner = Inner::new().answers(whole("ok"));
    tokio::time::advance(Duration::from_secs(5)).await;
    let now = Instant::now();

    mount(layer(), &inner).ask(request("sk-test", chunks())).await.unwrap();

    let admitted = inner.request();
    assert_eq!((&*admitted.caller.alias, admitted.received), ("caller", now));
    assert!(admitted.catalog.known_model("m").is_some());
    assert_eq!(admitted.request.uri().path(), "/v1/chat/completions");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_refused_before_any_of_its_body_is_read() {
    let inner = Inner::new();
    let body = chunks().now("{}").hangs();
    let traces = body.traces();

    let failure = mount(layer(), &inner).ask(request("sk-other", body)).await.unwrap_err();

    assert_eq!((failure.status().as_u16(), inner.calls(), traces.read()), (401, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_key_is_refused() {
    let request = http::Request::post("/v1/chat/completions").body(chunks()).unwrap();

    let failure = mount(layer(), &Inner::new()).ask(request).await.unwrap_err();

    assert!(matches!(failure, Failure::Unauthenticated), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_leaves_one_visit_with_what_stands_for_the_key_and_a_caller_none() {
    let visits = Arc::new(Visits::default());
    let mut auth = mount(leaving(&visits), &Inner::new().answers(whole("ok")));

    auth.ask(request("sk-test", chunks())).await.unwrap();
    assert_eq!(visits.0.count(), 0);
    auth.ask(request("sk-other", chunks())).await.unwrap_err();

    let [visit] = &visits.0.take()[..] else { panic!("one visit") };
    assert_eq!((visit.outcome(), &*visit.path), ("unauthenticated", "/v1/chat/completions"));
    assert_eq!(visit.unknown_key.as_ref().map(|key| key.as_str()), Some("8 letters"));
}
