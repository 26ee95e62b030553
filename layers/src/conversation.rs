//! Recognises requests of one conversation, so that they return to who served it last.
//!
//! Providers keep what they have read for the account that sent it: a conversation that changes
//! between channels or keys is read, and paid for, anew with each turn. A request names its
//! conversation in a header of its agent or in its body; with `affinity: prefix` a conversation
//! without a name is recognised by how it begins ([`dialect::Dialect::opening`]).
//!
//! `ingress` reads the name, `resolve` looks its home up ([`Homes`]), the route asks that first
//! while it can serve ([`crate::plan::Plan::next`]), `lease` takes its key, and `failover` notes who
//! served. Nothing of it makes anybody ineligible.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use dialect::{Body, Kind};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::endpoint::Endpoint;
use crate::policy::{Affinity, Caller, ChannelName, Fingerprint, Target};
use crate::ports::Homes;
use crate::stage::Exchange;

/// The conversation that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// A digest of its name.
    pub name: u64,
    /// Who served it last; filled in by `resolve`.
    pub home: Option<Home>,
}

/// A channel and a provider key that served a conversation. By name, so that it holds over reloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The channel.
    pub channel: ChannelName,
    /// The place of the channel; none where it has none.
    pub place: Option<Arc<str>>,
    /// The key; none where the channel has none.
    pub key: Option<Fingerprint>,
}

impl Home {
    /// Whether this target is it.
    pub fn is(&self, target: &Target) -> bool {
        target.channel.name == self.channel && target.place == self.place
    }
}

/// Whether a header of this name names the conversation: those of Claude Code, Codex, opencode and
/// others who follow them.
pub(crate) fn is_session(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "x-claude-code-session-id"
            | "session_id"
            | "session-id"
            | "conversation_id"
            | "x-session-id"
            | "x-session-affinity"
            | "x-opencode-session"
            | "x-conversation-id"
    )
}

/// What a header names.
pub(crate) fn of_header(value: &HeaderValue) -> Option<u64> {
    (!value.is_empty()).then(|| name_of(value.as_bytes()))
}

/// The digest of a name.
pub fn name_of(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

/// How a conversation begins, where it is to be recognised by that: it has no other name, and its
/// key asks for it. Reads the whole body.
pub(crate) fn opening(endpoint: &Endpoint, body: &Body) -> Option<u64> {
    endpoint.client.opening(endpoint.kind, body)
}

/// The conversation that a body tells of, where it is one that its caller's requests return for.
pub fn in_body(endpoint: &Endpoint, caller: &Caller, body: &Body) -> Option<u64> {
    let head = body.json().and_then(|json| dialect::Head::read(json).ok());
    let named = head.and_then(|head| head.conversation().map(|name| name_of(name.as_bytes())));
    let begins = || if caller.affinity == Affinity::Prefix { opening(endpoint, body) } else { None };
    of(endpoint, caller, None, named.or_else(begins)).map(|conversation| conversation.name)
}

/// Whether conversations of this request are recognised by how they begin unless the body names
/// them.
pub(crate) fn by_opening(endpoint: &Endpoint, caller: &Caller, headers: &HeaderMap) -> bool {
    caller.affinity == Affinity::Prefix && endpoint.kind == Kind::Chat && !headers.keys().any(is_session)
}

/// The conversation of a request with these names.
pub(crate) fn of(
    endpoint: &Endpoint,
    caller: &Caller,
    header: Option<u64>,
    body: Option<u64>,
) -> Option<Box<Conversation>> {
    let name = header.or(body)?;
    let is_wanted = caller.affinity != Affinity::Off && endpoint.kind == Kind::Chat;
    is_wanted.then(|| Box::new(Conversation { name, home: None }))
}

/// Notes who has served the conversation of a request, if it has one.
pub(crate) fn note(exchange: &Exchange, target: &Target, homes: &dyn Homes) {
    let Some(conversation) = &exchange.conversation else { return };
    let key = exchange.ledger.entry().attempts.last().and_then(|attempt| attempt.key.clone());
    let home = Home { channel: target.channel.name.clone(), place: target.place.clone(), key };
    homes.keep(&exchange.caller.fingerprint, &exchange.peek.model, conversation.name, home);
}
