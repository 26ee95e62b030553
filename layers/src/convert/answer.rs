//! The way down: from what the upstream answered to what the client is sent.

use bytes::Bytes;
use dialect::{AnswerForm, Answered, Conversion, Framing, Kept, Kind, Whole, answer_form, ir};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode, response};
use tokio::time::Instant;

use super::asking::{hidden, silence};
use super::came::came;
use crate::body::idle::{Collected, Idle, Left};
use crate::body::raw::Raw;
use crate::body::tap::{self, Tap};
use crate::body::transcode::Transcoded;
use crate::body::{Broken, Origin};
use crate::capacity::Held;
use crate::endpoint;
use crate::failure::Failure;
use crate::forward;
use crate::judge::{Refusal, judge};
use crate::observe::telling;
use crate::offload::offload;
use crate::reply::{Reply, ReplyBody, mark_stream};
use crate::stage::{Attempt, Call, Purpose};

/// Most of a refusal that is read.
const LONGEST_REFUSAL: usize = 64 << 10;
/// Most of an answer that is held; a longer one streams on as accepted.
const LONGEST_WHOLE: usize = 32 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

type Begun = Result<AnswerForm, Failure>;

/// The reading of one answer.
pub(super) struct Reading<'a> {
    pub(super) call: &'a Call,
    pub(super) way: &'static dyn Conversion,
    pub(super) kept: Box<Kept>,
}

impl Reading<'_> {
    /// Reads an answer.
    ///
    /// # Errors
    /// What the upstream refused with, or what is wrong with its answer.
    pub(super) async fn read(self, head: &response::Parts, mut body: Idle) -> Result<Reply, Failure> {
        if !head.status.is_success() {
            return Err(Box::pin(self.refused(head.status, &head.headers, body)).await);
        }
        let asked = self.asked();
        // What is held whole is looked at when it is there.
        let flows = self.call.attempt.exchange.peek.stream || asked == AnswerForm::Bytes;
        let form = if flows { Some(self.begun(&head.headers, asked, &mut body).await?) } else { None };
        let mut reply = match form {
            Some(AnswerForm::Events(framing)) if self.call.attempt.exchange.peek.stream => {
                self.relay(framing, head.status, body)?
            }
            // Only who asked for bytes can do anything with them.
            Some(AnswerForm::Bytes) if asked == AnswerForm::Bytes => {
                self.pass(&head.headers, Bytes::new(), body)
            }
            _ => Box::pin(self.hold(&head.headers, body)).await?,
        };
        forward::add_upstream_headers(&head.headers, reply.headers_mut());
        Ok(reply)
    }

    async fn refused(&self, status: StatusCode, headers: &HeaderMap, mut body: Idle) -> Failure {
        telling::redirect(&self.call.attempt, status, headers);
        let began = Instant::now();
        // A refusal whose body breaks off is still a refusal.
        let body = body.collect(LONGEST_REFUSAL, &mut Held::default()).await;
        let body = body.map(|collected| collected.bytes).unwrap_or_default();
        self.waited(began);
        let outbound = self.call.attempt.target.channel.dialect.codec().upstream.outbound;
        judged(self.call, status, headers, outbound.error(status, headers, &body), body)
    }

    /// The form of answer that this call asks for.
    fn asked(&self) -> AnswerForm {
        match self.call.attempt.exchange.endpoint.answer {
            endpoint::AnswerForm::Bytes => AnswerForm::Bytes,
            _ if self.call.stream => {
                let channel = &self.call.attempt.target.channel;
                AnswerForm::Events(channel.envelope.framing_of(channel.dialect))
            }
            _ => AnswerForm::Json,
        }
    }

    /// What an answer is of which this is the beginning.
    fn form(&self, headers: &HeaderMap, first: &[u8], asked: AnswerForm) -> AnswerForm {
        answer_form(headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes), first, asked)
    }

    /// The same of an answer whose beginning is awaited.
    async fn begun(&self, headers: &HeaderMap, asked: AnswerForm, body: &mut Idle) -> Begun {
        let began = Instant::now();
        let first = body.beginning().await;
        self.waited(began);
        first.map(|first| self.form(headers, &first, asked)).map_err(|broken| self.broken(broken))
    }

    /// Events for a client that wants events.
    fn relay(self, framing: Framing, status: StatusCode, body: Idle) -> Result<Reply, Failure> {
        let exchange = &self.call.attempt.exchange;
        let want_text = !exchange.catalog.triggers().is_empty();
        let channel = &self.call.attempt.target.channel;
        let origin = Origin::new(channel.clone(), self.call.credential.as_ref(), Some(&exchange.caller));
        let to = self.kept.framing();
        let body = match self.way.probe(&self.kept).filter(|_| framing == to) {
            Some(probe) => {
                ReplyBody::stream(Tap::new(body, framing, probe, origin, self.kept.hides_usage(), want_text))
            }
            None => {
                let unasked = || garbled(self.call, "upstream answered with events that were not asked for");
                let transcode = self.way.events(&self.kept).ok_or_else(unasked)?;
                let transcoded = Transcoded::new(body, framing, transcode, origin, want_text);
                ReplyBody::stream(transcoded.pinging(silence(self.call)))
            }
        };
        let mut reply = Reply::new(body);
        *reply.status_mut() = status;
        mark_stream(reply.headers_mut(), HeaderValue::from_static(to.content_type()));
        Ok(reply)
    }

    /// An answer that is read whole, as far as there is room for it.
    async fn hold(self, headers: &HeaderMap, mut body: Idle) -> Result<Reply, Failure> {
        let (answered, left, held) = self.collect(headers, &mut body).await?;
        if left != Left::Nothing {
            // Only bytes that go on as they are can go on unread.
            let exchange = &self.call.attempt.exchange;
            let passes = answered.form == AnswerForm::Json
                && !exchange.peek.stream
                && self.call.attempt.target.channel.dialect == exchange.dialect();
            return match passes {
                true => Ok(self.pass(headers, held.carried_by(answered.bytes), body)),
                false => Err(self.unheld(left, &held)),
            };
        }
        self.join([answered], held).await
    }

    /// The failure of an answer that has to be held and cannot be.
    fn unheld(&self, left: Left, held: &Held) -> Failure {
        match left {
            // Nothing is wrong with the channel, and others would not find more room.
            Left::NoRoom => held.refuse(),
            Left::TooLong | Left::Nothing => garbled(self.call, "the answer is longer than 32 MiB"),
        }
    }

    /// One of several answers that are joined, read whole.
    pub(super) async fn collect_whole(
        &self,
        head: &response::Parts,
        mut body: Idle,
    ) -> Result<(Answered, Held), Failure> {
        if !head.status.is_success() {
            return Err(self.refused(head.status, &head.headers, body).await);
        }
        match self.collect(&head.headers, &mut body).await? {
            (answered, Left::Nothing, held) => Ok((answered, held)),
            (_, left, held) => Err(self.unheld(left, &held)),
        }
    }

    /// The client's answer from whole ones, which `held` holds. It keeps that until it is sent.
    pub(super) async fn join(
        self,
        answers: impl AsRef<[Answered]> + Send + 'static,
        held: Held,
    ) -> Result<Reply, Failure> {
        let Self { call, way, kept } = self;
        let length = answers.as_ref().iter().map(|answer| answer.bytes.len()).sum();
        let (whole, answers) = offload(length, move || (way.whole(answers.as_ref(), &kept), answers)).await?;
        let came = || came(answers.as_ref(), &hidden(call));
        let Whole { bytes, content_type, sighting } = whole.map_err(|error| match error.is_malformed() {
            true => garbled(call, &format!("{}: {}", error.message, came())),
            false => judged(call, error.status, &HeaderMap::new(), error, Bytes::new()),
        })?;
        let exchange = &call.attempt.exchange;
        // A client may read any shape of judgement; the gateway must find the verdict.
        let is_judged = exchange.purpose == Purpose::Client
            || exchange.endpoint.kind != Kind::Moderate
            || sighting.flagged().is_some();
        if (!sighting.done || !is_judged) && sighting.error().is_none() {
            return Err(garbled(call, &came()));
        }
        let mut reply = Reply::new(ReplyBody::whole(held.carried_by(bytes), sighting));
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

    /// Reads an answer, as far as there is room for it: what came, what is left, and what it holds.
    async fn collect(&self, headers: &HeaderMap, body: &mut Idle) -> Result<(Answered, Left, Held), Failure> {
        let mut held = self.call.attempt.exchange.held.for_answer();
        let began = Instant::now();
        let collected = body.collect(LONGEST_WHOLE, &mut held).await;
        self.waited(began);
        let Collected { bytes, left } = collected.map_err(|broken| self.broken(broken))?;
        let form = self.form(headers, &bytes, self.asked());
        Ok((Answered { bytes, form, content_type: headers.get(CONTENT_TYPE).cloned() }, left, held))
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
    let (Attempt { target, exchange, .. }, hidden) = (&call.attempt, &hidden(call));
    let (channel, dialect) = (&target.channel.name, target.channel.dialect);
    let asked = exchange.asked(&target.upstream_model);
    judge(Refusal { channel, status, headers, error, body, dialect, asked, hidden })
}

#[cfg(test)]
mod tests;
