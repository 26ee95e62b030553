//! An upstream that speaks HTTP/2 only, as strictly as providers do: so many streams on one
//! connection and no more.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::{DONE, PATIENCE, eventually, role_event, stop_event, text_event};

/// Streams that one connection may have at once: what common servers allow.
const STREAMS: u32 = 100;

/// Begins each answer with `begun` and ends it when it is told to.
pub(crate) struct Http2Upstream {
    address: SocketAddr,
    open: Arc<Mutex<Open>>,
    release: watch::Sender<bool>,
}

/// Streams that are open, and were at most, by connection.
#[derive(Default)]
struct Open {
    now: HashMap<usize, usize>,
    most: HashMap<usize, usize>,
}

/// One open stream.
struct Held {
    open: Arc<Mutex<Open>>,
    connection: usize,
}

struct Events(mpsc::Receiver<Bytes>);

impl Http2Upstream {
    /// Starts one: with TLS where an acceptor is given, with prior knowledge otherwise.
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Mutex::new(Open::default()));
        let (release, released) = watch::channel(false);
        let log = open.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (log, released, tls) = (log.clone(), released.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, connection, log, released).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                            serve(stream, connection, log, released).await;
                        }
                    }
                });
            }
        });
        Self { address, open, release }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until this many streams are open at once.
    pub(crate) async fn wait_for(&self, streams: usize) {
        let now = || self.open.lock().unwrap().now.values().sum::<usize>();
        eventually("streams that are open at once", PATIENCE, || (now() >= streams).then_some(())).await;
    }

    /// The most streams that each connection has had at once.
    pub(crate) fn most(&self) -> Vec<usize> {
        self.open.lock().unwrap().most.values().copied().collect()
    }

    /// Ends all answers, those to come too.
    pub(crate) fn release(&self) {
        self.release.send_replace(true);
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: usize,
    open: Arc<Mutex<Open>>,
    released: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let held = Held::new(open.clone(), connection);
        let released = released.clone();
        async move { Ok::<_, Infallible>(answer(request, held, released).await) }
    });
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(STREAMS);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    held: Held,
    mut released: watch::Receiver<bool>,
) -> Response<Events> {
    let _ = request.into_body().collect().await;
    let (events, body) = mpsc::channel(4);
    tokio::spawn(async move {
        let _held = held;
        let _ = events.send(format!("{}{}", role_event(), text_event("begun")).into()).await;
        let _ = released.wait_for(|released| *released).await;
        let _ = events.send(format!("{}{DONE}", stop_event()).into()).await;
    });
    Response::builder().header("content-type", "text/event-stream").body(Events(body)).unwrap()
}

impl Held {
    fn new(open: Arc<Mutex<Open>>, connection: usize) -> Self {
        let mut log = open.lock().unwrap();
        let now = log.now.entry(connection).or_default();
        *now += 1;
        let now = *now;
        let most = log.most.entry(connection).or_default();
        *most = now.max(*most);
        drop(log);
        Self { open, connection }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.open.lock().unwrap().now.get_mut(&self.connection).unwrap() -= 1;
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
