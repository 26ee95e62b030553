//! Recorded streams of OpenAI's dialect by many providers: what a probe sees in them, and what a decoder reads.
//!
//! `tests/streams/<case>/stream.sse` is a recording, `seen.json` what it tells. `GOLDEN_BLESS=1` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};

use dialect::{Correspondence, Depth, Dialect, Sighting, frames, ir};
use serde_json::{Value, json};

use crate::cuts::{play, ways};
use crate::kit::{outbound, probe, response, whole};

fn recordings() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .expect("the recordings are there")
        .map(|case| case.expect("a case").path())
        .collect();
    cases.sort();
    assert!(cases.len() > 10);
    cases
}

fn sighting(dialect: Dialect, stream: &[u8], cuts: &[usize], depth: Depth) -> Sighting {
    let mut probe = probe(dialect);
    let mut all = Sighting::machinery();
    play(stream, cuts, |frame| all.merge(probe.observe(frame, depth)));
    all
}

fn told(sighting: &Sighting) -> Value {
    let detail = sighting.detail.clone().unwrap_or_default();
    json!({
        "content": sighting.content,
        "finished": sighting.finished,
        "done": sighting.done,
        "finish": detail.finish.map(ir::FinishReason::label),
        "usage": detail.usage.map(|usage| usage.to_openai()),
        "id": detail.id,
        "model": detail.model,
        "error": detail.error.map(|error| error.to_string()),
    })
}

#[test]
fn recorded_streams_tell_the_same_at_every_boundary_and_depth() {
    for case in recordings() {
        let stream = fs::read(case.join("stream.sse")).expect("a recording");
        let opening = Depth::Opening { want_text: true };
        let whole = sighting(Dialect::OpenAiChat, &stream, &[], opening);
        let relayed = sighting(Dialect::OpenAiChat, &stream, &[], Depth::Relay);

        let mut events = Vec::new();
        let mut decoder = outbound(Dialect::OpenAiChat).events(&Correspondence::default());
        play(&stream, &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
        decoder.finish(&mut events);
        let answer = ir::Response::fold(events).expect("whole");
        let answer = response(Dialect::OpenAiChat, &answer);
        let seen = json!({ "sighting": told(&whole), "text": whole.text(), "answer": answer });
        let seen = format!("{seen:#}\n");

        let file = case.join("seen.json");
        if std::env::var_os("GOLDEN_BLESS").is_some() {
            fs::write(&file, &seen).expect("writable");
        }
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), seen, "{}", case.display());
        // A relaying probe reads ordinary chunks no further than their content; names come with the rarer ones.
        let (mut full, mut quick) = (told(&whole), told(&relayed));
        for value in [&mut full, &mut quick] {
            value["id"].take();
            value["model"].take();
        }
        assert_eq!(full, quick, "{}", case.display());
        assert!(relayed.delivered > 0, "{}", case.display());
        for cuts in ways(&stream) {
            let in_pieces = sighting(Dialect::OpenAiChat, &stream, &cuts, opening);
            assert_eq!(in_pieces, whole, "{} cut at {cuts:?}", case.display());
        }
        let bytewise: Vec<usize> = (1..stream.len()).collect();
        assert_eq!(sighting(Dialect::OpenAiChat, &stream, &bytewise, Depth::Relay), relayed);
    }
}

#[test]
fn recorded_anthropic_streams_tell_their_usage_and_end_at_every_depth() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai_chat-anthropic");
    let mut seen = 0;
    for case in fs::read_dir(root).expect("the cases are there") {
        let case = case.expect("a case").path();
        let Ok(stream) = fs::read(case.join("upstream.sse")) else { continue };
        seen += 1;

        let whole = sighting(Dialect::Anthropic, &stream, &[], Depth::Opening { want_text: false });
        let relayed = sighting(Dialect::Anthropic, &stream, &[], Depth::Relay);

        let facts = fs::read_to_string(case.join("case.json")).expect("a case");
        let failed = facts.contains("midstream_error");
        assert_eq!(whole.error().is_some(), failed, "{}", case.display());
        assert_eq!((whole.done, whole.finished), (!failed, !failed), "{}", case.display());
        let usage = whole.usage().expect("usage");
        assert!(usage.input_total > 0, "{}", case.display());
        // The count at the start of a stream is only its first token or so.
        let last = last_output(&stream);
        assert_eq!(usage.output_total, last.unwrap_or(usage.output_total), "{}", case.display());
        assert_eq!(last.is_some(), !failed, "{}", case.display());
        assert_eq!(told(&whole), told(&relayed), "{}", case.display());
    }
    assert!(seen > 10);
}

/// The output that the last report of an Anthropic stream states.
fn last_output(stream: &[u8]) -> Option<u64> {
    let reports = frames(stream).filter(|frame| frame.event == b"message_delta");
    let last: Value = serde_json::from_slice(reports.last()?.payload()).expect("JSON");
    last["usage"]["output_tokens"].as_u64()
}

#[test]
fn a_whole_answer_whose_empty_delta_stands_beside_its_message_says_what_the_message_says() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answers/perplexity_citations/response.json");
    let body = fs::read(case).expect("a recording");
    let recorded: Value = serde_json::from_slice(&body).expect("JSON");
    let text = recorded["choices"][0]["message"]["content"].as_str().expect("a text");

    let watched = whole(Dialect::OpenAiChat, &body, true);
    let read = outbound(Dialect::OpenAiChat).response(&body, &Correspondence::default()).expect("an answer");

    assert_eq!(watched.text(), Some(text));
    assert!(watched.content && watched.finished && watched.done);
    assert_eq!(watched.usage().map(|usage| usage.output_total), Some(32));
    assert_eq!(response(Dialect::OpenAiChat, &read)["choices"][0]["message"]["content"], text);
}
