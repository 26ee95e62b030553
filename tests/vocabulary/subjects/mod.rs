//! Words of one subject each, for its tests on either side.

pub(crate) mod bad_input;
pub(crate) mod bad_upstream;
pub(crate) mod credits;
pub(crate) mod distribution;
pub(crate) mod explain;
pub(crate) mod google;
pub(crate) mod groups;
pub(crate) mod keepalive;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod moderation;
pub(crate) mod timeout_policy;
