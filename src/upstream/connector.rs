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

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use tower::Service;

/// How long opening a connection may take, TLS and proxy included.
const CONNECT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialing = Pin<Box<dyn Future<Output = Result<Line, BoxError>> + Send>>;

/// Whether a connection has answered before.
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

/// Dials upstreams of one kind of link.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    http2: bool,
}

#[derive(Clone)]
enum Way {
    Direct(HttpConnector),
    Http(Tunnel<HttpConnector>),
    Socks(SocksV5<HttpConnector>),
    /// The configured proxy is no proxy URL. Going around it would be worse than failing.
    Nowhere,
}

impl Connector {
    /// Dials directly, or through this proxy URL: `http://`, `https://`, `socks5://` or
    /// `socks5h://`, with credentials if it has them.
    pub(super) fn new(proxy: Option<&str>, http2: bool) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let way = match proxy {
            None => Way::Direct(tcp),
            Some(url) => Proxy::parse(url).map_or(Way::Nowhere, |proxy| proxy.way(tcp)),
        };
        Self { way, http2 }
    }
}

/// A proxy URL in its parts.
struct Proxy {
    uri: Uri,
    socks: bool,
    credentials: Option<(String, String)>,
}

impl Proxy {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let socks = match scheme.to_ascii_lowercase().as_str() {
            "socks5" | "socks5h" => true,
            "http" | "https" => false,
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let (credentials, host) = match rest.rsplit_once('@') {
            Some((user, host)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((decoded(name), decoded(password))), host)
            }
            None => (None, rest),
        };
        let port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            ""
        } else if socks {
            ":1080"
        } else {
            ":8080"
        };
        let uri = format!("http://{host}{port}").parse().ok()?;
        Some(Self { uri, socks, credentials })
    }

    fn way(self, tcp: HttpConnector) -> Way {
        if self.socks {
            let socks = SocksV5::new(self.uri, tcp);
            return Way::Socks(match self.credentials {
                Some((user, password)) => socks.with_auth(user, password),
                None => socks,
            });
        }
        let tunnel = Tunnel::new(self.uri, tcp);
        let basic = self.credentials.and_then(|(user, password)| {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Way::Http(match basic {
            Some(basic) => tunnel.with_auth(basic),
            None => tunnel,
        })
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1), as user names and passwords in URLs need it.
fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Service<Uri> for Connector {
    type Response = Line;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Dialing {
        let (way, http2) = (self.way.clone(), self.http2);
        Box::pin(async move {
            let dialing = async {
                match way {
                    Way::Direct(tcp) => dial(tcp, uri, http2).await,
                    Way::Http(tunnel) => dial(tunnel, uri, http2).await,
                    Way::Socks(socks) => dial(socks, uri, http2).await,
                    Way::Nowhere => Err(io::Error::other("the configured proxy is not a proxy URL").into()),
                }
            };
            match tokio::time::timeout(CONNECT, dialing).await {
                Ok(dialed) => dialed,
                Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

async fn dial<C>(mut connector: C, uri: Uri, http2: bool) -> Result<Line, BoxError>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
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
