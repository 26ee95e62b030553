//! The current snapshot: what requests that come now are served with, and whose they are.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use layers::Failure;
use layers::policy::{Caller, Fingerprint};
use layers::ports::{Admission, Directory};
use layers::stage::Peer;
use tokio::sync::watch;

use super::Snapshot;
use super::strangers::Strangers;
use crate::config::settings::SecretText;
use crate::values::{Price, Prices};

/// Headers that may carry a key by itself.
static KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
];

/// The current configuration. Written by the publisher, read once per request.
pub struct CurrentSnapshot {
    current: ArcSwap<Snapshot>,
    strangers: Strangers,
    /// Told of each configuration that follows the first.
    changed: watch::Sender<()>,
}

impl CurrentSnapshot {
    /// Opens with a first configuration.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            current: ArcSwap::new(snapshot),
            strangers: Strangers::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// What requests that come now will see.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// From now on requests see this.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.current.store(snapshot);
        self.changed.send_replace(());
    }

    /// Changes each time that something is published.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl Directory for CurrentSnapshot {
    fn admit(&self, head: &Parts) -> Result<Admission, Failure> {
        let catalog = self.load();
        match caller(&catalog, head) {
            Some(caller) => Ok(Admission { catalog, caller }),
            None => Err(self.refusal(head)),
        }
    }

    fn unknown_key(&self, head: &Parts) -> Option<Fingerprint> {
        let of_query = || query_key(head.uri.query()?);
        let key = presented(head).next().map(str::to_owned).or_else(of_query)?;
        Some(SecretText::from(key.as_str()).fingerprint())
    }
}

impl CurrentSnapshot {
    /// The refusal of whoever has no known key: no key at all is no failed sign-in.
    fn refusal(&self, head: &Parts) -> Failure {
        let shows_key = head.headers.contains_key(AUTHORIZATION)
            || KEY_HEADERS.iter().any(|name| head.headers.contains_key(name))
            || head.uri.query().and_then(query_key).is_some();
        let peer = head.extensions.get::<Peer>().filter(|_| shows_key);
        match peer.and_then(|peer| self.strangers.failed(peer.0)) {
            Some(retry_after) => Failure::TooManySignIns { retry_after },
            None => Failure::Unauthenticated,
        }
    }
}

impl Prices for CurrentSnapshot {
    fn price(&self, model: &str) -> Price {
        self.load().price(model)
    }
}

/// The first credential that is known: clients of different dialects put theirs in different
/// places, and some send a placeholder in one of them.
fn caller(snapshot: &Snapshot, head: &Parts) -> Option<Arc<Caller>> {
    presented(head)
        .find_map(|key| snapshot.caller(key))
        .or_else(|| query_key(head.uri.query()?).and_then(|key| snapshot.caller(&key)))
}

/// What the headers of a request may mean by a key, in the order in which it counts.
fn presented(head: &Parts) -> impl Iterator<Item = &str> {
    let header = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header(&AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.into_iter().chain(KEY_HEADERS.iter().filter_map(header))
}

/// `?key=`, as Gemini clients send it.
fn query_key(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}
