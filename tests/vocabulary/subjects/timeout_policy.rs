//! Channels under limits of time.

use serde_json::Value;

use super::super::super::*;

/// One channel under this policy, with the usual hundred seconds of silence.
pub(crate) fn under(policy: Value, upstream: &Upstream) -> Value {
    config([channel("a", upstream)]).with("/preferences/timeout_policy", policy)
}
