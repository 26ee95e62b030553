//! The one framing there is so far, under the names of the axis that is to come.

use bytes::BytesMut;

use crate::framing::sse;

/// A way of cutting a stream of answers into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Server-sent events.
    Sse,
}

impl Framing {
    /// The framing that a content type names.
    pub fn of_content_type(value: &[u8]) -> Option<Self> {
        let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"text/event-stream").then_some(Self::Sse)
    }

    /// The content type of a stream that is written so.
    pub fn content_type(self) -> &'static str {
        "text/event-stream"
    }

    /// A framer at the start of a stream, which is content with an incomplete frame of at most `limit` bytes.
    pub fn framer(self, limit: usize) -> sse::Framer {
        sse::Framer::new(limit)
    }

    /// The frames of a block that a framer gave out.
    pub fn frames(self, block: &[u8]) -> sse::Frames<'_> {
        sse::frames(block)
    }

    /// What a stream ends with, behind its last frame.
    pub fn close(self) -> &'static [u8] {
        b""
    }

    /// Appends a frame of any framing in this one.
    pub fn write(self, frame: &sse::Frame<'_>, _first: bool, out: &mut BytesMut) -> bool {
        out.extend_from_slice(frame.raw);
        true
    }
}
