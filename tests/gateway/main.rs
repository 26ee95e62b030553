//! The built binary, as its users meet it: a process with an `api.yaml`, real sockets on both sides,
//! upstreams that answer what real ones were recorded to answer or break in all the ways that
//! real ones break.
//!
//! What is decided, and when, is proven faster and to the second by `src/pipeline/tests`; here is what
//! needs sockets, a process, an SDK or a database.
//!
//! One module per concern, one test per sentence. Every test starts its own gateway, so all of
//! them run at once. `docs/parity.md` refers to tests as `module::test`.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

mod harness;

mod acceptance;
mod bad_input;
mod bad_upstream;
mod bad_yaml;
mod byte_identity;
mod claude_code;
mod codex;
mod converted;
mod cooldown;
mod credits;
mod demo;
mod distribution;
mod doctor;
mod explain;
mod failover;
mod forwarding;
mod google;
mod groups;
mod keepalive;
mod keys;
mod leaks;
mod ledger;
mod limits;
mod loops;
mod matrix;
mod memory;
mod messages;
mod metrics;
mod moderation;
mod proxies;
mod reload;
mod restart;
mod sdk;
mod sdk_responses;
mod served;
mod shutdown;
mod sources;
mod surface;
mod timeout_policy;
mod timeouts;
mod traces;
mod upstreams;
