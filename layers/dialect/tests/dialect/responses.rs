//! OpenAI responses as upstream, rule by rule: what it is sent, and what is read out of its answers.

use dialect::{AnswerForm, Correspondence, Dialect, Unsupported, ir};
use serde_json::{Value, json};

use crate::cuts::play;
use crate::kit::{self, Exchange, outbound};
use crate::meaning;

// === requests ===

fn try_sent(request: &Value) -> Result<Value, Unsupported> {
    let (alias, model) = (request["model"].as_str().expect("a model"), request["upstream"].as_str());
    let mut read = request.clone();
    read.as_object_mut().expect("an object").remove("upstream");
    let read = kit::read(Dialect::OpenAiChat, read.to_string().as_bytes()).expect("a good request");
    kit::write(Dialect::Responses, &read, alias, model.unwrap_or(alias)).map(|(body, _)| body)
}

/// What is sent for a request with these fields.
fn sent(fields: Value) -> Value {
    try_sent(&with(fields)).expect("expressible")
}

fn with(fields: Value) -> Value {
    let mut request = json!({ "model": "gpt-5.2", "messages": [{ "role": "user", "content": "U" }] });
    for (name, value) in fields.as_object().expect("fields") {
        request[name] = value.clone();
    }
    request
}

fn call(id: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } })
}

fn said(role: &str, content: Value) -> Value {
    json!({ "type": "message", "role": role, "content": content })
}

#[test]
fn instructions_stay_where_they_stand() {
    let body = sent(json!({ "messages": [
        { "role": "system", "content": "S1" },
        { "role": "developer", "content": "S2" },
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": "A" },
        { "role": "system", "content": "S3" },
        { "role": "user", "content": "U2" },
    ] }));

    let leading = json!([{ "type": "input_text", "text": "S1" }, { "type": "input_text", "text": "S2" }]);
    assert_eq!(
        body["input"],
        json!([
            said("system", leading),
            said("user", json!("U")),
            said("assistant", json!("A")),
            said("system", json!("S3")),
            said("user", json!("U2")),
        ])
    );
    assert_eq!(body.get("instructions"), None);
}

#[test]
fn calls_and_results_are_items_that_carry_no_identity_but_the_call_s() {
    let body = sent(json!({ "messages": [
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": "A", "tool_calls": [call("t1", ""), call("t2", "{\"a\":1}")] },
        { "role": "tool", "tool_call_id": "t2", "content": "R2" },
        { "role": "tool", "tool_call_id": "t1", "content": [{ "type": "text", "text": "R" }, { "type": "text", "text": "1" }] },
    ] }));

    assert_eq!(
        body["input"].as_array().unwrap()[1..],
        [
            said("assistant", json!("A")),
            json!({ "type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}" }),
            json!({ "type": "function_call", "call_id": "t2", "name": "f", "arguments": "{\"a\":1}" }),
            json!({ "type": "function_call_output", "call_id": "t2", "output": "R2" }),
            json!({ "type": "function_call_output", "call_id": "t1", "output": "R\n\n1" }),
        ]
    );
}

#[test]
fn a_call_without_a_result_gets_one_and_a_result_without_a_call_is_the_user_s_word() {
    let body = sent(json!({ "messages": [
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": null, "tool_calls": [call("lost", "{}")] },
        { "role": "user", "content": "U2" },
        { "role": "tool", "tool_call_id": "orphan", "content": "R" },
    ] }));

    let parts =
        json!([{ "type": "input_text", "text": "Tool result:" }, { "type": "input_text", "text": "R" }]);
    assert_eq!(
        body["input"].as_array().unwrap()[1..],
        [
            json!({ "type": "function_call", "call_id": "lost", "name": "f", "arguments": "{}" }),
            json!({ "type": "function_call_output", "call_id": "lost", "output": "tool result missing" }),
            said("user", json!("U2")),
            said("user", parts),
        ]
    );
}

#[test]
fn identities_of_calls_fit_and_are_each_used_once() {
    let long = "x".repeat(80);
    let body = sent(json!({ "messages": [
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": null, "tool_calls": [call(&long, "{}")] },
        { "role": "tool", "tool_call_id": long, "content": "R" },
        { "role": "assistant", "content": null, "tool_calls": [call(&long, "{}")] },
        { "role": "tool", "tool_call_id": long, "content": "R" },
    ] }));

    let ids: Vec<&str> =
        (1..5).map(|at| body["input"][at]["call_id"].as_str().expect("an identity")).collect();
    assert!(ids.iter().all(|id| id.len() <= 64), "{ids:?}");
    assert_eq!((ids[0], ids[2]), (ids[1], ids[3]));
    assert_ne!(ids[0], ids[2]);
}

#[test]
fn media_are_parts_of_messages_and_of_results() {
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url, "detail": "low" } });
    let body = sent(json!({ "messages": [
        { "role": "user", "content": [
            { "type": "text", "text": "U" },
            image(png),
            { "type": "image_url", "image_url": { "url": "https://a.example/b.png" } },
            { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg==" } },
            { "type": "file", "file": { "file_id": "file-1" } },
            { "type": "input_file", "file_url": "https://a.example/c.pdf" },
        ] },
        { "role": "assistant", "content": null, "tool_calls": [call("t", "{}")] },
        { "role": "tool", "tool_call_id": "t", "content": [image(png)] },
    ] }));

    assert_eq!(
        body["input"][0]["content"],
        json!([
            { "type": "input_text", "text": "U" },
            { "type": "input_image", "image_url": png, "detail": "low" },
            { "type": "input_image", "image_url": "https://a.example/b.png", "detail": "auto" },
            { "type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg==" },
            { "type": "input_file", "file_id": "file-1" },
            { "type": "input_file", "file_url": "https://a.example/c.pdf" },
        ])
    );
    assert_eq!(
        body["input"][2]["output"],
        json!([{ "type": "input_image", "image_url": png, "detail": "low" }])
    );
}

#[test]
fn sound_goes_to_models_that_hear() {
    let sound = json!([{ "role": "user", "content": [
        { "type": "input_audio", "input_audio": { "data": "UklGRg==", "format": "wav" } },
    ] }]);

    let body = sent(json!({ "model": "qwen-omni", "messages": sound }));
    let refused = try_sent(&with(json!({ "messages": sound }))).unwrap_err();

    let expected = json!({ "type": "input_audio", "input_audio": { "data": "UklGRg==", "format": "wav" } });
    assert_eq!(body["input"][0]["content"], json!([expected]));
    assert_eq!(refused.param.as_deref(), Some("messages[0].content"));
}

#[test]
fn functions_are_flat_and_strict_only_where_the_client_says_so() {
    let function = |fields: Value| json!({ "type": "function", "function": fields });
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let body = sent(json!({ "tools": [
        function(json!({ "name": "f", "description": "D", "parameters": schema })),
        function(json!({ "name": "g", "strict": true, "parameters": schema })),
        function(json!({ "name": "h" })),
        function(json!({ "name": "odd name", "parameters": {} })),
    ], "parallel_tool_calls": false }));

    let empty = json!({ "type": "object", "properties": {} });
    assert_eq!(
        body["tools"],
        json!([
            { "type": "function", "name": "f", "description": "D", "parameters": schema, "strict": false },
            { "type": "function", "name": "g", "parameters": schema, "strict": true },
            { "type": "function", "name": "h", "parameters": empty, "strict": false },
            { "type": "function", "name": "odd_name", "parameters": empty, "strict": false },
        ])
    );
    assert_eq!(body["parallel_tool_calls"], false);
}

#[test]
fn the_choice_among_tools_keeps_its_meaning_and_is_left_out_without_any() {
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    let named = json!({ "type": "function", "function": { "name": "f" } });
    let allowed = json!({ "mode": "required", "tools": [named] });
    let flat = json!({ "type": "function", "name": "f" });
    for (choice, expected) in [
        (json!("auto"), json!("auto")),
        (json!("none"), json!("none")),
        (json!("required"), json!("required")),
        (named.clone(), flat.clone()),
        (
            json!({ "type": "allowed_tools", "allowed_tools": allowed }),
            json!({ "type": "allowed_tools", "mode": "required", "tools": [flat] }),
        ),
    ] {
        assert_eq!(
            sent(json!({ "tools": tools, "tool_choice": choice }))["tool_choice"],
            expected,
            "{choice}"
        );
        assert_eq!(sent(json!({ "tool_choice": choice })).get("tool_choice"), None);
    }
}

#[test]
fn searches_and_tools_of_the_provider_go_in_its_own_words() {
    let place = json!({ "city": "B", "country": "DE" });
    let options = json!({
        "search_context_size": "low",
        "user_location": { "type": "approximate", "approximate": place },
    });
    let own = json!({ "type": "file_search", "vector_store_ids": ["v"] });

    let body = sent(json!({ "web_search_options": options, "tools": [own] }));
    let by_alias = sent(json!({ "model": "gpt-5.2-search", "upstream": "gpt-5.2" }));

    let search = json!({
        "type": "web_search",
        "user_location": { "city": "B", "country": "DE", "type": "approximate" },
        "search_context_size": "low",
    });
    assert_eq!(body["tools"], json!([own, search]));
    assert_eq!(by_alias["tools"], json!([{ "type": "web_search" }]));
    assert_eq!(
        sent(json!({ "modalities": ["text", "image"] }))["tools"],
        json!([{ "type": "image_generation" }])
    );
}

#[test]
fn thinking_is_asked_for_in_words_that_the_model_knows_and_its_thoughts_with_it() {
    let both = |fields: Value| {
        let body = sent(fields);
        (body.get("reasoning").cloned(), body.get("include").cloned())
    };
    let sealed = Some(json!(["reasoning.encrypted_content"]));

    let high = Some(json!({ "effort": "high", "summary": "auto" }));
    assert_eq!(both(json!({ "reasoning_effort": "high" })), (high.clone(), sealed.clone()));
    assert_eq!(both(json!({ "model": "gpt-5.2-high", "upstream": "gpt-5.2" })), (high, sealed.clone()));
    assert_eq!(both(json!({})), (None, sealed.clone()));
    let hidden = json!({ "effort": "low", "exclude": true });
    assert_eq!(both(json!({ "reasoning": hidden })), (Some(json!({ "effort": "low" })), sealed.clone()));
    let off = json!({ "effort": "none" });
    assert_eq!(both(json!({ "reasoning_effort": "none" })), (Some(off), sealed.clone()));
    assert_eq!(
        both(json!({ "model": "o3", "reasoning_effort": "none" })),
        (Some(json!({ "effort": "low" })), sealed)
    );
    // These do not think: they refuse to be told how much, and have no seals.
    assert_eq!(both(json!({ "model": "gpt-4o", "reasoning_effort": "high" })), (None, None));
    let foreign = both(json!({ "model": "deepseek-v4", "reasoning_effort": "high" }));
    assert_eq!(foreign, (Some(json!({ "effort": "high" })), None));
}

#[test]
fn sealed_thoughts_go_back_to_their_maker_and_with_what_followed_them_alone() {
    use ir::{Block, Content, Maker, Role, Seal, Turn};
    let thought = |text: &str, maker, data: &str| {
        let seal = Some(Seal { maker, data: data.to_owned() });
        Block { seal, ..Block::new(Content::Thinking { text: text.to_owned() }) }
    };
    let mut request = ir::Request::new(Dialect::OpenAiChat);
    request.turns = vec![
        Turn { role: Role::User, blocks: vec![Block::text("U")] },
        Turn {
            role: Role::Assistant,
            blocks: vec![
                thought("T", Maker::OpenAi, "own"),
                thought("", Maker::Anthropic, "foreign"),
                Block::new(Content::Thinking { text: "unsealed".to_owned() }),
                Block::text("A"),
                thought("", Maker::OpenAi, "alone"),
            ],
        },
    ];
    let items = |model| kit::write(Dialect::Responses, &request, model, model).unwrap().0["input"].clone();

    let summary = json!([{ "type": "summary_text", "text": "T" }]);
    let reasoning = json!({ "type": "reasoning", "summary": summary, "encrypted_content": "own" });
    assert_eq!(items("gpt-5.2"), json!([said("user", json!("U")), reasoning, said("assistant", json!("A"))]));
    assert_eq!(items("grok-4.3"), json!([said("user", json!("U")), said("assistant", json!("A"))]));
}

#[test]
fn the_form_of_the_answer_is_a_form_of_text() {
    let schema = json!({ "type": "object", "properties": {} });
    let format = json!({ "name": "my form", "schema": schema, "strict": true, "description": "D" });

    let body = sent(json!({
        "response_format": { "type": "json_schema", "json_schema": format },
        "verbosity": "low",
    }));

    let format = json!({
        "type": "json_schema", "name": "my_form", "description": "D", "schema": schema, "strict": true,
    });
    assert_eq!(body["text"], json!({ "format": format, "verbosity": "low" }));
    assert_eq!(
        sent(json!({ "response_format": { "type": "json_object" } }))["text"],
        json!({ "format": { "type": "json_object" } })
    );
}

#[test]
fn sampling_goes_to_models_that_take_it() {
    let sampling = |fields: Value| {
        let mut all =
            json!({ "temperature": 0.2, "top_p": 0.5, "max_tokens": 5, "seed": 1, "presence_penalty": 1 });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let body = sent(all);
        assert!(body.get("seed").is_none() && body.get("presence_penalty").is_none());
        assert_eq!(body["max_output_tokens"], 16, "the least that is accepted");
        (body.get("temperature").cloned(), body.get("top_p").cloned())
    };
    let (taken, left_out) = ((Some(json!(0.2)), Some(json!(0.5))), (None, None));

    assert_eq!(sampling(json!({ "model": "gpt-4o" })), taken);
    assert_eq!(sampling(json!({ "model": "gpt-5.2" })), taken);
    assert_eq!(sampling(json!({ "model": "gpt-5.2", "reasoning_effort": "high" })), left_out);
    assert_eq!(sampling(json!({ "model": "o3" })), left_out);
    assert_eq!(sent(json!({ "max_tokens": 500 }))["max_output_tokens"], 500);
}

#[test]
fn likelihoods_are_asked_for_as_what_is_to_be_included() {
    let asked = json!({ "model": "gpt-4o", "logprobs": true, "top_logprobs": 3 });
    let body = sent(asked);

    assert_eq!(
        (&body["include"], &body["top_logprobs"]),
        (&json!(["message.output_text.logprobs"]), &json!(3))
    );
    assert_eq!(
        try_sent(&with(json!({ "model": "o3", "logprobs": true }))).unwrap_err().param.unwrap(),
        "logprobs"
    );
}

#[test]
fn what_would_change_the_answer_and_cannot_be_said_is_refused() {
    for (fields, param) in [
        (json!({ "n": 2 }), "n"),
        (json!({ "logit_bias": { "1": -100 } }), "logit_bias"),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "video_url", "video_url": {} }] }] }),
            "messages[0].content",
        ),
    ] {
        assert_eq!(try_sent(&with(fields)).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn what_is_about_the_request_as_a_whole_goes_on_and_nothing_is_stored_unless_asked_for() {
    let fields = json!({
        "service_tier": "flex", "user": "u", "metadata": { "a": "b" }, "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "truncation": "auto", "enable_thinking": true, "stream_options": {},
    });
    let body = sent(fields.clone());

    for name in
        ["service_tier", "user", "metadata", "prompt_cache_key", "prompt_cache_retention", "truncation"]
    {
        assert_eq!(body[name], fields[name], "{name}");
    }
    assert!(body.get("enable_thinking").is_none() && body.get("stream_options").is_none());
    assert_eq!((&body["store"], &sent(json!({ "store": true }))["store"]), (&json!(false), &json!(true)));
    let long = "s".repeat(65);
    let identifier = |name: &str| sent(json!({ "safety_identifier": name }))["safety_identifier"].clone();
    assert_eq!(identifier("s"), "s");
    assert!(identifier(&long).as_str().is_some_and(|name| name.len() <= 64 && name != long));
}

#[test]
fn ends_of_caches_are_marked_on_parts_of_models_that_take_marks() {
    let mark = json!({ "type": "ephemeral" });
    let messages = json!([
        { "role": "system", "content": [{ "type": "text", "text": "S", "cache_control": mark }] },
        { "role": "user", "content": "U" },
        { "role": "assistant", "content": [{ "type": "text", "text": "A", "cache_control": mark }] },
        { "role": "user", "content": "U2" },
    ]);
    let part = |text: &str| json!({ "type": "input_text", "text": text });
    let marked = |text: &str| {
        let mut part = part(text);
        part["prompt_cache_breakpoint"] = json!({ "mode": "explicit" });
        part
    };

    assert_eq!(
        sent(json!({ "model": "gpt-5.6", "messages": messages }))["input"],
        json!([
            said("system", json!([marked("S")])),
            said("user", json!([marked("U")])),
            said("assistant", json!("A")),
            said("user", json!([part("U2")])),
        ])
    );
    let unmarked = sent(json!({ "messages": messages })).to_string();
    assert!(!unmarked.contains("prompt_cache_breakpoint"), "{unmarked}");
}

#[test]
fn a_longer_conversation_begins_as_the_shorter_one_did() {
    let messages = [
        json!({ "role": "system", "content": "S" }),
        json!({ "role": "user", "content": [{ "type": "text", "text": "U" }] }),
        json!({ "role": "assistant", "content": null, "tool_calls": [call("a.b", "{}"), call("a.b", "{}")] }),
        json!({ "role": "tool", "tool_call_id": "a.b", "content": "R1" }),
        json!({ "role": "tool", "tool_call_id": "a.b", "content": "R2" }),
        json!({ "role": "assistant", "content": "A" }),
        json!({ "role": "system", "content": "S2" }),
        json!({ "role": "user", "content": "U2" }),
        json!({ "role": "assistant", "content": "B", "tool_calls": [call("a.b", "{}")] }),
        json!({ "role": "tool", "tool_call_id": "a.b", "content": "R3" }),
    ];
    let input = |count: usize| sent(json!({ "messages": messages[..count] }))["input"].clone();
    let whole = input(messages.len());
    // Wherever the client asks: behind its own words, and behind all results.
    for count in [2, 5, 8, 10] {
        let shorter = input(count);
        let shorter = shorter.as_array().unwrap();
        assert_eq!(shorter[..], whole.as_array().unwrap()[..shorter.len()], "{count} messages");
    }
}

// === answers ===

fn decoded(stream: &str) -> Vec<ir::Event> {
    let mut events = Vec::new();
    let mut decoder = outbound(Dialect::Responses).events(&Correspondence::default());
    play(stream.as_bytes(), &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    events
}

fn folded(events: &[Value]) -> Result<ir::Response, ir::Error> {
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    ir::Response::fold(decoded(&stream))
}

fn event(kind: &str, fields: Value) -> Value {
    let mut event = fields;
    event["type"] = format!("response.{kind}").into();
    event
}

fn completed(output: Value) -> Value {
    let usage = json!({ "input_tokens": 3, "output_tokens": 2, "total_tokens": 5 });
    let response = json!({ "id": "r", "object": "response", "model": "gpt-5", "status": "completed", "output": output, "usage": usage });
    event("completed", json!({ "response": response }))
}

fn texts(answer: &ir::Response) -> Vec<&str> {
    let blocks = answer.choices[0].blocks.iter();
    let texts = blocks.filter_map(|block| match &block.content {
        ir::Content::Text(text) | ir::Content::Thinking { text } | ir::Content::Refusal(text) => {
            Some(text.as_str())
        }
        _ => None,
    });
    texts.collect()
}

#[test]
fn each_word_is_told_once_whichever_events_bring_it() {
    let message = |text: &str| json!({ "type": "message", "id": "m", "content": [{ "type": "output_text", "text": text }] });
    let delta = |text: &str| {
        event("output_text.delta", json!({ "output_index": 0, "content_index": 0, "delta": text }))
    };
    let done = event("output_text.done", json!({ "output_index": 0, "content_index": 0, "text": "Hello" }));
    let part = event(
        "content_part.done",
        json!({ "output_index": 0, "content_index": 0, "part": { "type": "output_text", "text": "Hello" } }),
    );
    let item = event("output_item.done", json!({ "output_index": 0, "item": message("Hello") }));
    let full = completed(json!([message("Hello")]));
    let bare = completed(json!([]));
    for events in [
        vec![delta("Hel"), delta("lo"), done.clone(), part.clone(), item.clone(), full.clone()],
        vec![delta("Hel"), delta("lo"), bare.clone()],
        // Some of it is left out, and some comes twice.
        vec![
            delta("Hel"),
            done.clone(),
            done.clone(),
            part.clone(),
            part.clone(),
            item.clone(),
            item.clone(),
            full.clone(),
        ],
        vec![delta("Hel"), item.clone(), bare.clone()],
        vec![done.clone(), bare.clone()],
        vec![part.clone(), done, full.clone()],
        vec![item.clone(), bare],
        vec![full],
    ] {
        let answer = folded(&events).expect("whole");
        assert_eq!(texts(&answer), ["Hello"], "{events:#?}");
        assert_eq!(answer.choices[0].finish, ir::FinishReason::Stop);
        assert_eq!(answer.usage.map(|usage| (usage.input_total, usage.output_total)), Some((3, 2)));
    }
}

#[test]
fn arguments_are_told_once_and_are_an_object_where_there_are_none() {
    let call = |arguments: &str| json!({ "type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": arguments });
    let added =
        |arguments: &str| event("output_item.added", json!({ "output_index": 0, "item": call(arguments) }));
    let delta =
        |text: &str| event("function_call_arguments.delta", json!({ "output_index": 0, "delta": text }));
    let done = event("function_call_arguments.done", json!({ "output_index": 0, "arguments": "{\"a\":1}" }));
    let item =
        |arguments: &str| event("output_item.done", json!({ "output_index": 0, "item": call(arguments) }));
    for (events, expected) in [
        (vec![added(""), delta("{\"a\""), delta(":1}"), done.clone(), item("{\"a\":1}")], "{\"a\":1}"),
        (vec![added("{\"a\":1}"), delta("{\"a\":1}"), item("{\"a\":1}")], "{\"a\":1}"),
        (vec![added("{\"a\":1}"), item("")], "{\"a\":1}"),
        (vec![added(""), done], "{\"a\":1}"),
        (vec![item("{\"a\":1}")], "{\"a\":1}"),
        (vec![added(""), item("")], "{}"),
    ] {
        let mut all = events;
        all.push(completed(json!([])));
        let answer = folded(&all).expect("whole");
        let [ir::Block { content: ir::Content::ToolCall { id, name, arguments }, .. }] =
            &answer.choices[0].blocks[..]
        else {
            panic!("{answer:?}")
        };
        assert_eq!((&**id, &**name, &**arguments), ("c", "f", expected), "{all:#?}");
        assert_eq!(answer.choices[0].finish, ir::FinishReason::ToolCalls);
    }
}

#[test]
fn clients_of_streams_get_an_object_where_a_call_has_no_arguments() {
    let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "" });
    let stream = format!("data: {}\n\n", completed(json!([call])));

    let fragment = "{}".to_owned();
    assert!(decoded(&stream).contains(&ir::Event::ToolArgs { index: 0, fragment }));
}

#[test]
fn an_answer_goes_on_behind_the_end_of_a_text() {
    let message =
        |text: &str| json!({ "type": "message", "content": [{ "type": "output_text", "text": text }] });
    let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
    let item =
        |index: u64, item: &Value| event("output_item.done", json!({ "output_index": index, "item": item }));

    let answer = folded(&[
        event("output_text.done", json!({ "output_index": 0, "text": "A" })),
        item(0, &message("A")),
        item(1, &call),
        item(2, &message("B")),
        completed(json!([message("A"), call, message("B")])),
    ])
    .expect("whole");

    assert_eq!(texts(&answer), ["A", "B"]);
    assert_eq!((answer.choices[0].blocks.len(), answer.choices[0].finish), (3, ir::FinishReason::ToolCalls));

    // What a relay leaves to the end comes behind what it told.
    let late = folded(&[item(0, &message("A")), completed(json!([message("A"), call, message("B")]))]);
    assert_eq!(texts(&late.expect("whole")), ["A", "B"]);
}

#[test]
fn parts_of_reasoning_are_set_apart_and_the_last_seal_counts() {
    let delta = |part: u64, text: &str| {
        event(
            "reasoning_summary_text.delta",
            json!({ "output_index": 0, "summary_index": part, "delta": text }),
        )
    };
    let done = |part: u64, text: &str| {
        event(
            "reasoning_summary_text.done",
            json!({ "output_index": 0, "summary_index": part, "text": text }),
        )
    };
    let item = |seal: &str, parts: Value| json!({ "type": "reasoning", "id": "rs", "summary": parts, "encrypted_content": seal });
    let parts = json!([{ "type": "summary_text", "text": "AB" }, { "type": "summary_text", "text": "C" }]);
    let whole = event("output_item.done", json!({ "output_index": 0, "item": item("whole", parts) }));
    let start = event("output_item.added", json!({ "output_index": 0, "item": item("torn", json!([])) }));

    for events in [
        vec![start.clone(), delta(0, "A"), delta(0, "B"), delta(1, "C"), whole.clone()],
        vec![start.clone(), delta(0, "A"), whole.clone()],
        vec![start.clone(), delta(0, "AB"), delta(1, "C"), done(0, "AB"), done(1, "C"), whole.clone()],
        vec![start.clone(), done(0, "AB"), whole.clone()],
        vec![start, whole],
    ] {
        let mut all =
            vec![event("created", json!({ "response": { "object": "response", "model": "gpt-5" } }))];
        all.extend(events);
        all.push(completed(json!([])));
        let answer = folded(&all).expect("whole");
        let seal = answer.choices[0].blocks[0].seal_for(ir::Maker::OpenAi);
        assert_eq!((texts(&answer), seal), (vec!["AB\n\nC"], Some("whole")), "{all:#?}");
    }
}

#[test]
fn sources_count_from_their_own_part_and_are_told_once() {
    let note = |start: u64| json!({ "type": "url_citation", "url": "https://a.example", "title": "T", "start_index": start, "end_index": start + 1 });
    let message = |text: &str, notes: Value| json!({ "type": "message", "content": [{ "type": "output_text", "text": text, "annotations": notes }] });
    let first = message("AB", json!([note(0), note(1)]));
    let second = message("CD", json!([note(1)]));
    let delta =
        |index: u64, text: &str| event("output_text.delta", json!({ "output_index": index, "delta": text }));
    let added = |index: u64, start: u64| {
        event("output_text.annotation.added", json!({ "output_index": index, "annotation": note(start) }))
    };
    let done =
        |index: u64, item: &Value| event("output_item.done", json!({ "output_index": index, "item": item }));

    let events = [
        delta(0, "AB"),
        added(0, 0),
        done(0, &first),
        // Before its words it would point to nothing.
        added(1, 1),
        delta(1, "CD"),
        done(1, &second),
        completed(json!([first, second])),
    ];
    let streamed = folded(&events).expect("whole");
    let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let mut told = decoded(&stream).into_iter().skip_while(|event| *event != ir::Event::BlockEnd).skip(1);
    assert_eq!(told.next(), Some(ir::Event::Text("CD".to_owned())), "the words come before their source");
    let whole = folded(&[completed(json!([first, second]))]).expect("whole");

    assert_eq!(streamed, whole);
    let places: Vec<_> =
        whole.choices[0].citations.iter().map(|note| (note.block, note.span.clone())).collect();
    assert_eq!(places, [(0, Some(0..1)), (0, Some(1..2)), (1, Some(1..2))]);
    let told = kit::response(Dialect::OpenAiChat, &whole);
    assert_eq!(told["choices"][0]["message"]["annotations"][2]["url_citation"]["start_index"], 3);
}

#[test]
fn a_picture_that_was_made_is_told_and_what_the_provider_did_by_itself_is_counted() {
    let picture = json!({ "type": "image_generation_call", "result": "aGk=", "output_format": "webp" });
    let search = json!({ "type": "web_search_call", "status": "completed" });
    let partial = event(
        "image_generation_call.partial_image",
        json!({ "output_index": 1, "partial_image_b64": "aA==" }),
    );

    let answer = folded(&[
        event("output_item.added", json!({ "output_index": 0, "item": search })),
        event("output_item.done", json!({ "output_index": 0, "item": search })),
        partial,
        event("output_item.done", json!({ "output_index": 1, "item": picture })),
        completed(json!([search, picture])),
    ])
    .expect("whole");

    let image = ir::Source::Base64 { mime: "image/webp".into(), data: "aGk=".into() };
    assert_eq!(answer.choices[0].blocks[1].content, ir::Content::Image { source: image, detail: None });
    assert_eq!(answer.choices[0].blocks.len(), 2);
    assert_eq!(answer.usage.map(|usage| usage.server_calls), Some(2));
}

#[test]
fn a_stream_ends_well_with_its_terminal_event_alone() {
    let delta = event("output_text.delta", json!({ "output_index": 0, "delta": "A" }));
    let item = json!({ "type": "message", "content": [{ "type": "output_text", "text": "A" }] });
    let done = event("output_item.done", json!({ "output_index": 0, "item": item }));
    let stream = |events: &[&Value], end: &str| {
        let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        ir::Response::fold(decoded(&(events + end)))
    };

    assert_eq!(stream(&[&delta, &done], "").unwrap_err(), ir::Error::truncated());
    // A marker of another dialect is worth as much as what stands before it.
    assert_eq!(stream(&[&delta], "data: [DONE]\n\n").unwrap_err(), ir::Error::truncated());
    assert_eq!(texts(&stream(&[&delta, &done], "data: [DONE]\n\n").unwrap()), ["A"]);
    let late = stream(&[&delta, &done, &completed(json!([item])), &delta], "data: [DONE]\n\n").unwrap();
    assert_eq!(texts(&late), ["A"]);
}

#[test]
fn an_answer_that_was_cut_says_why() {
    for (reason, finish) in [
        ("max_output_tokens", ir::FinishReason::Length),
        ("content_filter", ir::FinishReason::ContentFilter),
        ("something new", ir::FinishReason::Length),
    ] {
        let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a" });
        let response = json!({
            "object": "response", "status": "incomplete", "incomplete_details": { "reason": reason }, "output": [call],
        });
        let streamed = folded(&[event("incomplete", json!({ "response": response }))]).expect("whole");
        let whole = outbound(Dialect::Responses)
            .response(response.to_string().as_bytes(), &Correspondence::default())
            .expect("whole");

        assert_eq!(streamed, whole);
        assert_eq!(whole.choices[0].finish, finish, "{reason}");
    }
}

#[test]
fn an_answer_ends_at_a_stop_sequence_although_the_upstream_knows_none() {
    let request = with(json!({ "stop": ["END", ""], "stream": true })).to_string();
    let exchange =
        |stream| Exchange::new(Dialect::OpenAiChat, Dialect::Responses, request.as_bytes(), stream);
    let message = json!({ "type": "message", "content": [{ "type": "output_text", "text": "HelEND!lo" }] });
    let end = completed(json!([message]));
    let delta = |text: &str| {
        let event = event("output_text.delta", json!({ "output_index": 0, "delta": text }));
        format!("data: {event}\n\n")
    };

    let stream = [delta("HelE"), delta("ND!"), delta("lo"), format!("data: {end}\n\n")].concat();
    let streamed = exchange(true).stream(stream.as_bytes(), &[]);
    let whole =
        exchange(false).whole(end["response"].to_string().as_bytes(), AnswerForm::Json).expect("whole");

    assert_eq!(exchange(true).sent.get("stop"), None);
    let (streamed, whole) = (meaning::of_events(streamed.as_bytes()), meaning::of_whole(&whole));
    for meaning in [&streamed, &whole] {
        assert_eq!((&meaning["text"], &meaning["finish"]), (&json!("Hel"), &json!("stop")));
    }
    assert_eq!(whole["usage"]["output"], 2, "what was written is counted");
}

#[test]
fn failures_are_told_by_their_codes_wherever_they_stand() {
    let error = |code: &str| json!({ "code": code, "message": "M" });
    let failed = |code: &str| {
        let response =
            json!({ "object": "response", "status": "failed", "error": error(code), "output": [] });
        event("failed", json!({ "response": response }))
    };
    let nested = |code: &str| json!({ "type": "error", "error": error(code) });
    let flat = |code: &str| json!({ "type": "error", "code": code, "message": "M", "param": null });
    for (code, status) in [
        ("server_error", 500),
        ("rate_limit_exceeded", 429),
        ("insufficient_quota", 429),
        ("context_length_exceeded", 400),
        ("invalid_prompt", 400),
    ] {
        for event in [failed(code), nested(code), flat(code)] {
            let error = folded(&[event]).expect_err("failed");
            assert_eq!((error.status.as_u16(), error.code.as_deref()), (status, Some(code)));
        }
    }
    assert_eq!(folded(&[failed("image_content_policy_violation")]).unwrap_err().status.as_u16(), 400);
    let cancelled = json!({ "object": "response", "status": "cancelled", "output": [] }).to_string();
    let pending = json!({ "object": "response", "status": "in_progress", "output": [] }).to_string();
    let whole =
        |body: &str| outbound(Dialect::Responses).response(body.as_bytes(), &Correspondence::default());
    assert_eq!(whole(&cancelled).unwrap_err().status.as_u16(), 502);
    assert_eq!(whole(&pending).unwrap_err(), ir::Error::truncated());
    assert!(whole(r#"{"id":"c","choices":[]}"#).unwrap_err().is_malformed());
    // Some relays send the last event alone, where no stream was asked for.
    assert_eq!(whole(&failed("server_error").to_string()).unwrap_err().status.as_u16(), 500);
    assert!(whole(&completed(json!([])).to_string()).is_ok());
}

#[test]
fn usage_is_counted_in_classes_and_costs_where_they_are_stated() {
    let usage = |usage: Value| {
        let body =
            json!({ "object": "response", "status": "completed", "output": [], "usage": usage }).to_string();
        let answer = outbound(Dialect::Responses).response(body.as_bytes(), &Correspondence::default());
        answer.expect("whole").usage.expect("usage")
    };
    let counted = usage(json!({
        "input_tokens": 100, "input_tokens_details": { "cached_tokens": 60, "cache_write_tokens": 30 },
        "output_tokens": 50, "output_tokens_details": { "reasoning_tokens": 20 }, "total_tokens": 150,
        "cost_in_usd_ticks": 160_708_500, "num_server_side_tools_used": 2,
    }));
    // Reasoning that is counted apart is seen by the total.
    let apart = usage(json!({
        "input_tokens": 10, "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 20 }, "total_tokens": 35,
    }));

    assert_eq!((counted.input_total, counted.cached_read, counted.cache_write), (100, 60, 30));
    assert_eq!((counted.output_total, counted.reasoning, counted.total()), (50, 20, 150));
    assert_eq!((counted.stated_cost, counted.server_calls), (16_070_850, 2));
    assert_eq!((apart.output_total, apart.reasoning, apart.total()), (25, 20, 35));
}

// === translation ===

fn translation(fields: Value) -> Result<Value, Unsupported> {
    let request = with(fields).to_string();
    let read = kit::read(Dialect::OpenAiChat, request.as_bytes()).expect("a good request");
    kit::write(Dialect::DoubaoTranslation, &read, "doubao-seed-translation", "doubao-seed-translation")
        .map(|(body, _)| body)
}

#[test]
fn the_last_text_of_the_user_is_translated_and_nothing_else_goes_on() {
    let body = translation(json!({
        "messages": [
            { "role": "system", "content": "S" },
            { "role": "user", "content": "U1" },
            { "role": "assistant", "content": "A" },
            { "role": "user", "content": [{ "type": "text", "text": "U" }, { "type": "text", "text": "2" }] },
            { "role": "user", "content": " " },
        ],
        "temperature": 1, "max_tokens": 9, "tools": [{ "type": "function", "function": { "name": "f" } }],
    }))
    .unwrap();

    let options = json!({ "target_language": "zh" });
    let part = json!({ "type": "input_text", "text": "U2", "translation_options": options });
    assert_eq!(
        body,
        json!({ "model": "doubao-seed-translation", "input": [{ "role": "user", "content": [part] }] })
    );
}

#[test]
fn the_client_may_name_the_languages_in_either_place() {
    let options =
        |fields: Value| translation(fields).unwrap()["input"][0]["content"][0]["translation_options"].clone();

    assert_eq!(options(json!({ "target_language": " en " })), json!({ "target_language": "en" }));
    assert_eq!(
        options(json!({ "translation_options": { "target_language": "ja", "source_language": "de" } })),
        json!({ "target_language": "ja", "source_language": "de" })
    );
    assert_eq!(
        options(json!({ "translation_options": { "target_language": "", "source_language": " " } })),
        json!({ "target_language": "zh" })
    );
}

#[test]
fn a_channel_s_languages_are_defaults_and_leave_the_top_of_the_body() {
    let settled = |given: Value, merged: Value| {
        let part = json!({ "type": "input_text", "text": "U", "translation_options": given });
        let mut body = json!({ "input": [{ "role": "user", "content": [part] }] });
        body["translation_options"] = merged;
        let Value::Object(mut body) = body else { unreachable!() };
        outbound(Dialect::DoubaoTranslation).settle(&mut body);
        assert_eq!(body.get("translation_options"), None);
        body["input"][0]["content"][0]["translation_options"].clone()
    };
    let channel = json!({ "target_language": "en", "source_language": "zh", "other": 1 });

    assert_eq!(
        settled(json!({}), channel.clone()),
        json!({ "target_language": "en", "source_language": "zh" })
    );
    assert_eq!(
        settled(json!({ "target_language": "fr" }), channel),
        json!({ "target_language": "fr", "source_language": "zh" })
    );
    assert_eq!(settled(json!({}), json!("odd")), json!({ "target_language": "zh" }));
}

#[test]
fn what_is_no_translation_is_refused() {
    let forced = json!([{ "type": "function", "function": { "name": "f" } }]);
    let picture = json!([{ "type": "image_url", "image_url": { "url": "https://a.example/b.png" } }]);
    for (fields, param) in [
        (json!({ "messages": [{ "role": "assistant", "content": "A" }] }), "messages"),
        (json!({ "messages": [{ "role": "user", "content": picture }] }), "messages"),
        (json!({ "tools": forced, "tool_choice": "required" }), "tool_choice"),
        (json!({ "response_format": { "type": "json_object" } }), "response_format"),
        (json!({ "n": 2 }), "n"),
        (json!({ "logprobs": true }), "logprobs"),
        (json!({ "modalities": ["audio"] }), "modalities"),
    ] {
        assert_eq!(translation(fields).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn a_translation_is_read_whole_and_streamed() {
    let message = json!({ "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "T" }] });
    let end = completed(json!([message]));
    let delta = event("output_text.delta", json!({ "output_index": 0, "delta": "T" }));
    let ark = outbound(Dialect::DoubaoTranslation);

    let whole =
        ark.response(end["response"].to_string().as_bytes(), &Correspondence::default()).expect("whole");
    let mut events = Vec::new();
    let mut decoder = ark.events(&Correspondence::default());
    let stream = format!("data: {delta}\n\ndata: {end}\n\ndata: [DONE]\n\n");
    play(stream.as_bytes(), &[], |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);

    assert_eq!(ir::Response::fold(events).as_ref(), Ok(&whole));
    assert_eq!((texts(&whole), whole.choices[0].finish), (vec!["T"], ir::FinishReason::Stop));
}
