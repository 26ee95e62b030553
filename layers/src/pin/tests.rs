use std::time::Duration;

use dialect::{Dialect, Kind};
use http::Method;
use tokio::time::Instant;
use tower::ServiceBuilder;

use super::*;
use crate::endpoint::{AnswerForm, Endpoint, RequestForm};
use crate::failover::FailoverLayer;
use crate::lease::LeaseKeyLayer;
use crate::observe::ObserveLayer;
use crate::ports::Catalog;
use crate::resolve::ResolveLayer;
use crate::stage::Call;
use crate::testing::failures::refused;
use crate::testing::handles::ScriptedKeys;
use crate::testing::policy::{channel, secret, target_of};
use crate::testing::ports::{ScriptedAllowances, ScriptedPins, no_homes};
use crate::testing::reply::{named, piece, whole, whole_seen};
use crate::testing::stage::{ExchangeBuilder, key_of};
use crate::testing::{Read, Scripted, caller, catalog, exchange, mount, pieces, read, route, target};

type Exchanges = Scripted<Exchange>;

static READ: Endpoint = Endpoint {
    label: "GET /v1/things/{id}",
    method: Method::GET,
    path: "/v1/things/{id}",
    kind: Kind::Stored,
    client: Dialect::OpenAiChat,
    request: RequestForm::Nothing,
    answer: AnswerForm::Json,
    may_be_empty: true,
    keeps: false,
};
static CREATE: Endpoint = Endpoint {
    label: "POST /v1/things",
    method: Method::POST,
    path: "/v1/things",
    kind: Kind::Chat,
    client: Dialect::OpenAiChat,
    request: RequestForm::Json,
    answer: AnswerForm::AsAsked,
    may_be_empty: true,
    keeps: true,
};

/// Made on channel `a` with the second of its keys.
fn pin() -> Pin {
    let key = Some(secret("sk-two").fingerprint().clone());
    Pin { channel: "a".into(), place: None, model: "m".into(), key }
}

fn known() -> ScriptedPins {
    ScriptedPins::default().with(&caller().build(), "t_1", pin())
}

fn reads(id: &str) -> ExchangeBuilder {
    exchange().endpoint(&READ).model("").naming(id)
}

/// A configuration in which channel `a` has two keys and what `pin` names, beside channel `b`.
fn world(keys: &Arc<ScriptedKeys>) -> Arc<dyn Catalog> {
    let a = target_of(channel("a").keys(keys.clone()).build()).build();
    let pinned = route([a.clone()]).build();
    catalog().route("m", route([a, target("b").build()]).build()).pinned("a", "m", pinned).build()
}

/// The layers from `pin` to `lease`, over these upstreams.
async fn run(
    stored: &Arc<ScriptedPins>,
    calls: &Scripted<Call>,
    exchange: Exchange,
) -> Result<Reply, Failure> {
    let stack = ServiceBuilder::new()
        .layer(PinLayer::new(stored.clone()))
        .layer(ResolveLayer::new(no_homes()))
        .layer(FailoverLayer::new(ScriptedAllowances::open(), no_homes()))
        .layer(ObserveLayer)
        .layer(LeaseKeyLayer);
    mount(stack, calls).ask(exchange).await
}

fn two_keys() -> Arc<ScriptedKeys> {
    ScriptedKeys::of(&["sk-one", "sk-two"])
}

/// Which keys the calls carried.
fn keys_of(calls: &Scripted<Call>) -> Vec<String> {
    calls.requests().iter().map(|call| key_of(call).unwrap_or_default().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_names_nothing_passes_and_nobody_is_asked_about_it() {
    let stored = Arc::new(ScriptedPins::default().shared());
    let inner = Exchanges::new().answers(whole("ok"));
    let began = Instant::now();

    mount(PinLayer::new(stored.clone()), &inner).ask(exchange().build()).await.unwrap();

    assert!(inner.request().pin().is_none());
    assert_eq!((began.elapsed(), stored.kept.count()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn a_named_object_is_asked_for_where_it_is_with_its_key() {
    for stored in [known(), known().shared()] {
        let (keys, calls) = (two_keys(), Scripted::new().answers(whole("the thing")));

        let reply = run(&Arc::new(stored), &calls, reads("t_1").catalog(world(&keys)).build()).await.unwrap();

        assert_eq!(read(reply.into_body()).await.text, "the thing");
        assert_eq!(keys_of(&calls), ["sk-two"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_unknown_or_another_caller_s_is_404_and_is_not_sent() {
    let somebody = caller().fingerprint("ffffffffffffffff").build();
    for exchange in [reads("t_2"), reads("t_1").caller(somebody)] {
        let calls = Scripted::new();

        let failure =
            run(&Arc::new(known()), &calls, exchange.catalog(world(&two_keys())).build()).await.unwrap_err();

        assert_eq!((failure.label(), failure.status().as_u16()), ("stored_not_found", 404));
        assert_eq!(failure.to_wire().code.as_deref(), Some("not_found"));
        assert_eq!(calls.calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_channel_or_key_is_gone_is_404_and_is_not_sent() {
    let gone = catalog().route("m", route([target("a").build()]).build()).build();
    for world in [gone, world(&ScriptedKeys::of(&["sk-one", "sk-three"]))] {
        let calls = Scripted::new();

        let failure = run(&Arc::new(known()), &calls, reads("t_1").catalog(world).build()).await.unwrap_err();

        assert_eq!((failure.label(), calls.calls()), ("stored_not_found", 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cools_is_waited_for_and_no_other_one_takes_its_place() {
    let (keys, calls) = (ScriptedKeys::cooling(Duration::from_secs(9)), Scripted::new());

    let failure =
        run(&Arc::new(known()), &calls, reads("t_1").catalog(world(&keys)).build()).await.unwrap_err();

    assert_eq!((failure.label(), failure.retry_after()), ("keys_exhausted", Some(Duration::from_secs(9))));
    assert_eq!(calls.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_key_tries_neither_another_key_nor_another_channel() {
    for status in [401, 429, 404] {
        let (keys, calls) = (two_keys(), Scripted::new().fails(refused(status)));

        run(&Arc::new(known()), &calls, reads("t_1").catalog(world(&keys)).build()).await.unwrap_err();

        assert_eq!(keys_of(&calls), ["sk-two"], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_creates_is_kept_with_the_key_that_served() {
    let answers: [fn() -> Reply; 2] = [
        || whole_seen("made", named("t_9")),
        || {
            pieces()
                .says("made")
                .gives(piece("", named("t_9")))
                .says("more")
                .gives(piece("", named("t_10")))
                .reply()
        },
    ];
    for answer in answers {
        let stored = Arc::new(ScriptedPins::default());
        // The first key is refused, so the second one serves.
        let (keys, calls) = (two_keys(), Scripted::new().fails(refused(401)).answers(answer()));
        let asked = exchange().endpoint(&CREATE).catalog(world(&keys)).build();
        let of = asked.caller.fingerprint.clone();

        let reply = run(&stored, &calls, asked).await.unwrap();
        assert_eq!(stored.kept.count(), 0, "before its name was told");
        let Read { failure, .. } = read(reply.into_body()).await;

        assert!(failure.is_none());
        assert_eq!(stored.kept.all(), [(of, "t_9".to_owned(), pin())]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_keeps_nothing_and_an_answer_that_is_refused_leave_no_pin() {
    let stored = Arc::new(ScriptedPins::default());
    let calls = Scripted::new().answers(whole_seen("said", named("t_9"))).fails(refused(400));
    let world = world(&two_keys());

    let reply = run(&stored, &calls, exchange().catalog(world.clone()).build()).await.unwrap();
    read(reply.into_body()).await;
    let refused = exchange().endpoint(&CREATE).catalog(world).build();
    run(&stored, &calls, refused).await.unwrap_err();

    assert_eq!((calls.calls(), stored.kept.count()), (2, 0));
}
