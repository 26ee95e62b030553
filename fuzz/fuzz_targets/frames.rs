#![no_main]

#[path = "shared.rs"]
mod shared;

use shared::{bodies, chosen, FRAMINGS};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((framing, data)) = chosen(FRAMINGS, data) {
        bodies::frames_of(framing, data);
    }
});
