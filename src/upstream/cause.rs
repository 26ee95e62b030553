//! Says why a connection failed: the errors of hyper, rustls and the system in a few words.
//!
//! What these libraries say at the top ("client error (Connect)") tells nobody what to do; what they
//! say at the bottom does. So the chain is walked to its end, and the step at which it happened is
//! put in front: `dns`, `tcp`, `tls`, `http`, `proxy`.

use std::error::Error;
use std::fmt;
use std::io;

use layers::failure::Cause;
use rustls::CertificateError;

use super::connector::{BoxError, Late};
use super::proxy::ProxyError;

/// An error of the TLS handshake, which otherwise cannot be told from one of the connection below.
#[derive(Debug, thiserror::Error)]
#[error("TLS handshake failed")]
pub(super) struct Handshake(#[source] pub(super) BoxError);

/// The other side's first bytes where they belong to another protocol than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greeting {
    /// A TLS record, where no TLS was asked for.
    Tls,
    /// An answer in HTTP/1, where HTTP/2 was asked for.
    Http1,
    /// Anything else, which the protocol itself judges.
    Other,
}

impl Greeting {
    /// Reads the first bytes of a connection.
    pub(super) fn read(first: &[u8], http2: bool) -> Self {
        match first {
            [0x15, 0x03, ..] => Self::Tls,
            [b'H', b'T', b'T', b'P', b'/', ..] if http2 => Self::Http1,
            _ => Self::Other,
        }
    }

    /// What it tells of a failure.
    pub(super) fn cause(self) -> Option<Cause> {
        let (brief, chain) = match self {
            Self::Tls => ("TLS on that port", "http: the port speaks TLS (use https)"),
            Self::Http1 => {
                ("no HTTP/2 there", "http2: the server speaks HTTP/1.1 (set preferences.http2 to false)")
            }
            Self::Other => return None,
        };
        Some(Cause::new(brief, chain, None))
    }
}

/// The cause at the bottom of an error of a client or of a body.
pub(super) fn cause(error: &(dyn Error + 'static)) -> Cause {
    let mut step = None;
    let mut os = None;
    let mut kind = None;
    let mut http: Option<&hyper::Error> = None;
    let mut last = error;
    for link in links(error) {
        last = link;
        if let Some(proxy) = link.downcast_ref::<ProxyError>() {
            return proxy.cause.clone();
        }
        if let Some(tls) = link.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        if let Some(late) = link.downcast_ref::<Late>() {
            return Cause::new("timed out", &late.to_string(), None);
        }
        if link.is::<Handshake>() {
            step = Some("tls");
        } else if let Some(error) = link.downcast_ref::<io::Error>() {
            kind = Some(error.kind());
            os = error.raw_os_error().or(os);
        } else if let Some(error) = link.downcast_ref::<hyper::Error>() {
            http = Some(error);
            step = step.or(Some("http"));
        } else if step.is_none() && link.is_connecting("dns error") {
            step = Some("dns");
        } else if step.is_none() && link.is_connecting("tcp ") {
            step = Some("tcp");
        }
    }
    let last = lowered(&last.to_string());
    match (step, kind) {
        // The C library has no word for it: "temporary failure".
        (Some("dns"), _) if os.is_none() && no_descriptor_is_left() => {
            Cause::new("too many open files", "dns: too many open files", Some(EMFILE))
        }
        (Some("dns"), _) if os.is_none() => of_name(&last),
        (Some("tls"), Some(io::ErrorKind::UnexpectedEof)) => {
            Cause::new("connection closed", "tls: closed within the handshake (plain HTTP?)", None)
        }
        (_, Some(kind)) => {
            // What the system says of a connection is of the connection, whoever was using it.
            let step = if os.is_some() && step != Some("dns") { "tcp" } else { step.unwrap_or("tcp") };
            Cause::new(of_system(os, kind), &format!("{step}: {last}"), os)
        }
        _ => match http {
            Some(error) => of_http(error, &last),
            None => Cause::new("connection failed", &format!("{}: {last}", step.unwrap_or("tcp")), os),
        },
    }
}

/// A chain of errors from the top to its end.
pub(super) fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>() {
            // Its `source` is the source of what it holds.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

trait Connecting {
    fn is_connecting(&self, words: &str) -> bool;
}

impl Connecting for &(dyn Error + 'static) {
    /// Whether it is hyper-util's error of a step of connecting, whose type nobody else can name.
    fn is_connecting(&self, words: &str) -> bool {
        struct Begins<'a>(&'a str, bool);
        impl fmt::Write for Begins<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.1 = text.starts_with(self.0);
                Err(fmt::Error)
            }
        }
        let mut begins = Begins(words, false);
        let _stopped = fmt::Write::write_fmt(&mut begins, format_args!("{self}"));
        begins.1
    }
}

/// `EMFILE`, the same on every Unix.
const EMFILE: i32 = 24;

/// Tries it out: this is asked only when something has failed already.
fn no_descriptor_is_left() -> bool {
    std::fs::File::open("/").is_err_and(|error| matches!(error.raw_os_error(), Some(23 | EMFILE)))
}

fn of_name(last: &str) -> Cause {
    // The words of the C libraries for "there is no such name".
    let none = ["not known", "No address", "nodename nor servname", "does not resolve", "Name does not"];
    if none.iter().any(|words| last.contains(words)) {
        Cause::new("no such host", &format!("dns: no such host: {last}"), None)
    } else {
        Cause::new("name resolution failed", &format!("dns: {last}"), None)
    }
}

fn of_system(os: Option<i32>, kind: io::ErrorKind) -> &'static str {
    /// `ENFILE` and `EMFILE`, which have no kind.
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    if os.is_some_and(|os| TOO_MANY_FILES.contains(&os)) {
        return "too many open files";
    }
    match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::TimedOut => "timed out",
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => "connection closed",
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => "malformed answer",
        _ => "connection failed",
    }
}

fn of_tls(error: &rustls::Error) -> Cause {
    let brief = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate not valid yet"
            }
            CertificateError::UnknownIssuer => "certificate of an unknown authority",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate of another name"
            }
            CertificateError::Revoked => "certificate revoked",
            _ => "invalid certificate",
        },
        rustls::Error::InvalidMessage(_) => {
            let chain = format!("tls: the server does not speak TLS (plain HTTP?): {error}");
            return Cause::new("no TLS on that port", &chain, None);
        }
        rustls::Error::AlertReceived(_) => "TLS refused",
        _ => "TLS failed",
    };
    Cause::new(brief, &format!("tls: {error}"), None)
}

fn of_http(error: &hyper::Error, last: &str) -> Cause {
    let (brief, chain) = if error.is_incomplete_message() {
        ("connection closed", "http: closed before the answer was whole".to_owned())
    } else if error.is_canceled() || error.is_closed() {
        ("connection closed", "http: closed before the request was sent".to_owned())
    } else if error.is_parse_too_large() {
        ("answer head too large", "http: the head of the answer is too large".to_owned())
    } else if error.is_parse() {
        ("malformed answer", format!("http: {last}"))
    } else if error.is_timeout() {
        ("timed out", format!("http: {last}"))
    } else {
        ("protocol error", format!("http: {last}"))
    };
    Cause::new(brief, &chain, None)
}

/// Begins in small letters, as a clause does. Abbreviations stay.
fn lowered(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", first.to_ascii_lowercase(), chars.as_str())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Step(&'static str, #[source] io::Error);

    fn told(error: impl Error + 'static) -> (&'static str, String, Option<i32>) {
        let cause = cause(&error);
        (cause.brief(), cause.chain().to_owned(), cause.os_error())
    }

    #[test]
    fn the_system_s_errors_are_told_with_the_step_at_which_they_came() {
        let refused = told(Step("tcp connect error", io::Error::from_raw_os_error(111)));
        let files = told(Step("tcp open error", io::Error::from_raw_os_error(24)));
        let no_files_for_names = told(Step("dns error", io::Error::from_raw_os_error(24)));

        let refusal = "tcp: connection refused (os error 111)".to_owned();
        assert_eq!(refused, ("connection refused", refusal, Some(111)));
        assert_eq!(
            files,
            ("too many open files", "tcp: too many open files (os error 24)".to_owned(), Some(24))
        );
        assert_eq!(no_files_for_names.1, "dns: too many open files (os error 24)");
    }

    #[test]
    fn a_name_that_is_unknown_is_told_from_a_resolver_that_is_ill() {
        let unknown = io::Error::other("failed to lookup address information: Name or service not known");
        let ill =
            io::Error::other("failed to lookup address information: Temporary failure in name resolution");

        assert_eq!(told(Step("dns error", unknown)).0, "no such host");
        assert_eq!(told(Step("dns error", ill)).0, "name resolution failed");
    }

    #[test]
    fn certificates_and_what_is_no_tls_at_all_are_told_apart() {
        let wrapped = |error: rustls::Error| {
            told(Handshake(io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error)).into()))
        };
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);

        let chain = "tls: invalid peer certificate: Expired".to_owned();
        assert_eq!(wrapped(expired), ("certificate expired", chain, None));
        assert!(wrapped(plain).1.starts_with("tls: the server does not speak TLS (plain HTTP?)"));
        let closed = Handshake(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        assert_eq!(told(closed).1, "tls: closed within the handshake (plain HTTP?)");
    }
}
