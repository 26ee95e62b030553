//! The rules of conversion one by one: what each must do, by hand-written requests and answers.

use dialect::{Correspondence, Depth, Dialect, ErrorShape, Sighting, Unsupported, frames, ir};
use http::StatusCode;
use serde_json::{Value, json};

use crate::kit::{self, Exchange};

// === to Anthropic ===

fn try_anthropic(request: &Value) -> Result<Value, Unsupported> {
    sent(Dialect::Anthropic, request).map(|(body, _)| body)
}

/// What an upstream is sent for a client of OpenAI's dialect, and what is remembered of it.
fn sent(upstream: Dialect, request: &Value) -> Result<(Value, Correspondence), Unsupported> {
    let model = request["model"].as_str().expect("a model");
    let request = kit::read(Dialect::OpenAiChat, request.to_string().as_bytes()).expect("a good request");
    kit::write(upstream, &request, model, model)
}

fn anthropic(request: Value) -> Value {
    try_anthropic(&request).expect("expressible")
}

fn with(fields: Value) -> Value {
    let mut request =
        json!({ "model": "claude-sonnet-4-5", "messages": [{ "role": "user", "content": "U" }] });
    for (name, value) in fields.as_object().expect("fields") {
        request[name] = value.clone();
    }
    request
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object", "properties": {} } } })
}

fn call(id: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } })
}

#[test]
fn all_system_messages_reach_the_upstream_in_order_and_nothing_is_added() {
    let body = anthropic(with(json!({ "messages": [
        { "role": "system", "content": "S1" },
        { "role": "developer", "content": "S2" },
        { "role": "user", "content": "U" },
    ] })));

    assert_eq!(body["system"], json!([{ "type": "text", "text": "S1" }, { "type": "text", "text": "S2" }]));
    assert_eq!(anthropic(with(json!({}))).get("system"), None);
}

#[test]
fn results_of_parallel_calls_come_first_in_one_turn_behind_them() {
    let body = anthropic(with(json!({ "messages": [
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": null, "tool_calls": [call("t1", "{}"), call("t2", "{}")] },
        { "role": "tool", "tool_call_id": "t2", "content": "R2" },
        { "role": "tool", "tool_call_id": "t1", "content": "R1" },
        { "role": "user", "content": "U2" },
    ] })));

    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": [{ "type": "text", "text": "U" }] },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "t1", "name": "f", "input": {} },
                { "type": "tool_use", "id": "t2", "name": "f", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t2", "content": "R2" },
                { "type": "tool_result", "tool_use_id": "t1", "content": "R1" },
                { "type": "text", "text": "U2" },
            ] },
        ])
    );
}

#[test]
fn a_missing_result_is_made_up_and_an_orphan_becomes_text() {
    let body = anthropic(with(json!({ "messages": [
        { "role": "assistant", "tool_calls": [call("t1", "{}")] },
        { "role": "user", "content": "and?" },
        { "role": "tool", "tool_call_id": "gone", "content": "R" },
    ] })));

    assert_eq!(
        body["messages"],
        json!([
            { "role": "user", "content": [{ "type": "text", "text": "(continue)" }] },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "f", "input": {} }] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": "tool result missing", "is_error": true },
                { "type": "text", "text": "and?" },
                { "type": "text", "text": "Tool result: R" },
            ] },
        ])
    );
}

#[test]
fn calls_and_results_of_the_older_form_are_paired() {
    let body = anthropic(with(json!({ "messages": [
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "{\"a\":1}" } },
        { "role": "function", "name": "f", "content": "R" },
    ], "functions": [{ "name": "f" }], "function_call": { "name": "f" } })));

    let id = &body["messages"][1]["content"][0]["id"];
    assert!(id.as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!(&body["messages"][2]["content"][0]["tool_use_id"], id);
    assert_eq!(body["tools"][0]["input_schema"], json!({ "type": "object", "properties": {} }));
    assert_eq!(body["tool_choice"], json!({ "type": "tool", "name": "f" }));
}

#[test]
fn arguments_become_an_object_or_are_refused_by_name() {
    let history = |arguments: &str| {
        with(json!({ "messages": [
            { "role": "user", "content": "U" },
            { "role": "assistant", "tool_calls": [call("t", arguments)] },
            { "role": "tool", "tool_call_id": "t", "content": "R" },
        ] }))
    };
    let input = |arguments: &str| anthropic(history(arguments))["messages"][1]["content"][0]["input"].clone();

    assert_eq!(input(""), json!({}));
    assert_eq!(input("[1]"), json!({ "value": [1] }));
    assert_eq!(input("{\"a\":1}"), json!({ "a": 1 }));
    let refused = try_anthropic(&history("{bad")).expect_err("not JSON");
    assert!(refused.message.contains("function f "), "{refused}");
    assert_eq!(refused.into_error().status, StatusCode::BAD_REQUEST);
}

#[test]
fn tool_choice_keeps_its_meaning() {
    for (fields, choice) in [
        (json!({ "tool_choice": "none" }), json!({ "type": "none" })),
        (json!({ "tool_choice": "required" }), json!({ "type": "any" })),
        (json!({ "tool_choice": "required", "reasoning_effort": "low" }), json!({ "type": "auto" })),
        (
            json!({ "parallel_tool_calls": false }),
            json!({ "type": "auto", "disable_parallel_tool_use": true }),
        ),
        (json!({ "tool_choice": "none", "parallel_tool_calls": false }), json!({ "type": "none" })),
        (
            json!({ "tool_choice": { "type": "function", "function": { "name": "a" } } }),
            json!({ "type": "tool", "name": "a" }),
        ),
        (json!({}), Value::Null),
    ] {
        let mut request = with(fields);
        request["tools"] = json!([tool("a"), tool("b")]);

        assert_eq!(anthropic(request.clone())["tool_choice"], choice, "{request}");
    }
    assert_eq!(anthropic(with(json!({ "tool_choice": "auto" }))).get("tool_choice"), None);
}

#[test]
fn allowed_tools_filter_the_list() {
    let body = anthropic(with(json!({
        "tools": [tool("a"), tool("b")],
        "tool_choice": { "type": "allowed_tools", "allowed_tools": {
            "mode": "required", "tools": [{ "type": "function", "function": { "name": "b" } }],
        } },
    })));

    assert_eq!(body["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["tools"][0]["name"], "b");
    assert_eq!(body["tool_choice"], json!({ "type": "any" }));
}

#[test]
fn the_alias_turns_thinking_on() {
    let think = |alias: &str, upstream: &str| {
        let body = with(json!({ "model": alias, "temperature": 0.5, "top_p": 0.9, "top_k": 5 }));
        let request = kit::read(Dialect::OpenAiChat, body.to_string().as_bytes()).expect("good");
        kit::write(Dialect::Anthropic, &request, alias, upstream).expect("expressible").0
    };

    for (alias, budget) in [
        ("claude-sonnet-4-5-think", 4096),
        ("claude-sonnet-4-5-THINK-16000", 16_000),
        ("think-claude-sonnet-4-20250514", 4096),
        ("claude-think-12", 1024),
    ] {
        let body = think(alias, "claude-sonnet-4-5");
        assert_eq!(body["thinking"], json!({ "type": "enabled", "budget_tokens": budget }), "{alias}");
        assert!(body["max_tokens"].as_u64() > Some(budget), "{alias}");
        for field in ["temperature", "top_p", "top_k"] {
            assert_eq!(body.get(field), None, "{alias}");
        }
    }
    assert_eq!(think("claude-sonnet-4-5-think-0", "claude-sonnet-4-5").get("thinking"), None);
    assert_eq!(think("claude-sonnet-4-5", "claude-sonnet-4-5").get("thinking"), None);
    let newest = think("x-think-16000", "claude-opus-4-8");
    assert_eq!(newest["thinking"]["type"], "adaptive");
    assert_eq!(newest["output_config"], json!({ "effort": "high" }));
}

#[test]
fn a_budget_makes_room_for_the_answer() {
    let body = anthropic(with(json!({
        "max_tokens": 2000, "thinking": { "type": "enabled", "budget_tokens": 10_000 },
    })));

    assert_eq!(body["max_tokens"], 12_000);
    assert_eq!(body["thinking"]["budget_tokens"], 10_000);
}

#[test]
fn thinking_pauses_within_a_tool_loop_whose_seal_is_lost() {
    let history = json!([
        { "role": "user", "content": "U" },
        { "role": "assistant", "tool_calls": [call("t", "{}")] },
        { "role": "tool", "tool_call_id": "t", "content": "R" },
    ]);
    let looped = anthropic(with(json!({ "messages": history, "reasoning_effort": "low" })));
    let fresh = anthropic(with(json!({ "reasoning_effort": "low" })));

    assert_eq!(looped.get("thinking"), None);
    assert_eq!(fresh["thinking"]["budget_tokens"], 1024);
}

#[test]
fn newest_models_take_no_sampling_and_an_effort() {
    let body = anthropic(with(json!({
        "model": "claude-opus-4-8", "temperature": 0.3, "reasoning_effort": "xhigh",
    })));

    assert_eq!(body.get("temperature"), None);
    assert_eq!(body["output_config"], json!({ "effort": "xhigh" }));
}

#[test]
fn sampling_is_brought_within_bounds() {
    let body = anthropic(with(json!({
        "temperature": 1.7, "top_p": 0.9, "stop": "X", "user": "u", "metadata": { "a": "b" }, "seed": 1, "n": 1,
        "logit_bias": {}, "frequency_penalty": 1, "unknown": 1, "service_tier": "flex",
    })));

    assert_eq!(
        body,
        json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": 64_000,
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "U" }] }],
            "temperature": 1.0,
            "stop_sequences": ["X"],
            "metadata": { "user_id": "u" },
            "service_tier": "standard_only",
        })
    );
    let older = anthropic(with(json!({ "model": "claude-3-haiku", "temperature": 0, "top_p": 0.9 })));
    assert_eq!(
        (&older["temperature"], &older["top_p"], &older["max_tokens"]),
        (&json!(0), &json!(0.9), &json!(4096))
    );
    assert_eq!(anthropic(with(json!({ "stop": ["", " "] }))).get("stop_sequences"), None);
}

#[test]
fn pictures_keep_their_type_and_foreign_media_are_refused() {
    let content = |part: Value| with(json!({ "messages": [{ "role": "user", "content": [part] }] }));
    let image = |url: &str| content(json!({ "type": "image_url", "image_url": { "url": url } }));

    let webp = anthropic(image("data:image/webp;base64,UklGRgAAAABXRUJQVlA4"));
    assert_eq!(webp["messages"][0]["content"][0]["source"]["media_type"], "image/webp");
    let remote = anthropic(image("https://h/a.png"));
    assert_eq!(
        remote["messages"][0]["content"][0]["source"],
        json!({ "type": "url", "url": "https://h/a.png" })
    );
    for part in [
        json!({ "type": "image_url", "image_url": { "url": "http://h/a.png" } }),
        json!({ "type": "image_url", "image_url": { "url": "data:image/tiff;base64,AAAA" } }),
        json!({ "type": "input_audio", "input_audio": { "data": "AAAA", "format": "wav" } }),
        json!({ "type": "video", "video": {} }),
    ] {
        assert!(try_anthropic(&content(part.clone())).is_err(), "{part}");
    }
}

#[test]
fn a_foreign_call_id_is_replaced_alike_in_call_and_result() {
    let body = anthropic(with(json!({ "messages": [
        { "role": "user", "content": "U" },
        { "role": "assistant", "tool_calls": [call("call_abc.def/ghi", "{}")] },
        { "role": "tool", "tool_call_id": "call_abc.def/ghi", "content": "R" },
    ] })));

    let id = body["messages"][1]["content"][0]["id"].as_str().expect("an id");
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{id}");
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], id);
    assert_eq!(body["messages"][2]["content"][0]["content"], "R");
}

#[test]
fn cache_hints_are_kept_up_to_four_the_newest_first() {
    let hinted = |text: &str| {
        json!({ "role": "user", "content": [
            { "type": "text", "text": text, "cache_control": { "type": "ephemeral", "ttl": "1h" } },
        ] })
    };
    let mut messages = vec![
        json!({ "role": "system", "content": "S", "cache_control": { "type": "ephemeral", "ttl": "1h" } }),
    ];
    messages.extend(["1", "2", "3", "4"].map(hinted));
    let body = anthropic(with(json!({ "messages": messages })));

    assert_eq!(body["system"][0]["cache_control"], json!({ "type": "ephemeral", "ttl": "1h" }));
    let hints: Vec<bool> = body["messages"][0]["content"]
        .as_array()
        .expect("blocks")
        .iter()
        .map(|block| block["cache_control"] == json!({ "type": "ephemeral", "ttl": "1h" }))
        .collect();
    assert_eq!(hints, [false, true, true, true]);
}

#[test]
fn a_schema_is_native_or_a_forced_tool_whose_arguments_are_the_answer() {
    let format = json!({ "type": "json_schema", "json_schema": {
        "name": "n", "schema": { "type": "object", "properties": { "a": { "type": "integer", "minimum": 1 } } },
    } });
    let native = anthropic(with(json!({ "response_format": format })));
    assert_eq!(native["output_config"]["format"]["schema"]["additionalProperties"], false);
    assert_eq!(native.get("tools"), None);

    let older = with(json!({ "model": "claude-3-5-sonnet", "response_format": format }));
    let (body, correspondence) = sent(Dialect::Anthropic, &older).expect("expressible");
    assert_eq!(body["tool_choice"]["name"], body["tools"][0]["name"]);
    let answer = json!({
        "type": "message", "id": "m", "model": "c", "role": "assistant", "stop_reason": "tool_use",
        "content": [{ "type": "tool_use", "id": "t", "name": body["tools"][0]["name"], "input": { "a": 1 } }],
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    });
    let answer = kit::outbound(Dialect::Anthropic)
        .response(answer.to_string().as_bytes(), &correspondence)
        .expect("whole");
    assert_eq!(answer.choices[0].blocks, [ir::Block::text("{\"a\":1}")]);
    assert_eq!(answer.choices[0].finish, ir::FinishReason::Stop);
}

#[test]
fn a_renamed_tool_comes_back_under_its_own_name() {
    let body = with(json!({ "tools": [tool("files/read.all")] }));
    let (body, correspondence) = sent(Dialect::Anthropic, &body).expect("expressible");
    let name = body["tools"][0]["name"].as_str().expect("a name");
    assert_eq!(name, "files_read_all");

    let start = format!(
        r#"data: {{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"t","name":"{name}","input":{{}}}}}}"#
    );
    let mut events = Vec::new();
    let mut decoder = kit::outbound(Dialect::Anthropic).events(&correspondence);
    frames(start.as_bytes()).for_each(|frame| decoder.decode(frame, &mut events).expect("readable"));
    assert!(matches!(&events[0], ir::Event::ToolStart { name, .. } if name == "files/read.all"));
}

#[test]
fn several_candidates_and_likelihoods_are_refused_where_there_are_none() {
    for (fields, param) in [(json!({ "n": 2 }), "n"), (json!({ "logprobs": true }), "logprobs")] {
        let refused = try_anthropic(&with(fields)).expect_err("there is no such thing");

        assert_eq!(refused.param.as_deref(), Some(param));
    }
    anthropic(with(json!({ "n": 1, "logprobs": false })));
}

#[test]
fn a_seal_is_never_sent_to_models_of_another_maker() {
    let thought = |maker| {
        let mut block = ir::Block::new(ir::Content::Thinking { text: "hm".into() });
        block.seal = Some(ir::Seal { maker, data: "sealed".into() });
        let body = with(json!({})).to_string();
        let mut request = kit::read(Dialect::OpenAiChat, body.as_bytes()).expect("good");
        let blocks = vec![block, ir::Block::text("A")];
        request.turns.push(ir::Turn { role: ir::Role::Assistant, blocks });
        kit::write(Dialect::Anthropic, &request, "m", "claude-sonnet-4-5").expect("expressible").0
    };

    let own = thought(ir::Maker::Anthropic);
    let foreign = thought(ir::Maker::Google);

    assert_eq!(
        own["messages"][1]["content"][0],
        json!({ "type": "thinking", "thinking": "hm", "signature": "sealed" })
    );
    assert!(!foreign.to_string().contains("sealed"), "{foreign}");
    assert_eq!(foreign["messages"][1]["content"].as_array().map(Vec::len), Some(1));
}

#[test]
fn effort_budget_and_visibility_are_read_side_by_side() {
    let both = json!({ "reasoning": { "effort": "high", "max_tokens": 3000, "exclude": true } });
    let written = |model: &str| {
        let mut request = with(both.clone());
        request["model"] = model.into();
        anthropic(request)
    };

    assert_eq!(written("claude-sonnet-4-5")["thinking"]["budget_tokens"], 3000);
    let newest = written("claude-opus-4-8");
    assert_eq!(newest["output_config"], json!({ "effort": "high" }));
    assert_eq!(newest["thinking"], json!({ "type": "adaptive" }));
    assert_eq!(sent(Dialect::OpenAiChat, &with(both)).expect("expressible").0["reasoning_effort"], "high");
}

// === from Anthropic, streamed ===

const A: &str = concat!(
    "event: message_start\n",
    r#"data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"usage":{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":3,"output_tokens":1}}}"#,
    "\n\nevent: content_block_start\n",
    r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
    "\n\nevent: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
    "\n\nevent: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
    "\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    "\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}"#,
    "\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
    "\n\nevent: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
    "\n\nevent: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
    "\n\nevent: content_block_delta\n",
    r#"data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
    "\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    "event: content_block_start\n",
    r#"data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"b","name":"g","input":{}}}"#,
    "\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
    "event: message_delta\n",
    r#"data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":20}}"#,
    "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn convert(stream: &[u8], step: usize, include_usage: bool) -> String {
    let options = json!({ "include_usage": include_usage });
    let request = with(json!({ "model": "alias", "stream": true, "stream_options": options }));
    let request = request.to_string();
    let exchange = Exchange::new(Dialect::OpenAiChat, Dialect::Anthropic, request.as_bytes(), true);
    let cuts: Vec<usize> = (step..stream.len()).step_by(step).collect();
    exchange.stream(stream, &cuts)
}

/// The deltas, finish reasons and usages of a chat stream, in order.
fn chunks(stream: &str) -> Vec<Value> {
    frames(stream.as_bytes())
        .map(|frame| {
            let payload = frame.payload();
            if payload == b"[DONE]" {
                return json!("[DONE]");
            }
            let chunk: Value = serde_json::from_slice(payload).expect("JSON");
            if chunk.get("error").is_some() {
                return chunk;
            }
            assert_eq!((&chunk["id"], &chunk["model"]), (&json!("chatcmpl-msg_1"), &json!("alias")));
            match chunk["choices"].get(0) {
                Some(choice) if choice["finish_reason"].is_null() => choice["delta"].clone(),
                Some(choice) => choice["finish_reason"].clone(),
                None => chunk["usage"].clone(),
            }
        })
        .collect()
}

#[test]
fn a_stream_with_reasoning_text_and_two_calls_becomes_chunks() {
    let found = chunks(&convert(A.as_bytes(), A.len(), true));

    assert_eq!(
        found,
        [
            json!({ "role": "assistant", "content": null }),
            json!({ "reasoning_content": "hm" }),
            json!({ "content": "Hi" }),
            json!({ "tool_calls": [
                { "index": 0, "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } },
            ] }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"x\":" } }] }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "1}" } }] }),
            json!({ "tool_calls": [
                { "index": 1, "id": "b", "type": "function", "function": { "name": "g", "arguments": "" } },
            ] }),
            json!({ "tool_calls": [{ "index": 1, "function": { "arguments": "{}" } }] }),
            json!("tool_calls"),
            json!({
                "prompt_tokens": 18, "completion_tokens": 20, "total_tokens": 38,
                "prompt_tokens_details": { "cached_tokens": 5, "audio_tokens": 0, "cache_write_tokens": 3 },
                "completion_tokens_details": {
                    "reasoning_tokens": 0, "audio_tokens": 0,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
                },
            }),
            json!("[DONE]"),
        ]
    );
}

#[test]
fn usage_is_told_only_to_those_who_asked() {
    let asked = convert(A.as_bytes(), A.len(), true);
    let not_asked = convert(A.as_bytes(), A.len(), false);

    assert_eq!(asked.matches("\"usage\":null").count(), 9);
    assert!(!not_asked.contains("usage"));
    assert_eq!(chunks(&not_asked).len(), chunks(&asked).len() - 1);
}

#[test]
fn a_stream_byte_by_byte_with_crlf_gives_the_same() {
    let crlf = A.replace('\n', "\r\n");

    assert_eq!(convert(crlf.as_bytes(), 1, true), convert(A.as_bytes(), A.len(), true));
}

#[test]
fn an_error_as_first_event_keeps_its_status() {
    let stream = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let frame = frames(stream).next().expect("a frame");

    let sighting = kit::probe(Dialect::Anthropic).observe(frame.clone(), Depth::Opening { want_text: false });
    let mut events = Vec::new();
    kit::outbound(Dialect::Anthropic)
        .events(&Correspondence::default())
        .decode(frame, &mut events)
        .expect("readable");

    assert_eq!(sighting.error().map(|error| error.status.as_u16()), Some(529));
    assert!(!sighting.content && !sighting.lifecycle);
    assert!(matches!(&events[..], [ir::Event::Error(error)] if error.kind == ir::ErrorKind::Overloaded));
}

#[test]
fn a_stream_that_breaks_off_ends_in_an_error_and_nothing_else() {
    let cut = A
        .find("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1")
        .expect("there");
    let found = convert(&A.as_bytes()[..cut], 7, true);

    let chunks = chunks(&found);
    assert_eq!(chunks[chunks.len() - 2], json!({ "content": "Hi" }));
    assert!(chunks[chunks.len() - 1]["error"]["message"].is_string());
    assert!(!found.contains("[DONE]") && !found.contains("\"finish_reason\":\""));
}

#[test]
fn claude_s_calls_end_their_turn_as_calls_whatever_its_reason_says() {
    let stream = concat!(
        "event: content_block_start\n",
        r#"data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        "\n\nevent: message_delta\n",
        r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
        "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    let mut events = Vec::new();
    let mut decoder = kit::outbound(Dialect::Anthropic).events(&Correspondence::default());
    frames(stream.as_bytes()).for_each(|frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);

    let reasons = events.iter().filter_map(|event| match event {
        ir::Event::Finish { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [ir::FinishReason::ToolCalls]);
}

// === OpenAI chat, tolerated ===

fn decode(stream: &str) -> Vec<ir::Event> {
    let mut events = Vec::new();
    let mut decoder = kit::outbound(Dialect::OpenAiChat).events(&Correspondence::default());
    frames(stream.as_bytes()).for_each(|frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    events
}

fn fold(stream: &str) -> Result<Value, ir::Error> {
    let answer = ir::Response::fold(decode(stream))?;
    let answer = kit::response(Dialect::OpenAiChat, &answer);
    Ok(json!([answer["choices"][0]["message"], answer["choices"][0]["finish_reason"]]))
}

#[test]
fn calls_without_index_or_all_numbered_0_stay_apart() {
    for index in ["", "\"index\":0,"] {
        let stream = format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[\
             {{{index}\"id\":\"a\",\"function\":{{\"name\":\"f\",\"arguments\":\"{{}}\"}}}},\
             {{{index}\"id\":\"b\",\"function\":{{\"name\":\"f\",\"arguments\":\"{{}}\"}}}}]}},\
             \"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n"
        );

        let answer = fold(&stream).expect("whole");

        assert_eq!(answer[0]["tool_calls"].as_array().map(Vec::len), Some(2), "{answer}");
        assert_eq!(answer[1], "tool_calls");
    }
}

#[test]
fn interleaved_arguments_land_on_their_own_calls() {
    let stream = concat!(
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{\"x\""}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":":1}"}}]}}]}"#,
        "\n\n",
        r#"data: {"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":":2}"}}]},"finish_reason":"tool_calls"}]}"#,
        "\n\n",
    );

    let answer = fold(stream).expect("a finish reason is an end");

    // The first call could only be announced when its name came.
    assert_eq!(answer[0]["tool_calls"][0]["function"], json!({ "name": "g", "arguments": "{\"y\":2}" }));
    assert_eq!(answer[0]["tool_calls"][1]["function"], json!({ "name": "f", "arguments": "{\"x\":1}" }));
}

#[test]
fn odd_chunks_are_read_all_the_same() {
    let stream = concat!(
        "data: {\"choices\":[],\"created\":0,\"id\":\"\",\"model\":\"\",\"object\":\"\",\"prompt_filter_results\":[{}]}\n\n",
        "data:{\"choices\":null}\r\n\r\n: OPENROUTER PROCESSING\n\ndata:\n\n",
        "data: {\"id\":7,\"choices\":[{\"index\":0,\"delta\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"message\":{\"content\":\"Hi\"},\"finish_reason\":\"\"}],\"usage\":\"none\"}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"!\"}]}}],\"usage\":{\"prompt_tokens\":-1,\"completion_tokens\":\"x\"}}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"},\"finish_reason\":\"length\"}]}",
    );

    let answer = fold(stream).expect("whole");

    assert_eq!(
        answer,
        json!([{ "role": "assistant", "content": "Hi!", "refusal": null, "reasoning_content": "hm" }, "length"])
    );
}

#[test]
fn an_end_without_finish_is_an_error_and_a_marker_without_reason_a_stop() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";

    assert_eq!(fold(text), Err(ir::Error::truncated()));
    assert_eq!(fold(&format!("{text}data: [DONE]\n\n")).map(|answer| answer[1].clone()), Ok(json!("stop")));
    let failed = r#"data: {"id":"x","error":{"code":502,"message":"m"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#;
    assert_eq!(fold(&format!("{text}{failed}\n\n")).map_err(|error| error.message), Err("m".to_owned()));
}

#[test]
fn a_whole_answer_is_read_like_its_stream() {
    let body = json!({
        "id": "chatcmpl-1", "created": 5, "model": "m", "choices": [{ "index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": null, "reasoning_content": "hm",
            "tool_calls": [{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "" } }],
        } }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 },
    });
    let outbound = kit::outbound(Dialect::OpenAiChat);

    let answer = outbound.response(body.to_string().as_bytes(), &Correspondence::default()).expect("whole");

    assert_eq!(ir::Response::fold(answer.events()).as_ref(), Ok(&answer));
    assert_eq!(answer.choices[0].finish, ir::FinishReason::ToolCalls);
    assert_eq!(answer.usage.map(|usage| usage.total()), Some(5));
    for bad in ["", "<html>", "[]", "{}", "{\"choices\":[]}"] {
        let error = outbound.response(bad.as_bytes(), &Correspondence::default()).expect_err("no answer");
        assert_eq!(error.status, StatusCode::BAD_GATEWAY, "{bad}");
    }
}

// === sightings ===

fn see(payload: &str) -> Sighting {
    let line = format!("data: {payload}\n\n");
    let frame = frames(line.as_bytes()).next().expect("a frame");
    kit::probe(Dialect::OpenAiChat).observe(frame, Depth::Opening { want_text: true })
}

fn relay(payload: &str) -> Sighting {
    let line = format!("data: {payload}\n\n");
    let frame = frames(line.as_bytes()).next().expect("a frame");
    kit::probe(Dialect::OpenAiChat).observe(frame, Depth::Relay)
}

#[test]
fn the_machinery_of_a_stream_is_no_content() {
    for payload in [
        r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
        r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}],"id":""}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"","tool_calls":[]}}],"error":{"message":"","code":null}}"#,
        "",
        "not json",
        "[]",
    ] {
        for sighting in [see(payload), relay(payload)] {
            assert!(sighting.lifecycle && !sighting.content, "{payload}: {sighting:?}");
        }
    }
    let comment = frames(b": ping\n\n").next().expect("a frame");
    assert!(kit::probe(Dialect::OpenAiChat).observe(comment, Depth::Relay).lifecycle);
}

#[test]
fn every_kind_of_content_is_seen() {
    for delta in [
        r#""content":"a""#,
        r#""reasoning_content":"a""#,
        r#""content":"","reasoning":"a""#,
        r#""tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":""}}]"#,
        r#""function_call":{"name":"f"}"#,
        r#""refusal":"no""#,
        r#""audio":{"data":"AAAA"}"#,
        r#""images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]"#,
        r#""content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"a"}]}]"#,
    ] {
        let payload =
            format!(r#"{{"choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":null}}],"usage":null}}"#);
        for sighting in [see(&payload), relay(&payload)] {
            assert!(sighting.content && !sighting.lifecycle, "{payload}: {sighting:?}");
        }
    }
}

#[test]
fn words_in_content_are_not_taken_for_keys() {
    let payload = r#"{"choices":[{"delta":{"content":"\"usage\": {\"error\": 1} \"finish_reason\": \"stop\""},"finish_reason":null}]}"#;

    let sighting = relay(payload);

    assert!(sighting.content && !sighting.finished);
    assert_eq!(sighting.detail, None);
    assert_eq!(see(payload).text(), Some(r#""usage": {"error": 1} "finish_reason": "stop""#));
}

#[test]
fn a_relayed_chunk_is_counted_in_all_its_choices_and_a_thought_once() {
    let twice = |delta: &str| {
        relay(&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}},{{"index":1,"delta":{delta}}}]}}"#))
    };

    assert_eq!(twice(r#"{"content":"four"}"#).delivered, 8);
    assert_eq!(twice(r#"{"tool_calls":[{"function":{"arguments":"{\"a\":"}}]}"#).delivered, 14);
    let thought = relay(
        r#"{"choices":[{"delta":{"content":null,"reasoning_content":"six so","reasoning":"six so"}}]}"#,
    );
    assert!(thought.content);
    assert_eq!(thought.delivered, 6);
}

#[test]
fn a_relaying_probe_sees_usage_finish_error_and_the_end() {
    let usage = relay(r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#);
    assert!(usage.usage_only);
    assert_eq!(usage.usage().map(|usage| (usage.input_total, usage.output_total)), Some((5, 2)));
    let last = relay(r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"length"}],"usage":null}"#);
    assert!(last.finished && last.content && !last.usage_only);
    assert_eq!(last.detail.as_ref().and_then(|detail| detail.finish), Some(ir::FinishReason::Length));
    assert!(relay("[DONE]").done);
    let second = r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null},{"index":1,"delta":{},"finish_reason":"stop"}]}"#;
    assert!(relay(second).finished && relay(second).content);
    for payload in [
        r#"{"error":{"message":"m"}}"#,
        r#"{"object":"error","message":"m","code":400}"#,
        r#"{"choices":[{"error":{"message":"m"}}]}"#,
        r#"{"base_resp":{"status_code":1008,"status_msg":"m"},"choices":null}"#,
        r#"{"detail":"m"}"#,
        r#"[{"error":{"code":429,"message":"m"}}]"#,
        r#"{"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
    ] {
        assert!(relay(payload).error().is_some(), "{payload}");
        assert!(see(payload).error().is_some(), "{payload}");
        assert!(kit::whole(Dialect::OpenAiChat, payload.as_bytes(), false).error().is_some(), "{payload}");
    }
}

#[test]
fn a_whole_answer_tells_its_parts() {
    let body = r#"{"id":"x","model":"m","choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;

    let seen = kit::whole(Dialect::OpenAiChat, body.as_bytes(), true);

    assert!(seen.content && seen.finished && seen.done);
    assert_eq!((seen.text(), seen.delivered), (Some("Hello"), 5));
    let empty = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#;
    let empty = kit::whole(Dialect::OpenAiChat, empty.as_bytes(), false);
    assert!(!empty.content && empty.finished && empty.done);
    assert!(!kit::whole(Dialect::OpenAiChat, b"<html>", false).done);
    assert!(
        kit::whole(Dialect::OpenAiChat, br#"{"object":"list","data":[{"embedding":[1]}]}"#, false).content
    );
    assert!(kit::whole(Dialect::Anthropic, br#"{"input_tokens":12}"#, false).content);
}

#[test]
fn converted_events_tell_what_probes_tell() {
    assert!(Sighting::of(&ir::Event::Text("a".into()), false).content);
    assert!(Sighting::of(&ir::Event::Text(String::new()), false).lifecycle);
    assert!(Sighting::of(&ir::Event::KeepAlive, false).lifecycle);
    assert!(Sighting::of(&ir::Event::Error(ir::Error::truncated()), false).error().is_some());
    assert_eq!(Sighting::of(&ir::Event::Thinking("ab".into()), true).text(), Some("ab"));
}

// === usage ===

#[test]
fn every_providers_usage_has_one_normal_form() {
    for (wire, normal) in [
        (
            json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": { "cached_tokens": 4 },
            "completion_tokens_details": { "reasoning_tokens": 3 } }),
            (10, 4, 5, 3, 15),
        ),
        // xAI: reasoning apart from output.
        (
            json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 18,
            "completion_tokens_details": { "reasoning_tokens": 3 } }),
            (10, 0, 8, 3, 18),
        ),
        // More cached than there is input.
        (
            json!({ "prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15,
            "prompt_tokens_details": { "cached_tokens": 161 } }),
            (168, 161, 8, 0, 176),
        ),
        (
            json!({ "prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 6 }),
            (10, 6, 5, 0, 15),
        ),
        (json!({ "prompt_tokens": -3, "completion_tokens": "many", "total_tokens": 1.5 }), (0, 0, 0, 0, 1)),
        (json!({ "prompt_tokens": 1e300, "completion_tokens": 1 }), (u64::MAX, 0, 1, 0, u64::MAX)),
    ] {
        let body = json!({ "choices": [], "usage": wire });

        let usage = see(&body.to_string()).usage().expect("usage");

        let found =
            (usage.input_total, usage.cached_read, usage.output_total, usage.reasoning, usage.total());
        assert_eq!(found, normal, "{wire}");
    }
    let groq = see(
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":1}}}"#,
    );
    assert_eq!(groq.usage().map(|usage| usage.total()), Some(6));
    assert_eq!(see(r#"{"choices":[],"usage":{}}"#).usage(), None);
}

#[test]
fn anthropic_counts_survive_the_way_there_and_back() {
    let wire = json!({
        "input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 20,
    });
    let body = json!({ "type": "message", "content": [], "usage": wire });
    let usage = kit::whole(Dialect::Anthropic, body.to_string().as_bytes(), false).usage().expect("usage");

    assert_eq!(usage.to_openai()["prompt_tokens"], 18);
    let chat = json!({ "choices": [], "usage": usage.to_openai() });
    let back = see(&chat.to_string()).usage().expect("usage");
    assert_eq!(back.to_anthropic(), wire);
}

#[test]
fn a_later_report_never_wipes_out_a_count() {
    let mut usage = ir::Usage { input_total: 9, output_total: 1, ..ir::Usage::default() };

    usage.merge(ir::Usage { output_total: 4, ..ir::Usage::default() });

    assert_eq!((usage.input_total, usage.output_total), (9, 4));
}

// === requests ===

#[test]
fn what_cannot_be_understood_is_named() {
    for (body, param) in [
        ("", None),
        ("[]", None),
        (r#"{"messages":[]}"#, Some("model")),
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"model":"m","messages":[1]}"#, Some("messages[0]")),
        (r#"{"model":"m","messages":[{"role":"king","content":""}]}"#, Some("messages[0].role")),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
            Some("messages[0].content"),
        ),
        (r#"{"model":"m","messages":[]}"#, Some("messages")),
    ] {
        let error = kit::read(Dialect::OpenAiChat, body.as_bytes()).expect_err(body);

        assert_eq!(error.param.as_deref(), param, "{body}");
        assert_eq!(error.into_request_error().status, StatusCode::BAD_REQUEST);
    }
}

#[test]
fn a_chat_request_survives_the_intermediate_form() {
    let body = json!({
        "model": "m",
        "messages": [
            { "role": "system", "content": "S" },
            { "role": "user", "content": [
                { "type": "text", "text": "U" },
                { "type": "image_url", "image_url": { "url": "https://h/a.png", "detail": "low" } },
                { "type": "input_audio", "input_audio": { "data": "AAAA", "format": "mp3" } },
                { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA" } },
            ] },
            { "role": "assistant", "content": null, "tool_calls": [call("t", "{\"a\": 1.0}")] },
            { "role": "tool", "tool_call_id": "t", "content": "R" },
        ],
        "max_tokens": 5, "temperature": 1, "top_p": 0.95, "stop": ["a"], "seed": 3, "n": 1,
        "tools": [{ "type": "function", "function": {
            "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true,
        } }],
        "tool_choice": "required", "parallel_tool_calls": false,
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": {}, "strict": true } },
        "reasoning_effort": "high", "user": "u", "metadata": { "a": "b" }, "vendor_field": [1],
    });

    let (sent, _) = sent(Dialect::OpenAiChat, &body).expect("expressible");

    for (name, value) in body.as_object().expect("fields") {
        assert_eq!(sent.get(name), Some(value), "{name}");
    }
    assert_eq!(sent.as_object().map(serde_json::Map::len), body.as_object().map(serde_json::Map::len));
}

#[test]
fn unknown_fields_stay_in_the_family() {
    let body = anthropic(with(json!({ "vendor_field": 1, "store": true })));

    assert_eq!((body.get("vendor_field"), body.get("store")), (None, None));
}

// === errors ===

#[test]
fn each_family_is_told_of_errors_in_its_own_words() {
    for (status, openai, code, anthropic, gemini) in [
        (400, "invalid_request_error", Value::Null, "invalid_request_error", "INVALID_ARGUMENT"),
        (401, "authentication_error", json!("invalid_api_key"), "authentication_error", "UNAUTHENTICATED"),
        (402, "insufficient_quota", json!("billing"), "billing_error", "FAILED_PRECONDITION"),
        (403, "permission_error", Value::Null, "permission_error", "PERMISSION_DENIED"),
        (404, "not_found_error", Value::Null, "not_found_error", "NOT_FOUND"),
        (413, "invalid_request_error", json!("request_too_large"), "request_too_large", "INVALID_ARGUMENT"),
        (429, "rate_limit_error", json!("rate_limit_exceeded"), "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (502, "server_error", json!("upstream_error"), "api_error", "INTERNAL"),
        (504, "timeout", json!("api_error"), "timeout_error", "DEADLINE_EXCEEDED"),
        (529, "server_error", json!("overloaded"), "overloaded_error", "UNAVAILABLE"),
    ] {
        let error = ir::Error::new(StatusCode::from_u16(status).expect("a status"), "m");
        let body = |shape: ErrorShape| serde_json::from_slice::<Value>(&shape.body(&error)).expect("JSON");

        assert_eq!(
            body(ErrorShape::OpenAi),
            json!({ "error": { "message": "m", "type": openai, "param": null, "code": code } })
        );
        assert_eq!(
            body(ErrorShape::Anthropic),
            json!({ "type": "error", "error": { "type": anthropic, "message": "m" } })
        );
        assert_eq!(
            body(ErrorShape::Gemini),
            json!({ "error": { "code": status, "message": "m", "status": gemini, "details": [] } })
        );
    }
}

#[test]
fn an_error_within_a_stream_is_one_whole_event() {
    let error = ir::Error::truncated();
    for shape in [ErrorShape::OpenAi, ErrorShape::Anthropic, ErrorShape::Gemini] {
        let event = shape.event(&error);
        assert_eq!(frames(&event).count(), 1);
        assert!(event.ends_with(b"\n\n"));
    }
    assert!(Dialect::Anthropic.stream_error(&error).starts_with(b"event: error\n"));
}
