//! Plain values that configuration, routing, state and books speak of together.
//!
//! The ground floor of the program: what stands here knows the layers' own values and nothing of
//! this crate. `price` is what a token costs and `closed` a finished request with its cost; `rule` is
//! what a client key may use and `order` how channels and keys take turns; `traces` is where spans go.

mod closed;
mod order;
mod price;
mod rule;
#[cfg(test)]
pub(crate) mod testing;
mod traces;

pub use closed::Closed;
pub(crate) use closed::seconds;
pub use order::{Algorithm, KeyAlgorithm};
pub use price::{PER_MILLION, Price, Prices};
pub use rule::{DEEPEST, Rule, RuleMatch};
pub use traces::TraceSettings;
