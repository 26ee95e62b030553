//! Opens connections to upstreams: TCP or TLS, directly or through a proxy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use tokio::time::Instant;
use tower::Service;

use super::cause::Handshake;
use super::line::Line;
use super::proxy::{Proxy, ProxyError};
use super::trust;

/// How long opening a connection may take, TLS and proxy included.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialing = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

/// The step of connecting that is being taken, for whoever has waited too long.
#[derive(Debug, Default)]
pub(super) struct Step(AtomicU8);

impl Step {
    const NAMES: [&str; 3] = ["tcp", "proxy", "tls"];
    pub(super) const PROXY: u8 = 1;
    pub(super) const TLS: u8 = 2;

    pub(super) fn take(&self, step: u8) {
        self.0.store(step, Ordering::Relaxed);
    }

    fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// A connection did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("{step}: not done within {limit:?}")]
pub(super) struct Late {
    pub(super) step: &'static str,
    limit: Duration,
}

/// A dialler of upstreams of one kind of link.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    http2: bool,
    limit: Duration,
}

#[derive(Clone)]
enum Way {
    Direct(HttpConnector),
    Through(Arc<Proxy>, HttpConnector),
    /// The configured proxy is no proxy URL. Going around it would be worse than failing.
    Nowhere,
}

impl Connector {
    /// Dials directly, or through this proxy URL: `http://`, `https://`, `socks5://` or
    /// `socks5h://`, with credentials if it has them. Gives up after `limit`, ten seconds if none.
    pub(super) fn new(proxy: Option<&str>, http2: bool, limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or(CONNECT);
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let way = match proxy {
            None => Way::Direct(tcp),
            Some(url) => Proxy::parse(url).map_or(Way::Nowhere, |proxy| Way::Through(Arc::new(proxy), tcp)),
        };
        Self { way, http2, limit }
    }
}

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        let (way, http2, limit) = (self.way.clone(), self.http2, self.limit);
        Box::pin(async move {
            let began = Instant::now();
            let step = Step::default();
            let dialing = async {
                match way {
                    Way::Direct(tcp) => dial(tcp, uri, http2, &step).await,
                    Way::Through(proxy, tcp) => {
                        // Proxies are told the port, and 443 would be assumed for all schemes.
                        let uri = with_port(uri);
                        let way = proxy.open(tcp, &uri, &step).await?;
                        dial(Given(Some(way)), uri, http2, &step).await
                    }
                    Way::Nowhere => Err(ProxyError::malformed().into()),
                }
            };
            let dialed = match tokio::time::timeout(limit, dialing).await {
                Ok(dialed) => dialed,
                Err(_elapsed) => Err(Late { step: step.name(), limit }.into()),
            };
            let result = if dialed.is_ok() { "ok" } else { "failed" };
            metrics::histogram!("uni_api_upstream_connect_seconds", "result" => result)
                .record(began.elapsed());
            dialed
        })
    }
}

/// Speaks TLS over what the connector connects where the URL asks for it.
pub(super) async fn dial<C>(mut connector: C, uri: Uri, http2: bool, step: &Step) -> Result<Line, BoxError>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send> + Send + 'static,
    C::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    std::future::poll_fn(|cx| connector.poll_ready(cx)).await.map_err(Into::into)?;
    let io = connector.call(uri.clone()).await.map_err(Into::into)?;
    if uri.scheme_str() != Some("https") {
        return Ok(Line::plain(io, http2));
    }
    step.take(Step::TLS);
    let shaken = secured(Given(Some(io)), http2).call(uri).await;
    Ok(Line::secure(shaken.map_err(Handshake)?))
}

/// The URL with its port spelt out.
fn with_port(uri: Uri) -> Uri {
    if uri.port().is_some() {
        return uri;
    }
    let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let mut parts = uri.clone().into_parts();
    let authority = parts.authority.take().and_then(|host| format!("{host}:{port}").parse().ok());
    parts.authority = authority;
    Uri::from_parts(parts).unwrap_or(uri)
}

/// A connector for code that connects by itself and must be given a connection that is there.
pub(super) struct Given<S>(pub(super) Option<S>);

impl<S> Service<Uri> for Given<S> {
    type Response = S;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<S>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        std::future::ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

fn secured<C>(connector: C, http2: bool) -> HttpsConnector<C> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(trust::config()).https_or_http();
    if http2 {
        builder.enable_all_versions().wrap_connector(connector)
    } else {
        builder.enable_http1().wrap_connector(connector)
    }
}
