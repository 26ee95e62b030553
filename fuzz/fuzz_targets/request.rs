#![no_main]

#[path = "shared.rs"]
mod shared;

use shared::{bodies, upstreams::UPSTREAMS};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::request(dialect::Dialect::OpenAiChat, UPSTREAMS, data);
});
