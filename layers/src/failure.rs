//! How a request can fail, and what each failure means to everybody who meets it; in what words a
//! client learns of it stands in `told`.
//!
//! One enum for the whole pipeline. Layers return it, `failover` asks it what to do next,
//! `cooldown` and `lease` ask it whom it blames, the ledger and the metrics ask for its label,
//! and `rescue` is the only place that turns it into bytes. Each of these questions is one
//! total function here, so that a new variant cannot be forgotten by any of them.

mod exceeded;
mod label;
mod rejection;
mod told;
mod transport;

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

pub use self::exceeded::{Exceeded, Whose};
pub use self::rejection::{Blame, Rejection};
pub use self::transport::{Cause, TransportFault, TransportKind};

use self::told::whom;
use crate::body::decode::Coding;
use crate::policy::ChannelName;

/// A request, or one attempt of it, that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// The client sent no key, or one that is not configured.
    #[error("Invalid or missing API Key")]
    Unauthenticated,
    /// The client's address has shown one unknown key after another.
    #[error("Invalid API Key, as several times before from this address; try again in {} seconds", retry_after.as_secs().max(1))]
    TooManySignIns {
        /// When the next one is looked at.
        retry_after: Duration,
    },
    /// The key is known and may not do this.
    #[error("{0}")]
    PermissionDenied(&'static str),
    /// The request cannot be understood or is not allowed in this shape.
    #[error("{message}")]
    Invalid {
        /// What is wrong, in words for the caller.
        message: String,
        /// The field of the body that is at fault.
        param: Option<Cow<'static, str>>,
    },
    /// The body is longer than this gateway accepts.
    #[error("request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body comes in a content coding that is not known.
    #[error("the request body's content coding {coding:?} is not known; known are {}", Coding::KNOWN)]
    UnknownCoding {
        /// What the client calls it, bounded.
        coding: String,
    },
    /// The client did not deliver its body in time.
    #[error("request body did not arrive in time")]
    BodyTimeout,
    /// The client went away before it had sent its whole request.
    #[error("client closed the connection")]
    ClientGone,
    /// No route: the model is unknown, or this key may not use it. Both look the same.
    #[error(
        "No available providers at the moment: {model}. No model of this name is open to this API key; \
         GET /v1/models lists those that are."
    )]
    ModelNotFound {
        /// The model that was asked for.
        model: String,
    },
    /// Only a channel whose model list is still being fetched could have this model.
    #[error("the model list of a channel is still being fetched, try again soon: {model}")]
    ModelsPending {
        /// The model that was asked for.
        model: String,
    },
    /// No stored object of this name: it is unknown, another key's, or where it was it can be
    /// reached no more. All look the same.
    #[error("no stored object has this id: {id}")]
    StoredNotFound {
        /// The name that was asked for.
        id: String,
    },
    /// No earlier answer of this name, from which a request is to go on: of all that look the same
    /// in [`Failure::StoredNotFound`].
    #[error("Previous response with id '{id}' not found.")]
    PreviousNotFound {
        /// The name that was asked for.
        id: String,
    },
    /// The path is asked for over a WebSocket, which is not served: clients then ask over HTTP.
    #[error("no WebSocket is served here; send the request over HTTP")]
    NoWebSocket,
    /// No such path.
    #[error("no such endpoint: {0}")]
    UnknownEndpoint(String),
    /// The path exists, with another method.
    #[error("method not allowed; allowed: {allow}")]
    MethodNotAllowed {
        /// The methods that it has, as `Allow` lists them.
        allow: String,
    },
    /// Admission is full: too many requests at once, or too many buffered bytes.
    #[error("the gateway is at its limit of concurrent requests")]
    Overloaded,
    /// The process is about to end.
    #[error("the gateway is shutting down")]
    ShuttingDown,
    /// A request window of the caller, of a group, or of the whole gateway is used up.
    #[error("Too many requests: {0}")]
    RateLimited(Exceeded),
    /// The caller's credits are used up.
    #[error("Balance is insufficient, please check your account.")]
    BalanceExhausted,
    /// Moderation refused the text.
    #[error("Content did not pass the moral check, please modify and try again.")]
    Flagged,
    /// Moderation is on, and no channel of the key has the model that it asks.
    #[error(
        "No matching model found: {model}. Requests of this key are moderated (ENABLE_MODERATION), which takes a \
         channel with that model among those that the key may use."
    )]
    ModerationUnavailable {
        /// The model that moderates.
        model: &'static str,
    },
    /// Moderation was asked and gave no verdict.
    #[error("the request could not be moderated and was not passed on: {}", .0.to_wire().message)]
    ModerationFailed(Box<Failure>),
    /// Every member of the route estimates the request as too long for it.
    #[error("The request body is too long, No available providers at the moment: {model}")]
    TooLong {
        /// The model that was asked for.
        model: String,
    },
    /// The route has no member left that could be tried.
    #[error("No available providers at the moment")]
    NoChannel,
    /// An upstream answered with a status or body that is an error.
    #[error("{} answered {}: {}", whom(&.0.channel), .0.status, .0.error.message)]
    Upstream(Box<Rejection>),
    /// The same where it blames the key, once `lease` has said which one that was.
    #[error("{} answered {}: {}", whom(&.rejection.channel), .rejection.status, .rejection.error.message)]
    KeyRefused {
        /// What the upstream answered.
        rejection: Box<Rejection>,
        /// The key that was refused, where the channel has another one that this request could
        /// try; none where it was the last.
        spare_of: Option<u32>,
    },
    /// The connection to an upstream could not be made, or broke before an answer.
    #[error("{}: {kind}{}", whom(.channel), transport::in_brackets(.cause.as_ref()))]
    Transport {
        /// The channel that was tried.
        channel: ChannelName,
        /// What happened to the connection.
        kind: TransportKind,
        /// Why, where that is known.
        cause: Option<Cause>,
    },
    /// An upstream was silent for too long.
    #[error("{}: Request timed out after {} seconds", whom(.channel), .limit.as_secs_f64())]
    Timeout {
        /// The channel that was tried.
        channel: ChannelName,
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// An upstream answered successfully with nothing in it.
    #[error("{}: Upstream server returned an empty response.", whom(.channel))]
    Empty {
        /// The channel that was tried.
        channel: ChannelName,
    },
    /// The answer holds one of the configured `error_triggers`.
    #[error("{}: the answer matches an error trigger", whom(.channel))]
    Triggered {
        /// The channel that was tried.
        channel: ChannelName,
    },
    /// An upstream answered successfully with something that is not its dialect.
    #[error("{}: the upstream answer cannot be read: {detail}", whom(.channel))]
    Garbled {
        /// The channel that was tried.
        channel: ChannelName,
        /// What could not be read; never a part of a key.
        detail: String,
    },
    /// An answer that had begun stopped before its end.
    #[error("{}: the upstream answer ended early", whom(.channel))]
    Truncated {
        /// The channel that was answering.
        channel: ChannelName,
    },
    /// The request holds something that this channel's dialect cannot express.
    #[error("{} cannot take this request: {what}", whom(.channel))]
    Unsupported {
        /// The channel that was tried.
        channel: ChannelName,
        /// What cannot be expressed.
        what: String,
        /// The field of the body that asks for it.
        param: Option<String>,
    },
    /// The account of the channel has no valid token, and none can be had now.
    #[error("no token of a provider's account: {why}")]
    NoToken {
        /// What went wrong; never a part of a key.
        why: String,
        /// Whether the account was refused, rather than not answered.
        of_account: bool,
        /// The account, where the channel has another one that this request could try.
        spare_of: Option<u32>,
    },
    /// No key of the channel can be used now.
    #[error("{}: All API keys are rate limited and stop auto retry!", whom(.channel))]
    KeysExhausted {
        /// The channel that was tried.
        channel: ChannelName,
        /// When the first of them becomes usable again.
        retry_after: Option<Duration>,
    },
    /// Something that should not happen did.
    #[error("Internal server error")]
    Internal,
}

/// The step that `failover` takes after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Give the failure to the client.
    Return,
    /// Try another key of the same channel, then another channel.
    NextKey {
        /// The key that is at fault.
        without: u32,
    },
    /// Try another channel.
    NextChannel,
}

/// The thing that a failed attempt makes ill for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cools {
    /// Nothing.
    Nothing,
    /// The provider key.
    Key,
    /// The (channel, model); after the last of its keys, too.
    Target,
}

impl Failure {
    /// An error that the caller made, with the field at fault.
    pub fn invalid(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self::Invalid { message: message.into(), param: param.map(Cow::Borrowed) }
    }

    /// The status the client sees.
    ///
    /// Upstream authentication and billing errors become 502: a client must never believe that *its*
    /// key is at fault.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied(_) => StatusCode::FORBIDDEN,
            Self::Invalid { .. } | Self::Flagged | Self::PreviousNotFound { .. } => StatusCode::BAD_REQUEST,
            Self::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::BodyTooLarge { .. } | Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownCoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            // nginx's number for it; nobody is left to read it, the ledger and the log do.
            Self::ClientGone => CLIENT_CLOSED_REQUEST,
            Self::ModelNotFound { .. } | Self::StoredNotFound { .. } | Self::UnknownEndpoint(_) => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::ModelsPending { .. } | Self::Overloaded | Self::ShuttingDown | Self::NoChannel => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::TooManySignIns { .. }
            | Self::RateLimited(_)
            | Self::BalanceExhausted
            | Self::KeysExhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::ModerationUnavailable { .. } => StatusCode::NOT_FOUND,
            // It is not the client's request that the moderation upstream refused.
            Self::ModerationFailed(cause) => match cause.status() {
                status @ (StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT) => status,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => rejection.client_status(),
            Self::Transport { kind: TransportKind::ConnectTimeout, .. } | Self::Timeout { .. } => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Transport {
                kind: TransportKind::Connect | TransportKind::ProxyUnreachable | TransportKind::ProxyRefused,
                ..
            } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Transport { .. }
            | Self::Empty { .. }
            | Self::Triggered { .. }
            | Self::Garbled { .. }
            | Self::Truncated { .. }
            | Self::NoToken { .. } => StatusCode::BAD_GATEWAY,
            Self::Unsupported { .. } => StatusCode::BAD_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What failover does next.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Upstream(rejection) => match rejection.blame {
                Blame::Request => Disposition::Return,
                Blame::Length | Blame::Terms | Blame::Key | Blame::Model | Blame::Channel | Blame::Nobody => {
                    Disposition::NextChannel
                }
            },
            Self::KeyRefused { spare_of: Some(key), .. } | Self::NoToken { spare_of: Some(key), .. } => {
                Disposition::NextKey { without: *key }
            }
            Self::KeyRefused { spare_of: None, .. }
            | Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::Empty { .. }
            | Self::Triggered { .. }
            | Self::Garbled { .. }
            | Self::Truncated { .. }
            | Self::Unsupported { .. }
            | Self::TooLong { .. }
            | Self::NoToken { .. }
            | Self::KeysExhausted { .. } => Disposition::NextChannel,
            Self::Unauthenticated
            | Self::TooManySignIns { .. }
            | Self::PermissionDenied(_)
            | Self::Invalid { .. }
            | Self::BodyTooLarge { .. }
            | Self::UnknownCoding { .. }
            | Self::BodyTimeout
            | Self::ClientGone
            | Self::ModelNotFound { .. }
            | Self::ModelsPending { .. }
            | Self::StoredNotFound { .. }
            | Self::PreviousNotFound { .. }
            | Self::NoWebSocket
            | Self::UnknownEndpoint(_)
            | Self::MethodNotAllowed { .. }
            | Self::Overloaded
            | Self::ShuttingDown
            | Self::RateLimited(_)
            | Self::BalanceExhausted
            | Self::Flagged
            | Self::ModerationUnavailable { .. }
            | Self::ModerationFailed(_)
            | Self::NoChannel
            | Self::Internal => Disposition::Return,
        }
    }

    /// What is left alone for a while because of it.
    pub fn cools(&self) -> Cools {
        match self {
            Self::Upstream(rejection) => match rejection.blame {
                Blame::Key => Cools::Key,
                Blame::Model | Blame::Channel => Cools::Target,
                Blame::Request | Blame::Length | Blame::Terms | Blame::Nobody => Cools::Nothing,
            },
            Self::KeyRefused { spare_of: Some(_), .. } | Self::NoToken { spare_of: Some(_), .. } => {
                Cools::Key
            }
            Self::KeyRefused { spare_of: None, .. }
            | Self::Transport { .. }
            | Self::Timeout { .. }
            | Self::Empty { .. }
            | Self::Triggered { .. }
            | Self::Garbled { .. }
            | Self::Truncated { .. } => Cools::Target,
            _ => Cools::Nothing,
        }
    }

    /// Whether it may be that of one place of a channel: another region may do better. What cools
    /// nothing says the same of all of them, but for a 404: regions differ in what they have.
    pub fn is_of_place(&self) -> bool {
        let is_404 = matches!(self, Self::Upstream(rejection) if rejection.status == StatusCode::NOT_FOUND);
        // An account is the same everywhere.
        let is_token = matches!(self, Self::NoToken { .. });
        is_404 || (self.cools() != Cools::Nothing && !is_token)
    }

    /// Whether it was known before anything was sent, so that it is no attempt of the budget.
    pub fn asked_nobody(&self) -> bool {
        matches!(
            self,
            Self::KeysExhausted { .. }
                | Self::TooLong { .. }
                | Self::Unsupported { .. }
                | Self::NoToken { .. }
        )
    }

    /// Whether the same key may be asked once more when there is nobody else to ask.
    pub fn worth_a_pause(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Truncated { .. } => true,
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => {
                rejection.status.as_u16() >= 500
            }
            _ => false,
        }
    }

    /// The more telling of two failures: what a client learns when every channel failed.
    ///
    /// A client error tells more than a rate limit, that more than an upstream error, that more
    /// than a timeout; among equals the earlier one stays. Of two rate limits it tells the sooner
    /// recovery: one channel that is back is enough.
    #[must_use]
    pub fn more_telling(self, later: Self) -> Self {
        let both_limited =
            [&self, &later].iter().all(|failure| failure.status() == StatusCode::TOO_MANY_REQUESTS);
        let soonest = self.retry_after().into_iter().chain(later.retry_after()).min();
        let mut telling = if later.weight() > self.weight() { later } else { self };
        if both_limited {
            telling.recovers_after(soonest);
        }
        telling
    }

    fn recovers_after(&mut self, soonest: Option<Duration>) {
        match self {
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => rejection.retry_after = soonest,
            Self::KeysExhausted { retry_after, .. } => *retry_after = soonest,
            Self::RateLimited(exceeded) => exceeded.reset = soonest.unwrap_or(exceeded.reset),
            _ => {}
        }
    }

    /// Rank in [`Failure::more_telling`].
    fn weight(&self) -> u8 {
        match self {
            Self::NoChannel => 0,
            // Our own word, below everything that an upstream has said or done.
            Self::Unsupported { .. } => 1,
            Self::Timeout { .. } | Self::Transport { kind: TransportKind::ConnectTimeout, .. } => 2,
            Self::Transport { .. } => 3,
            Self::Empty { .. } | Self::Triggered { .. } | Self::Garbled { .. } | Self::Truncated { .. } => 4,
            Self::NoToken { .. } => 4,
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => match rejection.blame {
                Blame::Channel => 4,
                Blame::Model => 5,
                Blame::Key if rejection.status == StatusCode::TOO_MANY_REQUESTS => 7,
                Blame::Key => 5,
                Blame::Nobody => 8,
                Blame::Length | Blame::Terms => 9,
                Blame::Request => 10,
            },
            // Of a group that was passed over; the caller's own limits end a request at once.
            Self::RateLimited(_) | Self::BalanceExhausted => 6,
            Self::KeysExhausted { .. } => 6,
            Self::TooLong { .. } => 9,
            _ => 10,
        }
    }
}

/// 499: the client closed the connection before the answer.
pub const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => panic!("499 is a valid status code"),
};
