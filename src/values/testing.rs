//! Records for tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialect::Dialect;
use dialect::ir::Usage;
use http::{HeaderMap, StatusCode};
use layers::address::Addresses;
use layers::ledger::{AttemptRecord, Entry};
use layers::policy::{Caller, Channel, ChannelName, Fingerprint, Link, Retries, Role, Target, Timeouts};
use layers::ports::{
    Health, InputTokens, KeyOutcome, Keys, KeysExhausted, Lease, Meters, Presented, Provider, Unsupported,
    Wanted,
};
use layers::request_id::RequestId;
use layers::stage::TriedKeys;
use tokio::time::Instant;

struct Nothing;

impl Keys for Nothing {
    fn lease(self: Arc<Self>, _: &Target, _: &TriedKeys, _: InputTokens) -> Result<Lease, KeysExhausted> {
        Ok(Lease::keyless())
    }
    fn lease_wanted(
        self: Arc<Self>,
        _: &Target,
        _: &Fingerprint,
        _: InputTokens,
    ) -> Result<Lease, KeysExhausted> {
        Err(KeysExhausted::Gone)
    }
    fn count(&self) -> usize {
        0
    }
    fn has_spare(&self, _: &Target, _: &TriedKeys) -> bool {
        false
    }
    fn settle(&self, _: u32, _: &str, _: KeyOutcome) {}
    fn release(&self, _: u32, _: &str) {}
}

impl Health for Nothing {
    fn settle(&self, _: bool, _: Duration, _: Instant) {}
    fn cooling_until(&self, _: Instant) -> Option<Instant> {
        None
    }
}

impl Meters for Nothing {
    fn attempt(&self, _: &'static str, _: Duration) {}
}

impl Provider for Nothing {
    fn address(&self, _: Wanted<'_>) -> Result<http::Uri, Unsupported> {
        Err(Unsupported("it is nowhere".into()))
    }

    fn sign(
        &self,
        _: &mut http::Request<Vec<bytes::Bytes>>,
        _: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        Ok(())
    }
}

/// A caller whose fingerprint is sixteen letters.
pub(crate) fn caller(alias: &str) -> Arc<Caller> {
    Arc::new(Caller {
        alias: alias.into(),
        fingerprint: Fingerprint::new("aaaaaaaaaaaaaaaa"),
        role: Role::User,
        retries: Retries::Budget,
        moderation: false,
        credits: None,
        expose_route: false,
        ordinal: 0,
    })
}

/// A model on a channel.
pub(crate) fn target(channel: &str, model: &str) -> Arc<Target> {
    Arc::new(Target {
        channel: Arc::new(Channel {
            name: ChannelName::from(channel),
            dialect: Dialect::OpenAiChat,
            provider: Arc::new(Nothing),
            keys: Arc::new(Nothing),
            link: Link::default(),
            headers: HeaderMap::new(),
            tools: true,
            image: true,
            takes: Default::default(),
            passthrough_headers: Vec::new(),
            envelope: Default::default(),
            quirks: Default::default(),
            asks_usage: Arc::default(),
        }),
        place: None,
        alias: model.into(),
        upstream_model: model.into(),
        addresses: Addresses::of(&Nothing, model, None),
        upstream_model_json: Bytes::from(format!("{model:?}")),
        timeouts: Timeouts {
            idle: Duration::from_secs(1),
            opening: Duration::from_secs(1),
            total: Duration::from_secs(1),
        },
        timing: None,
        keepalive: None,
        cooldown: Duration::ZERO,
        overrides: None,
        forced_stream: None,
        key_quota: None,
        health: Arc::new(Nothing),
        meters: Arc::new(Nothing),
    })
}

/// One try.
pub(crate) fn attempt(channel: &str, outcome: &'static str) -> AttemptRecord {
    AttemptRecord {
        channel: ChannelName::from(channel),
        place: None,
        side_call: None,
        key: Some(Fingerprint::new("bbbbbbbbbbbbbbbb")),
        began: Duration::from_millis(1),
        outcome,
        elapsed: Duration::from_millis(250),
    }
}

/// A streamed request that channel `served` answered with 10 input and 5 output tokens.
pub(crate) fn entry(model: &str) -> Entry {
    let mut entry = Entry::new(
        RequestId::draw(),
        &layers::endpoint::CHAT_COMPLETIONS,
        caller("alice"),
        model.into(),
        Instant::now(),
    );
    entry.model_known = true;
    entry.stream = true;
    entry.client = Some([203, 0, 113, 9].into());
    entry.body_bytes = 1000;
    entry.attempts = vec![attempt("served", "ok")];
    entry.waited = Duration::from_millis(250);
    entry.accepted = Some(Duration::from_micros(250_100));
    entry.target = Some(target("served", model));
    entry.status = StatusCode::OK;
    entry.usage = Some(Usage {
        input_total: 10,
        cached_read: 4,
        output_total: 5,
        reasoning: 2,
        stated_total: 15,
        ..Usage::default()
    });
    entry.elapsed = Duration::from_millis(1500);
    entry
}
