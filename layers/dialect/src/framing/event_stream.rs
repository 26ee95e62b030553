//! Cuts and writes the binary messages of `application/vnd.amazon.eventstream`.
//!
//! A message is its length, the length of its headers and the checksum of both, then headers, payload and the checksum
//! of it all. Lengths are believed only behind their checksum and below the limit, before anything is held for them.
//! Nothing marks where a message begins, so behind a wrong one nothing can be read.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

pub use super::header::{HeaderValue, headers};
use super::{Frame, header};

/// Both lengths and their checksum.
const PRELUDE: usize = 12;
/// A message without headers and payload.
const LEAST: usize = PRELUDE + 4;

/// Where the last whole message of `chunk` ends when `held` came before it, and what is wrong behind that.
pub(super) fn scan(held: &[u8], chunk: &[u8], limit: usize) -> (Option<usize>, Option<&'static str>) {
    let joined = held.len() + chunk.len();
    let mut at = 0;
    let mut fault = None;
    while joined - at >= PRELUDE {
        let mut prelude = [0; PRELUDE];
        let bytes = held.iter().chain(chunk).skip(at).take(PRELUDE);
        prelude.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
        match length(&prelude, limit) {
            Ok(length) if length <= joined - at => at += length,
            Ok(_) => break,
            Err(wrong) => {
                fault = Some(wrong);
                break;
            }
        }
    }
    // What is held is never a whole message, so the first one ends in `chunk`.
    (if at == 0 { None } else { at.checked_sub(held.len()) }, fault)
}

/// The length that a prelude tells.
fn length(prelude: &[u8; PRELUDE], limit: usize) -> Result<usize, &'static str> {
    let (lengths, checksum) = prelude.split_at(8);
    if crc32fast::hash(lengths).to_be_bytes() != checksum {
        return Err("the checksum of a message's lengths is wrong");
    }
    let (total, headers) = (u32_at(prelude, 0), u32_at(prelude, 4));
    if total < LEAST || headers > total - LEAST {
        return Err("a message's lengths are impossible");
    }
    if total > limit {
        return Err("a message is longer than allowed");
    }
    Ok(total)
}

/// Checks the messages of a block that [`scan`] found.
///
/// # Errors
/// How many bytes are sound, and what is wrong behind them.
pub(super) fn verify(block: &[u8]) -> Result<(), (usize, &'static str)> {
    let mut at = 0;
    while let Some(message) = Message::at(&block[at..]) {
        let (body, checksum) = message.raw.split_at(message.raw.len() - 4);
        if crc32fast::hash(body).to_be_bytes() != checksum {
            return Err((at, "the checksum of a message is wrong"));
        }
        let mut headers = message.headers;
        while !headers.is_empty() {
            header::header(&mut headers).ok_or((at, "the headers of a message cannot be read"))?;
        }
        at += message.raw.len();
    }
    if at == block.len() { Ok(()) } else { Err((at, "a message's lengths are impossible")) }
}

/// A message with its parts.
struct Message<'a> {
    raw: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message that `bytes` begin with; `None` when there is none or its lengths cannot be.
    fn at(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < LEAST {
            return None;
        }
        let raw = bytes.get(..u32_at(bytes, 0))?;
        let inner = raw.get(PRELUDE..raw.len().checked_sub(4)?)?;
        let (headers, payload) = inner.split_at_checked(u32_at(bytes, 4))?;
        Some(Self { raw, headers, payload })
    }
}

/// The message of `block` at `at`, which moves behind it. What cannot be read is an exception without a name.
pub(super) fn next<'a>(block: &'a [u8], at: &mut usize) -> Option<Frame<'a>> {
    let rest = block.get(*at..).filter(|rest| !rest.is_empty())?;
    let Some(message) = Message::at(rest) else {
        *at = block.len();
        return Some(Frame { raw: rest, exception: true, ..Frame::default() });
    };
    *at += message.raw.len();
    let mut frame = Frame { raw: message.raw, ..Frame::default() };
    let (mut told, mut is_odd): (&[u8], bool) = (b"", false);
    for (name, value) in headers(message.headers) {
        match (name, value) {
            (b":event-type" | b":exception-type" | b":error-code", HeaderValue::String(name)) => {
                frame.event = name
            }
            (b":message-type", HeaderValue::String(kind)) => frame.exception = kind != b"event",
            (b":error-message", HeaderValue::String(message)) => told = message,
            // Whatever it is, it does not say that it is an event.
            (b":event-type" | b":message-type", _) => is_odd = true,
            _ => {}
        }
    }
    frame.exception |= is_odd;
    if !message.payload.is_empty() {
        frame.data = Some(Cow::Borrowed(message.payload));
    } else if !told.is_empty() {
        // Errors that are not modelled have no payload; readers need to know one shape only.
        let told = String::from_utf8_lossy(told);
        frame.data = Some(Cow::Owned(serde_json::json!({ "message": told }).to_string().into_bytes()));
    }
    Some(frame)
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4].iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte))
}

/// Appends a frame as an event or an exception.
pub(super) fn write(frame: &Frame<'_>, data: &[u8], out: &mut BytesMut) {
    let (name, kind) =
        if frame.exception { (":exception-type", &b"exception"[..]) } else { (":event-type", &b"event"[..]) };
    let event = if frame.event.is_empty() { &b"chunk"[..] } else { frame.event };
    let headers = [
        (name, HeaderValue::String(event)),
        (":content-type", HeaderValue::String(b"application/json")),
        (":message-type", HeaderValue::String(kind)),
    ];
    encode(&headers, data, out);
}

/// Appends a message. A header whose name or value is too long to be told is left out.
pub fn encode(headers: &[(&str, HeaderValue<'_>)], payload: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, PRELUDE);
    for &(name, value) in headers {
        let before = out.len();
        if header::put(name, value, out).is_none() {
            out.truncate(before);
        }
    }
    let headers = out.len() - start - PRELUDE;
    out.put_slice(payload);
    let total = out.len() - start + 4;
    for (at, length) in [(0, total), (4, headers)] {
        let length = u32::try_from(length).expect("answers are bounded far below four gigabytes");
        out[start + at..start + at + 4].copy_from_slice(&length.to_be_bytes());
    }
    let checksum = crc32fast::hash(&out[start..start + 8]);
    out[start + 8..start + PRELUDE].copy_from_slice(&checksum.to_be_bytes());
    out.put_u32(crc32fast::hash(&out[start..]));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Framing;
    use super::*;

    const RECORDED: &[u8] = include_bytes!("recorded/converse.bin");

    fn message(headers: &[(&str, HeaderValue<'_>)], payload: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        encode(headers, payload, &mut out);
        out.freeze()
    }

    /// A message with right checksums and these lengths.
    fn with_lengths(total: u32, headers: u32) -> Bytes {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.into()
    }

    #[test]
    fn a_recorded_stream_is_read_by_event_type() {
        let block = Framing::EventStream.framer(1 << 16).push(Bytes::from_static(RECORDED)).expect("whole");

        let frames: Vec<_> = Framing::EventStream.frames(&block).collect();

        let names: Vec<_> = frames.iter().map(|frame| String::from_utf8_lossy(frame.event)).collect();
        let expected = ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];
        assert_eq!(names, expected);
        assert!(frames.iter().all(|frame| !frame.exception && frame.payload().starts_with(b"{\"")));
    }

    #[test]
    fn a_recorded_stream_is_written_again_byte_for_byte() {
        let mut out = BytesMut::new();

        for frame in Framing::EventStream.frames(RECORDED) {
            assert!(Framing::EventStream.write(&frame, false, &mut out));
        }

        assert_eq!(out, RECORDED);
    }

    #[test]
    fn every_flipped_bit_of_a_stream_is_found_and_nothing_behind_it_is_given() {
        let first = u32_at(RECORDED, 0);
        let sample = &RECORDED[..first + u32_at(RECORDED, first)];
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut framer = Framing::EventStream.framer(1 << 16);

            let given = framer.push(flipped.into()).map_or(0, |block| block.len());
            let more = framer.push(Bytes::from_static(RECORDED));

            assert_eq!(given, if bit / 8 < first { 0 } else { first }, "bit {bit}");
            assert_eq!((more, framer.held()), (None, 0));
            assert!(framer.fault().expect("found").contains("checksum"), "bit {bit}");
        }
    }

    #[test]
    fn every_kind_of_header_is_read_as_it_was_written() {
        let sent = [
            ("yes", HeaderValue::Bool(true)),
            ("no", HeaderValue::Bool(false)),
            ("byte", HeaderValue::Byte(-1)),
            ("short", HeaderValue::Short(-2)),
            ("int", HeaderValue::Int(-3)),
            ("long", HeaderValue::Long(4_294_967_294)),
            ("bytes", HeaderValue::Bytes(b"\x00\xFF")),
            ("string", HeaderValue::String("ü".as_bytes())),
            ("timestamp", HeaderValue::Timestamp(1_730_384_114_000)),
            ("uuid", HeaderValue::Uuid([7; 16])),
        ];

        let bytes = message(&sent, b"{}");

        let message = Message::at(&bytes).expect("a message");
        let read: Vec<_> = headers(message.headers).collect();
        assert_eq!(read, sent.map(|(name, value)| (name.as_bytes(), value)));
        assert_eq!(message.payload, b"{}");
        assert_eq!(verify(&bytes), Ok(()));
    }

    #[test]
    fn an_exception_is_told_apart_from_an_event() {
        let bytes = message(
            &[
                (":exception-type", HeaderValue::String(b"throttlingException")),
                (":message-type", HeaderValue::String(b"exception")),
            ],
            b"{\"message\":\"slow down\"}",
        );

        let frame = Framing::EventStream.frames(&bytes).next().expect("a frame");

        assert!(frame.exception);
        assert_eq!(frame.event, b"throttlingException");
        assert_eq!(frame.payload(), b"{\"message\":\"slow down\"}");
    }

    #[test]
    fn an_error_without_payload_tells_its_message_as_exceptions_do() {
        let bytes = message(
            &[
                (":message-type", HeaderValue::String(b"error")),
                (":error-code", HeaderValue::String(b"InternalError")),
                (":error-message", HeaderValue::String(b"an \"odd\" one")),
            ],
            b"",
        );

        let frame = Framing::EventStream.frames(&bytes).next().expect("a frame");

        assert!(frame.exception);
        assert_eq!(frame.event, b"InternalError");
        assert_eq!(frame.payload(), br#"{"message":"an \"odd\" one"}"#);
    }

    #[test]
    fn lengths_that_cannot_be_are_reported_before_anything_is_held() {
        for (total, headers, fault) in [
            (15, 0, "a message's lengths are impossible"),
            (u32::MAX, u32::MAX, "a message's lengths are impossible"),
            (100, 85, "a message's lengths are impossible"),
            (u32::MAX, 0, "a message is longer than allowed"),
            (1025, 0, "a message is longer than allowed"),
        ] {
            let mut framer = Framing::EventStream.framer(1024);

            assert_eq!(framer.push(with_lengths(total, headers)), None);

            assert_eq!((framer.fault(), framer.held()), (Some(fault), 0), "{total} {headers}");
        }
    }

    #[test]
    fn headers_that_cannot_be_read_are_reported() {
        for headers in [&b"\x01a\x0A"[..], b"\x01a\x07\x00\x09x", b"\x09abc", b"\x01a"] {
            // The encoder writes none of these, so they are put where a payload would be.
            let mut bytes = message(&[], headers).to_vec();
            bytes[4..8].copy_from_slice(&u32::try_from(headers.len()).expect("short").to_be_bytes());
            let checksum = crc32fast::hash(&bytes[..8]).to_be_bytes();
            bytes[8..12].copy_from_slice(&checksum);
            let end = bytes.len() - 4;
            let checksum = crc32fast::hash(&bytes[..end]).to_be_bytes();
            bytes[end..].copy_from_slice(&checksum);
            let mut framer = Framing::EventStream.framer(1024);

            assert_eq!(framer.push(bytes.into()), None, "{headers:?}");

            assert_eq!(framer.fault(), Some("the headers of a message cannot be read"));
        }
    }

    #[test]
    fn a_torn_last_message_is_reported_at_the_end() {
        let mut framer = Framing::EventStream.framer(1024);
        assert!(framer.push(Bytes::from_static(&RECORDED[..RECORDED.len() - 1])).is_some());
        assert_eq!(framer.fault(), None);

        assert_eq!(framer.finish(), None);

        assert_eq!(framer.fault(), Some("the last message is torn"));
    }

    #[test]
    fn a_header_that_is_too_long_to_be_told_is_left_out() {
        let (long, name) = (vec![b'x'; 1 << 16], "n".repeat(256));

        let bytes = message(&[("a", HeaderValue::String(&long)), (&name, HeaderValue::Byte(1))], b"{}");

        assert_eq!(bytes.len(), LEAST + 2);
        assert_eq!(verify(&bytes), Ok(()));
    }
}
