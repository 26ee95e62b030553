//! Turns failures into answers: the only place where an error gets bytes.
//!
//! Outside everything that can fail, inside the panic guard. The shape is that of the endpoint's
//! clients, known from the path before anything else is. A failure inside an event stream that has begun is
//! told by the body itself, in the same dialect, and without a terminal marker. When the process ends,
//! whoever still waits for an answer is told that, too.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dialect::ErrorShape;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::body::decode::Coding;
use crate::body::drain_on_drop::DrainOnDrop;
use crate::endpoint::Lookup;
use crate::failure::Failure;
use crate::ports::Ending;
use crate::reply::{Reply, ReplyBody};

/// Mounts [`Rescue`].
#[derive(Clone)]
pub struct RescueLayer {
    ending: Arc<dyn Ending>,
}

/// The service of [`RescueLayer`].
#[derive(Clone)]
pub struct Rescue<S> {
    inner: S,
    ending: Arc<dyn Ending>,
}

// === impl RescueLayer ===

impl RescueLayer {
    /// Ends what is under way, with an error, at this `ending`.
    pub fn new(ending: Arc<dyn Ending>) -> Self {
        Self { ending }
    }
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Rescue { inner, ending: self.ending.clone() }
    }
}

// === impl Rescue ===

impl<S, B> Service<http::Request<B>> for Rescue<S>
where
    S: Service<http::Request<DrainOnDrop<B>>, Response = Reply, Error = Failure>,
    B: Body + Send + Unpin + 'static,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Every service below is always ready; a failure to be ready is told by the call.
        let _ = ready!(self.inner.poll_ready(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let lookup = request.extensions().get::<Lookup>().unwrap_or(&Lookup::Unknown);
        let shape = lookup.error_shape(request.uri().path());
        let inner = self.inner.call(DrainOnDrop::wrap(request));
        ResponseFuture { inner, shape, ending: self.ending.clone() }
    }
}

pin_project! {
    /// A future that renders the failure, if it is one.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        shape: ErrorShape,
        ending: Arc<dyn Ending>,
    }
}

impl<F> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Reply, Failure>>,
{
    type Output = Result<Reply, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.inner.poll(cx) {
            Poll::Ready(result) => result,
            Poll::Pending if this.ending.is_here() => Err(Failure::ShuttingDown),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Ok(match result {
            Ok(reply) if reply.body().is_whole() => reply,
            Ok(reply) => reply.map(|body| body.with_deadline(this.ending.wait())),
            Err(failure) => render(&failure, *this.shape),
        }))
    }
}

/// A failure as an answer in this shape.
pub fn render(failure: &Failure, shape: ErrorShape) -> Reply {
    let body = failure.verbatim(shape).unwrap_or_else(|| shape.body(&failure.to_wire()));
    let mut reply = Reply::new(ReplyBody::from(body));
    *reply.status_mut() = failure.status();
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = failure.retry_after() {
        headers.insert(RETRY_AFTER, whole_seconds(after));
    }
    if failure.is_final() {
        // OpenAI's and Anthropic's clients heed it.
        extend(headers, [("x-should-retry", HeaderValue::from_static("false"))]);
    }
    match failure {
        Failure::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Failure::NoWebSocket => {
            // RFC 9110 §15.5.22 wants it named what is spoken instead.
            headers.insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        }
        Failure::MethodNotAllowed { allow } => {
            headers.extend(HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)));
        }
        Failure::UnknownCoding { .. } => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Coding::KNOWN));
        }
        Failure::RateLimited(exceeded) => {
            let limits = [
                ("x-ratelimit-limit-requests", HeaderValue::from(exceeded.limit)),
                ("x-ratelimit-remaining-requests", HeaderValue::from(0)),
                ("x-ratelimit-reset-requests", seconds(exceeded.reset)),
            ];
            extend(headers, limits);
        }
        _ => {}
    }
    reply
}

fn extend<const N: usize>(headers: &mut HeaderMap, values: [(&'static str, HeaderValue); N]) {
    headers.extend(values.map(|(name, value)| (HeaderName::from_static(name), value)));
}

/// `Retry-After` takes whole seconds (RFC 9110 §10.2.3); rounded up, because earlier is too early.
fn whole_seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

/// A duration as OpenAI writes resets: `1.5s`.
fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from_str(&format!("{}s", (duration.as_secs_f64() * 1000.0).ceil() / 1000.0))
        .expect("a decimal number is a valid header value")
}

#[cfg(test)]
mod tests;
