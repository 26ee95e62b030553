//! The way down: from what the upstream answered to what the client is sent.

use bytes::{Bytes, BytesMut};
use dialect::{Correspondence, Dialect, Kind, Sighting, StreamStyle, ir};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, response};
use tokio::time::Instant;

use crate::body::convert::Convert;
use crate::body::idle::{Collected, Idle};
use crate::body::raw::Raw;
use crate::body::tap::{self, Tap};
use crate::body::{Asked, Broken};
use crate::failure::{Failure, TransportKind};
use crate::heavy::heavy;
use crate::judge::{Refusal, hidden, judge};
use crate::ports::Credential;
use crate::reply::{Reply, ReplyBody};
use crate::stage::{Attempt, Purpose};

/// Most of a refusal that is read.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Most of a JSON answer that is held; a longer one streams on as accepted.
const LONGEST_WHOLE: usize = 32 << 20;

const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How one answer is read.
pub(super) struct Reading<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) credential: Option<&'a Credential>,
    /// Events were asked for.
    pub(super) stream: bool,
    /// The usage chunk is ours.
    pub(super) hide_usage: bool,
    /// Present when the dialects differ.
    pub(super) correspondence: Option<Correspondence>,
}

impl Reading<'_> {
    /// Reads an answer.
    ///
    /// # Errors
    /// What the upstream refused with, or what is wrong with its answer.
    pub(super) async fn read(&self, head: &response::Parts, mut body: Idle) -> Result<Reply, Failure> {
        if !head.status.is_success() {
            return Err(Box::pin(self.refused(head.status, &head.headers, body)).await);
        }
        let client_stream = self.attempt.exchange.peek.stream;
        let mut reply = match (AnswerKind::of(&head.headers, self.stream), client_stream) {
            (AnswerKind::Events, true) => self.relay(body, head.status),
            (AnswerKind::Events, false) => Box::pin(self.fold(body)).await?,
            (AnswerKind::Whole, _) => {
                let collected = self.collect(&mut body).await?;
                if client_stream || self.correspondence.is_some() {
                    Box::pin(self.convert(collected, client_stream)).await?
                } else {
                    self.pass(collected, body)?
                }
            }
        };
        pass_headers(&head.headers, reply.headers_mut());
        Ok(reply)
    }

    async fn refused(&self, status: StatusCode, headers: &HeaderMap, mut body: Idle) -> Failure {
        let began = Instant::now();
        // A refusal whose body breaks off is still a refusal.
        let body = body.collect(LONGEST_REFUSAL).await.map(|collected| collected.bytes).unwrap_or_default();
        self.waited(began);
        let channel = &self.attempt.target.channel;
        judge(Refusal {
            channel: &channel.name,
            status,
            headers,
            error: channel.dialect.outbound().error(status, &body),
            body,
            dialect: channel.dialect,
            hidden: &hidden(channel, self.credential),
        })
    }

    /// Events for a client that wants events.
    fn relay(&self, body: Idle, status: StatusCode) -> Reply {
        let want_text = self.want_text();
        let channel = &self.attempt.target.channel;
        let asked = Asked { channel: channel.clone(), credential: self.credential.cloned() };
        let body = match (&self.correspondence, self.attempt.exchange.dialect().inbound()) {
            (Some(correspondence), Some(inbound)) => {
                let decoder = channel.dialect.outbound().events(correspondence);
                let encoder = inbound.events(&self.style());
                ReplyBody::stream(Convert::new(body, decoder, encoder, asked, want_text))
            }
            _ => {
                ReplyBody::stream(Tap::new(body, channel.dialect.probe(), asked, self.hide_usage, want_text))
            }
        };
        let mut reply = Reply::new(body);
        *reply.status_mut() = status;
        mark_stream(reply.headers_mut());
        reply
    }

    /// Events for a client that wants a whole answer.
    async fn fold(&self, mut body: Idle) -> Result<Reply, Failure> {
        let collected = self.collect(&mut body).await?;
        let (dialect, correspondence) = (self.upstream(), self.correspondence.clone().unwrap_or_default());
        let channel = self.attempt.target.channel.name.clone();
        let answer = heavy(collected.bytes.len(), move || {
            let mut decoder = dialect.outbound().events(&correspondence);
            let mut events = Vec::new();
            let mut block = BytesMut::from(&collected.bytes[..]);
            // A last event without its blank line is whole when the body is.
            block.extend_from_slice(b"\n\n");
            for frame in dialect::Framing::Sse.frames(&block) {
                decoder.decode(frame, &mut events).map_err(|malformed| malformed.into_answer_error())?;
            }
            decoder.finish(&mut events);
            ir::Response::fold(events)
        })
        .await?;
        self.client_whole(answer.map_err(|error| self.wrong(error, channel))?)
    }

    /// A whole answer of another dialect, or for a client that wants events.
    async fn convert(&self, collected: Collected, client_stream: bool) -> Result<Reply, Failure> {
        let Collected { bytes, whole } = collected;
        if !whole {
            return Err(self.garbled("the answer is longer than 32 MiB"));
        }
        let (dialect, correspondence) = (self.upstream(), self.correspondence.clone().unwrap_or_default());
        let channel = self.attempt.target.channel.name.clone();
        let length = bytes.len();
        let answer = heavy(length, move || dialect.outbound().response(&bytes, &correspondence)).await?;
        let answer = answer.map_err(|error| self.wrong(error, channel))?;
        if client_stream { self.unfold(&answer) } else { self.client_whole(answer) }
    }

    /// A whole answer of the client's own dialect: its bytes, and what is left of a very long one.
    fn pass(&self, collected: Collected, rest: Idle) -> Result<Reply, Failure> {
        let Collected { bytes, whole } = collected;
        if !whole {
            let name = self.attempt.target.channel.name.clone();
            return Ok(json_reply(ReplyBody::stream(Raw::new(bytes, rest, name))));
        }
        let mut sighting = self.upstream().whole(&bytes, self.want_text());
        // A client may read any shape of judgement; we must find the verdict.
        if self.attempt.exchange.endpoint.kind == Kind::Moderate
            && self.attempt.exchange.purpose == Purpose::SideCall
        {
            sighting.done &= dialect::moderation::is_flagged(&bytes).is_some();
        }
        if !sighting.done && sighting.error().is_none() {
            return Err(self.garbled("it is not a JSON answer"));
        }
        Ok(json_reply(ReplyBody::whole(bytes, sighting)))
    }

    /// A neutral answer as the client's whole one.
    fn client_whole(&self, mut answer: ir::Response) -> Result<Reply, Failure> {
        let Some(inbound) = self.attempt.exchange.dialect().inbound() else {
            return Err(self.garbled("the upstream answered with events that were not asked for"));
        };
        answer.model = Some(self.attempt.target.alias.to_string());
        let sighting = self.sight(&answer);
        Ok(json_reply(ReplyBody::whole(inbound.response(&answer), sighting)))
    }

    /// A neutral answer as the client's events.
    fn unfold(&self, answer: &ir::Response) -> Result<Reply, Failure> {
        let Some(inbound) = self.attempt.exchange.dialect().inbound() else {
            return Err(self.garbled("the upstream answered without the events that were asked for"));
        };
        let mut encoder = inbound.events(&self.style());
        let mut out = BytesMut::new();
        for event in answer.events() {
            encoder.encode(&event, &mut out);
        }
        encoder.finish(&mut out);
        let mut reply = Reply::new(ReplyBody::whole(out.freeze(), self.sight(answer)));
        mark_stream(reply.headers_mut());
        Ok(reply)
    }

    fn sight(&self, answer: &ir::Response) -> Sighting {
        let mut seen = Sighting::machinery();
        for event in answer.events() {
            seen.merge(Sighting::of(&event, self.want_text()));
        }
        seen
    }

    async fn collect(&self, body: &mut Idle) -> Result<Collected, Failure> {
        let began = Instant::now();
        let collected = body.collect(LONGEST_WHOLE).await;
        self.waited(began);
        collected.map_err(|broken| self.broken(broken))
    }

    fn style(&self) -> StreamStyle {
        let exchange = &self.attempt.exchange;
        StreamStyle {
            model: self.attempt.target.alias.to_string(),
            include_usage: exchange.peek.stream_options
                && exchange.body.json().is_some_and(|body| asks_usage(body)),
            id: format!("chatcmpl-{}", exchange.id.as_str()),
            created: exchange
                .ledger
                .entry()
                .arrived
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }
    }

    fn upstream(&self) -> Dialect {
        self.attempt.target.channel.dialect
    }

    fn want_text(&self) -> bool {
        !self.attempt.exchange.catalog.triggers().is_empty()
    }

    fn waited(&self, began: Instant) {
        self.attempt.exchange.ledger.entry().waited += began.elapsed();
    }

    fn broken(&self, broken: Broken) -> Failure {
        let channel = &self.attempt.target.channel.name;
        tap::failure(Some(broken), false, channel)
            .unwrap_or_else(|| Failure::Transport { channel: channel.clone(), kind: TransportKind::Broken })
    }

    fn garbled(&self, detail: &str) -> Failure {
        Failure::Garbled { channel: self.attempt.target.channel.name.clone(), detail: detail.to_owned() }
    }

    /// An error that the decoder found in a successful answer.
    fn wrong(&self, error: ir::Error, channel: crate::policy::ChannelName) -> Failure {
        judge(Refusal {
            channel: &channel,
            status: error.status,
            headers: &HeaderMap::new(),
            body: Bytes::new(),
            dialect: self.upstream(),
            error,
            hidden: &hidden(&self.attempt.target.channel, self.credential),
        })
    }
}

/// What the upstream answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AnswerKind {
    Events,
    Whole,
}

impl AnswerKind {
    /// By content type; where that says neither, by what was asked for.
    fn of(headers: &HeaderMap, stream: bool) -> Self {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Self::Events
        } else if kind.eq_ignore_ascii_case(b"application/json")
            || kind.eq_ignore_ascii_case(b"text/html")
            || !stream
        {
            Self::Whole
        } else {
            Self::Events
        }
    }
}

/// Whether the client asked for usage, known only to be worth a look when the option is there.
fn asks_usage(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Body {
        stream_options: Option<Options>,
    }
    #[derive(serde::Deserialize)]
    struct Options {
        #[serde(default)]
        include_usage: bool,
    }
    serde_json::from_slice::<Body>(body)
        .is_ok_and(|body| body.stream_options.is_some_and(|options| options.include_usage))
}

fn json_reply(body: ReplyBody) -> Reply {
    let mut reply = Reply::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// Streams must not be held back or changed by what stands between us and the client.
fn mark_stream(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
}

/// What of the upstream's headers is the client's business. Copied, because each is a slice of the
/// connection's read buffer.
fn pass_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let text = name.as_str();
        let passed = text.starts_with("openai-")
            || (text.starts_with("anthropic-") && !text.starts_with("anthropic-ratelimit"))
            || name == CONTENT_DISPOSITION;
        let name = match text {
            "x-request-id" | "request-id" => X_UPSTREAM_REQUEST_ID,
            _ if passed => name.clone(),
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            to.insert(name, value);
        }
    }
}
