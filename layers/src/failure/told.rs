//! How a client is told of a failure: in neutral form, which each dialect knows how to write, or in
//! the upstream's own words.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use dialect::ir::{Error as WireError, ErrorKind};
use dialect::{ErrorShape, Malformed};
use http::StatusCode;

use super::{Blame, Failure, TransportKind};
use crate::policy::ChannelName;

/// A request that its dialect cannot read, with the place of the fault.
impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Invalid { message: malformed.message, param: malformed.param.map(Cow::Owned) }
    }
}

impl Failure {
    /// When the client may come back, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited(exceeded) => Some(exceeded.reset),
            Self::TooManySignIns { retry_after } => Some(*retry_after),
            Self::Overloaded | Self::ShuttingDown => Some(Duration::from_secs(1)),
            Self::ModelsPending { .. } => Some(Duration::from_secs(5)),
            Self::KeysExhausted { retry_after, .. } => *retry_after,
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => rejection.retry_after,
            Self::ModerationFailed(cause) => cause.retry_after(),
            _ => None,
        }
    }

    /// Whether repeating it cannot help, so that clients should not: the credits are spent, or every
    /// channel was asked and has rejected it or said nothing in time.
    pub fn is_final(&self) -> bool {
        match self {
            Self::BalanceExhausted
            | Self::Timeout { .. }
            | Self::Transport { kind: TransportKind::ConnectTimeout, .. } => true,
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => {
                rejection.quota || rejection.is_hidden(self.status())
            }
            _ => false,
        }
    }

    /// The same without the names of channels, for keys that may not see the route.
    #[must_use]
    pub fn without_route(mut self) -> Self {
        match &mut self {
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => {
                rejection.channel = ChannelName::withheld();
            }
            Self::Transport { channel, .. }
            | Self::Timeout { channel, .. }
            | Self::Empty { channel }
            | Self::Triggered { channel }
            | Self::Garbled { channel, .. }
            | Self::Truncated { channel }
            | Self::Unsupported { channel, .. }
            | Self::KeysExhausted { channel, .. } => *channel = ChannelName::withheld(),
            Self::ModerationFailed(cause) => {
                let inner = std::mem::replace(&mut **cause, Self::Internal);
                **cause = inner.without_route();
            }
            _ => {}
        }
        self
    }

    /// The failure in the neutral form that each dialect knows how to write.
    pub fn to_wire(&self) -> WireError {
        let status = self.status();
        let (kind, code) = match self {
            Self::Unauthenticated => (ErrorKind::Authentication, Some("invalid_api_key")),
            Self::TooManySignIns { .. } => (ErrorKind::RateLimit, Some("invalid_api_key")),
            Self::PermissionDenied(_) => (ErrorKind::Permission, None),
            Self::Invalid { .. } | Self::Unsupported { .. } => (ErrorKind::InvalidRequest, None),
            Self::Flagged => (ErrorKind::InvalidRequest, Some("content_policy_violation")),
            Self::BodyTooLarge { .. } => (ErrorKind::TooLarge, Some("request_too_large")),
            Self::TooLong { .. } => (ErrorKind::TooLarge, Some("context_length_exceeded")),
            Self::UnknownCoding { .. } => (ErrorKind::InvalidRequest, Some("unknown_content_coding")),
            Self::BodyTimeout => (ErrorKind::Timeout, Some("request_timeout")),
            Self::ClientGone => (ErrorKind::Cancelled, Some("client_closed_request")),
            Self::ModelNotFound { .. } | Self::ModerationUnavailable { .. } => {
                (ErrorKind::NotFound, Some("model_not_found"))
            }
            Self::ModerationFailed(cause) => {
                let kind = match cause.to_wire().kind {
                    kind @ (ErrorKind::RateLimit | ErrorKind::Overloaded | ErrorKind::Timeout) => kind,
                    _ => ErrorKind::Upstream,
                };
                (kind, Some("moderation_failed"))
            }
            Self::StoredNotFound { .. } => (ErrorKind::NotFound, Some("not_found")),
            Self::PreviousNotFound { .. } => (ErrorKind::InvalidRequest, Some("previous_response_not_found")),
            Self::NoWebSocket => (ErrorKind::InvalidRequest, Some("upgrade_required")),
            Self::UnknownEndpoint(_) => (ErrorKind::NotFound, Some("unknown_endpoint")),
            Self::MethodNotAllowed { .. } => (ErrorKind::InvalidRequest, Some("method_not_allowed")),
            Self::ModelsPending { .. } => (ErrorKind::Overloaded, Some("models_pending")),
            Self::Overloaded => (ErrorKind::Overloaded, Some("overloaded")),
            Self::ShuttingDown => (ErrorKind::Overloaded, Some("shutting_down")),
            Self::NoChannel => (ErrorKind::Overloaded, Some("no_channel")),
            Self::RateLimited(_) | Self::KeysExhausted { .. } => {
                (ErrorKind::RateLimit, Some("rate_limit_exceeded"))
            }
            Self::BalanceExhausted => (ErrorKind::RateLimit, Some("insufficient_quota")),
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => {
                return rejection.to_wire(status);
            }
            Self::Transport { .. } => (ErrorKind::Upstream, Some("upstream_unreachable")),
            Self::Timeout { .. } => (ErrorKind::Timeout, Some("upstream_timeout")),
            Self::Empty { .. } | Self::Triggered { .. } | Self::Garbled { .. } | Self::Truncated { .. } => {
                (ErrorKind::Upstream, Some("upstream_error"))
            }
            Self::NoToken { .. } => (ErrorKind::Upstream, Some("no_token")),
            Self::Internal => (ErrorKind::Upstream, Some("internal_error")),
        };
        WireError {
            status,
            kind,
            message: self.to_string(),
            code: code.map(str::to_owned),
            param: match self {
                Self::Invalid { param, .. } => param.as_deref().map(str::to_owned),
                Self::Unsupported { param, .. } => param.clone(),
                Self::ModelNotFound { .. } => Some("model".to_owned()),
                Self::PreviousNotFound { .. } => Some("previous_response_id".to_owned()),
                _ => None,
            },
            retry_after: self.retry_after(),
            signs: Box::default(),
        }
    }

    /// The upstream's own error body, where it may be passed on as it is: a fault of the request
    /// itself, told in the shape in which the client reads errors.
    pub fn verbatim(&self, client: ErrorShape) -> Option<Bytes> {
        match self {
            Self::Upstream(rejection)
                if rejection.dialect.own_error_shape() == Some(client)
                    && rejection.client_status() == rejection.status
                    && rejection.status != StatusCode::NOT_FOUND
                    && !rejection.body.is_empty()
                    && matches!(rejection.blame, Blame::Request | Blame::Length | Blame::Nobody) =>
            {
                Some(rejection.body.clone())
            }
            _ => None,
        }
    }
}

/// The upstream that failed, as far as it may be named.
pub(super) fn whom(channel: &ChannelName) -> Whom<'_> {
    Whom(channel)
}

/// A channel as messages call it.
pub(super) struct Whom<'a>(&'a ChannelName);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_withheld() {
            true => f.write_str("a provider"),
            false => write!(f, "channel {}", self.0),
        }
    }
}
