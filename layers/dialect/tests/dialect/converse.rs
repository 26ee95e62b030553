//! Converse, Bedrock's format: what is sent, and what its streams and failures mean.

use std::borrow::Cow;

use bytes::BytesMut;
use dialect::framing::event_stream::{HeaderValue, encode};
use dialect::{AnswerForm, Correspondence, Dialect, Frame, Framing, ir};
use serde_json::{Value, json};

use crate::kit::{self, Exchange};

const NOVA: &str = "us.amazon.nova-lite-v1:0";
const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const PLAIN: &str = "meta.llama3-3-70b-instruct-v1:0";

fn written(model: &str, request: Value) -> Result<Value, dialect::Unsupported> {
    let mut request = request;
    request["model"] = model.into();
    request["messages"].as_array().is_none().then(|| request["messages"] = json!([user("Hi")]));
    let read = kit::read(Dialect::OpenAiChat, request.to_string().as_bytes()).expect("readable");
    kit::write(Dialect::Converse, &read, model, model).map(|(body, _)| body)
}

fn sent(model: &str, request: Value) -> Value {
    written(model, request).expect("expressible")
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn tool(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": "d", "parameters": {
        "type": "object", "properties": { "a": { "type": "integer" } },
    }}})
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn result(id: &str, text: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": text })
}

/// A message of the event stream.
fn message(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let label = if kind == "event" { ":event-type" } else { ":exception-type" };
    let headers = [
        (label, HeaderValue::String(name.as_bytes())),
        (":message-type", HeaderValue::String(kind.as_bytes())),
    ];
    let mut out = BytesMut::new();
    encode(&headers, payload.to_string().as_bytes(), &mut out);
    out.to_vec()
}

fn stream(events: &[(&str, Value)]) -> Vec<u8> {
    events.iter().flat_map(|(name, payload)| message("event", name, payload)).collect()
}

/// What a client collects of a stream.
fn collected(stream: &[u8]) -> Result<Value, ir::Error> {
    let request = json!({ "model": CLAUDE, "messages": [user("Hi")] }).to_string();
    let exchange = Exchange::new(Dialect::OpenAiChat, Dialect::Converse, request.as_bytes(), false);
    let whole = exchange.whole(stream, AnswerForm::Events(Framing::EventStream))?;
    Ok(serde_json::from_slice(&whole).expect("JSON"))
}

/// A stream with reasoning, text and two calls.
fn example() -> Vec<u8> {
    let delta = |index: u64, delta: Value| {
        ("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta }))
    };
    let stop = |index: u64| ("contentBlockStop", json!({ "contentBlockIndex": index }));
    let start = |index: u64, id: &str, name: &str| {
        let start = json!({ "toolUse": { "toolUseId": id, "name": name } });
        ("contentBlockStart", json!({ "contentBlockIndex": index, "start": start }))
    };
    stream(&[
        ("messageStart", json!({ "role": "assistant" })),
        delta(0, json!({ "reasoningContent": { "text": "Hm" } })),
        delta(0, json!({ "reasoningContent": { "signature": "sig" } })),
        stop(0),
        delta(1, json!({ "text": "Hi" })),
        stop(1),
        start(2, "a", "f"),
        delta(2, json!({ "toolUse": { "input": "" } })),
        delta(2, json!({ "toolUse": { "input": "{\"x\":" } })),
        start(3, "b", "g"),
        delta(2, json!({ "toolUse": { "input": "1}" } })),
        stop(2),
        stop(3),
        ("messageStop", json!({ "stopReason": "tool_use" })),
        (
            "metadata",
            json!({ "usage": { "inputTokens": 10, "outputTokens": 20, "totalTokens": 38,
                "cacheReadInputTokens": 5, "cacheWriteInputTokens": 3 }, "metrics": { "latencyMs": 1 } }),
        ),
    ])
}

#[test]
fn a_stream_is_read_with_its_calls_apart_and_its_counts_disjoint() {
    let answer = collected(&example()).expect("whole");

    let message = &answer["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Hi"), &json!("Hm")));
    assert_eq!(message["tool_calls"], json!([call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(18), &json!(20), &json!(38))
    );
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 5);
    assert_eq!(usage["prompt_tokens_details"]["cache_write_tokens"], 3);
}

#[test]
fn an_exception_in_the_middle_is_an_error_of_its_kind_and_no_end() {
    let whole = example();
    let torn = &whole[..whole.len() / 2];
    let frames: usize = Framing::EventStream.frames(torn).map(|frame| frame.raw.len()).take(3).sum();
    for (name, status) in [
        ("throttlingException", 429),
        ("modelTimeoutException", 408),
        ("validationException", 400),
        ("modelStreamErrorException", 424),
    ] {
        let mut stream = whole[..frames].to_vec();
        stream.extend(message("exception", name, &json!({ "message": "no" })));

        let error = collected(&stream).expect_err("an error");

        assert_eq!((error.status.as_u16(), error.code.as_deref()), (status, Some(name)));
    }
}

#[test]
fn a_stream_without_its_end_is_torn_and_one_with_a_wrong_bit_cannot_be_read() {
    let whole = example();
    let last = Framing::EventStream.frames(&whole).last().expect("frames").raw.len();

    // The count alone may be missing.
    assert!(collected(&whole[..whole.len() - last]).is_ok());
    assert!(collected(&whole[..whole.len() - 1]).is_err(), "a torn message");
    let stop = Framing::EventStream.frames(&whole).rev_last_two();
    assert_eq!(collected(&whole[..stop]).expect_err("torn").code.as_deref(), Some("upstream_truncated"));
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    assert!(collected(&flipped).expect_err("garbled").is_malformed());
}

trait RevLastTwo {
    /// The length of all frames but the last two.
    fn rev_last_two(self) -> usize;
}

impl<'a, T: Iterator<Item = Frame<'a>>> RevLastTwo for T {
    fn rev_last_two(self) -> usize {
        let lengths: Vec<usize> = self.map(|frame| frame.raw.len()).collect();
        lengths[..lengths.len() - 2].iter().sum()
    }
}

#[test]
fn sources_that_come_in_a_block_of_their_own_are_those_of_the_text_before() {
    let delta = |index: u64, delta: Value| {
        ("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta, "p": "abc" }))
    };
    let stop = |index: u64| ("contentBlockStop", json!({ "contentBlockIndex": index }));
    let web = json!({ "citation": { "location": { "web": { "url": "https://a.example/", "domain": "a.example" } } } });
    let answer = collected(&stream(&[
        ("messageStart", json!({ "role": "assistant" })),
        delta(0, json!({ "text": "Ruby is " })),
        stop(0),
        delta(1, json!({ "text": "four" })),
        stop(1),
        delta(2, web),
        stop(2),
        delta(3, json!({ "text": "." })),
        stop(3),
        ("messageStop", json!({ "stopReason": "end_turn" })),
    ]))
    .expect("whole");

    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], "Ruby is four.");
    let cited = &message["annotations"][0]["url_citation"];
    assert_eq!((&cited["start_index"], &cited["end_index"]), (&json!(8), &json!(12)));
    assert_eq!(cited["url"], "https://a.example/");
}

#[test]
fn a_provider_s_own_calls_are_none_of_the_client_s() {
    let body = json!({
        "output": { "message": { "role": "assistant", "content": [
            { "toolUse": { "toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use", "input": { "q": 1 } } },
            { "toolResult": { "toolUseId": "s", "content": [{ "text": "r" }], "type": "nova_grounding_result" } },
            { "text": "Hi" },
        ]}},
        "stopReason": "end_turn",
        "usage": { "inputTokens": 1, "outputTokens": 2, "totalTokens": 3 },
    });

    let answer = kit::outbound(Dialect::Converse)
        .response(body.to_string().as_bytes(), &Correspondence::default())
        .expect("an answer");

    assert_eq!(answer.choices[0].finish, ir::FinishReason::Stop);
    let client = kit::response(Dialect::OpenAiChat, &answer);
    assert_eq!(client["choices"][0]["message"]["content"], "Hi");
    assert_eq!(client["choices"][0]["message"].get("tool_calls"), None);
}

#[test]
fn every_reason_to_stop_is_told_as_what_it_is() {
    for (raw, finish) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
    ] {
        let body = json!({ "output": { "message": { "content": [{ "text": "x" }] } }, "stopReason": raw });
        let answer = kit::outbound(Dialect::Converse)
            .response(body.to_string().as_bytes(), &Correspondence::default())
            .expect("an answer");

        assert_eq!(
            kit::response(Dialect::OpenAiChat, &answer)["choices"][0]["finish_reason"],
            finish,
            "{raw}"
        );
    }
}

#[test]
fn turns_alternate_results_stand_first_and_in_the_turn_behind_their_calls() {
    let body = sent(
        CLAUDE,
        json!({
            "tools": [tool("f"), tool("g")],
            "messages": [
                { "role": "system", "content": "S1" },
                { "role": "system", "content": "S2" },
                user("U"),
                { "role": "assistant", "content": null, "tool_calls": [call("t1", "f", "{\"a\":1}"), call("t.2", "g", "")] },
                result("t.2", "two"),
                result("t1", "one"),
                user("U2"),
            ],
        }),
    );

    assert_eq!(body["system"], json!([{ "text": "S1" }, { "text": "S2" }]));
    let roles: Vec<_> =
        body["messages"].as_array().expect("turns").iter().map(|turn| &turn["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let calls = &body["messages"][1]["content"];
    assert_eq!(calls[0]["toolUse"], json!({ "toolUseId": "t1", "name": "f", "input": { "a": 1 } }));
    assert_eq!(calls[1]["toolUse"]["input"], json!({}));
    let answers = &body["messages"][2]["content"];
    assert_eq!(answers[0]["toolResult"]["toolUseId"], calls[1]["toolUse"]["toolUseId"]);
    assert_eq!(answers[1]["toolResult"], json!({ "toolUseId": "t1", "content": [{ "text": "one" }] }));
    assert_eq!(answers[2], json!({ "text": "U2" }));
    let id = calls[1]["toolUse"]["toolUseId"].as_str().expect("an id");
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{id}");
    assert_eq!((body.get("model"), body.get("stream")), (None, None));
}

#[test]
fn a_call_without_a_result_gets_one_and_a_result_without_a_call_is_text() {
    let lost = json!([
        user("U"),
        { "role": "assistant", "content": null, "tool_calls": [call("t1", "f", "{}")] },
        user("go on"),
        result("other", "late"),
    ]);

    let nova = sent(NOVA, json!({ "tools": [tool("f")], "messages": lost }));
    let plain = sent(PLAIN, json!({ "tools": [tool("f")], "messages": lost }));

    let missing = &nova["messages"][2]["content"][0]["toolResult"];
    assert_eq!((&missing["toolUseId"], &missing["status"]), (&json!("t1"), &json!("error")));
    assert_eq!(nova["messages"][2]["content"][2], json!({ "text": "Tool result: late" }));
    // Others know no such status.
    let told = &plain["messages"][2]["content"][0]["toolResult"];
    assert_eq!(told.get("status"), None);
    assert_eq!(told["content"], json!([{ "text": "The tool failed." }, { "text": "tool result missing" }]));
}

#[test]
fn tools_that_earlier_turns_speak_of_are_there_and_not_to_be_called() {
    let history = json!([
        user("U"),
        { "role": "assistant", "content": null, "tool_calls": [call("t1", "f.x", "{}")] },
        result("t1", "one"),
        user("Sum up"),
    ]);

    let body = sent(CLAUDE, json!({ "messages": history }));
    let none = sent(CLAUDE, json!({ "messages": history, "tools": [tool("f.x")], "tool_choice": "none" }));
    let free = sent(CLAUDE, json!({ "tools": [tool("f")], "tool_choice": "none" }));

    let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
    assert_eq!(spec["name"], body["messages"][1]["content"][0]["toolUse"]["name"]);
    assert_eq!(spec["inputSchema"], json!({ "json": { "type": "object", "properties": {} } }));
    assert_eq!(body["system"], json!([{ "text": "Do not call any tool." }]));
    assert_eq!(none["system"], body["system"]);
    assert_eq!(none["toolConfig"].get("toolChoice"), None);
    assert_eq!((free.get("toolConfig"), free.get("system")), (None, None));
}

#[test]
fn a_tool_is_forced_in_the_field_or_in_words() {
    let choice = |model: &str, choice: Value, more: Value| {
        let mut request = json!({ "tools": [tool("f")], "tool_choice": choice });
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let body = sent(model, request);
        (body["toolConfig"].get("toolChoice").cloned(), body.get("system").cloned())
    };
    let named = json!({ "type": "function", "function": { "name": "f" } });
    let words = |words: &str| Some(json!([{ "text": words }]));
    let nothing = json!({});

    assert_eq!(choice(CLAUDE, json!("auto"), nothing.clone()), (Some(json!({ "auto": {} })), None));
    assert_eq!(choice(NOVA, json!("required"), nothing.clone()), (Some(json!({ "any": {} })), None));
    assert_eq!(
        choice(CLAUDE, named.clone(), nothing.clone()),
        (Some(json!({ "tool": { "name": "f" } })), None)
    );
    assert_eq!(choice(PLAIN, named.clone(), nothing.clone()), (None, words("You must call the tool f.")));
    assert_eq!(
        choice("mistral.mistral-large-2407-v1:0", named, nothing.clone()),
        (Some(json!({ "any": {} })), words("You must call the tool f."))
    );
    // Claude may not be forced while it thinks.
    assert_eq!(choice(CLAUDE, json!("required"), json!({ "reasoning_effort": "low" })), (None, None));
    assert_eq!(
        choice(NOVA, json!("auto"), json!({ "parallel_tool_calls": false })).1,
        words("Call at most one tool at a time.")
    );
}

#[test]
fn a_schema_is_a_field_where_the_model_has_it_a_tool_where_one_can_be_forced_and_else_words() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 1 } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
    let of = |model: &str| sent(model, json!({ "response_format": format }));

    let bound = of(CLAUDE);
    let format_sent = &bound["outputConfig"]["textFormat"];
    assert_eq!(format_sent["type"], "json_schema");
    let text = format_sent["structure"]["jsonSchema"]["schema"].as_str().expect("text");
    let read: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(read["additionalProperties"], false);
    assert_eq!(read["properties"]["n"]["description"], "(minimum: 1)");
    let forced = of(NOVA);
    assert_eq!(forced["toolConfig"]["toolChoice"], json!({ "tool": { "name": "json" } }));
    let worded = of(PLAIN);
    assert!(worded["system"][0]["text"].as_str().expect("words").contains(r#""minimum":1"#));
    assert_eq!((worded.get("outputConfig"), worded.get("toolConfig")), (None, None));
}

#[test]
fn thinking_is_asked_for_in_the_field_of_the_model_s_maker() {
    let of = |model: &str, effort: &str| {
        let body = sent(model, json!({ "reasoning_effort": effort, "temperature": 0.5, "max_tokens": 9000 }));
        (body["additionalModelRequestFields"].clone(), body["inferenceConfig"].clone())
    };

    let (fields, config) = of(CLAUDE, "medium");
    assert_eq!(fields["thinking"], json!({ "type": "enabled", "budget_tokens": 4096 }));
    assert_eq!(config, json!({ "maxTokens": 9000 }), "thinking leaves nothing to be drawn");
    let (fields, _) = of("us.anthropic.claude-sonnet-4-6", "high");
    assert_eq!(fields["thinking"]["type"], "adaptive");
    assert_eq!(fields["output_config"], json!({ "effort": "high" }));
    let (fields, config) = of("us.amazon.nova-2-lite-v1:0", "high");
    assert_eq!(fields, json!({ "reasoningConfig": { "type": "enabled", "maxReasoningEffort": "high" } }));
    assert_eq!(config, Value::Null, "its highest effort takes no limits");
    assert_eq!(of("openai.gpt-oss-120b-1:0", "high").0, json!({ "reasoning_effort": "high" }));
    assert_eq!(of("qwen.qwen3-32b-v1:0", "low").0, json!({ "reasoning_config": "low" }));
    assert_eq!(of(PLAIN, "low").0, Value::Null);
}

#[test]
fn numbers_are_brought_into_range_and_stop_sequences_are_those_that_count() {
    let body = sent(
        "us.amazon.nova-lite-v1:0",
        json!({ "temperature": 1.7, "top_p": 0.9, "top_k": 20, "max_tokens": 7, "stop": ["a", "", "b"] }),
    );
    let claude = sent(CLAUDE, json!({ "temperature": 0.3, "top_p": 0.9, "stop": [" ", "x"] }));

    let config = json!({ "maxTokens": 7, "temperature": 1.0, "topP": 0.9, "stopSequences": ["a", "b"] });
    assert_eq!(body["inferenceConfig"], config);
    assert_eq!(body["additionalModelRequestFields"], json!({ "inferenceConfig": { "topK": 20 } }));
    assert_eq!(
        claude["inferenceConfig"],
        json!({ "maxTokens": 64000, "temperature": 0.3, "stopSequences": ["x"] })
    );
    assert_eq!(claude["additionalModelResponseFieldPaths"], json!(["/stop_sequence"]));
}

#[test]
fn media_are_bytes_with_a_format_and_documents_have_names_of_their_own() {
    let pdf = |name: &str| {
        json!({ "type": "file", "file": {
            "filename": name, "file_data": "data:application/pdf;base64,JVBERi0xLjQK",
        }})
    };
    let body = sent(
        NOVA,
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "image_url", "image_url": { "url": "data:image/jpg;base64,iVBORw0KGgoAAAANSUhEUg==" } },
            pdf("a.pdf"),
            pdf("a.pdf"),
            { "type": "input_audio", "input_audio": { "data": "data:video/mp4;base64,AAAA", "format": "mp4" } },
        ]}]}),
    );

    let content = &body["messages"][0]["content"];
    assert_eq!(content[0]["image"]["format"], "png", "what it is, not what it is called");
    assert_eq!(content[0]["image"]["source"]["bytes"], "iVBORw0KGgoAAAANSUhEUg==");
    assert_eq!(content[1]["document"]["name"], "a-pdf");
    assert_eq!(content[2]["document"]["name"], "a-pdf (2)");
    assert_eq!(content[3]["video"]["format"], "mp4");
    assert!(content[4]["text"].is_string(), "a document never comes without a word");
    let stored = json!({ "messages": [{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "s3://bucket/b.png" } },
    ]}]});
    let image = json!({ "format": "png", "source": { "s3Location": { "uri": "s3://bucket/b.png" } } });
    assert_eq!(sent(NOVA, stored)["messages"][0]["content"][0]["image"], image);
    let address = json!({ "messages": [{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "https://a.test/b.png" } },
    ]}]});
    assert!(written(NOVA, address).is_err(), "it was not fetched");
}

#[test]
fn marks_for_the_cache_are_blocks_behind_what_they_mark_where_the_model_has_a_cache() {
    let marked = |ttl: Option<&str>, text: &str| {
        let mark = match ttl {
            Some(ttl) => json!({ "type": "ephemeral", "ttl": ttl }),
            None => json!({ "type": "ephemeral" }),
        };
        json!({ "type": "text", "text": text, "cache_control": mark })
    };
    let mut cached = tool("f");
    cached["cache_control"] = json!({ "type": "ephemeral", "ttl": "1h" });
    let request = json!({
        "tools": [cached],
        "messages": [
            { "role": "system", "content": [marked(None, "S")] },
            { "role": "user", "content": [marked(Some("1h"), "U"), marked(None, " ")] },
        ],
    });
    let point = json!({ "cachePoint": { "type": "default" } });

    let claude = sent(CLAUDE, request.clone());
    let nova = sent(NOVA, request.clone());
    let plain = sent(PLAIN, request);

    let hour = json!({ "cachePoint": { "type": "default", "ttl": "1h" } });
    assert_eq!(claude["toolConfig"]["tools"][1], hour);
    assert_eq!(claude["system"], json!([{ "text": "S" }, point]));
    assert_eq!(
        claude["messages"][0]["content"],
        json!([{ "text": "U" }, point]),
        "no hour behind five minutes"
    );
    assert_eq!(nova["toolConfig"]["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(nova["system"][1], point);
    assert!(!plain.to_string().contains("cachePoint"));
}

#[test]
fn of_more_marks_than_four_the_oldest_of_the_conversation_are_left_out() {
    let marked =
        |text: &str| json!({ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } });
    let parts: Vec<Value> = ["a", "b", "c", "d", "e"].map(marked).into();
    let system = json!({ "role": "system", "content": [marked("S")] });

    let body = sent(CLAUDE, json!({ "messages": [system, { "role": "user", "content": parts }] }));

    let told: String = body["messages"][0]["content"]
        .as_array()
        .expect("blocks")
        .iter()
        .map(|block| block["text"].as_str().unwrap_or("|"))
        .collect();
    assert_eq!((told.as_str(), body["system"].as_array().map(Vec::len)), ("abc|d|e|", Some(2)));
}

#[test]
fn reasoning_goes_back_to_claude_with_its_seal_and_to_nobody_else() {
    let mut request = ir::Request::new(Dialect::Anthropic);
    let mut thought = ir::Block::new(ir::Content::Thinking { text: "Hm".into() });
    thought.seal = Some(ir::Seal { maker: ir::Maker::Anthropic, data: "sig".into() });
    let redacted = ir::Block::new(ir::Content::RedactedThinking { data: "xxx".into() });
    request.turns = vec![
        ir::Turn { role: ir::Role::User, blocks: vec![ir::Block::text("U")] },
        ir::Turn { role: ir::Role::Assistant, blocks: vec![thought, redacted, ir::Block::text("A")] },
        ir::Turn { role: ir::Role::User, blocks: vec![ir::Block::text("U2")] },
    ];
    let of = |model| kit::write(Dialect::Converse, &request, model, model).expect("expressible").0;

    let reasoning = json!({ "reasoningContent": { "reasoningText": { "text": "Hm", "signature": "sig" } } });
    let sealed = json!({ "reasoningContent": { "redactedContent": "xxx" } });
    assert_eq!(of(CLAUDE)["messages"][1]["content"], json!([reasoning, sealed, { "text": "A" }]));
    assert_eq!(of(NOVA)["messages"][1]["content"], json!([{ "text": "A" }]));
}

#[test]
fn the_fields_of_its_own_that_a_client_adds_go_on() {
    let guard = json!({ "guardrailIdentifier": "g", "guardrailVersion": "1" });
    let body = sent(
        PLAIN,
        json!({
            "guardrailConfig": guard,
            "performanceConfig": { "latency": "optimized" },
            "service_tier": "flex",
            "metadata": { "team": "a b", "odd": "ü" },
            "unknown": 1,
        }),
    );

    assert_eq!(body["guardrailConfig"], guard);
    assert_eq!(body["performanceConfig"], json!({ "latency": "optimized" }));
    assert_eq!(body["serviceTier"], json!({ "type": "flex" }));
    assert_eq!(body["requestMetadata"], json!({ "team": "a b" }));
    assert_eq!(body.get("unknown"), None);
}

#[test]
fn instructions_are_the_user_s_first_words_where_a_model_has_no_place_for_them() {
    let messages = json!([{ "role": "system", "content": "S" }, user("U")]);

    let body = sent("amazon.titan-text-express-v1", json!({ "messages": messages }));

    assert_eq!(body.get("system"), None);
    assert_eq!(
        body["messages"][0]["content"],
        json!([{ "text": "<system>\nS\n</system>" }, { "text": "U" }])
    );
}

#[test]
fn a_longer_conversation_begins_as_the_shorter_one_did() {
    let turns = [
        json!({ "role": "system", "content": "S" }),
        user("U"),
        json!({ "role": "assistant", "content": null, "tool_calls": [call("x.1", "f.g", "{\"a\":1}")] }),
        result("x.1", "one"),
        json!({ "role": "system", "content": "in the middle" }),
        json!({ "role": "assistant", "content": "A" }),
        user("U2"),
    ];
    for model in [CLAUDE, NOVA, PLAIN] {
        let mut before: Option<Value> = None;
        for end in [2, 4, 5, 7] {
            let body = sent(model, json!({ "tools": [tool("f.g")], "messages": turns[..end] }));
            if let Some(before) = before {
                assert_eq!(before["toolConfig"], body["toolConfig"]);
                assert_eq!(before["system"], body["system"]);
                let (short, long) = (before["messages"].to_string(), body["messages"].to_string());
                // The last turn may grow.
                assert!(long.starts_with(short.trim_end_matches("]}]")), "{model}\n{short}\n{long}");
            }
            before = Some(body);
        }
    }
}

#[test]
fn a_message_of_an_unknown_kind_says_nothing_and_one_that_cannot_be_read_ends_the_stream() {
    let mut decoder = kit::outbound(Dialect::Converse).events(&Correspondence::default());
    let mut events = Vec::new();
    let frame = |event: &'static [u8], data: &'static [u8]| Frame {
        event,
        data: Some(Cow::Borrowed(data)),
        ..Frame::default()
    };

    decoder.decode(frame(b"initial-response", b"{}"), &mut events).expect("skipped");
    decoder.decode(frame(b"somethingNew", b"[1]"), &mut events).expect("skipped");
    assert!(events.is_empty());
    assert!(decoder.decode(frame(b"contentBlockDelta", b"no"), &mut events).is_err());
}
