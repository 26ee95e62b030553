//! What a client collects from a stream is what it gets as a whole answer, and the reverse.

use std::fs;
use std::path::{Path, PathBuf};

use dialect::{AnswerForm, Correspondence, Dialect, Framing, ir};
use serde_json::{Value, json};

use crate::cuts::play;
use crate::golden;
use crate::kit::{Exchange, outbound, response};

const EVENTS: AnswerForm = AnswerForm::Events(Framing::Sse);

fn recorded_streams() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(root).expect("the cases are there").map(|case| case.expect("a case").path()).collect();
    cases.sort();
    cases
}

/// The candidates that a client of OpenAI's dialect collects from a stream.
fn collected(stream: &str) -> Result<Value, ir::Error> {
    let mut events = Vec::new();
    let mut decoder = outbound(Dialect::OpenAiChat).events(&Correspondence::default());
    play(stream.as_bytes(), &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    Ok(response(Dialect::OpenAiChat, &ir::Response::fold(events)?)["choices"].clone())
}

/// The candidates of a whole answer.
fn given(body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body["choices"].clone()
}

#[test]
fn recorded_answers_of_every_dialect_are_the_same_streamed_and_whole_citations_included() {
    let (mut streams, mut wholes, mut cited) = (0, 0, 0);
    let of_chat = |case: &&golden::Case| case.client == Dialect::OpenAiChat && case.client != case.upstream;
    for case in golden::cases().iter().filter(|case| case.is_answer()).filter(of_chat) {
        let at = case.folder.display();
        let (request, answer) = (case.request(), case.answer());
        let exchange = |stream| Exchange::asked(case.client, case.upstream, &request, stream);
        let (Ok(whole), Ok(events)) = (exchange(false), exchange(true)) else { continue };
        if let Some(coming) = case.coming() {
            streams += 1;
            let answer = coming.as_sse(&answer);
            let collected = collected(&events.stream(&answer, &[]));
            let given = whole.whole(&answer, EVENTS).map(|body| given(&body));

            assert_eq!(collected.is_err(), given.is_err(), "{at}");
            cited +=
                usize::from(given.as_ref().is_ok_and(|given| given.to_string().contains("url_citation")));
            if let (Ok(collected), Ok(given)) = (collected, given) {
                assert_eq!(collected, given, "{at}");
            }
        } else {
            wholes += 1;
            let unfolded = events.whole(&answer, AnswerForm::Json);
            let whole = whole.whole(&answer, AnswerForm::Json);

            assert_eq!(unfolded.is_err(), whole.is_err(), "{at}");
            if let (Ok(unfolded), Ok(whole)) = (unfolded, whole) {
                let text = std::str::from_utf8(&unfolded).expect("text");
                assert_eq!(collected(text), Ok(given(&whole)), "{at}");
            }
        }
    }
    assert!(streams > 5 && wholes > 5 && cited > 0);
}

#[test]
fn recorded_streams_of_the_clients_own_dialect_survive_folding_and_unfolding() {
    let request = br#"{"model":"m","messages":[]}"#;
    let exchange = |stream| Exchange::new(Dialect::OpenAiChat, Dialect::OpenAiChat, request, stream);
    for case in recorded_streams() {
        let stream = fs::read(case.join("stream.sse")).expect("a recording");
        let text = std::str::from_utf8(&stream).expect("text");

        let folded = exchange(false).whole(&stream, EVENTS).expect("whole");
        let unfolded = exchange(true).whole(&folded, AnswerForm::Json).expect("whole");

        assert_eq!(collected(text), Ok(given(&folded)), "{}", case.display());
        let again = std::str::from_utf8(&unfolded).expect("text");
        assert_eq!(collected(again), Ok(given(&folded)), "{}", case.display());
    }
}

fn folded(stream: &str) -> Value {
    let request = br#"{"model":"m","messages":[]}"#;
    let exchange = Exchange::new(Dialect::OpenAiChat, Dialect::OpenAiChat, request, false);
    given(&exchange.whole(stream.as_bytes(), EVENTS).expect("whole"))
}

fn chunk(choice: Value) -> String {
    format!("data: {}\n\n", json!({ "id": "c", "choices": [choice] }))
}

#[test]
fn a_stream_of_two_candidates_is_folded_into_two() {
    let mut stream = String::new();
    for (index, text) in [(0, "a"), (1, "x"), (0, "b"), (1, "y")] {
        stream += &chunk(json!({ "index": index, "delta": { "content": text } }));
    }
    let call = json!([{ "index": 0, "function": { "name": "f", "arguments": "{}" } }]);
    stream += &chunk(json!({ "index": 1, "delta": { "tool_calls": call } }));
    stream += &chunk(json!({ "index": 1, "delta": {}, "finish_reason": "tool_calls" }));
    let open = stream.clone();
    stream += &chunk(json!({ "index": 0, "delta": {}, "finish_reason": "length" }));

    let choices = folded(&stream);

    assert_eq!(choices.as_array().map(Vec::len), Some(2));
    assert_eq!((&choices[0]["index"], &choices[0]["message"]["content"]), (&json!(0), &json!("ab")));
    assert_eq!((&choices[1]["index"], &choices[1]["message"]["content"]), (&json!(1), &json!("xy")));
    assert_eq!(
        (&choices[0]["finish_reason"], &choices[1]["finish_reason"]),
        (&json!("length"), &json!("tool_calls"))
    );
    assert_eq!(choices[0]["message"].get("tool_calls"), None);
    assert_eq!(choices[1]["message"]["tool_calls"].as_array().map(Vec::len), Some(1));
    assert_eq!(collected(&open), Err(ir::Error::truncated()), "a candidate without an end");
}

#[test]
fn pieces_of_sound_are_joined_as_bytes_and_keep_their_type() {
    let sound = |data: &str| chunk(json!({ "index": 0, "delta": { "audio": { "id": "s", "data": data } } }));
    let end = chunk(json!({ "index": 0, "delta": {}, "finish_reason": "stop" }));

    let choices = folded(&(sound("YQ==") + &sound("Yg==") + &end));

    assert_eq!(choices[0]["message"]["audio"]["data"], "YWI=");
    assert_eq!(choices[0]["message"]["audio"]["format"], "wav");
}

#[test]
fn likelihoods_of_tokens_survive_the_fold_and_the_way_back() {
    let logprob = json!({
        "token": "Hi", "logprob": -0.25, "bytes": [72, 105],
        "top_logprobs": [{ "token": "Ho", "logprob": -1.5, "bytes": null }],
    });
    let stream = chunk(json!({
        "index": 0, "delta": { "content": "Hi" }, "logprobs": { "content": [logprob] }, "finish_reason": "stop",
    }));

    let choices = folded(&stream);

    assert_eq!(choices[0]["logprobs"], json!({ "content": [logprob], "refusal": null }));
    let whole = json!({ "id": "c", "choices": choices }).to_string();
    let exchange =
        Exchange::new(Dialect::OpenAiChat, Dialect::OpenAiChat, br#"{"model":"m","messages":[]}"#, true);
    let events = exchange.whole(whole.as_bytes(), AnswerForm::Json).expect("whole");
    assert_eq!(collected(std::str::from_utf8(&events).expect("text")), Ok(choices));
}
