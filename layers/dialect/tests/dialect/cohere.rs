//! The rules of conversion to Cohere and back, in both versions of its interface.

use std::time::SystemTime;

use bytes::Bytes;
use dialect::{Asked, Body, Correspondence, Dialect, Evidence, Unsupported, ir};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::kit::{self, outbound};

const V2: Dialect = Dialect::CohereV2;
const V1: Dialect = Dialect::CohereV1;

fn try_sent(upstream: Dialect, request: &Value) -> Result<(Value, Correspondence), Unsupported> {
    let model = request["model"].as_str().expect("a model");
    let read = kit::read(Dialect::OpenAiChat, request.to_string().as_bytes()).expect("a good request");
    kit::write(upstream, &read, model, model)
}

fn with(fields: Value) -> Value {
    let mut request =
        json!({ "model": "command-a-03-2025", "messages": [{ "role": "user", "content": "U" }] });
    for (name, value) in fields.as_object().expect("fields") {
        request[name] = value.clone();
    }
    request
}

fn sent(upstream: Dialect, fields: Value) -> Value {
    try_sent(upstream, &with(fields)).expect("expressible").0
}

fn tool(name: &str, parameters: Value) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "D", "parameters": parameters } })
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

/// A turn with two calls, their results in the other order, and a word behind them.
fn loop_of_calls() -> Value {
    json!([
        { "role": "system", "content": "S" },
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": "A", "reasoning_content": "P",
          "tool_calls": [call("t1", "f", ""), call("t2", "f", "{\"a\":1}")] },
        { "role": "tool", "tool_call_id": "t2", "content": "R2" },
        { "role": "tool", "tool_call_id": "t1", "content": "{\"r\":1}" },
        { "role": "user", "content": "V" },
    ])
}

fn schema() -> Value {
    json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] })
}

// === to version 2 ===

#[test]
fn a_conversation_with_tools_is_written_in_the_words_of_version_2() {
    let body = sent(V2, json!({ "messages": loop_of_calls(), "tools": [tool("f", schema())] }));

    assert_eq!(
        body["messages"],
        json!([
            { "role": "system", "content": "S" },
            { "role": "user", "content": "U" },
            { "role": "assistant", "content": "A", "tool_plan": "P", "tool_calls": [
                { "id": "t1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                { "id": "t2", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
            ] },
            { "role": "tool", "tool_call_id": "t2", "content": "R2" },
            { "role": "tool", "tool_call_id": "t1", "content": "{\"r\":1}" },
            { "role": "user", "content": "V" },
        ])
    );
    assert_eq!(body["tools"], json!([tool("f", schema())]));
    assert_eq!(body.get("tool_choice"), None);
    assert_eq!(body.get("stream"), None);
}

#[test]
fn beside_calls_words_without_thoughts_are_the_plan() {
    let body = sent(
        V2,
        json!({ "messages": [
            { "role": "user", "content": "U" },
            { "role": "assistant", "content": "A", "tool_calls": [call("t1", "f", "{}")] },
            { "role": "tool", "tool_call_id": "t1", "content": "" },
        ] }),
    );

    assert_eq!(body["messages"][1]["tool_plan"], "A");
    assert_eq!(body["messages"][1].get("content"), None);
    assert_eq!(body["messages"][2]["content"], "(no output)");
}

#[test]
fn what_is_broken_in_a_conversation_is_mended_and_instructions_stay_in_their_place() {
    let body = sent(
        V2,
        json!({ "messages": [
            { "role": "user", "content": "U" },
            { "role": "assistant", "content": null, "tool_calls": [call("t1", "f", "{}")] },
            { "role": "system", "content": "S" },
            { "role": "tool", "tool_call_id": "gone", "content": "R" },
            { "role": "user", "content": " " },
            { "role": "assistant", "content": "B" },
        ] }),
    );

    assert_eq!(
        body["messages"].as_array().unwrap()[2..],
        [
            json!({ "role": "tool", "tool_call_id": "t1", "content": "tool result missing" }),
            json!({ "role": "user", "content": "<system>\nS\n</system>" }),
            json!({ "role": "user", "content": [
                { "type": "text", "text": "Tool result:" },
                { "type": "text", "text": "R" },
            ] }),
            json!({ "role": "assistant", "content": "B" }),
            json!({ "role": "user", "content": "(continue)" }),
        ]
    );
}

#[test]
fn the_choice_among_tools_is_a_word_and_the_tools_that_are_left() {
    let tools = json!([tool("f", schema()), tool("g", schema())]);
    let chosen = |model: &str, choice: Value| {
        let body = sent(V2, json!({ "model": model, "tools": tools, "tool_choice": choice }));
        let names = body["tools"].as_array().into_iter().flatten();
        let names: Vec<String> =
            names.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect();
        let system =
            body["messages"][0]["content"].as_str().filter(|_| body["messages"][0]["role"] == "system");
        (names, body["tool_choice"].clone(), system.map(str::to_owned))
    };
    let both = || vec!["f".to_owned(), "g".to_owned()];
    let named = json!({ "type": "function", "function": { "name": "g" } });
    let new = "command-r7b-12-2024";
    let old = "command-r-plus-08-2024";
    let must = Some("You must call at least one of the tools now.".to_owned());

    assert_eq!(chosen(new, json!("auto")), (both(), Value::Null, None));
    assert_eq!(chosen(new, json!("none")), (both(), json!("NONE"), None));
    assert_eq!(chosen(new, json!("required")), (both(), json!("REQUIRED"), None));
    assert_eq!(chosen(new, named.clone()), (vec!["g".to_owned()], json!("REQUIRED"), None));
    assert_eq!(chosen(old, json!("none")), (Vec::new(), Value::Null, None));
    assert_eq!(chosen(old, named), (vec!["g".to_owned()], Value::Null, must));
}

#[test]
fn one_call_at_a_time_is_said_in_words() {
    let tools = json!([tool("f", schema())]);

    let body = sent(V2, json!({ "tools": tools, "parallel_tool_calls": false }));

    assert_eq!(
        body["messages"][0],
        json!({ "role": "system", "content": "Call no more than one tool at a time." })
    );
}

#[test]
fn arguments_follow_their_schemas_exactly_where_all_tools_ask_for_it_and_can() {
    let strict = |parameters: Value| {
        let mut tool = tool("f", parameters);
        tool["function"]["strict"] = true.into();
        tool
    };
    let limited = json!({
        "type": "object", "properties": { "a": { "type": "integer", "minimum": 1 } }, "required": ["a"],
    });

    let body = sent(V2, json!({ "tools": [strict(limited.clone())] }));
    assert_eq!(body["strict_tools"], true);
    assert_eq!(
        body["tools"][0]["function"]["parameters"]["properties"]["a"],
        json!({ "type": "integer", "description": "(minimum: 1)" })
    );
    for tools in
        [json!([strict(schema()), tool("g", schema())]), json!([strict(json!({ "type": "object" }))])]
    {
        assert_eq!(sent(V2, json!({ "tools": tools })).get("strict_tools"), None);
    }
    let loose = sent(V2, json!({ "tools": [tool("f", limited.clone())] }));
    assert_eq!(loose["tools"][0]["function"]["parameters"], limited);
}

#[test]
fn names_of_tools_are_fitted_and_named_back() {
    let request = with(json!({ "tools": [tool("get-time", schema()), tool("2nd", json!(null))] }));

    let (body, correspondence) = try_sent(V2, &request).unwrap();

    let names: Vec<&str> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["get_time", "_2nd"]);
    assert_eq!(body["tools"][1]["function"]["parameters"], json!({ "type": "object", "properties": {} }));
    let answer = json!({ "id": "i", "finish_reason": "TOOL_CALL", "message": { "role": "assistant", "tool_calls": [
        { "id": "c", "type": "function", "function": { "name": "get_time", "arguments": "null" } },
    ] } });
    let read = outbound(V2).response(answer.to_string().as_bytes(), &correspondence).unwrap();
    let told = kit::response(Dialect::OpenAiChat, &read);
    assert_eq!(told["choices"][0]["message"]["tool_calls"][0], call("c", "get-time", "{}"));
}

#[test]
fn a_schema_is_given_where_the_provider_takes_it_and_said_where_not() {
    let format = |schema: Value| json!({ "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": schema } });
    let system = |body: &Value| body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();

    let given = sent(V2, json!({ "response_format": format(schema()) }));
    assert_eq!(given["response_format"], json!({ "type": "json_object", "json_schema": schema() }));
    assert_eq!(given["messages"][0]["role"], "user");
    for fields in [
        json!({ "response_format": format(json!({ "type": "array" })) }),
        json!({ "response_format": format(schema()), "tools": [tool("f", schema())] }),
        json!({ "response_format": format(schema()), "documents": [{ "data": { "text": "T" } }] }),
    ] {
        let said = sent(V2, fields);
        assert_eq!(said.get("response_format"), None);
        assert!(system(&said).contains("JSON schema"), "{said}");
    }
    let object = sent(V2, json!({ "response_format": { "type": "json_object" } }));
    assert_eq!(object["response_format"], json!({ "type": "json_object" }));
    assert!(system(&object).contains("JSON object"));
}

#[test]
fn sampling_is_brought_into_the_ranges_of_the_provider() {
    let body = sent(
        V2,
        json!({ "temperature": 1.7, "top_p": 1, "top_k": 900, "seed": -3, "stop": ["X"], "max_tokens": 5,
            "frequency_penalty": 0.25, "presence_penalty": -1, "logprobs": true }),
    );

    for (name, value) in [
        ("temperature", json!(1.0)),
        ("p", json!(0.99)),
        ("k", json!(500)),
        ("seed", json!(3)),
        ("stop_sequences", json!(["X"])),
        ("max_tokens", json!(5)),
        ("frequency_penalty", json!(0.25)),
        ("logprobs", json!(true)),
    ] {
        assert_eq!(body[name], value, "{name}");
    }
    assert_eq!(body.get("presence_penalty"), None);
    assert_eq!(sent(V2, json!({ "temperature": 0.30 }))["temperature"], json!(0.30));
}

#[test]
fn what_the_provider_cannot_be_asked_is_refused_by_name() {
    for (fields, param) in [
        (json!({ "n": 2 }), "n"),
        (json!({ "logit_bias": { "1": 2 } }), "logit_bias"),
        (json!({ "logprobs": true, "top_logprobs": 2 }), "top_logprobs"),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools"),
        (
            json!({ "messages": [{ "role": "user", "content": [
                { "type": "input_audio", "input_audio": { "data": "AAAA", "format": "wav" } },
            ] }] }),
            "messages[0].content",
        ),
    ] {
        let refused = try_sent(V2, &with(fields)).unwrap_err();

        assert_eq!(refused.param.as_deref(), Some(param));
    }
    assert!(try_sent(V2, &with(json!({ "n": 1, "logit_bias": {}, "top_logprobs": 0 }))).is_ok());
}

#[test]
fn more_stop_sequences_than_the_provider_takes_end_the_answer_all_the_same() {
    let request = with(json!({ "stop": ["a", "b", "c", "d", "e", "X"] }));
    for upstream in [V2, V1] {
        let (body, correspondence) = try_sent(upstream, &request).unwrap();
        let answer = json!({ "id": "i", "text": "one X two", "finish_reason": "COMPLETE",
            "message": { "content": [{ "type": "text", "text": "one X two" }] } });

        let read = outbound(upstream).response(answer.to_string().as_bytes(), &correspondence).unwrap();

        assert_eq!(body["stop_sequences"], json!(["a", "b", "c", "d", "e"]));
        assert_eq!(kit::response(Dialect::OpenAiChat, &read)["choices"][0]["message"]["content"], "one ");
    }
}

#[test]
fn models_that_think_are_told_how_much_and_others_nothing() {
    let told = |model: &str, fields: Value| {
        let mut fields = fields;
        fields["model"] = model.into();
        let body = sent(V2, fields);
        (body["thinking"].clone(), body["max_tokens"].clone())
    };
    let thinker = "command-a-reasoning-08-2025";
    let enabled = json!({ "type": "enabled" });
    let with_budget = |budget: u64| json!({ "type": "enabled", "token_budget": budget });

    assert_eq!(told(thinker, json!({})), (Value::Null, Value::Null));
    assert_eq!(told(thinker, json!({ "reasoning_effort": "high" })).0, enabled);
    assert_eq!(told(thinker, json!({ "reasoning_effort": "low" })).0, with_budget(1024));
    assert_eq!(told(thinker, json!({ "reasoning_effort": "none" })).0, json!({ "type": "disabled" }));
    assert_eq!(
        told(thinker, json!({ "reasoning_effort": "medium", "max_tokens": 1000 })),
        (with_budget(500), json!(1000))
    );
    assert_eq!(
        told(thinker, json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 }, "max_tokens": 100 })),
        (with_budget(2000), json!(2100))
    );
    assert_eq!(told("command-a-03-2025", json!({ "reasoning_effort": "high" })).0, Value::Null);
    for (alias, thinking) in [
        ("x-think", enabled),
        ("x-think-16000", with_budget(16_000)),
        ("x-think-0", json!({ "type": "disabled" })),
        ("x-thinking", Value::Null),
    ] {
        let request = kit::read(Dialect::OpenAiChat, with(json!({})).to_string().as_bytes()).unwrap();
        let (body, _) = kit::write(V2, &request, alias, thinker).unwrap();
        assert_eq!(body["thinking"], thinking, "{alias}");
    }
}

#[test]
fn pictures_go_as_addresses_and_texts_of_files_in_their_place() {
    let png = "iVBORw0KGgoAAAANSUhEUg==";
    let body = sent(
        V2,
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "T" },
            { "type": "image_url", "image_url": { "url": format!("data:image/jpg;base64,{png}"), "detail": "low" } },
            { "type": "image_url", "image_url": { "url": "https://a.test/x.png" } },
            { "type": "file", "file": { "filename": "a.txt", "file_data": "data:text/plain;base64,SGk=" } },
        ] }] }),
    );

    assert_eq!(
        body["messages"][0]["content"],
        json!([
            { "type": "text", "text": "T" },
            { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{png}"), "detail": "low" } },
            { "type": "image_url", "image_url": { "url": "https://a.test/x.png" } },
            { "type": "text", "text": "<document title=\"a.txt\">\nHi\n</document>" },
        ])
    );
    let pdf = json!({ "messages": [{ "role": "user", "content": [
        { "type": "file", "file": { "file_data": "data:application/pdf;base64,SGk=" } },
    ] }] });
    assert!(try_sent(V2, &with(pdf)).is_err());
}

#[test]
fn fields_of_cohere_s_own_pass() {
    let documents = json!([{ "id": "d", "data": { "text": "T" } }]);
    let body =
        sent(V2, json!({ "documents": documents, "safety_mode": "STRICT", "metadata": {}, "store": true }));

    assert_eq!(body["documents"], documents);
    assert_eq!(body["safety_mode"], "STRICT");
    assert_eq!((body.get("metadata"), body.get("store")), (None, None));
}

#[test]
fn a_longer_conversation_begins_as_the_shorter_one_did() {
    let turns = loop_of_calls();
    let turns = turns.as_array().unwrap();
    for upstream in [V2, V1] {
        let of =
            |turns: &[Value]| sent(upstream, json!({ "messages": turns, "tools": [tool("f", schema())] }));
        let all = of(turns);
        let (messages, history) = ("messages", "chat_history");
        let name = if upstream == V2 { messages } else { history };
        let all_messages = all[name].as_array().unwrap();
        for length in [2, 5] {
            let shorter = of(&turns[..length]);
            let shorter_messages = shorter[name].as_array().cloned().unwrap_or_default();
            assert_eq!(all_messages[..shorter_messages.len()], shorter_messages, "{upstream:?} {length}");
            assert_eq!((&shorter["tools"], &shorter["preamble"]), (&all["tools"], &all["preamble"]));
        }
    }
}

// === from version 2 ===

fn events(upstream: Dialect, stream: &str) -> Vec<ir::Event> {
    let mut decoder = outbound(upstream).events(&Correspondence::default());
    let framing = upstream.codec().upstream.framing;
    let mut events = Vec::new();
    let mut framer = framing.framer(1 << 20);
    let block = framer.push(Bytes::copy_from_slice(stream.as_bytes()));
    for block in block.into_iter().chain(framer.finish()) {
        for frame in framing.frames(&block) {
            decoder.decode(frame, &mut events).expect("readable");
        }
    }
    decoder.finish(&mut events);
    events
}

fn folded(upstream: Dialect, stream: &str) -> Result<Value, ir::Error> {
    Ok(kit::response(Dialect::OpenAiChat, &ir::Response::fold(events(upstream, stream))?))
}

fn whole(upstream: Dialect, answer: &Value) -> Result<Value, ir::Error> {
    let read = outbound(upstream).response(answer.to_string().as_bytes(), &Correspondence::default())?;
    Ok(kit::response(Dialect::OpenAiChat, &read))
}

fn sse(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn usage(input: u64, output: u64) -> Value {
    json!({ "billed_units": { "input_tokens": 1, "output_tokens": 1 },
        "tokens": { "input_tokens": input, "output_tokens": output, "reasoning_tokens": 3 }, "cached_tokens": 2 })
}

#[test]
fn a_plan_and_calls_are_read_alike_streamed_and_whole() {
    let calls = |call: Value| json!({ "message": { "tool_calls": call } });
    let stream = sse(&[
        json!({ "type": "message-start", "id": "i", "delta": { "message": { "role": "assistant", "content": [] } } }),
        json!({ "type": "tool-plan-delta", "delta": { "message": { "tool_plan": "I " } } }),
        json!({ "type": "tool-plan-delta", "delta": { "message": { "tool_plan": "will." } } }),
        json!({ "type": "tool-call-start", "index": 0, "delta": calls(call("a", "f", "")) }),
        json!({ "type": "tool-call-delta", "index": 0, "delta": calls(json!({ "function": { "arguments": "{\"x\":" } })) }),
        json!({ "type": "tool-call-delta", "index": 0, "delta": calls(json!({ "function": { "arguments": "1}" } })) }),
        json!({ "type": "tool-call-end", "index": 0 }),
        json!({ "type": "tool-call-start", "index": 1, "delta": calls(call("b", "g", "")) }),
        json!({ "type": "tool-call-delta", "index": 1, "delta": calls(json!({ "function": { "arguments": "nu" } })) }),
        json!({ "type": "tool-call-delta", "index": 1, "delta": calls(json!({ "function": { "arguments": "ll" } })) }),
        json!({ "type": "tool-call-end", "index": 1 }),
        json!({ "type": "message-end", "delta": { "finish_reason": "TOOL_CALL", "usage": usage(5, 4) } }),
    ]);
    let answer = json!({
        "id": "i", "finish_reason": "TOOL_CALL", "usage": usage(5, 4),
        "message": { "role": "assistant", "tool_plan": "I will.", "tool_calls": [
            call("a", "f", "{\"x\":1}"), call("b", "g", "null"),
        ] },
    });

    let told = folded(V2, &stream).unwrap();

    assert_eq!(whole(V2, &answer).unwrap(), told);
    let choice = &told["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["reasoning_content"], "I will.");
    assert_eq!(choice["message"]["tool_calls"], json!([call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]));
    assert_eq!(told["usage"]["prompt_tokens"], 5);
    assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(told["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
}

#[test]
fn thoughts_text_and_its_sources_are_read_alike_streamed_and_whole() {
    let content = |content: Value| json!({ "message": { "content": content } });
    let source =
        json!({ "type": "document", "id": "d", "document": { "url": "https://a.test", "title": "T" } });
    let citation = |index: u64| json!({ "start": 1, "end": 3, "text": "wo", "sources": [source], "content_index": index, "type": "TEXT_CONTENT" });
    let plan = json!({ "start": 0, "end": 1, "text": "w", "sources": [source], "type": "PLAN" });
    let stream = sse(&[
        json!({ "type": "message-start", "id": "i" }),
        json!({ "type": "content-start", "index": 0, "delta": content(json!({ "type": "thinking", "thinking": "" })) }),
        json!({ "type": "content-delta", "index": 0, "delta": content(json!({ "thinking": "Hm." })) }),
        json!({ "type": "content-end", "index": 0 }),
        json!({ "type": "content-start", "index": 1, "delta": content(json!({ "type": "text", "text": "" })) }),
        json!({ "type": "content-delta", "index": 1, "delta": content(json!({ "text": "two" })) }),
        json!({ "type": "citation-start", "index": 0, "delta": { "message": { "citations": citation(1) } } }),
        json!({ "type": "citation-end", "index": 0 }),
        json!({ "type": "content-delta", "index": 1, "delta": content(json!({ "text": " words" })), "logprobs": { "token_ids": [1], "text": " words", "logprobs": [-0.5] } }),
        json!({ "type": "content-end", "index": 1 }),
        json!({ "type": "citation-start", "index": 1, "delta": { "message": { "citations": plan } } }),
        json!({ "type": "message-end", "delta": { "finish_reason": "MAX_TOKENS" } }),
    ]);
    let answer = json!({
        "id": "i", "finish_reason": "MAX_TOKENS",
        "logprobs": [{ "token_ids": [1], "text": " words", "logprobs": [-0.5] }],
        "message": { "role": "assistant", "citations": [citation(1), plan], "content": [
            { "type": "thinking", "thinking": "Hm." }, { "type": "text", "text": "two words" },
        ] },
    });

    let told = folded(V2, &stream).unwrap();

    assert_eq!(whole(V2, &answer).unwrap(), told);
    let choice = &told["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["message"]["reasoning_content"], "Hm.");
    assert_eq!(choice["message"]["content"], "two words");
    assert_eq!(
        choice["message"]["annotations"],
        json!([{ "type": "url_citation", "url_citation": { "start_index": 1, "end_index": 3, "url": "https://a.test", "title": "T" } }])
    );
    assert_eq!(choice["logprobs"]["content"][0]["logprob"], json!(-0.5));
}

#[test]
fn the_likelihoods_of_a_piece_of_several_tokens_count_together() {
    let answer = json!({
        "id": "i", "finish_reason": "COMPLETE", "message": { "content": [{ "type": "text", "text": "ab" }] },
        "logprobs": [{ "token_ids": [1, 2], "text": "ab", "logprobs": [-0.5, -0.25] }],
    });

    let told = whole(V2, &answer).unwrap();

    assert_eq!(told["choices"][0]["logprobs"]["content"][0]["logprob"], json!(-0.75));
}

#[test]
fn every_end_of_an_answer_has_its_name_and_failures_are_errors() {
    for upstream in [V2, V1] {
        let told = |reason: &str| {
            whole(
                upstream,
                &json!({ "id": "i", "text": "T", "finish_reason": reason, "error": "it broke",
                    "message": { "content": [{ "type": "text", "text": "T" }] } }),
            )
        };
        for (reason, finish) in [
            ("COMPLETE", "stop"),
            ("STOP_SEQUENCE", "stop"),
            ("MAX_TOKENS", "length"),
            ("ERROR_LIMIT", "length"),
            ("ERROR_TOXIC", "content_filter"),
        ] {
            assert_eq!(told(reason).unwrap()["choices"][0]["finish_reason"], finish, "{reason}");
        }
        for (reason, status) in [("ERROR", 502), ("TIMEOUT", 504), ("USER_CANCEL", 502)] {
            let error = told(reason).unwrap_err();
            assert_eq!(
                (error.status.as_u16(), &*error.message),
                (status, "it broke"),
                "{upstream:?} {reason}"
            );
        }
    }
}

#[test]
fn a_stream_that_ends_early_or_in_words_is_an_error() {
    let start = json!({ "type": "message-start", "id": "i" });
    let text = json!({ "type": "content-delta", "index": 0, "delta": { "message": { "content": { "text": "T" } } } });
    let failed =
        json!({ "type": "message-end", "delta": { "finish_reason": "ERROR", "error": "scheduler error" } });

    assert_eq!(folded(V2, &sse(&[start.clone(), text.clone()])), Err(ir::Error::truncated()));
    assert_eq!(
        folded(V2, &sse(&[start.clone(), text.clone(), failed])).unwrap_err().message,
        "scheduler error"
    );
    let told = folded(V2, &sse(&[start, text, json!({ "message": "internal server error" })])).unwrap_err();
    assert_eq!(told.message, "internal server error");
    assert_eq!(
        whole(V2, &json!({ "id": "x", "message": "no such thing" })).unwrap_err().message,
        "no such thing"
    );
}

// === version 1 ===

#[test]
fn a_conversation_is_a_history_and_a_message_in_version_1() {
    let body = sent(V1, json!({ "messages": loop_of_calls(), "tools": [tool("f", schema())] }));

    let call = |arguments: Value| json!({ "name": "f", "parameters": arguments });
    assert_eq!(body["preamble"], "S");
    assert_eq!(
        body["chat_history"],
        json!([
            { "role": "USER", "message": "U" },
            { "role": "CHATBOT", "message": "A", "tool_calls": [call(json!({})), call(json!({ "a": 1 }))] },
            { "role": "TOOL", "tool_results": [
                { "call": call(json!({ "a": 1 })), "outputs": [{ "output": "R2" }] },
                { "call": call(json!({})), "outputs": [{ "r": 1 }] },
            ] },
        ])
    );
    assert_eq!(body["message"], "V");
    assert_eq!(
        body["tools"],
        json!([{ "name": "f", "description": "D",
            "parameter_definitions": { "a": { "type": "int", "required": true } } }])
    );
    assert_eq!(body.get("tool_results"), None);
}

#[test]
fn results_that_the_model_waits_for_stand_beside_the_history_in_version_1() {
    let turns = loop_of_calls();
    let turns = &turns.as_array().unwrap()[..5];
    let body = sent(V1, json!({ "messages": turns, "tools": [tool("f", schema())] }));

    assert_eq!(body["message"], "");
    assert_eq!(body["chat_history"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["tool_results"].as_array().map(Vec::len), Some(2));
    // Results are only taken beside tools.
    let bare = sent(V1, json!({ "messages": turns }));
    assert_eq!(bare["message"], "(continue)");
    assert_eq!(bare["chat_history"][2]["role"], "TOOL");
    assert_eq!((bare.get("tool_results"), bare.get("tools")), (None, None));
}

#[test]
fn instructions_in_the_middle_keep_their_place_in_version_1() {
    let body = sent(
        V1,
        json!({ "messages": [
            { "role": "user", "content": "U" },
            { "role": "assistant", "content": "A" },
            { "role": "system", "content": "S" },
            { "role": "user", "content": "V" },
            { "role": "system", "content": "T" },
        ] }),
    );

    assert_eq!(body.get("preamble"), None);
    assert_eq!(body["chat_history"][2], json!({ "role": "SYSTEM", "message": "S" }));
    assert_eq!(body["message"], "V\n\n<system>\nT\n</system>");
}

#[test]
fn a_schema_that_types_cannot_say_is_worded_and_parameters_are_named_back_in_version_1() {
    let request = with(json!({ "tools": [tool("f", json!({
        "type": "object",
        "properties": { "x-y": { "type": "string", "enum": ["a"], "description": "P" }, "z": { "type": ["integer", "null"] } },
        "required": ["x-y"],
        "oneOf": [{ "required": ["z"] }],
    }))] }));

    let (body, correspondence) = try_sent(V1, &request).unwrap();

    let written = &body["tools"][0];
    assert_eq!(
        written["parameter_definitions"],
        json!({
            "x_y": { "description": "P (JSON schema: {\"type\":\"string\",\"enum\":[\"a\"]})", "type": "str", "required": true },
            "z": { "type": "Optional[int]", "required": false },
        })
    );
    assert!(written["description"].as_str().unwrap().contains("oneOf"), "{written}");
    let answer = json!({ "generation_id": "g", "text": "", "finish_reason": "COMPLETE",
        "tool_calls": [{ "name": "f", "parameters": { "x_y": "a" } }] });
    let read = outbound(V1).response(answer.to_string().as_bytes(), &correspondence).unwrap();
    let told = kit::response(Dialect::OpenAiChat, &read);
    assert_eq!(
        told["choices"][0]["message"]["tool_calls"][0]["function"],
        json!({ "name": "f", "arguments": "{\"x-y\":\"a\"}" })
    );
    assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn pictures_and_likelihoods_are_refused_in_version_1() {
    let picture = json!([{ "type": "image_url", "image_url": { "url": "https://a.test/x.png" } }]);
    for (fields, param) in [
        (json!({ "logprobs": true }), "logprobs"),
        (json!({ "messages": [{ "role": "user", "content": picture }] }), "messages[0].content"),
    ] {
        assert_eq!(try_sent(V1, &with(fields)).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn calls_are_read_alike_streamed_and_whole_in_version_1() {
    let lines = |events: &[Value]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
    let calls = json!([{ "name": "f", "parameters": { "x": 1 } }, { "name": "f", "parameters": { "x": 1 } }]);
    let answer = json!({
        "text": "I will.", "generation_id": "g", "finish_reason": "COMPLETE", "tool_calls": calls,
        "meta": { "tokens": { "input_tokens": 5, "output_tokens": 4 }, "billed_units": { "input_tokens": 1 } },
    });
    let stream = lines(&[
        json!({ "is_finished": false, "event_type": "stream-start", "generation_id": "g" }),
        json!({ "is_finished": false, "event_type": "tool-calls-chunk", "text": "I " }),
        json!({ "is_finished": false, "event_type": "tool-calls-chunk", "tool_call_delta": { "text": "will." } }),
        json!({ "is_finished": false, "event_type": "tool-calls-chunk", "tool_call_delta": { "index": 0, "name": "f" } }),
        json!({ "is_finished": false, "event_type": "tool-calls-chunk", "tool_call_delta": { "index": 0, "parameters": "{\"x\":" } }),
        json!({ "is_finished": false, "event_type": "tool-calls-chunk", "tool_call_delta": { "index": 0, "parameters": "1}" } }),
        json!({ "is_finished": false, "event_type": "tool-calls-generation", "text": "I will.", "tool_calls": calls }),
        json!({ "is_finished": true, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": answer }),
    ]);

    let told = folded(V1, &stream).unwrap();

    assert_eq!(whole(V1, &answer).unwrap(), told);
    let message = &told["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "I will.");
    let ids: Vec<&Value> = message["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"]).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");
    assert_eq!((&told["usage"]["prompt_tokens"], &told["usage"]["total_tokens"]), (&json!(5), &json!(9)));
}

#[test]
fn text_and_its_sources_are_read_alike_streamed_and_whole_in_version_1() {
    let lines = |events: &[Value]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
    let documents = json!([{ "id": "doc_0", "url": "https://a.test", "title": "T", "snippet": "S" }]);
    let citations = json!([{ "start": 0, "end": 2, "text": "Hi", "document_ids": ["doc_0", "doc_9"] }]);
    let answer = json!({
        "text": "Hi!", "generation_id": "g", "finish_reason": "MAX_TOKENS", "documents": documents, "citations": citations,
    });
    let stream = lines(&[
        json!({ "is_finished": false, "event_type": "stream-start", "generation_id": "g" }),
        json!({ "is_finished": false, "event_type": "search-results", "documents": documents }),
        json!({ "is_finished": false, "event_type": "text-generation", "text": "Hi" }),
        json!({ "is_finished": false, "event_type": "text-generation", "text": "!" }),
        json!({ "is_finished": false, "event_type": "citation-generation", "citations": citations }),
        json!({ "is_finished": true, "event_type": "stream-end", "finish_reason": "MAX_TOKENS", "response": answer }),
    ]);

    let told = folded(V1, &stream).unwrap();

    assert_eq!(whole(V1, &answer).unwrap(), told);
    assert_eq!(told["choices"][0]["message"]["content"], "Hi!");
    assert_eq!(told["choices"][0]["finish_reason"], "length");
    assert_eq!(told["choices"][0]["message"]["annotations"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_stream_of_version_1_ends_with_the_event_that_says_so_whatever_it_is_called() {
    let minimal = concat!(
        "{\"is_finished\":false,\"event_type\":\"stream-start\",\"generation_id\":\"g\"}\n",
        "{\"is_finished\":false,\"event_type\":\"text-generation\",\"text\":\"Hi\"}\n",
    );
    let end = "{\"is_finished\":true,\"event_type\":\"stream-end\",\"finish_reason\":\"COMPLETE\",\"response\":{\"text\":\"Hi\",\"meta\":{\"tokens\":{\"input_tokens\":5,\"output_tokens\":1}}}}\n";
    let early = "{\"is_finished\":true,\"finish_reason\":\"COMPLETE\"}\n{\"event_type\":\"text-generation\",\"text\":\"more\"}\n";

    let told = folded(V1, &format!("{minimal}{end}")).unwrap();
    assert_eq!(told["choices"][0]["message"]["content"], "Hi");
    assert_eq!(told["usage"]["total_tokens"], 6);
    assert_eq!(folded(V1, &format!("{minimal}{early}")).unwrap()["choices"][0]["message"]["content"], "Hi");
    assert_eq!(folded(V1, minimal), Err(ir::Error::truncated()));
    assert_eq!(folded(V1, &format!("{minimal}{{\"message\":\"oh no\"}}\n")).unwrap_err().message, "oh no");
}

// === errors ===

fn evidence(status: u16, message: &str) -> (Evidence, ir::Error) {
    let body = json!({ "id": "i", "message": message }).to_string();
    let status = StatusCode::from_u16(status).expect("a status");
    let error = outbound(V2).error(status, &HeaderMap::new(), body.as_bytes());
    let asked = Asked { body: &Body::Empty, headers: &HeaderMap::new(), model: "command-does-not-exist" };
    let now = SystemTime::UNIX_EPOCH;
    (Evidence::read(&HeaderMap::new(), &error, body.as_bytes(), &asked, now), error)
}

#[test]
fn what_a_refusal_means_is_read_from_its_status_and_words() {
    let trial = "You are using a Trial key, which is limited to";
    assert!(evidence(429, &format!("{trial} 1000 API calls / month.")).0.quota);
    assert!(!evidence(429, &format!("{trial} 20 API calls / minute.")).0.quota);
    assert!(evidence(498, "blocked input").0.one_request);
    assert!(
        evidence(400, "too many tokens: total number of tokens in the prompt cannot exceed 4081").0.too_long
    );
    let missing = "model 'command-does-not-exist' not found, make sure the correct model ID was used";
    assert!(evidence(404, missing).0.no_model);
    let (plain, error) = evidence(401, "invalid api token");
    assert_eq!((error.message.as_str(), error.kind), ("invalid api token", ir::ErrorKind::Authentication));
    assert!(!plain.one_request);
}
