//! Names each request, so that a client, a log line and a database row can be matched.
//!
//! Sits at the edge, just inside the panic guard. A client's own `x-request-id` is kept when it is
//! short and printable; otherwise sixteen random hex digits are drawn. The id is in the request's
//! extensions for `ingress`, and every answer carries it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// The header on requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client, in bytes.
const LONGEST: usize = 128;

/// A request's name.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("ids are visible ASCII")
    }

    /// Takes over a client's id, or draws one.
    pub fn of<B>(request: &http::Request<B>) -> Self {
        match request.headers().get(X_REQUEST_ID) {
            Some(id)
                if !id.is_empty()
                    && id.len() <= LONGEST
                    && id.as_bytes().iter().all(u8::is_ascii_graphic) =>
            {
                // Copied: a slice would hold the connection's read buffer as long as the request.
                HeaderValue::from_bytes(id.as_bytes()).map_or_else(|_| Self::draw(), Self)
            }
            _ => Self::draw(),
        }
    }

    /// Draws a random id.
    pub fn draw() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let random = fastrand::u64(..);
        let digits: [u8; 16] = std::array::from_fn(|i| DIGITS[(random >> (4 * i)) as usize & 15]);
        Self(HeaderValue::from_bytes(&digits).expect("hex digits are a valid header value"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Mounts [`SetRequestId`].
#[derive(Debug, Clone, Copy, Default)]
pub struct SetRequestIdLayer;

/// The service of [`SetRequestIdLayer`].
#[derive(Debug, Clone)]
pub struct SetRequestId<S> {
    inner: S,
}

// === impl SetRequestIdLayer ===

impl<S> Layer<S> for SetRequestIdLayer {
    type Service = SetRequestId<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetRequestId { inner }
    }
}

// === impl SetRequestId ===

impl<S, B, R> Service<http::Request<B>> for SetRequestId<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let id = RequestId::of(&request);
        request.extensions_mut().insert(id.clone());
        ResponseFuture { inner: self.inner.call(request), id: Some(id) }
    }
}

pin_project! {
    /// A future that puts the id on the answer.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        id: Option<RequestId>,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<http::Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(id) = this.id.take() {
            response.headers_mut().insert(X_REQUEST_ID, id.0);
        }
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests;
