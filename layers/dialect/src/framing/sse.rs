//! Cuts server-sent events out of received buffers and reads their lines.
//!
//! Line ends may be LF, CRLF, CR or a mixture, and buffers may be cut anywhere, also between CR and LF.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memmem};

use super::{Frame, one_line};

/// The place in an event stream where the last buffer ended.
#[derive(Debug)]
pub(super) struct Place {
    /// Nothing came since the last line end.
    blank: bool,
    /// The last byte was a CR, so that a LF now belongs to it.
    after_cr: bool,
}

impl Place {
    /// Behind a blank line, or before anything.
    pub(super) const BETWEEN: Self = Self { blank: true, after_cr: false };

    /// Where the last whole event of `chunk` ends.
    pub(super) fn scan(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        let mut end = None;
        // Two line feeds are a boundary whatever came before them, so the walk starts behind the last pair.
        if let Some(pair) = memmem::rfind(chunk, b"\n\n") {
            at = pair + 2;
            end = Some(at);
            self.blank = true;
            self.after_cr = false;
        }
        while let Some(next) = memchr2(b'\n', b'\r', &chunk[at..]) {
            if next > 0 {
                self.blank = false;
                self.after_cr = false;
            }
            at += next + 1;
            if chunk[at - 1] == b'\n' && self.after_cr {
                self.after_cr = false;
                // The second half of a CRLF that has already ended the event.
                if end == Some(at - 1) {
                    end = Some(at);
                }
                continue;
            }
            self.after_cr = chunk[at - 1] == b'\r';
            if self.blank {
                end = Some(at);
            }
            self.blank = true;
        }
        if at < chunk.len() {
            self.blank = false;
            self.after_cr = false;
        }
        end
    }

    /// Where the event ends that was under way, when it ends in `chunk`.
    pub(super) fn first(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(next) = memchr2(b'\n', b'\r', &chunk[at..]) {
            if next > 0 {
                (self.blank, self.after_cr) = (false, false);
            }
            at += next + 1;
            let cr = chunk[at - 1] == b'\r';
            if !cr && std::mem::take(&mut self.after_cr) {
                continue;
            }
            if self.blank {
                *self = Self::BETWEEN;
                return Some(at + usize::from(cr && chunk.get(at) == Some(&b'\n')));
            }
            (self.blank, self.after_cr) = (true, cr);
        }
        if at < chunk.len() {
            (self.blank, self.after_cr) = (false, false);
        }
        None
    }
}

/// The event of `block` at `place`, which moves behind it. An unterminated last one is given too.
#[inline]
pub(super) fn next<'a>(block: &'a [u8], place: &mut usize) -> Option<Frame<'a>> {
    let start = *place;
    let mut at = start;
    let mut frame = Frame::default();
    let mut any = false;
    if start == 0 && block.starts_with(b"\xEF\xBB\xBF") {
        at = 3;
    }
    while at < block.len() {
        let rest = &block[at..];
        let line = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = match rest.get(line..) {
            Some([b'\r', b'\n', ..]) => line + 2,
            Some([_, ..]) => line + 1,
            _ => line,
        };
        at += end;
        if line > 0 {
            any = true;
            read(&mut frame, &rest[..line]);
        } else if any {
            break;
        }
    }
    if !any {
        *place = at;
        return None;
    }
    // Blank lines at the very end belong to the last event, so that nothing of the block is lost.
    if block[at..].iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
        at = block.len();
    }
    *place = at;
    frame.raw = &block[start..at];
    Some(frame)
}

/// Takes up one line of the event.
#[inline]
fn read<'a>(frame: &mut Frame<'a>, line: &'a [u8]) {
    // Exactly one space behind the colon is syntax; more are data.
    fn value<'v>(line: &'v [u8], field: &[u8]) -> Option<&'v [u8]> {
        match line.strip_prefix(field)? {
            [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
            [] => Some(b""),
            _ => None,
        }
    }
    if let Some(more) = value(line, b"data") {
        match &mut frame.data {
            None => frame.data = Some(Cow::Borrowed(more)),
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(more);
            }
        }
    } else if line[0] == b':' {
        frame.comment = true;
    } else if let Some(name) = value(line, b"event") {
        frame.event = name;
    }
}

/// At the end of the body: the held event with the blank line it lacks, when its data is whole all the same
/// (`[DONE]` or a JSON value).
pub(super) fn completed(tail: &[u8]) -> Option<Bytes> {
    let mut at = 0;
    let whole = std::iter::from_fn(|| next(tail, &mut at)).any(|frame| frame.is_whole());
    if !whole {
        return None;
    }
    let mut completed = BytesMut::with_capacity(tail.len() + 2);
    completed.extend_from_slice(tail);
    completed.extend_from_slice(if tail.ends_with(b"\n") { b"\n" } else { b"\n\n" });
    Some(completed.freeze())
}

/// Appends an event.
pub(super) fn write(event: &[u8], data: &[u8], out: &mut BytesMut) {
    // A name from another framing may hold a line end, which would let it say more than a name.
    if !event.is_empty() && memchr2(b'\n', b'\r', event).is_none() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event);
        out.extend_from_slice(b"\n");
    }
    if memchr2(b'\n', b'\r', data).is_none() {
        line(data, out);
    } else if let Some(data) = one_line(data) {
        // Many clients read line by line and know of one `data:` line only.
        line(&data, out);
    } else {
        let mut rest = data;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            line(&rest[..end], out);
            rest = &rest[end + if rest[end..].starts_with(b"\r\n") { 2 } else { 1 }..];
        }
        line(rest, out);
    }
    out.extend_from_slice(b"\n");
}

fn line(data: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Framing, frames};
    use super::*;

    type Seen = Vec<(Vec<u8>, Option<Vec<u8>>, bool)>;

    fn seen(block: &[u8]) -> Seen {
        frames(block).map(|f| (f.event.to_vec(), f.data.map(Cow::into_owned), f.comment)).collect()
    }

    fn split(stream: &[u8], cuts: &[usize]) -> (Seen, Vec<u8>, Vec<u8>) {
        let mut framer = Framing::Sse.framer(1 << 20);
        let (mut found, mut joined) = (Seen::new(), Vec::new());
        let mut from = 0;
        for &to in cuts.iter().chain([&stream.len()]) {
            if let Some(block) = framer.push(Bytes::copy_from_slice(&stream[from..to])) {
                found.extend(seen(&block));
                joined.extend_from_slice(&block);
            }
            from = to;
        }
        (found, joined, framer.take_tail().to_vec())
    }

    #[test]
    fn a_buffer_of_whole_events_is_given_back_without_a_copy() {
        let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let place = chunk.as_ptr();

        let block = Framing::Sse.framer(64).push(chunk).expect("whole");

        assert_eq!(block.as_ptr(), place);
        assert_eq!(block.len(), 18);
    }

    #[test]
    fn whole_events_before_a_torn_one_are_a_slice_of_the_buffer() {
        let chunk = Bytes::from_static(b"data: 1\r\n\r\ndata: 2\r\n\r\ndata: 3");
        let place = chunk.as_ptr();
        let mut framer = Framing::Sse.framer(64);

        let block = framer.push(chunk).expect("two are whole");

        assert_eq!(block.as_ptr(), place);
        assert_eq!(seen(&block).len(), 2);
        assert_eq!(framer.held(), 7);
    }

    #[test]
    fn a_tail_beyond_the_limit_is_reported() {
        let mut framer = Framing::Sse.framer(4);

        assert!(framer.push(Bytes::from_static(b"data")).is_none());
        assert!(!framer.over_limit());
        assert!(framer.push(Bytes::from_static(b":")).is_none());

        assert!(framer.over_limit());
    }

    #[test]
    fn every_line_end_splits() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = format!(
                "event: a{end}data: 1{end}{end}: hi{end}{end}data:2{end}data:  3{end}id: 7{end}{end}"
            );

            let (found, _, tail) = split(stream.as_bytes(), &[]);

            let expected: Seen = vec![
                (b"a".to_vec(), Some(b"1".to_vec()), false),
                (b"".to_vec(), None, true),
                (b"".to_vec(), Some(b"2\n 3".to_vec()), false),
            ];
            assert_eq!(found, expected, "{end:?}");
            assert_eq!(tail, b"", "{end:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_field() {
        assert_eq!(seen(b"\xEF\xBB\xBFdata: x\n\n"), [(Vec::new(), Some(b"x".to_vec()), false)]);
    }

    #[test]
    fn only_the_prefix_is_removed_from_data() {
        assert_eq!(seen(b"data: data: at\n\n")[0].1.as_deref(), Some(&b"data: at"[..]));
    }

    #[test]
    fn a_last_event_without_its_blank_line_is_completed_and_a_torn_one_dropped() {
        for (tail, whole) in [
            (&b"data: [DONE]"[..], Some(&b"data: [DONE]\n\n"[..])),
            (b"data: {\"a\":1}\n", Some(b"data: {\"a\":1}\n\n")),
            (b"data: {\"a\":", None),
            (b": comment", None),
            (b"", None),
        ] {
            let mut framer = Framing::Sse.framer(64);
            assert_eq!(framer.push(Bytes::copy_from_slice(tail)), None);
            assert_eq!(framer.finish().as_deref(), whole, "{tail:?}");
        }
    }

    #[test]
    fn what_is_behind_a_part_is_divided_where_the_event_ends_wherever_it_is_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let event = format!("event: a{end}data: long{end}data: more{end}{end}");
            let stream = format!("{event}data: next{end}{end}");
            for (part, cut) in
                (1..event.len() - 1).flat_map(|part| (part..stream.len()).map(move |cut| (part, cut)))
            {
                let mut framer = Framing::Sse.framer(4);
                // All of an event is never a part.
                if framer.push(Bytes::copy_from_slice(&stream.as_bytes()[..part])).is_some() {
                    continue;
                }
                let mut first = framer.take_part().to_vec();
                let mut behind = Vec::new();
                for piece in [&stream[part..cut], &stream[cut..]] {
                    let piece = Bytes::copy_from_slice(piece.as_bytes());
                    if behind.is_empty() && first.len() < event.len() {
                        let (rest, more) = framer.rest(piece);
                        first.extend_from_slice(&rest);
                        behind.extend(more.into_iter().flatten());
                    } else {
                        behind.extend_from_slice(&piece);
                    }
                }

                assert_eq!(
                    (first, behind),
                    (event.clone().into_bytes(), stream[event.len()..].into()),
                    "{end:?} {part} {cut}"
                );
            }
        }
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"data: {\"a\":\"b\\n\\n\"}".to_vec()),
            Just(b"data:".to_vec()),
            Just(b"data".to_vec()),
            Just(b"event: x".to_vec()),
            Just(b": comment".to_vec()),
            Just("data: \u{1F600}漢".as_bytes().to_vec()),
            Just(b"\xEF\xBB\xBFdata: 1".to_vec()),
            Just(Vec::new()),
            Just(Vec::new()),
            prop::collection::vec(any::<u8>(), 0..6),
        ]
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let end = prop_oneof![Just(&b"\n"[..]), Just(&b"\r\n"[..]), Just(&b"\r"[..])];
        prop::collection::vec((line(), end), 0..12)
            .prop_map(|lines| lines.iter().flat_map(|(line, end)| [&line[..], end].concat()).collect())
    }

    proptest! {
        #[test]
        fn any_split_of_any_stream_gives_the_same_events(
            stream in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            // A mark at the start of a block that is not the start of the stream is a matter of the cut.
            prop_assume!(memmem::rfind(&stream, b"\xEF\xBB\xBF").is_none_or(|at| at == 0));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();

            let (whole, all, rest) = split(&stream, &[]);
            let (found, joined, tail) = split(&stream, &cuts);
            let bytewise = split(&stream, &(0..stream.len()).collect::<Vec<_>>());

            prop_assert_eq!(&found, &whole);
            prop_assert_eq!(&bytewise.0, &whole);
            prop_assert_eq!([all, rest].concat(), stream.clone());
            prop_assert_eq!([joined, tail].concat(), stream.clone());
            prop_assert_eq!([bytewise.1, bytewise.2].concat(), stream);
        }

        #[test]
        fn frames_lose_no_byte_of_a_block_with_events(block in prop::collection::vec(any::<u8>(), 0..80)) {
            let joined: Vec<u8> = frames(&block).flat_map(|frame| frame.raw.to_vec()).collect();

            prop_assert!(joined == block || (joined.is_empty() && seen(&block).is_empty()));
        }
    }
}
