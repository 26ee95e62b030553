//! Between equal dialects nothing is rewritten: what the provider sent is what the client gets.

use serde_json::{Value, json};

use crate::harness::recorded::replay;
use crate::harness::*;

/// Ways in which a network may cut an answer: byte by byte, small, odd, large.
const CUTS: [&[usize]; 4] = [&[1], &[7, 3, 11, 1, 64], &[1000, 1, 24], &[1 << 20]];

fn successes(stream: bool) -> Vec<Recorded> {
    let cases = Recorded::all("chat").into_iter();
    cases
        .filter(|case| {
            case.stream == stream
                && case.status == 200
                && !case.has("midstream_error")
                && !case.says_nothing()
        })
        .collect()
}

/// A channel whose models are the recorded cases.
fn channel_of(cases: &[Recorded], upstream: &Upstream) -> Value {
    let models: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    channel("recorded", upstream).with("/model", json!(models))
}

/// Promises: `api-chat`.
#[tokio::test]
async fn every_recorded_whole_answer_arrives_byte_for_byte() {
    let cases = successes(false);
    let upstream = Upstream::start(replay(cases.clone())).await;
    let gateway = Gateway::start(config([channel_of(&cases, &upstream)])).await;

    assert!(cases.len() > 20, "{}", cases.len());
    for case in &cases {
        let answer = gateway.chat(&case.request_for(&case.name)).await;

        assert_eq!(answer.status, 200, "{}: {}", case.name, answer.text());
        assert_eq!(answer.text(), String::from_utf8_lossy(&case.body), "{}", case.name);
        assert!(answer.complete, "{}", case.name);
        assert!(answer.header("content-type").unwrap().starts_with("application/json"), "{}", case.name);
    }
}

/// Promises: `api-chat-stream`.
#[tokio::test]
async fn every_recorded_stream_arrives_byte_for_byte_however_the_network_cuts_it() {
    let cases = successes(true);
    let scripts = cases.clone();
    let upstream = Upstream::start(move |seen| {
        let case = scripts.iter().find(|case| case.name == seen.model()).unwrap();
        case.script().split(CUTS[seen.json()["seed"].as_u64().unwrap() as usize])
    })
    .await;
    let gateway = Gateway::start(config([channel_of(&cases, &upstream)])).await;

    assert!(cases.len() > 15, "{}", cases.len());
    for case in &cases {
        for cut in 0..CUTS.len() {
            let answer = gateway.chat(&case.request_for(&case.name).with("/seed", json!(cut))).await;

            assert_eq!(answer.status, 200, "{} cut {cut}: {}", case.name, answer.text());
            assert_eq!(answer.text(), String::from_utf8_lossy(&case.body), "{} cut {cut}", case.name);
            assert!(answer.complete, "{} cut {cut}", case.name);
            assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"), "{}", case.name);
        }
    }
}

#[tokio::test]
async fn comments_unknown_fields_and_odd_line_ends_pass_as_they_are() {
    let odd = format!(
        ": OPENROUTER PROCESSING\n\n{}: note\nid: 7\nretry: 10\nevent: message\ndata:{}\r\n\r\n{}\n\n{}",
        role_event(),
        text_event("a").trim_start_matches("data: ").trim(),
        text_event("b").trim(),
        DONE
    );
    let script = Script::events([odd.clone()]);
    let upstream = Upstream::start(move |seen| {
        let cut = seen.json()["seed"].as_u64().unwrap() as usize;
        script.clone().split(CUTS[cut])
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    for cut in 0..CUTS.len() {
        let answer = gateway.chat(&hello_stream().with("/seed", json!(cut))).await.expect(200);

        assert_eq!(answer.text(), odd, "cut {cut}");
    }
}

/// Promises: `api-chat-stream`.
#[tokio::test]
async fn an_event_reaches_the_client_before_the_next_one_is_sent() {
    let gate = Gate::new();
    let upstream = Upstream::always(Script::events(stream_of(&["one", "two", "three"])).gated(&gate)).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    gate.open();
    gate.open();

    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("one").await;
    gate.open();
    flow.until("two").await;
    (0..3).for_each(|_| gate.open());
    let answer = flow.rest().await;

    assert_eq!(answer.streamed(), "onetwothree");
    assert!(answer.is_done());
}

/// Promises: `cfg-model-plain`, `cfg-model-rename`.
#[tokio::test]
async fn a_request_goes_upstream_byte_for_byte_with_only_the_model_replaced() {
    let upstream = healthy("ok").await;
    let renaming = channel("a", &upstream).with("/model", json!([{ "upstream/model-1": "m" }, "as-is"]));
    let gateway = Gateway::start(config([renaming])).await;
    let odd = |model: &str| {
        format!(
            "{{\n  \"messages\" : [ {{\"role\":\"user\",\"content\":\"h\\u00e9llo \\\"m\\\" \u{1f600}\"}} ],\t\"model\":\"{model}\" ,\n \
             \"temperature\": 1.0, \"big\": 123456789012345678901234567890, \"unknown\": {{\"model\": \"m\", \"a\":[1e2,null]}} }}"
        )
    };

    gateway.ask(&Ask::raw(odd("m"))).await.expect(200);
    gateway.ask(&Ask::raw(odd("as-is"))).await.expect(200);

    let sent: Vec<String> =
        upstream.requests().iter().map(|seen| String::from_utf8_lossy(&seen.body).into()).collect();
    assert_eq!(sent, [odd("upstream/model-1"), odd("as-is")]);
}

#[tokio::test]
async fn only_the_usage_chunk_that_the_gateway_asked_for_is_kept_from_the_client() {
    let mut events = stream_of(&["a", "b"]);
    events.insert(4, usage_event());
    let upstream = Upstream::always(Script::events(events.clone())).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let unasked = gateway.chat(&hello_stream()).await.expect(200);
    let asked = hello_stream().with("/stream_options/include_usage", json!(true));
    let asked = gateway.chat(&asked).await.expect(200);

    let requests = upstream.requests();
    assert_eq!(requests[0].json()["stream_options"], json!({ "include_usage": true }));
    assert_eq!(unasked.text(), stream_of(&["a", "b"]).concat());
    assert_eq!(asked.text(), events.concat());
}

#[tokio::test]
async fn usage_is_not_asked_where_the_configuration_says_so() {
    let upstream = healthy("ok").await;
    let plain = channel("a", &upstream).with("/preferences/quirks", json!(["-stream_options"]));
    let gateway = Gateway::start(config([plain])).await;

    gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(upstream.only().json(), hello_stream());
}

#[tokio::test]
async fn an_upstream_that_refuses_stream_options_is_asked_again_without_and_never_again_with_it() {
    let upstream = Upstream::start(|seen| {
        if seen.json().get("stream_options").is_some() {
            Script::error(400, "Unrecognized request argument supplied: stream_options")
        } else {
            Script::events(stream_of(&["ok"]))
        }
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let first = gateway.chat(&hello_stream()).await.expect(200);
    let second = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((first.streamed(), second.streamed()), ("ok".to_owned(), "ok".to_owned()));
    assert_eq!(first.header("x-uni-api-attempts"), Some("1"), "the repeat is outside the budget");
    let asked: Vec<bool> =
        upstream.requests().iter().map(|seen| seen.json().get("stream_options").is_some()).collect();
    // Channels are compiled once, but each worker may learn it for itself at most once.
    assert_eq!(asked, [true, false, false]);
}

#[tokio::test]
async fn recorded_client_errors_arrive_byte_for_byte_and_are_not_tried_elsewhere() {
    let cases: Vec<Recorded> =
        Recorded::all("chat").into_iter().filter(|case| matches!(case.status, 400 | 422)).collect();
    let upstream = Upstream::start(replay(cases.clone())).await;
    let other = healthy("other").await;
    let models = channel_of(&cases, &upstream)["model"].clone();
    let second = channel("second", &other).with("/model", models);
    let gateway = Gateway::start(config([channel_of(&cases, &upstream), second])).await;

    assert!(cases.len() >= 4, "{}", cases.len());
    let mut returned = 0;
    for case in &cases {
        let answer = gateway.chat(&case.request_for(&case.name)).await;
        if answer.status == 200 {
            // Some of them say that the text is too long for this model, or that there is no such model:
            // others are asked.
            let body = String::from_utf8_lossy(&case.body);
            assert!(
                body.contains("context") || body.contains("invalid_model"),
                "{}: {}",
                case.name,
                answer.text()
            );
            continue;
        }

        returned += 1;
        assert_eq!(answer.status, case.status, "{}", case.name);
        let own: serde_json::Value = serde_json::from_slice(&case.body).unwrap_or_default();
        if own["error"].is_object() {
            assert_eq!(answer.text(), String::from_utf8_lossy(&case.body), "{}", case.name);
        } else {
            // A shape of the provider's own, which no client reads.
            assert_openai_error(&answer.json());
        }
    }
    assert!(returned >= 3, "{returned}");
}

#[tokio::test]
async fn a_compressed_answer_is_decoded() {
    use std::io::Write as _;
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (whole, events) = (said("squeezed").to_string(), stream_of(&["squeezed"]).concat());
    let (whole_gzip, events_gzip) = (gzip(&whole), gzip(&events));
    let upstream = Upstream::start(move |seen| {
        let script = if seen.streams() {
            Script::events([events_gzip.clone()]).split(&[5])
        } else {
            Script::body(200, "application/json", whole_gzip.clone())
        };
        script.header("content-encoding", "gzip")
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let first = gateway.chat(&hello()).await.expect(200);
    let second = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!((first.text(), second.text()), (whole, events));
    assert_eq!((first.header("content-encoding"), second.header("content-encoding")), (None, None));
    assert_eq!(upstream.last().header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn a_stream_is_marked_so_that_proxies_do_not_hold_it() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(answer.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
}
