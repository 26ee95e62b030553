//! Nothing that a client or an upstream sends makes a codec panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use dialect::{
    Asked, Body, Correspondence, Depth, Dialect, Evidence, Framing, Identity, Kind, Received, Sighting,
    frames, ir,
};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use crate::kit;

const DIALECTS: [Dialect; 5] =
    [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::CohereV2, Dialect::CohereV1, Dialect::Cloudflare];

/// All recordings of the other tests.
static RECORDINGS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|end| end == "sse" || end == "json") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut found);
    found.sort();
    found.iter().map(|path| fs::read(path).expect("a recording")).collect()
});

/// Puts bytes through everything that reads bytes, and all that comes of it through everything that writes.
fn survive(bytes: &[u8]) {
    let body = Body::Json(Bytes::copy_from_slice(bytes));
    for dialect in DIALECTS {
        let is_watched = dialect.codec().upstream.watch.is_some();
        let _ = is_watched.then(|| kit::whole(dialect, bytes, true));
        let _ = (
            dialect.size(Kind::Chat, &body),
            dialect.texts(&body, dialect::TextScope::All),
            dialect.may_be_silent(&body, dialect, &dialect::Sighting::default()),
        );
        let outbound = kit::outbound(dialect);
        let error = outbound.error(StatusCode::BAD_REQUEST, &HeaderMap::new(), bytes);
        let asked = Asked { body: &body, headers: &HeaderMap::new(), model: "m" };
        let _ = Evidence::read(&HeaderMap::new(), &error, bytes, &asked, SystemTime::UNIX_EPOCH);
        if let Ok(answer) = outbound.response(bytes, &Correspondence::default()) {
            let _ = kit::response(Dialect::OpenAiChat, &answer);
            assert_eq!(ir::Response::fold(answer.events()).as_ref(), Ok(&answer), "its events are it");
        }
        if let Ok(request) = kit::read(Dialect::OpenAiChat, bytes) {
            // Numbers keep their digits, also those that no machine has.
            if let Ok((body, _)) = kit::write_bytes(dialect, &request, "m-think", "claude-sonnet-4-5") {
                assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(), "JSON is written");
            }
        }
        let probe = || is_watched.then(|| kit::probe(dialect));
        let (mut opening, mut relay) = (probe(), probe());
        let mut decoder = outbound.events(&Correspondence::default());
        let mut events = Vec::new();
        let mut framer = Framing::Sse.framer(1 << 20);
        let mut blocks: Vec<Bytes> =
            bytes.chunks(97).filter_map(|c| framer.push(Bytes::copy_from_slice(c))).collect();
        blocks.push(framer.take_tail());
        for frame in blocks.iter().flat_map(|block| frames(block)) {
            if let (Some(opening), Some(relay)) = (&mut opening, &mut relay) {
                let _ = opening.observe(frame.clone(), Depth::Opening { want_text: true });
                let _ = relay.observe(frame.clone(), Depth::Relay);
            }
            if decoder.decode(frame, &mut events).is_err() {
                break;
            }
        }
        decoder.finish(&mut events);
        let choices = events.iter().filter(|event| matches!(event, ir::Event::Choice(_))).count();
        let finishes = events.iter().filter(|event| matches!(event, ir::Event::Finish { .. })).count();
        let errors = events.iter().filter(|event| matches!(event, ir::Event::Error(_))).count();
        assert!(errors <= 1 && finishes <= choices + 1, "an answer ends once, and each candidate does");
        assert!(errors == 0 || finishes == 0, "an answer that failed has no finish");
        let inbound = kit::inbound(Dialect::OpenAiChat);
        let manner = inbound.manner(Received { body: &body, query: "" });
        let mut encoder = inbound.events(&manner, &Identity::default());
        let mut out = BytesMut::new();
        for event in &events {
            let _ = Sighting::of(event, true);
            encoder.encode(event, &mut out);
        }
        encoder.finish(&mut out);
        for frame in frames(&out).filter(|frame| !frame.is_comment() && frame.payload() != b"[DONE]") {
            assert!(serde_json::from_slice::<serde_json::Value>(frame.payload()).is_ok());
        }
        let _ = ir::Response::fold(events);
    }
}

#[test]
fn deep_nesting_is_survived() {
    for opening in ["[", "{\"a\":", "{\"choices\":[{\"delta\":{\"content\":["] {
        survive(opening.repeat(5_000).as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&bytes);
    }

    #[test]
    fn mutated_recordings_are_survived(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..6),
    ) {
        let mut bytes = which.get(&RECORDINGS).clone();
        for (place, change) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match change {
                Change::Byte(byte) => bytes[at] = byte,
                Change::Cut => bytes.truncate(at),
                Change::Insert(text) => drop(bytes.splice(at..at, text.bytes())),
                Change::Value(value) => {
                    // Replaces the value behind the next colon, so that the JSON often stays valid.
                    let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':') else { continue };
                    let from = at + colon + 1;
                    let to = bytes[from..]
                        .iter()
                        .position(|byte| matches!(byte, b',' | b'}' | b'\n'))
                        .map_or(bytes.len(), |length| from + length);
                    bytes.splice(from..to, value.bytes());
                }
            }
        }

        survive(&bytes);
    }
}

#[derive(Clone, Debug)]
enum Change {
    Byte(u8),
    Cut,
    Insert(&'static str),
    Value(&'static str),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<u8>().prop_map(Change::Byte),
        Just(Change::Cut),
        prop::sample::select(vec!["\n\n", "\r", "\"", "{", "}", "data: [DONE]\n\n", "\u{FEFF}", "\\u0000"])
            .prop_map(Change::Insert),
        prop::sample::select(vec![
            "null",
            "[]",
            "{}",
            "\"\"",
            "-1",
            "1e999",
            "18446744073709551616",
            "true",
            "[null]",
            "[[]]",
            "\"x\"",
            "{\"a\":1}",
            "0.5",
            "\"\\ud83d\\ude00\"",
        ])
        .prop_map(Change::Value),
    ]
}
