//! The pooled HTTP client at the end of the pipeline.
//!
//! `client` is the service that `dispatch` calls, `connector` opens its connections (TCP or TLS), each
//! of which is a `line`, `proxy` where they lead through one; `connections` holds those of HTTP/1.1
//! and `spread` those of HTTP/2, `body` is what goes up and comes down, `cause` says why a connection failed. Beside
//! the pipeline `fetch` gets documents that the configuration names, and `media` what clients name.

mod body;
mod cause;
mod client;
mod connections;
mod connector;
mod fetch;
mod line;
mod media;
mod proxy;
mod spread;

pub use client::Upstream;
pub use fetch::{AGENT, ANYTHING, Fetcher};
pub use media::GuardedMedia;
