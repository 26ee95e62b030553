//! How answers are cut out of a body and put into one: an axis of its own beside the dialect.
//!
//! Two steps, because relays need only the first: a [`Framer`] finds where whole frames end and gives them back as
//! slices of the buffers they came in; [`Framing::frames`] reads such a block frame by frame. A frame that is written
//! in another framing ([`Framing::write`]) keeps its dialect, so that equal dialects never meet in `ir`.

mod elided;
pub mod event_stream;
mod header;
mod invoke;
mod json_array;
mod json_lines;
mod sse;

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memrchr};

pub use elided::Elided;
pub use invoke::{Unwrapped, unwrap_invoke, wrap_invoke};

/// A way of cutting a stream of answers into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// JSON values, each on a line of its own.
    JsonLines,
    /// The elements of one JSON array.
    JsonArray,
    /// Binary messages of AWS, each with its checksums.
    EventStream,
}

/// One frame of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame<'a> {
    /// All its bytes with what ends it, and blank lines or punctuation before it; the `raw` of all frames join to
    /// the block.
    pub raw: &'a [u8],
    /// What it is called: the value of its `event:` line, or its `:event-type`, `:exception-type` or `:error-code`;
    /// empty when it has no name.
    pub event: &'a [u8],
    /// Its data, several `data:` lines joined by LF; `None` when it has none at all.
    pub data: Option<Cow<'a, [u8]>>,
    /// Whether it holds a comment: a comment line, blank lines alone, the punctuation of an array alone.
    pub comment: bool,
    /// Whether the framing itself calls it an error: the exceptions and errors of an event stream.
    pub exception: bool,
}

/// A splitter of a stream of buffers behind whole frames.
#[derive(Debug)]
pub struct Framer {
    place: Place,
    tail: BytesMut,
    limit: usize,
    fault: Option<&'static str>,
}

/// A framer's knowledge of the bytes before.
#[derive(Debug)]
enum Place {
    Sse(sse::Place),
    JsonLines,
    JsonArray(json_array::Place),
    EventStream,
}

/// An iterator over the frames of a block.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    framing: Framing,
    block: &'a [u8],
    at: usize,
}

/// The server-sent events of a block of whole events. An unterminated last one is given too.
pub fn frames(block: &[u8]) -> Frames<'_> {
    Framing::Sse.frames(block)
}

// === impl Framing ===

impl Framing {
    /// The framing that a content type names. `application/json` may be an array of answers or one answer, so it
    /// names none.
    pub fn of_content_type(value: &[u8]) -> Option<Self> {
        const NAMES: [(&str, Framing); 6] = [
            ("text/event-stream", Framing::Sse),
            ("application/x-ndjson", Framing::JsonLines),
            ("application/ndjson", Framing::JsonLines),
            ("application/jsonl", Framing::JsonLines),
            ("application/stream+json", Framing::JsonLines),
            ("application/vnd.amazon.eventstream", Framing::EventStream),
        ];
        let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        NAMES
            .iter()
            .find(|(name, _)| essence.eq_ignore_ascii_case(name.as_bytes()))
            .map(|&(_, framing)| framing)
    }

    /// The content type of a stream that is written so.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::JsonLines => "application/x-ndjson",
            Self::JsonArray => "application/json",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }

    /// A framer at the start of a stream, which is content with an incomplete frame of at most `limit` bytes.
    pub fn framer(self, limit: usize) -> Framer {
        let place = match self {
            Self::Sse => Place::Sse(sse::Place::BETWEEN),
            Self::JsonLines => Place::JsonLines,
            Self::JsonArray => Place::JsonArray(json_array::Place::START),
            Self::EventStream => Place::EventStream,
        };
        Framer { place, tail: BytesMut::new(), limit, fault: None }
    }

    /// The frames of a block that a [`Framer`] gave out.
    pub fn frames(self, block: &[u8]) -> Frames<'_> {
        Frames { framing: self, block, at: 0 }
    }

    /// What a stream begins with, before its first frame.
    pub fn open(self) -> &'static [u8] {
        if self == Self::JsonArray { b"[" } else { b"" }
    }

    /// What stands between two frames; [`Framing::write`] puts it before every frame but the first.
    pub fn separator(self) -> &'static [u8] {
        if self == Self::JsonArray { b",\r\n" } else { b"" }
    }

    /// What a stream ends with, behind its last frame, also when there was none.
    pub fn close(self) -> &'static [u8] {
        if self == Self::JsonArray { b"]" } else { b"" }
    }

    /// What may be sent between frames to keep the connection busy. Nothing where readers need not skip it: some take
    /// each line for JSON.
    pub fn comment(self) -> Option<&'static [u8]> {
        match self {
            Self::Sse => Some(b":\n\n"),
            Self::JsonArray => Some(b"\n"),
            Self::JsonLines | Self::EventStream => None,
        }
    }

    /// Appends a frame of any framing in this one, and tells whether there was anything to append: comments are left
    /// out, and where every frame is JSON so is what is not, as `[DONE]`.
    pub fn write(self, frame: &Frame<'_>, first: bool, out: &mut BytesMut) -> bool {
        let data = frame.payload();
        if frame.data.is_none() || (self != Self::Sse && !is_json(data)) {
            return false;
        }
        if !first {
            out.extend_from_slice(self.separator());
        }
        match self {
            Self::Sse => sse::write(frame.event, data, out),
            Self::JsonLines => {
                out.extend_from_slice(&one_line(data).unwrap_or(Cow::Borrowed(data)));
                out.extend_from_slice(b"\n");
            }
            Self::JsonArray => out.extend_from_slice(data),
            Self::EventStream => event_stream::write(frame, data, out),
        }
        true
    }
}

// === impl Frame ===

impl Frame<'_> {
    /// The data without white space around it; empty when there is none.
    pub fn payload(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default().trim_ascii()
    }

    /// Whether it says nothing but comments.
    pub fn is_comment(&self) -> bool {
        self.comment && self.data.is_none()
    }

    /// Whether its data is not torn: `[DONE]` or a JSON value.
    fn is_whole(&self) -> bool {
        let data = self.payload();
        data == b"[DONE]" || is_json(data)
    }
}

// === impl Framer ===

impl Framer {
    /// Takes one received buffer; gives back all frames that are whole now, as one piece, and holds the rest.
    ///
    /// When nothing was held the piece is a slice of `chunk`, without a copy.
    pub fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        // Most upstreams send one event per buffer. Data never holds a raw line end, so this is always a boundary.
        if let Place::Sse(place) = &mut self.place
            && self.tail.is_empty()
            && (chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n"))
        {
            *place = sse::Place::BETWEEN;
            return Some(chunk);
        }
        self.search(chunk)
    }

    /// Bytes of the incomplete frame.
    pub fn held(&self) -> usize {
        self.tail.len()
    }

    /// Whether the incomplete frame may tell of an error: whatever the dialect, the word is in it.
    pub fn may_be_error(&self) -> bool {
        memchr::memmem::find(&self.tail, b"error").is_some()
    }

    /// Whether the incomplete frame is longer than allowed. Array elements and messages of that length, which could
    /// not be read any further once a part of them is forwarded, are a [`Framer::fault`] instead.
    pub fn over_limit(&self) -> bool {
        self.tail.len() > self.limit
    }

    /// What is wrong with the stream, as a clause. What came before is given out, nothing behind it ever is: where
    /// the next frame begins cannot be known.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Takes the incomplete frame out, as it is: torn, unless the stream merely lacks its last line end.
    pub fn take_tail(&mut self) -> Bytes {
        if let Place::Sse(place) = &mut self.place {
            *place = sse::Place::BETWEEN;
        }
        self.tail.split().freeze()
    }

    /// Takes what there is of the incomplete frame out, to go on as it is. What comes next is the rest of it, for
    /// [`Framer::rest`].
    pub fn take_part(&mut self) -> Bytes {
        self.tail.split().freeze()
    }

    /// Takes a buffer behind a part: what of it still belongs to that frame, and, where the frame ends in it, what
    /// comes behind.
    pub fn rest(&mut self, mut chunk: Bytes) -> (Bytes, Option<Bytes>) {
        let end = match &mut self.place {
            Place::Sse(place) => place.first(&chunk),
            Place::JsonLines => memchr::memchr(b'\n', &chunk).map(|at| at + 1),
            // Their frames are never given out in parts.
            Place::JsonArray(_) | Place::EventStream => None,
        };
        match end {
            Some(end) => (chunk.split_to(end), Some(chunk)),
            None => (chunk, None),
        }
    }

    /// At the end of the body: the held frame with the line end it lacks, when its data is whole all the same. A
    /// torn one is dropped. An array that is not closed and a torn message are a [`Framer::fault`] from now on.
    pub fn finish(&mut self) -> Option<Bytes> {
        let tail = self.take_tail();
        match &self.place {
            Place::Sse(_) => sse::completed(&tail),
            Place::JsonLines => json_lines::completed(&tail),
            Place::JsonArray(place) => {
                if !place.is_closed() {
                    self.fault = self.fault.or(Some("the array is not closed"));
                }
                None
            }
            Place::EventStream => {
                if !tail.is_empty() {
                    self.fault = self.fault.or(Some("the last message is torn"));
                }
                None
            }
        }
    }

    /// Takes a buffer that does not obviously end with an event.
    fn search(&mut self, chunk: Bytes) -> Option<Bytes> {
        let end = match &mut self.place {
            Place::Sse(place) => place.scan(&chunk),
            Place::JsonLines => memrchr(b'\n', &chunk).map(|at| at + 1),
            Place::JsonArray(_) | Place::EventStream => return self.search_checked(chunk),
        };
        self.cut(chunk, end)
    }

    /// The same for framings that tell right from wrong.
    fn search_checked(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        if self.fault.is_some() {
            return None;
        }
        let (end, mut fault) = match &mut self.place {
            Place::JsonArray(place) => place.scan(&chunk),
            _ => event_stream::scan(&self.tail, &chunk, self.limit),
        };
        let kept = end.unwrap_or_default();
        let held = if end.is_some() { 0 } else { self.tail.len() };
        if fault.is_none() && held + chunk.len() - kept > self.limit {
            fault = Some("a frame is longer than allowed");
        }
        if fault.is_some() {
            chunk.truncate(kept);
        }
        let mut whole = self.cut(chunk, end);
        if let (Place::EventStream, Some(block)) = (&self.place, &mut whole)
            && let Err((sound, wrong)) = event_stream::verify(block)
        {
            block.truncate(sound);
            fault = Some(wrong);
        }
        if fault.is_some() {
            self.fault = fault;
            self.tail = BytesMut::new();
        }
        whole.filter(|block| !block.is_empty())
    }

    /// Gives out what is held and `chunk` up to `end`, and holds the rest.
    fn cut(&mut self, chunk: Bytes, end: Option<usize>) -> Option<Bytes> {
        let Some(end) = end else {
            self.tail.extend_from_slice(&chunk);
            return None;
        };
        if self.tail.is_empty() {
            self.tail.extend_from_slice(&chunk[end..]);
            return Some(chunk.slice(..end));
        }
        self.tail.extend_from_slice(&chunk[..end]);
        let whole = self.tail.split().freeze();
        self.tail.extend_from_slice(&chunk[end..]);
        Some(whole)
    }
}

// === impl Frames ===

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        if self.framing == Framing::Sse { sse::next(self.block, &mut self.at) } else { self.next_of_others() }
    }
}

impl<'a> Frames<'a> {
    /// Apart, so that the way of most streams stays short enough to be put where it is used.
    #[inline(never)]
    fn next_of_others(&mut self) -> Option<Frame<'a>> {
        match self.framing {
            // Read where it is used.
            Framing::Sse => None,
            Framing::JsonLines => json_lines::next(self.block, &mut self.at),
            Framing::JsonArray => json_array::next(self.block, &mut self.at),
            Framing::EventStream => event_stream::next(self.block, &mut self.at),
        }
    }
}

// === helpers ===

fn is_json(data: &[u8]) -> bool {
    !data.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

/// JSON without the line ends in it and the indentation behind them, which are never part of a value; `None` for what
/// is not JSON.
fn one_line(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr2(b'\n', b'\r', data).is_none() {
        return Some(Cow::Borrowed(data));
    }
    is_json(data).then(|| {
        data.split(|byte| matches!(byte, b'\n' | b'\r')).flat_map(<[u8]>::trim_ascii_start).copied().collect()
    })
}

/// How many of these bytes are white space before anything else.
fn white_space(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

#[cfg(test)]
mod tests;
