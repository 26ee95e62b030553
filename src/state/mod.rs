//! What is remembered between requests and over reloads of the configuration.
//!
//! Everything is keyed by names and fingerprints, never by positions, so that editing the order
//! of a configuration moves nothing to somebody else. Policy values carry handles that were
//! fetched by name when they were built; [`runtime::Runtime::prune`] forgets what a new
//! configuration no longer has.

pub mod affinity;
pub mod answers;
pub mod balances;
pub(crate) mod clock;
pub mod cooldowns;
pub mod cursors;
pub mod keys;
mod recent;
pub mod runtime;
pub mod seals;
pub mod stored;
pub mod tokens;
pub mod windows;

pub use runtime::{ChannelStanding, Live, Runtime, Standing};
