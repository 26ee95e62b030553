//! Makes the spans of a request from its closed record: the request, each attempt, and what each
//! sent to its upstream.
//!
//! Their ids were drawn when the request came and its attempts began, because upstreams may have
//! been told them; the SDK's tracer is given them by an id generator that has nothing else to give.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dialect::ir::Usage;
use layers::ledger::{AttemptRecord, Entry, Sent, Traced};
use layers::trace_context::Trace;
use opentelemetry::trace::{
    Event, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    IdGenerator, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanLimits, SpanProcessor,
};

use crate::telemetry::semconv;
use crate::telemetry::visit_line::clipped;
use crate::values::Closed;

/// A maker of spans.
pub(super) struct Trees {
    tracer: SdkTracer,
    drawn: Drawn,
    made: Made,
}

/// The parent of a span.
#[derive(Clone, Copy)]
enum Parent {
    None,
    /// In another process.
    Remote(u64),
    Ours(u64),
}

/// A span that is to be made.
struct Draft {
    id: u64,
    parent: Parent,
    builder: SpanBuilder,
    ended: SystemTime,
    status: Status,
}

/// How many spans [`Trees::of`] makes of a record.
pub(super) fn count(entry: &Entry) -> u64 {
    let attempts = entry.attempts.iter().filter_map(|attempt| attempt.traced.as_deref());
    1 + attempts.map(|traced| 1 + u64::from(traced.sent.is_some())).sum::<u64>()
}

/// What all spans of this program are made under.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("uni-api").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// A tracer that leaves every decision to whoever makes spans and gives them to `processor`. Nothing of
/// it comes from the environment.
pub(super) fn tracer(ids: impl IdGenerator + 'static, processor: impl SpanProcessor + 'static) -> SdkTracer {
    SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_span_limits(SpanLimits::default())
        .with_resource(Resource::builder_empty().build())
        .with_id_generator(ids)
        .with_span_processor(processor)
        .build()
        .tracer_with_scope(scope())
}

// === impl Trees ===

impl Trees {
    pub(super) fn new() -> Self {
        let (drawn, made) = (Drawn::default(), Made::default());
        Self { tracer: tracer(drawn.clone(), made.clone()), drawn, made }
    }

    /// The spans of a record that was closed at `ended`; none where it has no trace.
    pub(super) fn of(&self, closed: &Closed, ended: SystemTime) -> Vec<SpanData> {
        let entry = &closed.entry;
        let Some(trace) = &entry.trace else { return Vec::new() };
        let began = ended.checked_sub(entry.elapsed).unwrap_or(ended);
        self.make(trace, request(closed, trace, began, ended));
        let served = entry.accepted.and_then(|_| served(entry));
        for (n, attempt) in entry.attempts.iter().enumerate() {
            let Some(traced) = attempt.traced.as_deref() else { continue };
            let is_served = served == Some(n);
            // An answer that was accepted is the attempt's to its end.
            let over = if is_served { ended } else { began + attempt.began + attempt.elapsed };
            let error = error(entry, attempt, is_served);
            self.make(trace, of_attempt(trace, attempt, traced, began, over, error));
            if let Some(sent) = &traced.sent {
                self.make(trace, of_upstream(closed, attempt, traced, sent, began, over, error, is_served));
            }
        }
        std::mem::take(&mut *self.made.lock())
    }

    fn make(&self, trace: &Trace, draft: Draft) {
        let Draft { id, parent, builder, ended, status } = draft;
        let context = match parent {
            Parent::None => Context::new(),
            Parent::Remote(span) => Context::new().with_remote_span_context(context(trace, span, true)),
            Parent::Ours(span) => Context::new().with_remote_span_context(context(trace, span, false)),
        };
        *self.drawn.lock() = (trace.id, id);
        let mut span = self.tracer.build_with_context(builder, &context);
        if status != Status::Unset {
            span.set_status(status);
        }
        span.end_with_timestamp(ended);
    }
}

fn context(trace: &Trace, span: u64, is_remote: bool) -> SpanContext {
    let (trace, span) = (TraceId::from(trace.id), SpanId::from(span));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, TraceState::default())
}

/// Which attempt gave the answer: the last one that was accepted, side calls aside.
fn served(entry: &Entry) -> Option<usize> {
    entry.attempts.iter().rposition(|attempt| attempt.side_call.is_none() && attempt.outcome == "ok")
}

/// What an attempt failed with, be it within the answer. A client that left is nobody's error.
fn error(entry: &Entry, attempt: &AttemptRecord, is_served: bool) -> Option<&'static str> {
    let failed = match attempt.outcome {
        "ok" if is_served => entry.failure,
        "ok" => None,
        failed => Some(failed),
    };
    failed.filter(|failed| *failed != "client_gone")
}

fn request(closed: &Closed, trace: &Trace, began: SystemTime, ended: SystemTime) -> Draft {
    let entry = &closed.entry;
    let mut told = vec![
        KeyValue::new("http.request.method", entry.endpoint.method.as_str().to_owned()),
        KeyValue::new("http.route", entry.endpoint.path),
        KeyValue::new("http.response.status_code", i64::from(entry.status.as_u16())),
        KeyValue::new("http.request.body.size", whole(entry.body_bytes)),
        KeyValue::new("http.response.body.size", whole(entry.answer_bytes)),
        KeyValue::new("gen_ai.operation.name", semconv::operation(entry.endpoint.kind)),
        KeyValue::new("gen_ai.request.model", closed.model().to_owned()),
        KeyValue::new("gen_ai.request.stream", entry.stream),
        KeyValue::new("uni_api.request_id", entry.id.as_str().to_owned()),
        KeyValue::new("uni_api.caller", entry.caller.alias.clone()),
        KeyValue::new("uni_api.key_id", entry.caller.fingerprint.as_str().to_owned()),
        KeyValue::new("uni_api.outcome", entry.outcome()),
        KeyValue::new("uni_api.attempts", whole(entry.attempts.len())),
        KeyValue::new("uni_api.overhead_seconds", closed.overhead().as_secs_f64()),
        KeyValue::new("uni_api.cost_usd", closed.cost as f64 / 1e12),
        KeyValue::new("uni_api.cost_estimated", closed.estimated),
    ];
    told.extend(entry.client.map(|client| KeyValue::new("client.address", client.to_string())));
    told.extend(closed.channel().map(|channel| KeyValue::new("uni_api.channel", channel.to_owned())));
    told.extend(entry.usage.iter().flat_map(tokens));
    told.extend(entry.failure.map(|failure| KeyValue::new("error.type", failure)));
    let status = match entry.failure {
        // What the client did wrong is no error of a server.
        Some(_) if !entry.status.is_client_error() => failed(entry.reason.as_deref()),
        _ => Status::Unset,
    };
    let accepted =
        entry.accepted.map(|accepted| Event::new("answer accepted", began + accepted, Vec::new(), 0));
    Draft {
        id: trace.span,
        parent: trace.parent.map_or(Parent::None, |parent| Parent::Remote(parent.get())),
        builder: SpanBuilder::from_name(entry.endpoint.label)
            .with_kind(SpanKind::Server)
            .with_start_time(began)
            .with_attributes(told)
            .with_events(accepted.into_iter().collect()),
        ended,
        status,
    }
}

fn of_attempt(
    trace: &Trace,
    attempt: &AttemptRecord,
    traced: &Traced,
    began: SystemTime,
    ended: SystemTime,
    error: Option<&'static str>,
) -> Draft {
    let mut told = vec![
        KeyValue::new("uni_api.channel", attempt.channel.as_str().to_owned()),
        KeyValue::new("uni_api.outcome", attempt.outcome),
    ];
    told.extend(attempt.place.clone().map(|place| KeyValue::new("uni_api.place", place)));
    told.extend(attempt.side_call.clone().map(|model| KeyValue::new("uni_api.side_call", model)));
    let key = attempt.key.as_ref();
    told.extend(key.map(|key| KeyValue::new("uni_api.provider_key_id", key.as_str().to_owned())));
    told.extend(error.map(|error| KeyValue::new("error.type", error)));
    Draft {
        id: traced.span,
        parent: Parent::Ours(trace.span),
        builder: SpanBuilder::from_name(format!("attempt {}", attempt.channel))
            .with_start_time(began + attempt.began)
            .with_attributes(told),
        ended,
        status: error.map_or(Status::Unset, |_| failed(cause(attempt))),
    }
}

#[expect(clippy::too_many_arguments, reason = "a span tells of all of them")]
fn of_upstream(
    closed: &Closed,
    attempt: &AttemptRecord,
    traced: &Traced,
    sent: &Sent,
    began: SystemTime,
    ended: SystemTime,
    error: Option<&'static str>,
    is_served: bool,
) -> Draft {
    let (entry, target) = (&closed.entry, &traced.target);
    let operation = match attempt.side_call {
        Some(_) => semconv::operation(dialect::Kind::Moderate),
        None => semconv::operation(entry.endpoint.kind),
    };
    let mut told = vec![
        KeyValue::new("gen_ai.operation.name", operation),
        KeyValue::new("gen_ai.provider.name", semconv::provider(target.channel.dialect)),
        KeyValue::new("gen_ai.request.model", target.upstream_model.clone()),
        KeyValue::new("server.address", sent.host.to_string()),
    ];
    told.extend(sent.port.map(|port| KeyValue::new("server.port", i64::from(port))));
    let status = sent.status.map(|status| i64::from(status.as_u16()));
    told.extend(status.map(|status| KeyValue::new("http.response.status_code", status)));
    if sent.resends > 0 {
        told.push(KeyValue::new("http.request.resend_count", i64::from(sent.resends)));
    }
    if is_served {
        told.push(KeyValue::new("gen_ai.request.stream", entry.stream));
        if let Some(accepted) = entry.accepted.filter(|_| entry.stream) {
            let first = accepted.saturating_sub(sent.began).as_secs_f64();
            told.push(KeyValue::new("gen_ai.response.time_to_first_chunk", first));
        }
        told.extend(entry.usage.iter().flat_map(tokens));
    }
    told.extend(error.map(|error| KeyValue::new("error.type", error)));
    let head = sent.answered.map(|answered| Event::new("answer began", began + answered, Vec::new(), 0));
    Draft {
        id: traced.upstream_span,
        parent: Parent::Ours(traced.span),
        builder: SpanBuilder::from_name(format!("{operation} {}", target.upstream_model))
            .with_kind(SpanKind::Client)
            .with_start_time(began + sent.began)
            .with_attributes(told)
            .with_events(head.into_iter().collect()),
        // Never before it began, whatever the clocks say.
        ended: ended.max(began + sent.began),
        status: error.map_or(Status::Unset, |_| failed(cause(attempt))),
    }
}

fn cause(attempt: &AttemptRecord) -> Option<&str> {
    attempt.fault.as_ref()?.cause.as_deref()
}

fn failed(why: Option<&str>) -> Status {
    Status::error(why.map_or_else(String::new, |why| clipped(why).to_owned()))
}

/// What was billed.
fn tokens(usage: &Usage) -> impl Iterator<Item = KeyValue> + use<> {
    let always = [
        ("gen_ai.usage.input_tokens", usage.input_total),
        ("gen_ai.usage.output_tokens", usage.output_total),
    ];
    let parts = [
        ("gen_ai.usage.cache_read.input_tokens", usage.cached_read),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
    ];
    let parts = parts.into_iter().filter(|(_, tokens)| *tokens > 0);
    always.into_iter().chain(parts).map(|(name, tokens)| KeyValue::new(name, whole(tokens)))
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A giver of the ids that were drawn before.
#[derive(Debug, Clone, Default)]
struct Drawn(Arc<Mutex<(u128, u64)>>);

impl Drawn {
    fn lock(&self) -> MutexGuard<'_, (u128, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdGenerator for Drawn {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(self.lock().0)
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(self.lock().1)
    }
}

/// A processor that keeps what was made until it is taken.
#[derive(Debug, Clone, Default)]
struct Made(Arc<Mutex<Vec<SpanData>>>);

impl Made {
    fn lock(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanProcessor for Made {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.lock().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
