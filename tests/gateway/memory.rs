//! What a large request costs: how far it raises the peak of the process's memory.

use serde_json::json;

use crate::harness::*;

/// The length of the picture in the request, in KiB.
const PICTURE: usize = 16 << 10;

/// A request that shows a picture of this many KiB.
fn showing(kib: usize) -> Vec<u8> {
    let picture = format!("data:image/png;base64,{}", "iVBORw0K".repeat(kib << 7));
    let parts =
        json!([{ "type": "image_url", "image_url": { "url": picture } }, { "type": "text", "text": "hi" }]);
    json!({ "model": "m", "messages": [{ "role": "user", "content": parts }] }).to_string().into_bytes()
}

/// How far one large request raises the peak, in KiB, behind small ones.
async fn raised(channel: serde_json::Value) -> usize {
    let gateway = Gateway::start(config([channel])).await;
    for _ in 0..3 {
        gateway.ask(&Ask::raw(showing(1))).await.expect(200);
    }
    let before = gateway.peak_kib();

    gateway.ask(&Ask::raw(showing(PICTURE))).await.expect(200);

    gateway.peak_kib() - before
}

#[tokio::test]
async fn a_large_request_that_passes_through_is_held_once() {
    let upstream = Upstream::always(Script::json(&said("hello"))).await;

    let raised = raised(channel("a", &upstream)).await;

    assert!(raised > PICTURE / 2, "{raised} KiB are too few to be believed");
    assert!(raised <= PICTURE + (4 << 10), "{raised} KiB for {PICTURE}");
}

#[tokio::test]
async fn a_large_request_that_is_converted_is_held_less_than_two_and_a_half_times() {
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{ "type": "text", "text": "hello" }], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 3, "output_tokens": 5 },
    });
    let upstream = Upstream::always(Script::json(&answer)).await;

    let raised = raised(anthropic_channel("a", &upstream)).await;

    assert!(raised > PICTURE / 2, "{raised} KiB are too few to be believed");
    assert!(raised * 2 <= PICTURE * 5, "{raised} KiB for {PICTURE}");
}
