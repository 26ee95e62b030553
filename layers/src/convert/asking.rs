//! What a conversion is told of a request: what the client asks, and what an attempt is aimed at.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use dialect::{Aim, AnswersOf, Ask, FetchedMedia, SealsOf};

use super::Memory;
use crate::hidden::Hidden;
use crate::keepalive;
use crate::policy::Target;
use crate::stage::{Attempt, Call, Exchange};

/// What the client asks, for all attempts.
pub(super) fn ask<'a>(
    exchange: &'a Exchange,
    media: &'a FetchedMedia,
    memory: &'a Memory,
    created: u64,
) -> Ask<'a> {
    let owner = exchange.caller.fingerprint.as_str();
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
        conversation: exchange.conversation.as_deref().map(|conversation| conversation.name),
        seals: memory.seals.as_ref().map(|all| SealsOf { all, owner }),
        answers: memory
            .answers
            .as_ref()
            .filter(|_| exchange.endpoint.keeps && exchange.caller.store_responses)
            .map(|all| AnswersOf { all, owner }),
        previous: exchange.previous.as_ref(),
    }
}

/// What this attempt is aimed at.
pub(super) fn aim<'a>(target: &'a Target, betas: &'a [String], stream: bool, ask_usage: bool) -> Aim<'a> {
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
        betas,
        envelope: &channel.envelope,
        quirks: &channel.quirks,
    }
}

/// What no word of an answer may tell.
pub(super) fn hidden(call: &Call) -> Hidden {
    let Attempt { target, exchange, .. } = &call.attempt;
    Hidden::of(&target.channel, call.credential.as_ref(), Some(&exchange.caller))
}

/// Longest silence within a stream that is converted. Whoever has an interval, or gives up on silence,
/// is looked after by `keepalive`.
pub(super) fn silence(call: &Call) -> Option<Duration> {
    let Attempt { target, exchange, .. } = &call.attempt;
    (target.keepalive.is_none() && !exchange.dialect().gives_up_on_silence()).then_some(keepalive::BETWEEN)
}

/// When the request came, in unix seconds.
pub(super) fn created(exchange: &Exchange) -> u64 {
    exchange.ledger.entry().arrived.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn fetched(exchange: &Exchange) -> Arc<FetchedMedia> {
    exchange.shared.lock().unwrap_or_else(PoisonError::into_inner).fetched.clone()
}
