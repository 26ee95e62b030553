//! What a converted chunk takes from the allocator. A test of its own, because it counts for its whole process.

use std::fs;
use std::path::Path;

#[path = "dialect/upstreams.rs"]
mod upstreams;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use dialect::{Correspondence, Dialect, Framing, Identity, Manner, ir};

use crate::upstreams::UPSTREAMS;

/// Recorded streams of server-sent events of an upstream.
fn streams(upstream: Dialect) -> Vec<Vec<u8>> {
    let folder = format!("tests/golden/openai_chat-{}", upstream.label());
    let cases = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("cases");
    cases.filter_map(|case| fs::read(case.expect("a case").path().join("upstream.sse")).ok()).collect()
}

/// A chunk that was converted: its payload, and how many allocations and bytes more than its text it took.
struct Piece {
    payload: String,
    allocations: u64,
    more: u64,
}

/// The chunks of the recorded streams that mean one piece of text each.
fn pieces(upstream: Dialect) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let inbound =
        Dialect::OpenAiChat.codec().client.as_ref().and_then(|client| client.inbound).expect("spoken");
    for stream in streams(upstream) {
        let mut decoder = upstream.codec().upstream.outbound.events(&Correspondence::default());
        let mut encoder = inbound.events(&Manner::default(), &Identity::default());
        let mut events: Vec<ir::Event> = Vec::with_capacity(64);
        let mut out = BytesMut::with_capacity(64 << 10);
        let mut before = "";
        let block = Bytes::from(stream);
        for frame in Framing::Sse.frames(&block) {
            let payload = String::from_utf8_lossy(frame.payload()).into_owned();
            let decoded = measure(|| {
                let _ = decoder.decode(frame, &mut events);
            });
            // Some tell in every chunk what was counted so far.
            let mut telling = events.iter().filter(|event| !matches!(event, ir::Event::Usage(_)));
            let (kind, said) = match (telling.next(), telling.next()) {
                (Some(ir::Event::Text(text)), None) => ("text", text.len()),
                (Some(ir::Event::Thinking(text)), None) => ("thinking", text.len()),
                (Some(ir::Event::ToolArgs { fragment, .. }), None) => ("arguments", fragment.len()),
                _ => ("", 0),
            };
            out.clear();
            out.reserve(32 << 10);
            let encoded = measure(|| events.iter().for_each(|event| encoder.encode(event, &mut out)));
            events.clear();
            // The first piece of a kind sets things up. What stands in escapes is read into a buffer first, and
            // likelihoods and sources are lists of their own, and the last piece brings the reason.
            let lists = [
                "\"logprobs\":{",
                "\"groundingMetadata\"",
                "\"finishReason\"",
                "\"finish_reason\": \"",
                "\"finish_reason\":\"",
            ];
            let plain = !payload.contains('\\') && !lists.iter().any(|list| payload.contains(list));
            if !kind.is_empty() && kind == before && plain {
                let allocations = decoded.count_total + encoded.count_total;
                let more = (decoded.bytes_total + encoded.bytes_total).saturating_sub(said as u64);
                pieces.push(Piece { payload, allocations, more });
            }
            before = kind;
        }
    }
    pieces
}

/// How many allocations a piece may take: that of its text, which the next stage gets.
const ALLOCATIONS: u64 = 1;
/// How many bytes more than its text: the least that the allocator gives.
const MORE: u64 = 8;

#[test]
fn a_converted_chunk_allocates_its_text_and_nothing_else() {
    // Between equal dialects nothing is converted; translations are read as responses are.
    let others = [Dialect::OpenAiChat, Dialect::DoubaoTranslation];
    for upstream in UPSTREAMS.iter().filter(|upstream| !others.contains(upstream)) {
        let pieces = pieces(*upstream);
        assert!(pieces.len() >= 5 || streams(*upstream).len() < 3, "{upstream:?}: {}", pieces.len());

        let worst = pieces.iter().max_by_key(|piece| (piece.allocations, piece.more));
        if let Some(Piece { payload, allocations, more }) = worst {
            assert!(
                *allocations <= ALLOCATIONS && *more <= MORE,
                "{upstream:?}: {allocations} allocations, {more} bytes more than the text of {payload}"
            );
        }
    }
}
