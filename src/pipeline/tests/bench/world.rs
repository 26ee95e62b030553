//! What the pipeline stands in: made of an `api.yaml`'s text as the program makes it (`app`), with
//! the state and the bookkeeping of the program. The one place that knows how that is done.

use std::sync::{Arc, Mutex};

use layers::capacity::Capacity;
use layers::policy::{Credits, Fingerprint};
use layers::ports::{BoxFuture, Fetched, Media, Unfetched};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::util::BoxCloneService;

use super::client::{Client, Pipeline};
use super::upstream::Network;
use super::{Answer, Ask, Outcome};
use crate::accounting::{Recorder, Settle};
use crate::config::{Environment, Origin, load};
use crate::lifecycle::Phase;
use crate::pipeline::{Parts, Room, edge};
use crate::snapshot::{CurrentSnapshot, Discovered, Snapshot, compile, prune};
use crate::state::Runtime;
use crate::state::balances::Accounts;
use crate::state::keys::KeyHistory;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Aside;
use crate::values::Closed;

/// Concurrent requests, which no test reaches.
const MOST_REQUESTS: usize = 50_000;
/// Room for bodies.
const BUFFERS: usize = 256 << 20;

/// How a gateway is started.
pub(crate) struct Setup {
    text: String,
    variables: Vec<(String, String)>,
}

/// A running pipeline over the upstreams of the test.
pub(crate) struct Gateway {
    /// Taken to make clients: it is no more to be shared than that of a worker.
    pipeline: Mutex<Pipeline>,
    env: Environment,
    current: Arc<CurrentSnapshot>,
    runtime: Runtime,
    metrics: Metrics,
    kept: Arc<Kept>,
    capacity: Arc<Capacity>,
    renewing: JoinHandle<()>,
    _phase: watch::Sender<Phase>,
}

/// The balances, told of each closed record as in the program; keeps the records.
struct Kept {
    accounts: Arc<Accounts>,
    records: Mutex<Vec<Arc<Closed>>>,
}

/// Media that nobody may ask for.
struct NoMedia;

impl Media for NoMedia {
    fn fetch(&self, address: &str) -> BoxFuture<Result<Fetched, Unfetched>> {
        panic!("{address} is not to be fetched")
    }
}

impl Settle for Kept {
    fn settle(&self, closed: &Closed) {
        Settle::settle(&*self.accounts, closed);
        let Closed { entry, price, cost, estimated } = closed;
        let closed = Closed { entry: entry.clone(), price: *price, cost: *cost, estimated: *estimated };
        self.records.lock().unwrap().push(Arc::new(closed));
    }
}

// === impl Setup ===

impl Setup {
    /// This `api.yaml` and an empty environment.
    pub(crate) fn new(config: impl ToString) -> Self {
        Self { text: config.to_string(), variables: Vec::new() }
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub(crate) async fn start(self) -> Gateway {
        let variables = self.variables.into_iter().chain([("DISABLE_DATABASE".into(), "true".into())]);
        let env = Environment::from_vars(variables).expect("a good environment");
        let history = Arc::new(KeyHistory::new(false));
        let (runtime, metrics) = (Runtime::new(Some(history.clone())), Metrics::new());
        let current = Arc::new(CurrentSnapshot::new(snapshot(&self.text, &env, &runtime, &metrics)));
        let kept = Arc::new(Kept { accounts: runtime.accounts().clone(), records: Mutex::default() });
        let recorder =
            Recorder::new(current.clone(), metrics.clone()).with_balances(kept.clone()).with_history(history);
        let capacity = Capacity::new(MOST_REQUESTS, BUFFERS);
        let most_body = usize::try_from(env.max_body_bytes).expect("a length of this machine");
        let records = Arc::new(recorder);
        let room = Room { capacity: capacity.clone(), most_body };
        let parts = Parts::new(&runtime, &current, metrics.clone(), records, Arc::new(NoMedia), room);
        let (steer, phase) = watch::channel(Phase::Serving);
        let side_client = Arc::new(Aside::new(Network));
        let renewing = tokio::spawn(runtime.tokens().clone().renew(side_client));
        let pipeline = Mutex::new(BoxCloneService::new(edge(&parts, Network, phase)));
        Gateway { pipeline, env, current, runtime, metrics, kept, capacity, renewing, _phase: steer }
    }
}

/// Loads and compiles a text that can be served.
fn snapshot(text: &str, env: &Environment, runtime: &Runtime, metrics: &Metrics) -> Arc<Snapshot> {
    let loaded = load(text, Origin::Inline, env).unwrap_or_else(|problems| panic!("{problems:#?}"));
    Arc::new(compile(Arc::new(loaded.settings), &Discovered::new(), runtime, metrics))
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts one with this `api.yaml`.
    pub(crate) async fn start(config: impl ToString) -> Self {
        Setup::new(config).start().await
    }

    /// A client.
    pub(crate) fn client(&self) -> Client {
        Client { pipeline: self.pipeline.lock().unwrap().clone() }
    }

    /// Sends one request.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.client().ask(ask).await
    }

    /// Sends one chat request.
    pub(crate) async fn chat(&self, body: &Value) -> Answer {
        self.client().chat(body).await
    }

    /// The channels that serve the next requests of one client, in order, as one word.
    pub(crate) async fn sequence(&self, requests: usize, ask: &Ask) -> String {
        let mut channels = String::new();
        for _ in 0..requests {
            channels.push_str(self.ask(ask).await.expect(200).channel());
        }
        channels
    }

    /// Sends this request so many times, by so many clients at once.
    pub(crate) async fn load(&self, clients: usize, total: usize, ask: &Ask) -> Outcome {
        self.client().load(clients, total, ask).await
    }

    /// Replaces the configuration.
    pub(crate) async fn reload(&self, config: impl ToString) {
        let snapshot = snapshot(&config.to_string(), &self.env, &self.runtime, &self.metrics);
        self.current.publish(snapshot.clone());
        prune(&self.runtime, &snapshot);
    }

    /// Requests, streams and bytes that are held now.
    pub(crate) fn holds(&self) -> (usize, usize, usize) {
        (self.capacity.requests(), self.capacity.streams(), self.capacity.bytes())
    }

    /// What a client key has spent, and what is reserved for it.
    pub(crate) fn spent(&self, key: &Fingerprint) -> (i128, i128) {
        let unlimited = Credits { amount: i128::MAX, since: None };
        let balance = self.runtime.accounts().balance(key, &unlimited);
        (balance.spent, balance.reserved)
    }

    /// What a scrape shows.
    pub(crate) fn metrics(&self) -> String {
        self.metrics.render()
    }

    /// Tells the log what was kept back from it, as the program does every few seconds.
    pub(crate) fn tell_rest(&self) {
        self.metrics.tell_rest(false);
    }

    /// The records of the requests that have ended.
    pub(crate) fn records(&self) -> Vec<Arc<Closed>> {
        self.kept.records.lock().unwrap().clone()
    }
}
