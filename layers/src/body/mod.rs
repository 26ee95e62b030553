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
use dialect::{Asked, Body, Care, ir};
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;

use crate::failure::{Cause, Failure};
use crate::hidden::Hidden;
use crate::judge::{Refusal, judge};
use crate::policy::{Caller, Channel};
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
    /// What the upstream may repeat and nobody else may learn.
    hidden: Hidden,
}

impl Origin {
    /// A stream of `channel` that was asked with `credential`, for this caller.
    pub fn new(channel: Arc<Channel>, credential: Option<&Credential>, caller: Option<&Arc<Caller>>) -> Self {
        let hidden = Hidden::of(&channel, credential, caller);
        Self { channel, hidden }
    }

    /// An event that says nothing that is known, without secrets; none when there is nothing to change.
    fn clean_odd(&self, event: &[u8]) -> Option<Bytes> {
        self.hidden.clean(event, Care::Odd)
    }

    /// An answer that cannot be read.
    fn garbled(&self, detail: impl Into<String>) -> Failure {
        let mut detail = detail.into();
        self.hidden.clean_text(&mut detail);
        Failure::Garbled { channel: self.channel.name.clone(), detail }
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
            hidden: &self.hidden,
        })
    }
}
