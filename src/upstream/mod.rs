//! The pooled HTTP client at the end of the pipeline.
//!
//! `client` is the service that `dispatch` calls. `pool` keeps its HTTP/1.1 connections and `spread`
//! those of HTTP/2; `connector` opens them (TCP or TLS), `proxy` where they lead through one, `trust`
//! says whose certificates will do, and each of them is a `line`. `body` is what goes up and comes
//! down, `cause` says why a connection failed. Beside the pipeline `fetch` gets documents that the
//! configuration names, `media` what clients name, and `aside` the tokens of accounts.

mod aside;
mod body;
mod cause;
mod client;
mod connector;
mod fetch;
mod line;
mod media;
mod pool;
mod proxy;
mod spread;
mod trust;

pub use aside::Aside;
pub use client::Upstream;
pub use fetch::{AGENT, ANYTHING, Fetcher};
pub use media::GuardedMedia;
pub use trust::certificate_problems;
