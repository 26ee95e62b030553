//! What goes up, and what comes down.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use layers::body::decode::{Coding, DecodeError, Decoded, Undecodable};
use layers::body::{Broken, UpstreamBody};

use super::cause::cause;

/// Longest answer that is decoded: more than any provider sends, and not without end.
const LONGEST: u64 = 4 << 30;

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

/// An answer of plain bytes, whatever its coding, errors reduced to what matters. `identity` was
/// asked for, but not every upstream listens.
pub(super) fn readable<B>(response: Response<B>) -> Response<UpstreamBody>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'static,
{
    match Coding::of(response.headers()) {
        Ok(None) => response.map(|body| body.map_err(|error| broken(&error)).boxed_unsync()),
        Ok(Some(coding)) => response.map(|body| {
            let decoded = Decoded::new(body, coding, LONGEST);
            let broken = |error| match error {
                DecodeError::Body(error) => broken(&error),
                DecodeError::Undecodable(why) => undecodable(&why),
            };
            decoded.map_err(broken).boxed_unsync()
        }),
        Err(unknown) => response.map(|_unread| Failed(Some(undecodable(&unknown))).boxed_unsync()),
    }
}

/// Whether the framing of an answer says two things (RFC 9112 §6.3): the chunks win, and where they
/// end the connection must.
pub(super) fn contradicts_itself(response: &Response<impl Body>) -> bool {
    // Chunks have no length that is known before.
    response.body().size_hint().exact().is_none()
        && response.headers().contains_key(CONTENT_LENGTH)
        && response.headers().contains_key(TRANSFER_ENCODING)
}

fn broken(error: &hyper::Error) -> Broken {
    Broken::Connection(Some(cause(error)))
}

fn undecodable(why: &Undecodable) -> Broken {
    Broken::Encoding(why.to_string().into())
}

/// A body that cannot be had.
struct Failed(Option<Broken>);

impl Body for Failed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}
