//! Upstreams break in every way; the client gets a clear error in its own dialect and never a lie.

use std::time::Duration;

use serde_json::json;

use crate::harness::subjects::bad_upstream::*;
use crate::harness::*;

#[tokio::test]
async fn an_upstream_that_refuses_connections_gives_503() {
    let gateway = Gateway::start(config([channel_at("a", &refused_port().await)])).await;

    for request in [hello(), hello_stream()] {
        let answer = gateway.chat(&request).await.expect(503);

        let error = answer.error();
        assert_eq!(error["code"], "upstream_unreachable");
        let told = "Unable to connect to service (connection refused)";
        assert!(error["message"].as_str().unwrap().contains(told), "{error}");
    }
}

#[tokio::test]
async fn an_upstream_that_resets_gives_502() {
    for request in [hello(), hello_stream()] {
        let (answer, gateway, _upstream) = alone(Script::reset(), &request).await;

        assert_eq!(answer.expect(502).error()["code"], "upstream_unreachable");
        gateway.chat(&request).await.expect(200);
    }
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_gives_502() {
    let (answer, gateway, _upstream) = alone(Script::close(), &hello()).await;

    answer.expect(502).error();
    gateway.chat(&hello()).await.expect(200);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_content_coding_says_is_told_as_that() {
    for (coding, told) in
        [("GZIP", "its gzip coding is corrupt"), ("snappy", r#"its content coding "snappy""#)]
    {
        for request in [hello(), hello_stream()] {
            let script = Script::body(200, "application/json", r#"{"no":"gzip and no snappy"}"#);
            let (answer, ..) = alone(script.header("content-encoding", coding), &request).await;

            let error = answer.expect(502).error();
            assert!(error["message"].as_str().unwrap().contains(told), "{error}");
        }
    }
}

/// Promises: `time-error`.
#[tokio::test]
async fn an_upstream_that_hangs_gives_504_that_names_the_seconds() {
    for request in [hello(), hello_stream()] {
        let (answer, _gateway, upstream) = alone(Script::hang(), &request).await;

        let error = answer.expect(504).error();
        assert_eq!(error["code"], "upstream_timeout");
        assert!(error["message"].as_str().unwrap().contains("Request timed out after 1 seconds"), "{error}");
        upstream.wait_for_cancelled(1).await;
    }
}

#[tokio::test]
async fn a_recorded_stream_with_an_error_in_its_middle_is_told_as_an_error() {
    let case = Recorded::case("groq/stream-midstream-error");
    let body = String::from_utf8(case.body.clone()).unwrap();
    let pieces = body.split_inclusive("\n\n").map(str::to_owned);
    let (answer, _gateway, _upstream) =
        alone(Script::events(pieces).paced(Duration::from_millis(30)), &case.request_for("m")).await;

    let told = if answer.status == 200 { answer.text() } else { answer.error().to_string() };
    assert!(told.contains("\"error\"") || answer.status >= 400, "{} {told}", answer.status);
    assert!(!answer.is_done(), "{told}");
}

#[tokio::test]
async fn a_stream_that_stops_in_the_middle_of_an_event_ends_with_an_error_event_and_no_end_marker() {
    let torn = text_event("never shown");
    let script = Script::events([role_event(), text_event("shown"), torn[..torn.len() / 2].to_owned()]);
    for script in [script.clone().then_close(), script.clone().then_reset(), script] {
        let (answer, gateway, _upstream) = alone(script, &hello_stream()).await;

        let answer = answer.expect(200);
        assert_eq!(answer.streamed(), "shown");
        assert!(answer.text().starts_with(&format!("{}{}", role_event(), text_event("shown"))));
        assert!(!answer.is_done(), "{}", answer.text());
        assert!(!answer.text().contains("never"), "a torn event is dropped: {}", answer.text());
        let error = answer.error_event();
        assert!(error["code"].as_str().unwrap().starts_with("upstream_"), "{error}");
        gateway.chat(&hello_stream()).await.expect(200);
    }
}

#[tokio::test]
async fn a_stream_that_ends_between_events_without_end_marker_is_not_given_one() {
    let script = Script::events([role_event(), text_event("half")]).then_close();
    let (answer, _gateway, _upstream) = alone(script, &hello_stream()).await;

    assert_eq!(answer.streamed(), "half");
    assert!(!answer.is_done());
    answer.error_event();
}

#[tokio::test]
async fn a_json_answer_that_stops_in_the_middle_is_not_passed_on() {
    let whole = said("x").to_string();
    let length = whole.len().to_string();
    let script =
        Script::body(200, "application/json", &whole[..whole.len() / 2]).header("content-length", &length);
    let (answer, gateway, _upstream) = alone(script.then_close(), &hello()).await;

    answer.expect(502).error();
    gateway.chat(&hello()).await.expect(200);
}

#[tokio::test]
async fn an_answer_of_one_byte_at_a_time_is_an_answer() {
    for request in [hello(), hello_stream()] {
        let upstream = Upstream::start(|seen| saying("slowly but surely")(seen).split(&[1])).await;
        let gateway = Gateway::start(config([channel("a", &upstream)])).await;

        let answer = gateway.chat(&request).await.expect(200);

        let expected = if request["stream"] == true {
            stream_of(&["slowly but surely"]).concat()
        } else {
            said("slowly but surely").to_string()
        };
        assert_eq!(answer.text(), expected);
    }
}

#[tokio::test]
async fn an_event_larger_than_the_window_of_the_tap_passes_whole() {
    let large = "x".repeat(300 << 10);
    for split in [1000, 64 << 10, 1 << 20] {
        let events = stream_of(&["before", &large, "after"]);
        let (answer, _gateway, _upstream) =
            alone(Script::events(events.clone()).split(&[split]), &hello_stream()).await;

        assert!(answer.expect(200).text() == events.concat(), "split {split}");
    }
}

#[tokio::test]
async fn an_opening_without_content_is_held_only_up_to_a_bound() {
    let machinery = ": nothing yet\n\n".repeat(1000);
    let chunks = vec![machinery.clone(); 220];
    let upstream = Upstream::always(Script::events(chunks).then_hang()).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let before = gateway.resident_mib();

    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    assert_eq!(flow.status, 200);
    let mut received = 0;
    while received < 3_000_000 {
        received += flow.next().await.unwrap().len();
    }

    assert!(gateway.resident_mib() < before + 30, "{} MiB after {before}", gateway.resident_mib());
}

#[tokio::test]
async fn an_answer_that_a_limit_cut_before_its_first_word_is_an_answer() {
    for name in ["openai/cut-short", "openai/stream-cut-short"] {
        let case = Recorded::case(name);
        let (answer, _gateway, _upstream) = alone(case.script(), &case.request_for("m")).await;

        assert_eq!(answer.expect(200).text(), String::from_utf8_lossy(&case.body), "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_a_stop_sequence_cut_before_its_first_word_is_an_answer() {
    for name in ["anthropic/stop-sequence", "anthropic/stream-stop-sequence-2"] {
        let case = Recorded::case(name);
        let upstream = Upstream::always(case.script()).await;
        let gateway = Gateway::start(config([anthropic_channel("a", &upstream)])).await;

        let answer =
            gateway.chat(&hello().with("/stream", json!(case.stream)).with("/stop", json!(["x"]))).await;

        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert!(answer.text().contains("\"finish_reason\":\"stop\""), "{name}: {}", answer.text());
    }
}

#[tokio::test]
async fn headers_of_absurd_size_from_upstream_are_a_failure_not_a_crash() {
    let script = Script::json(&said("x")).header("x-large", &"x".repeat(1 << 20));
    let (answer, gateway, _upstream) = alone(script, &hello()).await;

    assert!(matches!(answer.status, 200 | 502), "{} {}", answer.status, answer.text());
    gateway.chat(&hello()).await.expect(200);
}

#[tokio::test]
async fn an_upstreams_own_key_error_names_neither_the_key_nor_a_401() {
    let echo = json!({ "error": { "message": "Incorrect API key provided: key-of-a.", "type": "invalid_request_error",
        "param": null, "code": "invalid_api_key" } });
    let (answer, _gateway, _upstream) = alone(Script::status(401, &echo), &hello()).await;

    assert_eq!(answer.clone().expect(502).error()["code"], "upstream_rejected");
    assert!(!answer.everything().contains("key-of-a"), "{}", answer.everything());
}
