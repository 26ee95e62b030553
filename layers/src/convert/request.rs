//! The way up: from the client's request to what the upstream is sent.

use std::sync::{Arc, PoisonError};
use std::time::UNIX_EPOCH;

use dialect::{Aim, Ask, Conversion, FetchedMedia, Refused, Sent, SentBody};
use http::HeaderValue;

use crate::failure::Failure;
use crate::heavy::heavy;
use crate::policy::Target;
use crate::ports::Media;
use crate::stage::{Call, Exchange, Payload};

/// What the client asks, for all attempts.
fn ask<'a>(exchange: &'a Exchange, media: &'a FetchedMedia, created: u64) -> Ask<'a> {
    Ask {
        kind: exchange.endpoint.kind,
        client: exchange.endpoint.client,
        body: &exchange.body,
        query: &exchange.query,
        model_place: &exchange.peek.model_place,
        stream: exchange.peek.stream,
        want_text: !exchange.catalog.triggers().is_empty(),
        id: exchange.id.as_str(),
        created,
        neutral: &exchange.neutral,
        media,
    }
}

/// What this attempt is aimed at.
fn aim(target: &Target, stream: bool, ask_usage: bool) -> Aim<'_> {
    let channel = &target.channel;
    Aim {
        alias: &target.alias,
        model: &target.upstream_model,
        model_json: &target.upstream_model_json,
        stream,
        tools: channel.tools,
        image: channel.image,
        ask_usage,
        as_json: target.overrides.is_some(),
        betas: &[],
        envelope: &channel.envelope,
        quirks: &channel.quirks,
    }
}

/// When the request came, in unix seconds.
fn created(exchange: &Exchange) -> u64 {
    exchange.ledger.entry().arrived.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn fetched(exchange: &Exchange) -> Arc<FetchedMedia> {
    exchange.media.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What the upstream is sent.
///
/// # Errors
/// [`Failure::Invalid`] for a body that the client's dialect cannot read,
/// [`Failure::Unsupported`] for one that the upstream's cannot express.
pub(super) async fn up(
    way: &'static dyn Conversion,
    call: &Call,
    ask_usage: bool,
) -> Result<Vec<Sent>, Failure> {
    let (exchange, target, stream) =
        (call.attempt.exchange.clone(), call.attempt.target.clone(), call.stream);
    let work = if passes_untouched(call) { 0 } else { exchange.body.len() };
    let name = target.channel.name.clone();
    let sent = heavy(work, move || {
        let (media, created) = (fetched(&exchange), created(&exchange));
        way.up(&ask(&exchange, &media, created), &aim(&target, stream, ask_usage))
    });
    sent.await?.map_err(|refused| match refused {
        Refused::Malformed(malformed) => Failure::invalid(malformed.message, None),
        Refused::Unsupported(unsupported) => {
            Failure::Unsupported { channel: name, what: unsupported.message }
        }
    })
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
}

/// Fetches the media that the upstream cannot fetch itself, unless an earlier attempt has.
///
/// # Errors
/// [`Failure::Unsupported`] when one of them cannot be had: another channel may follow it.
pub(super) async fn fetch_media(
    way: &'static dyn Conversion,
    call: &Call,
    media: &dyn Media,
) -> Result<(), Failure> {
    let (exchange, target) = (&call.attempt.exchange, &call.attempt.target);
    if !target.channel.envelope.fetches_media {
        return Ok(());
    }
    let missing = {
        let (exchange, target, stream) = (exchange.clone(), target.clone(), call.stream);
        heavy(exchange.body.len(), move || {
            let media = fetched(&exchange);
            way.fetches(&ask(&exchange, &media, 0), &aim(&target, stream, false))
        })
        .await?
    };
    // What cannot be read is refused on the way up.
    for address in missing.unwrap_or_default() {
        let unsupported = |what| Failure::Unsupported { channel: target.channel.name.clone(), what };
        let found = media.fetch(&address).await.map_err(unsupported)?;
        let mut known = exchange.media.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut known).insert(address, &found.mime, &found.bytes);
    }
    Ok(())
}

/// The call with this body.
pub(super) fn upward(call: &Call, body: SentBody, content_type: Option<HeaderValue>) -> Call {
    Call {
        attempt: call.attempt.clone(),
        credential: call.credential.clone(),
        payload: match body {
            SentBody::Bytes(parts) => Payload::Bytes(parts),
            SentBody::Json(map) => Payload::Json(map.into()),
        },
        content_type,
        stream: call.stream,
    }
}

/// Whether a failure is about what was added to the request without the client's asking.
pub(super) fn blames_addition(call: &Call, failure: &Failure) -> bool {
    let Failure::Upstream(rejection) = failure else { return false };
    matches!(rejection.status.as_u16(), 400 | 422)
        && call.attempt.exchange.dialect().names_addition(&rejection.error, &rejection.body)
}
