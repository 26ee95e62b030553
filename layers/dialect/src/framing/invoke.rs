//! Takes the events of InvokeModel out of the messages that wrap them in base64, and puts them in.
//!
//! Bedrock's native streams are another dialect's events inside `chunk` messages; padding beside them is ignored.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::Deserialize;

use super::Frame;
use super::event_stream::{self, HeaderValue};
use crate::dialect::Malformed;

/// An event that was wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwrapped {
    json: Vec<u8>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

impl Unwrapped {
    /// The event as a frame, named by its `type` where it has one: Claude's have, Nova's have not.
    pub fn frame(&self) -> Frame<'_> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow, default, rename = "type")]
            kind: &'a str,
        }
        let event = serde_json::from_slice::<Head<'_>>(&self.json).map_or("", |head| head.kind).as_bytes();
        Frame { raw: &self.json, event, data: Some(Cow::Borrowed(&self.json)), ..Frame::default() }
    }
}

/// The event that a message of an invoked model wraps; `None` for exceptions and messages of other kinds, which stand
/// for themselves.
///
/// # Errors
/// A chunk whose bytes cannot be read.
pub fn unwrap_invoke(frame: &Frame<'_>) -> Result<Option<Unwrapped>, Malformed> {
    if frame.exception || frame.event != b"chunk" {
        return Ok(None);
    }
    let chunk: Chunk<'_> = serde_json::from_slice(frame.payload())
        .map_err(|_| Malformed::at("bytes", "a chunk does not hold the bytes of an event"))?;
    let json = STANDARD
        .decode(&*chunk.bytes)
        .map_err(|_| Malformed::at("bytes", "the bytes of a chunk are not base64"))?;
    Ok(Some(Unwrapped { json }))
}

/// Appends the message of an invoked model that wraps an event of its own dialect.
pub fn wrap_invoke(event: &[u8], out: &mut BytesMut) {
    let payload = [&b"{\"bytes\":\""[..], STANDARD.encode(event).as_bytes(), b"\"}"].concat();
    let headers = [
        (":event-type", HeaderValue::String(b"chunk")),
        (":content-type", HeaderValue::String(b"application/json")),
        (":message-type", HeaderValue::String(b"event")),
    ];
    event_stream::encode(&headers, &payload, out);
}

#[cfg(test)]
mod tests {
    use super::super::Framing;
    use super::*;

    #[test]
    fn a_recorded_stream_holds_the_events_of_its_own_dialect() {
        let block = include_bytes!("recorded/invoke.bin");

        let inner: Vec<Unwrapped> = Framing::EventStream
            .frames(block)
            .map(|frame| unwrap_invoke(&frame).expect("readable").expect("wrapped"))
            .collect();

        let names: Vec<_> = inner.iter().map(|event| event.frame().event.to_vec()).collect();
        assert_eq!(names.first().map(Vec::as_slice), Some(&b"message_start"[..]));
        assert_eq!(names.last().map(Vec::as_slice), Some(&b"message_stop"[..]));
        assert!(inner.iter().all(|event| event.frame().payload().starts_with(b"{\"type\":")));
    }

    #[test]
    fn a_wrapped_event_is_unwrapped_as_it_was() {
        let event = b"{\"type\":\"ping\",\"text\":\"\xE6\xBC\xA2\"}";
        let mut out = BytesMut::new();

        wrap_invoke(event, &mut out);

        let block = Framing::EventStream.framer(1 << 10).push(out.freeze()).expect("whole");
        let frame = Framing::EventStream.frames(&block).next().expect("a frame");
        let inner = unwrap_invoke(&frame).expect("readable").expect("wrapped");
        assert_eq!(inner.frame().payload(), event);
        assert_eq!(inner.frame().event, b"ping");
    }

    #[test]
    fn an_event_is_written_as_a_server_sent_one_of_the_same_name() {
        let frame = Frame {
            event: b"chunk",
            data: Some(Cow::Borrowed(br#"{"bytes":"eyJ0eXBlIjoicGluZyJ9","p":"abc"}"#)),
            ..Frame::default()
        };
        let inner = unwrap_invoke(&frame).expect("readable").expect("wrapped");
        let mut out = BytesMut::new();

        Framing::Sse.write(&inner.frame(), true, &mut out);

        assert_eq!(out, &b"event: ping\ndata: {\"type\":\"ping\"}\n\n"[..]);
    }

    #[test]
    fn exceptions_and_other_events_stand_for_themselves() {
        let data = Some(Cow::Borrowed(&b"{\"message\":\"no\"}"[..]));
        let exception = Frame { event: b"chunk", exception: true, data: data.clone(), ..Frame::default() };
        let other = Frame { event: b"metadata", data, ..Frame::default() };

        assert_eq!(unwrap_invoke(&exception), Ok(None));
        assert_eq!(unwrap_invoke(&other), Ok(None));
    }

    #[test]
    fn a_chunk_that_cannot_be_read_is_an_error() {
        for data in [&b"{\"bytes\":\"?\"}"[..], b"{}", b"{\"bytes\":1}", b""] {
            let frame = Frame { event: b"chunk", data: Some(Cow::Borrowed(data)), ..Frame::default() };

            assert!(unwrap_invoke(&frame).is_err(), "{data:?}");
        }
    }
}
