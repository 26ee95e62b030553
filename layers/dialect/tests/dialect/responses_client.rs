//! Clients of OpenAI's responses: what is read of their requests, how their answers are told, and what is seen of
//! answers that pass as they are.

use bytes::{Bytes, BytesMut};
use dialect::{Depth, Dialect, Framing, Identity, Manner, Sighting, ir};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cuts::{play, ways};
use crate::kit::{Exchange, UPSTREAMS, inbound, probe, read, whole};
use crate::prefixes::{messages, split, steps};
use crate::requests::models;
use crate::{golden, meaning_responses};

const CLIENT: Dialect = Dialect::Responses;

fn request(body: &Value) -> ir::Request {
    read(CLIENT, body.to_string().as_bytes()).unwrap_or_else(|malformed| panic!("{malformed}"))
}

/// A request for this input.
fn asks(input: &Value) -> Value {
    json!({ "model": "m", "input": input })
}

/// What an upstream is sent.
fn sent(upstream: Dialect, body: &Value) -> Value {
    Exchange::new(CLIENT, upstream, body.to_string().as_bytes(), false).sent
}

fn kinds(request: &ir::Request) -> Vec<(ir::Role, Vec<&'static str>)> {
    let kind = |block: &ir::Block| match &block.content {
        ir::Content::Text(_) => "text",
        ir::Content::Thinking { .. } if block.seal.is_some() => "sealed thought",
        ir::Content::Thinking { .. } => "thought",
        ir::Content::ToolCall { .. } => "call",
        ir::Content::ToolResult { .. } => "result",
        ir::Content::Image { .. } => "image",
        ir::Content::Document { .. } => "document",
        ir::Content::Audio { .. } => "sound",
        ir::Content::Refusal(_) => "refusal",
        _ => "other",
    };
    request.turns.iter().map(|turn| (turn.role, turn.blocks.iter().map(kind).collect())).collect()
}

#[test]
fn items_of_one_answer_are_one_turn_and_instructions_stay_where_they_stand() {
    use ir::Role::{Assistant, System, Tool, User};
    let body = asks(&json!([
        { "role": "developer", "content": "D" },
        { "role": "user", "content": [
            { "type": "input_text", "text": "T" },
            { "type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=" },
            { "type": "input_image", "file_id": "file_1" },
            { "type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0=" },
        ] },
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "R" }], "encrypted_content": "E" },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "A", "annotations": [] }] },
        { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
        { "type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x" },
        { "type": "function_call_output", "call_id": "c1", "output": [{ "type": "input_text", "text": "1" }] },
        { "type": "custom_tool_call_output", "call_id": "c2", "output": "2" },
        { "role": "system", "content": "S" },
        { "role": "user", "content": "U" },
    ]));
    let request = request(&body.clone().with_instructions("I"));

    assert_eq!(request.system, [ir::Block::text("I"), ir::Block::text("D")]);
    assert_eq!(
        kinds(&request),
        [
            (User, vec!["text", "image", "image", "document"]),
            (Assistant, vec!["sealed thought", "text", "call", "call"]),
            (Tool, vec!["result"]),
            (Tool, vec!["result"]),
            (System, vec!["text"]),
            (User, vec!["text"]),
        ]
    );
    let ir::Content::ToolResult { name, .. } = &request.turns[3].blocks[0].content else {
        panic!("no result")
    };
    assert_eq!(name.as_deref(), Some("g"));
}

trait WithInstructions {
    fn with_instructions(self, text: &str) -> Self;
}

impl WithInstructions for Value {
    fn with_instructions(mut self, text: &str) -> Self {
        self["instructions"] = text.into();
        self
    }
}

#[test]
fn every_field_goes_where_the_upstream_has_it() {
    let body = json!({
        "model": "m", "input": "x", "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9,
        "parallel_tool_calls": false, "user": "u", "reasoning": { "effort": "low", "summary": "auto" },
        "text": { "format": { "type": "json_schema", "name": "n", "schema": { "type": "object" }, "strict": true } },
        "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" }, "strict": true }],
        "tool_choice": { "type": "function", "name": "f" }, "metadata": { "a": "b" }, "truncation": "auto",
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "store": false,
    });

    let chat = sent(Dialect::OpenAiChat, &body);

    assert_eq!(
        (&chat["max_tokens"], &chat["temperature"], &chat["top_p"]),
        (&json!(100), &json!(0.5), &json!(0.9))
    );
    assert_eq!(
        (&chat["parallel_tool_calls"], &chat["user"], &chat["reasoning_effort"]),
        (&json!(false), &json!("u"), &json!("low"))
    );
    assert_eq!(chat["response_format"]["json_schema"]["name"], "n");
    assert_eq!(chat["tool_choice"], json!({ "type": "function", "function": { "name": "f" } }));
    assert_eq!(chat["messages"], json!([{ "role": "user", "content": "x" }]));
    for (name, value) in [("metadata", json!({ "a": "b" })), ("truncation", json!("auto"))] {
        assert_eq!(chat.get(name), None, "{name} {value}");
    }
}

#[test]
fn wrong_requests_are_refused_by_the_field_at_fault() {
    for (body, param) in [
        (json!({ "model": "m" }), "input"),
        (json!({ "model": "m", "input": 7 }), "input"),
        (json!({ "model": "m", "input": [] }), "input"),
        (json!({ "model": "m", "input": [7] }), "input[0]"),
        (json!({ "model": "m", "input": [{}] }), "input[0].type"),
        (json!({ "model": "m", "input": [{ "role": "nobody", "content": "x" }] }), "input[0].role"),
        (json!({ "model": "m", "input": [{ "type": "function_call" }] }), "input[0].name"),
        (json!({ "model": "m", "input": "x", "max_output_tokens": "many" }), "max_output_tokens"),
        (json!({ "model": "m", "input": "x", "reasoning": { "effort": "huge" } }), "reasoning.effort"),
        (json!({ "model": "m", "input": "x", "text": { "format": { "type": "xml" } } }), "text.format.type"),
        (json!({ "model": "m", "input": "x", "tools": [{ "type": "function" }] }), "tools[0]"),
        (json!({ "model": "m", "input": "x", "tool_choice": 1 }), "tool_choice"),
        (json!({ "input": "x" }), "model"),
    ] {
        let malformed = read(CLIENT, body.to_string().as_bytes()).expect_err(&body.to_string());
        assert_eq!(malformed.param.as_deref(), Some(param), "{body}");
    }
}

#[test]
fn tools_in_a_group_go_by_one_name_elsewhere_and_come_back_in_their_group() {
    let body = json!({
        "model": "m", "input": "x",
        "tools": [{ "type": "namespace", "name": "mcp", "description": "d", "tools": [
            { "type": "function", "name": "f", "parameters": { "type": "object" } },
        ] }],
    });
    let exchange = Exchange::new(CLIENT, Dialect::OpenAiChat, body.to_string().as_bytes(), false);
    assert_eq!(exchange.sent["tools"][0]["function"]["name"], "mcp__f");
    let call =
        json!([{ "id": "c", "type": "function", "function": { "name": "mcp__f", "arguments": "{}" } }]);
    let answer = json!({ "id": "c", "choices": [{ "index": 0, "finish_reason": "tool_calls",
        "message": { "role": "assistant", "content": null, "tool_calls": call } }] });

    let told = exchange.whole(answer.to_string().as_bytes(), dialect::AnswerForm::Json).expect("an answer");

    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!((&told["output"][0]["namespace"], &told["output"][0]["name"]), (&json!("mcp"), &json!("f")));
    let again = asks(&json!([{ "role": "user", "content": "x" }, told["output"][0],
        { "type": "function_call_output", "call_id": "c", "output": "1" }]));
    assert_eq!(
        sent(Dialect::OpenAiChat, &again)["messages"][1]["tool_calls"][0]["function"]["name"],
        "mcp__f"
    );
}

#[test]
fn a_search_that_may_not_look_into_the_web_is_none_elsewhere() {
    let with = |tool: Value| json!({ "model": "claude-sonnet-4-5", "input": "x", "tools": [tool] });

    let searches = sent(Dialect::Anthropic, &with(json!({ "type": "web_search" })));
    let stored =
        sent(Dialect::Anthropic, &with(json!({ "type": "web_search", "external_web_access": false })));

    assert!(
        searches["tools"][0]["type"].as_str().is_some_and(|kind| kind.starts_with("web_search")),
        "{searches}"
    );
    assert_eq!(stored.get("tools"), None);
}

/// What a client is told of these events.
fn told(events: &[ir::Event]) -> String {
    let identity = Identity { id: "r".to_owned(), created: 1_700_000_000, model: "m".to_owned() };
    let mut encoder = inbound(CLIENT).events(&Manner::default(), &identity);
    let mut out = BytesMut::new();
    events.iter().for_each(|event| encoder.encode(event, &mut out));
    encoder.finish(&mut out);
    String::from_utf8(out.to_vec()).expect("text")
}

#[test]
fn calls_that_come_side_by_side_are_told_one_behind_the_other() {
    let start = |index, name: &str| ir::Event::ToolStart {
        index,
        id: format!("c{index}"),
        name: name.to_owned(),
        seal: None,
    };
    let args = |index, fragment: &str| ir::Event::ToolArgs { index, fragment: fragment.to_owned() };
    let events = [
        ir::Event::Text("T".to_owned()),
        start(0, "f"),
        args(0, "{\"a\""),
        start(1, "g"),
        args(1, "{\"b\""),
        args(0, ":1}"),
        args(1, ":2}"),
        ir::Event::Text("U".to_owned()),
        start(2, "h"),
        ir::Event::Finish { reason: ir::FinishReason::ToolCalls, raw: None, stop_sequence: None },
    ];

    let told = told(&events);

    assert_eq!(meaning_responses::fault(told.as_bytes()), None, "{told}");
    let meaning = meaning_responses::of_events(told.as_bytes());
    assert_eq!(
        meaning["tools"],
        json!([{ "name": "f", "arguments": { "a": 1 } }, { "name": "g", "arguments": { "b": 2 } }, { "name": "h", "arguments": {} }])
    );
    assert_eq!(meaning["text"], "TU");
}

#[test]
fn a_failure_leaves_what_was_begun_and_says_that_it_is_not_whole() {
    let error = ir::Error::new(http::StatusCode::TOO_MANY_REQUESTS, "Slow down.");
    let error = ir::Error { retry_after: Some(std::time::Duration::from_millis(1500)), ..error };
    let told = told(&[
        ir::Event::Text("T".to_owned()),
        ir::Event::Error(error),
        ir::Event::Text("never".to_owned()),
    ]);

    assert_eq!(meaning_responses::fault(told.as_bytes()), None, "{told}");
    let last = told.lines().rev().find_map(|line| line.strip_prefix("data: ")).expect("an event");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    assert_eq!(
        last["response"]["error"],
        json!({ "code": "rate_limit_exceeded", "message": "Slow down. Please try again in 2s." })
    );
    assert!(!told.contains("never"));
}

#[test]
fn recorded_streams_tell_the_same_at_every_boundary_and_depth() {
    let mut seen = 0;
    for case in golden::cases().iter().filter(|case| case.upstream == Dialect::Responses && case.is_answer())
    {
        let Some(coming) = case.coming() else { continue };
        seen += 1;
        let stream = coming.as_sse(&case.answer());
        let sighting = |cuts: &[usize], depth: Depth| {
            let mut probe = probe(CLIENT);
            let mut all = Sighting::machinery();
            play(&stream, cuts, |frame| all.merge(probe.observe(frame, depth)));
            all
        };
        let opening = Depth::Opening { want_text: false };
        let whole = sighting(&[], opening);
        let relayed = sighting(&[], Depth::Relay);

        let at = case.folder.display();
        let expected = case.expected();
        let failed = expected["error"].is_object();
        assert_eq!((whole.error().is_some(), whole.done), (failed, !failed), "{at}");
        assert_eq!(whole.usage(), relayed.usage(), "{at}");
        assert_eq!((whole.content, whole.done), (relayed.content, relayed.done), "{at}");
        assert!(failed || expected["text"].as_str() == Some("") || whole.delivered > 0, "{at}");
        let named = whole.detail.as_ref().expect("detail");
        assert!(failed || named.id.is_some(), "{at}");
        for cuts in ways(&stream) {
            assert_eq!(sighting(&cuts, opening), whole, "{at} cut at {cuts:?}");
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn recorded_whole_answers_tell_their_counts_and_their_end() {
    let mut seen = 0;
    for case in golden::cases().iter().filter(|case| case.upstream == Dialect::Responses && case.is_answer())
    {
        if case.coming().is_some() {
            continue;
        }
        seen += 1;
        let sighting = whole(CLIENT, &case.answer(), true);
        let at = case.folder.display();
        assert_eq!(sighting.done, sighting.error().is_none(), "{at}");
        let counted = case.expected()["usage"].is_object();
        assert_eq!(sighting.usage().is_some(), counted, "{at}");
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn an_error_in_a_stream_that_passes_has_the_next_number_and_the_name_of_the_response() {
    let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\
        \"object\":\"response\",\"model\":\"m\",\"created_at\":7,\"status\":\"in_progress\",\"output\":[]}}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":41,\"delta\":\"x\"}\n\n";
    for depth in [Depth::Opening { want_text: false }, Depth::Relay] {
        let mut probe = probe(CLIENT);
        play(stream.as_bytes(), &[], |frame| _ = probe.observe(frame, depth));
        let mut out = BytesMut::new();
        probe.fail(&ir::Error::truncated(), &mut out);

        let told = String::from_utf8(out.to_vec()).expect("text");
        let data = told.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
        let event: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!("response.failed"), &json!(42)));
        assert_eq!(
            (&event["response"]["id"], &event["response"]["created_at"]),
            (&json!("resp_1"), &json!(7))
        );
    }
}

/// A message of chat as items.
fn items(message: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    let role = message["role"].as_str().expect("a role");
    if role == "tool" {
        return vec![
            json!({ "type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"] }),
        ];
    }
    if let Some(thought) = message["reasoning_content"].as_str() {
        found.push(json!({ "type": "reasoning", "summary": [{ "type": "summary_text", "text": thought }] }));
    }
    let content = match &message["content"] {
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part["type"].as_str() {
                Some("image_url") => json!({ "type": "input_image", "image_url": part["image_url"]["url"] }),
                _ => {
                    let mut text = json!({ "type": "input_text", "text": part["text"] });
                    if part["cache_control"].is_object() {
                        text["prompt_cache_breakpoint"] = json!({ "mode": "explicit" });
                    }
                    text
                }
            })
            .collect(),
        other => other.clone(),
    };
    if content.as_str() != Some("") {
        found.push(json!({ "type": "message", "role": role, "content": content }));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        found.push(
            json!({ "type": "function_call", "call_id": call["id"], "name": "f", "arguments": "{\"a\":1}" }),
        );
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_next_request_of_a_conversation_begins_with_the_one_before_it_at_every_upstream(
        steps in steps(),
        marked in any::<bool>(),
    ) {
        let (messages, turns) = messages(&steps, marked);
        let others = [Dialect::DoubaoTranslation, Dialect::Responses];
        for upstream in UPSTREAMS.iter().filter(|upstream| !others.contains(upstream)) {
            for model in models(*upstream) {
                let sent = |end: &usize| {
                    let input: Vec<Value> = messages[..*end].iter().flat_map(items).collect();
                    let tools = json!([{ "type": "function", "name": "f", "parameters": { "type": "object" } }]);
                    let body = json!({ "model": model, "input": input, "tools": tools }).to_string();
                    split(&Exchange::aimed(CLIENT, *upstream, body.as_bytes(), true, model).ok()?.sent)
                };
                let requests: Vec<_> = turns.iter().filter_map(sent).collect();
                for pair in requests.windows(2) {
                    prop_assert_eq!(&pair[0].0, &pair[1].0, "{:?} {}", upstream, model);
                    prop_assert!(
                        pair[1].1.starts_with(&pair[0].1),
                        "{:?} {}\n  first  {}\n  second {}", upstream, model, pair[0].1, pair[1].1
                    );
                }
            }
        }
    }
}

#[test]
fn a_stream_and_a_whole_answer_tell_the_same_items() {
    let mut seen = 0;
    for case in golden::cases().iter().filter(|case| case.client == CLIENT && case.upstream != CLIENT) {
        let (request, answer) = (case.request(), case.answer());
        let exchange = |stream| Exchange::asked(CLIENT, case.upstream, &request, stream);
        let (Ok(whole), Ok(events)) = (exchange(false), exchange(true)) else { continue };
        let (streamed, given) = match case.coming() {
            Some(coming) => {
                let answer = coming.as_sse(&answer);
                let form = dialect::AnswerForm::Events(Framing::Sse);
                (Bytes::from(events.stream(&answer, &[])), whole.whole(&answer, form))
            }
            None => {
                let form = dialect::AnswerForm::Json;
                let Ok(streamed) = events.whole(&answer, form) else { continue };
                (streamed, whole.whole(&answer, form))
            }
        };
        let Ok(given) = given else { continue };
        seen += 1;
        assert_eq!(
            meaning_responses::of_events(&streamed),
            meaning_responses::of_whole(&given),
            "{}",
            case.folder.display()
        );
    }
    assert!(seen > 20, "{seen}");
}
