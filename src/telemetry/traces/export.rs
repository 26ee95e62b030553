//! Hands spans over to the receiver: OTLP over HTTP, as protobuf.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. By way of the client that requests to
//! upstreams go through, on connections of its own. What the receiver does not take now (429, 502,
//! 503, 504, or no answer) is offered again until the time for it is over; what it refuses is lost at
//! once. Both is counted, and told once a minute.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use layers::body::UpstreamBody;
use layers::failure::TransportFault;
use layers::policy::Link;
use layers::ports::Outgoing;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::{Service, ServiceExt as _};

use super::tree::Trees;
use super::{Shared, Waiting};
use crate::values::TraceSettings;

/// Longest answer that is read.
const LONGEST: usize = 64 << 10;

/// The pause before the first repeat; it doubles with each.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the end of the program waits for a receiver.
const FAREWELL: Duration = Duration::from_secs(3);

/// At most one line about lost spans in this time.
const QUIET: Duration = Duration::from_secs(60);

/// The service that requests to receivers go through.
pub trait Receivers:
    Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportFault, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Receivers for S where
    S: Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportFault, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A sender of spans.
pub(super) struct Exporter<S> {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Waiting>,
    receivers: S,
    trees: Trees,
    resource: Resource,
    /// Made and not sent.
    spans: Vec<SpanData>,
    /// When the first of them has waited long enough.
    due: Option<Instant>,
    /// When the program ends, whether or not all is sent.
    farewell: Option<Instant>,
    complaint: Complaint,
}

/// The fate of a batch.
enum Fate {
    /// Taken, but for so many.
    Taken { rejected: u64 },
    /// Refused for what it is.
    Refused(String),
    /// Not taken for now, and how long the receiver wants to be left alone.
    Postponed(String, Option<Duration>),
}

/// The line about lost spans that is due.
#[derive(Default)]
struct Complaint {
    lost: u64,
    next: Option<Instant>,
}

impl<S: Receivers> Exporter<S> {
    pub(super) fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Waiting>, receivers: S) -> Self {
        let resource = resource(&shared.settings);
        let (trees, spans, complaint) = (Trees::new(), Vec::new(), Complaint::default());
        Self { shared, queue, receivers, trees, resource, spans, due: None, farewell: None, complaint }
    }

    /// Sends until it is told to finish.
    pub(super) async fn run(mut self) {
        let batch = self.shared.settings.batch.max(1);
        let mut waiting = Vec::new();
        loop {
            let due = self.due.unwrap_or_else(|| Instant::now() + QUIET);
            let is_over = tokio::select! {
                biased;
                () = self.shared.finish.notified(), if self.farewell.is_none() => {
                    self.queue.close();
                    self.farewell = Some(Instant::now() + FAREWELL);
                    false
                }
                taken = self.queue.recv_many(&mut waiting, batch) => taken == 0,
                () = tokio::time::sleep_until(due) => false,
            };
            for one in waiting.drain(..) {
                match one {
                    Waiting::Request(closed, ended) => self.spans.extend(self.trees.of(&closed, ended)),
                    Waiting::Made(span) => self.spans.push(*span),
                }
            }
            if self.due.is_none() && !self.spans.is_empty() {
                self.due = Some(Instant::now() + self.shared.settings.delay);
            }
            let is_due = |this: &Self| is_over || this.due.is_some_and(|due| Instant::now() >= due);
            while self.spans.len() >= batch || (is_due(&self) && !self.spans.is_empty()) {
                self.send(batch).await;
            }
            if self.spans.is_empty() {
                self.due = None;
            }
            if is_over {
                return;
            }
        }
    }

    /// Sends one batch; what comes of it is counted.
    async fn send(&mut self, batch: usize) {
        let spans: Vec<_> = self.spans.drain(..batch.min(self.spans.len())).collect();
        let sent = spans.len() as u64;
        let patience = Instant::now() + self.shared.settings.timeout;
        let end = self.farewell.map_or(patience, |farewell| farewell.min(patience));
        let (fate, farewell) = {
            let mut delivering = std::pin::pin!(self.deliver(self.encode(spans), end));
            tokio::select! {
                biased;
                fate = &mut delivering => (fate, self.farewell),
                // The program ends while the receiver makes us wait.
                () = self.shared.finish.notified(), if self.farewell.is_none() => {
                    let farewell = Instant::now() + FAREWELL;
                    let late = || Fate::Postponed("it does not answer before the end".to_owned(), None);
                    (tokio::time::timeout_at(farewell, delivering).await.unwrap_or_else(|_elapsed| late()), Some(farewell))
                }
            }
        };
        if farewell.is_some() && self.farewell.is_none() {
            self.queue.close();
        }
        self.farewell = farewell;
        let counts = &self.shared.counts;
        counts.waiting.fetch_sub(sent, Ordering::Relaxed);
        let (lost, count, why) = match fate {
            Fate::Taken { rejected } => {
                let rejected = rejected.min(sent);
                counts.exported.fetch_add(sent - rejected, Ordering::Relaxed);
                (rejected, &counts.rejected, "it refuses a part of them".to_owned())
            }
            Fate::Refused(why) => (sent, &counts.rejected, why),
            Fate::Postponed(why, _) => (sent, &counts.failed, why),
        };
        count.fetch_add(lost, Ordering::Relaxed);
        if lost > 0 {
            let receiver = self.shared.settings.endpoint.authority().map(ToString::to_string);
            self.complaint.tell(lost, receiver.as_deref().unwrap_or_default(), &why);
        }
    }

    /// Offers a batch until it is taken, refused, or it is too late.
    async fn deliver(&self, body: Bytes, end: Instant) -> Fate {
        let mut pause = PAUSE;
        let mut last = "it does not answer in time".to_owned();
        loop {
            let Ok(fate) = tokio::time::timeout_at(end, self.offer(body.clone())).await else {
                return Fate::Postponed(last, None);
            };
            let Fate::Postponed(why, wait) = fate else { return fate };
            last = why;
            let again = Instant::now() + wait.unwrap_or(pause);
            if again >= end {
                return Fate::Postponed(last, None);
            }
            tokio::time::sleep_until(again).await;
            pause *= 2;
        }
    }

    async fn offer(&self, body: Bytes) -> Fate {
        let (request, link) = (Box::new(self.request(body)), Link::default());
        let outgoing = Outgoing { request, link, fresh_since: Some(Instant::now()) };
        let answer = match self.receivers.clone().oneshot(outgoing).await {
            Ok(answer) => answer,
            Err(fault) => {
                let cause = fault.cause.map(|cause| cause.chain().to_owned());
                return Fate::Postponed(cause.unwrap_or_else(|| fault.kind.to_string()), None);
            }
        };
        let (status, wait) = (answer.status(), retry_after(answer.headers()));
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        match status {
            _ if status.is_success() => {
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                let told = ExportTraceServiceResponse::decode(body).unwrap_or_default();
                let rejected = told.partial_success.map_or(0, |partial| partial.rejected_spans);
                Fate::Taken { rejected: u64::try_from(rejected).unwrap_or(0) }
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Fate::Postponed(format!("it answers {status}"), wait),
            _ => Fate::Refused(format!("it answers {status}")),
        }
    }

    fn request(&self, body: Bytes) -> Request<Vec<Bytes>> {
        let settings = &self.shared.settings;
        let mut request = Request::new(vec![body]);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = settings.endpoint.clone();
        let headers = request.headers_mut();
        let host = settings.endpoint.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
        if let Some(Ok(host)) = host {
            headers.insert(HOST, host);
        }
        let agent = HeaderValue::from_static(concat!("uni-api/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in &settings.headers {
            headers.insert(name.clone(), value.clone());
        }
        request
    }

    fn encode(&self, spans: Vec<SpanData>) -> Bytes {
        let resource = ResourceAttributesWithSchema::from(&self.resource);
        let resource_spans = group_spans_by_resource_and_scope(spans, &resource);
        let message = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        if self.shared.settings.gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let packed = encoder.write_all(&message).and_then(|()| encoder.finish());
            return packed.expect("writing to memory does not fail").into();
        }
        message.into()
    }
}

impl Complaint {
    fn tell(&mut self, lost: u64, receiver: &str, why: &str) {
        self.lost += lost;
        let now = Instant::now();
        if self.next.is_none_or(|next| now >= next) {
            let spans = std::mem::take(&mut self.lost);
            tracing::warn!(receiver, why, spans, "Traces cannot be sent; spans are lost.");
            self.next = Some(now + QUIET);
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What is told of this service with its spans.
fn resource(settings: &TraceSettings) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let others = settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attribute(version)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(others)
        .with_service_name(settings.service.clone())
        .build()
}
