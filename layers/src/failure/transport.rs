//! What happens to connections to upstreams, and why, as far as it is known.

use std::fmt;
use std::sync::Arc;

/// A way in which a connection fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// It could not be opened: refused, unreachable, name unknown, TLS failed.
    Connect,
    /// It could not be opened in time.
    ConnectTimeout,
    /// The configured proxy could not be reached.
    ProxyUnreachable,
    /// The configured proxy does not let us through: wrong credentials, or a place it cannot reach.
    ProxyRefused,
    /// It broke before the answer began, or within an answer that was not accepted yet.
    Broken,
    /// A repeat on a fresh connection is still owed: it had been idle in the pool.
    Stale,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "Unable to connect to service",
            Self::ConnectTimeout => "Connecting to the service timed out",
            Self::ProxyUnreachable => "Unable to connect to the proxy",
            Self::ProxyRefused => "The proxy refused the connection",
            Self::Broken | Self::Stale => "Network read error",
        })
    }
}

/// A fault of a connection: how it failed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportFault {
    /// What happened to the connection.
    pub kind: TransportKind,
    /// Why, where that is known.
    pub cause: Option<Cause>,
}

impl TransportFault {
    /// Whether it is this process that has run out of file descriptors, or the machine: nothing is
    /// wrong with the channel, and no other one could be reached either.
    pub fn is_ours(&self) -> bool {
        /// `ENFILE` and `EMFILE`, the same on every Unix.
        const TOO_MANY_FILES: [i32; 2] = [23, 24];
        self.cause.as_ref().and_then(Cause::os_error).is_some_and(|os| TOO_MANY_FILES.contains(&os))
    }
}

impl From<TransportKind> for TransportFault {
    fn from(kind: TransportKind) -> Self {
        Self { kind, cause: None }
    }
}

/// The cause of a fault, in two lengths. Both are bounded and hold no secret; only the short one
/// names no host, so that any client may read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause(Arc<Told>);

#[derive(PartialEq, Eq)]
struct Told {
    brief: &'static str,
    chain: Box<str>,
    os: Option<i32>,
}

impl Cause {
    /// Most characters of a chain that are kept.
    const LONGEST: usize = 300;

    /// A cause in a few words of ours, and as the chain of errors that led to it. `os` is the number
    /// of the system's error, where there was one.
    pub fn new(brief: &'static str, chain: &str, os: Option<i32>) -> Self {
        // Some of it may be what the other side said: it is to stay one line of text.
        let plain = chain.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self(Arc::new(Told { brief, chain: plain.take(Self::LONGEST).collect(), os }))
    }

    /// In a few words, without any name or address: `connection refused`.
    pub fn brief(&self) -> &'static str {
        self.0.brief
    }

    /// As operators need it: `tcp: connection refused (os error 111)`. May name hosts.
    pub fn chain(&self) -> &str {
        &self.0.chain
    }

    /// The number of the system's error, where there was one.
    pub fn os_error(&self) -> Option<i32> {
        self.0.os
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({:?}, {:?})", self.0.brief, self.0.chain)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.chain())
    }
}

/// What stands behind a message for clients: the cause in brackets, where it is known.
pub(super) fn in_brackets(cause: Option<&Cause>) -> String {
    cause.map(|cause| format!(" ({})", cause.brief())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::policy::ChannelName;

    #[test]
    fn clients_learn_the_short_cause_and_no_name() {
        let cause = Cause::new("no such host", "dns: no such host: secret.internal", None);
        let failure = Failure::Transport {
            channel: ChannelName::from("a"),
            kind: TransportKind::Connect,
            cause: Some(cause),
        };

        assert_eq!(failure.to_wire().message, "channel a: Unable to connect to service (no such host)");
    }

    #[test]
    fn want_of_descriptors_is_ours_and_nothing_else_is() {
        let fault = |os| TransportFault {
            kind: TransportKind::Connect,
            cause: Some(Cause::new("too many open files", "tcp: too many open files", os)),
        };

        assert!(fault(Some(24)).is_ours() && fault(Some(23)).is_ours());
        assert!(!fault(Some(111)).is_ours() && !fault(None).is_ours());
        assert!(!TransportFault::from(TransportKind::Connect).is_ours());
    }

    #[test]
    fn what_the_other_side_said_stays_one_bounded_line() {
        let cause =
            Cause::new("malformed answer", &format!("http: a\r\nb\u{1b}[31m{}", "é".repeat(900)), None);

        assert!(cause.chain().starts_with("http: a  b [31mé"), "{cause}");
        assert_eq!(cause.chain().chars().count(), 300);
    }
}
