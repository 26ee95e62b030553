//! The headers that go on: those that belong to a dialect rather than to the connection.
//!
//! Of the client's these are, between equal dialects, the dialect's own. Those of Anthropic go to its upstreams from
//! clients of other dialects too, since the SDKs of those can add headers. A list of features in test
//! is joined with the channel's own; a provider that wants it in the body gets it there alone, and one
//! that refuses what it does not know is named only what it does.

use std::collections::HashSet;

use dialect::{Betas, Dialect};
use http::header::{CONTENT_DISPOSITION, HeaderMap, HeaderName, HeaderValue};

use crate::stage::Call;
use crate::trace_context::TRACEPARENT;

const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// Adds the client's headers.
pub(crate) fn add_client_headers(call: &Call, headers: &mut HeaderMap) {
    let exchange = &call.attempt.exchange;
    let equal = call.attempt.target.channel.dialect == exchange.dialect();
    let family = call.attempt.target.channel.dialect.family() == exchange.dialect();
    let anthropic = call.attempt.target.channel.dialect == Dialect::Anthropic;
    for (name, value) in &exchange.headers {
        let goes = match name.as_str() {
            own if own.starts_with("anthropic-") && anthropic => true,
            own if own.starts_with("openai-") => family,
            _ => equal && (name == ANTHROPIC_BETA || name == ANTHROPIC_VERSION),
        };
        if goes {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// What of the upstream's headers is the client's business. Copied, because each is a slice of the
/// connection's read buffer.
pub(crate) fn add_upstream_headers(from: &HeaderMap, to: &mut HeaderMap) {
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

/// Tells the upstream the span that asks it, in place of the client's; where no spans are made that
/// stays.
pub(crate) fn add_trace(call: &Call, headers: &mut HeaderMap) {
    let entry = call.attempt.exchange.ledger.entry();
    let Some(trace) = entry.trace else { return };
    let traced = entry.attempts.last().and_then(|attempt| attempt.traced.as_ref());
    let span = traced.map_or(trace.span, |traced| traced.upstream_span);
    if let Some(told) = trace.handed_on(span) {
        headers.insert(TRACEPARENT, told);
    }
}

/// Joins what the client and the channel's configuration name of features in test, now that the
/// latter stands in its place. What the client alone names stays as it came.
pub(crate) fn join_betas(call: &Call, headers: &mut HeaderMap) {
    let channel = &call.attempt.target.channel;
    if channel.envelope.betas == Betas::Body {
        headers.remove(ANTHROPIC_BETA);
    } else if channel.dialect == Dialect::Anthropic
        && call.attempt.exchange.headers.contains_key(ANTHROPIC_BETA)
        && (channel.headers.contains_key(ANTHROPIC_BETA) || channel.envelope.flags.is_some())
    {
        let joined = betas(call).join(",");
        if joined.is_empty() {
            headers.remove(ANTHROPIC_BETA);
        } else if let Ok(joined) = HeaderValue::from_str(&joined) {
            headers.insert(ANTHROPIC_BETA, joined);
        }
    }
}

/// The features in test that whoever writes the body has to know. Between equal dialects nobody
/// does, unless they stand in the body.
pub(crate) fn betas_of_body(call: &Call) -> Vec<String> {
    let channel = &call.attempt.target.channel;
    let converted = channel.dialect != call.attempt.exchange.dialect();
    match channel.dialect {
        _ if channel.envelope.betas == Betas::Body => betas(call),
        Dialect::Anthropic if converted => betas(call),
        _ => Vec::new(),
    }
}

/// The features in test that an attempt asks for: the client's, as far as the provider knows them,
/// then the channel's, each once.
fn betas(call: &Call) -> Vec<String> {
    let channel = &call.attempt.target.channel;
    let of_client = named(&call.attempt.exchange.headers).filter(|name| channel.envelope.knows(name));
    let names = of_client.chain(named(&channel.headers));
    let mut seen = HashSet::new();
    names.filter(|name| !name.is_empty() && seen.insert(*name)).map(str::to_owned).collect()
}

/// The features in test that headers name.
fn named(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(ANTHROPIC_BETA).into_iter();
    lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim)
}
