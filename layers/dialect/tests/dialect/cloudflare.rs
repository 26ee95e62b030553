//! The rules of conversion to Workers AI's own format and back.

use std::time::SystemTime;

use dialect::{Asked, Body, Correspondence, Dialect, Evidence, Unsupported, ir};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::cuts::play;
use crate::kit::{self, outbound};

const OLDER: &str = "@cf/meta/llama-3.3-70b-instruct-fp8-fast";
const NEWER: &str = "@cf/moonshotai/kimi-k2.6";

fn try_sent(fields: Value) -> Result<(Value, Correspondence), Unsupported> {
    let mut request = json!({ "model": OLDER, "messages": [{ "role": "user", "content": "U" }] });
    for (name, value) in fields.as_object().expect("fields") {
        request[name] = value.clone();
    }
    let model = request["model"].as_str().expect("a model");
    let read = kit::read(Dialect::OpenAiChat, request.to_string().as_bytes()).expect("a good request");
    kit::write(Dialect::Cloudflare, &read, model, model)
}

fn sent(fields: Value) -> Value {
    try_sent(fields).expect("expressible").0
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "D",
        "parameters": { "type": "object", "properties": { "a": { "type": "integer" } } } } })
}

fn folded(stream: &str, correspondence: &Correspondence) -> Result<Value, ir::Error> {
    let mut decoder = outbound(Dialect::Cloudflare).events(correspondence);
    let mut events = Vec::new();
    play(stream.as_bytes(), &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    Ok(kit::response(Dialect::OpenAiChat, &ir::Response::fold(events)?))
}

fn whole(answer: &Value) -> Result<Value, ir::Error> {
    let body = answer.to_string();
    let read = outbound(Dialect::Cloudflare).response(body.as_bytes(), &Correspondence::default())?;
    Ok(kit::response(Dialect::OpenAiChat, &read))
}

fn enveloped(result: Value) -> Value {
    json!({ "result": result, "success": true, "errors": [], "messages": [] })
}

#[test]
fn the_whole_conversation_goes_up_and_the_limit_is_no_longer_256() {
    let body = sent(json!({
        "messages": [
            { "role": "system", "content": "S" },
            { "role": "user", "content": [{ "type": "text", "text": "U" }, { "type": "text", "text": "V" }] },
            { "role": "assistant", "content": "A" },
            { "role": "developer", "content": "T" },
            { "role": "user", "content": "W" },
        ],
        "temperature": 0.5, "top_p": 0.9, "seed": 7, "frequency_penalty": -1,
    }));

    assert_eq!(
        body,
        json!({
            "messages": [
                { "role": "system", "content": "S" },
                { "role": "user", "content": "U\n\nV" },
                { "role": "assistant", "content": "A" },
                { "role": "system", "content": "T" },
                { "role": "user", "content": "W" },
            ],
            "max_tokens": 2048, "temperature": 0.5, "top_p": 0.9, "seed": 7, "frequency_penalty": 0.0,
        })
    );
    assert_eq!(sent(json!({ "max_tokens": 9 }))["max_tokens"], 9);
}

#[test]
fn tools_and_their_results_are_written_with_short_identities() {
    let call =
        json!({ "id": "call_long.one", "type": "function", "function": { "name": "f", "arguments": "" } });
    let body = sent(json!({
        "messages": [
            { "role": "user", "content": "U" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "call_long.one", "content": "R" },
        ],
        "tools": [tool("f"), tool("g")],
        "tool_choice": { "type": "function", "function": { "name": "f" } },
        "parallel_tool_calls": false,
    }));

    let id = &body["messages"][2]["tool_calls"][0]["id"];
    assert!(
        id.as_str().is_some_and(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    );
    assert_eq!(
        body["messages"][3],
        json!({ "role": "tool", "tool_call_id": id, "name": "f", "content": "R" })
    );
    assert_eq!(body["tools"], json!([tool("f")]));
    assert_eq!(
        body["messages"][0]["content"],
        "You must call at least one of the tools now.\n\nCall no more than one tool at a time."
    );
    assert_eq!(sent(json!({ "tools": [tool("f")], "tool_choice": "none" })).get("tools"), None);
}

#[test]
fn the_form_of_an_answer_is_a_field_where_the_model_has_one_and_is_not_streamed_then() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    let asked = |model: &str, more: Value| {
        let mut fields = json!({ "model": model, "response_format": format });
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        sent(fields)
    };

    let mode = asked(OLDER, json!({}));
    assert_eq!(mode["response_format"], json!({ "type": "json_schema", "json_schema": schema }));
    let guided = asked("@cf/mistralai/mistral-small-3.1-24b-instruct", json!({}));
    assert_eq!((&guided["guided_json"], guided.get("response_format")), (&schema, None));
    for said in [
        asked("@cf/meta/llama-3.2-11b-vision-instruct", json!({})),
        asked(OLDER, json!({ "tools": [tool("f")] })),
    ] {
        assert_eq!(said.get("response_format"), None);
        assert!(said["messages"][0]["content"].as_str().unwrap().contains("JSON schema"), "{said}");
    }
}

#[test]
fn pictures_go_as_data_and_an_address_is_fetched_before() {
    let picture = |url: &str| {
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "T" }, { "type": "image_url", "image_url": { "url": url } },
        ] }] })
    };
    let data = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";

    assert_eq!(
        sent(picture(data))["messages"][0]["content"],
        json!([{ "type": "text", "text": "T" }, { "type": "image_url", "image_url": { "url": data } }])
    );
    assert!(try_sent(picture("https://a.test/x.png")).is_err());
    assert!(Dialect::Cloudflare.codec().upstream.envelope.fetches_media);
}

#[test]
fn what_these_models_cannot_be_asked_is_refused_by_name() {
    for (fields, param) in [
        (json!({ "n": 2 }), "n"),
        (json!({ "logprobs": true }), "logprobs"),
        (json!({ "logit_bias": { "1": 1 } }), "logit_bias"),
        (json!({ "modalities": ["audio"] }), "modalities"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools"),
    ] {
        assert_eq!(try_sent(fields).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn stop_sequences_end_the_answer_of_models_that_know_none() {
    let (body, correspondence) = try_sent(json!({ "stop": ["X"] })).unwrap();
    let stream = "data: {\"response\":\"one \"}\n\ndata: {\"response\":\"X two\"}\n\ndata: [DONE]\n\n";

    let told = folded(stream, &correspondence).unwrap();

    assert_eq!(body.get("stop"), None);
    assert_eq!(told["choices"][0]["message"]["content"], "one ");
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
}

#[test]
fn newer_models_are_asked_in_openai_s_words() {
    let fields = json!({ "model": NEWER, "stop": ["X"], "logprobs": true, "tools": [tool("f")], "tool_choice": "required",
        "response_format": { "type": "json_object" }, "reasoning_effort": "high" });

    let body = sent(fields.clone());

    for name in ["stop", "logprobs", "tools", "tool_choice", "response_format", "reasoning_effort"] {
        assert_eq!(body[name], fields[name], "{name}");
    }
    let effort = sent(json!({ "model": "@cf/openai/gpt-oss-120b", "reasoning_effort": "minimal" }));
    assert_eq!(effort["reasoning"], json!({ "effort": "low" }));
}

#[test]
fn a_stream_is_text_with_padding_and_its_end_is_made_up_at_the_marker_alone() {
    let stream = concat!(
        "data: {\"response\":\"Hi\",\"p\":\"abcdef\"}\n\n",
        "data: {\"response\":\" \",\"p\":\"ab\"}\n\n",
        "data: {\"response\":6,\"p\":\"ab\"}\n\n",
        "data: {\"response\":null,\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3,\"total_tokens\":8}}\n\n",
    );

    let told = folded(&format!("{stream}data: [DONE]\n\n"), &Correspondence::default()).unwrap();

    assert_eq!(told["choices"][0]["message"]["content"], "Hi 6");
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    assert_eq!(told["usage"]["total_tokens"], 8);
    assert_eq!(folded(stream, &Correspondence::default()), Err(ir::Error::truncated()));
}

#[test]
fn an_answer_that_took_all_that_was_asked_for_was_cut() {
    let (_, correspondence) = try_sent(json!({ "max_tokens": 3 })).unwrap();
    let stream = |output: u64| {
        format!(
            "data: {{\"response\":\"Hi\"}}\n\ndata: {{\"response\":\"\",\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":{output}}}}}\n\ndata: [DONE]\n\n"
        )
    };

    let finish =
        |output| folded(&stream(output), &correspondence).unwrap()["choices"][0]["finish_reason"].clone();

    assert_eq!(finish(2), "stop");
    assert_eq!(finish(3), "length");
}

#[test]
fn calls_are_objects_or_fragments_and_have_an_identity() {
    let own = concat!(
        "data: {\"response\":\"\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"a\":1}},{\"name\":\"f\",\"arguments\":{\"a\":1}}]}\n\n",
        "data: [DONE]\n\n",
    );
    let fragments = concat!(
        "data: {\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\"\"}}]}\n\n",
        "data: {\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}\n\n",
        "data: {\"tool_calls\":[{\"index\":1,\"id\":\"y\",\"function\":{\"name\":\"g\"}}]}\n\n",
        "data: [DONE]\n\n",
    );
    let answer = enveloped(json!({ "response": null, "tool_calls": [
        { "name": "f", "arguments": { "a": 1 } }, { "name": "f", "arguments": { "a": 1 } },
    ] }));

    let told = folded(own, &Correspondence::default()).unwrap();
    assert_eq!(whole(&answer).unwrap()["choices"], told["choices"]);
    let calls = &told["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"], json!({ "name": "f", "arguments": "{\"a\":1}" }));
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");

    let told = folded(fragments, &Correspondence::default()).unwrap();
    let calls = &told["choices"][0]["message"]["tool_calls"];
    assert_eq!(
        calls[0],
        json!({ "id": "x", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } })
    );
    assert_eq!(calls[1]["function"], json!({ "name": "g", "arguments": "{}" }));
}

#[test]
fn a_whole_answer_is_read_in_its_envelope_in_every_form() {
    let text = |answer: Value| whole(&answer).unwrap()["choices"][0]["message"]["content"].clone();
    let chat = json!({ "id": "c", "choices": [{ "index": 0, "message": { "content": "T" }, "finish_reason": "length" }] });

    assert_eq!(text(enveloped(json!({ "response": "T" }))), "T");
    assert_eq!(text(json!({ "response": "T" })), "T");
    assert_eq!(text(enveloped(json!({ "response": { "a": 1 } }))), "{\"a\":1}");
    assert_eq!(text(enveloped(json!({ "response": 7 }))), "7");
    assert_eq!(text(enveloped(chat.clone())), "T");
    assert_eq!(whole(&enveloped(chat)).unwrap()["choices"][0]["finish_reason"], "length");
    let output = whole(&enveloped(json!({ "id": "r", "output": [
        { "type": "reasoning", "content": [{ "type": "reasoning_text", "text": "Hm." }] },
        { "type": "message", "content": [{ "type": "output_text", "text": "T" }] },
        { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
    ], "usage": { "input_tokens": 2, "output_tokens": 3 } })))
    .unwrap();
    let message = &output["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("T"), &json!("Hm.")));
    assert_eq!(message["tool_calls"][0]["id"], "c");
    assert_eq!(output["usage"]["total_tokens"], 5);
}

#[test]
fn a_stream_of_a_newer_model_is_read_as_openai_s() {
    let stream = concat!(
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"Hm.\"}}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":6}}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
        "data: [DONE]\n\n",
    );

    let told = folded(stream, &Correspondence::default()).unwrap();

    assert_eq!(told["choices"][0]["message"]["reasoning_content"], "Hm.");
    assert_eq!(told["choices"][0]["message"]["content"], "6");
    assert_eq!(told["choices"][0]["finish_reason"], "length");
}

#[test]
fn an_error_in_a_good_answer_is_one_and_codes_tell_what_it_means() {
    let failed = |code: u64, message: &str| json!({ "result": null, "success": false, "errors": [{ "code": code, "message": message }], "messages": [] });
    for (code, status) in [(5007, 404), (3036, 429), (3040, 429), (10000, 401), (3006, 413), (1, 502)] {
        let error = whole(&failed(code, "oh no")).unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.message), (status, "oh no"), "{code}");
        let stream = format!("data: {{\"response\":\"T\"}}\n\ndata: {}\n\n", failed(code, "oh no"));
        assert_eq!(folded(&stream, &Correspondence::default()).unwrap_err().status.as_u16(), status);
    }
    let told = |status: u16, code: u64| {
        let body = failed(code, "oh no").to_string();
        let status = StatusCode::from_u16(status).unwrap();
        let error = outbound(Dialect::Cloudflare).error(status, &HeaderMap::new(), body.as_bytes());
        let asked = Asked { body: &Body::Empty, headers: &HeaderMap::new(), model: OLDER };
        Evidence::read(&HeaderMap::new(), &error, body.as_bytes(), &asked, SystemTime::UNIX_EPOCH)
    };
    assert!(told(400, 5007).no_model);
    assert!(told(429, 3036).quota && !told(429, 3036).one_request);
    assert!(told(429, 3040).busy && !told(429, 3040).one_request, "it is about the model, for now");
    assert!(told(403, 5016).one_request, "terms of a model are not the key's");
    assert!(told(400, 6003).key);
}
