#![no_main]

#[path = "shared.rs"]
mod shared;

use shared::{bodies, chosen, upstreams::UPSTREAMS};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((upstream, data)) = chosen(UPSTREAMS, data) {
        bodies::failed_answer(upstream, data);
    }
});
