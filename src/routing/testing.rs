//! Builders that the tests of this module share.

use std::sync::Arc;

use layers::policy::{Caller, Channel, ChannelName, Target};
use layers::ports::{Health, Keys};
use layers::testing::policy;

use crate::state::Runtime;
use crate::state::keys::KeySettings;

pub(crate) fn channel_with(name: &str, keys: Arc<dyn Keys>) -> Arc<Channel> {
    policy::channel(name).keys(keys).build()
}

pub(crate) fn channel_named(name: &str) -> Arc<Channel> {
    let runtime = Runtime::new(None);
    channel_with(name, runtime.keys(&ChannelName::from(name), KeySettings::default(), Vec::new()))
}

pub(crate) fn target_with(channel: &Arc<Channel>, alias: &str, health: Arc<dyn Health>) -> Arc<Target> {
    policy::target_of(channel.clone()).alias(alias).upstream_model(alias).health(health).build()
}

pub(crate) fn target(channel: &Arc<Channel>, alias: &str) -> Arc<Target> {
    target_with(channel, alias, Runtime::new(None).health(&channel.name, alias))
}

pub(crate) fn caller(ordinal: usize) -> Arc<Caller> {
    let (alias, digits) = (format!("caller {ordinal}"), format!("{ordinal:016x}"));
    policy::caller().alias(&alias).fingerprint(&digits).ordinal(ordinal).build()
}
