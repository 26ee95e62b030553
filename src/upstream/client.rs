//! Sends one request over a pooled connection.
//!
//! Pools are kept per kind of link (proxy, HTTP/2) and found by it, so channels that share a link
//! share connections, and a reload loses none. Each worker thread has its own: a connection stays
//! on the thread whose requests it serves, and no lock is shared.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Error, ResponseFuture};
use layers::body::UpstreamBody;
use layers::failure::{TransportFault, TransportKind};
use layers::policy::Link;
use layers::ports::{BoxFuture, Outgoing};
use tokio::time::Instant;
use tower::Service;

use super::body::{BodyChunks, readable};
use super::cause::{cause, links};
use super::connections::Connections;
use super::connector::{Connector, Late};
use super::line::{Last, Mark};
use super::proxy::ProxyError;
use super::spread::Spread;
use crate::engine::Inside;

/// Kinds of links whose pools are kept; configurations have a handful.
const MOST_LINKS: usize = 1024;

/// The innermost service: takes an outgoing request, gives the upstream's answer. Clones share
/// their pools; every layer above clones it, so it is one pointer.
#[derive(Clone)]
pub struct Upstream(Arc<Pools>);

struct Pools {
    /// Direct HTTP/1.1, which nearly everything is.
    direct: Connections,
    others: Mutex<HashMap<Link, Transport>>,
    /// Finds upstreams inside this program by their names.
    inside: fn(&str) -> Option<Inside>,
}

/// A way to send the requests of a link.
#[derive(Clone)]
enum Transport {
    Http1(Arc<Connections>),
    Http2(Arc<Spread>),
    Inside(Inside),
}

impl Upstream {
    /// A client without connections, which finds upstreams inside this program by their names.
    pub fn new(inside: fn(&str) -> Option<Inside>) -> Self {
        Self(Arc::new(Pools { direct: connections(None, None), others: Mutex::default(), inside }))
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
                    Transport::Http1(Arc::new(connections(proxy, limit)))
                }
            })
            .clone();
        Some(kind)
    }
}

fn connections(proxy: Option<&str>, limit: Option<Duration>) -> Connections {
    Connections::new(Connector::new(proxy, false, limit))
}

impl Service<Outgoing> for Upstream {
    type Response = Response<UpstreamBody>;
    type Error = TransportFault;
    type Future = Answering;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TransportFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let Outgoing { request, link, fresh_since } = outgoing;
        let Some(kind) = self.0.kind(&link) else { return send(&self.0.direct, request, fresh_since) };
        match kind {
            Transport::Http1(connections) => send(&connections, request, fresh_since),
            Transport::Http2(spread) => Answering::Other(Box::pin(async move {
                spread.send(request.map(BodyChunks::from), fresh_since).await
            })),
            Transport::Inside(answer) => Answering::Other(Box::pin(std::future::ready(Ok(answer(request))))),
        }
    }
}

fn send(connections: &Connections, request: Request<Vec<Bytes>>, fresh_since: Option<Instant>) -> Answering {
    Answering::Http1(connections.request(request.map(BodyChunks::from), fresh_since))
}

/// An answer that is awaited. The usual way costs no box beside the client's own.
pub enum Answering {
    /// HTTP/1.1, as it comes from the pool.
    Http1(ResponseFuture),
    /// The others.
    Other(BoxFuture<Result<Response<UpstreamBody>, TransportFault>>),
}

impl Future for Answering {
    type Output = Result<Response<UpstreamBody>, TransportFault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Http1(answering) => {
                let response = ready!(Pin::new(answering).poll(cx)).map_err(|error| fault(&error))?;
                Poll::Ready(Ok(answered(response)))
            }
            Self::Other(answering) => answering.as_mut().poll(cx),
        }
    }
}

/// The connection has answered: from now on an error on it may be one of an idle connection.
pub(super) fn answered(response: Response<Incoming>) -> Response<UpstreamBody> {
    let mark = response.extensions().get::<Mark>();
    if let Some(mark) = mark {
        mark.note_answer();
    }
    // Chunks have no length that is known before.
    let contradictory = response.body().size_hint().exact().is_none()
        && response.headers().contains_key(CONTENT_LENGTH)
        && response.headers().contains_key(TRANSFER_ENCODING);
    match mark.filter(|_| contradictory).cloned() {
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
fn no_connection(error: &Error) -> TransportFault {
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
