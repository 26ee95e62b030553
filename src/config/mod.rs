//! Turns configuration text into checked values.
//!
//! The way of a text: [`source`] finds it, `file` reads it where it is one, and [`watch`] notices its
//! successors; `tree` reads the
//! YAML, applies `<<` and can tell the place of every node; `expand` fills in variables and secret
//! files; `channel`, `caller` and their helpers (`timeouts`, `amount`, `overrides`, [`quota`],
//! `moderation`) read the entries by the keys of [`schema`]; [`mod@load`] puts it together into the
//! [`settings`]. `words` knows what people write in place of a key. [`problem`] is what all of
//! them complain with, [`lookup`] the rule by which names find settings, [`environment`] the
//! variables of the process.
//!
//! Everything is judged in one pass, and a configuration is either served as a whole or refused as
//! a whole: a reload can then keep the last good settings without looking at what failed. Serde
//! derives are not used on purpose. Their errors stop at the first problem and lose the place of
//! values that are well-formed but wrong, and those are most of what people get wrong.
//!
//! Nothing that reads a text holds state that outlives it, and nothing is computed per pair of client key
//! and model; both belong to the snapshot that is made from the settings.

mod amount;
mod caller;
pub mod channel;
pub mod environment;
mod expand;
mod file;
pub mod load;
pub mod lookup;
mod moderation;
mod overrides;
pub mod problem;
pub mod quota;
pub mod schema;
pub mod settings;
pub mod source;
mod syntax;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timeouts;
mod tree;
pub mod watch;
mod words;

pub use environment::Environment;
pub use load::{Loaded, Origin, load};
pub(crate) use problem::nearest;
pub use problem::{Problem, Severity};
pub use settings::{ChannelSettings, Settings};
