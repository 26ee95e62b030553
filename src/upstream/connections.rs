//! The HTTP/1.1 connections of one link, none of which is trusted longer than it deserves.
//!
//! A middlebox forgets idle connections without a word, and then all of an upstream's at once: each
//! of them looks well until it is written to. So a request that met such a connection is repeated on
//! one of its own, and from then on connections of that host from before are not handed out: the
//! host gets a new pool, until those in the old one are too old to be kept anyway.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::uri::{Authority, Scheme};
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::body::BodyChunks;
use super::connector::Connector;

/// How long an idle connection is kept: shorter than common servers keep theirs.
const IDLE: Duration = Duration::from_secs(20);
/// Idle connections kept per upstream host.
const MOST_IDLE: usize = 512;
/// Hosts that have a pool of their own for a while.
const MOST_HOSTS: usize = 1024;

/// A pool of connections of one kind.
pub(super) type Pool = Client<Connector, BodyChunks>;

/// The connections of one HTTP/1.1 link.
pub(super) struct Connections {
    connector: Connector,
    /// Those of nearly all hosts.
    shared: Pool,
    /// Those that serve one request each.
    single: Pool,
    renewed: Mutex<HashMap<Host, Renewed>>,
    /// Whether any host is renewed, which is asked without a lock.
    any_renewed: AtomicBool,
}

type Host = (Option<Scheme>, Option<Authority>);

/// The pool of a host whose older connections are not to be trusted.
struct Renewed {
    pool: Pool,
    since: Instant,
}

impl Connections {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            shared: builder().build(connector.clone()),
            single: builder().pool_max_idle_per_host(0).build(connector.clone()),
            connector,
            renewed: Mutex::default(),
            any_renewed: AtomicBool::new(false),
        }
    }

    /// Sends a request; with `fresh_since`, which is when a connection of this host had turned out
    /// to be dead, on a connection that is opened for it.
    pub(super) fn request(
        &self,
        request: Request<BodyChunks>,
        fresh_since: Option<Instant>,
    ) -> ResponseFuture {
        if let Some(since) = fresh_since {
            self.renew(host(&request), since);
            return self.single.request(request);
        }
        if self.any_renewed.load(Ordering::Relaxed)
            && let Some(pool) = self.renewed(&host(&request))
        {
            return pool.request(request);
        }
        self.shared.request(request)
    }

    /// Distrusts the connections of a host from before `since`.
    fn renew(&self, host: Host, since: Instant) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.retain(|_, renewed| !renewed.is_over());
        if renewed.len() >= MOST_HOSTS || renewed.get(&host).is_some_and(|renewed| renewed.since > since) {
            // Others had met a connection from before then, too.
            return;
        }
        let pool = builder().build(self.connector.clone());
        renewed.insert(host, Renewed { pool, since: Instant::now() });
        self.any_renewed.store(true, Ordering::Relaxed);
    }

    /// The pool of a host that is renewed.
    fn renewed(&self, host: &Host) -> Option<Pool> {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.get(host).is_some_and(Renewed::is_over) {
            renewed.remove(host);
            self.any_renewed.store(!renewed.is_empty(), Ordering::Relaxed);
        }
        renewed.get(host).map(|renewed| renewed.pool.clone())
    }
}

impl Renewed {
    /// Whether what was in the pool before is not handed out for its age.
    fn is_over(&self) -> bool {
        self.since.elapsed() > IDLE + Duration::from_secs(1)
    }
}

fn host(request: &Request<BodyChunks>) -> Host {
    (request.uri().scheme().cloned(), request.uri().authority().cloned())
}

/// What all pools have in common.
pub(super) fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE);
    builder
}
