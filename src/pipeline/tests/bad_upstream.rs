//! Upstreams break in every way; the client gets a clear error in its own dialect and never a lie.

use std::time::Duration;

use serde_json::json;

use super::bench::subjects::bad_upstream::*;
use super::bench::*;

#[tokio::test(start_paused = true)]
async fn an_upstream_that_answers_html_with_200_gives_502() {
    for request in [hello(), hello_stream()] {
        let html = Script::body(200, "text/html", "<html><body>Just a moment…</body></html>");
        let (answer, _gateway, _upstream) = alone(html, &request).await;

        let error = answer.expect(502).error();
        assert!(!error["message"].as_str().unwrap().contains("<html"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_object_inside_a_200_is_an_error() {
    for request in [hello(), hello_stream()] {
        let error = json!({ "error": { "message": "server melted", "type": "server_error", "code": 500 } });
        let (answer, _gateway, _upstream) = alone(Script::json(&error), &request).await;

        assert!(answer.status >= 500, "{} {}", answer.status, answer.text());
        let told = answer.error();
        assert!(told["message"].as_str().unwrap().contains("server melted"), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_that_opens_a_stream_is_an_error() {
    let error =
        json!({ "error": { "message": "quota exceeded for today", "type": "rate_limit", "code": 429 } });
    let (answer, _gateway, _upstream) =
        alone(Script::events([role_event(), event(&error)]), &hello_stream()).await;

    assert_eq!(answer.expect(429).error()["type"], "rate_limit_error");
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_own_error_event_is_told_once() {
    let error = json!({ "error": { "message": "overloaded midway", "type": "server_error", "code": 503 } });
    let script =
        Script::events([role_event(), text_event("begun"), event(&error)]).paced(Duration::from_millis(50));
    for script in [script.clone(), script.clone().then(DONE), script.then_close()] {
        let (answer, gateway, _upstream) = alone(script, &hello_stream()).await;

        assert_eq!(answer.streamed(), "begun");
        let errors: Vec<_> =
            answer.event_values().into_iter().filter(|event| event["error"].is_object()).collect();
        assert_eq!(errors.len(), 1, "{}", answer.text());
        assert!(errors[0]["error"]["message"].as_str().unwrap().contains("overloaded midway"), "{errors:?}");
        let outcome = gateway.records()[0].entry.outcome();
        assert!(outcome.starts_with("upstream_"), "the record tells the truth: {outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_object_with_nothing_in_it_is_not_an_error() {
    let answer = said("fine").with("/error", json!({ "message": "", "type": "", "param": "", "code": null }));
    let (answer, _gateway, _upstream) = alone(Script::json(&answer), &hello()).await;

    assert_eq!(answer.expect(200).content(), "fine");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_sends_garbage_for_events_gives_502() {
    for garbage in
        ["\0\u{1}garbage without any frame", "data: {not json}\n\n", "data: 7\n\ndata: []\n\n", "\n\n\n\n"]
    {
        let (answer, gateway, _upstream) = alone(Script::events([garbage]), &hello_stream()).await;

        assert_eq!(answer.status, 502, "{garbage:?}: {}", answer.text());
        answer.error();
        gateway.chat(&hello_stream()).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_sends_garbage_for_json_gives_502() {
    for garbage in ["", "garbage", "{\"choices\":[", "[]", "7"] {
        let script = Script::body(200, "application/json", garbage);
        let (answer, gateway, _upstream) = alone(script, &hello()).await;

        assert_eq!(answer.status, 502, "{garbage:?}: {}", answer.text());
        answer.error();
        gateway.chat(&hello()).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_nothing_in_it_is_a_failure() {
    for request in [hello(), hello_stream()] {
        let upstream = Upstream::start(|seen| {
            if seen.streams() { Script::events(stream_of(&[])) } else { Script::json(&said("")) }
        })
        .await;
        let gateway = Gateway::start(config([channel("a", &upstream)])).await;

        let error = gateway.chat(&request).await.expect(502).error();

        assert!(error["message"].as_str().unwrap().contains("empty response"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_tool_calls_or_a_refusal_only_is_not_empty() {
    for message in [
        json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } } ] }),
        json!({ "role": "assistant", "content": null, "refusal": "no" }),
        json!({ "role": "assistant", "content": null, "reasoning_content": "hm" }),
        json!({ "role": "assistant", "content": null, "audio": { "id": "a", "data": "AAAA", "transcript": "" } }),
    ] {
        let whole = said("").with("/choices/0/message", message.clone());
        let (answer, _gateway, _upstream) = alone(Script::json(&whole), &hello()).await;
        assert_eq!(answer.status, 200, "{message}: {}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_talks_too_long_before_its_headers_is_left() {
    let script = Script::json(&said("late")).after(Duration::from_secs(10));
    let (answer, _gateway, _upstream) = alone(script, &hello()).await;

    assert_eq!(answer.expect(504).took.as_secs(), 1);
}

/// Promises: `time-switch`, `time-error`.
#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_after_its_beginning_ends_with_an_error_event() {
    let script = Script::events([role_event(), text_event("so far")]).then_hang();
    let (answer, _gateway, upstream) = alone(script, &hello_stream()).await;

    assert_eq!(answer.streamed(), "so far");
    assert!(!answer.is_done());
    let error = answer.error_event();
    assert!(error["message"].as_str().unwrap().contains("timed out after 1 seconds"), "{error}");
    upstream.wait_for_cancelled(1).await;
}
