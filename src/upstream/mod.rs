//! The pooled HTTP client at the end of the pipeline.
//!
//! `client` is the service that `dispatch` calls, `connector` opens its connections (TCP or TLS), each
//! of which is a `line`, `proxy` where they lead through one, `spread` holds several HTTP/2
//! connections, `body` is what goes up and comes down, `cause` says why a connection failed. Beside
//! the pipeline `fetch` gets documents that the configuration names, and `media` what clients name.

mod body;
mod cause;
mod client;
mod connector;
mod fetch;
mod line;
mod media;
mod proxy;
mod spread;

pub use client::Upstream;
pub use fetch::{AGENT, ANYTHING, Fetcher};
pub use media::GuardedMedia;
