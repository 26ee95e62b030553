//! What it costs to read a request, to send it on under another model's name, and to cut a stream
//! into events.
//!
//! `cargo bench --bench wire`

mod fixture;

use std::future::ready;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use http_body_util::Full;
use layers::capacity::Capacity;
use layers::convert::ConvertLayer;
use layers::endpoint;
use layers::ingress::IngressLayer;
use layers::ledger::Entry;
use layers::policy::{Caller, ChannelName, Target, Triggers};
use layers::ports::{BoxFuture, Catalog, Fetched, Limits, Media, Pin, Records, Route, Unfetched};
use layers::stage::{Admitted, Attempt, Call, Exchange, Payload, TriedKeys};
use layers::visit::Visit;
use layers::{Failure, Reply};
use tokio::runtime::Runtime as Tokio;
use tokio::time::Instant;
use tower::{Layer, Service, service_fn};
use uni_api::state::Runtime;
use uni_api::state::keys::KeySettings;

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Sizes of the text in a request: a question, a page, a book.
const TEXTS: [usize; 3] = [100, 10_000, 500_000];
/// Bytes of the text in each event.
const WORDS: [usize; 2] = [20, 2_000];

/// A configuration that knows every model and routes none.
struct Everything(Triggers);

impl Catalog for Everything {
    fn route(&self, _: &Caller, _: &str) -> Result<Arc<dyn Route>, Failure> {
        Err(Failure::NoChannel)
    }

    fn pinned(&self, _: &Caller, _: &Pin, _: &str) -> Option<Arc<dyn Route>> {
        None
    }

    fn limits(&self, _: &Caller, _: &str) -> Limits {
        Limits::default()
    }

    fn triggers(&self) -> &Triggers {
        &self.0
    }

    fn known_model(&self, model: &str) -> Option<Arc<str>> {
        Some(model.into())
    }

    fn forwards(&self, _: &http::HeaderName) -> bool {
        false
    }
}

/// A chat request with a text of this length; `model` stands first, as SDKs write it.
fn chat(text: usize) -> Bytes {
    let text = "word ".repeat(text / 5);
    format!(
        r#"{{"model":"gpt-5.2","messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{text}"}}],"temperature":0.7,"stream":true}}"#
    )
    .into()
}

fn admitted(catalog: &Arc<dyn Catalog>, caller: &Arc<Caller>, body: &Bytes) -> Admitted<Full<Bytes>> {
    let path = "/v1/chat/completions";
    let request = http::Request::post(path)
        .extension(endpoint::find(&http::Method::POST, path))
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::new(body.clone()))
        .expect("a request");
    Admitted { catalog: catalog.clone(), caller: caller.clone(), received: Instant::now(), request }
}

fn tokio() -> Tokio {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Everything of the ingress layer: the body, its fields, the ledger.
#[divan::bench(args = TEXTS)]
fn ingress(bencher: Bencher, text: usize) {
    let body = chat(text);
    let (catalog, caller): (Arc<dyn Catalog>, _) =
        (Arc::new(Everything(Triggers::default())), fixture::caller(0));
    let refuse = service_fn(|exchange: Exchange| {
        black_box(&exchange.peek);
        ready(Err::<Reply, _>(Failure::NoChannel))
    });
    let mut ingress =
        IngressLayer::new(Capacity::new(10, 1 << 30), 64 << 20, Arc::new(NoRecords)).layer(refuse);
    let tokio = tokio();
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        let answer = ingress.call(admitted(&catalog, &caller, &body));
        tokio.block_on(answer).is_err()
    });
}

/// Records that nobody keeps.
struct NoRecords;

impl Records for NoRecords {
    fn close(&self, _: Entry) {}
    fn visit(&self, _: Visit) {}
}

/// Media that nothing here asks for.
struct NoMedia;

impl Media for NoMedia {
    fn fetch(&self, _: &str) -> BoxFuture<Result<Fetched, Unfetched>> {
        Box::pin(ready(Err(Unfetched::Overloaded)))
    }
}

/// The request as the ingress layer reads it.
fn exchange(body: &Bytes) -> Arc<Exchange> {
    let (catalog, caller): (Arc<dyn Catalog>, _) =
        (Arc::new(Everything(Triggers::default())), fixture::caller(0));
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    let keeping = service_fn(move |exchange: Exchange| {
        *keep.lock().expect("no panic") = Some(exchange);
        ready(Err::<Reply, _>(Failure::NoChannel))
    });
    let mut ingress =
        IngressLayer::new(Capacity::new(10, 1 << 30), 64 << 20, Arc::new(NoRecords)).layer(keeping);
    let _ = tokio().block_on(ingress.call(admitted(&catalog, &caller, body)));
    let exchange = kept.lock().expect("no panic").take();
    Arc::new(exchange.expect("the request is good"))
}

/// The convert layer between equal dialects: the body with another name of the model in it.
#[divan::bench(args = TEXTS)]
fn splice_of_the_model(bencher: Bencher, text: usize) {
    let runtime = Runtime::new(None);
    let keys = runtime.keys(&ChannelName::from("c"), KeySettings::default(), Vec::new());
    let target = Target {
        upstream_model: "gpt-5.2-2025-12-11".into(),
        upstream_model_json: "\"gpt-5.2-2025-12-11\"".into(),
        ..fixture::target(&runtime, "c", keys, None)
    };
    let body = chat(text);
    let attempt = Attempt {
        exchange: exchange(&body),
        timeouts: target.timeouts,
        target: Arc::new(target),
        ordinal: 1,
        tried: TriedKeys::default(),
    };
    let refuse = service_fn(|call: Call| {
        black_box(&call.payload);
        ready(Err::<http::Response<layers::body::idle::Idle>, _>(Failure::NoChannel))
    });
    let mut convert = ConvertLayer::new(Arc::new(NoMedia)).layer(refuse);
    let tokio = tokio();
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        let call = Call {
            attempt: attempt.clone(),
            credential: None,
            payload: Payload::Untouched,
            content_type: None,
            stream: true,
            held: Default::default(),
        };
        tokio.block_on(convert.call(call)).is_err()
    });
}

/// A stream of a thousand events with texts of this length.
fn stream(word: usize) -> Bytes {
    let word = "w".repeat(word);
    let event = format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}]}}\n\n"
    );
    event.repeat(1000).into()
}

/// Cuts the stream in pieces of this size, or behind each event.
fn pieces(stream: &Bytes, size: Option<usize>) -> Vec<Bytes> {
    let size = size.unwrap_or(stream.len() / 1000);
    (0..stream.len()).step_by(size).map(|at| stream.slice(at..stream.len().min(at + size))).collect()
}

fn framing(bencher: Bencher, word: usize, size: Option<usize>) {
    let stream = stream(word);
    let pieces = pieces(&stream, size);
    bencher.counter(BytesCount::new(stream.len())).bench_local(|| {
        let mut framer = dialect::Framing::Sse.framer(64 << 10);
        pieces
            .iter()
            .filter_map(|piece| framer.push(black_box(piece).clone()))
            .map(|whole| whole.len())
            .sum::<usize>()
    });
}

/// A thousand events, each in a buffer of its own, as most upstreams send them.
#[divan::bench(args = WORDS)]
fn frame_a_thousand_events_one_by_one(bencher: Bencher, word: usize) {
    framing(bencher, word, None);
}

/// The same, torn into network packets.
#[divan::bench(args = WORDS)]
fn frame_a_thousand_events_in_packets(bencher: Bencher, word: usize) {
    framing(bencher, word, Some(1400));
}

/// Reads the lines of a thousand whole events.
#[divan::bench(args = WORDS)]
fn read_a_thousand_events(bencher: Bencher, word: usize) {
    let stream = stream(word);
    bencher.counter(BytesCount::new(stream.len())).bench_local(|| {
        dialect::frames(black_box(&stream)).map(|frame| frame.payload().len()).sum::<usize>()
    });
}
