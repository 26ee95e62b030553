//! The targets of `make fuzz`, one a file of `fuzz/fuzz_targets`: inputs of a fuzzer, whose first bytes choose among the
//! dialects and the framings.

use dialect::{Dialect, Framing};

use super::bodies;
use super::upstreams::UPSTREAMS;

/// A target, by the name of its file.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 5] = [
    ("whole_answer", whole_answer),
    ("streamed_answer", streamed_answer),
    ("failed_answer", failed_answer),
    ("request", request),
    ("frames", frames),
];

/// The framings.
pub(crate) const FRAMINGS: &[Framing] =
    &[Framing::Sse, Framing::JsonLines, Framing::JsonArray, Framing::EventStream];

pub(crate) fn whole_answer(data: &[u8]) {
    if let Some((upstream, data)) = chosen(UPSTREAMS, data) {
        bodies::whole_answer(upstream, data);
    }
}

pub(crate) fn streamed_answer(data: &[u8]) {
    if let Some((upstream, data)) = chosen(UPSTREAMS, data)
        && let Some((framing, data)) = chosen(FRAMINGS, data)
    {
        bodies::streamed_answer(upstream, framing, data);
    }
}

pub(crate) fn failed_answer(data: &[u8]) {
    if let Some((upstream, data)) = chosen(UPSTREAMS, data) {
        bodies::failed_answer(upstream, data);
    }
}

pub(crate) fn request(data: &[u8]) {
    bodies::request(Dialect::OpenAiChat, UPSTREAMS, data);
}

pub(crate) fn frames(data: &[u8]) {
    if let Some((framing, data)) = chosen(FRAMINGS, data) {
        bodies::frames_of(framing, data);
    }
}

/// One of several, by the first byte, and what is behind it.
fn chosen<'d, T: Copy>(of: &[T], data: &'d [u8]) -> Option<(T, &'d [u8])> {
    let (first, rest) = data.split_first()?;
    Some((of[usize::from(*first) % of.len()], rest))
}
