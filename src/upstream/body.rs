//! What goes up, and what comes down.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_ENCODING;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use layers::body::{Broken, UpstreamBody};
use tower::ServiceExt;
use tower_http::decompression::Decompression;

use super::cause::cause;

/// A request body in parts whose length is known.
pub(super) struct BodyChunks(VecDeque<Bytes>);

impl From<Vec<Bytes>> for BodyChunks {
    fn from(parts: Vec<Bytes>) -> Self {
        Self(parts.into())
    }
}

impl Body for BodyChunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

/// Whether an answer has to be decoded to be read.
pub(super) fn is_encoded<B>(response: &Response<B>) -> bool {
    response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// An answer that is not encoded, errors reduced to what matters.
pub(super) fn plain(response: Response<Incoming>) -> Response<UpstreamBody> {
    response.map(|body| body.map_err(|error| Broken::Connection(Some(cause(&error)))).boxed_unsync())
}

/// An answer of plain bytes, whatever its encoding.
pub(super) async fn readable(response: Response<Incoming>) -> Response<UpstreamBody> {
    if is_encoded(&response) { Box::pin(decoded(response)).await } else { plain(response) }
}

/// An encoded answer as plain bytes.
pub(super) async fn decoded(response: Response<Incoming>) -> Response<UpstreamBody> {
    // `identity` was asked for, but not every upstream listens. The decoder is a middleware; here
    // its service is the one answer that is already there.
    let mut answer = Some(response);
    let service = tower::service_fn(move |_request: http::Request<()>| {
        let response = answer.take().expect("the service is called once");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let decoding = Decompression::new(service).oneshot(http::Request::new(()));
    let response = match decoding.await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    response.map(|body| body.map_err(|_broken| Broken::Connection(None)).boxed_unsync())
}
