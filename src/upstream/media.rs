//! Fetches the media behind addresses that clients name, for upstreams that follow none themselves.
//!
//! Here a client decides where the gateway connects to, so nothing is left to its good will: where
//! a connection may lead is for `guard` to say, of each hop anew; nothing of the gateway goes along,
//! neither a key nor a header of the client's; and size, time, memory and number are bounded. Sits
//! beside the pipeline as the fetcher of configurations does, but goes through no proxy: behind one,
//! the address that is connected to would not be the one that was looked at.

mod guard;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use layers::body::decode::Coding;
use layers::capacity::{Capacity, Held};
use layers::ports::{BoxFuture, Fetched, Media, Unfetched};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::guard::{Guarded, Private, Rule, is_public};
use super::body::BodyChunks;
use super::fetch::resolve;

/// Largest medium.
const LARGEST: usize = 20 << 20;
/// Longest time for one medium: the wait for a turn and redirects included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most redirects that are followed.
const REDIRECTS: usize = 5;
/// Most media that are fetched at once. Whoever waits beyond them holds a permit of admission, so
/// the queue is bounded too.
const AT_ONCE: usize = 32;
/// What a buffer of unknown length starts with.
const START: usize = 64 << 10;

/// A client for media, shared by all workers.
///
/// What it buffers counts against the byte budget until the medium is handed over; from then on it
/// is for whoever keeps the medium to hold its bytes.
#[derive(Clone)]
pub struct GuardedMedia {
    pool: Client<Guarded, BodyChunks>,
    capacity: Arc<Capacity>,
    turns: Arc<Semaphore>,
}

/// Why a medium could not be had, as a clause for the client: without the address, which after a
/// redirect may be one that is none of its business, and without the words of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Obstacle {
    #[error("it is no http or https URL")]
    Url,
    #[error("it holds credentials")]
    Credentials,
    #[error("it redirects to what is no http or https URL, or holds credentials")]
    Redirect,
    #[error("it redirects more than {REDIRECTS} times")]
    Redirects,
    #[error("it leads to a private network")]
    Private,
    #[error("it cannot be reached")]
    Unreachable,
    #[error("the connection broke off")]
    Broken,
    #[error("its server answered {0}")]
    Status(u16),
    #[error("nothing is there")]
    Empty,
    #[error("its server sends it compressed, although it was asked not to")]
    Encoded,
    #[error("it is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("it did not come within {} s", PATIENCE.as_secs())]
    TooSlow,
    #[error("the gateway has too much to do at the moment")]
    Busy,
}

// === impl GuardedMedia ===

impl GuardedMedia {
    /// A client without connections. `allow_private` lifts the rule about addresses
    /// (`FETCH_ALLOW_PRIVATE`), for tests and closed networks.
    pub fn new(capacity: Arc<Capacity>, allow_private: bool) -> Self {
        Self::with(capacity, if allow_private { |_any| true } else { is_public })
    }

    fn with(capacity: Arc<Capacity>, rule: Rule) -> Self {
        let pool = Client::builder(TokioExecutor::new())
            // A kept connection would be one that nobody looked at when it is used again.
            .pool_max_idle_per_host(0)
            .build(Guarded::new(rule));
        Self { pool, capacity, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    async fn in_turn(&self, uri: Uri) -> Result<Fetched, Obstacle> {
        let end = Instant::now() + PATIENCE;
        let Ok(turn) = timeout_at(end, self.turns.acquire()).await else { return Err(Obstacle::Busy) };
        let _turn = turn.expect("the semaphore is never closed");
        timeout_at(end, self.follow(uri)).await.unwrap_or(Err(Obstacle::TooSlow))
    }

    async fn follow(&self, mut uri: Uri) -> Result<Fetched, Obstacle> {
        for _ in 0..=REDIRECTS {
            let answer = self.pool.request(question(uri.clone())).await.map_err(|error| obstacle(&error))?;
            if answer.status().is_redirection()
                && let Some(target) = answer.headers().get(LOCATION).and_then(|target| target.to_str().ok())
            {
                uri = resolve(&uri, target).ok_or(Obstacle::Redirect)?;
                permitted(&uri).map_err(|_refused| Obstacle::Redirect)?;
                continue;
            }
            if !answer.status().is_success() {
                return Err(Obstacle::Status(answer.status().as_u16()));
            }
            let mime = essence(answer.headers());
            let bytes = self.collect(answer).await?;
            return Ok(Fetched { mime, bytes });
        }
        Err(Obstacle::Redirects)
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, Obstacle> {
        if Coding::of(answer.headers()) != Ok(None) {
            // A few bytes could become as many as they like.
            return Err(Obstacle::Encoded);
        }
        let mut body = answer.into_body();
        let mut buffer = Buffer { bytes: Vec::new(), held: self.capacity.hold() };
        if let Some(announced) = body.size_hint().exact() {
            buffer.reserve(usize::try_from(announced).unwrap_or(usize::MAX))?;
        }
        while let Some(frame) = body.frame().await {
            if let Ok(chunk) = frame.map_err(|_broken| Obstacle::Broken)?.into_data() {
                buffer.reserve(chunk.len())?;
                buffer.bytes.extend_from_slice(&chunk);
            }
        }
        let mut bytes = buffer.bytes;
        if bytes.is_empty() {
            return Err(Obstacle::Empty);
        }
        bytes.shrink_to_fit();
        Ok(bytes.into())
    }
}

impl Media for GuardedMedia {
    fn fetch(&self, address: &str) -> BoxFuture<Result<Fetched, Unfetched>> {
        let (media, uri) = (self.clone(), address.parse::<Uri>());
        Box::pin(async move {
            let uri = uri.map_err(|_invalid| unfetched(None, Obstacle::Url))?;
            let name = shown(&uri);
            let fetched = match permitted(&uri) {
                Ok(()) => media.in_turn(uri).await,
                Err(refused) => Err(refused),
            };
            fetched.map_err(|obstacle| unfetched(name.as_deref(), obstacle))
        })
    }
}

/// A medium that is arriving, and its share of the byte budget.
struct Buffer {
    bytes: Vec<u8>,
    held: Held,
}

// === impl Buffer ===

impl Buffer {
    /// Makes room for this many more, in memory and in the budget.
    fn reserve(&mut self, more: usize) -> Result<(), Obstacle> {
        let (used, room) = (self.bytes.len(), self.bytes.capacity());
        let wanted = used.saturating_add(more);
        if wanted > LARGEST {
            return Err(Obstacle::TooLarge);
        }
        if wanted <= room {
            return Ok(());
        }
        // An announced length is taken at its word; one that grows doubles, but not past the limit.
        let target = if used == 0 { wanted } else { wanted.max(room * 2).clamp(START, LARGEST) };
        self.held.grow(target - room).map_err(|_overloaded| Obstacle::Busy)?;
        self.bytes.reserve_exact(target - used);
        Ok(())
    }
}

/// What is sent: nothing that says whose request it is for.
fn question(uri: Uri) -> Request<BodyChunks> {
    let mut request = Request::new(BodyChunks::from(Vec::new()));
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // Some hosts of pictures refuse whoever has no name.
    headers.insert(USER_AGENT, HeaderValue::from_static("uni-api"));
    request
}

/// Whether an address is of a kind that is fetched at all. Where it leads is looked at later.
fn permitted(uri: &Uri) -> Result<(), Obstacle> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Obstacle::Url);
    }
    match uri.authority() {
        None => Err(Obstacle::Url),
        Some(authority) if authority.as_str().contains('@') => Err(Obstacle::Credentials),
        Some(authority) if authority.host().is_empty() => Err(Obstacle::Url),
        Some(_) => Ok(()),
    }
}

fn obstacle(error: &hyper_util::client::legacy::Error) -> Obstacle {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Private>() {
            return Obstacle::Private;
        }
        cause = error.source();
    }
    if error.is_connect() { Obstacle::Unreachable } else { Obstacle::Broken }
}

/// The media type without its parameters; empty where there is none that deserves the name.
fn essence(headers: &HeaderMap) -> String {
    let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // It is written into requests to upstreams, in data URLs too.
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    let named = essence.split_once('/').is_some_and(|(kind, rest)| is_name(kind) && is_name(rest));
    if named { essence } else { String::new() }
}

/// An address as it is shown: to scheme, host and port. Paths and queries of media hold signatures
/// and tokens, and what is said to a client may be logged.
fn shown(uri: &Uri) -> Option<String> {
    let (scheme, host) = (uri.scheme_str()?, uri.host()?);
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let host: String = host.chars().take(100).collect();
    Some(format!("{scheme}://{host}{port}/…"))
}

fn unfetched(shown: Option<&str>, obstacle: Obstacle) -> Unfetched {
    match (shown, obstacle) {
        (_, Obstacle::Busy) => Unfetched::Overloaded,
        (Some(shown), _) => {
            Unfetched::Refused(format!("the address {shown} could not be fetched: {obstacle}"))
        }
        (None, _) => Unfetched::Refused(format!("an address could not be fetched: {obstacle}")),
    }
}
