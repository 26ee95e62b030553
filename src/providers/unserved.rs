//! Channels that can be configured and not be asked: their requests go to the next channel.

use std::sync::Arc;

use layers::Failure;
use layers::policy::ChannelName;
use layers::ports::{Destination, Provider, Verdict};
use layers::stage::Call;

struct Unserved {
    reason: String,
}

/// A provider that refuses for this reason; said once, when the configuration is compiled.
pub(super) fn unserved(channel: &ChannelName, reason: &str) -> Arc<dyn Provider> {
    tracing::warn!(channel = %channel, reason, "Channel cannot be asked; its requests go to the next one.");
    Arc::new(Unserved { reason: reason.to_owned() })
}

impl Provider for Unserved {
    fn prepare(&self, call: &Call) -> Verdict<Destination> {
        let channel = call.attempt.target.channel.name.clone();
        Verdict::Ready(Err(Failure::Unsupported { channel, what: self.reason.clone() }))
    }

    fn unserved(&self) -> Option<&str> {
        Some(&self.reason)
    }
}
