//! Has texts judged by a moderation model before any chat provider sees them: `ENABLE_MODERATION`.
//!
//! After `rate_limit`, so that refused requests cost nothing upstream, and before `resolve`, so
//! that the question itself is an exchange of the same caller for the same inner stack: routed,
//! failed over, timed and cooled like any other, under the caller's permissions, and never
//! moderated itself. Its attempts and what it cost are kept in the record of the request that it
//! is for; it counts in no window.
//!
//! Looked at is every text since the last answer (`dialect` finds them), in pieces of up to 32,000
//! characters, a few of them asked about at once. It fails closed: without a verdict about every
//! piece nothing goes on. Returns [`Failure::Flagged`], [`Failure::ModerationUnavailable`] when
//! the caller has no channel for the model, [`Failure::ModerationFailed`] when none of them gave a
//! verdict. Where it is off the layer is one comparison.

use std::task::{Context, Poll};

use dialect::{Kind, ModelPlace};
use tower::{Layer, Service, ServiceExt};

use crate::capacity::Held;
use crate::concurrent::Concurrent;
use crate::decided_or::DecidedOr;
use crate::endpoint::MODERATIONS;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::offload::offload;
use crate::reply::Reply;
use crate::stage::{Exchange, Peek};

/// The model that is asked: the name under which a channel must offer it.
pub const MODEL: &str = "omni-moderation-latest";
/// Most characters in one question.
const LONGEST: usize = 32_000;
/// Where a text must be cut, it is cut behind white space if there is any among so many
/// characters.
const SLACK: usize = 1_000;
/// Most questions at once.
const AT_ONCE: usize = 4;

/// Mounts [`Moderation`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ModerationLayer;

/// The service of [`ModerationLayer`].
#[derive(Debug, Clone)]
pub struct Moderation<S> {
    inner: S,
}

// === impl ModerationLayer ===

impl<S> Layer<S> for ModerationLayer {
    type Service = Moderation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Moderation { inner }
    }
}

// === impl Moderation ===

impl<S> Service<Exchange> for Moderation<S>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Exchange) -> Self::Future {
        if exchange.caller.moderation.is_none() || exchange.endpoint.kind == Kind::Moderate {
            return DecidedOr::inner(self.inner.call(exchange));
        }
        let spare = self.inner.clone();
        let judges = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        DecidedOr::waiting(async move {
            let (text, _held) = text(&exchange).await?;
            if is_flagged(judges, &exchange, &text).await? {
                exchange.ledger.entry().flagged = true;
                return Err(Failure::Flagged);
            }
            drop(text);
            inner.call(exchange).await
        })
    }
}

/// The texts to be judged, one below the other, and the room that they take.
async fn text(exchange: &Exchange) -> Result<(String, Held), Failure> {
    let (dialect, scope) = (exchange.dialect(), exchange.caller.moderation.unwrap_or_default());
    let body = exchange.body.clone();
    let text =
        offload(body.len(), move || dialect.texts(&body, scope).map(|texts| texts.join("\n"))).await??;
    let mut held = exchange.held.another();
    held.grow(text.len())?;
    Ok((text, held))
}

/// Whether any piece of the text is flagged. The first flag or failure ends all other questions.
async fn is_flagged<S>(judges: S, exchange: &Exchange, text: &str) -> Result<bool, Failure>
where
    S: Service<Exchange, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut pieces = pieces(text);
    let mut asked = Concurrent::new(AT_ONCE);
    loop {
        while asked.has_room()
            && let Some(piece) = pieces.next()
        {
            let record = exchange.ledger.clone();
            asked.add(ask(judges.clone(), question(exchange, piece)?, record));
        }
        match asked.next().await {
            None => return Ok(false),
            Some(verdict) => {
                if verdict? {
                    return Ok(true);
                }
            }
        }
    }
}

/// Cuts a text into pieces that fit one question each, between words where it can.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().nth(LONGEST).map_or(rest.len(), |(end, _)| {
            let mut tail = rest[..end].char_indices().rev().take(SLACK);
            tail.find(|(_, c)| c.is_whitespace()).map_or(end, |(at, c)| at + c.len_utf8())
        });
        let (piece, more) = rest.split_at(end);
        rest = more;
        Some(piece)
    })
}

/// The exchange that asks about one piece of an exchange's text.
fn question(of: &Exchange, piece: &str) -> Result<Exchange, Failure> {
    let known = of.catalog.known_model(MODEL);
    let model_known = known.is_some();
    let model = known.unwrap_or_else(|| MODEL.into());
    let (body, span) = dialect::moderation::request(&model, piece);
    let mut held = of.held.another();
    held.grow(body.len())?;
    let peek = Peek { model, model_place: ModelPlace::Json(span), stream: false };
    Ok(of.side_call(&MODERATIONS, body, peek, model_known, held))
}

/// Asks, and reads the verdict. What comes of it is added to `record`.
async fn ask<S>(mut judge: S, question: Exchange, record: Ledger) -> Result<bool, Failure>
where
    S: Service<Exchange, Response = Reply, Error = Failure>,
{
    let ledger = question.ledger.clone();
    // Outlives the call, also when both are dropped because the client left.
    let _absorbing = Absorbing { record, call: ledger.clone() };
    let reply = judge.ready().await?.call(question).await.map_err(unmoderated)?;
    // `convert` accepts nothing without a verdict; an answer too long to be held has none either.
    let piece = reply.body().as_whole();
    if let Some(usage) = piece.and_then(|piece| piece.sighting.detail.as_ref()?.usage) {
        ledger.entry().usage = Some(usage);
    }
    piece.and_then(|piece| dialect::moderation::is_flagged(&piece.bytes)).ok_or_else(|| no_verdict(&ledger))
}

/// A guard that, when dropped, adds the record of a call to that of the request it was made for.
struct Absorbing {
    record: Ledger,
    call: Ledger,
}

impl Drop for Absorbing {
    fn drop(&mut self) {
        let call = self.call.entry().take();
        self.record.entry().absorb(call);
    }
}

/// What a failure of the question means for the request.
fn unmoderated(failure: Failure) -> Failure {
    match failure {
        Failure::ModelNotFound { .. } => Failure::ModerationUnavailable { model: MODEL },
        // Both are about the gateway's own state and say when to come back.
        failure @ (Failure::ModelsPending { .. } | Failure::Overloaded) => failure,
        failure => Failure::ModerationFailed(Box::new(failure)),
    }
}

fn no_verdict(ledger: &Ledger) -> Failure {
    let target = ledger.entry().target.clone();
    unmoderated(match target {
        Some(target) => Failure::Garbled {
            channel: target.channel.name.clone(),
            detail: "it holds no verdict".to_owned(),
        },
        None => Failure::NoChannel,
    })
}

#[cfg(test)]
mod tests;
