//! Clients of Anthropic's messages at every upstream: how their requests are understood, how answers are written for
//! them, and that what they send back means what it meant.

use dialect::{AnswerForm, Body, Conversion, Dialect, Envelope, Framing, Kind, between, ir};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::golden;
use crate::kit::{self, Exchange, UPSTREAMS};
use crate::requests::models;

const CLIENT: Dialect = Dialect::Anthropic;

fn with(fields: Value) -> Value {
    let mut request =
        json!({ "model": "m", "max_tokens": 100, "messages": [{ "role": "user", "content": "U" }] });
    for (name, value) in fields.as_object().expect("fields") {
        request[name] = value.clone();
    }
    request
}

fn talk(messages: Value) -> Value {
    with(json!({ "messages": messages }))
}

fn read(request: &Value) -> ir::Request {
    kit::read(CLIENT, request.to_string().as_bytes()).expect("a good request")
}

/// What an upstream is sent.
fn sent(upstream: Dialect, model: &str, request: &Value) -> Value {
    kit::write(upstream, &read(request), model, model).expect("expressible").0
}

fn to_chat(request: &Value) -> Value {
    sent(Dialect::OpenAiChat, "gpt-4o", request)
}

fn refused(request: &Value) -> String {
    kit::read(CLIENT, request.to_string().as_bytes()).expect_err("a bad request").message
}

const PNG: &str = "iVBORw0KGgo=";

#[test]
fn a_conversation_with_tools_is_told_to_a_chat_upstream_message_by_message() {
    let request = with(json!({
        "system": "S",
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": PNG } },
                { "type": "image", "source": { "type": "url", "url": "https://a.test/p.png" } },
                { "type": "document", "title": "d.pdf",
                  "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" } },
            ]},
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "T", "signature": "EqQB" },
                { "type": "text", "text": "calling" },
                { "type": "tool_use", "id": "toolu_1", "name": "f", "input": { "id": 12345678901234567890123_u128.to_string() } },
                { "type": "tool_use", "id": "toolu_2", "name": "g", "input": {} },
            ]},
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": "no" },
                { "type": "tool_result", "tool_use_id": "toolu_2", "content": [
                    { "type": "text", "text": "see" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": PNG } },
                ]},
                { "type": "text", "text": "go on" },
            ]},
        ],
        "tools": [{ "name": "f", "description": "D", "input_schema": { "type": "object" } }, { "name": "g", "type": "custom", "input_schema": {} }],
        "tool_choice": { "type": "tool", "name": "f", "disable_parallel_tool_use": true },
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop_sequences": ["X"],
        "metadata": { "user_id": "u1" },
        "thinking": { "type": "enabled", "budget_tokens": 4000 },
        "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } },
    }));

    let body = to_chat(&request);

    let png = format!("data:image/png;base64,{PNG}");
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    assert_eq!(
        body["messages"],
        json!([
            { "role": "system", "content": "S" },
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": png } },
                { "type": "image_url", "image_url": { "url": "https://a.test/p.png" } },
                { "type": "file", "file": { "filename": "d.pdf", "file_data": "data:application/pdf;base64,JVBERi0=" } },
            ]},
            { "role": "assistant", "content": "calling", "tool_calls": [
                call("toolu_1", "f", r#"{"id":"12345678901234567890123"}"#), call("toolu_2", "g", "{}"),
            ]},
            { "role": "tool", "tool_call_id": "toolu_1", "content": "Error: no" },
            { "role": "tool", "tool_call_id": "toolu_2", "content": "see" },
            { "role": "user", "content": [
                { "type": "text", "text": "Attachments of the tool output:" },
                { "type": "image_url", "image_url": { "url": png } },
                { "type": "text", "text": "go on" },
            ]},
        ])
    );
    assert_eq!(
        body["tools"][0]["function"],
        json!({ "name": "f", "description": "D", "parameters": { "type": "object" } })
    );
    assert_eq!(body["tool_choice"], json!({ "type": "function", "function": { "name": "f" } }));
    assert_eq!(body["parallel_tool_calls"], false);
    assert_eq!(
        (&body["max_tokens"], &body["temperature"], &body["top_p"]),
        (&json!(100), &json!(0.5), &json!(0.9))
    );
    assert_eq!((&body["stop"], &body["user"]), (&json!(["X"]), &json!("u1")));
    assert_eq!(body["reasoning_effort"], "medium");
    let schema = &body["response_format"]["json_schema"];
    assert_eq!(
        (&schema["name"], &schema["schema"]),
        (&json!("structured_output"), &json!({ "type": "object" }))
    );
}

#[test]
fn arguments_keep_digits_that_no_float_holds() {
    let request = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"U"},{"role":"assistant",
        "content":[{"type":"tool_use","id":"t","name":"f","input":{"b":12345678901234567890123,"a":1.50}}]}]}"#;
    let request = kit::read(CLIENT, request.as_bytes()).expect("readable");

    let ir::Content::ToolCall { arguments, .. } = &request.turns[1].blocks[0].content else {
        panic!("a call")
    };
    assert_eq!(arguments, r#"{"b":12345678901234567890123,"a":1.5}"#);
}

#[test]
fn what_anthropic_alone_bills_by_is_told_to_nobody_else() {
    let billing = "x-anthropic-billing-header: cc_version=2.1; cch=abc;";
    let blocks = json!([{ "type": "text", "text": billing }, { "type": "text", "text": "S" }]);
    for (system, told) in [(blocks, json!("S")), (json!(format!("{billing}\nS")), json!("S"))] {
        let body = to_chat(&with(json!({ "system": system })));

        assert_eq!(body["messages"][0], json!({ "role": "system", "content": told }));
    }
    let body = to_chat(&with(json!({ "system": [{ "type": "text", "text": billing }] })));
    assert_eq!(body["messages"][0]["role"], "user");
}

#[test]
fn an_instruction_in_mid_conversation_stays_where_it_is_with_its_mark() {
    let request = talk(json!([
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": "A" },
        { "role": "system", "content": [{ "type": "text", "text": "S", "cache_control": { "type": "ephemeral" } }] },
        { "role": "user", "content": "V" },
    ]));

    let roles = |body: &Value| -> Vec<String> {
        let messages = body["messages"].as_array().expect("messages");
        messages.iter().map(|message| message["role"].as_str().expect("a role").to_owned()).collect()
    };
    assert_eq!(roles(&to_chat(&request)), ["user", "assistant", "system", "user"]);
    let marked = read(&request);
    assert_eq!(marked.turns[2].blocks[0].cache, Some(ir::CacheHint::default()));
}

#[test]
fn marks_stand_where_the_client_has_put_them() {
    let mark = |ttl: &str| json!({ "type": "ephemeral", "ttl": ttl });
    let request = read(&with(json!({
        "system": [{ "type": "text", "text": "S", "cache_control": mark("1h") }],
        "tools": [{ "name": "f", "input_schema": {}, "cache_control": mark("1h") }],
        "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "U", "cache_control": mark("5m") }] },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t", "content": "R", "cache_control": mark("5m") },
            ]},
        ],
    })));

    let (body, _) =
        kit::write(Dialect::Converse, &request, "m", "anthropic.claude-sonnet-4-5").expect("expressible");

    let points = body.to_string().matches("cachePoint").count();
    assert_eq!(points, 4, "{body}");
    assert_eq!(request.system[0].cache, Some(ir::CacheHint { ttl: Some("1h".to_owned()) }));
}

#[test]
fn the_amount_of_thinking_is_understood_in_every_form() {
    let wish = |fields: Value| read(&with(fields)).reasoning;
    let shown = |wanted: ir::Reasoning| Some(ir::Reasoning { visible: Some(true), ..wanted });

    assert_eq!(wish(json!({})), None);
    let budget = json!({ "thinking": { "type": "enabled", "budget_tokens": 2048 } });
    assert_eq!(wish(budget), shown(ir::Reasoning::with_budget(2048)));
    assert_eq!(wish(json!({ "thinking": { "type": "disabled" } })), Some(ir::Reasoning::OFF));
    assert_eq!(wish(json!({ "thinking": { "type": "adaptive" } })), shown(ir::Reasoning::FREE));
    let both = json!({ "thinking": { "type": "adaptive", "display": "omitted" }, "output_config": { "effort": "max" } });
    let wanted = ir::Reasoning { effort: Some(ir::Effort::Max), visible: Some(false), ..ir::Reasoning::FREE };
    assert_eq!(wish(both), Some(wanted));
    let effort = json!({ "output_config": { "effort": "low" } });
    assert_eq!(wish(effort), Some(ir::Reasoning::with_effort(ir::Effort::Low)));
}

#[test]
fn what_a_server_of_anthropic_found_stays_in_the_conversation_in_words() {
    let request = talk(json!([
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": [
            { "type": "server_tool_use", "id": "s", "name": "web_search", "input": { "query": "q" } },
            { "type": "web_search_tool_result", "tool_use_id": "s", "content": [
                { "type": "web_search_result", "title": "Title", "url": "https://a.test", "encrypted_content": "SECRET" },
            ]},
            { "type": "text", "text": "found" },
        ]},
        { "role": "user", "content": [
            { "type": "search_result", "source": "https://b.test", "title": "B", "content": [{ "type": "text", "text": "words" }] },
        ]},
    ]));

    let told = to_chat(&request).to_string();

    for words in ["q", "Title", "https://a.test", "found", "https://b.test", "words"] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert!(!told.contains("SECRET"));
}

#[test]
fn a_tool_of_the_provider_goes_where_there_is_such_a_tool_and_is_refused_elsewhere() {
    let search =
        with(json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search", "max_uses": 2 }] }));
    let request = read(&search);
    let write = |upstream, model| kit::write(upstream, &request, model, model);

    let gemini = write(Dialect::Gemini, "gemini-2.5-flash").expect("it searches").0;
    assert!(gemini["tools"].to_string().contains("googleSearch"), "{gemini}");
    let responses = write(Dialect::Responses, "gpt-5").expect("it searches").0;
    assert!(responses["tools"].to_string().contains("web_search"), "{responses}");
    assert!(write(Dialect::OpenAiChat, "gpt-4o").is_err());
    let searching = write(Dialect::OpenAiChat, "gpt-4o-search-preview").expect("it searches").0;
    assert_eq!(searching["web_search_options"], json!({}));
    let other =
        read(&with(json!({ "tools": [{ "type": "code_execution_20250522", "name": "code_execution" }] })));
    assert!(kit::write(Dialect::OpenAiChat, &other, "gpt-4o", "gpt-4o").is_err());
}

#[test]
fn a_request_that_means_nothing_is_refused_in_anthropic_s_form() {
    let nothing = json!({ "type": "image" });
    for (request, message) in [
        (with(json!({ "messages": [] })), "messages: at least one message is required"),
        (json!({ "model": "m" }), "messages: Field required"),
        (json!({ "messages": [] }), "model: Field required"),
        (talk(json!([{ "role": "user" }])), "messages.0.content: Field required"),
        (
            talk(json!([{ "role": "robot", "content": "" }])),
            "messages.0.role: Input should be 'user', 'assistant' or 'system'",
        ),
        (
            talk(json!([{ "role": "user", "content": [nothing] }])),
            "messages.0.content.0.source: Field required",
        ),
        (
            talk(json!([{ "role": "user", "content": [{ "type": "tool_result" }] }])),
            "messages.0.content.0.tool_result.tool_use_id: Field required",
        ),
        (with(json!({ "tools": [{}] })), "tools.0.name: Field required"),
        (
            with(json!({ "tool_choice": { "type": "some" } })),
            "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'",
        ),
    ] {
        assert_eq!(refused(&request), message);
    }
}

#[test]
fn a_long_name_of_a_user_is_shortened_and_stays_the_same() {
    let user = |name: &str| read(&with(json!({ "metadata": { "user_id": name } }))).user.expect("a user");
    let long = format!("user_{}_session_1", "a".repeat(64));

    assert_eq!(user("u1"), "u1");
    assert!(user(&long).len() <= 64 && user(&long) == user(&long));
    assert_ne!(user(&long), user(&long.replace("_1", "_2")));
}

// === seals ===

/// The answer of an upstream as a Messages client gets it, and sends it back within its next request.
fn next_request(upstream: Dialect, answer: &[u8], whole: bool) -> Value {
    let first = with(json!({
        "model": "gemini-3-pro-preview", "thinking": { "type": "adaptive" }, "stream": !whole,
        "tools": [{ "name": "f", "input_schema": { "type": "object" } }],
    }));
    let exchange = Exchange::new(CLIENT, upstream, first.to_string().as_bytes(), !whole);
    let form = if whole { AnswerForm::Json } else { AnswerForm::Events(Framing::Sse) };
    let content = match whole {
        true => {
            let answer: Value =
                serde_json::from_slice(&exchange.whole(answer, form).expect("an answer")).expect("JSON");
            answer["content"].clone()
        }
        false => collected(&exchange.stream(answer, &[])),
    };
    let results: Vec<Value> = content
        .as_array()
        .expect("blocks")
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "R" }))
        .collect();
    let mut next = first.clone();
    next["messages"] = json!([
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": content },
        { "role": "user", "content": results },
    ]);
    next
}

/// The blocks that a client collects from a stream.
fn collected(stream: &str) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    for frame in dialect::frames(stream.as_bytes()) {
        let event: Value = serde_json::from_slice(frame.payload()).expect("JSON");
        match event["type"].as_str().expect("a type") {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let block = blocks.last_mut().expect("it is open");
                let delta = &event["delta"];
                for name in ["text", "thinking", "signature", "partial_json"] {
                    if let Some(more) = delta[name].as_str() {
                        block[name] = (block[name].as_str().unwrap_or_default().to_owned() + more).into();
                    }
                }
                if !delta["citation"].is_null() {
                    let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
                    citations.push(delta["citation"].clone());
                    block["citations"] = citations.into();
                }
            }
            "content_block_stop" => {
                let block = blocks.last_mut().expect("it is open").as_object_mut().expect("an object");
                if let Some(Value::String(json)) = block.shift_remove("partial_json") {
                    block["input"] = serde_json::from_str(&json).unwrap_or_else(|_| json!({ "value": json }));
                }
            }
            _ => {}
        }
    }
    blocks.into()
}

#[test]
fn gemini_s_seals_come_back_to_gemini_and_go_to_nobody_else() {
    let parts = json!([
        { "text": "T", "thought": true },
        { "functionCall": { "name": "f", "args": {} }, "thoughtSignature": "R1NFQUw=" },
    ]);
    let answer = json!({
        "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": "STOP" }],
        "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": 1 }, "modelVersion": "gemini-3-pro-preview",
    });
    for whole in [true, false] {
        let bytes = if whole { answer.to_string() } else { format!("data: {answer}\n\n") };

        let next = next_request(Dialect::Gemini, bytes.as_bytes(), whole);

        let back = sent(Dialect::Gemini, "gemini-3-pro-preview", &next);
        assert!(back.to_string().contains(r#""thoughtSignature":"R1NFQUw=""#), "{back}");
        for (upstream, model) in
            UPSTREAMS.iter().flat_map(|one| models(*one).iter().map(move |model| (*one, *model)))
        {
            let elsewhere = kit::write(upstream, &read(&next), model, model);
            let told = elsewhere.map(|(body, _)| body.to_string()).unwrap_or_default();
            assert!(upstream == Dialect::Gemini || !told.contains("R1NFQUw"), "{upstream:?} {told}");
        }
    }
}

#[test]
fn encrypted_reasoning_of_openai_comes_back_to_openai_and_goes_to_nobody_else() {
    let item = json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "R1NFQUw=" });
    let call =
        json!({ "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}" });
    let answer = json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5", "output": [item, call],
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    });

    let next = next_request(Dialect::Responses, answer.to_string().as_bytes(), true);

    let back = sent(Dialect::Responses, "gpt-5", &next);
    assert!(back.to_string().contains(r#""encrypted_content":"R1NFQUw=""#), "{back}");
    assert!(!to_chat(&next).to_string().contains("R1NFQUw"));
    let gemini = sent(Dialect::Gemini, "gemini-3-pro-preview", &next);
    assert!(!gemini.to_string().contains("R1NFQUw"));
}

#[test]
fn claude_s_signatures_are_given_as_they_are_and_come_back_through_converse() {
    let content = json!([
        { "reasoningContent": { "reasoningText": { "text": "T", "signature": "EqQB" } } },
        { "toolUse": { "toolUseId": "t1", "name": "f", "input": {} } },
    ]);
    let answer = json!({
        "output": { "message": { "role": "assistant", "content": content } }, "stopReason": "tool_use",
        "usage": { "inputTokens": 1, "outputTokens": 1, "totalTokens": 2 },
    });
    let first = with(
        json!({ "model": "anthropic.claude-sonnet-4-5", "thinking": { "type": "enabled", "budget_tokens": 2000 } }),
    );
    let exchange = Exchange::new(CLIENT, Dialect::Converse, first.to_string().as_bytes(), false);
    let whole = exchange.whole(answer.to_string().as_bytes(), AnswerForm::Json).expect("an answer");
    let whole: Value = serde_json::from_slice(&whole).expect("JSON");

    assert_eq!(whole["content"][0], json!({ "type": "thinking", "thinking": "T", "signature": "EqQB" }));
    let next = talk(json!([
        { "role": "user", "content": "U" }, { "role": "assistant", "content": whole["content"] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "R" }] },
    ]));
    let back = sent(Dialect::Converse, "anthropic.claude-sonnet-4-5", &next);
    assert!(back.to_string().contains("EqQB"), "{back}");
}

#[test]
fn between_equal_dialects_what_others_have_sealed_is_left_out_and_all_else_passes() {
    let foreign = talk(json!([
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "T", "signature": "uni-api:none" }, { "type": "text", "text": "A" },
        ]},
        { "role": "user", "content": "V" },
    ]));
    let plain = with(json!({ "unknown": { "field": 1 }, "service_tier": "auto" }));

    let passed = Exchange::new(CLIENT, CLIENT, plain.to_string().as_bytes(), false);
    let cleaned = Exchange::new(CLIENT, CLIENT, foreign.to_string().as_bytes(), false);

    assert_eq!(passed.sent, plain);
    assert_eq!(cleaned.sent["messages"][1]["content"], json!([{ "type": "text", "text": "A" }]));
    assert!(CLIENT.is_mended(
        Kind::Chat,
        &Body::Json(foreign.to_string().into()),
        "m",
        "m",
        dialect::Quirks::NONE
    ));
    assert!(!CLIENT.is_mended(
        Kind::Chat,
        &Body::Json(plain.to_string().into()),
        "m",
        "m",
        dialect::Quirks::NONE
    ));
}

#[test]
fn claude_on_vertex_is_sent_what_the_client_wrote_but_for_the_envelope() {
    let request = with(json!({
        "model": "claude-sonnet-4-5", "stream": true, "service_tier": "auto",
        "system": [{ "type": "text", "text": "x-anthropic-billing-header: c;" }, { "type": "text", "text": "S" }],
    }));

    let sent =
        Exchange::asked_in(&Envelope::VERTEX_CLAUDE, CLIENT, CLIENT, request.to_string().as_bytes(), true)
            .expect("expressible")
            .sent;

    let mut expected = request;
    expected.as_object_mut().expect("an object").shift_remove("model");
    expected["system"] = json!([{ "type": "text", "text": "S" }]);
    expected["anthropic_version"] = "vertex-2023-10-16".into();
    assert_eq!(sent, expected);
}

#[test]
fn every_upstream_can_be_asked_by_messages_clients() {
    for upstream in UPSTREAMS {
        assert!(between(Kind::Chat, CLIENT, *upstream).is_some(), "{upstream:?}");
    }
    let _: Option<&dyn Conversion> = between(Kind::CountTokens, CLIENT, CLIENT);
    let counted =
        CLIENT.estimated_count(&Body::Json(with(json!({})).to_string().into())).expect("it can be asked");
    let counted: Value = serde_json::from_slice(&counted.expect("readable")).expect("JSON");
    assert_eq!((counted["input_tokens"].is_u64(), &counted["estimated"]), (true, &json!(true)));
}

// === properties ===

#[test]
fn recorded_answers_are_the_same_streamed_and_whole_for_messages_clients() {
    let (mut streams, mut wholes) = (0, 0);
    let of_messages = |case: &golden::Case| case.client == CLIENT && case.client != case.upstream;
    for case in golden::cases().iter().filter(|case| of_messages(case) && case.is_answer()) {
        let at = case.folder.display();
        let (request, answer) = (case.request(), case.answer());
        let exchange = |stream| Exchange::asked(case.client, case.upstream, &request, stream);
        let (Ok(whole), Ok(events)) = (exchange(false), exchange(true)) else { continue };
        let (streamed, given) = match case.coming() {
            Some(coming) => {
                streams += 1;
                let answer = coming.as_sse(&answer);
                let form = AnswerForm::Events(Framing::Sse);
                (Ok(events.stream(&answer, &[])), whole.whole(&answer, form))
            }
            None => {
                wholes += 1;
                let streamed = events.whole(&answer, AnswerForm::Json);
                let text = streamed.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"));
                (text, whole.whole(&answer, AnswerForm::Json))
            }
        };
        let (Ok(streamed), Ok(given)) = (streamed, given) else { continue };
        let given: Value = serde_json::from_slice(&given).expect("JSON");
        if streamed.contains("event: message_stop") {
            assert_eq!(collected(&streamed), given["content"], "{at}");
        }
    }
    assert!(streams > 5 && wholes > 5, "{streams} {wholes}");
}

/// A step of a conversation.
#[derive(Clone, Debug)]
enum Step {
    User(String, bool),
    System(String),
    Assistant(String, Option<String>, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let words = || "[a-zäß漢 ]{0,10}[a-z]";
    let step = prop_oneof![
        (words(), any::<bool>()).prop_map(|(text, picture)| Step::User(text, picture)),
        words().prop_map(Step::System),
        (words(), prop::option::of(words()), 0..3_usize)
            .prop_map(|(text, thought, calls)| Step::Assistant(text, thought, calls)),
    ];
    prop::collection::vec(step, 1..8)
}

/// The messages, and after how many of them the model is asked.
fn messages(steps: &[Step]) -> (Vec<Value>, Vec<usize>) {
    let (mut messages, mut turns) = (vec![json!({ "role": "user", "content": "begin" })], vec![1]);
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::User(text, picture) => {
                let mut blocks =
                    vec![json!({ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } })];
                if *picture {
                    let source = json!({ "type": "base64", "media_type": "image/png", "data": PNG });
                    blocks.push(json!({ "type": "image", "source": source }));
                }
                messages.push(json!({ "role": "user", "content": blocks }));
                turns.push(messages.len());
            }
            Step::System(text) => messages.push(json!({ "role": "system", "content": text })),
            Step::Assistant(text, thought, calls) => {
                let mut blocks = Vec::new();
                if let Some(thought) = thought {
                    blocks.push(json!({ "type": "thinking", "thinking": thought, "signature": "EqQB" }));
                }
                blocks.push(json!({ "type": "text", "text": text }));
                let ids: Vec<String> = (0..*calls).map(|call| format!("toolu_{at}_{call}")).collect();
                blocks.extend(
                    ids.iter()
                        .map(|id| json!({ "type": "tool_use", "id": id, "name": "f", "input": { "a": 1 } })),
                );
                messages.push(json!({ "role": "assistant", "content": blocks }));
                if !ids.is_empty() {
                    let result = |id: &String| json!({ "type": "tool_result", "tool_use_id": id, "content": format!("R{id}") });
                    messages.push(
                        json!({ "role": "user", "content": ids.iter().map(result).collect::<Vec<_>>() }),
                    );
                    turns.push(messages.len());
                }
            }
        }
    }
    (messages, turns)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_next_request_of_an_agent_begins_with_the_one_before_it_at_every_upstream(steps in steps()) {
        let (messages, turns) = messages(&steps);
        let body = |end: usize| with(json!({
            "system": [
                // Another one in each request.
                { "type": "text", "text": format!("x-anthropic-billing-header: cch={end};") },
                { "type": "text", "text": "S", "cache_control": { "type": "ephemeral" } },
            ],
            "tools": [{ "name": "f", "input_schema": { "type": "object", "properties": { "a": { "type": "integer" } } } }],
            "messages": messages[..end],
        }));
        let others = |upstream: &&Dialect| ![Dialect::Anthropic, Dialect::DoubaoTranslation].contains(*upstream);
        for upstream in UPSTREAMS.iter().filter(others) {
            for model in models(*upstream) {
                let sent = |end: &usize| {
                    let body = body(*end).to_string();
                    let exchange = Exchange::aimed(CLIENT, *upstream, body.as_bytes(), true, model).ok()?;
                    crate::prefixes::split(&exchange.sent)
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
