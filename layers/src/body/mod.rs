//! What happens to the bytes of an answer: adapters between an upstream's body and a reply's.
//!
//! Two adapters do all streaming: [`tap`] forwards bytes untouched and watches, [`transcode`]
//! reads frames and writes others. Both are state machines polled by the client's connection: there is no
//! task and no channel, so a slow client slows its upstream and a client that leaves cancels it.

mod coalesce;
pub mod decode;
pub mod drain_on_drop;
pub mod idle;
pub mod opening;
pub mod poll_on_wake;
pub mod raw;
pub mod tap;
pub mod transcode;

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Asked, Body, ir};
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;

use crate::failure::{Cause, Failure};
use crate::judge::{Refusal, hidden, judge};
use crate::policy::Channel;
use crate::ports::Credential;

/// The body of an upstream's answer.
pub type UpstreamBody = UnsyncBoxBody<Bytes, Broken>;

/// An upstream's body that does not come whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection closed or the framing was violated; and why, where that is known.
    #[error("connection broke")]
    Connection(Option<Cause>),
    /// It is encoded, and cannot be decoded: what is wrong with it.
    #[error("{0}")]
    Encoding(Arc<str>),
    /// Nothing came for this long.
    #[error("nothing came for {0:?}")]
    Silent(std::time::Duration),
}

/// The origin of a stream: the channel, and the key with which it was asked. What telling its errors
/// needs.
pub struct Origin {
    /// The channel.
    pub channel: Arc<Channel>,
    /// What it was asked with, which the upstream may repeat.
    pub credential: Option<Credential>,
}

impl Origin {
    /// An answer that cannot be read.
    fn garbled(&self, detail: impl Into<String>) -> Failure {
        Failure::Garbled { channel: self.channel.name.clone(), detail: detail.into() }
    }

    /// An error event in a stream that the client is already receiving.
    fn failed(&self, error: ir::Error) -> Failure {
        let headers = HeaderMap::new();
        judge(Refusal {
            channel: &self.channel.name,
            status: error.status,
            headers: &headers,
            body: Bytes::new(),
            dialect: self.channel.dialect,
            error,
            // The answer was accepted: whoever is blamed now, nothing cools.
            asked: Asked { body: &Body::Empty, headers: &headers, model: "" },
            hidden: &hidden(&self.channel, self.credential.as_ref()),
        })
    }
}
