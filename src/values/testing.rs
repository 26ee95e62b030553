//! Records for tests.

use std::sync::Arc;
use std::time::Duration;

use dialect::ir::Usage;
use http::StatusCode;
use layers::ledger::{AttemptRecord, Entry};
use layers::policy::{Caller, ChannelName, Fingerprint, Target};
use layers::request_id::RequestId;
use layers::testing::policy;
use tokio::time::Instant;

/// A caller whose fingerprint is sixteen letters.
pub(crate) fn caller(alias: &str) -> Arc<Caller> {
    policy::caller().alias(alias).fingerprint("aaaaaaaaaaaaaaaa").build()
}

/// A model on a channel.
pub(crate) fn target(channel: &str, model: &str) -> Arc<Target> {
    policy::target(channel).alias(model).upstream_model(model).build()
}

/// One try.
pub(crate) fn attempt(channel: &str, outcome: &'static str) -> AttemptRecord {
    AttemptRecord {
        channel: ChannelName::from(channel),
        place: None,
        side_call: None,
        key: Some(Fingerprint::new("bbbbbbbbbbbbbbbb")),
        began: Duration::from_millis(1),
        waited: Duration::ZERO,
        outcome,
        elapsed: Duration::from_millis(250),
        fault: None,
        traced: None,
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
