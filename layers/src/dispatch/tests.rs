use std::sync::Arc;
use std::time::Duration;

use dialect::Dialect;
use http::StatusCode;

use super::*;
use crate::ledger::{AttemptRecord, Traced};
use crate::policy::{Channel, Target};
use crate::testing::handles::{FixedProvider, ScriptedTokens};
use crate::testing::policy::{channel, target_of};
use crate::testing::stage::{ExchangeBuilder, leaves_uncopied, leaving};
use crate::testing::{Scripted, call, chunks, exchange, mount, target};
use crate::trace_context::Trace;

/// The pooled client.
type Client = Scripted<Outgoing, Response<UpstreamBody>, TransportFault>;

fn client() -> Client {
    Client::new()
}

fn fine() -> Response<UpstreamBody> {
    chunks().now("{}").answer(200, "application/json")
}

async fn run(client: &Client, call: Call) -> Result<StatusCode, Failure> {
    Ok(mount(DispatchLayer, client).ask(call).await?.status())
}

/// The headers that go out for this exchange to this channel.
async fn headers_to(channel: Arc<Channel>, exchange: ExchangeBuilder) -> HeaderMap {
    let client = client().answers(fine());
    run(&client, call(exchange.shared(), target_of(channel).build()).build()).await.unwrap();
    client.request().request.headers().clone()
}

fn to(target: Arc<Target>) -> Call {
    call(exchange().shared(), target).build()
}

#[tokio::test(start_paused = true)]
async fn the_body_goes_to_the_provider_s_address_with_the_key() {
    let client = client().answers(fine());
    let call = call(exchange().shared(), target("a").build()).bytes(&[r#"{"model":"#, r#""x"}"#]).build();

    run(&client, call).await.unwrap();

    let outgoing = client.request();
    assert_eq!(leaving(&outgoing), r#"{"model":"x"}"#);
    let sent = outgoing.request;
    assert_eq!((sent.method(), sent.uri().host()), (&http::Method::POST, Some("a.test")));
    assert_eq!(sent.headers()["authorization"], "Bearer sk-provider-key");
}

#[tokio::test(start_paused = true)]
async fn an_untouched_body_is_the_client_s_own_memory() {
    let client = client().answers(fine());
    let exchange = exchange().shared();

    run(&client, call(exchange.clone(), target("a").build()).build()).await.unwrap();

    assert!(leaves_uncopied(&client.request(), &exchange));
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_repeated_once_and_only_once_on_one_opened_since() {
    let fresh = client().after(Duration::from_secs(1), Err(TransportKind::Stale.into())).answers(fine());
    let began = Instant::now();
    assert!(run(&fresh, to(target("a").build())).await.is_ok());
    let since: Vec<_> = fresh.requests().iter().map(|outgoing| outgoing.fresh_since).collect();
    assert_eq!(since, [None, Some(began)], "what was open when the first was sent will not do");

    let stale = client().fails(TransportKind::Stale).fails(TransportKind::Stale);
    let failure = run(&stale, to(target("a").build())).await.unwrap_err();

    assert_eq!((failure.label(), stale.calls()), ("connection_broken", 2));
}

#[tokio::test(start_paused = true)]
async fn other_faults_of_a_connection_are_not_repeated() {
    for kind in [TransportKind::Broken, TransportKind::Connect, TransportKind::ProxyRefused] {
        let client = client().fails(kind);

        run(&client, to(target("a").build())).await.unwrap_err();

        assert_eq!(client.calls(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_do_not_come_within_one_silence_are_a_timeout() {
    let exchange = exchange().shared();
    let target = target("a").limits(7, 600, 3600).build();
    let began = Instant::now();

    let failure = run(&client().hangs(), call(exchange.clone(), target).build()).await.unwrap_err();

    assert_eq!((failure.label(), began.elapsed().as_secs()), ("timeout", 7));
    assert_eq!(exchange.ledger.entry().waited.as_secs(), 7, "the wait was the upstream's");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_has_the_whole_silence_again() {
    let six = Duration::from_secs(6);
    let client = client().after(six, Err(TransportKind::Stale.into())).after(six, Ok(fine()));

    assert!(run(&client, to(target("a").limits(7, 600, 3600).build())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn of_the_client_s_headers_only_those_of_the_upstream_s_dialect_go_up() {
    let asking = || {
        exchange()
            .header("openai-organization", "org")
            .header("anthropic-beta", "beta")
            .header("anthropic-version", "2024-01-01")
            .header("anthropic-new", "new")
            .header("cookie", "secret")
            .header("x-other", "other")
    };

    let same = headers_to(channel("a").build(), asking()).await;
    let other = headers_to(channel("a").dialect(Dialect::Anthropic).build(), asking()).await;

    assert_eq!(same["openai-organization"], "org");
    assert_eq!(same["anthropic-beta"], "beta");
    assert!(!other.contains_key("openai-organization") && !same.contains_key("anthropic-new"));
    for (name, value) in
        [("anthropic-beta", "beta"), ("anthropic-version", "2024-01-01"), ("anthropic-new", "new")]
    {
        assert_eq!(other[name], value, "an OpenAI SDK can add it");
    }
    for sent in [same, other] {
        assert!(!sent.contains_key("cookie") && !sent.contains_key("x-other"));
    }
}

#[tokio::test(start_paused = true)]
async fn features_in_test_of_the_client_and_the_channel_are_joined_each_once() {
    let configured = || channel("a").dialect(Dialect::Anthropic).header("anthropic-beta", "c-1, b-1");
    let asking = || exchange().header("anthropic-beta", "b-1,a-1").header("anthropic-beta", " d-1");

    let joined = headers_to(configured().build(), asking()).await;
    let configured_only = headers_to(configured().build(), exchange()).await;
    let client_only = headers_to(channel("a").dialect(Dialect::Anthropic).build(), asking()).await;
    let elsewhere = headers_to(configured().takes_betas_in_the_body().build(), asking()).await;

    assert_eq!(joined.get_all("anthropic-beta").iter().collect::<Vec<_>>(), ["b-1,a-1,d-1,c-1"]);
    assert_eq!(configured_only["anthropic-beta"], "c-1, b-1");
    assert_eq!(client_only.get_all("anthropic-beta").iter().collect::<Vec<_>>(), ["b-1,a-1", " d-1"]);
    assert!(!elsewhere.contains_key("anthropic-beta"));
}

#[tokio::test(start_paused = true)]
async fn of_a_client_s_features_in_test_a_strict_provider_is_named_those_that_it_knows() {
    let strict = || channel("a").dialect(Dialect::Anthropic).knows_flags(&["b-", "x-"]);
    let asking = |flags| exchange().header("anthropic-beta", flags);

    let some = headers_to(strict().build(), asking("a-1, b-2")).await;
    let none = headers_to(strict().build(), asking("a-1")).await;
    let own = headers_to(strict().header("anthropic-beta", "o-1").build(), asking("a-1,x-1")).await;

    assert_eq!(some["anthropic-beta"], "b-2");
    assert!(!none.contains_key("anthropic-beta"));
    assert_eq!(own["anthropic-beta"], "x-1,o-1", "what the channel names is the operator's business");
}

#[tokio::test(start_paused = true)]
async fn configured_headers_win_over_generated_ones_and_over_the_client_s() {
    let provider = FixedProvider::at("https://a.test/").header("x-version", "generated");
    let channel = channel("a")
        .provider(Arc::new(provider))
        .header("x-version", "configured")
        .header("user-agent", "mine/1")
        .header("openai-organization", "ours");

    let sent = headers_to(channel.build(), exchange().header("openai-organization", "theirs")).await;

    assert_eq!(sent["x-version"], "configured");
    assert_eq!(sent["user-agent"], "mine/1");
    assert_eq!(sent["openai-organization"], "ours");
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_passed_on_replaces_the_configured_one_also_by_its_absence() {
    let channel = || channel("a").header("x-session", "configured").passes("x-session").build();

    let with = headers_to(channel(), exchange().header("x-session", "theirs")).await;
    let without = headers_to(channel(), exchange()).await;

    assert_eq!(with["x-session"], "theirs");
    assert!(!without.contains_key("x-session"));
}

#[tokio::test(start_paused = true)]
async fn answers_are_asked_for_as_they_are_and_as_events_where_events_are_wanted() {
    let plain = headers_to(channel("a").build(), exchange()).await;
    let events = headers_to(channel("a").build(), exchange().stream()).await;

    assert_eq!(plain["accept-encoding"], "identity");
    assert!(!plain.contains_key("accept"));
    assert_eq!(events["accept"], "text/event-stream");
}

#[tokio::test(start_paused = true)]
async fn the_client_is_polled_ready_before_each_call() {
    let client = client().fails(TransportKind::Stale).answers(fine());

    run(&client, to(target("a").build())).await.unwrap();

    assert_eq!((client.polls(), client.calls()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_is_what_is_sent() {
    let provider = Arc::new(FixedProvider::at("https://a.test:8443/ask"));
    let channel = channel("a").provider(provider.clone()).header("x-configured", "1").passes("x-session");
    let exchange = exchange().stream().header("openai-organization", "org").header("x-session", "theirs");
    let client = client().answers(fine());
    let call = call(exchange.shared(), target_of(channel.build()).build())
        .bytes(&["{\"a\":", "1}"])
        .content_type("application/json");

    run(&client, call.build()).await.unwrap();

    let mut seen = provider.signed.take().remove(0);
    let sent = client.request().request;
    let signature = seen.headers.insert("authorization", sent.headers()["authorization"].clone());
    assert_eq!(signature, None, "it signs last");
    assert_eq!(&seen.headers, sent.headers());
    assert_eq!((&seen.uri, seen.body), (sent.uri(), sent.body().concat()));
    for name in
        ["host", "content-type", "accept", "user-agent", "x-configured", "x-session", "openai-organization"]
    {
        assert!(seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_signed_anew() {
    let provider = Arc::new(FixedProvider::at("https://a.test/"));
    let channel = channel("a").provider(provider.clone()).build();
    let client = client().fails(TransportKind::Stale).answers(fine());

    run(&client, to(target_of(channel).build())).await.unwrap();

    assert_eq!(provider.signed.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_outside_every_budget() {
    let refused = || chunks().now("{}").answer(401, "application/json");
    let with = |tokens: &Arc<ScriptedTokens>| {
        call(exchange().shared(), target("a").build())
            .credential(Some(Credential::Token(tokens.clone())))
            .build()
    };
    let (fresh, dead) = (ScriptedTokens::of(&["one", "two"]), ScriptedTokens::of(&["one", "two", "three"]));
    let (forgiving, strict) =
        (client().answers(refused()).answers(fine()), client().answers(refused()).answers(refused()));

    let served = run(&forgiving, with(&fresh)).await.unwrap();
    let rejected = run(&strict, with(&dead)).await.unwrap();

    assert_eq!((served.as_u16(), rejected.as_u16()), (200, 401));
    assert_eq!((fresh.refused.take(), dead.refused.take()), (vec!["one".to_owned()], vec!["one".to_owned()]));
    assert_eq!(forgiving.requests()[1].request.headers()["authorization"], "Bearer two");
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    let client = client();
    let call = call(exchange().shared(), target("a").build())
        .credential(Some(Credential::Token(ScriptedTokens::of(&[]))))
        .build();

    let failure = run(&client, call).await.unwrap_err();

    assert_eq!((failure.label(), client.calls()), ("no_token", 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_is_not_repeated() {
    let client = client().answers(chunks().now("{}").answer(401, "application/json"));

    assert_eq!(run(&client, to(target("a").build())).await.unwrap(), StatusCode::UNAUTHORIZED);
    assert_eq!(client.calls(), 1);
}

const TRACE: Trace = Trace { id: 0xabc, parent: None, span: 0x11, sampled: true };

#[tokio::test(start_paused = true)]
async fn a_channel_that_asks_for_the_trace_is_told_the_span_that_asks_it() {
    let client = client().answers(fine());
    let exchange = exchange().header("traceparent", "of-the-client").traced(TRACE).shared();
    let target = target_of(channel("a").passes("traceparent").build()).build();
    exchange.ledger.entry().attempts.push(AttemptRecord {
        channel: target.channel.name.clone(),
        place: None,
        side_call: None,
        key: None,
        began: Duration::ZERO,
        waited: Duration::ZERO,
        outcome: "client_gone",
        elapsed: Duration::ZERO,
        fault: None,
        traced: Some(Traced::begin(&target)),
    });

    run(&client, call(exchange.clone(), target).build()).await.unwrap();

    let entry = exchange.ledger.entry();
    let traced = entry.attempts[0].traced.as_deref().unwrap();
    let told = format!("00-{:032x}-{:016x}-01", TRACE.id, traced.upstream_span);
    assert_eq!(client.request().request.headers()["traceparent"], told.as_str());
    let sent = traced.sent.as_ref().unwrap();
    assert_eq!((&*sent.host, sent.port, sent.status), ("a.test", Some(443), Some(StatusCode::OK)));
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_is_not_sent_is_handed_on_as_that_and_no_other_channel_is_told_of_any() {
    let unsampled = || exchange().traced(Trace { sampled: false, ..TRACE });

    let asking = headers_to(channel("a").passes("traceparent").build(), unsampled()).await;
    let other = headers_to(channel("a").build(), unsampled().header("traceparent", "of-the-client")).await;

    assert!(asking["traceparent"].to_str().unwrap().ends_with("0011-00"), "{asking:?}");
    assert!(!other.contains_key("traceparent"));
}

#[tokio::test(start_paused = true)]
async fn where_no_spans_are_made_the_client_s_own_trace_goes_through() {
    let exchange = exchange().header("traceparent", "00-of-the-client");

    let headers = headers_to(channel("a").passes("traceparent").build(), exchange).await;

    assert_eq!(headers["traceparent"], "00-of-the-client");
}
