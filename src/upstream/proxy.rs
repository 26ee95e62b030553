//! Reaches upstreams through HTTP and SOCKS5 proxies.
//!
//! Reaching the proxy and being let through by it are two steps here, so that a failure says which
//! of the two it was: otherwise a wrong password looks like an upstream that is down. What went
//! wrong is logged with the proxy's address; clients learn only that it was the proxy.

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use layers::failure::{Cause, TransportKind};
use tower::Service;

use super::cause::{cause, links};
use super::connector::{BoxError, Given, Step, dial};
use super::line::Line;

/// A proxy URL in its parts.
pub(super) struct Proxy {
    /// Scheme, host and port: where it is. `https` when TLS is spoken to it.
    place: Uri,
    /// The same as it is configured, for people.
    shown: String,
    socks: bool,
    credentials: Option<(String, String)>,
}

/// The reason why a proxy gave no connection. Without credentials in it.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(super) struct ProxyError {
    /// What it means for the request.
    pub(super) kind: TransportKind,
    /// Why, with the proxy named.
    pub(super) cause: Cause,
}

impl ProxyError {
    /// What is configured is no proxy URL.
    pub(super) fn malformed() -> Self {
        let chain =
            "proxy: the configured proxy is not a proxy URL (http, https, socks5 or socks5h, host, port)";
        Self { kind: TransportKind::ProxyUnreachable, cause: Cause::new("not a proxy URL", chain, None) }
    }
}

impl Proxy {
    /// Reads `http://`, `https://`, `socks5://` or `socks5h://` with host, and port and
    /// percent-encoded credentials where they are given.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let named = scheme.to_ascii_lowercase();
        let (socks, scheme, port) = match named.as_str() {
            "socks5" | "socks5h" => (true, "http", 1080),
            "http" => (false, "http", 8080),
            "https" => (false, "https", 443),
            _ => return None,
        };
        let (credentials, host) = match rest.rsplit_once('@') {
            Some((user, host)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((decoded(name), decoded(password))), host)
            }
            None => (None, rest),
        };
        let host = host.split('/').next().unwrap_or_default();
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = if has_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") };
        let place: Uri = place.parse().ok()?;
        place.host().filter(|host| !host.is_empty())?;
        let shown = format!("{named}://{}", place.authority()?);
        Some(Self { place, shown, socks, credentials })
    }

    /// A connection to `uri`, whose port is spelt out.
    pub(super) async fn open(&self, tcp: HttpConnector, uri: &Uri, step: &Step) -> Result<Line, ProxyError> {
        let reached = dial(tcp, self.place.clone(), false, step).await;
        step.take(Step::PROXY);
        let line = reached.map_err(|error| self.fault(TransportKind::ProxyUnreachable, &*error))?;
        let let_through = if self.socks { self.socks(line, uri).await } else { self.tunnel(line, uri).await };
        let_through.map_err(|error| self.fault(TransportKind::ProxyRefused, &*error))
    }

    async fn socks(&self, line: Line, uri: &Uri) -> Result<Line, BoxError> {
        let mut socks = SocksV5::new(self.place.clone(), Given(Some(line)));
        if let Some((user, password)) = &self.credentials {
            socks = socks.with_auth(user.clone(), password.clone());
        }
        Ok(socks.call(uri.clone()).await?)
    }

    async fn tunnel(&self, line: Line, uri: &Uri) -> Result<Line, BoxError> {
        let mut tunnel = Tunnel::new(self.place.clone(), Given(Some(line)));
        if let Some(basic) = self.basic() {
            tunnel = tunnel.with_auth(basic);
        }
        Ok(tunnel.call(uri.clone()).await?)
    }

    /// `Proxy-Authorization` (RFC 7617 §2).
    fn basic(&self) -> Option<HeaderValue> {
        use base64::Engine as _;
        let (user, password) = self.credentials.as_ref()?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        HeaderValue::from_str(&format!("Basic {pair}")).ok()
    }

    fn fault(&self, kind: TransportKind, error: &(dyn std::error::Error + 'static)) -> ProxyError {
        let cause = if kind == TransportKind::ProxyRefused { self.refusal(error) } else { self.cause(error) };
        tracing::warn!(reason = cause.chain(), "{kind}.");
        ProxyError { kind, cause }
    }

    /// Why the proxy could not be reached.
    fn cause(&self, error: &(dyn std::error::Error + 'static)) -> Cause {
        let cause = cause(error);
        Cause::new(cause.brief(), &format!("proxy {}: {}", self.shown, cause.chain()), cause.os_error())
    }

    /// Why the proxy did not let us through, in the words of whoever spoke with it.
    fn refusal(&self, error: &(dyn std::error::Error + 'static)) -> Cause {
        let mut said = String::new();
        for link in links(error) {
            let deeper = link.to_string();
            // Many errors repeat their cause.
            if !said.contains(&deeper) {
                said = if said.is_empty() { deeper } else { format!("{said}: {deeper}") };
            }
        }
        let known = [
            ("auth", "credentials refused"),
            ("credential", "credentials refused"),
            ("host unreachable", "host unreachable"),
            ("network unreachable", "network unreachable"),
            ("connection refused", "connection refused"),
        ];
        let brief =
            known.iter().find(|(words, _)| said.contains(words)).map_or("refused", |(_, brief)| brief);
        Cause::new(brief, &format!("proxy {}: {said}", self.shown), None)
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1), as user names and passwords in URLs need it.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_url_is_read_in_all_its_forms() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (url, place, socks, credentials) in [
            ("socks5://10.0.0.1:1081", "http://10.0.0.1:1081/", true, None),
            ("SOCKS5H://proxy", "http://proxy:1080/", true, None),
            ("http://proxy/", "http://proxy:8080/", false, None),
            ("https://proxy", "https://proxy:443/", false, None),
            ("http://me:pass@word@proxy:1", "http://proxy:1/", false, pair("me", "pass@word")),
            ("http://me:a%2Fb%3Ac@[::1]", "http://[::1]:8080/", false, pair("me", "a/b:c")),
            ("socks5://token@[::1]:9", "http://[::1]:9/", true, pair("token", "")),
        ] {
            let proxy = Proxy::parse(url).unwrap();
            let read = (proxy.place.to_string(), proxy.socks, proxy.credentials);
            assert_eq!(read, (place.to_owned(), socks, credentials), "{url}");
        }
        for url in ["", "proxy:1080", "ftp://proxy", "http://", "http://user:pass@", "socks5://a b"] {
            assert!(Proxy::parse(url).is_none(), "{url}");
        }
    }
}
