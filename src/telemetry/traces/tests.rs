use std::num::NonZeroU64;

use bytes::Bytes;
use http::Response;
use layers::body::UpstreamBody;
use layers::failure::{TransportFault, TransportKind};
use layers::ledger::{Sent, Traced};
use layers::ports::Outgoing;
use layers::testing::{Scripted, chunks};
use layers::trace_context::Trace;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use prost::Message as _;

use super::*;
use crate::values::testing::{attempt, entry, target};
use crate::values::{Price, TraceSettings};

type Receiver = Scripted<Outgoing, Response<UpstreamBody>, TransportFault>;

fn settings() -> TraceSettings {
    TraceSettings {
        endpoint: "http://collector.test:4318/v1/traces".parse().unwrap(),
        headers: http::HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer t".parse().unwrap())]),
        timeout: Duration::from_secs(10),
        gzip: false,
        service: "edge".to_owned(),
        resource: vec![("deployment.environment.name".to_owned(), "test".to_owned())],
        sampler: Sampler::new(1.0, true),
        queue: 10,
        batch: 512,
        delay: Duration::from_millis(100),
    }
}

const TRACE: Trace = Trace { id: 0xabc, parent: NonZeroU64::new(0x99), span: 0x11, sampled: true };

fn traced(began: u64, status: Option<u16>, span: u64) -> Option<Box<Traced>> {
    let sent = Sent {
        began: Duration::from_millis(began),
        host: "a.test".into(),
        port: Some(443),
        resends: 0,
        answered: status.map(|_| Duration::from_millis(began + 20)),
        status: status.map(|status| http::StatusCode::from_u16(status).unwrap()),
    };
    let target = target("served", "gpt-4o");
    Some(Box::new(Traced { span, upstream_span: span + 1, target, sent: Some(sent) }))
}

/// A record of a request that failed over: five spans.
fn closed() -> Arc<Closed> {
    let mut entry = entry("gpt-4o");
    entry.trace = Some(TRACE);
    entry.attempts = vec![attempt("first", "upstream_error"), attempt("served", "ok")];
    entry.attempts[0].traced = traced(1, Some(503), 0x20);
    entry.attempts[1].began = Duration::from_millis(251);
    entry.attempts[1].traced = traced(252, Some(200), 0x30);
    Arc::new(Closed::new(entry, Price::flat(1_000_000, 2_000_000)))
}

/// What a receiver was sent, by name.
fn told(outgoing: &Outgoing) -> (ExportTraceServiceRequest, Vec<Told>) {
    let body: Bytes = outgoing.request.body().concat().into();
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    assert_eq!(request.encode_to_vec(), body, "nothing that the published types do not know");
    let spans = request.resource_spans.iter().flat_map(|of| &of.scope_spans).flat_map(|of| of.spans.clone());
    (request.clone(), spans.collect())
}

fn fine() -> Response<UpstreamBody> {
    chunks().answer(200, "application/x-protobuf")
}

/// Lets `receiver` have what `records` leave, to the end; tells what became of the spans.
async fn sent(settings: TraceSettings, receiver: &Receiver, records: usize) -> [u64; 5] {
    let traces = Traces::new(settings);
    for _ in 0..records {
        traces.record(closed());
    }
    let sending = traces.start(receiver.clone()).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    traces.finish();
    sending.await.unwrap();
    figures(&traces)
}

/// Exported, lost to a full queue, rejected, failed, waiting.
fn figures(traces: &Traces) -> [u64; 5] {
    let Counts { waiting, exported, queue_full, rejected, failed } = &traces.0.counts;
    [exported, queue_full, rejected, failed, waiting].map(|count| count.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_record_becomes_the_request_its_attempts_and_what_they_sent() {
    let receiver = Receiver::new().answers(fine());

    assert_eq!(sent(settings(), &receiver, 1).await, [5, 0, 0, 0, 0]);

    let (request, spans) = told(&receiver.request());
    let find = |id: u64| spans.iter().find(|span| span.span_id == id.to_be_bytes()).unwrap();
    let lines: Vec<_> = [(0x11, 0x99), (0x20, 0x11), (0x21, 0x20), (0x30, 0x11), (0x31, 0x30)]
        .map(|(id, parent): (u64, u64)| {
            let span = find(id);
            assert_eq!(span.trace_id, 0xabc_u128.to_be_bytes());
            assert_eq!(span.parent_span_id, parent.to_be_bytes(), "{}", span.name);
            format!("{} {:?}", span.name, span.status.as_ref().map(|status| status.code))
        })
        .into();
    assert_eq!(
        lines,
        [
            "POST /v1/chat/completions Some(0)",
            "attempt first Some(2)",
            "chat gpt-4o Some(2)",
            "attempt served Some(0)",
            "chat gpt-4o Some(0)",
        ]
    );
    let length = |id| find(id).end_time_unix_nano - find(id).start_time_unix_nano;
    let since = |id| find(id).start_time_unix_nano - find(0x11).start_time_unix_nano;
    assert_eq!((length(0x11), length(0x20), since(0x30)), (1_500_000_000, 250_000_000, 251_000_000));
    assert_eq!(find(0x31).end_time_unix_nano, find(0x11).end_time_unix_nano, "to the end of the answer");
    let resource = format!("{:?}", request.resource_spans[0].resource);
    for word in ["\"edge\"", "service.version", "deployment.environment.name", "telemetry.sdk.language"] {
        assert!(resource.contains(word), "{word} in {resource}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_receiver_is_asked_as_the_settings_say() {
    let receiver = Receiver::new().answers(fine());

    sent(TraceSettings { gzip: true, ..settings() }, &receiver, 1).await;

    let outgoing = receiver.request();
    let (headers, body) = (outgoing.request.headers(), outgoing.request.body().concat());
    assert_eq!(outgoing.request.uri(), "http://collector.test:4318/v1/traces");
    for (name, value) in [
        ("host", "collector.test:4318"),
        ("authorization", "Bearer t"),
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "gzip"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*body), &mut plain).unwrap();
    assert_eq!(ExportTraceServiceRequest::decode(&*plain).unwrap().resource_spans.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_is_counted_and_nobody_waits() {
    let traces = Traces::new(TraceSettings { queue: 2, ..settings() });

    (0..5).for_each(|_| traces.record(closed()));

    assert_eq!(figures(&traces), [0, 15, 0, 0, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_busy_is_asked_again_when_it_says_so() {
    let busy = chunks().answer(429, "text/plain").map(|body| body);
    let (mut parts, body) = busy.into_parts();
    parts.headers.insert("retry-after", "3".parse().unwrap());
    let receiver = Receiver::new().answers(Response::from_parts(parts, body)).answers(fine());

    assert_eq!(sent(settings(), &receiver, 1).await, [5, 0, 0, 0, 0]);
    assert_eq!(receiver.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_broken_or_gone_costs_spans_once_its_time_is_over() {
    for (receiver, lost) in [
        (Receiver::new().answers(chunks().answer(500, "text/plain")), [0, 0, 5, 0, 0]),
        (Receiver::new().answers(chunks().answer(400, "text/plain")), [0, 0, 5, 0, 0]),
        ((0..20).fold(Receiver::new(), |it, _| it.fails(TransportKind::Connect)), [0, 0, 0, 5, 0]),
        ((0..20).fold(Receiver::new(), |it, _| it.answers(chunks().answer(503, "a/b"))), [0, 0, 0, 5, 0]),
        (Receiver::new().hangs(), [0, 0, 0, 5, 0]),
    ] {
        assert_eq!(sent(settings(), &receiver, 1).await, lost, "after {} calls", receiver.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_takes_only_in_part_is_counted_in_part() {
    let partial_success = ExportTracePartialSuccess { rejected_spans: 2, error_message: "no".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial_success) }.encode_to_vec();
    let receiver = Receiver::new().answers(chunks().now(answer).answer(200, "application/x-protobuf"));

    assert_eq!(sent(settings(), &receiver, 1).await, [3, 0, 2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_program_sends_what_waits_and_waits_for_nobody_long() {
    for (receiver, counted) in
        [(Receiver::new().answers(fine()), [5, 0, 0, 0, 0]), (Receiver::new().hangs(), [0, 0, 0, 5, 0])]
    {
        let traces = Traces::new(TraceSettings { delay: Duration::from_secs(3600), ..settings() });
        let sending = traces.start(receiver).unwrap();
        traces.record(closed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = tokio::time::Instant::now();

        traces.finish();
        sending.await.unwrap();

        assert_eq!(figures(&traces), counted);
        assert!(began.elapsed() <= Duration::from_secs(4), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_also_while_a_receiver_makes_us_wait() {
    let traces = Traces::new(settings());
    let sending = traces.start(Receiver::new().hangs().hangs()).unwrap();
    traces.record(closed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = tokio::time::Instant::now();

    traces.record(closed());
    traces.finish();
    sending.await.unwrap();

    assert_eq!(figures(&traces), [0, 0, 0, 10, 0]);
    assert!(began.elapsed() <= Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn spans_of_the_process_are_sent_and_no_others() {
    use tracing_subscriber::layer::SubscriberExt as _;

    let (traces, receiver) = (Traces::new(settings()), Receiver::new().answers(fine()));
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, || {
        drop(tracing::info_span!(target: "process", "reload", otel.status_code = "ERROR"));
        drop(tracing::info_span!("another"));
    });

    let sending = traces.start(receiver.clone()).unwrap();
    traces.finish();
    sending.await.unwrap();

    let (_, spans) = told(&receiver.request());
    let names: Vec<_> = spans.iter().map(|span| (&*span.name, span.parent_span_id.is_empty())).collect();
    assert_eq!(names, [("reload", true)]);
    assert_eq!(spans[0].status.as_ref().map(|status| status.code), Some(2));
    let never = Traces::new(TraceSettings { sampler: Sampler::new(0.0, true), ..settings() });
    assert!(never.layer::<tracing_subscriber::Registry>().is_none());
}
