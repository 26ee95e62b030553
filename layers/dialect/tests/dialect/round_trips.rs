//! A codec reads again what it has written: every field that its dialect can carry survives.

use dialect::{Dialect, Identity, Manner, ir};
use proptest::prelude::*;
use serde_json::Value;

use crate::golden;
use crate::kit::{self, UPSTREAMS};

/// The dialects with both halves, of which one reads what the other writes.
fn both_ways() -> Vec<Dialect> {
    let speaks =
        |dialect: &&Dialect| dialect.codec().client.as_ref().is_some_and(|client| client.inbound.is_some());
    UPSTREAMS.iter().filter(speaks).copied().collect()
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß漢]{1,24}"
}

fn block() -> impl Strategy<Value = Vec<ir::Block>> {
    let call = ("[a-z_]{1,10}", 0..100_u32, "[a-z]{0,6}");
    let calls = prop::collection::vec(call, 0..3).prop_map(|calls| {
        let calls = calls.into_iter().enumerate().map(|(place, (name, number, word))| {
            let arguments = serde_json::json!({ "n": number, "w": word }).to_string();
            ir::Block::new(ir::Content::ToolCall { id: format!("call_{place}"), name, arguments })
        });
        calls.collect::<Vec<_>>()
    });
    let words = (prop::option::of(text()), prop::option::of(text()), prop::option::weighted(0.2, text()));
    (words, calls).prop_map(|((thought, said, refused), calls)| {
        let mut blocks = Vec::new();
        blocks.extend(thought.map(|text| ir::Block::new(ir::Content::Thinking { text })));
        blocks.extend(said.map(ir::Block::text));
        blocks.extend(refused.map(|text| ir::Block::new(ir::Content::Refusal(text))));
        blocks.extend(calls);
        if blocks.is_empty() {
            blocks.push(ir::Block::text("x"));
        }
        blocks
    })
}

fn choice() -> impl Strategy<Value = ir::Choice> {
    let logprob = (text(), -9.0..0.0_f64).prop_map(|(token, value)| ir::Logprob {
        bytes: Some(token.clone().into_bytes()),
        token,
        logprob: serde_json::Number::from_f64((value * 64.0).round() / 64.0).expect("finite"),
        top: Vec::new(),
    });
    let finish = prop::sample::select(vec![
        ir::FinishReason::Stop,
        ir::FinishReason::Length,
        ir::FinishReason::ContentFilter,
    ]);
    (block(), prop::collection::vec(logprob, 0..3), finish).prop_map(|(blocks, logprobs, finish)| {
        let called = blocks.iter().any(|block| matches!(block.content, ir::Content::ToolCall { .. }));
        let finish = match finish {
            ir::FinishReason::Stop if called => ir::FinishReason::ToolCalls,
            finish => finish,
        };
        let raw_finish = Some(finish.to_openai(called).to_owned());
        ir::Choice {
            blocks,
            citations: Vec::new(),
            logprobs,
            finish,
            raw_finish,
            stop_sequence: None,
            audio: None,
        }
    })
}

fn answer() -> impl Strategy<Value = ir::Response> {
    let counts = (1..9000_u64, 0..500_u64, 0..500_u64, 1..9000_u64, 0..500_u64);
    let usage = counts.prop_map(|(input, cached, written, output, reasoning)| ir::Usage {
        input_total: input + cached + written,
        cached_read: cached,
        cache_write: written,
        output_total: output + reasoning,
        reasoning,
        stated_total: input + cached + written + output + reasoning,
        ..ir::Usage::default()
    });
    (prop::collection::vec(choice(), 1..3), usage, "[a-z0-9]{4,9}").prop_map(|(choices, usage, id)| {
        ir::Response {
            id: Some(format!("chatcmpl-{id}")),
            model: Some("m".to_owned()),
            created: Some(1_700_000_000),
            usage: Some(usage),
            choices,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_answer_is_read_as_it_was_written_whole_and_streamed(answer in answer()) {
        // Other clients cannot be told of several candidates, nor of likelihoods.
        for dialect in both_ways().into_iter().filter(|dialect| *dialect == Dialect::OpenAiChat) {
            let identity = Identity { id: "f".to_owned(), created: 1_700_000_000, model: "m".to_owned() };
            let (inbound, outbound) = (kit::inbound(dialect), kit::outbound(dialect));
            let whole = inbound.response(&answer, &Manner::default(), &identity);
            let read = outbound.response(&whole, &Default::default());
            prop_assert_eq!(read.as_ref(), Ok(&answer));

            // With the wish for usage, as it would come in a request.
            let body = dialect::Body::Json(bytes::Bytes::from_static(
                br#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
            ));
            let manner = inbound.manner(dialect::Received { body: &body, query: "" });
            let mut encoder = inbound.events(&manner, &identity);
            let mut out = bytes::BytesMut::new();
            answer.events().iter().for_each(|event| encoder.encode(event, &mut out));
            encoder.finish(&mut out);
            let mut decoder = outbound.events(&Default::default());
            let mut events = Vec::new();
            crate::cuts::play(&out, &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
            decoder.finish(&mut events);
            let folded = ir::Response::fold(events);
            prop_assert_eq!(folded.as_ref(), Ok(&answer));
        }
    }
}

#[test]
fn a_request_that_was_read_and_written_is_written_the_same_again() {
    let mut count = 0;
    for case in golden::cases() {
        let body = case.request();
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        let model = value["model"].as_str().expect("a model");
        for dialect in both_ways().into_iter().filter(|dialect| *dialect == case.client) {
            let write = |body: &[u8]| {
                let request = kit::read(dialect, body).ok()?;
                Some(kit::write(dialect, &request, model, model).ok()?.0)
            };
            let Some(written) = write(&body) else { continue };
            let again = write(written.to_string().as_bytes());
            assert_eq!(again, Some(written), "{}", case.folder.display());
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}
