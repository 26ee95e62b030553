//! The grammar that agents' requests meet at Anthropic: identities of calls, parameters of tools, cache marks, the last
//! turn, and where errors are found.

use dialect::{Correspondence, Dialect, Unsupported, frames, ir};
use serde_json::{Value, json};

use crate::kit::{self, Exchange};

const MODEL: &str = "claude-sonnet-4-5";

fn try_sent(request: &Value) -> Result<(Value, Correspondence), Unsupported> {
    let model = request["model"].as_str().expect("a model");
    let request = kit::read(Dialect::OpenAiChat, request.to_string().as_bytes()).expect("a good request");
    kit::write(Dialect::Anthropic, &request, model, model)
}

fn sent(request: &Value) -> Value {
    try_sent(request).expect("expressible").0
}

/// What the upstream is sent for these messages.
fn told(messages: Value) -> Value {
    sent(&json!({ "model": MODEL, "messages": messages, "tools": [tool("f", json!({}))] }))
}

fn with(fields: Value) -> Value {
    let mut request = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "U" }] });
    for (name, value) in fields.as_object().expect("fields") {
        request[name] = value.clone();
    }
    request
}

fn tool(name: &str, parameters: Value) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": parameters } })
}

fn calls(ids: &[&str]) -> Value {
    let call =
        |id: &&str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    json!({ "role": "assistant", "content": null, "tool_calls": ids.iter().map(call).collect::<Vec<_>>() })
}

fn result(id: &str, content: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": content })
}

fn user(content: &str) -> Value {
    json!({ "role": "user", "content": content })
}

/// Identities of calls and, behind each, what its result says: `tool_use` and `tool_result` of adjacent turns.
fn paired(body: &Value) -> Vec<(String, String)> {
    let turns = body["messages"].as_array().expect("messages");
    let blocks = |turn: &Value, kind: &str| -> Vec<Value> {
        let blocks = turn["content"].as_array().into_iter().flatten();
        blocks.filter(|block| block["type"] == kind).cloned().collect()
    };
    let mut pairs = Vec::new();
    for turns in turns.windows(2) {
        let mut results = blocks(&turns[1], "tool_result");
        for call in blocks(&turns[0], "tool_use") {
            let place = results.iter().position(|result| result["tool_use_id"] == call["id"]);
            let result = results.remove(place.expect("each call has its result in the turn behind it"));
            let text = result["content"].as_str().unwrap_or_default().to_owned();
            pairs.push((call["id"].as_str().expect("an id").to_owned(), text));
        }
        assert!(results.is_empty(), "a result without a call: {results:?}");
    }
    pairs
}

fn are_unique_and_fit(pairs: &[(String, String)]) -> bool {
    let mut ids: Vec<&str> = pairs.iter().map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    ids.len() == pairs.len() && ids.iter().all(|id| id.len() <= 128 && id.bytes().all(fits))
}

#[test]
fn an_id_that_a_provider_uses_anew_each_turn_is_used_once_and_results_follow() {
    let history = |turns: usize| {
        let mut messages = vec![user("U")];
        for turn in 0..turns {
            messages.extend([calls(&["call_0", "call_1"]), result("call_1", &format!("{turn}b"))]);
            messages.push(result("call_0", &format!("{turn}a")));
        }
        told(messages.into())
    };
    let body = history(3);

    let pairs = paired(&body);
    assert!(are_unique_and_fit(&pairs), "{pairs:?}");
    let texts: Vec<&str> = pairs.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["0a", "0b", "1a", "1b", "2a", "2b"]);
    assert_eq!((pairs[0].0.as_str(), pairs[1].0.as_str()), ("call_0", "call_1"));
    let shorter = history(2)["messages"].as_array().expect("messages").clone();
    assert_eq!(
        body["messages"].as_array().expect("messages")[..shorter.len()],
        shorter,
        "what was sent is cached"
    );
}

#[test]
fn ids_that_are_used_once_stay_whatever_else_is_renamed() {
    let body = told(json!([
        user("U"),
        calls(&["toolu_1"]),
        result("toolu_1", "a"),
        calls(&["x"]),
        result("x", "b"),
        calls(&["x"]),
        result("x", "c"),
        calls(&["toolu_2"]),
        result("toolu_2", "d"),
    ]));

    let ids: Vec<String> = paired(&body).into_iter().map(|(id, _)| id).collect();
    assert_eq!((&*ids[0], &*ids[1], &*ids[3]), ("toolu_1", "x", "toolu_2"));
    assert_ne!(ids[2], "x");
}

#[test]
fn ids_are_unique_in_every_odd_order_of_calls_and_results() {
    let long = "x".repeat(300);
    for (messages, texts) in [
        // Parallel calls that share an id.
        (json!([calls(&["a", "a"]), result("a", "1"), result("a", "2")]), vec!["1", "2"]),
        // A result before its call, and a second one behind the first.
        (json!([result("a", "0"), calls(&["a"]), result("a", "1"), result("a", "2")]), vec!["1"]),
        // A call without a result, then its id again.
        (
            json!([calls(&["a"]), user("?"), calls(&["a"]), result("a", "1")]),
            vec!["tool result missing", "1"],
        ),
        // The same with nothing between the two: the result is that of the later one.
        (json!([calls(&["a"]), calls(&["a"]), result("a", "1")]), vec!["tool result missing", "1"]),
        // Too long, and of another grammar.
        (
            json!([
                calls(&[&long, "a.b", "a b"]),
                result("a b", "3"),
                result(&long, "1"),
                result("a.b", "2")
            ]),
            vec!["1", "2", "3"],
        ),
        (json!([calls(&[&long]), result(&long, "1"), calls(&[&long]), result(&long, "2")]), vec!["1", "2"]),
        // A result that comes a turn too late answers nothing.
        (
            json!([calls(&["a"]), user("?"), { "role": "assistant", "content": "A" }, result("a", "1")]),
            vec!["tool result missing"],
        ),
        // What stands between call and result is left out.
        (
            json!([calls(&["a"]), { "role": "assistant", "content": "" }, user(" "), result("a", "1")]),
            vec!["1"],
        ),
    ] {
        let body = told(messages.clone());

        let pairs = paired(&body);
        assert!(are_unique_and_fit(&pairs), "{messages}: {pairs:?}");
        assert_eq!(pairs.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), texts, "{messages}");
    }
}

#[test]
fn an_id_that_becomes_another_s_by_being_fitted_gets_one_of_its_own() {
    let fitted = paired(&told(json!([calls(&["a.b"]), result("a.b", "1")])))[0].0.clone();

    let body = told(json!([calls(&["a.b", &fitted]), result(&fitted, "2"), result("a.b", "1")]));

    let pairs = paired(&body);
    assert!(are_unique_and_fit(&pairs), "{pairs:?}");
    assert_eq!(pairs.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_turn_with_calls_in_both_shapes_sends_each_once() {
    let mut turn = calls(&["toolu_1"]);
    turn["content"] = json!([{ "type": "tool_use", "id": "toolu_1", "name": "f", "input": {} }]);

    assert_eq!(paired(&told(json!([user("U"), turn, result("toolu_1", "a")]))).len(), 1);
}

#[test]
fn parameters_never_vanish_for_the_form_of_their_type() {
    let parameters =
        json!({ "type": ["object", "null"], "properties": { "a": { "type": "string" } }, "required": ["a"] });

    let body = sent(&with(
        json!({ "tools": [tool("f", parameters.clone()), tool("g", parameters.to_string().into())] }),
    ));

    let expected =
        json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] });
    assert_eq!(
        (&body["tools"][0]["input_schema"], &body["tools"][1]["input_schema"]),
        (&expected, &expected)
    );
}

#[test]
fn parameters_that_mean_nothing_are_refused_with_the_name_of_their_tool() {
    for parameters in [json!(7), json!([1]), json!("no schema"), json!({ "type": "array" })] {
        let refused =
            try_sent(&with(json!({ "tools": [tool("lookup", parameters.clone())] }))).expect_err("no schema");

        assert!(refused.message.contains("the tool lookup "), "{parameters}: {refused}");
        assert_eq!(refused.param.as_deref(), Some("tools"));
        assert_eq!(refused.into_error().status, 400);
    }
}

#[test]
fn a_choice_at_the_top_of_parameters_is_worded_in_the_description() {
    let rule = json!({ "type": "object", "properties": { "a": {}, "b": {} },
        "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] });
    let mut described = tool("f", rule.clone());
    described["function"]["description"] = "Finds.".into();

    let body = sent(&with(json!({ "tools": [described, tool("g", rule)] })));

    let words = "At least one of these must be given: `a`; `b`.";
    assert_eq!(body["tools"][0]["description"], format!("Finds.\n\n{words}"));
    assert_eq!(body["tools"][1]["description"], words);
    assert_eq!(
        body["tools"][0]["input_schema"],
        json!({ "type": "object", "properties": { "a": {}, "b": {} } })
    );
}

#[test]
fn the_same_tool_twice_is_sent_once() {
    let body =
        sent(&with(json!({ "tools": [tool("f", json!({})), tool("g", json!({})), tool("f", json!({}))] })));

    assert_eq!(body["tools"].as_array().map(Vec::len), Some(2));
}

/// A tool with parameters of odd names, once called.
fn odd() -> Value {
    let parameters = json!({ "type": "object", "required": ["page[size]"],
        "properties": { "page[size]": { "type": "integer" }, "a b": { "properties": { "a b": {} } } } });
    let call = json!({ "id": "t", "type": "function", "function": {
        "name": "x.list", "arguments": "{\"page[size]\": 12345678901234567, \"a b\": {\"a b\": 1}}" } });
    json!({ "model": MODEL, "tools": [tool("x.list", parameters)], "messages": [
        user("U"), { "role": "assistant", "tool_calls": [call] }, result("t", "R"),
    ] })
}

#[test]
fn odd_names_of_parameters_are_fitted_in_schema_and_history() {
    let body = sent(&odd());

    let properties = body["tools"][0]["input_schema"]["properties"].as_object().expect("properties");
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["page_size_", "a_b"]);
    assert_eq!(properties["a_b"], json!({ "properties": { "a b": {} } }), "only the top is judged");
    assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["page_size_"]));
    let call = &body["messages"][1]["content"][0];
    assert_eq!(call["name"], body["tools"][0]["name"]);
    assert_eq!(call["input"], json!({ "page_size_": 12_345_678_901_234_567_u64, "a_b": { "a b": 1 } }));
}

#[test]
fn odd_names_of_parameters_come_back_whole_and_streamed() {
    const INPUT: &str = r#"{"page_size_":5,"a_b":{"a_b":"page_size_"}}"#;
    const EXPECTED: &str = r#"{"page[size]":5,"a b":{"a_b":"page_size_"}}"#;
    let (_, correspondence) = try_sent(&odd()).expect("expressible");
    let outbound = kit::outbound(Dialect::Anthropic);

    let whole = format!(
        r#"{{"type":"message","id":"m","content":[{{"type":"tool_use","id":"t","name":"x_list","input":{INPUT}}}],"stop_reason":"tool_use"}}"#
    );
    let answer = outbound.response(whole.as_bytes(), &correspondence).expect("whole");
    let is_expected = |block: &ir::Block| {
        matches!(&block.content, ir::Content::ToolCall { name, arguments, .. }
            if name == "x.list" && arguments == EXPECTED)
    };
    assert!(is_expected(&answer.choices[0].blocks[0]), "{answer:?}");

    for size in 1..INPUT.len() {
        let mut stream = String::from(
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n\
             data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"x_list\",\"input\":{}}}\n\n",
        );
        for fragment in INPUT.as_bytes().chunks(size) {
            let fragment = std::str::from_utf8(fragment).expect("ASCII");
            let delta = json!({ "type": "input_json_delta", "partial_json": fragment });
            stream += &format!(
                "data: {}\n\n",
                json!({ "type": "content_block_delta", "index": 0, "delta": delta })
            );
        }
        stream +=
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\ndata: {\"type\":\"message_stop\"}\n\n";
        let (mut decoder, mut events) = (outbound.events(&correspondence), Vec::new());
        frames(stream.as_bytes()).for_each(|frame| decoder.decode(frame, &mut events).expect("readable"));

        assert!(
            !events
                .iter()
                .any(|event| matches!(event, ir::Event::ToolArgs { fragment, .. } if fragment.is_empty()))
        );
        let answer = ir::Response::fold(events).expect("whole");
        assert!(is_expected(&answer.choices[0].blocks[0]), "in pieces of {size}: {answer:?}");
    }
}

// === cache marks ===

fn mark(ttl: Option<&str>) -> Value {
    match ttl {
        Some(ttl) => json!({ "type": "ephemeral", "ttl": ttl }),
        None => json!({ "type": "ephemeral" }),
    }
}

fn marked(role: &str, text: &str, ttl: Option<&str>) -> Value {
    json!({ "role": role, "content": [{ "type": "text", "text": text, "cache_control": mark(ttl) }] })
}

/// All marks in the order in which the provider reads them.
fn marks(body: &Value) -> Vec<Value> {
    let blocks =
        body["messages"].as_array().into_iter().flatten().flat_map(|turn| turn["content"].as_array());
    let first = [&body["tools"], &body["system"]].into_iter().filter_map(Value::as_array);
    first.chain(blocks).flatten().filter_map(|block| block.get("cache_control").cloned()).collect()
}

#[test]
fn an_instruction_in_the_middle_stays_there_with_its_mark() {
    let body = told(json!([
        marked("user", "U1", Some("1h")), marked("system", "S", None), { "role": "assistant", "content": "A" }, user("U2"),
    ]));

    assert_eq!(body.get("system"), None);
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            { "type": "text", "text": "U1", "cache_control": mark(Some("1h")) },
            { "type": "text", "text": "<system>\nS\n</system>", "cache_control": mark(None) },
        ])
    );
}

#[test]
fn an_instruction_between_a_call_and_its_result_parts_them_not() {
    let body =
        told(json!([user("U"), calls(&["a"]), { "role": "system", "content": "S" }, result("a", "R")]));

    assert_eq!(paired(&body), [("a".to_owned(), "R".to_owned())]);
    assert_eq!(body["messages"][2]["content"][0]["type"], "tool_result");
}

#[test]
fn a_mark_for_an_hour_never_stands_behind_one_for_five_minutes() {
    for early in [None, Some("5m")] {
        let mut hinted = tool("f", json!({}));
        hinted["cache_control"] = mark(early);
        let body = sent(&json!({ "model": MODEL, "tools": [hinted], "messages": [
            marked("system", "S", Some("1h")), marked("user", "U", Some("1h")),
        ] }));

        assert_eq!(marks(&body), [mark(early), mark(None), mark(None)]);
    }
    let legal = told(json!([marked("system", "S", Some("1h")), marked("user", "U", None)]));
    assert_eq!(marks(&legal), [mark(Some("1h")), mark(None)]);
}

#[test]
fn at_most_four_marks_are_sent_wherever_they_stand() {
    let tools: Vec<Value> = (0..6)
        .map(|n| {
            let mut tool = tool(&format!("f{n}"), json!({}));
            tool["cache_control"] = mark(None);
            tool
        })
        .collect();
    let mut results = result("a", "R");
    results["cache_control"] = mark(None);
    let body = sent(&json!({ "model": MODEL, "tools": tools, "messages": [
        marked("system", "S", None), marked("user", "U", None), calls(&["a"]), results, marked("system", "S", None),
    ] }));

    assert_eq!(marks(&body).len(), 4);
    assert!(body["tools"][5].get("cache_control").is_some());
}

#[test]
fn a_mark_on_what_is_left_out_moves_to_what_stands_before_it() {
    let empty = marked("user", "", Some("1h"));
    let body = told(json!([user("U"), { "role": "assistant", "content": "A" }, empty]));
    assert_eq!(body["messages"][1]["content"][0]["cache_control"], mark(Some("1h")));

    let within = json!({ "role": "user", "content": [
        { "type": "text", "text": "U" }, { "type": "text", "text": " ", "cache_control": mark(None) },
    ] });
    assert_eq!(told(json!([within]))["messages"][0]["content"][0]["cache_control"], mark(None));

    let body = told(json!([{ "role": "system", "content": "S" }, marked("user", "", None), user("U")]));
    assert_eq!(body["system"], json!([{ "type": "text", "text": "S", "cache_control": mark(None) }]));

    let body = told(json!([marked("system", "", None), user("U")]));
    assert_eq!(body["tools"][0]["cache_control"], mark(None));
    assert_eq!(marks(&body).len(), 1);
}

#[test]
fn a_mark_on_a_tool_s_message_or_within_it_lands_on_the_result() {
    let mut message = result("a", "R");
    message["cache_control"] = mark(Some("1h"));
    let part = json!({ "role": "tool", "tool_call_id": "a", "content": [
        { "type": "text", "text": "R", "cache_control": mark(Some("1h")) },
    ] });
    for marked in [message, part] {
        let body = told(json!([user("U"), calls(&["a"]), marked]));

        assert_eq!(
            body["messages"][2]["content"],
            json!([
                { "type": "tool_result", "tool_use_id": "a", "content": "R", "cache_control": mark(Some("1h")) },
            ])
        );
    }
}

#[test]
fn a_mark_on_a_message_with_calls_lands_on_the_last_of_them() {
    let mut turn = calls(&["a", "b"]);
    turn["content"] = "A".into();
    turn["cache_control"] = mark(None);

    let body = told(json!([user("U"), turn, result("a", "1"), result("b", "2")]));

    assert_eq!(body["messages"][1]["content"][2]["cache_control"], mark(None));
    assert_eq!(marks(&body).len(), 1);
}

// === the last turn ===

fn prefilled(model: &str, fields: Value) -> Value {
    let messages = json!([user("U"), { "role": "assistant", "content": "The answer is " }]);
    let mut request = with(fields);
    (request["model"], request["messages"]) = (model.into(), messages);
    sent(&request)["messages"].clone()
}

#[test]
fn the_beginning_of_an_answer_is_sent_to_models_that_go_on_with_it_and_to_others_a_turn_behind_it() {
    let begun = json!([{ "type": "text", "text": "The answer is" }]);
    for older in
        ["claude-3-haiku", "claude-sonnet-4@20250514", MODEL, "claude-opus-4-5", "claude-opus-4-1", "kimi-k2"]
    {
        let messages = prefilled(older, json!({}));

        assert_eq!(messages.as_array().map(Vec::len), Some(2), "{older}");
        assert_eq!(messages[1]["content"], begun, "{older}");
    }
    for newer in [
        "claude-opus-4-6",
        "claude-sonnet-4-6",
        "us.anthropic.claude-opus-4-7-v1:0",
        "claude-sonnet-5",
        "claude-x",
    ] {
        let messages = prefilled(newer, json!({}));

        assert_eq!(
            messages[2],
            json!({ "role": "user", "content": [{ "type": "text", "text": "(continue)" }] }),
            "{newer}"
        );
    }
}

#[test]
fn thought_and_schemas_go_with_no_beginning_of_an_answer() {
    let schema = json!({ "type": "json_schema", "json_schema": {
        "name": "n", "schema": { "type": "object", "properties": { "a": {} } },
    } });
    for fields in [json!({ "reasoning_effort": "low" }), json!({ "response_format": schema })] {
        assert_eq!(prefilled(MODEL, fields.clone())[2]["role"], "user", "{fields}");
    }
}

#[test]
fn an_empty_last_word_of_the_user_makes_no_beginning_of_an_answer() {
    let body = told(json!([user("U"), { "role": "assistant", "content": "A" }, user("")]));

    assert_eq!(body["messages"][2]["content"], json!([{ "type": "text", "text": "(continue)" }]));
}

#[test]
fn empty_turns_are_left_out_and_instructions_alone_are_asked_about() {
    let body = told(json!([user("U1"), { "role": "assistant", "content": "" }, user("U2")]));
    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": [{ "type": "text", "text": "U1" }, { "type": "text", "text": "U2" }] },
        ])
    );
    let asked = json!([{ "role": "user", "content": [{ "type": "text", "text": "(continue)" }] }]);
    assert_eq!(told(json!([{ "role": "system", "content": "S" }]))["messages"], asked);
    assert_eq!(told(json!([user("")]))["messages"], asked);
}

// === who asks, and what else the provider judges ===

#[test]
fn an_address_never_names_the_user() {
    let body = sent(&with(json!({ "user": "a@b.example" })));
    let id = body["metadata"]["user_id"].as_str().expect("an id");
    assert!(!id.contains('@') && !id.contains("example"), "{id}");
    assert_eq!(
        sent(&with(json!({ "user": "u-1", "safety_identifier": "s-1" })))["metadata"]["user_id"],
        "s-1"
    );
    assert_eq!(sent(&with(json!({ "user": "" }))).get("metadata"), None);
}

#[test]
fn a_map_as_the_form_of_an_answer_is_put_into_words() {
    let format =
        |schema: Value| json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    let map = json!({ "type": "object", "additionalProperties": { "type": "string" } });

    let body = sent(&with(json!({ "response_format": format(map.clone()) })));
    assert_eq!(body.get("output_config"), None);
    assert!(body["system"].as_str().is_some_and(|system| system.contains(&map.to_string())), "{body}");

    let older = |schema: Value| {
        sent(&with(json!({ "model": "claude-3-5-sonnet", "response_format": format(schema) })))
    };
    assert_eq!(older(map.clone())["tools"][0]["input_schema"], map);
    for untold in [
        json!({ "type": "array", "items": { "type": "string" } }),
        json!({ "type": "object", "properties": { "a b": {} } }),
        json!({ "properties": { "a": {}, "b": {} }, "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
    ] {
        let body = older(untold.clone());
        assert_eq!(body.get("tools"), None, "{untold}");
        assert!(body["system"].as_str().is_some_and(|system| system.contains(&untold.to_string())), "{body}");
    }
}

// === where errors are found ===

#[test]
fn an_error_names_its_place_what_was_found_and_what_is_known() {
    for (fields, param, message) in [
        (
            json!({ "messages": [user("U"), { "role": "user", "content": 5 }] }),
            "messages[1].content",
            "messages[1].content must be text or an array of parts; found 5",
        ),
        (
            json!({ "messages": [user("U"), { "role": "king" }] }),
            "messages[1].role",
            "messages[1].role must be one of system, developer, user, assistant, tool, function; found 'king'",
        ),
        (
            json!({ "messages": [user("U"), { "role": "assistant", "tool_calls": 5 }] }),
            "messages[1].tool_calls",
            "tool_calls must be an array; found 5",
        ),
        (
            json!({ "messages": [user("U"), { "role": "tool", "tool_call_id": 5 }] }),
            "messages[1].tool_call_id",
            "tool_call_id must be a string; found 5",
        ),
        (json!({ "messages": "U" }), "messages", "messages must be an array; found 'U'"),
        (json!({ "messages": ["U"] }), "messages[0]", "messages[0] must be an object; found 'U'"),
        (json!({ "temperature": "hot" }), "temperature", "temperature must be a number; found 'hot'"),
        (
            json!({ "max_tokens": -1 }),
            "max_tokens",
            "max_tokens must be an integer that is not negative; found -1",
        ),
        (json!({ "stop": ["a", 1] }), "stop", "stop must be a string or an array of strings; found an array"),
        (json!({ "n": 0 }), "n", "n must be at least 1; found 0"),
        (
            json!({ "reasoning_effort": "hihg" }),
            "reasoning_effort",
            "reasoning_effort must be one of none, minimal, low, medium, high, xhigh, max; found 'hihg'",
        ),
        (
            json!({ "reasoning": { "effort": "hihg" } }),
            "reasoning.effort",
            "reasoning.effort must be one of none, minimal, low, medium, high, xhigh, max; found 'hihg'",
        ),
        (
            json!({ "tool_choice": "perhaps" }),
            "tool_choice",
            "tool_choice must be one of auto, none, required, or name a function; found 'perhaps'",
        ),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format.type",
            "response_format.type must be one of text, json_object, json_schema; found 'xml'",
        ),
        (
            json!({ "tools": [tool("f", json!({})), { "type": "function", "function": {} }] }),
            "tools[1]",
            "a function needs a name",
        ),
    ] {
        let error = kit::read(Dialect::OpenAiChat, with(fields).to_string().as_bytes()).expect_err(param);

        assert_eq!((error.param.as_deref(), error.message.as_str()), (Some(param), message));
    }
    let long = with(json!({ "reasoning_effort": "é".repeat(10_000) }));
    let error = kit::read(Dialect::OpenAiChat, long.to_string().as_bytes()).expect_err("no word");
    assert!(error.message.len() < 300 && error.message.ends_with("…'"), "{error}");
}

#[test]
fn what_an_upstream_cannot_take_is_named_by_its_place_too() {
    let image = json!({ "type": "image_url", "image_url": { "url": "http://h/a.png" } });
    let mut bad = calls(&["a"]);
    bad["tool_calls"][0]["function"]["arguments"] = "{bad".into();
    let system = json!({ "role": "system", "content": "S" });
    for (messages, param) in [
        (json!([system, user("U"), { "role": "user", "content": [image] }]), "messages[2].content"),
        (json!([system, system, user("U"), bad]), "messages[3].tool_calls"),
    ] {
        let refused = try_sent(&with(json!({ "messages": messages }))).expect_err("inexpressible");

        assert_eq!(refused.param.as_deref(), Some(param), "{refused}");
    }
    let refused = try_sent(&with(json!({ "n": 2 }))).expect_err("one answer only");
    assert_eq!(refused.param.as_deref(), Some("n"));
    assert!(refused.message.starts_with("n must be 1"), "{refused}");
}

#[test]
fn a_whole_answer_tells_its_time() {
    let body = with(json!({})).to_string();
    let exchange = Exchange::new(Dialect::OpenAiChat, Dialect::Anthropic, body.as_bytes(), false);
    let answer =
        br#"{"type":"message","id":"m","content":[{"type":"text","text":"A"}],"stop_reason":"end_turn"}"#;

    let told = exchange.whole(answer, dialect::AnswerForm::Json).expect("whole");

    let told: Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told["created"], 1_700_000_000);
}
