//! A channel with several keys.

use serde_json::{Value, json};

use super::super::super::*;

pub(crate) fn three_keys(upstream: &Upstream) -> Value {
    channel("a", upstream).with("/api", json!(["k1", "k2", "k3"]))
}
