//! The whole pipeline under paused time: what takes minutes elsewhere takes none here.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full};
use layers::ledger::Entry;
use layers::plan::Group;
use layers::ports::{BoxFuture, Verdict};
use tokio::time::{Instant, Sleep, advance, sleep};
use tower::ServiceExt as _;

use super::*;
use crate::admin::Sources;
use crate::config::{Environment, Origin, load};
use crate::snapshot::{CurrentSnapshot, Discovered, compile};
use crate::state::Runtime;
use crate::telemetry::metrics::Metrics;

struct Nobody;

impl Records for Nobody {
    fn close(&self, _: Entry) {}
}

impl Balances for Nobody {
    fn reserve(&self, _: &Exchange) -> Verdict<()> {
        Verdict::Ready(Ok(()))
    }
}

impl Gates for Nobody {
    fn enter(&self, _: &Group, _: &Exchange) -> Verdict<()> {
        Verdict::Ready(Ok(()))
    }
}

/// How an upstream takes one request: the status, after this many seconds. To a 200 for a stream
/// belong the events of [`STREAM`].
type Behaviour = (u64, u16);

/// The events of a stream, each after so many seconds.
const STREAM: [(u64, &str); 3] = [
    (
        0,
        r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}"#,
    ),
    (
        55,
        r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"two"},"finish_reason":"stop"}]}"#,
    ),
    (10, "data: [DONE]"),
];

/// A body whose pieces come in time.
struct Timed {
    left: VecDeque<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn stream() -> Self {
        let event =
            |(seconds, text): (u64, &str)| (Duration::from_secs(seconds), Bytes::from(format!("{text}\n\n")));
        Self { left: STREAM.into_iter().map(event).collect(), pause: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = layers::body::Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some((pause, piece)) = self.left.front().cloned() else { return Poll::Ready(None) };
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(pause)));
        std::task::ready!(pause.as_mut().poll(cx));
        self.pause = None;
        self.left.pop_front();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// What to do, by the name of the channel and how many requests it has had before.
type Behave = dyn Fn(&str, usize) -> Behaviour + Send + Sync;

/// Upstreams by the name of their channel, and how many requests each has had.
#[derive(Clone)]
struct Fakes {
    behave: Arc<Behave>,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

impl Service<Outgoing> for Fakes {
    type Response = Response<UpstreamBody>;
    type Error = TransportKind;
    type Future = BoxFuture<Result<Self::Response, TransportKind>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), TransportKind>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let name = outgoing.request.uri().host().unwrap().trim_end_matches(".test").to_owned();
        let count = self.count(&name);
        self.counts.lock().unwrap().insert(name.clone(), count + 1);
        let (seconds, status) = (self.behave)(&name, count);
        let streams = outgoing.request.headers().get(ACCEPT).is_some_and(|kind| kind == "text/event-stream");
        Box::pin(async move {
            sleep(Duration::from_secs(seconds)).await;
            if streams && status == 200 {
                let answer = Response::builder().header("content-type", "text/event-stream");
                return Ok(answer.body(Timed::stream().boxed_unsync()).unwrap());
            }
            let body = match status {
                200 => {
                    r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#
                }
                _ => r#"{"error":{"message":"ill","type":"server_error"}}"#,
            };
            let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {});
            let answer = Response::builder().status(status).header("content-type", "application/json");
            Ok(answer.body(body.boxed_unsync()).unwrap())
        })
    }
}

impl Fakes {
    fn new(behave: impl Fn(&str, usize) -> Behaviour + Send + Sync + 'static) -> Self {
        Self { behave: Arc::new(behave), counts: Arc::default() }
    }

    fn count(&self, name: &str) -> usize {
        self.counts.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

/// A running pipeline over fake upstreams.
struct World {
    parts: Parts,
    fakes: Fakes,
    phase: watch::Receiver<Phase>,
    _steer: watch::Sender<Phase>,
}

impl World {
    /// Channels with these preferences, one client key, these global preferences.
    fn new(channels: &[(&str, &str)], globals: &str, fakes: &Fakes) -> Self {
        let channels: String = channels
            .iter()
            .map(|(name, preferences)| {
                format!(
                    "  - {{provider: {name}, base_url: 'https://{name}.test/v1/chat/completions', api: k, model: [m], preferences: {{{preferences}}}}}\n"
                )
            })
            .collect();
        let text =
            format!("providers:\n{channels}api_keys: [{{api: sk-test}}]\npreferences: {{{globals}}}\n");
        let env = Environment::from_vars([]).unwrap();
        let loaded = load(&text, Origin::Inline, &env).expect("a good configuration");
        let (runtime, metrics) = (Runtime::new(None), Metrics::new());
        let snapshot = compile(Arc::new(loaded.settings), &Discovered::new(), &runtime, &metrics);
        let windows = runtime.windows().clone();
        let (capacity, most_body) = (Capacity::new(100, 1 << 20), 1 << 20);
        let sources = Sources {
            metrics,
            windows: windows.clone(),
            accounts: runtime.accounts().clone(),
            capacity: capacity.clone(),
            most_body,
        };
        let parts = Parts {
            directory: Arc::new(CurrentSnapshot::new(Arc::new(snapshot))),
            capacity,
            most_body,
            records: Arc::new(Nobody),
            windows,
            balances: Arc::new(Nobody),
            gates: Arc::new(Nobody),
            stored: runtime.pins().clone(),
            admin: Admin::new(sources),
        };
        let (steer, phase) = watch::channel(Phase::Serving);
        Self { parts, fakes: fakes.clone(), phase, _steer: steer }
    }

    fn send(&self, body: &'static str) -> impl Future<Output = Response<EdgeBody>> + Send + 'static {
        let service = edge(&self.parts, self.fakes.clone(), self.phase.clone());
        let request = Request::post("/v1/chat/completions")
            .header("authorization", "Bearer sk-test")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        async move {
            match service.oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        }
    }

    /// Sends one request: the channel that served, or the status.
    fn ask(&self) -> impl Future<Output = String> + Send + 'static {
        let answering = self.send(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
        async move {
            let answer = answering.await;
            let channel = answer.headers().get("x-uni-api-channel").cloned();
            let status = answer.status();
            answer.into_body().collect().await.expect("a whole answer");
            match channel {
                Some(channel) if status == StatusCode::OK => channel.to_str().unwrap().to_owned(),
                _ => status.as_u16().to_string(),
            }
        }
    }
}

/// Moves the clock to so many seconds after `start`.
async fn at(start: Instant, seconds: u64) {
    let moment = start + Duration::from_secs(seconds);
    advance(moment.checked_duration_since(Instant::now()).expect("a moment to come")).await;
}

/// Channel `a` fails its first requests, then serves; everybody else serves.
fn a_fails(times: usize) -> Fakes {
    Fakes::new(move |name, count| (0, if name == "a" && count < times { 500 } else { 200 }))
}

const PLAIN: [(&str, &str); 2] = [("a", ""), ("b", "")];

#[tokio::test(start_paused = true)]
async fn without_a_setting_a_failed_channel_is_out_at_299_seconds_and_back_at_301() {
    let world = World::new(&PLAIN, "", &a_fails(1));
    let start = Instant::now();

    assert_eq!(world.ask().await, "b");
    at(start, 299).await;
    assert_eq!(world.ask().await, "b");
    assert_eq!(world.fakes.count("a"), 1);
    at(start, 301).await;

    assert_eq!(world.ask().await, "a");
}

#[tokio::test(start_paused = true)]
async fn a_channel_s_own_period_comes_before_the_global_one() {
    for (own, globals, out, back) in [
        ("cooldown_period: 5", "cooldown_period: 300", 4, 6),
        ("cooldown_period: 400", "cooldown_period: 5", 399, 401),
    ] {
        let world = World::new(&[("a", own), ("b", "")], globals, &a_fails(1));
        let start = Instant::now();

        assert_eq!(world.ask().await, "b", "{own}");
        at(start, out).await;
        assert_eq!(world.ask().await, "b", "{own}");
        at(start, back).await;

        assert_eq!(world.ask().await, "a", "{own}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_period_of_zero_is_for_the_channel_that_has_it() {
    let fakes = Fakes::new(|name, _| (0, if name == "c" { 200 } else { 500 }));
    let world = World::new(&[("a", "cooldown_period: 0"), ("b", ""), ("c", "")], "", &fakes);

    for _ in 0..3 {
        assert_eq!(world.ask().await, "c");
    }

    assert_eq!((fakes.count("a"), fakes.count("b")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn one_request_tries_a_recovered_channel_while_the_others_are_served_elsewhere() {
    // The trial takes a while.
    let fakes = Fakes::new(|name, count| match (name, count) {
        ("a", 0) => (0, 500),
        ("a", 1) => (20, 200),
        _ => (1, 200),
    });
    let world = World::new(&PLAIN, "", &fakes);
    assert_eq!(world.ask().await, "b");
    advance(Duration::from_secs(301)).await;

    let trial = tokio::spawn(world.ask());
    tokio::task::yield_now().await;
    let others: Vec<_> = (0..20).map(|_| tokio::spawn(world.ask())).collect();
    for other in others {
        assert_eq!(other.await.unwrap(), "b");
    }
    assert_eq!(fakes.count("a"), 2);

    assert_eq!(trial.await.unwrap(), "a");
    assert_eq!((world.ask().await, world.ask().await), ("a".to_owned(), "a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_costs_its_client_nothing_and_the_channel_another_period() {
    let world = World::new(&PLAIN, "", &a_fails(2));
    let start = Instant::now();
    assert_eq!(world.ask().await, "b");

    at(start, 301).await;
    assert_eq!((world.ask().await, world.fakes.count("a")), ("b".to_owned(), 2));
    at(start, 600).await;
    assert_eq!((world.ask().await, world.fakes.count("a")), ("b".to_owned(), 2));
    at(start, 602).await;

    assert_eq!(world.ask().await, "a");
}

#[tokio::test(start_paused = true)]
async fn a_later_failure_extends_the_time_and_a_late_success_does_not_end_it() {
    // Three requests are under way on `a`: they fail now, succeed in 50 s and fail in 90 s.
    let fakes = Fakes::new(|name, count| match (name, count) {
        ("a", 0) => (90, 500),
        ("a", 1) => (50, 200),
        ("a", 2) => (0, 500),
        _ => (0, 200),
    });
    let world = World::new(&PLAIN, "", &fakes);
    let start = Instant::now();
    let slow: Vec<_> = (0..2).map(|_| tokio::spawn(world.ask())).collect();
    tokio::task::yield_now().await;
    assert_eq!(fakes.count("a"), 2);
    assert_eq!(world.ask().await, "b");

    let mut slow = slow.into_iter();
    let (late_failure, late_success) = (slow.next().unwrap(), slow.next().unwrap());
    assert_eq!(late_success.await.unwrap(), "a");
    assert_eq!(world.ask().await, "b", "the success says nothing about the channel now");
    assert_eq!(late_failure.await.unwrap(), "b");
    at(start, 301).await;
    assert_eq!(world.ask().await, "b", "the later failure counts from its own time");
    at(start, 389).await;
    assert_eq!(world.ask().await, "b");
    at(start, 391).await;

    assert_eq!(world.ask().await, "a");
}

#[tokio::test(start_paused = true)]
async fn comments_keep_their_interval_while_channels_change_and_between_later_events() {
    // `a` is silent until its timeout at 60 s, `b` fails at 90 s, `c` begins at 130 s.
    let fakes = Fakes::new(|name, _| match name {
        "a" => (1_000_000, 200),
        "b" => (30, 500),
        _ => (40, 200),
    });
    let channels = [("a", ""), ("b", ""), ("c", "")];
    let world = World::new(&channels, "model_timeout: 60, keepalive_interval: 25", &fakes);
    let start = Instant::now();
    let streamed = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

    let mut body = world.send(streamed).await.into_body();
    let mut told = Vec::new();
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        let seconds = start.elapsed().as_secs();
        let piece = String::from_utf8_lossy(&piece).trim_end().to_owned();
        told.push((seconds, if piece == ": keepalive" { "comment".to_owned() } else { piece }));
    }

    let comments =
        |from: u64| std::iter::successors(Some(from), |at| Some(at + 25)).map(|at| (at, "comment"));
    let mut expected: Vec<_> = comments(25).take(5).collect();
    expected.push((130, STREAM[0].1));
    expected.extend(comments(155).take(2));
    expected.extend([(185, STREAM[1].1), (195, STREAM[2].1)]);
    let told: Vec<_> = told.iter().map(|(seconds, piece)| (*seconds, piece.as_str())).collect();
    assert_eq!(told, expected);
}
