//! What the crate promises, seen from outside: one binary, because each more is one more program to link.

mod agents;
mod bodies;
mod caches;
mod cloudflare;
mod cohere;
#[cfg(feature = "conformance")]
mod conformance;
mod converse;
mod cuts;
mod folds;
mod fuzzed;
mod gemini;
mod golden;
mod kit;
mod meaning;
mod meaning_messages;
mod meaning_responses;
mod messages;
mod prefixes;
mod repairs;
mod requests;
mod responses;
mod responses_client;
mod robustness;
mod round_trips;
mod streams;
mod table;
mod targets;
mod tiers;
mod upstreams;
mod vectors;
