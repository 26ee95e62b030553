//! Opens connections to upstreams: TCP or TLS, directly or through a proxy.
//!
//! Every connection is marked once it has answered, so that an error on a connection that had been
//! idle in the pool can be told from one on a fresh connection: the first is worth a repeat.
//! Trust comes from the system's store, so that private authorities work, and from the bundled
//! Mozilla roots when that store is empty, as in a minimal container. Both are loaded with the
//! first TLS connection, not at start.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use tower::Service;

use super::proxy::{Proxy, ProxyError};

/// How long opening a connection may take, TLS and proxy included.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialing = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

/// A mark of whether a connection has answered before.
#[derive(Debug, Clone, Default)]
pub(super) struct Answered(Arc<AtomicBool>);

impl Answered {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_noted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
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
            let dialing = async {
                match way {
                    Way::Direct(tcp) => dial(tcp, uri, http2).await,
                    Way::Through(proxy, tcp) => {
                        // Proxies are told the port, and 443 would be assumed for all schemes.
                        let uri = with_port(uri);
                        let way = proxy.open(tcp, &uri).await?;
                        dial(Given(Some(way)), uri, http2).await
                    }
                    Way::Nowhere => Err(ProxyError::malformed().into()),
                }
            };
            match tokio::time::timeout(limit, dialing).await {
                Ok(dialed) => dialed,
                Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

/// Speaks TLS over what the connector connects where the URL asks for it.
pub(super) async fn dial<C>(mut connector: C, uri: Uri, http2: bool) -> Result<Line, BoxError>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send> + Send + 'static,
    C::Response: Read + Write + Connection + Unpin + Send + 'static,
{
    std::future::poll_fn(|cx| connector.poll_ready(cx)).await.map_err(Into::into)?;
    if uri.scheme_str() != Some("https") {
        let io = connector.call(uri).await.map_err(Into::into)?;
        return Ok(Line::new(io));
    }
    let mut secure = secured(connector, http2);
    Ok(Line::new(secure.call(uri).await?))
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
    static TRUST: OnceLock<rustls::ClientConfig> = OnceLock::new();
    let config = TRUST.get_or_init(trust).clone();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    if http2 {
        builder.enable_all_versions().wrap_connector(connector)
    } else {
        builder.enable_http1().wrap_connector(connector)
    }
}

fn trust() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol versions that rustls considers safe")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

trait Io: Read + Write + Connection + Unpin + Send {}
impl<T: Read + Write + Connection + Unpin + Send> Io for T {}

/// An open connection.
pub(super) struct Line {
    io: Box<dyn Io>,
    answered: Answered,
}

impl Line {
    fn new(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), answered: Answered::default() }
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        // What the socket tells of itself is not asked for; only the protocol matters. Whatever is
        // put in here is cloned into each answer.
        let told = self.io.connected();
        let line = Connected::new().extra(self.answered.clone());
        if told.is_negotiated_h2() { line.negotiated_h2() } else { line }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, bufs)
    }
}
