//! Cuts a JSON array that comes bit by bit into its elements.
//!
//! A walk over brackets, commas and strings, which may be cut anywhere; whether an element is JSON is found out by who
//! reads it. A comma belongs to the element behind it and white space to what stands before it, so that a stream can be
//! ended behind any frame, and so that the closing bracket waits for nothing.

use std::borrow::Cow;

use memchr::memchr2;

use super::{Frame, white_space};

/// The place in an array where the last buffer ended.
#[derive(Debug)]
pub(super) struct Place {
    part: Part,
    /// There is no array: the body is one object, as errors are.
    bare: bool,
}

/// The part that has come last.
#[derive(Debug)]
enum Part {
    Nothing,
    Open,
    Comma,
    Inside(Value),
    Element,
    End,
}

/// A value that has begun.
#[derive(Debug, Default)]
struct Value {
    depth: usize,
    in_string: bool,
    /// A backslash has come, and what it escapes has not.
    escaped: bool,
}

impl Place {
    /// Before anything.
    pub(super) const START: Self = Self { part: Part::Nothing, bare: false };

    /// Where the last whole element of `chunk` ends, and what is wrong behind that.
    pub(super) fn scan(&mut self, chunk: &[u8]) -> (Option<usize>, Option<&'static str>) {
        let mut at = 0;
        let mut end = None;
        while at < chunk.len() {
            if let Part::Inside(value) = &mut self.part {
                let Some(length) = value.scan(&chunk[at..]) else { break };
                at += length;
                end = Some(at);
                self.part = if self.bare { Part::End } else { Part::Element };
                continue;
            }
            let blank = white_space(&chunk[at..]);
            if blank > 0 {
                at += blank;
                if matches!(self.part, Part::Element | Part::End) {
                    end = Some(at);
                }
                continue;
            }
            self.part = match (&self.part, chunk[at]) {
                (Part::Nothing, b'[') => Part::Open,
                (Part::Nothing, b'{') => {
                    self.bare = true;
                    self.part = Part::Inside(Value::default());
                    continue;
                }
                (Part::Nothing, _) => return (end, Some("it is no JSON array")),
                (Part::Open | Part::Element, b']') => {
                    end = Some(at + 1);
                    Part::End
                }
                (Part::Element, b',') => Part::Comma,
                (Part::Element, _) => return (end, Some("a comma is missing between two elements")),
                (Part::End, _) => return (end, Some("more follows the end of the array")),
                (_, b',' | b']' | b'}' | b':') => return (end, Some("an element is missing")),
                _ => {
                    self.part = Part::Inside(Value::default());
                    continue;
                }
            };
            at += 1;
        }
        (end, None)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.part, Part::End)
    }
}

impl Value {
    /// Where the value ends in `bytes`, if it does. A number is known to end only by what follows it.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if self.escaped {
                bytes.get(at)?;
                self.escaped = false;
                at += 1;
            }
            if self.in_string {
                at += memchr2(b'"', b'\\', &bytes[at..])? + 1;
                if bytes[at - 1] == b'\\' {
                    self.escaped = true;
                    continue;
                }
                self.in_string = false;
                if self.depth == 0 {
                    return Some(at);
                }
            }
            match bytes.get(at)? {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => return Some(at),
                _ => {}
            }
            at += 1;
        }
    }
}

/// The element of `block` at `at`, which moves behind it; the closing bracket is a frame without data.
pub(super) fn next<'a>(block: &'a [u8], at: &mut usize) -> Option<Frame<'a>> {
    let start = *at;
    if start >= block.len() {
        return None;
    }
    let behind_blank = |at: usize| at + white_space(&block[at..]);
    let mut from = behind_blank(start);
    if matches!(block.get(from), Some(b'[' | b',')) {
        from = behind_blank(from + 1);
    }
    let data = match block.get(from) {
        None => {
            *at = block.len();
            None
        }
        Some(b']') => {
            *at = behind_blank(from + 1);
            None
        }
        Some(_) => {
            let end = Value::default().scan(&block[from..]).map_or(block.len(), |length| from + length);
            *at = behind_blank(end);
            Some(Cow::Borrowed(&block[from..end]))
        }
    };
    Some(Frame { raw: &block[start..*at], comment: data.is_none(), data, ..Frame::default() })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Framer, Framing};
    use super::*;

    fn elements(block: &[u8]) -> Vec<Vec<u8>> {
        Framing::JsonArray.frames(block).filter_map(|frame| frame.data.map(Cow::into_owned)).collect()
    }

    fn push(framer: &mut Framer, chunk: &'static [u8]) -> Vec<Vec<u8>> {
        framer.push(Bytes::from_static(chunk)).map(|block| elements(&block)).unwrap_or_default()
    }

    #[test]
    fn a_recorded_array_has_an_element_for_each_answer() {
        let stream = include_bytes!("recorded/gemini.json");
        let mut framer = Framing::JsonArray.framer(1 << 16);

        let block = framer.push(Bytes::from_static(stream)).expect("whole");

        assert_eq!(block, &stream[..]);
        assert_eq!(elements(&block).len(), 2);
        for element in elements(&block) {
            let answer: serde_json::Value = serde_json::from_slice(&element).expect("JSON");
            assert!(answer["candidates"].is_array());
        }
        assert_eq!((framer.finish(), framer.fault()), (None, None));
    }

    #[test]
    fn an_element_comes_without_waiting_for_the_comma_behind_it() {
        let mut framer = Framing::JsonArray.framer(64);

        assert_eq!(push(&mut framer, b"[{\"a\":\"}{]\\"), [b""; 0]);
        assert_eq!(push(&mut framer, b"\"\"}"), [b"{\"a\":\"}{]\\\"\"}"]);
        assert_eq!(push(&mut framer, b"\n,\r\n{\"b\":[[]]}"), [b"{\"b\":[[]]}"]);
        assert_eq!(framer.held(), 0);
    }

    #[test]
    fn whole_elements_before_a_torn_one_are_a_slice_of_the_buffer() {
        let chunk = Bytes::from_static(b"[{\"a\":1},{\"b\":2},{\"c\"");
        let place = chunk.as_ptr();
        let mut framer = Framing::JsonArray.framer(64);

        let block = framer.push(chunk).expect("two are whole");

        assert_eq!(block.as_ptr(), place);
        assert_eq!(elements(&block).len(), 2);
        assert_eq!(framer.held(), 5);
    }

    #[test]
    fn the_closing_bracket_is_a_frame_of_its_own() {
        let raw: Vec<_> = Framing::JsonArray.frames(b"[{} , 2\n]\n").map(|frame| frame.raw).collect();

        assert_eq!(raw, [&b"[{} "[..], b", 2\n", b"]\n"]);
        assert!(Framing::JsonArray.frames(b"]").all(|frame| frame.is_comment()));
    }

    #[test]
    fn white_space_that_keeps_the_connection_busy_is_not_held() {
        let mut framer = Framing::JsonArray.framer(64);
        assert_eq!(push(&mut framer, b"[{}"), [b"{}"]);

        let busy = framer.push(Bytes::from_static(b"\n ")).expect("given back");

        assert!(Framing::JsonArray.frames(&busy).all(|frame| frame.is_comment()));
        assert_eq!((&busy[..], framer.held()), (&b"\n "[..], 0));
    }

    #[test]
    fn an_object_instead_of_an_array_is_one_frame() {
        let mut framer = Framing::JsonArray.framer(64);

        assert_eq!(push(&mut framer, b"\n{\"error\":{\"code\":400}}\n"), [b"{\"error\":{\"code\":400}}"]);

        assert_eq!((framer.finish(), framer.fault()), (None, None));
    }

    #[test]
    fn what_is_no_array_is_reported_with_what_came_before_it() {
        for (stream, before, fault) in [
            (&b"<html>"[..], 0, "it is no JSON array"),
            (b"[{}]x", 1, "more follows the end of the array"),
            (b"{} {}", 1, "more follows the end of the array"),
            (b"[{} {}]", 1, "a comma is missing between two elements"),
            (b"[,{}]", 0, "an element is missing"),
            (b"[{},]", 1, "an element is missing"),
        ] {
            let mut framer = Framing::JsonArray.framer(64);

            assert_eq!(push(&mut framer, stream).len(), before, "{stream:?}");
            assert_eq!(framer.fault(), Some(fault), "{stream:?}");
            assert_eq!(framer.push(Bytes::from_static(b"[{}]")), None);
            assert_eq!((framer.finish(), framer.fault()), (None, Some(fault)));
        }
    }

    #[test]
    fn an_array_that_is_not_closed_is_reported_at_its_end() {
        for stream in [&b"[{}"[..], b"[{},", b"[{\"a\":", b"[", b""] {
            let mut framer = Framing::JsonArray.framer(64);
            push(&mut framer, stream);

            assert_eq!(framer.fault(), None);
            assert_eq!(framer.finish(), None);
            assert_eq!(framer.fault(), Some("the array is not closed"), "{stream:?}");
        }
    }

    #[test]
    fn an_element_beyond_the_limit_is_reported_and_not_held() {
        let mut framer = Framing::JsonArray.framer(8);

        assert_eq!(push(&mut framer, b"[1,2,3,4,5,6,\"7"), [b"1", b"2", b"3", b"4", b"5", b"6"]);
        assert_eq!(push(&mut framer, b"1234567"), [b""; 0]);

        assert_eq!(framer.fault(), Some("a frame is longer than allowed"));
        assert_eq!(framer.held(), 0);
    }
}
