//! Spreads HTTP/2 streams over several connections.
//!
//! A pool keeps one HTTP/2 connection per host, and a server allows so many streams on it, often a
//! hundred; the next request would wait for one of them to end, which with answers that stream for
//! minutes is a long time. So there are several pools, and another one is begun before the first
//! has too many requests under way.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use layers::body::{Broken, UpstreamBody};
use layers::failure::TransportFault;
use tokio::time::Instant;

use super::body::BodyChunks;
use super::client::{PooledClient, answered, builder, fault};
use super::connector::Connector;

/// Requests on one connection before another one is begun: RFC 9113 §6.5.2 recommends that
/// servers allow no fewer than a hundred.
const STREAMS: usize = 90;
/// Most connections per link; beyond them requests share the emptiest.
const CONNECTIONS: usize = 64;

/// The connections of one HTTP/2 link.
pub(super) struct Spread {
    connector: Connector,
    members: Mutex<Vec<Arc<Member>>>,
}

struct Member {
    /// TLS: the version is negotiated.
    secure: PooledClient,
    /// No TLS: HTTP/2 is spoken with prior knowledge.
    plain: PooledClient,
    under_way: AtomicUsize,
    /// Before its connections were opened.
    begun: Instant,
}

/// A guard that counts a request until its answer has ended.
struct Stream(Arc<Member>);

impl Spread {
    pub(super) fn new(proxy: Option<&str>, limit: Option<Duration>) -> Self {
        Self { connector: Connector::new(proxy, true, limit), members: Mutex::default() }
    }

    pub(super) async fn send(
        &self,
        request: Request<BodyChunks>,
        fresh_since: Option<Instant>,
    ) -> Result<Response<UpstreamBody>, TransportFault> {
        let stream = self.take(fresh_since);
        let secure = request.uri().scheme() == Some(&Scheme::HTTPS);
        let pool = if secure { &stream.0.secure } else { &stream.0.plain };
        let response = pool.request(request).await.map_err(|error| fault(&error))?;
        Ok(answered(response).map(|inner| Counted { inner, _stream: stream }.boxed_unsync()))
    }

    /// Room on a connection; with `fresh_since`, which is when one had turned out to be dead, on one
    /// that is opened after that. The others of that age are not used again: whatever broke one of
    /// them may have broken them all.
    fn take(&self, fresh_since: Option<Instant>) -> Stream {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = fresh_since {
            members.retain(|member| member.begun > since);
        }
        let roomy = members.iter().find(|member| member.under_way() < STREAMS).cloned();
        let member = roomy.unwrap_or_else(|| {
            if members.len() < CONNECTIONS {
                members.push(Arc::new(Member::new(&self.connector)));
                return members[members.len() - 1].clone();
            }
            let emptiest = members.iter().min_by_key(|member| member.under_way());
            emptiest.expect("there are as many members as connections are allowed").clone()
        });
        member.under_way.fetch_add(1, Ordering::Relaxed);
        Stream(member)
    }
}

impl Member {
    fn new(connector: &Connector) -> Self {
        let mut builder = builder();
        builder
            .http2_keep_alive_interval(Duration::from_secs(15))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .http2_keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            // Clients that hang up cancel streams all the time; it is no sign of an attack.
            .http2_max_concurrent_reset_streams(1024);
        let secure = builder.build(connector.clone());
        let plain = builder.http2_only(true).build(connector.clone());
        Self { secure, plain, under_way: AtomicUsize::new(0), begun: Instant::now() }
    }

    fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer that holds its place on the connection until it has ended.
struct Counted {
    inner: UpstreamBody,
    _stream: Stream,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
