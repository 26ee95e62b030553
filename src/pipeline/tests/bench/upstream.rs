//! Upstreams without sockets: each is a host of its own and plays scripts.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use layers::body::{Broken, UpstreamBody};
use layers::failure::{TransportFault, TransportKind};
use layers::ports::{BoxFuture, Outgoing};
use tokio::time::{Instant, sleep};
use tower::Service;

use super::{Framing, Log, Script, Seen, Step};

/// Every upstream of the process, by host. No name is given twice, so tests do not meet.
static HOSTS: Mutex<BTreeMap<String, Upstream>> = Mutex::new(BTreeMap::new());

/// A host that answers requests as it is told.
#[derive(Clone)]
pub(crate) struct Upstream {
    host: Arc<str>,
    script: Arc<dyn Fn(&Seen) -> Script + Send + Sync>,
    log: Arc<Log>,
}

// === impl Upstream ===

impl Upstream {
    /// Answers each request as `script` says.
    pub(crate) async fn start(script: impl Fn(&Seen) -> Script + Send + Sync + 'static) -> Self {
        let mut hosts = HOSTS.lock().unwrap();
        let host: Arc<str> = format!("upstream-{}.test", hosts.len()).into();
        let upstream = Self { host, script: Arc::new(script), log: Arc::default() };
        hosts.insert(upstream.host.to_string(), upstream.clone());
        upstream
    }

    /// Answers as `script` says at a host that the gateway derives, which no other test of the process may take.
    pub(crate) fn at(host: &str, script: impl Fn(&Seen) -> Script + Send + Sync + 'static) -> Self {
        let upstream = Self { host: host.into(), script: Arc::new(script), log: Arc::default() };
        let before = HOSTS.lock().unwrap().insert(host.to_owned(), upstream.clone());
        assert!(before.is_none(), "{host} is another test's");
        upstream
    }

    /// Answers every request in the same way.
    pub(crate) async fn always(script: Script) -> Self {
        Self::start(move |_| script.clone()).await
    }

    /// Answers the first request with the first script and so on; the last one stays.
    pub(crate) async fn in_turn(scripts: Vec<Script>) -> Self {
        Self::start(move |seen| scripts[seen.ordinal.min(scripts.len() - 1)].clone()).await
    }

    /// The address for a channel of OpenAI's format.
    pub(crate) fn url(&self) -> String {
        format!("{}/v1/chat/completions", self.origin())
    }

    /// Scheme and host.
    pub(crate) fn origin(&self) -> String {
        format!("https://{}", self.host)
    }

    async fn answer(self, request: Request<Vec<Bytes>>) -> Result<Response<UpstreamBody>, TransportFault> {
        // No network answers at once: others get a turn between a request and its answer.
        tokio::task::yield_now().await;
        let mut seen = seen(request);
        self.log.note(&mut seen);
        let script = (self.script)(&seen);
        let mut play = Play { steps: script.lead.into(), waiting: None, watched: Some(self.log) };
        while let Some(piece) = std::future::poll_fn(|cx| play.poll_next(cx)).await {
            piece.map_err(|_broken| TransportKind::Broken)?;
        }
        play.steps = script.steps.into();
        if script.framing == Framing::Length {
            // Its client knows the length and waits for no more.
            while play.steps.back().is_some_and(|step| !matches!(step, Step::Bytes(_))) {
                play.steps.pop_back();
            }
        }
        let mut answer = Response::builder().status(script.status);
        for (name, value) in &script.headers {
            answer = answer.header(name, value);
        }
        Ok(answer.body(play.boxed_unsync()).expect("scripts have valid heads"))
    }
}

impl std::ops::Deref for Upstream {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.log
    }
}

fn seen(request: Request<Vec<Bytes>>) -> Seen {
    let (head, body) = request.into_parts();
    let header = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Seen {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), header(value))).collect(),
        body: body.concat(),
        ordinal: 0,
        at: Instant::now(),
    }
}

/// The innermost service of the pipeline: finds upstreams by host.
#[derive(Clone)]
pub(super) struct Network;

impl Service<Outgoing> for Network {
    type Response = Response<UpstreamBody>;
    type Error = TransportFault;
    type Future = BoxFuture<Result<Self::Response, TransportFault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportFault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let host = outgoing.request.uri().host().unwrap_or_default();
        let upstream = HOSTS.lock().unwrap().get(host).cloned();
        Box::pin(async move {
            match upstream {
                Some(upstream) => upstream.answer(*outgoing.request).await,
                None => Err(TransportKind::Connect.into()),
            }
        })
    }
}

/// The rest of a script. Left before its end, it is noted as cancelled.
struct Play {
    steps: VecDeque<Step>,
    waiting: Option<BoxFuture<()>>,
    /// Where a cancellation is noted; taken away by the end.
    watched: Option<Arc<Log>>,
}

impl Play {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Step::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes.into()))),
                Some(Step::Pause(pause)) => self.waiting = Some(Box::pin(sleep(pause))),
                Some(Step::Wait(gate)) => self.waiting = Some(Box::pin(async move { gate.pass().await })),
                Some(Step::Hang) => self.waiting = Some(Box::pin(std::future::pending())),
                Some(Step::Close | Step::Reset) => {
                    self.watched = None;
                    return Poll::Ready(Some(Err(Broken::Connection(None))));
                }
            }
        }
    }
}

impl Body for Play {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let piece = ready!(self.poll_next(cx));
        if self.steps.is_empty() {
            self.watched = None;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        if let Some(log) = &self.watched {
            log.note_cancelled();
        }
    }
}
