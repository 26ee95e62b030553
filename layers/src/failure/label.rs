//! What each failure is called where words are counted.

use http::StatusCode;

use super::{Blame, Failure, TransportKind};

impl Failure {
    /// What the ledger and the metrics call it: a fixed set of words.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::TooManySignIns { .. } => "too_many_sign_ins",
            Self::PermissionDenied(_) => "permission_denied",
            Self::Invalid { .. } => "invalid_request",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::UnknownCoding { .. } => "unknown_coding",
            Self::BodyTimeout => "body_timeout",
            Self::ClientGone => "client_gone",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::ModelsPending { .. } => "models_pending",
            Self::StoredNotFound { .. } => "stored_not_found",
            Self::PreviousNotFound { .. } => "previous_not_found",
            Self::NoWebSocket => "no_websocket",
            Self::UnknownEndpoint(_) => "unknown_endpoint",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::RateLimited(_) => "rate_limited",
            Self::BalanceExhausted => "balance_exhausted",
            Self::Flagged => "flagged",
            Self::ModerationUnavailable { .. } => "moderation_unavailable",
            Self::ModerationFailed(_) => "moderation_failed",
            Self::TooLong { .. } => "too_long",
            Self::NoChannel => "no_channel",
            Self::Upstream(rejection) | Self::KeyRefused { rejection, .. } => match rejection.blame {
                Blame::Request => "upstream_client_error",
                Blame::Length => "upstream_too_long",
                Blame::Terms => "upstream_declined",
                Blame::Key if rejection.status == StatusCode::TOO_MANY_REQUESTS => "upstream_rate_limited",
                Blame::Key => "upstream_key_rejected",
                Blame::Model => "upstream_model_missing",
                Blame::Channel => "upstream_error",
                Blame::Nobody => "upstream_refused",
            },
            Self::Transport { kind: TransportKind::Connect, .. } => "connect_failed",
            Self::Transport { kind: TransportKind::ConnectTimeout, .. } => "connect_timeout",
            Self::Transport {
                kind: TransportKind::ProxyUnreachable | TransportKind::ProxyRefused, ..
            } => "proxy_failed",
            Self::Transport { .. } => "connection_broken",
            Self::Timeout { .. } => "timeout",
            Self::Empty { .. } => "empty_answer",
            Self::Triggered { .. } => "error_trigger",
            Self::Garbled { .. } => "garbled_answer",
            Self::Truncated { .. } => "truncated_answer",
            Self::Unsupported { .. } => "unsupported",
            Self::NoToken { .. } => "no_token",
            Self::KeysExhausted { .. } => "keys_exhausted",
            Self::Internal => "internal",
        }
    }
}
