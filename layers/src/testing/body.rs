//! Bodies that come in chunks: at once, after a pause, broken off, or never ending.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep};

use crate::body::idle::Idle;
use crate::body::{Broken, UpstreamBody};
use crate::policy::Timeouts;

/// A body without chunks: add some, and say how it ends, or it ends well.
pub fn chunks() -> Chunks {
    Chunks::default()
}

/// A scripted body, of a client's request or of an upstream's answer.
#[derive(Default)]
pub struct Chunks {
    left: VecDeque<(Wait, Next)>,
    sleep: Option<Pin<Box<Sleep>>>,
    turned: bool,
    announced: u64,
    traces: Arc<Traces>,
}

/// What became of a body.
#[derive(Debug, Default)]
pub struct Traces {
    read: AtomicUsize,
    dropped: AtomicBool,
}

impl Traces {
    /// How many of its chunks were read.
    pub fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether it is gone.
    pub fn dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }
}

enum Wait {
    None,
    Pause(Duration),
    /// Pending once, woken at once: another task has its turn first.
    Turn,
}

enum Next {
    Data(Bytes),
    Trailers,
    Break(Broken),
    Never,
}

impl Chunks {
    /// A chunk that is there with the one before.
    #[must_use]
    pub fn now(self, data: impl Into<Bytes>) -> Self {
        self.and(Wait::None, Next::Data(data.into()))
    }

    /// A chunk that comes after `pause`.
    #[must_use]
    pub fn after(self, pause: Duration, data: impl Into<Bytes>) -> Self {
        self.and(Wait::Pause(pause), Next::Data(data.into()))
    }

    /// A chunk that comes when other tasks have had their turn, without any time going by.
    #[must_use]
    pub fn next_turn(self, data: impl Into<Bytes>) -> Self {
        self.and(Wait::Turn, Next::Data(data.into()))
    }

    /// Trailers, which are no data.
    #[must_use]
    pub fn trailers(self) -> Self {
        self.and(Wait::None, Next::Trailers)
    }

    /// Ends well after `pause`: nothing, then the end.
    #[must_use]
    pub fn ends_after(self, pause: Duration) -> Self {
        self.and(Wait::Pause(pause), Next::Trailers)
    }

    /// Breaks off: the other side is gone.
    #[must_use]
    pub fn breaks(self) -> Self {
        self.and(Wait::None, Next::Break(Broken::Connection(None)))
    }

    /// Stays open and says nothing more.
    #[must_use]
    pub fn hangs(self) -> Self {
        self.and(Wait::None, Next::Never)
    }

    /// Then all that `more` has, and ends as that does.
    #[must_use]
    pub fn then(mut self, mut more: Self) -> Self {
        self.left.append(&mut more.left);
        self
    }

    /// Announces a length, as `content-length` does.
    #[must_use]
    pub fn announcing(mut self, bytes: u64) -> Self {
        self.announced = bytes;
        self
    }

    /// How many bytes its chunks hold.
    pub fn length(&self) -> usize {
        let bytes = |(_, next): &(Wait, Next)| if let Next::Data(data) = next { data.len() } else { 0 };
        self.left.iter().map(bytes).sum()
    }

    /// What becomes of it.
    pub fn traces(&self) -> Arc<Traces> {
        self.traces.clone()
    }

    /// As the body of an upstream's answer.
    pub fn upstream(self) -> UpstreamBody {
        self.boxed_unsync()
    }

    /// The same under these limits, for a request that was received now.
    pub fn idle(self, timeouts: Timeouts) -> Idle {
        Idle::new(self.upstream(), timeouts, Instant::now())
    }

    /// The same under the usual limits: [`super::patience`].
    pub fn patient(self) -> Idle {
        self.idle(super::patience())
    }

    /// As a whole answer of an upstream, as the pooled client gives it.
    pub fn answer(self, status: u16, content_type: &str) -> Response<UpstreamBody> {
        Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type)
            .body(self.upstream())
            .expect("a status and a content type make an answer")
    }

    /// As a whole answer of an upstream, as `dispatch` gives it.
    pub fn watched_answer(self, status: u16, content_type: &str) -> Response<Idle> {
        self.answer(status, content_type).map(|body| Idle::new(body, super::patience(), Instant::now()))
    }

    fn and(mut self, wait: Wait, next: Next) -> Self {
        self.left.push_back((wait, next));
        self
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.left.front() {
            None | Some((Wait::None, _)) => Poll::Ready(()),
            Some((Wait::Pause(pause), _)) => {
                let pause = *pause;
                self.sleep.get_or_insert_with(|| Box::pin(sleep(pause))).as_mut().poll(cx)
            }
            Some((Wait::Turn, _)) if self.turned => Poll::Ready(()),
            Some((Wait::Turn, _)) => {
                self.turned = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        ready!(self.poll_wait(cx));
        if matches!(self.left.front(), Some((_, Next::Never))) {
            return Poll::Pending;
        }
        (self.sleep, self.turned) = (None, false);
        Poll::Ready(match self.left.pop_front() {
            None => None,
            Some((_, Next::Data(data))) => {
                self.traces.read.fetch_add(1, Ordering::Relaxed);
                Some(Ok(Frame::data(data)))
            }
            Some((_, Next::Trailers)) => Some(Ok(Frame::trailers(http::HeaderMap::new()))),
            Some((_, Next::Break(broken))) => Some(Err(broken)),
            Some((_, Next::Never)) => unreachable!("looked at before"),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.announced);
        hint
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.traces.dropped.store(true, Ordering::Relaxed);
    }
}
