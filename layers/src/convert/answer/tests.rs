//! What an answer is, for every pair of dialects between which there is a way, streamed and whole.

use std::sync::Arc;
use std::time::Duration;

use dialect::{Dialect, between};
use http::{Method, Response};
use serde_json::{Value, json};
use tower::Layer;

use super::*;
use crate::convert::ConvertLayer;
use crate::endpoint::{CHAT_COMPLETIONS, Endpoint, RESPONSES, RequestForm};
use crate::error_trigger::ErrorTriggerLayer;
use crate::policy::Target;
use crate::testing::adapters::anthropic_event;
use crate::testing::policy::{channel, target_of};
use crate::testing::ports::no_media;
use crate::testing::reply::{Read, wire};
use crate::testing::stage::ExchangeBuilder;
use crate::testing::{Chunks, Scripted, call, chunks, exchange, mount, read};

/// A way from clients of one dialect to upstreams of another.
type Way = (Dialect, Dialect);

static MESSAGES: Endpoint = Endpoint {
    label: "POST /v1/messages",
    method: Method::POST,
    path: "/v1/messages",
    kind: Kind::Chat,
    client: Dialect::Anthropic,
    request: RequestForm::Json,
    answer: endpoint::AnswerForm::AsAsked,
    may_be_empty: false,
    keeps: false,
};

/// A row for each dialect: without one this does not compile.
fn endpoint_of(client: Dialect) -> &'static Endpoint {
    match client {
        Dialect::OpenAiChat => &CHAT_COMPLETIONS,
        Dialect::Anthropic => &MESSAGES,
        Dialect::Responses => &RESPONSES,
        // No client speaks them yet.
        Dialect::Gemini | Dialect::DoubaoTranslation => &CHAT_COMPLETIONS,
        other => unreachable!("{other:?} is none of these"),
    }
}

/// Every way that there is.
fn ways() -> Vec<Way> {
    let all = [Dialect::OpenAiChat, Dialect::Anthropic, Dialect::Gemini, Dialect::Responses];
    let pairs = all.into_iter().flat_map(|client| all.map(|upstream| (client, upstream)));
    let ways: Vec<Way> =
        pairs.filter(|&(client, upstream)| between(Kind::Chat, client, upstream).is_some()).collect();
    assert!(ways.len() >= 3);
    ways
}

/// Whether answers for these clients can be folded and unfolded.
fn folds(client: Dialect) -> bool {
    client.codec().client.as_ref().is_some_and(|client| client.inbound.is_some())
}

/// A whole answer whose text is this JSON string, quotes and all.
fn whole(upstream: Dialect, text: &str) -> String {
    match upstream {
        Dialect::OpenAiChat => format!(
            r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":{text}}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}}}"#
        ),
        Dialect::Anthropic => format!(
            r#"{{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":{text}}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":3,"output_tokens":5}}}}"#
        ),
        Dialect::Gemini => format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":{text}}}],"role":"model"}},"finishReason":"STOP","index":0}}],"model":"m","responseId":"r","usageMetadata":{{"promptTokenCount":3,"candidatesTokenCount":5,"totalTokenCount":8}}}}"#
        ),
        Dialect::Responses | Dialect::DoubaoTranslation => format!(
            r#"{{"id":"r","object":"response","created_at":1,"model":"m","status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":{text}}}]}}],"usage":{{"input_tokens":3,"output_tokens":5,"total_tokens":8}}}}"#
        ),
        other => unreachable!("{other:?} is none of these"),
    }
}

/// What stands before the first word of a stream.
fn opening(upstream: Dialect) -> String {
    match upstream {
        Dialect::OpenAiChat => crate::testing::reply::role(),
        Dialect::Anthropic => crate::testing::adapters::anthropic_stream(&[]).0,
        Dialect::Gemini => gemini_event("{\"content\":{\"role\":\"model\"},\"index\":0}", ""),
        Dialect::Responses | Dialect::DoubaoTranslation => responses_event(
            "response.created",
            r#""response":{"id":"r","object":"response","model":"m","status":"in_progress","output":[]}"#,
        ),
        other => unreachable!("{other:?} is none of these"),
    }
}

/// An event whose text is this JSON string.
fn said(upstream: Dialect, text: &str) -> String {
    match upstream {
        Dialect::OpenAiChat => {
            format!(
                "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}}}}]}}\n\n"
            )
        }
        Dialect::Anthropic => format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":{text}}}}}\n\n"
        ),
        Dialect::Gemini => {
            gemini_event(&format!("{{\"content\":{{\"parts\":[{{\"text\":{text}}}]}},\"index\":0}}"), "")
        }
        Dialect::Responses | Dialect::DoubaoTranslation => {
            responses_event("response.output_text.delta", &format!("\"output_index\":0,\"delta\":{text}"))
        }
        other => unreachable!("{other:?} is none of these"),
    }
}

/// A frame of Gemini's with this candidate, and more beside it.
fn gemini_event(candidate: &str, more: &str) -> String {
    format!("data: {{\"candidates\":[{candidate}]{more},\"modelVersion\":\"m\",\"responseId\":\"r\"}}\n\n")
}

/// An event of responses with these fields.
fn responses_event(kind: &str, fields: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{fields}}}\n\n")
}

/// Why a stream ends, and its usage.
fn finish(upstream: Dialect) -> String {
    match upstream {
        Dialect::OpenAiChat => crate::testing::reply::stop() + &crate::testing::reply::usage_chunk(),
        Dialect::Anthropic => anthropic_event(
            "message_delta",
            &json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 5 } }),
        ),
        Dialect::Gemini => gemini_event(
            r#"{"content":{},"finishReason":"STOP","index":0}"#,
            r#","usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5,"totalTokenCount":8}"#,
        ),
        Dialect::Responses | Dialect::DoubaoTranslation => responses_event(
            "response.completed",
            r#""response":{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}"#,
        ),
        other => unreachable!("{other:?} is none of these"),
    }
}

/// The terminal marker.
fn marker(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => "data: [DONE]\n\n",
        Dialect::Anthropic => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        // A stream of it ends with its body.
        Dialect::Gemini => "",
        // The reason is the end.
        Dialect::Responses | Dialect::DoubaoTranslation => "",
        other => unreachable!("{other:?} is none of these"),
    }
}

/// Whether a stream of this client says that it is whole.
fn is_ended(client: Dialect, text: &str) -> bool {
    match client {
        Dialect::Responses => {
            text.trim_end().rsplit("\n\n").next().is_some_and(|last| last.contains("response.completed"))
        }
        _ => text.trim_end().ends_with(marker(client).trim_end()),
    }
}

/// An error event with this message.
fn error(upstream: Dialect, message: &str) -> String {
    match upstream {
        Dialect::OpenAiChat => crate::testing::reply::error_event(message),
        Dialect::Anthropic => anthropic_event(
            "error",
            &json!({ "type": "error", "error": { "type": "api_error", "message": message } }),
        ),
        Dialect::Gemini => {
            let error = json!({ "error": { "code": 500, "message": message, "status": "INTERNAL" } });
            format!("data: {error}\n\n")
        }
        Dialect::Responses | Dialect::DoubaoTranslation => {
            let error = json!({ "code": "server_error", "message": message });
            responses_event("error", &format!("\"error\":{error}"))
        }
        other => unreachable!("{other:?} is none of these"),
    }
}

fn stream(upstream: Dialect, text: &str) -> String {
    opening(upstream) + &said(upstream, text) + &finish(upstream) + marker(upstream)
}

fn target(upstream: Dialect) -> Arc<Target> {
    target_of(channel("a").dialect(upstream).build()).upstream_model("up-m").build()
}

fn asking(client: Dialect, streams: bool) -> ExchangeBuilder {
    let exchange = exchange().endpoint(endpoint_of(client));
    let exchange =
        if client == Dialect::Responses { exchange.fields(json!({ "input": "hi" })) } else { exchange };
    if streams { exchange.stream() } else { exchange }
}

/// What the client gets of this answer, or why another channel is asked.
async fn answered(
    (_, upstream): Way,
    asking: ExchangeBuilder,
    body: Chunks,
    label: Option<&str>,
) -> Result<Reply, Failure> {
    let mut answer: Response<Idle> = body.watched_answer(200, label.unwrap_or("x/y"));
    if label.is_none() {
        answer.headers_mut().remove(CONTENT_TYPE);
    }
    let upstreams = Scripted::<Call, Response<Idle>, Failure>::new().answers(answer);
    let mut stack = mount(ErrorTriggerLayer, &ConvertLayer::new(no_media()).layer(upstreams));
    stack.ask(call(asking.shared(), target(upstream)).build()).await
}

/// The same of a streamed answer, read to its end.
async fn streamed(way: Way, body: Chunks) -> Result<Read, Failure> {
    let reply = answered(way, asking(way.0, true), body, Some("text/event-stream")).await?;
    Ok(read(reply.into_body()).await)
}

fn label_of<T>(result: &Result<T, Failure>) -> &'static str {
    result.as_ref().map_or_else(|failure| failure.label(), |_| "ok")
}

const LABELS: [Option<&str>; 7] = [
    Some("application/json"),
    Some("application/json; charset=utf-8"),
    Some("text/event-stream"),
    Some("text/plain"),
    Some("text/html"),
    Some("application/octet-stream"),
    None,
];

#[tokio::test(start_paused = true)]
async fn what_a_body_is_is_told_by_its_beginning_whatever_its_label_and_wherever_it_is_cut() {
    for way in ways() {
        let (client, upstream) = way;
        let forms = [(false, whole(upstream, "\"hello\"")), (true, stream(upstream, "\"hello\""))];
        for (is_events, body) in forms {
            for streams in [false, true] {
                if is_events != streams && !folds(client) {
                    continue;
                }
                for label in LABELS {
                    for before in ["", "\u{feff}", " \r\n"] {
                        let body = format!("{before}{body}");
                        let case = format!("{way:?} events={is_events} asked={streams} {label:?} {before:?}");
                        // Its first bytes alone, then the rest: too little is never taken for an answer.
                        let cut = before.len() + 2;
                        let chunks = chunks()
                            .now(body.as_bytes()[..1].to_vec())
                            .after(Duration::from_secs(1), body.as_bytes()[1..cut].to_vec())
                            .after(Duration::from_secs(1), body.as_bytes()[cut..].to_vec());

                        let reply = answered(way, asking(client, streams), chunks, label)
                            .await
                            .unwrap_or_else(|failure| panic!("{case}: {failure}"));

                        let content_type = reply.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
                        let told = read(reply.into_body()).await;
                        assert_eq!(told.outcome(), "ok", "{case}");
                        assert!(told.text.contains("hello"), "{case}: {}", told.text);
                        assert_eq!(is_ended(client, &told.text), streams, "{case}");
                        let expected = if streams { "text/event-stream" } else { "application/json" };
                        assert_eq!(content_type, expected, "{case}");
                        assert!(streams || serde_json::from_str::<Value>(&told.text).is_ok(), "{case}");
                    }
                }
            }
        }
    }
}

/// Ways to ruin a whole answer.
fn ruined(answer: &str) -> Vec<(&'static str, Vec<u8>)> {
    let replaced = |from: &str, to: &str| {
        assert!(answer.contains(from), "{answer}");
        answer.replacen(from, to, 1).into_bytes()
    };
    let at = answer.find("hello").expect("its text");
    vec![
        ("two of them", [answer, answer].concat().into()),
        ("a broken middle", replaced("\"model\":\"m\"", "\"model\":oops")),
        ("no number", replaced("\"model\":\"m\"", "\"model\":NaN")),
        ("no number either", replaced("\"model\":\"m\"", "\"model\":-Infinity")),
        ("a comma too many", replaced("\"model\":\"m\",", "\"model\":\"m\",,")),
        ("a bracket of the other kind", replaced("}}", "}]")),
        ("a line end within a text", replaced("hello", "he\nllo")),
        ("an escape that is none", replaced("hello", "he\\xllo")),
        (
            "bytes that are no text",
            [&answer.as_bytes()[..at], &b"\xff"[..], &answer.as_bytes()[at..]].concat(),
        ),
        (
            "bytes that are no text where nobody looks",
            [&b"{\"extra\":\"\xff\","[..], &answer.as_bytes()[1..]].concat(),
        ),
        ("something behind it", [answer, " and more"].concat().into()),
        ("half of it", answer.as_bytes()[..answer.len() - 9].to_vec()),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_is_never_told_as_an_answer_and_the_failure_says_what_came() {
    for way in ways() {
        for (how, body) in ruined(&whole(way.1, "\"hello\"")) {
            let result =
                answered(way, asking(way.0, false), chunks().now(body), Some("application/json")).await;

            assert_eq!(label_of(&result), "garbled_answer", "{way:?} {how}");
            let told = result.unwrap_err().to_string();
            assert!(
                told.contains("labelled application/json that begins with `{\""),
                "{way:?} {how}: {told}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_surrogate_pair_passes_as_it_is_where_bytes_pass_and_as_a_replacement_elsewhere() {
    for way in ways() {
        let (client, upstream) = way;
        let texts = [r#""\ud83d""#, r#""\ud83d only""#, r#""half \uDE00""#];
        for text in texts {
            let bodies = [
                (false, chunks().now(whole(upstream, text))),
                (true, chunks().now(stream(upstream, text))),
                // Two halves in two events.
                (
                    true,
                    chunks()
                        .now(opening(upstream))
                        .now(said(upstream, text))
                        .now(said(upstream, r#""\ude00""#))
                        .now(finish(upstream) + marker(upstream)),
                ),
            ];
            for (streams, body) in bodies {
                let label = if streams { "text/event-stream" } else { "application/json" };

                let reply = answered(way, asking(client, streams), body, Some(label)).await;

                let reply = reply.unwrap_or_else(|failure| panic!("{way:?} {text} {streams}: {failure}"));
                let told = read(reply.into_body()).await;
                let expected = if client == upstream { &text[1..text.len() - 1] } else { "\u{fffd}" };
                assert!(told.text.contains(expected), "{way:?} {text} {streams}: {}", told.text);
                assert_eq!(told.outcome(), "ok");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_with_its_marker_or_shortly_behind_its_reason_whatever_the_connection_does() {
    let minutes = Duration::from_secs(300);
    for way in ways() {
        let (client, upstream) = way;
        let begun = || chunks().now(opening(upstream)).now(said(upstream, "\"hello\""));
        let finished = || begun().now(finish(upstream));
        let done = || finished().now(marker(upstream));
        let flood = (0..2000).fold(done(), |body, _| body.now("x".repeat(1 << 10)));
        for (how, body, patience, has_marker) in [
            ("all at once, and open", chunks().now(stream(upstream, "\"hello\"")).hangs(), AT_MARKER, true),
            ("marker, and open", done().hangs(), AT_MARKER, true),
            ("marker, and the end", done(), Duration::ZERO, true),
            ("marker, and a break", done().breaks(), Duration::ZERO, true),
            (
                "marker, and an error",
                done().now(error(upstream, "late sk-provider-key")).hangs(),
                AT_MARKER,
                true,
            ),
            (
                "marker, and an error in its packet",
                finished().now(marker(upstream).to_owned() + &error(upstream, "late")).hangs(),
                AT_MARKER,
                true,
            ),
            ("marker, and garbage", done().now("data: {oops\n\n\0").hangs(), AT_MARKER, true),
            (
                "marker, and pings",
                done()
                    .after(Duration::from_millis(700), ": p\n\n")
                    .after(Duration::from_millis(700), ": p\n\n")
                    .hangs(),
                AT_MARKER,
                true,
            ),
            ("marker, and no end of bytes", flood.hangs(), AT_MARKER, true),
            ("reason, and open", finished().hangs(), AT_REASON, client != upstream),
            (
                "reason, a while, and the marker",
                finished().after(Duration::from_secs(9), marker(upstream)).hangs(),
                AT_REASON,
                true,
            ),
            ("reason, and the end", finished(), Duration::ZERO, client != upstream),
            ("reason, and a break", finished().breaks(), Duration::ZERO, client != upstream),
        ] {
            // Where there is no marker the reason has to do.
            let marked = !marker(upstream).is_empty();
            if !marked && how.contains("marker") {
                continue;
            }
            let patience = if !marked && how == "all at once, and open" { AT_REASON } else { patience };
            let began = Instant::now();

            let told = streamed(way, body).await.unwrap_or_else(|failure| panic!("{way:?} {how}: {failure}"));

            assert_eq!(told.outcome(), "ok", "{way:?} {how}: {}", told.text);
            assert!(
                told.text.contains("hello") && !told.text.contains("late"),
                "{way:?} {how}: {}",
                told.text
            );
            assert_eq!(
                is_ended(client, &told.text),
                has_marker || client == Dialect::Responses,
                "{way:?} {how}: {}",
                told.text
            );
            assert_eq!(told.sighting.usage().map(|usage| usage.output_total), Some(5), "{way:?} {how}");
            assert!(began.elapsed() <= patience, "{way:?} {how}: {:?}", began.elapsed());
        }
        // Of two choices one may be done long before the other.
        let reason = crate::testing::reply::stop();
        let other = said(upstream, "\"later\"");
        if upstream == Dialect::OpenAiChat {
            let body = begun()
                .now(reason)
                .after(Duration::from_secs(60), other)
                .now(finish(upstream))
                .now(marker(upstream));
            let told = streamed(way, body).await.unwrap();
            assert!(told.text.contains("later") && is_ended(client, &told.text), "{way:?}: {}", told.text);
        }
        for (how, body, label) in [
            ("no reason, and the end", begun(), "truncated_answer"),
            ("no reason, and a break", begun().breaks(), "connection_broken"),
            ("no reason, and open", begun().after(minutes, "").hangs(), "timeout"),
        ] {
            assert_eq!(streamed(way, body).await.unwrap().outcome(), label, "{way:?} {how}");
        }
    }
}

const AT_MARKER: Duration = Duration::from_secs(1);
const AT_REASON: Duration = Duration::from_secs(10);

/// Something of this length, in pieces as they come over a connection.
fn in_packets(text: String) -> Chunks {
    let packets: Vec<Vec<u8>> = text.into_bytes().chunks(20_000).map(<[u8]>::to_vec).collect();
    packets.into_iter().fold(chunks(), |body, packet| body.after(Duration::from_millis(1), packet))
}

#[tokio::test(start_paused = true)]
async fn an_event_of_any_length_loses_neither_text_nor_reason_nor_usage() {
    for way in ways() {
        let (client, upstream) = way;
        for length in [60_000, 100_000, 1 << 20, 5 << 20] {
            let text = format!("\"{}\"", "x".repeat(length));
            for accepted in [false, true] {
                let before = if accepted { said(upstream, "\"first\"") } else { String::new() };
                let (reason, end) = match upstream {
                    // All of it in one event, without a marker behind.
                    Dialect::OpenAiChat => (
                        said(upstream, &text).replace(
                            "}]}\n",
                            r#","finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":30000}}"#,
                        ) + "\n",
                        String::new(),
                    ),
                    Dialect::Anthropic | Dialect::Gemini | Dialect::Responses | Dialect::DoubaoTranslation => {
                        (said(upstream, &text), finish(upstream))
                    }
                    other => unreachable!("{other:?} is none of these"),
                };
                let body = opening(upstream) + &before + &reason + &end;
                let case = format!("{way:?} {length} {accepted}");

                let told = streamed(way, in_packets(body.clone())).await.unwrap();

                assert_eq!(told.outcome(), "ok", "{case}");
                let expected = if upstream == Dialect::OpenAiChat { 30_000 } else { 5 };
                assert_eq!(told.sighting.usage().map(|usage| usage.output_total), Some(expected), "{case}");
                // What is looked at is bounded, and 2 MiB of text are enough for an estimate.
                let looked_at = if client == upstream { length.min(2_000_000) } else { length };
                assert!(told.sighting.delivered as usize >= looked_at, "{case}: {}", told.sighting.delivered);
                assert!(client != upstream || told.text == body, "{case}");
                assert!(told.sighting.finished, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_any_length_is_an_error_before_content_and_behind_it() {
    for way in ways() {
        let (client, upstream) = way;
        for length in [1000, 100_000, 1 << 20] {
            let long = error(upstream, &format!("{} sk-provider-key", "bad ".repeat(length / 4)));
            let first = streamed(way, in_packets(opening(upstream) + &long)).await;
            let begun = chunks().now(opening(upstream) + &said(upstream, "\"hello\""));
            let behind = begun.then(in_packets(long + marker(upstream)));

            let behind = streamed(way, behind).await.unwrap();

            assert_eq!(label_of(&first), "upstream_error", "{way:?} {length}");
            assert_eq!(behind.outcome(), "upstream_error", "{way:?} {length}");
            assert!(behind.text.contains("hello"), "{way:?} {length}");
            assert!(!behind.text.contains("sk-provider-key"), "{way:?} {length}");
            assert!(!is_ended(client, &behind.text), "{way:?} {length}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn comments_are_no_content_however_long_and_however_they_are_cut() {
    for way in ways() {
        let comments = ": nothing to see here, and that for a while\n".repeat(1600);
        for body in [comments.clone(), comments.clone() + "\n", comments.replace('\n', "\r\n")] {
            let broken = streamed(way, in_packets(body.clone()).breaks()).await;
            let ended = streamed(way, in_packets(body.clone())).await;
            let answered = streamed(way, in_packets(body + "\n" + &stream(way.1, "\"hello\""))).await;

            assert_eq!(label_of(&broken), "connection_broken", "{way:?}");
            assert!(
                ["empty_answer", "truncated_answer"].contains(&label_of(&ended)),
                "{way:?}: {}",
                label_of(&ended)
            );
            assert_eq!(answered.map(|told| told.outcome()).ok(), Some("ok"), "{way:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_too_long_to_be_held_that_breaks_off_is_cut_off_and_told_as_broken() {
    let text = "x".repeat(1 << 20);
    let begun = (0..40)
        .fold(chunks().now("{\"choices\":[{\"message\":{\"content\":\""), |body, _| body.now(text.clone()));
    let way = (Dialect::OpenAiChat, Dialect::OpenAiChat);

    let reply = answered(way, asking(way.0, false), begun.breaks(), Some("application/json")).await.unwrap();

    assert!(wire(reply.into_body()).await.is_err(), "no last chunk, and no event within JSON");
}

/// What came before an answer without a word.
fn asking_after(client: Dialect, last: &str) -> ExchangeBuilder {
    let turns = match (client, last) {
        (_, "question") => json!([{ "role": "user", "content": "hi" }]),
        (_, "answer") => {
            json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "he" }])
        }
        (Dialect::OpenAiChat | Dialect::Gemini | Dialect::Responses | Dialect::DoubaoTranslation, _) => {
            json!([
                { "role": "user", "content": "hi" },
                { "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
                { "role": "tool", "tool_call_id": "c1", "content": "cut \\ud83d off" },
            ])
        }
        (Dialect::Anthropic, _) => json!([
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "c1", "name": "f", "input": {} }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c1", "content": "ok" }] },
        ]),
        other => unreachable!("{other:?} is none of these"),
    };
    if client == Dialect::Responses {
        let items = match last {
            "result" => json!([
                { "role": "user", "content": "hi" },
                { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
                { "type": "function_call_output", "call_id": "c1", "output": "cut \\ud83d off" },
            ]),
            _ => turns,
        };
        return exchange().endpoint(&RESPONSES).fields(json!({ "input": items }));
    }
    exchange().endpoint(endpoint_of(client)).fields(json!({ "max_tokens": 9, "messages": turns }))
}

#[tokio::test(start_paused = true)]
async fn nothing_more_to_say_is_claude_s_answer_to_the_result_of_a_tool_and_nobody_else_s() {
    for way in ways() {
        let (client, upstream) = way;
        for last in ["answer", "result"] {
            for cut in [chunks(), chunks().now(": ping\n\n"), chunks().now(opening(upstream))] {
                let result =
                    answered(way, asking_after(client, last).stream(), cut, Some("text/event-stream")).await;

                assert!(result.is_err(), "{way:?} {last}: what did not end is no answer");
            }
        }
        for (last, tokens) in [("question", 3), ("answer", 3), ("result", 3), ("result", 0)] {
            for streams in [false, true] {
                let body = match (upstream, streams) {
                    (Dialect::OpenAiChat, false) => {
                        whole(upstream, "null").replace(":5,", &format!(":{tokens},"))
                    }
                    (Dialect::OpenAiChat, true) => {
                        let end = finish(upstream)
                            .replace("\"completion_tokens\":5", &format!("\"completion_tokens\":{tokens}"));
                        opening(upstream) + &end + marker(upstream)
                    }
                    (Dialect::Responses | Dialect::DoubaoTranslation, streams) => {
                        let body = match streams {
                            true => opening(upstream) + &finish(upstream),
                            false => whole(upstream, "\"\""),
                        };
                        body.replace("output_tokens\":5", &format!("output_tokens\":{tokens}"))
                    }
                    (Dialect::Anthropic, false) => whole(upstream, "\"\"")
                        .replace(r#"{"type":"text","text":""}"#, "")
                        .replace("\"output_tokens\":5", &format!("\"output_tokens\":{tokens}")),
                    (Dialect::Anthropic, true) => {
                        let start = opening(upstream).replace("\"output_tokens\":1", "\"output_tokens\":0");
                        let end = finish(upstream)
                            .replace("\"output_tokens\":5", &format!("\"output_tokens\":{tokens}"));
                        start + &end + marker(upstream)
                    }
                    (Dialect::Gemini, streams) => {
                        let body = match streams {
                            true => opening(upstream) + &finish(upstream),
                            false => whole(upstream, "\"\""),
                        };
                        body.replace("TokenCount\":5", &format!("TokenCount\":{tokens}"))
                    }
                    other => unreachable!("{other:?} is none of these"),
                };
                let label = if streams { "text/event-stream" } else { "application/json" };
                let asking = asking_after(client, last);
                let asking = if streams { asking.stream() } else { asking };

                let result = answered(way, asking, chunks().now(body), Some(label)).await;

                let silent_end = last == "result" && tokens > 0 && upstream == Dialect::Anthropic;
                let expected = if last == "answer" || silent_end { "ok" } else { "empty_answer" };
                assert_eq!(label_of(&result), expected, "{way:?} {last} {tokens} {streams}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_request_is_told_in_the_client_s_shape_whatever_shape_it_came_in() {
    let flat = [
        (
            r#"{"object":"error","message":"no such field","type":"invalid_request_error","param":null,"code":null}"#,
            "no such field",
        ),
        (
            r#"{"errors":[{"code":7009,"message":"no such field"}],"success":false,"result":{},"messages":[]}"#,
            "no such field",
        ),
        (r#"{"detail":[{"loc":["body","messages"],"msg":"no such field"}]}"#, "no such field"),
        (r#"{"error":"no such field"}"#, "no such field"),
        (r#"{"object":"error","message":"half \ud83d of it"}"#, "half \u{fffd} of it"),
    ];
    for way in ways() {
        let shape = way.0.error_shape();
        let own = match way.1 {
            Dialect::OpenAiChat => {
                r#"{"error":{"message":"half \ud83d of it","type":"x","code":"bad_thing"},"own":1}"#
            }
            Dialect::Anthropic => {
                r#"{"type":"error","error":{"type":"bad_thing","message":"half \ud83d of it"},"own":1}"#
            }
            Dialect::Gemini => {
                r#"{"error":{"code":400,"message":"half \ud83d of it","status":"BAD_THING"},"own":1}"#
            }
            Dialect::Responses | Dialect::DoubaoTranslation => {
                r#"{"error":{"message":"half \ud83d of it","type":"x","code":"bad_thing"},"own":1}"#
            }
            other => unreachable!("{other:?} is none of these"),
        };
        for (body, message) in flat.into_iter().chain([(own, "half \u{fffd} of it")]) {
            for status in [400, 422] {
                let upstreams = Scripted::<Call, Response<Idle>, Failure>::new()
                    .answers(chunks().now(body).watched_answer(status, "application/json"));
                let mut stack = mount(ConvertLayer::new(no_media()), &upstreams);

                let failure =
                    stack.ask(call(asking(way.0, false).shared(), target(way.1)).build()).await.unwrap_err();

                let is_own = body == own && way.0 == way.1;
                assert_eq!(
                    failure.verbatim(shape).as_deref(),
                    is_own.then_some(body.as_bytes()),
                    "{way:?} {body}"
                );
                let told = shape.body(&failure.to_wire());
                assert!(shape.fits(&told), "{way:?} {body}");
                let told: Value = serde_json::from_slice(&told).unwrap();
                assert!(
                    told["error"]["message"].as_str().unwrap().contains(message),
                    "{way:?} {body}: {told}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_or_a_page_with_status_200_is_none_the_less_one_whatever_its_label() {
    for way in ways() {
        let error = error(way.1, "down for now");
        let error = error.split("data: ").last().expect("its data").trim_end();
        for (body, outcome) in [
            (error.to_owned(), "upstream_error"),
            (format!("[{error}]"), "upstream_error"),
            ("<html><h1>Sign in</h1>".to_owned(), "garbled_answer"),
        ] {
            for (streams, label) in
                [false, true].into_iter().flat_map(|streams| LABELS.map(|label| (streams, label)))
            {
                let result = answered(way, asking(way.0, streams), chunks().now(body.clone()), label).await;

                assert_eq!(label_of(&result), outcome, "{way:?} {streams} {label:?} {body}");
                assert!(!result.unwrap_err().to_string().contains("<h"), "{way:?} {streams} {label:?}");
            }
        }
    }
}
