//! Undoes content codings (RFC 9110 §8.4): of answers that come compressed although `identity` was
//! asked for, and of request bodies.
//!
//! Whoever encodes decides what decoding costs, so all of it is bounded here: the window, the whole
//! length, how much may become of how little, and how long others wait meanwhile. After so many
//! bytes, taken or given, a turn is given up.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::{Body, Frame};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// Largest window of zstd, as a power of two: 8 MiB (RFC 9659 §3).
const ZSTD_WINDOW: u32 = 23;
/// Decoded bytes that are given at once.
const STEP: usize = 16 << 10;
/// Bytes that are taken or given before others get a turn.
const TURN: usize = 64 << 10;
/// Most that one encoded byte may become, once a body is longer than [`UNMEASURED`]. Repeated events
/// shrink to a fiftieth; what shrinks to a thousandth was made for it.
const RATIO: u64 = 200;
/// Length up to which the ratio does not count.
const UNMEASURED: u64 = 8 << 20;

/// A content coding that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, and `x-gzip`, which is the same.
    Gzip,
    /// `deflate`: with the wrapper of zlib, as it should be, or without, as some send it.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

/// A reason why a body cannot be decoded, as a clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// A coding that is not understood, or several.
    #[error("its content coding \"{0}\" is not one of {known}", known = Coding::KNOWN)]
    Unknown(String),
    /// The bytes are not what the coding says.
    #[error("its {0} coding is corrupt: {1}")]
    Corrupt(&'static str, String),
    /// The end is missing.
    #[error("its {0} coding ends early")]
    Cut(&'static str),
    /// It is longer than was allowed.
    #[error("it is longer than {0} bytes when decoded")]
    TooLong(u64),
    /// It becomes far more than it was.
    #[error("its {0} coding becomes more than {RATIO} times as long")]
    Bomb(&'static str),
}

/// A failure of a decoded body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError<E> {
    /// The encoded body failed.
    #[error("the encoded body broke off")]
    Body(E),
    /// It came, and cannot be decoded.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

/// A body as it was before it was encoded.
pub struct Decoded<B: Body> {
    reader: Reader<B>,
    coding: Coding,
    most: u64,
    given: u64,
    /// What may still be given in this turn.
    turn: usize,
    room: Box<[u8]>,
    ended: bool,
}

/// The decoder, once the first byte has said which.
enum Reader<B: Body> {
    Unread(Option<Source<B>>),
    Gzip(GzipDecoder<Source<B>>),
    Zlib(ZlibDecoder<Source<B>>),
    Deflate(DeflateDecoder<Source<B>>),
    Brotli(Box<BrotliDecoder<Source<B>>>),
    Zstd(ZstdDecoder<Source<B>>),
}

/// An encoded body as decoders read it.
struct Source<B: Body> {
    body: B,
    chunk: Bytes,
    taken: u64,
    /// What may still be taken in this turn.
    turn: usize,
    failed: Option<B::Error>,
    ended: bool,
}

// === impl Coding ===

impl Coding {
    /// Those that are understood, as `Accept-Encoding` lists them.
    pub const KNOWN: &str = "gzip, deflate, br, zstd";

    /// The coding of a body; none where it is plain.
    ///
    /// # Errors
    /// [`Undecodable::Unknown`] for a coding that is not understood, and for several at once.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, Undecodable> {
        if !headers.contains_key(CONTENT_ENCODING) {
            return Ok(None);
        }
        let lines: Vec<_> = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        let list = lines.join(", ");
        let mut named = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
        let coding = match (named.next(), named.next()) {
            (None, _) => return Ok(None),
            (Some(name), None) => Self::called(name),
            (Some(_), Some(_)) => None,
        };
        let shown = || list.chars().filter(|c| !c.is_control()).take(60).collect();
        coding.map(Some).ok_or_else(|| Undecodable::Unknown(shown()))
    }

    /// Names are compared without regard to case (RFC 9110 §8.4.1).
    fn called(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The most memory that its decoder takes for what it has to look back at.
    pub fn window(self) -> usize {
        match self {
            Self::Gzip | Self::Deflate => 32 << 10,
            Self::Brotli => 16 << 20,
            Self::Zstd => 1 << ZSTD_WINDOW,
        }
    }

    fn corrupt(self, why: impl Into<String>) -> Undecodable {
        Undecodable::Corrupt(self.name(), why.into())
    }
}

// === impl Decoded ===

impl<B: Body<Data = Bytes> + Unpin> Decoded<B> {
    /// Decodes `body`, which may have `most` bytes when it is decoded.
    pub fn new(body: B, coding: Coding, most: u64) -> Self {
        let source = Source { body, chunk: Bytes::new(), taken: 0, turn: TURN, failed: None, ended: false };
        let reader = Reader::Unread(Some(source));
        Self { reader, coding, most, given: 0, turn: TURN, room: vec![0; STEP].into(), ended: false }
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, DecodeError<B::Error>>>> {
        if self.turn == 0 {
            self.turn = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Reader::Unread(source) = &mut self.reader {
            let unread = source.as_mut().expect("it is taken where the reader is replaced");
            match ready!(Pin::new(&mut *unread).poll_fill_buf(cx)).map(|bytes| bytes.first().copied()) {
                Ok(Some(first)) => {
                    let source = source.take().expect("it was there a line ago");
                    self.reader = Reader::new(source, self.coding, first)?;
                }
                // Nothing at all stays nothing, whatever it claims to be encoded with.
                Ok(None) => return Poll::Ready(None),
                Err(error) => {
                    let failed = unread.failed.take();
                    return Poll::Ready(Some(Err(self.told(failed, false, &error))));
                }
            }
        }
        let mut room = ReadBuf::new(&mut self.room);
        if let Err(error) = ready!(self.reader.poll_read(cx, &mut room)) {
            let source = self.reader.source();
            let (failed, at_end) = (source.failed.take(), source.ended);
            return Poll::Ready(Some(Err(self.told(failed, at_end, &error))));
        }
        let bytes = Bytes::copy_from_slice(room.filled());
        if bytes.is_empty() {
            return self.poll_rest(cx);
        }
        self.turn = self.turn.saturating_sub(bytes.len());
        self.given += bytes.len() as u64;
        if self.given > self.most {
            return Poll::Ready(Some(Err(Undecodable::TooLong(self.most).into())));
        }
        let taken = self.reader.source().taken;
        if self.given > UNMEASURED && self.given / RATIO > taken {
            return Poll::Ready(Some(Err(Undecodable::Bomb(self.coding.name()).into())));
        }
        Poll::Ready(Some(Ok(bytes)))
    }

    /// What is behind the end of what was encoded, which should be nothing.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, DecodeError<B::Error>>>> {
        let source = self.reader.source();
        match ready!(Pin::new(&mut *source).poll_fill_buf(cx)).map(<[u8]>::is_empty) {
            Ok(true) => Poll::Ready(None),
            Ok(false) => Poll::Ready(Some(Err(self.coding.corrupt("there is more behind its end").into()))),
            Err(error) => {
                let failed = source.failed.take();
                Poll::Ready(Some(Err(self.told(failed, false, &error))))
            }
        }
    }

    /// What an error of the decoder means.
    fn told(&self, failed: Option<B::Error>, at_end: bool, error: &io::Error) -> DecodeError<B::Error> {
        match failed {
            Some(failed) => DecodeError::Body(failed),
            None if at_end => Undecodable::Cut(self.coding.name()).into(),
            None => self.coding.corrupt(error.to_string()).into(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Decoded<B> {
    type Data = Bytes;
    type Error = DecodeError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.poll_decoded(cx) {
            Poll::Pending => {
                self.turn = TURN;
                Poll::Pending
            }
            Poll::Ready(decoded) => {
                self.ended = !matches!(decoded, Some(Ok(_)));
                Poll::Ready(decoded.map(|decoded| decoded.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

// === impl Reader ===

impl<B: Body<Data = Bytes> + Unpin> Reader<B> {
    /// The decoder of a body that begins with this byte.
    fn new(source: Source<B>, coding: Coding, first: u8) -> Result<Self, Undecodable> {
        /// The first byte of zlib names its method in the lower half; no encoder begins so without.
        const ZLIB: u8 = 8;
        /// So begin windows beyond the 16 MiB of RFC 7932 §9.1, up to a gibibyte.
        const LARGE_WINDOW: u8 = 0x11;
        Ok(match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(source);
                decoder.multiple_members(true);
                Self::Gzip(decoder)
            }
            Coding::Deflate if first & 0x0f == ZLIB => Self::Zlib(ZlibDecoder::new(source)),
            Coding::Deflate => Self::Deflate(DeflateDecoder::new(source)),
            Coding::Brotli if first & 0x7f == LARGE_WINDOW => {
                return Err(coding.corrupt("its window is too large"));
            }
            Coding::Brotli => Self::Brotli(Box::new(BrotliDecoder::new(source))),
            Coding::Zstd => {
                let window = [DParameter::window_log_max(ZSTD_WINDOW)];
                let mut decoder = ZstdDecoder::with_params(source, &window);
                decoder.multiple_members(true);
                Self::Zstd(decoder)
            }
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unread(_) => unreachable!("it is replaced before anything is read"),
            Self::Gzip(decoder) => Pin::new(decoder).poll_read(cx, room),
            Self::Zlib(decoder) => Pin::new(decoder).poll_read(cx, room),
            Self::Deflate(decoder) => Pin::new(decoder).poll_read(cx, room),
            Self::Brotli(decoder) => Pin::new(decoder).poll_read(cx, room),
            Self::Zstd(decoder) => Pin::new(decoder).poll_read(cx, room),
        }
    }

    fn source(&mut self) -> &mut Source<B> {
        match self {
            Self::Unread(source) => source.as_mut().expect("it is taken where the reader is replaced"),
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

// === impl Source ===

// Nothing of it is pinned but a body that need not be.
impl<B: Body + Unpin> Unpin for Source<B> {}

impl<B: Body<Data = Bytes> + Unpin> AsyncBufRead for Source<B> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() && !this.ended {
            if this.turn == 0 {
                this.turn = TURN;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                this.turn = TURN;
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => this.ended = true,
                Some(Ok(Ok(data))) => {
                    // A frame without a byte in it costs a turn's share too.
                    this.turn = this.turn.saturating_sub(data.len().max(64));
                    this.taken += data.len() as u64;
                    this.chunk = data;
                }
                Some(Ok(Err(_trailers))) => {}
                Some(Err(error)) => {
                    this.failed = Some(error);
                    return Poll::Ready(Err(io::ErrorKind::Other.into()));
                }
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().chunk.advance(amount);
    }
}

impl<B: Body<Data = Bytes> + Unpin> AsyncRead for Source<B> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let length = bytes.len().min(room.remaining());
        room.put_slice(&bytes[..length]);
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
