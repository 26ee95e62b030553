//! What is fuzzed: one plain function per decoder. `fuzzed.rs` drives them with mutated recordings on every run of the
//! tests, `make fuzz` with what a fuzzer finds; so nothing here may need another file of the tests.

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use dialect::{
    Asked, Body, Correspondence, Depth, Dialect, Evidence, FetchedMedia, Framing, Identity, Kind, Manner,
    Received, Sighting, frames, ir,
};
use http::{HeaderMap, StatusCode};

/// Reads a whole answer, and writes what it means for every client.
pub(crate) fn whole_answer(dialect: Dialect, bytes: &[u8]) {
    let upstream = &dialect.codec().upstream;
    if let Some(watch) = &upstream.watch {
        let _ = (watch.whole)(bytes, true);
    }
    if let Ok(answer) = upstream.outbound.response(bytes, &Correspondence::default()) {
        for inbound in CLIENTS.iter().filter_map(|client| client.codec().client.as_ref()?.inbound) {
            let written = inbound.response(&answer, &Manner::default(), &Identity::default());
            assert!(is_json(&written), "JSON is written");
        }
        assert_eq!(ir::Response::fold(answer.events()).as_ref(), Ok(&answer), "its events are it");
    }
}

/// Reads a stream of frames that come in pieces, and writes what they mean for every client.
pub(crate) fn streamed_answer(dialect: Dialect, framing: Framing, bytes: &[u8]) {
    let upstream = &dialect.codec().upstream;
    let mut probes: Vec<_> = upstream.watch.iter().map(|watch| (watch.probe)(framing)).collect();
    let mut decoder = upstream.outbound.events(&Correspondence::default());
    let mut events = Vec::new();
    let mut framer = framing.framer(1 << 20);
    let pushed = bytes.chunks(97).filter_map(|piece| framer.push(Bytes::copy_from_slice(piece)));
    let mut blocks: Vec<Bytes> = pushed.collect();
    blocks.push(framer.take_tail());
    'frames: for block in &blocks {
        for frame in framing.frames(block) {
            for probe in &mut probes {
                let _ = probe.observe(frame.clone(), Depth::Opening { want_text: true });
            }
            if decoder.decode(frame, &mut events).is_err() {
                break 'frames;
            }
        }
    }
    decoder.finish(&mut events);
    let count = |wanted: fn(&ir::Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    let choices = count(|event| matches!(event, ir::Event::Choice(_)));
    let finishes = count(|event| matches!(event, ir::Event::Finish { .. }));
    let errors = count(|event| matches!(event, ir::Event::Error(_)));
    assert!(errors <= 1 && finishes <= choices + 1, "an answer ends once, and each candidate does");
    assert!(errors == 0 || finishes == 0, "an answer that failed has no finish");
    let starts = count(|event| matches!(event, ir::Event::ToolStart { .. }));
    let ends = count(|event| matches!(event, ir::Event::ToolEnd { .. }));
    assert!(ends <= starts, "no call ends that did not start");
    for inbound in CLIENTS.iter().filter_map(|client| client.codec().client.as_ref()?.inbound) {
        let mut encoder = inbound.events(&Manner::default(), &Identity::default());
        let mut out = BytesMut::new();
        for event in &events {
            let _ = Sighting::of(event, true);
            encoder.encode(event, &mut out);
        }
        encoder.finish(&mut out);
        for frame in frames(&out).filter(|frame| !frame.is_comment() && frame.payload() != b"[DONE]") {
            assert!(is_json(frame.payload()), "JSON is written");
        }
    }
    let _ = ir::Response::fold(events);
}

/// Reads the body of a failed answer.
pub(crate) fn failed_answer(dialect: Dialect, bytes: &[u8]) {
    let headers = HeaderMap::new();
    let status =
        if bytes.len().is_multiple_of(2) { StatusCode::BAD_REQUEST } else { StatusCode::TOO_MANY_REQUESTS };
    let error = dialect.codec().upstream.outbound.error(status, &headers, bytes);
    assert!(error.message.len() < 64 << 10, "what a client is told is bounded");
    // Evidence is looked for in the same way in every dialect, by many phrases: some inputs are enough.
    if bytes.len().is_multiple_of(8) {
        let body = Body::Json(Bytes::from_static(br#"{"messages":[]}"#));
        let asked = Asked { body: &body, headers: &headers, model: "m" };
        let _ = Evidence::read(&headers, &error, bytes, &asked, SystemTime::UNIX_EPOCH);
    }
}

/// Reads a client's request, and writes it for every upstream.
pub(crate) fn request(client: Dialect, upstreams: &[Dialect], bytes: &[u8]) {
    let body = Body::Json(Bytes::copy_from_slice(bytes));
    let _ = (client.size(Kind::Chat, &body), client.texts(&body, dialect::TextScope::All));
    let _ = client.may_be_silent(&body, client, &Sighting::default());
    let Some(inbound) = client.codec().client.as_ref().and_then(|client| client.inbound) else { return };
    let Ok((request, _)) = inbound.request(Received { body: &body, query: "" }) else { return };
    for upstream in upstreams {
        let model_json = Bytes::from_static(b"\"claude-sonnet-4-5\"");
        let quirks = dialect::Quirks::default();
        let aim = dialect::Aim {
            alias: "m-think",
            model: "claude-sonnet-4-5",
            model_json: &model_json,
            stream: true,
            tools: true,
            image: true,
            ask_usage: false,
            as_json: false,
            betas: &[],
            envelope: &upstream.codec().upstream.envelope,
            quirks: &quirks,
        };
        let write = || upstream.codec().upstream.outbound.request(&request, &aim, &FetchedMedia::default());
        let body = |written: dialect::Written| match written.body {
            dialect::SentBody::Bytes(parts) => parts.concat(),
            dialect::SentBody::Json(_) => panic!("bytes were asked for"),
        };
        if let Ok(written) = write() {
            let written = body(written);
            assert!(is_json(&written), "JSON is written");
            assert_eq!(write().map(body).as_ref(), Ok(&written), "the same request is written the same");
        }
    }
}

/// Cuts a stream into frames, and writes them in every framing.
pub(crate) fn frames_of(framing: Framing, bytes: &[u8]) {
    let mut framer = framing.framer(1 << 16);
    let pushed = bytes.chunks(61).filter_map(|piece| framer.push(Bytes::copy_from_slice(piece)));
    let mut blocks: Vec<Bytes> = pushed.collect();
    blocks.extend(framer.finish());
    for block in &blocks {
        let mut length = 0;
        for frame in framing.frames(block) {
            length += frame.raw.len();
            for other in [Framing::Sse, Framing::JsonLines, Framing::JsonArray, Framing::EventStream] {
                other.write(&frame, true, &mut BytesMut::new());
            }
        }
        assert!(length <= block.len(), "frames are parts of their block");
    }
}

/// The dialects that clients speak.
const CLIENTS: [Dialect; 3] = [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Responses];

/// Whether it is one JSON value, numbers of any length included.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}
