//! The listener, the worker threads and their connections.
//!
//! One thread accepts; each connection is given to the worker that has the fewest, and stays
//! there. A worker is a single-threaded runtime with its own pipeline and its own upstream
//! connections, so a request crosses no thread between its two sockets and takes no shared lock
//! on the way. `axum::serve` is not used because it has neither a limit on how long a request head
//! may take nor TCP_NODELAY on accepted sockets; without the latter small chunks wait for
//! acknowledgements, forty milliseconds at a time. Clients are spoken to in HTTP/1.1, which is what
//! the proxies in front of this program speak to it; TLS and HTTP/2 are theirs.

mod figures;
mod trusted;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use layers::body::poll_on_wake::PollOnWake;
use layers::stage::Peer;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep};
use tokio_util::task::TaskTracker;
use tower::util::Oneshot;
use tower::{Service, ServiceExt as _};

pub use self::trusted::Trusted;

use crate::lifecycle::{Phase, reached};
use crate::pipeline::{Parts, edge};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;

/// Longest time that a request head may take, and that a connection may be idle between requests.
const HEAD: Duration = Duration::from_secs(75);

/// The settings by which connections are served.
#[derive(Clone)]
pub struct Serving {
    /// Worker threads.
    pub workers: usize,
    /// A client that takes nothing for this long is let go.
    pub client_stall: Duration,
    /// Whose word about the client's address counts.
    pub trusted: Trusted,
    /// Where each worker's figures are shown.
    pub metrics: Metrics,
}

/// A worker as the acceptor sees it.
struct Worker {
    connections: Arc<AtomicUsize>,
    runtime: tokio::runtime::Handle,
    queue: mpsc::UnboundedSender<(std::net::TcpStream, SocketAddr)>,
    thread: std::thread::JoinHandle<()>,
}

/// Serves `listener` until the phase is [`Phase::Closing`], then waits for what is under way.
///
/// # Errors
/// When a worker thread cannot be started.
pub async fn serve(
    listener: TcpListener,
    parts: Parts,
    serving: Serving,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let workers: Vec<Worker> =
        (0..serving.workers.max(1)).map(|n| start(n, &parts, &serving, &phase)).collect::<io::Result<_>>()?;
    figures::observe(&serving.metrics, &workers);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reached(&mut phase, Phase::Closing) => break,
        };
        match accepted {
            Ok((stream, peer)) => hand_over(&workers, stream, peer),
            Err(error) => {
                // Out of file descriptors, mostly: a pause lets some connections end.
                tracing::warn!(%error, "A connection could not be accepted.");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let threads: Vec<_> = workers.into_iter().map(|worker| worker.thread).collect();
    let _ =
        tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
    Ok(())
}

/// Gives a connection to the worker that has the fewest.
fn hand_over(workers: &[Worker], stream: TcpStream, peer: SocketAddr) {
    // Without this small chunks wait for the acknowledgement of the ones before them.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = stream.into_std() else { return };
    let emptiest = workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
    if let Some(worker) = emptiest {
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let _ = worker.queue.send((stream, peer));
    }
}

fn start(n: usize, parts: &Parts, serving: &Serving, phase: &watch::Receiver<Phase>) -> io::Result<Worker> {
    let connections = Arc::new(AtomicUsize::new(0));
    let (queue, arrivals) = mpsc::unbounded_channel();
    let (parts, serving, phase, count) = (parts.clone(), serving.clone(), phase.clone(), connections.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name(format!("worker-{n}")).spawn(move || {
        runtime.block_on(work(arrivals, parts, serving, phase, count));
        // Tasks that are left wait for something that will not come.
        runtime.shutdown_background();
    })?;
    Ok(Worker { connections, runtime: handle, queue, thread })
}

async fn work(
    mut arrivals: mpsc::UnboundedReceiver<(std::net::TcpStream, SocketAddr)>,
    parts: Parts,
    serving: Serving,
    mut phase: watch::Receiver<Phase>,
    connections: Arc<AtomicUsize>,
) {
    let pipeline = Arc::new(Mutex::new(edge(&parts, Upstream::new(crate::providers::inside), phase.clone())));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let tasks = TaskTracker::new();
    while let Some((stream, peer)) = arrivals.recv().await {
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let trusted = serving.trusted.clone();
        let entrance =
            Entrance { pipeline: pipeline.clone(), peer: peer.ip(), trusted, phase: phase.clone() };
        let io = TokioIo::new(Impatient::new(stream, serving.client_stall));
        let (phase, connections) = (phase.clone(), connections.clone());
        let serving = http.serve_connection(io, entrance);
        tasks.spawn(async move {
            connection(serving, phase).await;
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    // The acceptor is gone: what is under way may end.
    tasks.close();
    tokio::select! {
        () = tasks.wait() => {}
        () = reached(&mut phase, Phase::Ending) => {
            // All have been told; their connections get a moment to say so.
            let _ = tokio::time::timeout(Duration::from_secs(2), tasks.wait()).await;
        }
    }
}

async fn connection<S, B>(
    serving: http1::Connection<TokioIo<Impatient>, S>,
    mut phase: watch::Receiver<Phase>,
) where
    S: hyper::service::HttpService<Incoming, ResBody = B, Error = Infallible>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<tower::BoxError>> + 'static,
{
    let mut serving = std::pin::pin!(serving);
    let mut ending = phase.clone();
    let mut closing = PollOnWake::new(async move { reached(&mut phase, Phase::Closing).await });
    // A connection that breaks is the client's business; the ledger has noted what it cost.
    tokio::select! {
        biased;
        _ended = serving.as_mut() => return,
        () = poll_fn(|cx| closing.poll(cx)) => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ended = serving.as_mut() => return,
        () = reached(&mut ending, Phase::Ending) => {}
    }
    // Polled once more: whoever waits for an answer sees that there will be none.
    let _ended = serving.await;
}

/// The pipeline as one connection uses it: shared with all others of the worker, so that neither
/// a connection nor a request costs a copy of it.
struct Entrance<S> {
    pipeline: Arc<Mutex<S>>,
    peer: IpAddr,
    trusted: Trusted,
    phase: watch::Receiver<Phase>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Entrance<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Answering<S::Future, Oneshot<S, Request<Incoming>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let client = self.trusted.client(self.peer, request.headers());
        request.extensions_mut().insert(Peer(client));
        // Never contended: the worker has one thread, and a call only makes a future.
        let mut pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly every service of the pipeline is ready at once, and needs no copy of it to wait with.
        let inner = match pipeline.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_ready_or_never) => Asked::AtOnce { answer: pipeline.call(request) },
            Poll::Pending => Asked::InTurn { answer: pipeline.clone().oneshot(request) },
        };
        let draining = *self.phase.borrow() >= Phase::Draining;
        Answering { inner, draining }
    }
}

pin_project! {
    /// An answer, which is its connection's last one while the process drains: a client that asks
    /// again connects again, to whoever is ready.
    struct Answering<F, W> {
        #[pin]
        inner: Asked<F, W>,
        draining: bool,
    }
}

pin_project! {
    /// The pipeline's answer, whether it could be asked at once or had to be waited for.
    #[project = AskedProjection]
    enum Asked<F, W> {
        AtOnce { #[pin] answer: F },
        InTurn { #[pin] answer: W },
    }
}

impl<F, W, B> Future for Answering<F, W>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    W: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(match this.inner.project() {
            AskedProjection::AtOnce { answer } => answer.poll(cx),
            AskedProjection::InTurn { answer } => answer.poll(cx),
        });
        if *this.draining
            && let Ok(response) = &mut response
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(response)
    }
}

/// A socket that gives up on a client which takes nothing.
///
/// While a write cannot go on nobody asks the upstream for more, so without this a client that
/// stops reading would hold its upstream connection for as long as it likes.
struct Impatient {
    stream: TcpStream,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, timer: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
