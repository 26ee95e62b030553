//! What becomes of a closed record: its cost, its metrics, its log line, its rows.
//!
//! [`Recorder`] is the `Records` port of the pipeline. It computes the cost, counts, and hands the
//! record to two queues that never make it wait: the request log's and the ledger [`Writer`]'s.

pub mod hours;
mod record;
pub mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use record::{Recorder, Settle};
pub use store::{Database, PlainKeys, Store};
pub use writer::{FirstReading, LedgerSettings, QUEUE, Writer, start};
