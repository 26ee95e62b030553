//! Streams in pieces: how a network may cut them, and what a framer makes of the pieces.

use std::collections::BTreeSet;

use bytes::Bytes;
use dialect::{Frame, Framing};

/// Length up to which a stream is cut behind every byte.
const SHORT: usize = 4096;
/// How many times a longer stream is played for its boundaries, and for places drawn at random.
const PLAYS: usize = 64;

/// Gives the events of a stream that comes in pieces to `see`.
pub(crate) fn play(stream: &[u8], cuts: &[usize], see: impl FnMut(Frame<'_>)) {
    play_as(Framing::Sse, stream, cuts, see);
}

/// Gives the frames of a stream that comes in pieces to `see`.
pub(crate) fn play_as(framing: Framing, stream: &[u8], cuts: &[usize], mut see: impl FnMut(Frame<'_>)) {
    let mut framer = framing.framer(1 << 20);
    let mut from = 0;
    for to in cuts.iter().copied().chain([stream.len()]) {
        if let Some(block) = framer.push(Bytes::copy_from_slice(&stream[from..to])) {
            framing.frames(&block).for_each(&mut see);
        }
        from = to;
    }
    if let Some(block) = framer.finish() {
        framing.frames(&block).for_each(&mut see);
    }
}

/// A few ways to cut a stream, for tests that play many: its boundaries dealt out to some plays, places drawn at
/// random, and byte by byte.
pub(crate) fn few(framing: Framing, stream: &[u8]) -> Vec<Vec<usize>> {
    const FEW: usize = 16;
    let mut found = boundaries_of(framing, stream);
    found.extend(drawn(stream.len()).step_by(4));
    let mut dealt = vec![Vec::new(); FEW];
    found.into_iter().zip((0..FEW).cycle()).for_each(|(cut, play)| dealt[play].push(cut));
    dealt.push((1..stream.len()).collect());
    dealt
}

/// The ways to cut a stream, each a list of places. A short one is cut once behind every byte. In a longer one that
/// would cost the square of its length, so its boundaries are dealt out to a fixed number of plays; neighbours come
/// into different ones, so that the pieces stay long. Last of all it comes byte by byte.
pub(crate) fn ways(stream: &[u8]) -> Vec<Vec<usize>> {
    let every = 1..stream.len();
    let mut ways: Vec<Vec<usize>> = if stream.len() < SHORT {
        every.clone().map(|cut| vec![cut]).collect()
    } else {
        let mut dealt = vec![Vec::new(); PLAYS];
        boundaries(stream).into_iter().zip((0..PLAYS).cycle()).for_each(|(cut, play)| dealt[play].push(cut));
        dealt.extend(drawn(stream.len()).map(|cut| vec![cut]));
        dealt
    };
    ways.push(every.collect());
    ways
}

/// Where a cut may hurt: before, within and behind line ends, one byte around the end of each event, and within
/// characters of several bytes.
fn boundaries(stream: &[u8]) -> BTreeSet<usize> {
    boundaries_of(Framing::Sse, stream)
}

fn boundaries_of(framing: Framing, stream: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for (at, byte) in stream.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => found.extend([at, at + 1]),
            0x80..0xC0 => _ = found.insert(at),
            _ => {}
        }
    }
    let mut end = 0;
    for frame in framing.frames(stream) {
        end += frame.raw.len();
        found.extend([end - 1, end, end + 1]);
    }
    found.retain(|cut| (1..stream.len()).contains(cut));
    found
}

/// Places that are the same in every run.
fn drawn(length: usize) -> impl Iterator<Item = usize> {
    // A Weyl sequence: steps of the golden ratio, which never fall into a pattern.
    (1..=PLAYS as u64).map(move |step| {
        let share = step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        1 + ((share as usize * (length - 1)) >> 32)
    })
}

/// Forty letters in each of `events` events, with every kind of line end and a character of two bytes.
fn example(events: usize) -> Vec<u8> {
    let ends = ["\n\n", "\r\n\r\n", "\r\r"];
    (0..events).flat_map(|n| format!("data: {n:0>38}ü{}", ends[n % 3]).into_bytes()).collect()
}

#[test]
fn a_short_stream_is_cut_behind_every_byte() {
    let stream = example(5);

    let ways = ways(&stream);

    for cut in 1..stream.len() {
        assert!(ways.contains(&vec![cut]), "{cut}");
    }
}

#[test]
fn a_long_stream_is_cut_at_every_boundary() {
    let stream = example(1000);

    let cuts: BTreeSet<usize> = ways(&stream).into_iter().rev().skip(1).flatten().collect();

    for (at, pair) in stream.windows(2).enumerate() {
        let behind = at + 1;
        let within = pair == "ü".as_bytes() || pair == b"\r\n";
        let line_end = matches!(pair[0], b'\r' | b'\n') || matches!(pair[1], b'\r' | b'\n');
        assert!(!(within || line_end) || cuts.contains(&behind), "{behind}");
    }
    assert!(cuts.contains(&(example(1).len() + 1)), "one byte behind an event");
}

#[test]
fn the_number_of_plays_does_not_grow_with_a_long_stream() {
    let (long, longer) = (example(100), example(1000));

    assert_eq!(ways(&long).len(), ways(&longer).len());
    assert!(ways(&longer).len() < 150);
}
