//! The way up: from the client's request to what the upstream is sent.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dialect::{Conversion, Envelope, Refused, Sent, SentBody};
use http::HeaderValue;
use tokio::time::Instant;

use super::Memory;
use super::asking::{aim, ask, created, fetched};
use crate::failure::{Blame, Failure};
use crate::forward;
use crate::offload::{INLINE, offload};
use crate::policy::Target;
use crate::ports::{Media, Unfetched};
use crate::stage::{Attempt, Call, Exchange, Payload};

/// Most media that are fetched for one request.
const MOST_MEDIA: usize = 32;
/// Longest time that all of them may take.
const LONGEST_FETCH: Duration = Duration::from_secs(30);

/// What the upstream is sent.
///
/// # Errors
/// [`Failure::Invalid`] for a body that the client's dialect cannot read,
/// [`Failure::Unsupported`] for one that the upstream's cannot express.
pub(super) async fn up(
    way: &'static dyn Conversion,
    call: &Call,
    memory: &Memory,
    ask_usage: bool,
) -> Result<Vec<Sent>, Failure> {
    let (exchange, target, stream) = (&call.attempt.exchange, &call.attempt.target, call.stream);
    let work = if passes_untouched(call) { 0 } else { exchange.body.len() };
    hold_decoded(call, work)?;
    let betas = forward::betas_of_body(call);
    let go = move |exchange: &Exchange, target: &Target, memory: &Memory| {
        let (media, created) = (fetched(exchange), created(exchange));
        way.up(&ask(exchange, &media, memory, created), &aim(target, &betas, stream, ask_usage))
    };
    let sent = if work <= INLINE {
        go(exchange, target, memory)
    } else {
        let (exchange, target, memory) = (exchange.clone(), target.clone(), memory.clone());
        offload(work, move || go(&exchange, &target, &memory)).await?
    };
    sent.map_err(|refused| match refused {
        Refused::Malformed(malformed) => malformed.into(),
        Refused::Unsupported(unsupported) => {
            let channel = call.attempt.target.channel.name.clone();
            Failure::Unsupported { channel, what: unsupported.message, param: unsupported.param }
        }
    })
}

/// Counts the decoded body, which all attempts share, against the byte budget: once, and as long as
/// the body, which it is at most but for the smallest of values.
///
/// # Errors
/// [`Failure::Overloaded`] when there is no room for it.
fn hold_decoded(call: &Call, work: usize) -> Result<(), Failure> {
    let exchange = &call.attempt.exchange;
    if work == 0 || call.attempt.target.channel.dialect == exchange.dialect() {
        return Ok(());
    }
    let mut shared = exchange.shared.lock().unwrap_or_else(PoisonError::into_inner);
    if !shared.is_decoded {
        let mut held = exchange.held.another();
        held.grow(work)?;
        shared.held.absorb(held);
        shared.is_decoded = true;
    }
    Ok(())
}

/// Whether nothing of the body needs to be read: however long it is, this is no work.
fn passes_untouched(call: &Call) -> bool {
    let (exchange, target) = (&call.attempt.exchange, &call.attempt.target);
    let channel = &target.channel;
    channel.dialect == exchange.dialect()
        && target.overrides.is_none()
        && channel.tools
        && channel.image
        && call.stream == exchange.peek.stream
        && channel.envelope == Envelope::PLAIN
        && !exchange.dialect().is_mended(
            exchange.endpoint.kind,
            &exchange.body,
            &target.alias,
            &target.upstream_model,
            channel.quirks,
        )
}

/// Fetches the media that the upstream cannot fetch itself, unless an earlier attempt has.
///
/// All of them together take no longer than one may, and there are only so many.
///
/// # Errors
/// [`Failure::Unsupported`] when one of them cannot be had: another channel may follow it.
/// [`Failure::Overloaded`] when there is no room for them.
pub(super) async fn fetch_media(
    way: &'static dyn Conversion,
    call: &Call,
    media: &dyn Media,
    memory: &Memory,
) -> Result<(), Failure> {
    let (exchange, target) = (&call.attempt.exchange, &call.attempt.target);
    if !target.channel.envelope.fetches_media {
        return Ok(());
    }
    let missing = {
        let (exchange, target, stream) = (exchange.clone(), target.clone(), call.stream);
        let memory = memory.clone();
        offload(exchange.body.len(), move || {
            let media = fetched(&exchange);
            way.fetches(&ask(&exchange, &media, &memory, 0), &aim(&target, &[], stream, false))
        })
        .await?
    };
    let unsupported = |what| Failure::Unsupported { channel: target.channel.name.clone(), what, param: None };
    // What cannot be read is refused on the way up.
    let mut missing = missing.unwrap_or_default();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if missing.len() > MOST_MEDIA {
        return Err(unsupported(format!("more than {MOST_MEDIA} addresses would have to be fetched for it")));
    }
    let fetching = async {
        for address in missing {
            let found = media.fetch(&address).await.map_err(|unfetched| match unfetched {
                Unfetched::Overloaded => Failure::Overloaded,
                Unfetched::Refused(what) => unsupported(what),
            })?;
            let mut store = exchange.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let mut held = exchange.held.another();
            held.grow(found.bytes.len())?;
            store.held.absorb(held);
            Arc::make_mut(&mut store.fetched).insert(address, &found.mime, &found.bytes);
        }
        Ok(())
    };
    let late = |_elapsed| unsupported("the addresses in it could not be fetched in time".to_owned());
    let began = Instant::now();
    let fetched = tokio::time::timeout(LONGEST_FETCH, fetching).await;
    exchange.ledger.entry().waited += began.elapsed();
    fetched.map_err(late)?
}

/// The call with this body, which counts against the byte budget where it was written anew.
///
/// # Errors
/// [`Failure::Overloaded`] when there is no room for it.
pub(super) fn upward(
    call: &Call,
    body: SentBody,
    content_type: Option<HeaderValue>,
) -> Result<Call, Failure> {
    let mut held = call.attempt.exchange.held.another();
    if !passes_untouched(call) {
        held.grow(written(&body, call.attempt.exchange.body.len()))?;
    }
    Ok(Call {
        attempt: call.attempt.clone(),
        credential: call.credential.clone(),
        payload: match body {
            SentBody::Bytes(parts) => Payload::Bytes(parts),
            SentBody::Json(map) => Payload::Json(map.into()),
        },
        content_type,
        stream: call.stream,
        held,
    })
}

/// How many bytes of a body are new: large media within it are slices of what is held already.
fn written(body: &SentBody, received: usize) -> usize {
    /// What is longer is a slice, as `dialect` writes it.
    const LONGEST_PIECE: usize = 64 << 10;
    match body {
        SentBody::Bytes(parts) if parts.len() > 1 => {
            parts.iter().map(bytes::Bytes::len).filter(|length| *length <= LONGEST_PIECE).sum()
        }
        SentBody::Bytes(parts) => parts.iter().map(bytes::Bytes::len).sum(),
        // The value, and the bytes that are written of it.
        SentBody::Json(_) => 2 * received,
    }
}

/// Whether a failure may be about what was added to the request without the client's asking: of an
/// upstream that has never taken it, any refusal of the request may be that says no other reason.
pub(super) fn may_blame_addition(call: &Call, failure: &Failure) -> bool {
    let Failure::Upstream(rejection) = failure else { return false };
    let is_understood = call.attempt.target.channel.usage_wish.is_understood();
    let is_unexplained = rejection.blame == Blame::Request && !is_understood;
    matches!(rejection.status.as_u16(), 400 | 422) && (is_unexplained || names_addition(call, failure))
}

/// Whether a refusal names what was added.
pub(super) fn names_addition(call: &Call, failure: &Failure) -> bool {
    let Failure::Upstream(rejection) = failure else { return false };
    let Attempt { exchange, target, .. } = &call.attempt;
    exchange.dialect().names_addition(&rejection.error, &exchange.asked(&target.upstream_model))
}
