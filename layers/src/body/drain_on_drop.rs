//! Lets a refused client see why, although it is still sending.
//!
//! A server that stops reading and closes makes the kernel reset the connection, and many clients
//! then report the reset instead of the answer that was sent before it. So a request body that is
//! dropped unread is drained in the background for two seconds or a mebibyte, whichever is over first:
//! enough for an upload that is under way to notice the answer, little enough that nobody can keep a
//! connection, or this program, busy for nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf as _;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// How long an unread body is drained.
const DRAIN: Duration = Duration::from_secs(2);
/// How much of it.
const MOST: u64 = 1 << 20;

/// A request body that is drained when it is dropped before its end.
pub struct DrainOnDrop<B: Body + Send + Unpin + 'static> {
    inner: Option<B>,
    /// Whether the client is sending without being asked to.
    unasked: bool,
}

impl<B: Body + Send + Unpin + 'static> DrainOnDrop<B> {
    /// Wraps the body of a request.
    pub fn wrap(request: Request<B>) -> Request<Self> {
        // A client that waits for `100 Continue` has not begun to send; draining would ask it to.
        let unasked = !request.headers().contains_key(EXPECT);
        request.map(|body| Self { inner: Some(body), unasked })
    }
}

impl<B: Body + Send + Unpin + 'static> Body for DrainOnDrop<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let next = ready!(Pin::new(inner).poll_frame(cx));
        if !matches!(next, Some(Ok(_))) {
            self.inner = None;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Send + Unpin + 'static> Drop for DrainOnDrop<B> {
    fn drop(&mut self) {
        let unread = self.inner.take().filter(|body| self.unasked && !body.is_end_stream());
        if let (Some(mut body), Ok(runtime)) = (unread, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(DRAIN, async move {
                let mut left = MOST;
                while let Some(Ok(frame)) = body.frame().await {
                    // A frame costs something, whatever is in it.
                    let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                    match left.checked_sub(length.max(16)) {
                        Some(less) => left = less,
                        None => return,
                    }
                }
            }));
        }
    }
}

#[cfg(test)]
mod tests;
