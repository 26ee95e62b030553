//! The way down: from what the upstream answered to what the client is sent.

use bytes::Bytes;
use dialect::{AnswerForm, Answered, Conversion, Kept, Kind, Whole, answer_form, ir};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, response};
use tokio::time::Instant;

use crate::body::idle::{Collected, Idle};
use crate::body::raw::Raw;
use crate::body::tap::{self, Tap};
use crate::body::transcode::Transcoded;
use crate::body::{Broken, Origin};
use crate::endpoint;
use crate::failure::Failure;
use crate::judge::{Refusal, hidden, judge};
use crate::offload::offload;
use crate::reply::{Reply, ReplyBody, mark_stream};
use crate::stage::{Call, Purpose};

/// Most of a refusal that is read.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Most of an answer that is held; a longer one streams on as accepted.
const LONGEST_WHOLE: usize = 32 << 20;

const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The reading of one answer.
pub(super) struct Reading<'a> {
    pub(super) call: &'a Call,
    pub(super) way: &'static dyn Conversion,
    pub(super) kept: Kept,
}

impl Reading<'_> {
    /// Reads an answer.
    ///
    /// # Errors
    /// What the upstream refused with, or what is wrong with its answer.
    pub(super) async fn read(self, head: &response::Parts, body: Idle) -> Result<Reply, Failure> {
        if !head.status.is_success() {
            return Err(Box::pin(self.refused(head.status, &head.headers, body)).await);
        }
        let asked = self.asked();
        let form = self.form(&head.headers, asked);
        let mut reply = match form {
            AnswerForm::Events(_) if self.call.attempt.exchange.peek.stream => {
                self.relay(form, head.status, body)?
            }
            // Only who asked for bytes can do anything with them.
            AnswerForm::Bytes if asked == AnswerForm::Bytes => self.pass(&head.headers, Bytes::new(), body),
            _ => Box::pin(self.hold(form, &head.headers, body)).await?,
        };
        pass_headers(&head.headers, reply.headers_mut());
        Ok(reply)
    }

    async fn refused(&self, status: StatusCode, headers: &HeaderMap, mut body: Idle) -> Failure {
        let began = Instant::now();
        // A refusal whose body breaks off is still a refusal.
        let body = body.collect(LONGEST_REFUSAL).await.map(|collected| collected.bytes).unwrap_or_default();
        self.waited(began);
        let outbound = self.call.attempt.target.channel.dialect.codec().upstream.outbound;
        judged(self.call, status, headers, outbound.error(status, headers, &body), body)
    }

    /// The form of answer that this call asks for.
    fn asked(&self) -> AnswerForm {
        match self.call.attempt.exchange.endpoint.answer {
            endpoint::AnswerForm::Bytes => AnswerForm::Bytes,
            _ if self.call.stream => {
                AnswerForm::Events(self.call.attempt.target.channel.dialect.codec().upstream.framing)
            }
            _ => AnswerForm::Json,
        }
    }

    fn form(&self, headers: &HeaderMap, asked: AnswerForm) -> AnswerForm {
        answer_form(headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes), b"", asked)
    }

    /// Events for a client that wants events.
    fn relay(self, form: AnswerForm, status: StatusCode, body: Idle) -> Result<Reply, Failure> {
        let AnswerForm::Events(framing) = form else { return Err(Failure::Internal) };
        let exchange = &self.call.attempt.exchange;
        let want_text = !exchange.catalog.triggers().is_empty();
        let channel = &self.call.attempt.target.channel;
        let origin = Origin { channel: channel.clone(), credential: self.call.credential.clone() };
        let to = self.kept.framing();
        let body = match self.way.probe(&self.kept).filter(|_| framing == to) {
            Some(probe) => {
                ReplyBody::stream(Tap::new(body, framing, probe, origin, self.kept.hides_usage(), want_text))
            }
            None => match self.way.events(&self.kept) {
                Some(transcode) => {
                    ReplyBody::stream(Transcoded::new(body, framing, transcode, origin, want_text))
                }
                None => {
                    return Err(garbled(self.call, "upstream answered with events that were not asked for"));
                }
            },
        };
        let mut reply = Reply::new(body);
        *reply.status_mut() = status;
        mark_stream(reply.headers_mut(), HeaderValue::from_static(to.content_type()));
        Ok(reply)
    }

    /// An answer that is read whole.
    async fn hold(self, form: AnswerForm, headers: &HeaderMap, mut body: Idle) -> Result<Reply, Failure> {
        let Collected { bytes, whole } = self.collect(&mut body).await?;
        if !whole {
            // Only bytes that go on as they are can go on unread.
            let exchange = &self.call.attempt.exchange;
            let passes = form == AnswerForm::Json
                && !exchange.peek.stream
                && self.call.attempt.target.channel.dialect == exchange.dialect();
            return match passes {
                true => Ok(self.pass(headers, bytes, body)),
                false => Err(garbled(self.call, "the answer is longer than 32 MiB")),
            };
        }
        let answered = Answered { bytes, form, content_type: headers.get(CONTENT_TYPE).cloned() };
        self.join([answered]).await
    }

    /// One of several answers that are joined, read whole.
    pub(super) async fn collect_whole(
        &self,
        head: &response::Parts,
        mut body: Idle,
    ) -> Result<Answered, Failure> {
        if !head.status.is_success() {
            return Err(self.refused(head.status, &head.headers, body).await);
        }
        let form = self.form(&head.headers, self.asked());
        let Collected { bytes, whole } = self.collect(&mut body).await?;
        if !whole {
            return Err(garbled(self.call, "the answer is longer than 32 MiB"));
        }
        Ok(Answered { bytes, form, content_type: head.headers.get(CONTENT_TYPE).cloned() })
    }

    /// The client's answer from whole ones.
    pub(super) async fn join(
        self,
        answers: impl AsRef<[Answered]> + Send + 'static,
    ) -> Result<Reply, Failure> {
        let Self { call, way, kept } = self;
        let length = answers.as_ref().iter().map(|answer| answer.bytes.len()).sum();
        let whole = offload(length, move || way.whole(answers.as_ref(), &kept)).await?;
        let Whole { bytes, content_type, sighting } = whole.map_err(|error| {
            let status = error.status;
            judged(call, status, &HeaderMap::new(), error, Bytes::new())
        })?;
        let exchange = &call.attempt.exchange;
        // A client may read any shape of judgement; the gateway must find the verdict.
        let is_judged = exchange.purpose == Purpose::Client
            || exchange.endpoint.kind != Kind::Moderate
            || sighting.flagged().is_some();
        if (!sighting.done || !is_judged) && sighting.error().is_none() {
            return Err(garbled(call, "it is not a JSON answer"));
        }
        let mut reply = Reply::new(ReplyBody::whole(bytes, sighting));
        if exchange.peek.stream {
            mark_stream(reply.headers_mut(), content_type);
        } else {
            reply.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        Ok(reply)
    }

    /// An answer that goes on as it is, unread.
    fn pass(&self, headers: &HeaderMap, first: Bytes, rest: Idle) -> Reply {
        let name = self.call.attempt.target.channel.name.clone();
        let mut reply = Reply::new(ReplyBody::stream(Raw::new(first, rest, name)));
        let claimed =
            headers.get(CONTENT_TYPE).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        reply.headers_mut().insert(CONTENT_TYPE, claimed.unwrap_or(JSON));
        reply
    }

    async fn collect(&self, body: &mut Idle) -> Result<Collected, Failure> {
        let began = Instant::now();
        let collected = body.collect(LONGEST_WHOLE).await;
        self.waited(began);
        collected.map_err(|broken| self.broken(broken))
    }

    fn waited(&self, began: Instant) {
        self.call.attempt.exchange.ledger.entry().waited += began.elapsed();
    }

    fn broken(&self, broken: Broken) -> Failure {
        let channel = &self.call.attempt.target.channel.name;
        tap::failure(Some(broken), false, channel)
            .unwrap_or_else(|| Failure::Truncated { channel: channel.clone() })
    }
}

fn garbled(call: &Call, detail: &str) -> Failure {
    Failure::Garbled { channel: call.attempt.target.channel.name.clone(), detail: detail.to_owned() }
}

fn judged(call: &Call, status: StatusCode, headers: &HeaderMap, error: ir::Error, body: Bytes) -> Failure {
    let channel = &call.attempt.target.channel;
    judge(Refusal {
        channel: &channel.name,
        status,
        headers,
        error,
        body,
        dialect: channel.dialect,
        asked: call.attempt.exchange.asked(&call.attempt.target.upstream_model),
        hidden: &hidden(channel, call.credential.as_ref()),
    })
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
