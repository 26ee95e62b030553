//! One connection, and what is remembered of it.
//!
//! Every connection is marked once it has answered, so that an error on a connection that had been
//! idle in the pool can be told from one on a fresh connection: the first is worth a repeat. Where
//! no TLS is spoken its first bytes are looked at: they say more than the parser does when the other
//! side speaks another protocol.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};

use super::cause::Greeting;

/// What is remembered of a connection for as long as anybody has to do with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mark(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    answered: AtomicBool,
    greeting: OnceLock<Greeting>,
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

    /// What its first bytes were.
    pub(super) fn greeting(&self) -> Greeting {
        self.0.greeting.get().copied().unwrap_or(Greeting::Other)
    }
}

pub(super) trait Io: Read + Write + Connection + Unpin + Send {}
impl<T: Read + Write + Connection + Unpin + Send> Io for T {}

/// An open connection.
pub(super) struct Line {
    io: Box<dyn Io>,
    mark: Mark,
    /// The first bytes are still to come and shall be looked at; whether HTTP/2 is spoken.
    greets: Option<bool>,
}

impl Line {
    /// A connection without TLS.
    pub(super) fn plain(io: impl Io + 'static, http2: bool) -> Self {
        Self { io: Box::new(io), mark: Mark::default(), greets: Some(http2) }
    }

    /// A connection whose other side has shown what it speaks.
    pub(super) fn secure(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), mark: Mark::default(), greets: None }
    }

    /// The first read, through a buffer of ours.
    fn poll_first(
        &mut self,
        http2: bool,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut first = [0; 256];
        let room = first.len().min(buf.remaining());
        let mut first = ReadBuf::new(&mut first[..room]);
        ready!(Pin::new(&mut *self.io).poll_read(cx, first.unfilled()))?;
        self.greets = None;
        self.mark.greeted(Greeting::read(first.filled(), http2));
        buf.put_slice(first.filled());
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
        if let Some(http2) = self.greets {
            return self.poll_first(http2, cx, buf);
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
