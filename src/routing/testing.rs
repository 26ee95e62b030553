//! Builders that the tests of this module share.

use std::sync::Arc;
use std::time::Duration;

use layers::address::Addresses;
use layers::policy::{Caller, Channel, ChannelName, Fingerprint, Link, Retries, Role, Target, Timeouts};
use layers::ports::{Health, Keys, Meters, Presented, Provider, Unsupported, Wanted};

use crate::state::Runtime;
use crate::state::keys::KeySettings;

pub(crate) struct Nowhere;

impl Provider for Nowhere {
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

impl Meters for Nowhere {
    fn attempt(&self, _: &'static str, _: Duration) {}
}

pub(crate) fn channel_with(name: &str, keys: Arc<dyn Keys>) -> Arc<Channel> {
    Arc::new(Channel {
        name: ChannelName::from(name),
        dialect: dialect::Dialect::OpenAiChat,
        provider: Arc::new(Nowhere),
        keys,
        link: Link::default(),
        headers: http::HeaderMap::new(),
        tools: true,
        image: true,
        takes: Default::default(),
        envelope: Default::default(),
        quirks: Default::default(),
        asks_usage: Default::default(),
        passthrough_headers: Default::default(),
    })
}

pub(crate) fn channel_named(name: &str) -> Arc<Channel> {
    let runtime = Runtime::new(None);
    channel_with(name, runtime.keys(&ChannelName::from(name), KeySettings::default(), Vec::new()))
}

pub(crate) fn target_with(channel: &Arc<Channel>, alias: &str, health: Arc<dyn Health>) -> Arc<Target> {
    Arc::new(Target {
        channel: Arc::clone(channel),
        place: None,
        alias: alias.into(),
        upstream_model: alias.into(),
        addresses: Addresses::of(&Nowhere, alias, None),
        upstream_model_json: format!("\"{alias}\"").into(),
        timeouts: Timeouts {
            idle: Duration::from_secs(100),
            opening: Duration::from_secs(600),
            total: Duration::from_secs(3600),
        },
        timing: None,
        keepalive: None,
        cooldown: Duration::from_secs(300),
        overrides: None,
        forced_stream: None,
        key_quota: None,
        health,
        meters: Arc::new(Nowhere),
    })
}

pub(crate) fn target(channel: &Arc<Channel>, alias: &str) -> Arc<Target> {
    target_with(channel, alias, Runtime::new(None).health(&channel.name, alias))
}

pub(crate) fn caller(ordinal: usize) -> Arc<Caller> {
    Arc::new(Caller {
        alias: format!("caller {ordinal}").into(),
        fingerprint: Fingerprint::new(&format!("{ordinal:016x}")),
        role: Role::User,
        retries: Retries::Budget,
        moderation: false,
        credits: None,
        expose_route: false,
        ordinal,
    })
}
