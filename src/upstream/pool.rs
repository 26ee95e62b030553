//! Keeps HTTP/1.1 connections open between requests.
//!
//! A connection serves one request at a time and waits for the next one in the lot of its origin.
//! hyper's own client could keep them, too, but cannot be told to send on a fresh one, which a
//! request deserves after an old one has turned out to be dead: behind a middlebox that forgot
//! them, or an upstream that restarted, all that wait are as dead as the first.
//!
//! The newest is taken first, so that those which are not needed grow old and are closed. A
//! request that finds none opens one. hyper reads from connections that wait: one that the other
//! side closes, or sends unasked bytes on, is never used again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::body::{BodyChunks, contradicts_itself};
use super::client::{IDLE, MOST_IDLE};
use super::connector::{BoxError, Connector};
use super::line::Mark;

/// Origins whose connections are kept.
const MOST_ORIGINS: usize = 4096;

/// The connections of one kind of link. Clones share them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Lots>);

struct Lots {
    connector: Connector,
    /// Most idle connections of an origin.
    most: usize,
    plain: Mutex<ByAuthority>,
    secure: Mutex<ByAuthority>,
}

type ByAuthority = HashMap<Box<str>, Arc<Lot>, RandomState>;

/// The connections of one origin.
struct Lot {
    connector: Connector,
    most: usize,
    waiting: Mutex<Waiting>,
}

/// The idle connections of one origin, the one that waits longest in front.
#[derive(Default)]
struct Waiting {
    lines: Vec<Idle>,
    /// Whether somebody will close them when they have waited too long.
    watched: bool,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// An open connection.
struct Line {
    sender: SendRequest<BodyChunks>,
    mark: Mark,
}

/// The reason why a request got no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// No connection could be opened.
    Unconnected(BoxError),
    /// A connection failed on which nothing was ever answered.
    Failed(hyper::Error, Mark),
    /// A connection failed that had been idle, and nothing came of the answer: one that is opened
    /// now may be better.
    Stale(hyper::Error),
}

// === impl Pool ===

impl Pool {
    /// A pool without connections, which opens them with `connector`.
    pub(super) fn new(connector: Connector) -> Self {
        Self::keeping(MOST_IDLE, connector)
    }

    fn keeping(most: usize, connector: Connector) -> Self {
        Self(Arc::new(Lots { connector, most, plain: Mutex::default(), secure: Mutex::default() }))
    }

    /// Sends a request whose URL is absolute and whose `host` is set; with `fresh_since`, which is
    /// when a connection turned out to be dead, on one that is opened for it. Those that were idle
    /// then are not used again.
    ///
    /// # Errors
    /// Why it was not answered.
    pub(super) fn send(
        &self,
        request: Box<Request<Vec<Bytes>>>,
        fresh_since: Option<Instant>,
    ) -> impl Future<Output = Result<Response<Held>, Unanswered>> + Send + use<> {
        let lot = request.uri().authority().map(|authority| self.0.lot(request.uri().scheme(), authority));
        async move {
            match lot {
                Some(lot) => lot.send(request, fresh_since).await,
                None => Err(Unanswered::Unconnected("the address names no host".into())),
            }
        }
    }
}

impl Lots {
    fn lot(&self, scheme: Option<&Scheme>, authority: &Authority) -> Arc<Lot> {
        let lots = if scheme == Some(&Scheme::HTTPS) { &self.secure } else { &self.plain };
        let mut lots = lots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lot) = lots.get(authority.as_str()) {
            return lot.clone();
        }
        if lots.len() >= MOST_ORIGINS {
            // Those that nobody uses: a configuration that was changed very often leaves them.
            lots.retain(|_, lot| Arc::strong_count(lot) > 1 || !lot.lock().lines.is_empty());
        }
        let lot =
            Arc::new(Lot { connector: self.connector.clone(), most: self.most, waiting: Mutex::default() });
        lots.insert(authority.as_str().into(), lot.clone());
        lot
    }
}

// === impl Lot ===

impl Lot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(
        self: Arc<Self>,
        request: Box<Request<Vec<Bytes>>>,
        fresh_since: Option<Instant>,
    ) -> Result<Response<Held>, Unanswered> {
        let mut waited = match fresh_since {
            None => self.take(),
            Some(since) => {
                self.lock().lines.retain(|idle| idle.since > since);
                None
            }
        };
        let mut request = request.map(BodyChunks::from);
        let whole = std::mem::take(request.uri_mut());
        *request.uri_mut() = origin_form(&whole);
        loop {
            let (mut line, waited_since) = match waited.take() {
                Some(idle) => (idle.line, Some(idle.since)),
                // Boxed, because it is rare and large.
                None => (Box::pin(self.open(&whole)).await?, None),
            };
            let mut failed = match line.sender.try_send_request(request).await {
                Ok(answer) => {
                    // What follows such an answer may be anybody's: hyper closes what nobody holds.
                    let line = (!contradicts_itself(&answer)).then_some((line, self));
                    return Ok(answer.map(|body| Held {
                        has_length: body.size_hint().exact().is_some(),
                        body,
                        line,
                    }));
                }
                Err(failed) => failed,
            };
            match (failed.take_message(), waited_since) {
                // It was closed before anything was sent.
                (Some(back), Some(_)) => {
                    request = back;
                    waited = self.take();
                }
                (_, waited_since) => {
                    let error = failed.into_error();
                    // Who sends what cannot be read has begun to answer.
                    return Err(match waited_since.filter(|_| !error.is_parse()) {
                        Some(_) => Unanswered::Stale(error),
                        None => Unanswered::Failed(error, line.mark),
                    });
                }
            }
        }
    }

    /// The connection that has waited for the shortest time.
    fn take(&self) -> Option<Idle> {
        let now = Instant::now();
        let mut waiting = self.lock();
        let mut at = waiting.lines.len();
        while at > 0 {
            at -= 1;
            let idle = &waiting.lines[at];
            if now.saturating_duration_since(idle.since) >= IDLE {
                // So have all in front of it.
                waiting.lines.drain(..=at);
                return None;
            }
            if idle.line.sender.is_ready() {
                return Some(waiting.lines.remove(at));
            }
            if idle.line.sender.is_closed() {
                waiting.lines.remove(at);
            }
        }
        None
    }

    async fn open(&self, uri: &Uri) -> Result<Line, Unanswered> {
        let mut connector = self.connector.clone();
        let ready = connector.ready().await.map_err(Unanswered::Unconnected)?;
        let io = ready.call(uri.clone()).await.map_err(Unanswered::Unconnected)?;
        let mark = io.mark().clone();
        let (sender, connection) =
            handshake(io).await.map_err(|error| Unanswered::Failed(error, mark.clone()))?;
        // What goes wrong on it is told to the request on it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Line { sender, mark })
    }

    /// Takes a connection back whose answer has ended.
    fn put(self: &Arc<Self>, line: Line) {
        if line.sender.is_closed() {
            return;
        }
        let mut waiting = self.lock();
        if waiting.lines.len() >= self.most {
            waiting.lines.remove(0);
        }
        waiting.lines.push(Idle { line, since: Instant::now() });
        if !std::mem::replace(&mut waiting.watched, true) {
            tokio::spawn(close_old(Arc::downgrade(self)));
        }
    }
}

/// Closes connections that have waited too long, as long as there are any.
async fn close_old(lot: Weak<Lot>) {
    loop {
        tokio::time::sleep(IDLE / 2).await;
        let Some(lot) = lot.upgrade() else { return };
        let mut waiting = lot.lock();
        waiting.lines.retain(|idle| !idle.line.sender.is_closed() && idle.since.elapsed() < IDLE);
        if waiting.lines.is_empty() {
            waiting.lines.shrink_to_fit();
            waiting.watched = false;
            return;
        }
    }
}

/// The target of a request line (RFC 9112 §3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::default(),
    }
}

/// The body of an answer, which holds its connection and gives it back at the end.
pub(super) struct Held {
    body: Incoming,
    /// Its length is known, and so is which of its frames is the last.
    has_length: bool,
    line: Option<(Line, Arc<Lot>)>,
}

impl Held {
    fn give_back(&mut self) {
        if let Some((line, lot)) = self.line.take() {
            lot.put(line);
        }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !self.has_length || !self.body.is_end_stream() => {}
            Some(Err(_)) => self.line = None,
            _ => self.give_back(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Held {
    /// An answer that is there to its end may be dropped before it says so. Of one that is not, hyper
    /// closes the connection.
    fn drop(&mut self) {
        if self.body.is_end_stream() || self.line.as_ref().is_some_and(|(line, _)| line.sender.is_ready()) {
            self.give_back();
        }
    }
}

#[cfg(test)]
mod tests;
