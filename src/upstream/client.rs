//! Sends one request over a pooled connection.
//!
//! Pools are kept per kind of link (proxy, HTTP/2) and found by it, so channels that share a link
//! share connections, and a reload loses none. Each worker thread has its own: a connection stays
//! on the thread whose requests it serves, and no lock is shared.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use layers::body::UpstreamBody;
use layers::failure::{TransportFault, TransportKind};
use layers::policy::Link;
use layers::ports::{BoxFuture, Outgoing};
use tokio::time::Instant;
use tower::Service;

use super::body::{BodyChunks, contradicts_itself, readable};
use super::cause::{cause, links};
use super::connector::{Connector, Late};
use super::line::{Last, Mark};
use super::pool::{Pool, Unanswered};
use super::proxy::ProxyError;
use super::spread::Spread;
use crate::engine::Inside;

/// How long an idle connection is kept: shorter than common servers keep theirs.
pub(super) const IDLE: Duration = Duration::from_secs(20);
/// Idle connections kept per origin.
pub(super) const MOST_IDLE: usize = 512;
/// Kinds of links whose pools are kept; configurations have a handful.
const MOST_LINKS: usize = 1024;

/// The innermost service: takes an outgoing request, gives the upstream's answer. Clones share
/// their pools; every layer above clones it, so it is one pointer.
#[derive(Clone)]
pub struct Upstream(Arc<Pools>);

struct Pools {
    /// Direct HTTP/1.1, which nearly everything is.
    direct: Pool,
    others: Mutex<HashMap<Link, Transport>>,
    /// Finds upstreams inside this program by their names.
    inside: fn(&str) -> Option<Inside>,
}

/// A way to send the requests of a link.
#[derive(Clone)]
enum Transport {
    Http1(Pool),
    Http2(Arc<Spread>),
    Inside(Inside),
}

impl Upstream {
    /// A client without connections, which finds upstreams inside this program by their names.
    pub fn new(inside: fn(&str) -> Option<Inside>) -> Self {
        Self(Arc::new(Pools { direct: pool(None, None), others: Mutex::default(), inside }))
    }
}

impl Pools {
    /// How requests of a link are sent; none for the usual one.
    fn kind(&self, link: &Link) -> Option<Transport> {
        if *link == Link::default() {
            return None;
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if others.len() >= MOST_LINKS && !others.contains_key(link) {
            // Only a configuration that was changed a thousand times gets here. Requests that are
            // under way keep their pool; new ones open new connections.
            others.clear();
        }
        let kind = others
            .entry(link.clone())
            .or_insert_with(|| {
                let (proxy, limit) = (link.proxy.as_deref(), link.connect);
                if let Some(inside) = link.inside.and_then(self.inside) {
                    Transport::Inside(inside)
                } else if link.http2 {
                    Transport::Http2(Arc::new(Spread::new(proxy, limit)))
                } else {
                    Transport::Http1(pool(proxy, limit))
                }
            })
            .clone();
        Some(kind)
    }
}

fn pool(proxy: Option<&str>, limit: Option<Duration>) -> Pool {
    Pool::new(Connector::new(proxy, false, limit))
}

/// A client over hyper's own pool, for where a connection carries many requests, or there are few.
pub(super) type PooledClient = Client<Connector, BodyChunks>;

/// What all of hyper's pools have in common.
pub(super) fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE);
    builder
}

impl Service<Outgoing> for Upstream {
    type Response = Response<UpstreamBody>;
    type Error = TransportFault;
    type Future = BoxFuture<Result<Response<UpstreamBody>, TransportFault>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TransportFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let Outgoing { request, link, fresh_since } = outgoing;
        let Some(kind) = self.0.kind(&link) else { return send(&self.0.direct, request, fresh_since) };
        match kind {
            Transport::Http1(pool) => send(&pool, request, fresh_since),
            Transport::Http2(spread) => {
                Box::pin(async move { spread.send(request.map(BodyChunks::from), fresh_since).await })
            }
            Transport::Inside(answer) => Box::pin(std::future::ready(Ok(answer(*request)))),
        }
    }
}

fn send(
    pool: &Pool,
    request: Box<Request<Vec<Bytes>>>,
    fresh_since: Option<Instant>,
) -> BoxFuture<Result<Response<UpstreamBody>, TransportFault>> {
    let answering = pool.send(request, fresh_since);
    Box::pin(async move { answering.await.map(readable).map_err(|unanswered| unanswered_fault(&unanswered)) })
}

/// What it means that a pool got no answer.
fn unanswered_fault(unanswered: &Unanswered) -> TransportFault {
    match unanswered {
        Unanswered::Unconnected(error) => no_connection(&**error),
        Unanswered::Stale(error) => TransportFault { kind: TransportKind::Stale, cause: Some(cause(error)) },
        Unanswered::Failed(error, mark) => {
            let greeted = mark.greeting().cause();
            TransportFault {
                kind: TransportKind::Broken,
                cause: Some(greeted.unwrap_or_else(|| cause(error))),
            }
        }
    }
}

/// An answer of hyper's own pool: from now on an error on its connection may be one of an idle connection.
pub(super) fn answered(response: Response<Incoming>) -> Response<UpstreamBody> {
    let mark = response.extensions().get::<Mark>();
    if let Some(mark) = mark {
        mark.note_answer();
    }
    match mark.filter(|_| contradicts_itself(&response)).cloned() {
        None => readable(response),
        // The chunks win, and the connection ends with them (RFC 9112 §6.3).
        Some(mark) => readable(response).map(|body| Last::of(body, mark)),
    }
}

/// What an error of the client means.
pub(super) fn fault(error: &Error) -> TransportFault {
    if error.is_connect() {
        return no_connection(error);
    }
    let mut extensions = http::Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    let mark = extensions.get::<Mark>();
    // Who sends what cannot be read has begun to answer.
    let answering =
        links(error).filter_map(|link| link.downcast_ref::<hyper::Error>()).any(|error| error.is_parse());
    let had_answered = mark.is_some_and(Mark::has_answered);
    let kind = if had_answered && !answering { TransportKind::Stale } else { TransportKind::Broken };
    let greeted = mark.filter(|_| !had_answered).and_then(|mark| mark.greeting().cause());
    TransportFault { kind, cause: Some(greeted.unwrap_or_else(|| cause(error))) }
}

/// Why a connection could not be opened.
fn no_connection(error: &(dyn std::error::Error + 'static)) -> TransportFault {
    let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    let kind = links(error).find_map(|link| match link.downcast_ref::<ProxyError>() {
        Some(proxy) => Some(proxy.kind),
        None => (link.is::<Late>() || link.downcast_ref().is_some_and(timed_out))
            .then_some(TransportKind::ConnectTimeout),
    });
    TransportFault { kind: kind.unwrap_or(TransportKind::Connect), cause: Some(cause(error)) }
}

#[cfg(test)]
mod tests;
