//! What the whole pipeline decides, and when: over upstreams that play scripts, under paused time.
//! The sentences are about what a client and its upstreams see, so they hold however the layers
//! share the work. `tests/gateway` has those that need sockets, a process or a database.

mod affinity;
mod bad_input;
mod bad_upstream;
mod bedrock;
mod bench;
mod blame;
mod caches;
mod cohere_and_cloudflare;
mod cooldown;
mod credits;
mod disposition;
mod distribution;
mod explain;
mod failover;
mod fitting;
mod forwarding;
mod google;
mod groups;
mod keepalive;
mod keys;
mod limits;
mod messages;
mod moderation;
mod openai_hosts;
mod overrides;
mod responses;
mod responses_clients;
mod routing;
mod seals;
mod secrets;
mod served;
mod storms;
mod timeout_policy;
mod timeouts;
mod told;
mod triggers;
