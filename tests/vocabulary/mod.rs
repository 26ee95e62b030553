//! What tests speak in, whatever stands between a client and its upstreams: configurations,
//! requests, the scripts of upstreams, answers, shares.
//!
//! Part of two harnesses: `tests/gateway/harness`, where it is a process between real sockets, and
//! `src/pipeline/tests/bench`, where it is the pipeline alone under paused time. A test reads
//! alike in both. What only one of them can do stands there.

mod answer;
mod ask;
mod log;
mod outcome;
mod script;
pub(crate) mod subjects;
mod words;

pub(crate) use answer::*;
pub(crate) use ask::*;
pub(crate) use log::*;
pub(crate) use outcome::*;
pub(crate) use script::*;
pub(crate) use words::*;
