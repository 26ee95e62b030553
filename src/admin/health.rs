//! Health, and who answers here: the only answers that need no key.
//!
//! `/livez` says that the process answers, `/readyz` whether it should be sent requests, `/startupz`
//! whether it has started; `/healthz` is the name that front ends of this API look for. Readiness
//! depends on this process alone, never on an upstream or a database: their being down is no reason
//! to take every replica out of service. Whoever looks at `/` in a browser, or asks `/api/hello` as
//! some clients do first, learns the name and where to read on. None of them tells more of this
//! installation: no version, channel, model or key.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use layers::{Reply, ReplyBody};
use pin_project_lite::pin_project;
use serde::Serialize;
use tokio::sync::watch;
use tower::{Layer, Service};

use crate::lifecycle::Phase;

/// Mounts [`HealthCheck`].
#[derive(Debug, Clone)]
pub struct HealthCheckLayer {
    phase: watch::Receiver<Phase>,
}

/// The service of [`HealthCheckLayer`]: answers health paths, passes everything else on.
#[derive(Debug, Clone)]
pub struct HealthCheck<S> {
    inner: S,
    phase: watch::Receiver<Phase>,
}

impl HealthCheckLayer {
    /// Reads readiness off the process's phase.
    pub fn new(phase: watch::Receiver<Phase>) -> Self {
        Self { phase }
    }
}

impl<S> Layer<S> for HealthCheckLayer {
    type Service = HealthCheck<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HealthCheck { inner, phase: self.phase.clone() }
    }
}

impl<S, B> Service<Request<B>> for HealthCheck<S>
where
    S: Service<Request<B>, Response = Reply, Error = Infallible>,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asks = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        let way = match probe(path, *self.phase.borrow()).or_else(|| greeting(path)).filter(|_| asks) {
            Some(reply) => Way::Answered { reply: Some(reply) },
            None => Way::Inner { inner: self.inner.call(request) },
        };
        ResponseFuture { way }
    }
}

/// Answer of every health path.
#[derive(Debug, Serialize)]
struct HealthAnswer {
    status: &'static str,
}

/// What is said to whoever only looks who is here.
const GREETING: &str = "This is uni-api, a gateway to language models: point a client at /v1 of this address with \
    your API key, and read on in its README.\n";

fn greeting(path: &str) -> Option<Reply> {
    matches!(path, "/" | "/api/hello").then(|| {
        let mut reply = Reply::new(ReplyBody::from(bytes::Bytes::from_static(GREETING.as_bytes())));
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, plain);
        reply
    })
}

fn probe(path: &str, phase: Phase) -> Option<Reply> {
    let healthy = match path {
        "/livez" | "/healthz" => true,
        "/startupz" => phase != Phase::Starting,
        "/readyz" => phase == Phase::Serving,
        _ => return None,
    };
    let status = if healthy { "ok" } else { phase.label() };
    let body = serde_json::to_vec(&HealthAnswer { status }).expect("a text can be written as JSON");
    let mut reply = Reply::new(ReplyBody::from(bytes::Bytes::from(body)));
    if !healthy {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(reply)
}

pin_project! {
    /// An answer that is there, or the inner service's.
    pub struct ResponseFuture<F> {
        #[pin]
        way: Way<F>,
    }
}

pin_project! {
    #[project = Projection]
    enum Way<F> {
        // Health. Taken when polled.
        Answered { reply: Option<Reply> },
        // Everything else.
        Inner { #[pin] inner: F },
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Infallible>>,
{
    type Output = Result<Reply, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            Projection::Answered { reply } => {
                Poll::Ready(Ok(reply.take().expect("a future is not polled after it is done")))
            }
            Projection::Inner { inner } => inner.poll(cx),
        }
    }
}
