//! What an answer is, for every pair of dialects between which there is a way, streamed and whole.

mod rows;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dialect::{Dialect, between};
use http::Response;
use serde_json::{Value, json};
use tower::Layer;

use self::rows::{End, Row, rows};
use super::*;
use crate::convert::ConvertLayer;
use crate::endpoint::{CHAT_COMPLETIONS, Endpoint, MESSAGES, RESPONSES};
use crate::error_trigger::ErrorTriggerLayer;
use crate::policy::Target;
use crate::testing::policy::{channel, target_of};
use crate::testing::ports::no_media;
use crate::testing::reply::{Read, wire};
use crate::testing::stage::ExchangeBuilder;
use crate::testing::{Chunks, Scripted, call, chunks, exchange, mount, read};

/// A way from clients of one dialect to an upstream that answers like this.
#[derive(Clone, Copy)]
struct Way {
    client: Dialect,
    row: &'static Row,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from {:?} {}", self.client, self.row.dialect, self.row.name)
    }
}

impl Way {
    /// Whether the client gets the upstream's own words.
    fn is_same(self) -> bool {
        self.client == self.row.dialect
    }

    /// Whether it gets its very bytes.
    fn passes(self) -> bool {
        self.is_same() && !self.row.wraps()
    }
}

/// Where clients of a dialect ask, and what ends their streams: a row for each dialect that clients speak.
fn client_of(client: Dialect) -> (&'static Endpoint, &'static str) {
    match client {
        Dialect::OpenAiChat => (&CHAT_COMPLETIONS, "data: [DONE]\n\n"),
        Dialect::Anthropic => (&MESSAGES, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        // The reason is the end.
        Dialect::Responses => (&RESPONSES, ""),
        Dialect::DoubaoTranslation
        | Dialect::Gemini
        | Dialect::Converse
        | Dialect::CohereV2
        | Dialect::CohereV1
        | Dialect::Cloudflare => panic!("{client:?} has no row as a client's dialect"),
    }
}

fn marker_of(client: Dialect) -> &'static str {
    client_of(client).1
}

/// Every way that there is.
fn ways() -> Vec<Way> {
    let rows: Vec<&Row> = Dialect::ALL.into_iter().flat_map(rows).collect();
    let pairs = Dialect::ALL.into_iter().flat_map(|client| rows.iter().map(move |row| Way { client, row }));
    let ways: Vec<Way> =
        pairs.filter(|way| between(Kind::Chat, way.client, way.row.dialect).is_some()).collect();
    assert!(Dialect::ALL.iter().all(|dialect| ways.iter().any(|way| way.row.dialect == *dialect)));
    ways
}

#[test]
fn each_dialect_has_rows_of_its_own_and_one_in_the_framing_of_its_codec() {
    for dialect in Dialect::ALL {
        let rows = rows(dialect);
        assert!(rows.iter().all(|row| row.dialect == dialect), "{dialect:?}");
        let framing = dialect.codec().upstream.framing;
        assert!(rows.iter().any(|row| row.framing == framing && !row.wraps()), "{dialect:?}");
    }
}

/// Whether answers for these clients can be folded and unfolded.
fn folds(client: Dialect) -> bool {
    client.codec().client.as_ref().is_some_and(|client| client.inbound.is_some())
}

fn target(row: &Row) -> Arc<Target> {
    let channel = channel("a").dialect(row.dialect).envelope(row.envelope).build();
    target_of(channel).upstream_model("up-m").build()
}

/// Whether a stream of this client says that it is whole.
fn is_ended(client: Dialect, text: &str) -> bool {
    match client {
        Dialect::Responses => {
            text.trim_end().rsplit("\n\n").next().is_some_and(|last| last.contains("response.completed"))
        }
        _ => text.trim_end().ends_with(marker_of(client).trim_end()),
    }
}

fn asking(client: Dialect, streams: bool) -> ExchangeBuilder {
    let exchange = exchange().endpoint(client_of(client).0);
    let exchange =
        if client == Dialect::Responses { exchange.fields(json!({ "input": "hi" })) } else { exchange };
    if streams { exchange.stream() } else { exchange }
}

/// What the client gets of this answer, or why another channel is asked.
async fn answered(
    way: Way,
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
    stack.ask(call(asking.shared(), target(way.row)).build()).await
}

/// The same of a streamed answer, read to its end.
async fn streamed(way: Way, body: Chunks) -> Result<Read, Failure> {
    let label = way.row.framing.content_type();
    let reply = answered(way, asking(way.client, true), body, Some(label)).await?;
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
        let Way { client, row } = way;
        let forms = [(false, (row.whole)("\"hello\"").into_bytes()), (true, row.stream("\"hello\""))];
        let labels = LABELS.into_iter().chain([Some(row.framing.content_type())]);
        for (is_events, body) in forms {
            // Nothing comes before a message whose length is told.
            let befores = match is_events && row.framing == Framing::EventStream {
                true => &[""][..],
                false => &["", "\u{feff}", " \r\n"],
            };
            for streams in [false, true] {
                if is_events != streams && !folds(client) {
                    continue;
                }
                for (label, before) in
                    labels.clone().flat_map(|label| befores.iter().map(move |before| (label, *before)))
                {
                    let body = [before.as_bytes(), &body].concat();
                    let case = format!("{way:?} events={is_events} asked={streams} {label:?} {before:?}");
                    // Its first bytes alone, then the rest: too little is never taken for an answer.
                    let cut = before.len() + 2;
                    let chunks = chunks()
                        .now(body[..1].to_vec())
                        .after(Duration::from_secs(1), body[1..cut].to_vec())
                        .after(Duration::from_secs(1), body[cut..].to_vec());

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
        for (how, body) in ruined(&(way.row.whole)("\"hello\"")) {
            let result =
                answered(way, asking(way.client, false), chunks().now(body), Some("application/json")).await;

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
        let Way { client, row } = way;
        let texts = [r#""\ud83d""#, r#""\ud83d only""#, r#""half \uDE00""#];
        for text in texts {
            let bodies = [
                (false, chunks().now((row.whole)(text))),
                (true, chunks().now(row.stream(text))),
                // Two halves in two events.
                (
                    true,
                    chunks()
                        .now(row.opening())
                        .now(row.said(text))
                        .now(row.said(r#""\ude00""#))
                        .now([row.finish(), row.marker()].concat()),
                ),
            ];
            for (streams, body) in bodies {
                let label = if streams { row.framing.content_type() } else { "application/json" };

                let reply = answered(way, asking(client, streams), body, Some(label)).await;

                let reply = reply.unwrap_or_else(|failure| panic!("{way:?} {text} {streams}: {failure}"));
                let told = read(reply.into_body()).await;
                let expected = if way.is_same() { &text[1..text.len() - 1] } else { "\u{fffd}" };
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
        let Way { client, row } = way;
        let begun = || chunks().now(row.opening()).now(row.said("\"hello\""));
        let finished = || begun().now(row.finish());
        let done = || finished().now(row.marker());
        let flood = (0..2000).fold(done(), |body, _| body.now("x".repeat(1 << 10)));
        for (how, body, patience, has_marker) in [
            ("all at once, and open", chunks().now(row.stream("\"hello\"")).hangs(), AT_MARKER, true),
            ("marker, and open", done().hangs(), AT_MARKER, true),
            ("marker, and the end", done(), Duration::ZERO, true),
            ("marker, and a break", done().breaks(), Duration::ZERO, true),
            ("marker, and an error", done().now(row.error("late sk-provider-key")).hangs(), AT_MARKER, true),
            (
                "marker, and an error in its packet",
                finished().now([row.marker(), row.error("late")].concat()).hangs(),
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
            ("reason, and open", finished().hangs(), AT_REASON, !way.is_same()),
            (
                "reason, a while, and the marker",
                finished().after(Duration::from_secs(9), row.marker()).hangs(),
                AT_REASON,
                true,
            ),
            ("reason, and the end", finished(), Duration::ZERO, !way.is_same()),
            ("reason, and a break", finished().breaks(), Duration::ZERO, !way.is_same()),
        ] {
            // Where there is no marker the reason has to do.
            let marked = row.end != End::Reason;
            if !marked && how.contains("marker") {
                continue;
            }
            // Where no reason is told an end without the marker is none.
            let reasons = [
                ("reason, and open", "timeout"),
                ("reason, and the end", "truncated_answer"),
                ("reason, and a break", "connection_broken"),
            ];
            let unmarked = reasons.iter().find(|(reason, _)| *reason == how);
            if let (End::MarkerAlone(_), Some((_, label))) = (row.end, unmarked) {
                assert_eq!(streamed(way, body).await.unwrap().outcome(), *label, "{way:?} {how}");
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
        let other = row.said("\"later\"");
        if row.dialect == Dialect::OpenAiChat {
            let body =
                begun().now(reason).after(Duration::from_secs(60), other).now(row.finish()).now(row.marker());
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
fn in_packets(bytes: impl AsRef<[u8]>) -> Chunks {
    let packets: Vec<Vec<u8>> = bytes.as_ref().chunks(20_000).map(<[u8]>::to_vec).collect();
    packets.into_iter().fold(chunks(), |body, packet| body.after(Duration::from_millis(1), packet))
}

#[tokio::test(start_paused = true)]
async fn an_event_of_any_length_loses_neither_text_nor_reason_nor_usage() {
    for way in ways() {
        let row = way.row;
        for length in [60_000, 100_000, 3 << 20] {
            let text = format!("\"{}\"", "x".repeat(length));
            for accepted in [false, true] {
                let before = if accepted { row.said("\"first\"") } else { Vec::new() };
                let rest = match row.said_last {
                    // All of it in one event; where nothing but a marker is an end, that is behind it.
                    Some(said) => row.bytes(&[said(&text)]),
                    None => [row.said(&text), row.finish()].concat(),
                };
                let end = if let End::MarkerAlone(_) = row.end { row.marker() } else { Vec::new() };
                let body = [row.opening(), before, rest, end].concat();
                let case = format!("{way:?} {length} {accepted}");

                let told = streamed(way, in_packets(&body)).await.unwrap();

                assert_eq!(told.outcome(), "ok", "{case}");
                assert_eq!(told.sighting.usage().map(|usage| usage.output_total), Some(5), "{case}");
                // What is looked at is bounded, and 2 MiB of text are enough for an estimate.
                let looked_at = if way.passes() { length.min(2_000_000) } else { length };
                assert!(told.sighting.delivered as usize >= looked_at, "{case}: {}", told.sighting.delivered);
                assert!(!way.passes() || told.text.as_bytes() == body, "{case}");
                assert!(told.sighting.finished, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_any_length_is_an_error_before_content_and_behind_it() {
    for way in ways() {
        let Way { client, row } = way;
        for length in [1000, 100_000, 300_000] {
            let long = row.error(&format!("{} sk-provider-key", "bad ".repeat(length / 4)));
            let first = streamed(way, in_packets([row.opening(), long.clone()].concat())).await;
            let begun = chunks().now(row.opening()).now(row.said("\"hello\""));
            let behind = begun.then(in_packets([long, row.marker()].concat()));

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
        let bodies = match way.row.hum {
            None => [comments.clone(), comments.clone() + "\n", comments.replace('\n', "\r\n")]
                .map(String::into_bytes),
            Some(hum) => [1, 3, 1600].map(|times| way.row.bytes(&[hum()]).repeat(times)),
        };
        let between: &[u8] = if way.row.hum.is_some() { b"" } else { b"\n" };
        for body in bodies {
            let broken = streamed(way, in_packets(&body).breaks()).await;
            let ended = streamed(way, in_packets(&body)).await;
            let all = [&body[..], between, &way.row.stream("\"hello\"")].concat();
            let answered = streamed(way, in_packets(all)).await;

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
    let way = Way { client: Dialect::OpenAiChat, row: &rows(Dialect::OpenAiChat)[0] };

    let reply =
        answered(way, asking(way.client, false), begun.breaks(), Some("application/json")).await.unwrap();

    assert!(wire(reply.into_body()).await.is_err(), "no last chunk, and no event within JSON");
}

/// What came before an answer without a word.
fn asking_after(client: Dialect, last: &str) -> ExchangeBuilder {
    let turns = match (client, last) {
        (_, "question") => json!([{ "role": "user", "content": "hi" }]),
        (_, "answer") => {
            json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "he" }])
        }
        (Dialect::OpenAiChat, _) => {
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
        (Dialect::Responses, _) => json!([
            { "role": "user", "content": "hi" },
            { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "cut \\ud83d off" },
        ]),
        (other, _) => panic!("{other:?} has no conversation as a client's dialect"),
    };
    let fields = match client {
        Dialect::Responses => json!({ "input": turns }),
        _ => json!({ "max_tokens": 9, "messages": turns }),
    };
    exchange().endpoint(client_of(client).0).fields(fields)
}

#[tokio::test(start_paused = true)]
async fn nothing_more_to_say_is_claude_s_answer_to_the_result_of_a_tool_and_nobody_else_s() {
    for way in ways() {
        let Way { client, row } = way;
        for last in ["answer", "result"] {
            let hum = row.hum.map_or_else(|| b": ping\n\n".to_vec(), |hum| row.bytes(&[hum()]));
            for cut in [chunks(), chunks().now(hum), chunks().now(row.opening())] {
                let label = Some(row.framing.content_type());
                let result = answered(way, asking_after(client, last).stream(), cut, label).await;

                assert!(result.is_err(), "{way:?} {last}: what did not end is no answer");
            }
        }
        for (last, tokens) in [("question", 3), ("answer", 3), ("result", 3), ("result", 0)] {
            for streams in [false, true] {
                let body = match streams {
                    true => row.silent_stream(tokens),
                    false => (row.silent)(tokens).into_bytes(),
                };
                let label = if streams { row.framing.content_type() } else { "application/json" };
                let asking = asking_after(client, last);
                let asking = if streams { asking.stream() } else { asking };

                let result = answered(way, asking, chunks().now(body), Some(label)).await;

                let silent_end = last == "result" && tokens > 0 && row.may_be_silent;
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
        let shape = way.client.error_shape();
        let own = (way.row.refusal)(r#""half \ud83d of it""#);
        let own = own.as_str();
        for (body, message) in flat.into_iter().chain([(own, "half \u{fffd} of it")]) {
            for status in [400, 422] {
                let upstreams = Scripted::<Call, Response<Idle>, Failure>::new()
                    .answers(chunks().now(body.to_owned()).watched_answer(status, "application/json"));
                let mut stack = mount(ConvertLayer::new(no_media()), &upstreams);

                let failure = stack
                    .ask(call(asking(way.client, false).shared(), target(way.row)).build())
                    .await
                    .unwrap_err();

                let is_own = body == own && way.is_same();
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
        let error = (way.row.error_body)("down for now");
        // Google's come in lists, and those of others who say that it is one.
        let listed = error.contains("\"error\":{").then(|| (format!("[{error}]"), "upstream_error"));
        let page = ("<html><h1>Sign in</h1>".to_owned(), "garbled_answer");
        for (body, outcome) in [(error, "upstream_error"), page].into_iter().chain(listed) {
            for (streams, label) in
                [false, true].into_iter().flat_map(|streams| LABELS.map(|label| (streams, label)))
            {
                let result =
                    answered(way, asking(way.client, streams), chunks().now(body.clone()), label).await;

                assert_eq!(label_of(&result), outcome, "{way:?} {streams} {label:?} {body}");
                assert!(!result.unwrap_err().to_string().contains("<h"), "{way:?} {streams} {label:?}");
            }
        }
    }
}
