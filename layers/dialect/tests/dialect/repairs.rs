//! Recorded answers and requests that need a repair between equal dialects, and what becomes of them.
//!
//! A case is a folder of `tests/repairs`: `meta.yaml` names the recording and the quirks, `upstream.{sse,json}` is what
//! was answered, `response.{sse,json}` what the client gets of it, `request.json` what a client sends and
//! `upstream_request.json` what goes on. `GOLDEN_BLESS=1` writes the results anew.

use std::fs;
use std::path::{Path, PathBuf};

use dialect::{AnswerForm, Correspondence, Dialect, Quirks, Repair, Repairs, ir};
use serde_json::Value;

use crate::cuts::{play, ways};
use crate::golden::{compare, pretty};
use crate::kit::{Exchange, outbound, response};

const REQUEST: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/repairs");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(root).expect("the cases are there").map(|case| case.expect("a case").path()).collect();
    cases.sort();
    assert!(cases.len() > 10);
    cases
}

fn quirks(case: &Path) -> Quirks {
    let meta = fs::read_to_string(case.join("meta.yaml")).expect("a meta.yaml");
    let (_, names) = meta.split_once("quirks: [").expect("quirks");
    let names = names.trim_end().trim_end_matches(']').split(", ");
    let repairs = names.map(|name| Repair::named(name).unwrap_or_else(|| panic!("{name}")));
    Quirks { stream_options: true, repairs: Repairs::of(&repairs.collect::<Vec<_>>()), ..Quirks::NONE }
}

fn exchange(request: &[u8], stream: bool, quirks: Quirks) -> Exchange {
    Exchange::with(Dialect::OpenAiChat, Dialect::OpenAiChat, request, stream, &quirks)
}

#[test]
fn recorded_deviations_are_repaired_wherever_the_answer_is_cut() {
    for case in cases() {
        let quirks = quirks(&case);
        if let Ok(request) = fs::read(case.join("request.json")) {
            let sent = exchange(&request, false, quirks).sent;
            compare(&case.join("upstream_request.json"), &pretty(&sent))
                .unwrap_or_else(|error| panic!("{error}"));
        }
        if let Ok(answer) = fs::read(case.join("upstream.sse")) {
            let exchange = exchange(REQUEST, true, quirks);
            let whole = exchange.stream(&answer, &[]);
            compare(&case.join("response.sse"), &whole).unwrap_or_else(|error| panic!("{error}"));
            for cuts in ways(&answer) {
                assert_eq!(exchange.stream(&answer, &cuts), whole, "{case:?} cut at {cuts:?}");
            }
        }
        if let Ok(answer) = fs::read(case.join("upstream.json")) {
            let whole = exchange(REQUEST, false, quirks).whole(&answer, AnswerForm::Json).expect("an answer");
            let whole: Value = serde_json::from_slice(&whole).expect("JSON");
            compare(&case.join("response.json"), &pretty(&whole)).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn every_repair_of_answers_changes_a_recording_that_needs_it() {
    for case in cases() {
        for extension in ["sse", "json"] {
            let Ok(before) = fs::read_to_string(case.join(format!("upstream.{extension}"))) else { continue };
            let after = fs::read_to_string(case.join(format!("response.{extension}"))).expect("a result");
            let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
            assert!(
                before != after && (parse(&before).is_none() || parse(&before) != parse(&after)),
                "{case:?}"
            );
        }
    }
}

/// The answer that a decoder reads out of a stream.
fn read(stream: &[u8]) -> Value {
    let mut events = Vec::new();
    let mut decoder = outbound(Dialect::OpenAiChat).events(&Correspondence::default());
    play(stream, &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    response(Dialect::OpenAiChat, &ir::Response::fold(events).expect("whole"))
}

/// All but the tags, which are no deviation to a decoder.
fn all_but_tags() -> Quirks {
    let repairs = Repairs::of(&Repair::ALL).with(Repair::ThinkTags, false);
    Quirks { stream_options: true, repairs, ..Quirks::NONE }
}

#[test]
fn repairs_change_the_form_of_an_answer_and_never_its_meaning() {
    let exchange = exchange(REQUEST, true, all_but_tags());
    for folder in ["streams", "repairs"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
        for case in fs::read_dir(root).expect("cases").map(|case| case.expect("a case").path()) {
            let stream = fs::read(case.join("stream.sse")).or_else(|_| fs::read(case.join("upstream.sse")));
            let Ok(stream) = stream else { continue };

            let repaired = exchange.stream(&stream, &[]);

            assert_eq!(read(repaired.as_bytes()), read(&stream), "{case:?}");
        }
    }
}

#[test]
fn an_upstream_without_quirks_is_relayed_untouched() {
    let passes = |quirks| exchange(REQUEST, true, quirks).passes();
    let of_requests =
        Quirks { stream_options: true, repairs: Repairs::of(&[Repair::SystemRole]), ..Quirks::NONE };

    assert!(passes(Quirks::NONE) && passes(of_requests));
    assert!(!passes(all_but_tags()));
}
