use std::time::Duration;

use http::StatusCode;

use crate::asked::squeezed;

/// The code of what cannot be read as an answer.
const MALFORMED: &str = "upstream_malformed";

/// A failure as a client is told of it: which kind, with which status, in which words.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Error {
    /// The HTTP status, also inside bodies and events that carry one.
    pub status: StatusCode,
    /// What kind of failure it is; it decides the type that each dialect names.
    pub kind: ErrorKind,
    /// A sentence for people: bounded, and free of keys.
    pub message: String,
    /// A machine-readable code, where one is known.
    pub code: Option<String>,
    /// The request field at fault, where one is known.
    pub param: Option<String>,
    /// How long the upstream asks to wait, where its body says so.
    pub retry_after: Option<Duration>,
    /// What else the upstream says of it, for [`crate::Evidence`].
    pub signs: Box<Signs>,
}

/// The words for machines in which an upstream tells of a failure, squeezed to their letters and digits in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Its code, its type, and the reasons among its details.
    pub(crate) codes: Vec<String>,
    /// The code alone, where there is one that is no number.
    pub(crate) says: Option<String>,
    /// Whether its status was guessed, because neither the status line nor a code or type tells it.
    pub(crate) guessed: bool,
}

impl Error {
    /// An error of the kind that its status implies, without a code.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: ErrorKind::of(status),
            message: message.into(),
            code: None,
            param: None,
            retry_after: None,
            signs: Box::default(),
        }
    }

    /// The same error with a code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        let code = code.into();
        self.signs.codes.push(squeezed(&code));
        self.signs.says = Some(squeezed(&code));
        self.code = Some(code);
        self
    }

    /// Something that came in place of an answer and cannot be read as one.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, message).with_code(MALFORMED)
    }

    /// Whether it is that.
    pub fn is_malformed(&self) -> bool {
        self.code.as_deref() == Some(MALFORMED)
    }

    /// The end of a stream that came without its terminal event.
    pub fn truncated() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "upstream ended the answer early").with_code("upstream_truncated")
    }
}

/// The kinds of failure that dialects tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be served as it is (400, 422 and other 4xx).
    InvalidRequest,
    /// The credential is missing or wrong (401).
    Authentication,
    /// The account must pay (402).
    Billing,
    /// The credential may not do this (403).
    Permission,
    /// There is no such thing (404).
    NotFound,
    /// Somebody took too long (408, 504).
    Timeout,
    /// The request is too large (413).
    TooLarge,
    /// Too many requests (429).
    RateLimit,
    /// The client went away (499).
    Cancelled,
    /// The upstream, or the gateway, failed (500, 502 and other 5xx).
    Upstream,
    /// Too busy at the moment (503, 529).
    Overloaded,
}

impl ErrorKind {
    /// The kind that a status implies.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            499 => Self::Cancelled,
            503 | 529 => Self::Overloaded,
            400..=498 => Self::InvalidRequest,
            _ => Self::Upstream,
        }
    }
}
