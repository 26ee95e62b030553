use std::sync::Arc;
use std::time::Duration;

use dialect::Dialect;
use serde_json::{Value, json};

use super::*;
use crate::policy::Target;
use crate::stage::Exchange;
use crate::testing::adapters::{anthropic_stream, kept};
use crate::testing::policy::{channel, may_ask_usage, target_of};
use crate::testing::ports::{OnePicture, no_media};
use crate::testing::reply::{completion, delta, done, error_event, role, stop, usage_chunk};
use crate::testing::stage::{ExchangeBuilder, is_parsed, is_untouched, payload, payload_json};
use crate::testing::{Chunks, Scripted, call, chunks, exchange, mount, read, target};

type Upstream = Scripted<Call, Response<Idle>, Failure>;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn answering(body: Chunks, content_type: &str) -> Upstream {
    Upstream::new().answers(body.watched_answer(200, content_type))
}

fn whole() -> Upstream {
    answering(chunks().now(completion("hello")), JSON)
}

async fn run(upstream: &Upstream, exchange: ExchangeBuilder, target: Arc<Target>) -> Result<Reply, Failure> {
    mount(ConvertLayer::new(no_media()), upstream).ask(call(exchange.shared(), target).build()).await
}

/// What goes up.
async fn sent(exchange: ExchangeBuilder, target: Arc<Target>) -> Call {
    let upstream = whole();
    let _ = run(&upstream, exchange, target).await;
    upstream.request()
}

fn anthropic() -> Arc<Target> {
    target_of(channel("a").dialect(Dialect::Anthropic).build()).upstream_model("claude-sonnet-4-5").build()
}

/// A stream of Anthropic's that says `text`.
fn anthropic_events(text: &str) -> String {
    let (opening, texts, ending) = anthropic_stream(&[text]);
    opening + &texts.concat() + &ending
}

/// A whole answer of Anthropic's that says `text`.
fn anthropic_whole(text: &str) -> String {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 5},
    })
    .to_string()
}

#[tokio::test(start_paused = true)]
async fn between_equal_dialects_only_the_name_of_the_model_is_spliced_in() {
    let odd = r#" {"messages":[ ],"model" : "m","own":1.10, "stream":false}"#;

    let call = sent(exchange().body(odd), target("a").build()).await;

    assert_eq!(payload(&call), odd.replace(r#""m""#, r#""up-m""#));
}

#[tokio::test(start_paused = true)]
async fn a_model_of_the_same_name_leaves_the_client_s_bytes_untouched() {
    let call = sent(exchange(), target("a").upstream_model("m").build()).await;

    assert!(is_untouched(&call));
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_spliced_without_a_copy_and_reads_the_same() {
    let text = "x".repeat(100_000);

    let call = sent(exchange().saying(&text), target("a").build()).await;

    let expected = json!({"model": "up-m", "messages": [{"role": "user", "content": text}]});
    assert!(payload_json(&call) == expected);
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_of_the_same_dialect_comes_down_byte_for_byte() {
    let odd = completion("hello").replace('{', "{ ");
    let upstream = answering(chunks().now(odd.clone()), JSON);

    let reply = run(&upstream, exchange(), target("a").build()).await.unwrap();

    assert_eq!(reply.headers()["content-type"], JSON);
    let told = read(reply.into_body()).await;
    assert_eq!(told.text, odd);
    assert_eq!(told.sighting.usage().map(|usage| (usage.input_total, usage.output_total)), Some((3, 5)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_the_same_dialect_comes_down_byte_for_byte_and_is_marked_as_one() {
    let events = [role(), delta("hello"), stop(), done().to_owned()].concat();
    let upstream = answering(chunks().now(events.clone()), EVENTS);

    let reply = run(&upstream, exchange().stream(), target("a").build()).await.unwrap();

    assert_eq!(reply.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(reply.headers()["x-accel-buffering"], "no");
    assert_eq!(read(reply.into_body()).await.text, events);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_overrides_or_a_channel_changes_is_handed_on_parsed() {
    let tools = json!({"tools": [{"type": "function"}], "messages": [{"role": "user", "content": [
        {"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:,"}}]}]});
    let poor = target_of(channel("a").without_tools().without_images().build()).build();

    let merged = sent(exchange(), target("a").overrides(json!({"top_p": 1})).build()).await;
    let stripped = sent(exchange().fields(tools), poor).await;

    assert!(is_parsed(&merged));
    let expected =
        json!({"model": "up-m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    assert_eq!(payload_json(&stripped), expected);
}

#[tokio::test(start_paused = true)]
async fn usage_is_asked_for_where_the_client_did_not_and_its_chunk_is_kept_from_the_client() {
    let asking = target_of(channel("a").asks_usage().build()).build();
    let events = chunks().now(delta("hi")).now(stop()).now(usage_chunk()).now(done());
    let upstream = answering(events, EVENTS);

    let reply = run(&upstream, exchange().stream(), asking).await.unwrap();

    assert_eq!(payload_json(&upstream.request())["stream_options"], json!({"include_usage": true}));
    let told = read(reply.into_body()).await;
    assert_eq!(told.text, [delta("hi"), stop(), done().to_owned()].concat());
    assert!(told.sighting.usage().is_some(), "it is counted all the same");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_usage_itself_gets_its_chunk() {
    let asking = target_of(channel("a").asks_usage().build()).build();
    let fields = json!({"messages": [], "stream_options": {"include_usage": true}});
    let upstream = answering(chunks().now(delta("hi")).now(stop()).now(usage_chunk()).now(done()), EVENTS);

    let reply = run(&upstream, exchange().stream().fields(fields), asking).await.unwrap();

    assert!(read(reply.into_body()).await.text.contains(&usage_chunk()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_our_addition_is_asked_again_without_it_and_the_channel_remembers() {
    let asking = target_of(channel("a").asks_usage().build()).build();
    let refusal = r#"{"error":{"message":"Unknown parameter: stream_options"}}"#;
    let upstream = Upstream::new()
        .answers(chunks().now(refusal).watched_answer(400, JSON))
        .answers(chunks().now(delta("hi")).now(stop()).now(done()).watched_answer(200, EVENTS));

    run(&upstream, exchange().stream(), asking.clone()).await.unwrap();

    let options: Vec<_> =
        upstream.requests().iter().map(|call| payload_json(call).get("stream_options").is_some()).collect();
    assert_eq!(options, [true, false]);
    assert!(!may_ask_usage(&asking.channel));
}

/// How often an upstream that answers like this is asked by two streams, and whether with our
/// addition; and whether it may be asked for usage afterwards.
async fn asked_for_usage(upstream: Upstream, exchange: fn() -> ExchangeBuilder) -> (Vec<bool>, bool) {
    let asking = target_of(channel("a").asks_usage().build()).build();
    for _ in 0..2 {
        let _ = run(&upstream, exchange().stream(), asking.clone()).await;
    }
    let options =
        upstream.requests().iter().map(|call| payload_json(call).get("stream_options").is_some()).collect();
    (options, may_ask_usage(&asking.channel))
}

fn refusing(upstream: Upstream, status: u16, message: &str) -> Upstream {
    let refusal = json!({ "error": { "message": message } }).to_string();
    upstream.answers(chunks().now(refusal).watched_answer(status, JSON))
}

fn streaming(upstream: Upstream) -> Upstream {
    upstream.answers(chunks().now(delta("hello")).now(stop()).now(done()).watched_answer(200, EVENTS))
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_nothing_is_blamed_on_our_addition_only_if_the_request_passes_without() {
    for status in [400, 422] {
        let strict =
            streaming(streaming(refusing(Upstream::new(), status, "extra inputs are not permitted")));
        assert_eq!(asked_for_usage(strict, exchange).await, (vec![true, false, false], false), "{status}");
    }
    let mut odd = Upstream::new();
    for _ in 0..4 {
        odd = refusing(odd, 400, "bad temperature");
    }
    assert_eq!(asked_for_usage(odd, exchange).await, (vec![true, false, true, false], true));
}

#[tokio::test(start_paused = true)]
async fn one_client_s_odd_body_changes_nothing_where_usage_is_understood() {
    let understands = refusing(streaming(Upstream::new()), 400, "bad temperature");

    assert_eq!(asked_for_usage(understands, exchange).await, (vec![true, true], true));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_the_option_s_name_quoted_turns_nothing_off() {
    let quoting = || {
        let message = json!({ "role": "stream_options", "content": "x" });
        exchange().fields(json!({ "messages": [message] }))
    };
    let mut upstream = streaming(Upstream::new());
    upstream = refusing(upstream, 400, "unknown role stream_options");

    assert_eq!(asked_for_usage(upstream, quoting).await, (vec![true, true], true));
}

#[tokio::test(start_paused = true)]
async fn unequal_dialects_meet_in_the_neutral_form_both_ways() {
    let upstream = answering(chunks().now(anthropic_whole("hello")), JSON);

    let reply = run(&upstream, exchange(), anthropic()).await.unwrap();

    let up = payload_json(&upstream.request());
    assert_eq!((&up["model"], &up["messages"][0]["role"]), (&json!("claude-sonnet-4-5"), &json!("user")));
    assert!(up["max_tokens"].is_u64(), "{up}");
    let down: Value = serde_json::from_str(&read(reply.into_body()).await.text).unwrap();
    assert_eq!((&down["model"], &down["choices"][0]["message"]["content"]), (&json!("m"), &json!("hello")));
    assert_eq!(
        (&down["usage"]["prompt_tokens"], &down["usage"]["completion_tokens"]),
        (&json!(3), &json!(5))
    );
}

#[tokio::test(start_paused = true)]
async fn a_converted_stream_ends_with_the_client_s_terminal_marker() {
    let upstream = answering(chunks().now(anthropic_events("hello")), EVENTS);

    let reply = run(&upstream, exchange().stream(), anthropic()).await.unwrap();

    let told = read(reply.into_body()).await;
    assert_eq!(told.outcome(), "ok");
    assert!(
        told.text.contains(r#""content":"hello""#) && told.text.ends_with("data: [DONE]\n\n"),
        "{}",
        told.text
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_folded_for_a_client_that_wants_a_whole_answer() {
    let events = [role(), delta("hel"), delta("lo"), stop(), done().to_owned()].concat();
    let forced = target("a").forced_stream(true).build();
    let upstream = answering(chunks().now(events), EVENTS);

    let reply = run(&upstream, exchange(), forced).await.unwrap();

    assert_eq!(payload_json(&upstream.request())["stream"], json!(true));
    assert_eq!(reply.headers()["content-type"], JSON);
    let down: Value = serde_json::from_str(&read(reply.into_body()).await.text).unwrap();
    assert_eq!(down["choices"][0]["message"]["content"], "hello");
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_unfolded_for_a_client_that_wants_events() {
    let forced = target("a").forced_stream(false).build();
    let upstream = whole();

    let reply = run(&upstream, exchange().stream(), forced).await.unwrap();

    assert_eq!(reply.headers()["content-type"], EVENTS);
    let told = read(reply.into_body()).await;
    assert!(told.text.contains("hello") && told.text.ends_with("data: [DONE]\n\n"), "{}", told.text);
    assert!(told.sighting.content && told.sighting.usage().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_judged_by_its_status_and_body_and_holds_no_key() {
    let body = r#"{"error":{"message":"bad key sk-provider-key","type":"x"}}"#;
    for (status, label) in
        [(401, "upstream_key_rejected"), (400, "upstream_client_error"), (503, "upstream_error")]
    {
        let upstream = Upstream::new().answers(chunks().now(body).watched_answer(status, JSON));

        let failure = run(&upstream, exchange(), target("a").build()).await.unwrap_err();

        assert_eq!(failure.label(), label);
        assert!(!format!("{failure:?}").contains("sk-provider-key"), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_body_breaks_off_is_still_a_refusal() {
    let upstream = Upstream::new().answers(chunks().now("{\"err").breaks().watched_answer(429, JSON));

    let failure = run(&upstream, exchange(), target("a").build()).await.unwrap_err();

    assert_eq!(failure.label(), "upstream_rate_limited");
}

#[tokio::test(start_paused = true)]
async fn a_page_or_half_an_answer_is_no_answer() {
    let page = answering(chunks().now("<html>Bad gateway</html>"), "text/html");
    let half = answering(chunks().now(completion("hello")[..20].to_owned()).breaks(), JSON);
    let silent = answering(chunks().now("{").after(Duration::from_secs(101), "}"), JSON);
    for (upstream, label) in [(page, "garbled_answer"), (half, "connection_broken"), (silent, "timeout")] {
        let failure = run(&upstream, exchange(), target("a").build()).await.unwrap_err();

        assert_eq!(failure.label(), label);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_in_a_folded_stream_is_a_failure() {
    let upstream = answering(chunks().now(error_event("overloaded")), EVENTS);

    let failure = run(&upstream, exchange(), target("a").forced_stream(true).build()).await.unwrap_err();

    assert_eq!(failure.label(), "upstream_error");
}

#[tokio::test(start_paused = true)]
async fn of_the_upstream_s_headers_only_the_client_s_business_comes_down() {
    let mut answer = chunks().now(completion("hello")).watched_answer(200, JSON);
    for name in
        ["x-request-id", "openai-version", "content-disposition", "anthropic-ratelimit-x", "set-cookie"]
    {
        answer.headers_mut().insert(name, "value".parse().unwrap());
    }

    let reply = run(&Upstream::new().answers(answer), exchange(), target("a").build()).await.unwrap();

    let mut names: Vec<_> = reply.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-disposition", "content-type", "openai-version", "x-upstream-request-id"]);
}

#[tokio::test(start_paused = true)]
async fn what_another_dialect_cannot_express_is_not_sent() {
    let upstream = Upstream::new();

    let failure = run(&upstream, exchange().judging("text"), anthropic()).await.unwrap_err();

    assert_eq!((failure.label(), upstream.calls()), ("unsupported", 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_long_to_be_held_streams_on_as_accepted_and_cannot_be_converted() {
    let long = || (0..33).fold(chunks().now("{\"a\":\""), |body, _| body.now("x".repeat(1 << 20))).now("\"}");
    let (same, other) = (answering(long(), JSON), answering(long(), JSON));

    let reply = run(&same, exchange(), target("a").build()).await.unwrap();
    let failure = run(&other, exchange(), anthropic()).await.unwrap_err();

    assert!(!reply.body().is_whole());
    let told = read(reply.into_body()).await;
    assert_eq!((told.text.len(), told.outcome()), (long().length(), "ok"));
    assert_eq!(failure.label(), "garbled_answer");
}

#[tokio::test(start_paused = true)]
async fn a_converted_stream_that_falls_silent_in_its_opening_timed_out() {
    let (opening, _, _) = anthropic_stream(&[]);
    let upstream = answering(chunks().now(opening).hangs(), EVENTS);
    let mut stack =
        mount(crate::error_trigger::ErrorTriggerLayer, &ConvertLayer::new(no_media()).layer(upstream));

    let failure = stack.ask(call(exchange().stream().shared(), anthropic()).build()).await.unwrap_err();

    assert_eq!((failure.label(), failure.worth_a_pause()), ("timeout", false));
}

/// Asks an upstream that follows no addresses about the pictures behind these.
async fn showing(media: &Arc<OnePicture>, exchange: &Arc<Exchange>) -> (Upstream, Result<Reply, Failure>) {
    let upstream = answering(chunks().now(anthropic_whole("hello")), JSON);
    let channel = channel("a").dialect(Dialect::Anthropic).follows_no_addresses().build();
    let call = call(exchange.clone(), target_of(channel).upstream_model("claude-sonnet-4-5").build()).build();
    let reply = mount(ConvertLayer::new(media.clone()), &upstream).ask(call).await;
    (upstream, reply)
}

fn pictures(addresses: &[&str]) -> Arc<Exchange> {
    let parts: Vec<Value> =
        addresses.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}})).collect();
    exchange().fields(json!({"messages": [{"role": "user", "content": parts}]})).shared()
}

#[tokio::test(start_paused = true)]
async fn media_are_fetched_once_for_all_attempts_where_the_upstream_follows_no_addresses() {
    let media = Arc::new(OnePicture::default());
    let exchange =
        pictures(&["https://a.example/1.png", "https://a.example/2.png", "https://a.example/1.png"]);

    let (first, _) = showing(&media, &exchange).await;
    let (second, reply) = showing(&media, &exchange).await;

    assert_eq!(media.asked(), ["https://a.example/1.png", "https://a.example/2.png"]);
    assert!(reply.is_ok());
    let (first, second) = (payload(&first.request()), payload(&second.request()));
    assert_eq!(first, second);
    let content = &serde_json::from_str::<Value>(&first).unwrap()["messages"][0]["content"];
    assert_eq!(
        (content[0]["source"]["type"].as_str(), content.as_array().unwrap().len()),
        (Some("base64"), 3)
    );
}

#[tokio::test(start_paused = true)]
async fn media_that_cannot_be_had_send_the_request_to_another_channel() {
    let media = Arc::new(OnePicture::default());

    let (upstream, reply) = showing(&media, &pictures(&["https://a.example/missing.png"])).await;

    assert_eq!((reply.unwrap_err().label(), upstream.calls()), ("unsupported", 0));
}

#[tokio::test(start_paused = true)]
async fn more_media_than_one_request_may_have_are_not_fetched() {
    let media = Arc::new(OnePicture::default());
    let many: Vec<String> = (0..33).map(|at| format!("https://a.example/{at}.png")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();

    let (_, reply) = showing(&media, &pictures(&many)).await;

    assert_eq!((reply.unwrap_err().label(), media.asked().len()), ("unsupported", 0));
}

/// A way on which each of a request's texts goes up alone, and the answers come down joined.
struct OneByOne;

impl Conversion for OneByOne {
    fn up(&self, _: &dialect::Ask<'_>, _: &dialect::Aim<'_>) -> Result<Vec<Sent>, dialect::Refused> {
        unreachable!("what goes up is given")
    }

    fn whole(
        &self,
        answers: &[dialect::Answered],
        _: &dialect::Kept,
    ) -> Result<dialect::Whole, dialect::ir::Error> {
        let bytes =
            answers.iter().flat_map(|answer| answer.bytes.iter().copied()).collect::<Vec<u8>>().into();
        let sighting = dialect::Sighting { content: true, done: true, ..Default::default() };
        Ok(dialect::Whole { bytes, content_type: http::HeaderValue::from_static("text/plain"), sighting })
    }

    fn events(&self, _: &dialect::Kept) -> Option<Box<dyn dialect::Transcode>> {
        None
    }
}

async fn fanned_out(upstream: &Upstream) -> Result<Reply, Failure> {
    let sent = (0..6).map(|at: u32| Sent {
        body: dialect::SentBody::Bytes(vec![at.to_string().into()]),
        content_type: None,
        kept: kept(Dialect::OpenAiChat, false),
    });
    let call = call(exchange().shared(), target("a").build()).build();
    fan_out(upstream.clone(), &OneByOne, call, sent.collect()).await
}

#[tokio::test(start_paused = true)]
async fn the_answers_of_a_request_that_went_up_as_several_are_joined() {
    let parts = ["a", "b", "c", "d", "e", "f"];
    let upstream = parts.iter().fold(Upstream::new(), |upstream, part| {
        upstream.answers(chunks().now(*part).watched_answer(200, JSON))
    });

    let reply = fanned_out(&upstream).await.unwrap();

    assert_eq!(reply.headers()["content-type"], "text/plain");
    assert_eq!((read(reply.into_body()).await.text.as_str(), upstream.calls()), ("abcdef", 6));
    let sent: Vec<String> = upstream.requests().iter().map(payload).collect();
    assert_eq!(sent, ["0", "1", "2", "3", "4", "5"]);
}

#[tokio::test(start_paused = true)]
async fn one_refused_part_refuses_all_and_the_rest_is_not_asked() {
    let upstream = (0..4).fold(Upstream::new(), |upstream, _| {
        upstream.answers(chunks().now(r#"{"error":{"message":"no"}}"#).watched_answer(429, JSON))
    });

    let failure = fanned_out(&upstream).await.unwrap_err();

    assert_eq!((failure.status().as_u16(), upstream.calls()), (429, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_decoded_and_written_anew_counts_against_the_byte_budget_while_it_is_held() {
    let capacity = crate::capacity::Capacity::new(1, 1 << 20);
    let exchange = exchange().within(&capacity).saying(&"x".repeat(1000)).shared();
    let length = exchange.body.len();
    let upstream = answering(chunks().now(anthropic_whole("hello")), JSON);
    let mut stack = mount(ConvertLayer::new(no_media()), &upstream);

    let reply = stack.ask(call(exchange.clone(), anthropic()).build()).await;

    let sent = upstream.request();
    assert!(reply.is_ok() && capacity.bytes() > 2 * length, "{} of {length}", capacity.bytes());
    drop(sent);
    assert_eq!(capacity.bytes(), length, "decoded for all attempts");
    drop(exchange);
    assert_eq!(capacity.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_there_is_no_room_to_decode_is_not_decoded() {
    let capacity = crate::capacity::Capacity::new(1, 500);
    let exchange = exchange().within(&capacity).saying(&"x".repeat(1000));
    let upstream = Upstream::new();

    let failure = run(&upstream, exchange, anthropic()).await.unwrap_err();

    assert_eq!((failure.label(), upstream.calls(), capacity.bytes()), ("overloaded", 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_field_in_test_goes_up_with_the_flag_that_unlocks_it_or_not_at_all() {
    let fields =
        json!({"messages": [{"role": "user", "content": "hi"}], "context_management": {"edits": []}});
    let flag = "context-management-2025-06-27";
    let asking = || exchange().fields(fields.clone());
    let in_body =
        || target_of(channel("a").dialect(Dialect::Anthropic).takes_betas_in_the_body().build()).build();

    let with = payload_json(&sent(asking().header("anthropic-beta", flag), anthropic()).await);
    let without = payload_json(&sent(asking().header("anthropic-beta", "other-1"), anthropic()).await);
    let body = payload_json(&sent(asking().header("anthropic-beta", flag), in_body()).await);

    assert_eq!(
        (with.get("context_management"), with.get("anthropic_beta")),
        (fields.get("context_management"), None)
    );
    assert_eq!(without.get("context_management"), None);
    assert_eq!(body["anthropic_beta"], json!([flag]));
    assert_eq!(body["context_management"], fields["context_management"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_a_converted_request_is_told_with_its_place() {
    let fields = |messages: Value| json!({"messages": messages});
    let failure = async |fields: Value| {
        let refused = run(&Upstream::new(), exchange().fields(fields), anthropic()).await;
        refused.expect_err("nothing can be sent").to_wire()
    };

    let wrong =
        failure(fields(json!([{"role": "user", "content": "hi"}, {"role": "user", "content": 5}]))).await;
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    let inexpressible = failure(fields(json!([{"role": "user", "content": [sound]}]))).await;

    assert_eq!((wrong.status.as_u16(), wrong.param.as_deref()), (400, Some("messages[1].content")));
    assert_eq!(
        (inexpressible.status.as_u16(), inexpressible.param.as_deref()),
        (400, Some("messages[0].content"))
    );
}

/// A whole answer of so many bytes of text, and a few more.
fn long_answer(to: &Arc<Target>, length: usize) -> Upstream {
    let text = "x".repeat(length);
    let whole = match to.channel.dialect {
        Dialect::Anthropic => anthropic_whole(&text),
        _ => completion(&text),
    };
    let parts = whole.as_bytes().chunks(20_000).map(|part| String::from_utf8(part.to_vec()).unwrap());
    answering(parts.fold(chunks(), Chunks::now), JSON)
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_holds_its_room_until_the_last_byte_of_it_is_gone() {
    const LENGTH: usize = 100_000;
    for to in [target("a").build(), anthropic()] {
        let capacity = crate::capacity::Capacity::new(1, 1 << 20);

        let reply = run(&long_answer(&to, LENGTH), exchange().within(&capacity), to).await.unwrap();

        let sending = reply.body().as_whole().unwrap().bytes.slice(LENGTH - 10..);
        drop(reply);
        assert!((LENGTH..LENGTH + 1000).contains(&capacity.bytes()), "{}", capacity.bytes());
        drop(sending);
        assert_eq!(capacity.bytes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_finds_no_room_streams_on_where_it_can_and_is_refused_where_it_must_be_read() {
    const LENGTH: usize = 100_000;
    let (same, other) = (target("a").build(), anthropic());
    let capacity = || crate::capacity::Capacity::new(1, 60_000);
    let (few, none) = (capacity(), capacity());

    let reply = run(&long_answer(&same, LENGTH), exchange().within(&few), same).await.unwrap();
    let failure = run(&long_answer(&other, LENGTH), exchange().within(&none), other).await.unwrap_err();

    assert!(!reply.body().is_whole() && few.bytes() <= 60_000, "{}", few.bytes());
    let told = read(reply.into_body()).await;
    assert_eq!((told.text.len() > LENGTH, told.outcome(), few.bytes()), (true, "ok", 0));
    assert_eq!(
        (failure.label(), failure.status().as_u16(), failure.cools()),
        ("overloaded", 503, crate::failure::Cools::Nothing)
    );
    assert!(failure.retry_after().is_some() && none.bytes() == 0 && none.refused() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_answer_is_not_counted() {
    let capacity = crate::capacity::Capacity::new(1, 100);

    let reply =
        run(&whole(), exchange().within(&capacity).body(r#"{"model":"m"}"#), target("a").build()).await;

    assert!(reply.unwrap().body().is_whole());
}
