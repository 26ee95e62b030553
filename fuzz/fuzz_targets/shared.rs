//! What all targets share: the functions that the tests drive too, and the first byte as a choice among several.

#![allow(dead_code)] // Each target uses one of the functions.

#[path = "../../layers/dialect/tests/dialect/bodies.rs"]
pub mod bodies;
#[path = "../../layers/dialect/tests/dialect/upstreams.rs"]
pub mod upstreams;

use dialect::Framing;

pub const FRAMINGS: &[Framing] = &[Framing::Sse, Framing::JsonLines, Framing::JsonArray, Framing::EventStream];

/// One of several, by the first byte, and what is behind it.
pub fn chosen<T: Copy>(of: &[T], data: &[u8]) -> Option<(T, &[u8])> {
    let (first, rest) = data.split_first()?;
    Some((of[usize::from(*first) % of.len()], rest))
}
