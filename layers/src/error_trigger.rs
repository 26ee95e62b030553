//! Refuses answers that are not answers: errors inside a success, empty ones, configured triggers.
//!
//! Outside `convert`, whose sightings it reads; it never parses. Inside `timeout`, so that waiting
//! for an opening is bounded. Whatever it refuses is a failure of the attempt like any other, so
//! `failover` needs no special case for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use dialect::Dialect;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::body::opening::{self, Opening};
use crate::failure::Failure;
use crate::judge::{Refusal, hidden, judge};
use crate::policy::Target;
use crate::ports::Secret;
use crate::reply::{Piece, Reply};
use crate::stage::{Call, Exchange};

/// Mounts [`ErrorTrigger`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorTriggerLayer;

/// The service of [`ErrorTriggerLayer`].
#[derive(Debug, Clone)]
pub struct ErrorTrigger<S> {
    inner: S,
}

// === impl ErrorTriggerLayer ===

impl<S> Layer<S> for ErrorTriggerLayer {
    type Service = ErrorTrigger<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ErrorTrigger { inner }
    }
}

// === impl ErrorTrigger ===

impl<S> Service<Call> for ErrorTrigger<S>
where
    S: Service<Call, Response = Reply, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let inspection = Inspection {
            exchange: call.attempt.exchange.clone(),
            target: call.attempt.target.clone(),
            secret: call.secret.clone(),
        };
        let answering = self.inner.call(call);
        Box::pin(async move { inspection.inspect(answering.await?).await })
    }
}

/// What judging one answer needs.
struct Inspection {
    exchange: Arc<Exchange>,
    target: Arc<Target>,
    secret: Option<Secret>,
}

impl Inspection {
    async fn inspect(&self, reply: Reply) -> Result<Reply, Failure> {
        let (head, body) = reply.into_parts();
        let body = match body.as_whole() {
            Some(piece) => {
                self.inspect_whole(piece, &head.headers)?;
                body
            }
            None => {
                let began = Instant::now();
                let opening = Box::pin(opening::read(body, self.exchange.catalog.triggers())).await;
                self.exchange.ledger.entry().waited += began.elapsed();
                match opening? {
                    Opening::Accepted(body) => (*body).with_voice(self.exchange.dialect),
                    Opening::Empty => return Err(self.empty()),
                    Opening::Triggered => return Err(self.triggered()),
                    Opening::Error(piece) => return Err(self.in_band(&piece, &head.headers)),
                }
            }
        };
        Ok(Reply::from_parts(head, body))
    }

    fn inspect_whole(&self, piece: &Piece, headers: &HeaderMap) -> Result<(), Failure> {
        let sighting = &piece.sighting;
        if sighting.error().is_some() {
            return Err(self.in_band(piece, headers));
        }
        let triggers = self.exchange.catalog.triggers();
        if !triggers.is_empty()
            && (sighting.text().is_some_and(|text| triggers.matches(text))
                || std::str::from_utf8(&piece.bytes).is_ok_and(|raw| triggers.matches(raw)))
        {
            return Err(self.triggered());
        }
        let cut = opening::is_cut(sighting);
        if !sighting.content && !cut && !self.exchange.operation.may_be_empty() && !self.prefilled() {
            return Err(self.empty());
        }
        Ok(())
    }

    /// Whether the last message is the assistant's: then nothing more to say is an answer. Read
    /// only when an answer is empty, which is rare.
    fn prefilled(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Conversation {
            messages: Vec<Message>,
        }
        #[derive(serde::Deserialize)]
        struct Message {
            role: String,
        }
        serde_json::from_slice::<Conversation>(&self.exchange.body)
            .is_ok_and(|talk| talk.messages.last().is_some_and(|message| message.role == "assistant"))
    }

    fn in_band(&self, piece: &Piece, headers: &HeaderMap) -> Failure {
        let error = piece.sighting.error().cloned();
        let error =
            error.unwrap_or_else(|| dialect::ir::Error::new(StatusCode::BAD_GATEWAY, "unknown error"));
        let same = self.target.channel.dialect == self.exchange.dialect;
        judge(Refusal {
            channel: &self.target.channel.name,
            status: error.status,
            headers,
            // An event is not a body; a whole answer of the client's own dialect is.
            body: if same && piece.sighting.done { piece.bytes.clone() } else { bytes::Bytes::new() },
            dialect: if same { self.exchange.dialect } else { Dialect::OpenAiChat },
            error,
            hidden: &hidden(&self.target.channel, self.secret.as_ref()),
        })
    }

    fn empty(&self) -> Failure {
        Failure::Empty { channel: self.target.channel.name.clone() }
    }

    fn triggered(&self) -> Failure {
        Failure::Triggered { channel: self.target.channel.name.clone() }
    }
}
