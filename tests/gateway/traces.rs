//! The spans that a receiver of OTLP is sent, as whole trees, and that no receiver can harm a request.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::secrets::Secrets;
use crate::harness::subjects::moderation::*;
use crate::harness::*;

/// A receiver that takes everything.
async fn receiver() -> Upstream {
    Upstream::always(Script::body(200, "application/x-protobuf", "")).await
}

/// A gateway that sends its traces there, soon.
fn tracing_to(receiver: &Upstream, config: impl ToString) -> Setup {
    let setup = Setup::new(config).env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.origin());
    setup
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
}

/// All spans that were sent, but for the process's own. What the published types do not know is refused.
fn spans(receiver: &Upstream) -> Vec<Span> {
    let mut spans = Vec::new();
    for seen in receiver.requests() {
        assert_eq!(
            (&*seen.path, seen.header("content-type")),
            ("/v1/traces", Some("application/x-protobuf"))
        );
        let request = ExportTraceServiceRequest::decode(&*seen.body).expect("it is such a message");
        assert_eq!(request.encode_to_vec(), seen.body, "fields that the published types do not know");
        for resource in request.resource_spans {
            let told = format!("{:?}", resource.resource);
            assert!(told.contains("\"uni-api\"") && told.contains("\"test\""), "{told}");
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans
}

fn text(span: &Span, name: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?;
    Some(match value.value.as_ref()? {
        Any::StringValue(text) => text.clone(),
        Any::IntValue(number) => number.to_string(),
        Any::DoubleValue(number) => number.to_string(),
        Any::BoolValue(truth) => truth.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

/// A span and those below it, in order of time, one line each.
fn draw(spans: &[Span], span: &Span, depth: usize, page: &mut String) {
    use std::fmt::Write as _;
    let kind = match span.kind() {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        _ => "internal",
    };
    let status = span.status.as_ref().map_or(0, |status| status.code);
    write!(
        page,
        "{:indent$}{} {kind}{}",
        "",
        span.name,
        ["", " fine", " error"][status as usize],
        indent = depth * 2
    )
    .unwrap();
    for name in [
        "uni_api.outcome",
        "error.type",
        "http.response.status_code",
        "uni_api.side_call",
        "gen_ai.usage.output_tokens",
    ] {
        if let Some(value) = text(span, name) {
            write!(page, " {}={value}", name.rsplit('.').next().unwrap()).unwrap();
        }
    }
    page.push('\n');
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{}", span.name);
    let mut below: Vec<_> = spans.iter().filter(|other| other.parent_span_id == span.span_id).collect();
    below.sort_by_key(|span| span.start_time_unix_nano);
    for other in below {
        assert_eq!(other.trace_id, span.trace_id, "one trace");
        assert!(
            other.start_time_unix_nano >= span.start_time_unix_nano,
            "{} before {}",
            other.name,
            span.name
        );
        draw(spans, other, depth + 1, page);
    }
}

/// The trees of so many requests, once they have come.
async fn trees(receiver: &Upstream, count: usize) -> Vec<String> {
    let roots = || {
        let spans = spans(receiver);
        let roots: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Server).cloned().collect();
        (roots.len() >= count).then_some((spans, roots))
    };
    let (spans, mut roots) = eventually("the spans", PATIENCE, roots).await;
    roots.sort_by_key(|span| span.start_time_unix_nano);
    let draw_one = |root: &Span| {
        let mut page = String::new();
        draw(&spans, root, 0, &mut page);
        page
    };
    roots.iter().map(draw_one).collect()
}

#[tokio::test]
async fn a_request_that_failed_over_is_a_tree_of_its_attempts() {
    let (receiver, good) = (receiver().await, healthy("hi").await);
    let ill = Upstream::always(Script::error(503, "no")).await;
    let channels = [channel_at("dead", &refused_port().await), channel("ill", &ill), channel("good", &good)];
    let gateway = tracing_to(&receiver, config(channels)).start().await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(
        trees(&receiver, 1).await,
        ["\
POST /v1/chat/completions server outcome=ok status_code=200 output_tokens=7
  attempt dead internal error outcome=connect_failed type=connect_failed
    chat m client error type=connect_failed
  attempt ill internal error outcome=upstream_error type=upstream_error
    chat m client error type=upstream_error status_code=503
  attempt good internal outcome=ok
    chat m client status_code=200 output_tokens=7
"]
    );
    let spans = spans(&receiver);
    let client = spans.iter().rfind(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!(text(client, "server.port"), Some(good.address().port().to_string()));
    assert_eq!(text(client, "gen_ai.provider.name").as_deref(), Some("openai"));
}

#[tokio::test]
async fn a_stream_that_was_kept_warm_and_one_whose_client_left_are_told_as_that() {
    let (receiver, gate) = (receiver().await, Gate::new());
    let ill = Upstream::always(Script::error(500, "no").after(Duration::from_millis(400))).await;
    let mut words = stream_of(&["one"]);
    words.truncate(2);
    let slow = Upstream::in_turn(vec![
        Script::events(stream_of(&["late"])).after(Duration::from_millis(300)),
        Script::events(words).then_wait(&gate),
    ])
    .await;
    let config = config([channel("ill", &ill), channel("slow", &slow)]);
    let gateway =
        tracing_to(&receiver, config.with("/preferences/keepalive_interval", json!(0.2))).start().await;

    gateway.chat(&hello_stream()).await.expect(200);
    let mut left = gateway.client().open(&Ask::chat(&hello_stream())).await;
    left.until("one").await;
    drop(left);

    let trees = trees(&receiver, 2).await;
    assert_eq!(
        trees,
        [
            "\
POST /v1/chat/completions server outcome=ok status_code=200
  attempt ill internal error outcome=upstream_error type=upstream_error
    chat m client error type=upstream_error status_code=500
  attempt slow internal outcome=ok
    chat m client status_code=200
",
            "\
POST /v1/chat/completions server outcome=client_gone status_code=200
  attempt slow internal outcome=ok
    chat m client status_code=200
"
        ]
    );
    let spans = spans(&receiver);
    let served = spans.iter().find(|span| text(span, "gen_ai.response.time_to_first_chunk").is_some());
    let first: f64 = text(served.unwrap(), "gen_ai.response.time_to_first_chunk").unwrap().parse().unwrap();
    assert!((0.25..5.0).contains(&first), "{first}");
}

#[tokio::test]
async fn a_client_that_leaves_before_any_answer_leaves_a_request_that_was_sent() {
    let (receiver, upstream) = (receiver().await, Upstream::always(Script::hang()).await);
    let gateway = tracing_to(&receiver, config([channel("a", &upstream)])).start().await;

    let mut wire = gateway.client().connect().await;
    let body = hello().to_string();
    wire.send_head(&Ask::chat(&hello()).header("content-length", &body.len().to_string())).await;
    wire.write(body.as_bytes()).await.unwrap();
    upstream.wait_for(1).await;
    drop(wire);

    assert_eq!(
        trees(&receiver, 1).await,
        ["\
POST /v1/chat/completions server outcome=client_gone status_code=200
  attempt a internal outcome=client_gone
    chat m client
"]
    );
}

#[tokio::test]
async fn what_judges_a_request_is_an_attempt_of_it() {
    let (receiver, judge, chat) = (receiver().await, judge().await, healthy("hi").await);
    let channels = [channel("chat", &chat), judging("judge", &judge)];
    let gateway = tracing_to(&receiver, moderated(channels)).start().await;

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&says("bad")).await.expect(400);

    assert_eq!(
        trees(&receiver, 2).await,
        [
            "\
POST /v1/chat/completions server outcome=ok status_code=200 output_tokens=7
  attempt judge internal outcome=ok side_call=omni-moderation-latest
    moderation omni-moderation-latest client status_code=200
  attempt chat internal outcome=ok
    chat m client status_code=200 output_tokens=7
",
            "\
POST /v1/chat/completions server outcome=flagged type=flagged status_code=400
  attempt judge internal outcome=ok side_call=omni-moderation-latest
    moderation omni-moderation-latest client status_code=200
"
        ]
    );
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_client_s_trace_goes_on_and_is_handed_on_only_where_a_channel_asks_for_it() {
    let (receiver, asking, other) = (receiver().await, healthy("a").await, healthy("b").await);
    let asks = json!({ "passthrough_request_headers": ["traceparent"] });
    let channels = [
        channel("asking", &asking).with("/preferences", asks),
        channel("other", &other).with("/model", json!(["n"])),
    ];
    let gateway = tracing_to(&receiver, config(channels)).with_database().start().await;

    for model in ["m", "n"] {
        gateway.ask(&Ask::chat(&hello_to(model)).header("traceparent", PARENT)).await.expect(200);
    }

    trees(&receiver, 2).await;
    let spans = spans(&receiver);
    let root = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    assert_eq!(root.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    let asked = spans.iter().find(|span| {
        span.kind() == SpanKind::Client
            && text(span, "server.port") == Some(asking.address().port().to_string())
    });
    let id: String = asked.unwrap().span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let told = format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01");
    assert_eq!(asking.only().header("traceparent"), Some(&*told));
    assert_eq!(other.only().header("traceparent"), None);
    let line =
        gateway.wait_for_line("the request's line", |line| line.contains("\"message\":\"request\"")).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    gateway.request_rows(2).await;
    let file = gateway.folder().join("data/stats.db");
    let read = |row: &sqlx::sqlite::SqliteRow| sqlx::Row::get::<String, _>(row, "trace_id");
    let ids = stats::query(&file, "SELECT trace_id FROM request_stats", read).await.unwrap();
    assert_eq!(ids, ["0af7651916cd43dd8448eb211c80319c"; 2]);
}

#[tokio::test]
async fn no_receiver_can_harm_a_request_and_what_is_lost_is_counted() {
    let busy = Script::status(429, &json!({})).header("retry-after", "60");
    for (what, receiver) in [
        ("refuses", Upstream::always(Script::error(500, "broken")).await.origin()),
        ("is busy", Upstream::always(busy).await.origin()),
        ("resets", Upstream::always(Script::reset()).await.origin()),
        ("hangs", Upstream::always(Script::hang()).await.origin()),
        ("is absent", refused_port().await.replace("/v1/chat/completions", "")),
    ] {
        let upstream = healthy("hi").await;
        let gateway = Setup::new(config([channel("a", &upstream)]))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver)
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
            .start()
            .await;

        for _ in 0..3 {
            let answer = gateway.chat(&hello()).await.expect(200);
            assert!(answer.took < Duration::from_secs(3), "{what}: {:?}", answer.took);
        }

        let began = std::time::Instant::now();
        while gateway.metric("uni_api_spans_dropped_total").await < 9.0 {
            assert!(began.elapsed() < PATIENCE, "{what}: {}", gateway.metrics().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(gateway.metric("uni_api_spans_exported_total").await, 0.0, "{what}");
        let complaint = "Traces cannot be sent; spans are lost.";
        gateway.wait_for_line(complaint, |line| line.contains(complaint)).await;
        assert_eq!(gateway.count_messages(complaint), 1, "{what}");
    }
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end_together_with_the_process_s_own_spans() {
    let (receiver, upstream) = (receiver().await, healthy("hi").await);
    let setup =
        tracing_to(&receiver, config([channel("a", &upstream)])).env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut gateway = setup.with_database().start().await;
    gateway.chat(&hello()).await.expect(200);
    gateway.reload(config([channel("b", &upstream)])).await;
    assert_eq!(receiver.count(), 0);

    gateway.terminate();
    assert!(gateway.ended().await.success());

    let mut own: Vec<_> =
        spans(&receiver).into_iter().filter(|span| span.parent_span_id.is_empty()).collect();
    own.sort_by_key(|span| span.start_time_unix_nano);
    let mut names: Vec<_> = own.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["POST /v1/chat/completions", "migration", "reload", "start"]);
}

#[tokio::test]
async fn spans_tell_no_secret() {
    let receiver = receiver().await;
    let echo = Upstream::start(|seen| Script::error(401, &format!("bad key {}", seen.key()))).await;
    let gateway = tracing_to(&receiver, config([channel("a", &echo)])).start().await;

    gateway.chat(&hello()).await.expect(502);
    gateway
        .ask(&Ask::new("POST", "/v1/chat/completions?key=sk-in-the-query", hello().to_string().into()))
        .await;

    trees(&receiver, 1).await;
    let secrets = Secrets::new(["key-of-a", CLIENT, "sk-in-the-query", "hello"]);
    for seen in receiver.requests() {
        secrets.absent_from("a span", &seen.body);
    }
}

#[tokio::test]
async fn nothing_is_sent_unless_the_environment_says_so_and_no_more_than_it_says() {
    let (receiver, upstream) = (receiver().await, healthy("hi").await);
    let config = config([channel("a", &upstream)]);
    for (name, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_SAMPLER", "parentbased_always_off")] {
        let mut gateway = tracing_to(&receiver, &config).env(name, value).start().await;
        gateway.chat(&hello()).await.expect(200);
        gateway.terminate();
        gateway.ended().await;
        assert_eq!(receiver.count(), 0, "{name}");
    }
}
