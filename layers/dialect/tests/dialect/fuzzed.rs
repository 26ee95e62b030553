//! Twenty thousand mutated recordings for every decoder: nothing that a client or an upstream sends makes one panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use dialect::{Dialect, Framing};

use crate::bodies;
use crate::golden;
use crate::kit::UPSTREAMS;
use crate::targets::{FRAMINGS, TARGETS};

const INPUTS: usize = 20_000;
/// What a mutated input begins as. Short ones are mutated in more ways in the same time.
const LONGEST: usize = 700;
const SEEDS: usize = 24;

/// Numbers that are the same in every run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() % bound.max(1)
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

const WORDS: [&[u8]; 14] = [
    b"\n\n",
    b"\r",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"data: [DONE]\n\n",
    b"\xEF\xBB\xBF",
    b"\\u0000",
    b"\\ud83d",
    b"\xFF",
    b"event: error\n",
];

const VALUES: [&[u8]; 14] = [
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"true",
    b"[null]",
    b"[[]]",
    b"\"x\"",
    b"{\"a\":1}",
    b"0.5",
    b"\"\\ud83d\\ude00\"",
];

/// A recording with a few things wrong in it.
fn mutated(seeds: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = seeds[draw.below(seeds.len())].clone();
    for _ in 0..=draw.below(5) {
        let at = draw.below(bytes.len());
        match draw.below(8) {
            0 if !bytes.is_empty() => bytes[at] = draw.next() as u8,
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, draw.one(&WORDS).iter().copied())),
            3 => {
                // A part of another recording.
                let other = &seeds[draw.below(seeds.len())];
                let from = draw.below(other.len());
                let to = (from + draw.below(80)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            4 => {
                // A part twice, or not at all.
                let to = (at + draw.below(80)).min(bytes.len());
                let part = if draw.below(2) == 0 { Vec::new() } else { bytes[at..to].repeat(2) };
                bytes.splice(at..to, part);
            }
            // The value behind the next colon, so that the JSON often stays valid.
            _ => {
                let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':') else { continue };
                let from = at + colon + 1;
                let end = bytes[from..].iter().position(|byte| matches!(byte, b',' | b'}' | b'\n'));
                let to = end.map_or(bytes.len(), |length| from + length);
                bytes.splice(from..to, draw.one(&VALUES).iter().copied());
            }
        }
    }
    bytes
}

/// Puts mutated seeds through a decoder.
fn drive(what: &str, seeds: &[Vec<u8>], body: impl Fn(&[u8])) {
    assert!(!seeds.is_empty(), "{what}: nothing to begin with");
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    for turn in 0..INPUTS {
        let input = mutated(seeds, &mut draw);
        if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
            panic!("{what}, input {turn}: {}", input.escape_ascii());
        }
    }
}

/// The shortest recordings of a dialect of one sort, each up to a length.
fn seeds(upstream: Dialect, mut wanted: impl FnMut(&golden::Case) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let cases = golden::cases();
    // Nobody has recorded its answers, which are those of another in all but name.
    let upstream = match upstream {
        Dialect::DoubaoTranslation => Dialect::Responses,
        other => other,
    };
    let mut found: Vec<Vec<u8>> = cases
        .iter()
        .filter(|case| case.upstream == upstream && case.client == Dialect::OpenAiChat)
        .filter_map(&mut wanted)
        .collect();
    found.sort_by_key(Vec::len);
    found.dedup();
    // Some of every length.
    let step = found.len().div_ceil(SEEDS).max(1);
    found
        .into_iter()
        .step_by(step)
        .map(|mut seed| {
            seed.truncate(LONGEST);
            seed
        })
        .collect()
}

fn for_every_upstream(body: impl Fn(Dialect) + Sync) {
    thread::scope(|scope| {
        for upstream in UPSTREAMS {
            let body = &body;
            scope.spawn(move || body(*upstream));
        }
    });
}

#[test]
fn mutated_whole_answers_make_no_decoder_panic() {
    for_every_upstream(|upstream| {
        let seeds =
            seeds(upstream, |case| (case.is_answer() && case.coming().is_none()).then(|| case.answer()));
        drive(upstream.label(), &seeds, |input| bodies::whole_answer(upstream, input));
    });
}

#[test]
fn mutated_streams_make_no_decoder_panic() {
    for_every_upstream(|upstream| {
        // In events of any dialect, so that mutations hit what the decoder reads.
        let seeds = seeds(upstream, |case| Some(case.coming()?.as_sse(&case.answer())));
        drive(upstream.label(), &seeds, |input| bodies::streamed_answer(upstream, Framing::Sse, input));
    });
}

#[test]
fn mutated_bodies_of_failures_make_no_decoder_panic() {
    for_every_upstream(|upstream| {
        let mut seeds = seeds(upstream, |case| (!case.is_answer()).then(|| case.answer()));
        seeds.iter_mut().for_each(|seed| seed.truncate(300));
        seeds.push(b"<html><body>502 Bad Gateway</body></html>".to_vec());
        seeds.push(br#"{"error":{"message":"m","type":"t","code":"c","param":null}}"#.to_vec());
        drive(upstream.label(), &seeds, |input| bodies::failed_answer(upstream, input));
    });
}

#[test]
fn mutated_requests_make_no_codec_panic_and_are_written_alike_each_time() {
    for_every_upstream(|upstream| {
        let seeds = seeds(upstream, |case| Some(compact(&case.request())));
        drive(upstream.label(), &seeds, |input| bodies::request(Dialect::OpenAiChat, &[upstream], input));
    });
}

#[test]
fn mutated_requests_of_messages_clients_make_no_codec_panic_and_are_written_alike_each_time() {
    for_every_upstream(|upstream| {
        let of_messages = golden::cases().into_iter().filter(|case| case.client == Dialect::Anthropic);
        let mut seeds: Vec<Vec<u8>> = of_messages.map(|case| compact(&case.request())).collect();
        seeds.sort_by_key(Vec::len);
        seeds.truncate(SEEDS);
        seeds.iter_mut().for_each(|seed| seed.truncate(LONGEST));
        drive(upstream.label(), &seeds, |input| bodies::request(Dialect::Anthropic, &[upstream], input));
    });
}

#[test]
fn mutated_requests_of_responses_clients_make_no_codec_panic_and_are_written_alike_each_time() {
    for_every_upstream(|upstream| {
        let of_responses = golden::cases().into_iter().filter(|case| case.client == Dialect::Responses);
        let mut seeds: Vec<Vec<u8>> = of_responses.map(|case| compact(&case.request())).collect();
        seeds.sort_by_key(Vec::len);
        seeds.truncate(SEEDS);
        seeds.iter_mut().for_each(|seed| seed.truncate(LONGEST));
        drive(upstream.label(), &seeds, |input| bodies::request(Dialect::Responses, &[upstream], input));
    });
}

fn compact(json: &[u8]) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    value.to_string().into_bytes()
}

#[test]
fn mutated_streams_make_no_framing_panic() {
    thread::scope(|scope| {
        for framing in FRAMINGS.iter().copied() {
            scope.spawn(move || {
                let mut seeds: Vec<Vec<u8>> = Vec::new();
                for case in golden::cases() {
                    let Some(coming) = case.coming() else { continue };
                    let mut out = bytes::BytesMut::from(framing.open());
                    let mut first = true;
                    coming.play(&case.answer(), &[], |frame| {
                        if out.len() < LONGEST {
                            first &= !framing.write(&frame, first, &mut out);
                        }
                    });
                    out.extend_from_slice(framing.close());
                    seeds.push(out.to_vec());
                }
                seeds.sort_by_key(Vec::len);
                seeds.truncate(SEEDS);
                drive(&format!("{framing:?}"), &seeds, |input| bodies::frames_of(framing, input));
            });
        }
    });
}

#[test]
fn every_target_of_the_fuzzer_is_a_file_and_takes_every_choice_of_its_first_bytes() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let names = std::fs::read_dir(&folder).expect("the targets are there").map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().trim_end_matches(".rs").to_owned()
    });
    let mut names: Vec<String> = names.filter(|name| name != "shared").collect();
    names.sort();
    let mut known = TARGETS.map(|(name, _)| name);
    known.sort_unstable();
    assert_eq!(names, known);

    for (name, target) in TARGETS {
        let body = std::fs::read_to_string(folder.join(name).with_extension("rs")).expect("text");
        assert!(body.contains(&format!("shared::targets::{name}(data)")), "{name}");
        target(b"");
        for first in 0..=u8::MAX {
            target(&[first, first, b'{', b'}']);
        }
    }
}
