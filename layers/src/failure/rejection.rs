//! What an upstream refused with.

use std::time::Duration;

use bytes::Bytes;
use dialect::Dialect;
use dialect::ir::{Error as WireError, ErrorKind};
use http::StatusCode;

use super::told::whom;
use crate::policy::ChannelName;

/// An upstream's refusal, judged once, where its body was read.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// The channel that refused.
    pub channel: ChannelName,
    /// The status it answered, or the one inferred from an error inside a 200.
    pub status: StatusCode,
    /// The error in neutral form, its message scrubbed of keys.
    pub error: WireError,
    /// The body as the upstream sent it, scrubbed of keys, bounded; empty where there was none.
    pub body: Bytes,
    /// The dialect of that body.
    pub dialect: Dialect,
    /// Whose fault the body and the status say it is.
    pub blame: Blame,
    /// How long the upstream asks us to stay away.
    pub retry_after: Option<Duration>,
    /// Whether the fault is quota or billing, which lasts longer than a rate limit.
    pub quota: bool,
}

/// The party at fault for a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request itself: nobody else would take it.
    Request,
    /// The request is too long for this model; another channel may have a larger one.
    Length,
    /// This one request, on the terms that the channel has for it: what it says, what it may cost, who asks.
    /// Another channel may take it, and this one takes others.
    Terms,
    /// The provider key: its validity, quota, rate or region.
    Key,
    /// The channel does not have this model.
    Model,
    /// The channel is ill.
    Channel,
    /// The channel refuses for a reason that says nothing about its health.
    Nobody,
}

impl Rejection {
    /// The status that the client may see, see [`super::Failure::status`].
    pub(super) fn client_status(&self) -> StatusCode {
        match self.status.as_u16() {
            // The client's request is what is wrong, and none of its credentials.
            _ if self.blame == Blame::Terms => StatusCode::BAD_REQUEST,
            401..=403 | 498 => StatusCode::BAD_GATEWAY,
            429 => StatusCode::TOO_MANY_REQUESTS,
            404 => StatusCode::NOT_FOUND,
            _ if self.blame == Blame::Model => StatusCode::NOT_FOUND,
            _ if self.blame == Blame::Key => StatusCode::BAD_GATEWAY,
            // Said by a proxy in between: the client's request is not what is wrong.
            400 | 422 if self.blame == Blame::Nobody => StatusCode::BAD_GATEWAY,
            400..=599 => self.status,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether the client sees another status than the upstream's, because that is about the gateway's
    /// own standing there.
    pub(super) fn is_hidden(&self, told: StatusCode) -> bool {
        told == StatusCode::BAD_GATEWAY && self.status != StatusCode::BAD_GATEWAY
    }

    /// The refusal as the client is told of it.
    pub(super) fn to_wire(&self, status: StatusCode) -> WireError {
        let hidden = self.is_hidden(status);
        let kind = match self.blame {
            _ if status == self.status => self.error.kind,
            Blame::Terms => ErrorKind::InvalidRequest,
            _ => ErrorKind::Upstream,
        };
        WireError {
            status,
            kind,
            message: if hidden || status == StatusCode::NOT_FOUND {
                let (whom, status) = (whom(&self.channel), self.status.as_u16());
                format!("{whom} rejected the request with status {status}: {}", self.error.message)
            } else {
                self.error.message.clone()
            },
            code: match status {
                _ if hidden => Some("upstream_rejected".to_owned()),
                StatusCode::NOT_FOUND => Some("model_not_found".to_owned()),
                _ => self.error.code.clone(),
            },
            param: match status {
                _ if hidden => None,
                StatusCode::NOT_FOUND => Some("model".to_owned()),
                _ => self.error.param.clone(),
            },
            retry_after: self.retry_after,
            signs: Box::default(),
        }
    }
}
