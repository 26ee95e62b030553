//! Decides who may serve a request, and in which order.
//!
//! [`rules`] turns the rule list of a client key into the members of a node, [`schedule`] orders
//! the members of one node, [`route`] puts nodes into a tree and answers `failover`'s question
//! "who is next?". Nothing here waits and nothing here remembers: what outlives a request
//! (cursors, cooldowns, keys, windows) is in [`crate::state`], found by name.

pub mod route;
pub mod rules;
pub mod schedule;

#[cfg(test)]
pub(crate) mod testing;

pub use route::{CallerRoute, RouteLine, Routes, Standing};
pub use rules::{Access, Offers};
pub use schedule::Schedule;
