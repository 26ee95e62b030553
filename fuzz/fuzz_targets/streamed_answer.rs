#![no_main]

#[path = "shared.rs"]
mod shared;

use shared::{bodies, chosen, upstreams::UPSTREAMS, FRAMINGS};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((upstream, data)) = chosen(UPSTREAMS, data)
        && let Some((framing, data)) = chosen(FRAMINGS, data)
    {
        bodies::streamed_answer(upstream, framing, data);
    }
});
