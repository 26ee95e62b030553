//! Reads JSON values that stand on lines of their own.
//!
//! JSON never holds a raw line feed, so every one is a boundary, and a framer needs to know nothing of what came before.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::{Frame, white_space};

/// The line of `block` at `at`, which moves behind it. Blank lines belong to the next one, or to the last.
pub(super) fn next<'a>(block: &'a [u8], at: &mut usize) -> Option<Frame<'a>> {
    let start = *at;
    if start >= block.len() {
        return None;
    }
    let mut from = start + white_space(&block[start..]);
    // A mark of the byte order may stand before the first.
    if block[from..].starts_with(b"\xEF\xBB\xBF") {
        from += 3;
    }
    let line = &block[from..];
    let line = &line[..memchr(b'\n', line).unwrap_or(line.len())];
    *at = block.len().min(from + line.len() + 1);
    if white_space(&block[*at..]) == block.len() - *at {
        *at = block.len();
    }
    let data = (!line.is_empty()).then(|| Cow::Borrowed(line.trim_ascii_end()));
    Some(Frame { raw: &block[start..*at], comment: data.is_none(), data, ..Frame::default() })
}

/// At the end of the body: the held line with the line feed it lacks, when it is whole all the same.
pub(super) fn completed(tail: &[u8]) -> Option<Bytes> {
    next(tail, &mut 0).filter(Frame::is_whole)?;
    let mut completed = BytesMut::with_capacity(tail.len() + 1);
    completed.extend_from_slice(tail);
    completed.extend_from_slice(b"\n");
    Some(completed.freeze())
}

#[cfg(test)]
mod tests {
    use super::super::Framing;
    use super::*;

    fn lines(block: &[u8]) -> Vec<Vec<u8>> {
        Framing::JsonLines.frames(block).filter_map(|frame| frame.data.map(Cow::into_owned)).collect()
    }

    #[test]
    fn lines_may_end_in_a_carriage_return_and_blank_ones_are_skipped() {
        assert_eq!(lines(b"\n{\"a\":1}\r\n\r\n \n{\"b\":2}\n\n"), [b"{\"a\":1}", b"{\"b\":2}"]);
        assert_eq!(lines(b"\xEF\xBB\xBF{\"a\":1}\n{\"b\":2}\n"), [b"{\"a\":1}", b"{\"b\":2}"]);
    }

    #[test]
    fn a_line_is_held_until_its_line_feed_comes() {
        let mut framer = Framing::JsonLines.framer(64);

        let first = framer.push(Bytes::from_static(b"{\"a\":1}\n{\"b\""));
        let second = framer.push(Bytes::from_static(b":2}\r\n"));

        assert_eq!(first.as_deref(), Some(&b"{\"a\":1}\n"[..]));
        assert_eq!(second.as_deref(), Some(&b"{\"b\":2}\r\n"[..]));
        assert_eq!(framer.held(), 0);
    }

    #[test]
    fn a_last_line_without_its_line_feed_is_whole_when_it_is_json() {
        for (tail, whole) in [
            (&b"{\"a\":1}"[..], Some(&b"{\"a\":1}\n"[..])),
            (b"{\"a\":1}\r", Some(b"{\"a\":1}\r\n")),
            (b"{\"a\":", None),
            (b" ", None),
            (b"", None),
        ] {
            let mut framer = Framing::JsonLines.framer(64);
            assert_eq!(framer.push(Bytes::copy_from_slice(tail)), None);
            assert_eq!(framer.finish().as_deref(), whole, "{tail:?}");
        }
    }

    #[test]
    fn a_line_beyond_the_limit_is_reported_and_can_be_taken_in_parts() {
        let mut framer = Framing::JsonLines.framer(4);

        assert!(framer.push(Bytes::from_static(b"[1,2,")).is_none());

        assert!(framer.over_limit());
        assert_eq!(framer.take_tail(), &b"[1,2,"[..]);
        assert_eq!(framer.push(Bytes::from_static(b"3]\n")).as_deref(), Some(&b"3]\n"[..]));
    }
}
