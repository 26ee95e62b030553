//! One connection, and what is remembered of it.
//!
//! Every connection is marked once it has answered, so that an error on a connection that had been
//! idle in the pool can be told from one on a fresh connection: the first is worth a repeat. Where
//! no TLS is spoken its first bytes are looked at: they say more than the parser does when the other
//! side speaks another protocol. An answer whose framing contradicts itself is the last one of its
//! connection: where it ended is a matter of opinion, and what follows it may be anybody's.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use layers::body::{Broken, UpstreamBody};

use super::cause::Greeting;

/// The memory of a connection, for as long as anybody has to do with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mark(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    answered: AtomicBool,
    /// No byte is read or written any more.
    over: AtomicBool,
    greeting: OnceLock<Greeting>,
    /// Wakes the task of the connection.
    task: OnceLock<Waker>,
}

impl Mark {
    /// It has answered a request.
    pub(super) fn note_answer(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    /// Whether it answered a request before.
    pub(super) fn has_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    fn greeted(&self, greeting: Greeting) {
        // There is one first read.
        let _first = self.0.greeting.set(greeting);
    }

    /// It is closed; also while nobody uses it.
    fn close(&self) {
        self.0.over.store(true, Ordering::Relaxed);
        if let Some(task) = self.0.task.get() {
            task.wake_by_ref();
        }
    }

    fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// What its first bytes were.
    pub(super) fn greeting(&self) -> Greeting {
        self.0.greeting.get().copied().unwrap_or(Greeting::Other)
    }
}

/// The last answer of a connection, which is closed behind it.
pub(super) struct Last {
    body: UpstreamBody,
    mark: Mark,
}

impl Last {
    pub(super) fn of(body: UpstreamBody, mark: Mark) -> UpstreamBody {
        Self { body, mark }.boxed_unsync()
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.mark.close();
    }
}

impl Body for Last {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.mark.close();
        }
        Poll::Ready(frame)
    }
}

pub(super) trait Io: Read + Write + Connection + Unpin + Send {}
impl<T: Read + Write + Connection + Unpin + Send> Io for T {}

/// An open connection.
pub(super) struct Line {
    io: Box<dyn Io>,
    mark: Mark,
    /// What the first read is to do; none when it is over.
    first: Option<First>,
}

/// A plan for the first bytes.
#[derive(Clone, Copy)]
enum First {
    /// They are encrypted.
    Pass,
    /// They say what the other side speaks.
    Look {
        /// Whether HTTP/2 is spoken to it.
        http2: bool,
    },
}

impl Line {
    /// A connection without TLS.
    pub(super) fn plain(io: impl Io + 'static, http2: bool) -> Self {
        Self { io: Box::new(io), mark: Mark::default(), first: Some(First::Look { http2 }) }
    }

    /// A connection whose other side has shown what it speaks.
    pub(super) fn secure(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), mark: Mark::default(), first: Some(First::Pass) }
    }

    /// What is remembered of it.
    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    fn poll_first(
        &mut self,
        first: First,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // A connection has one task, which reads first and for ever.
        let _task = self.mark.0.task.set(cx.waker().clone());
        let First::Look { http2 } = first else {
            self.first = None;
            return Pin::new(&mut *self.io).poll_read(cx, buf);
        };
        let mut room = [0; 256];
        let length = room.len().min(buf.remaining());
        let mut read = ReadBuf::new(&mut room[..length]);
        ready!(Pin::new(&mut *self.io).poll_read(cx, read.unfilled()))?;
        self.first = None;
        self.mark.greeted(Greeting::read(read.filled(), http2));
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        // What the socket tells of itself is not asked for; only the protocol matters. Whatever is
        // put in here is cloned into each answer.
        let told = self.io.connected();
        let line = Connected::new().extra(self.mark.clone());
        if told.is_negotiated_h2() { line.negotiated_h2() } else { line }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(first) = self.first {
            return self.poll_first(first, cx, buf);
        }
        if self.mark.is_over() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, bufs)
    }
}
