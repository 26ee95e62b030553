//! What Gemini upstreams are sent, and what is told of their answers: rules that recordings do not show.

use dialect::{AnswerForm, Correspondence, Dialect, Envelope, Framing, Quirks, Unsupported, ir};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cuts::{play, play_as};
use crate::kit::{self, Exchange};

const FLASH: &str = "gemini-2.5-flash";
const THIRD: &str = "gemini-3-pro-preview";

fn read(mut body: Value) -> ir::Request {
    body["model"] = "m".into();
    kit::read(Dialect::OpenAiChat, body.to_string().as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn write_to(body: Value, model: &str, envelope: &Envelope) -> Result<Value, Unsupported> {
    kit::write_wrapped(Dialect::Gemini, &read(body), (model, model), envelope, &Quirks::NONE)
}

fn write(body: Value, model: &str) -> Value {
    write_to(body, model, &Envelope::GEMINI).unwrap_or_else(|refused| panic!("{refused}"))
}

fn refusal(body: Value, model: &str) -> String {
    let refused = write_to(body, model, &Envelope::GEMINI).expect_err("refused");
    refused.param.unwrap_or_default()
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn result(id: &str, content: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": content })
}

fn answer(calls: &[Value]) -> Value {
    json!({ "role": "assistant", "content": null, "tool_calls": calls })
}

fn function(name: &str) -> Value {
    let parameters = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    json!({ "type": "function", "function": { "name": name, "parameters": parameters } })
}

// === requests ===

#[test]
fn parallel_calls_and_their_results_stand_in_two_turns_in_the_order_of_the_calls() {
    let messages = json!([
        user("hi"),
        answer(&[call("c1", "f", "{\"a\":1}"), call("c2", "g", "")]),
        result("c2", "plain"),
        result("c1", "{\"b\": 12345678901234567890123}"),
        json!({ "role": "assistant", "content": "So." }),
        user("and?"),
    ]);

    let sent = write_to(json!({ "messages": messages }), FLASH, &Envelope::VERTEX_GEMINI).unwrap();

    let turns = sent["contents"].as_array().unwrap();
    let roles: Vec<&Value> = turns.iter().map(|turn| &turn["role"]).collect();
    assert_eq!(roles, ["user", "model", "user", "model", "user"]);
    assert_eq!(
        turns[1]["parts"],
        json!([
            { "functionCall": { "name": "f", "args": { "a": 1 } } },
            { "functionCall": { "name": "g", "args": {} } },
        ])
    );
    assert_eq!(turns[2]["parts"][0]["functionResponse"]["name"], "f");
    assert!(turns[2]["parts"][0]["functionResponse"]["response"]["b"].is_number());
    assert_eq!(
        turns[2]["parts"][1],
        json!({ "functionResponse": { "name": "g", "response": { "result": "plain" } } })
    );
    assert_eq!(turns[3]["parts"], json!([{ "text": "So." }]));
    assert_eq!(turns[4]["parts"], json!([{ "text": "and?" }]));
}

#[test]
fn ai_studio_is_told_the_identities_of_calls_and_vertex_is_not() {
    let body = json!({ "messages": [user("hi"), answer(&[call("c1", "f", "{}")]), result("c1", "x")] });

    let sent = write(body.clone(), FLASH);
    assert_eq!(sent["contents"][1]["parts"][0]["functionCall"]["id"], "c1");
    assert_eq!(sent["contents"][2]["parts"][0]["functionResponse"]["id"], "c1");
    let sent = write_to(body, FLASH, &Envelope::VERTEX_GEMINI).unwrap().to_string();
    assert!(!sent.contains("\"id\""), "{sent}");
}

#[test]
fn a_call_without_a_result_gets_one_and_a_result_without_a_call_is_text() {
    let messages = json!([
        user("hi"),
        answer(&[call("c1", "f", "{}"), call("c2", "f", "{}")]),
        user("never mind"),
        result("c2", "late"),
        result("nobody", "lost"),
    ]);

    let sent = write(json!({ "messages": messages }), FLASH);

    let results = sent["contents"][2]["parts"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0]["functionResponse"]["response"], json!({ "error": "tool result missing" }));
    assert_eq!(results[1]["functionResponse"]["response"], json!({ "result": "late" }));
    assert_eq!(
        sent["contents"][3]["parts"],
        json!([{ "text": "never mind" }, { "text": "Tool result: lost" }])
    );
}

#[test]
fn a_conversation_that_the_model_begins_is_begun_by_the_user() {
    let sent = write(json!({ "messages": [answer(&[call("c", "f", "{}")]), result("c", "x")] }), FLASH);

    let roles: Vec<&Value> = sent["contents"].as_array().unwrap().iter().map(|turn| &turn["role"]).collect();
    assert_eq!(roles, ["user", "model", "user"]);
}

#[test]
fn instructions_have_their_field_and_later_ones_stay_where_they_are() {
    let system = |text: &str| json!({ "role": "system", "content": text });
    let body = json!({ "messages": [system("one"), system("two"), user("hi"), system("three"), user("go")] });

    let sent = write(body, FLASH);

    assert_eq!(sent["systemInstruction"], json!({ "parts": [{ "text": "one" }, { "text": "two" }] }));
    assert_eq!(
        sent["contents"],
        json!([{ "role": "user", "parts": [
            { "text": "hi" },
            { "text": "<system>\nthree\n</system>" },
            { "text": "go" },
        ] }])
    );
}

#[test]
fn instructions_without_a_field_stand_before_the_first_turn() {
    let body = json!({ "messages": [{ "role": "system", "content": "be brief" }, user("hi")] });
    let quirks = Quirks { system_in_turns: true, ..Quirks::NONE };
    let names = (FLASH, FLASH);
    let sent =
        kit::write_wrapped(Dialect::Gemini, &read(body.clone()), names, &Envelope::GEMINI, &quirks).unwrap();

    for sent in [sent, write(body, "gemma-3-27b-it")] {
        assert_eq!(sent.get("systemInstruction"), None);
        assert_eq!(
            sent["contents"],
            json!([{ "role": "user", "parts": [{ "text": "be brief" }, { "text": "hi" }] }])
        );
    }
    let alone = write(json!({ "messages": [{ "role": "system", "content": "say hi" }] }), FLASH);
    assert_eq!(alone["contents"], json!([{ "role": "user", "parts": [{ "text": "say hi" }] }]));
}

#[test]
fn limits_sampling_and_nothing_unknown_are_told() {
    let body = json!({
        "messages": [user("hi")], "max_tokens": 100_000, "temperature": 0.5, "top_p": 0.9, "top_k": 3,
        "stop": ["END"], "seed": 7, "n": 2, "logprobs": true, "top_logprobs": 3, "presence_penalty": 1,
        "enable_thinking": false, "user": "u", "store": true, "service_tier": "flex",
    });

    let sent = write(body.clone(), FLASH);

    let config = &sent["generationConfig"];
    assert_eq!(config["maxOutputTokens"], 65_536);
    assert_eq!(
        (&config["temperature"], &config["topP"], &config["topK"]),
        (&json!(0.5), &json!(0.9), &json!(3))
    );
    assert_eq!((&config["stopSequences"], &config["seed"]), (&json!(["END"]), &json!(7)));
    assert_eq!(config["candidateCount"], 2);
    assert_eq!((&config["responseLogprobs"], &config["logprobs"]), (&json!(true), &json!(3)));
    assert_eq!(config.get("presencePenalty"), None);
    assert_eq!(sent["serviceTier"], "flex");
    let known = ["contents", "generationConfig", "safetySettings", "serviceTier"];
    assert!(sent.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{sent}");
    let vertex = write_to(body, FLASH, &Envelope::VERTEX_GEMINI).unwrap();
    assert_eq!(vertex["generationConfig"]["maxOutputTokens"], 65_535);
    assert_eq!(vertex.get("serviceTier"), None);
}

#[test]
fn what_no_request_can_say_is_refused() {
    let base = |more: Value| {
        let mut body = json!({ "messages": [user("hi")] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, param) in [
        (json!({ "stop": ["1", "2", "3", "4", "5", "6"] }), "stop"),
        (json!({ "n": 9 }), "n"),
        (json!({ "logit_bias": { "5": 1 } }), "logit_bias"),
        (json!({ "tools": [{ "type": "computer_use_preview" }] }), "tools"),
        (json!({ "tools": [function("f"), { "type": "web_search" }] }), "tools"),
        (json!({ "modalities": ["audio"], "audio": { "voice": "alloy", "format": "mp3" } }), "audio.format"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "https://a.example/b.png" } }] }] }),
            "messages[0].content",
        ),
    ] {
        assert_eq!(refusal(base(more.clone()), FLASH), param, "{more}");
    }
}

#[test]
fn a_form_of_the_answer_has_its_fields_or_is_told_in_words() {
    let schema =
        json!({ "type": "object", "properties": { "b": { "type": "string" }, "a": { "type": "integer" } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    let body = json!({ "messages": [user("hi")], "response_format": format });

    let sent = write(body.clone(), FLASH);
    let config = &sent["generationConfig"];
    assert_eq!(config["responseMimeType"], "application/json");
    assert_eq!(config["responseSchema"]["propertyOrdering"], json!(["b", "a"]));
    assert_eq!(sent.get("systemInstruction"), None);

    let mut called = body;
    called["tools"] = json!([function("f")]);
    let sent = write(called.clone(), FLASH);
    assert_eq!(sent["generationConfig"].get("responseMimeType"), None);
    let words = sent["systemInstruction"]["parts"][0]["text"].as_str().unwrap();
    assert!(words.contains("Unless you call a tool") && words.contains("\"integer\""), "{words}");
    assert_eq!(write(called, THIRD)["generationConfig"]["responseMimeType"], "application/json");
}

#[test]
fn the_choice_among_tools_is_told_in_google_s_modes() {
    let config = |choice: Value| {
        let tools = json!([function("f"), function("g.h"), function("3d")]);
        write(json!({ "messages": [user("hi")], "tools": tools, "tool_choice": choice }), FLASH)["toolConfig"]
            ["functionCallingConfig"]
            .clone()
    };
    let allowed = |mode: &str| {
        let tools = json!([{ "type": "function", "function": { "name": "3d" } }]);
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools } })
    };

    assert_eq!(config(json!("auto")), json!({ "mode": "AUTO" }));
    assert_eq!(config(json!("none")), json!({ "mode": "NONE" }));
    assert_eq!(config(json!("required")), json!({ "mode": "ANY" }));
    assert_eq!(
        config(json!({ "type": "function", "function": { "name": "g.h" } })),
        json!({ "mode": "ANY", "allowedFunctionNames": ["g.h"] })
    );
    assert_eq!(config(allowed("required")), json!({ "mode": "ANY", "allowedFunctionNames": ["_3d"] }));
    assert_eq!(config(allowed("auto")), json!({ "mode": "VALIDATED", "allowedFunctionNames": ["_3d"] }));
}

#[test]
fn strict_functions_are_held_to_their_schemas_and_one_at_a_time_is_told_in_words() {
    let mut strict = function("f");
    strict["function"]["strict"] = true.into();
    let body = json!({ "messages": [user("hi")], "tools": [strict], "parallel_tool_calls": false });

    let sent = write(body, FLASH);

    assert_eq!(sent["toolConfig"]["functionCallingConfig"]["mode"], "VALIDATED");
    assert_eq!(sent["systemInstruction"]["parts"][0]["text"], "Call at most one tool at a time.");
    assert!(!sent["tools"].to_string().contains("strict"));
}

#[test]
fn tools_of_the_provider_are_found_under_all_their_names() {
    for (more, own) in [
        (
            json!({ "web_search_options": { "user_location": { "type": "approximate", "approximate": { "city": "Paris" } } } }),
            "googleSearch",
        ),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "google_search" } }] }),
            "googleSearch",
        ),
        (json!({ "tools": [{ "type": "web_search_preview" }] }), "googleSearch"),
        (json!({ "tools": [{ "type": "code_interpreter" }] }), "codeExecution"),
        (json!({ "tools": [{ "type": "url_context" }] }), "urlContext"),
    ] {
        let mut body = json!({ "messages": [user("hi")] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());

        let sent = write(body, FLASH);

        assert_eq!(sent["tools"], json!([{ own: {} }]), "{more}");
        let told = sent.get("systemInstruction").map(Value::to_string).unwrap_or_default();
        assert_eq!(told.contains("The user is in Paris."), more.get("web_search_options").is_some());
    }
    let both = json!({ "messages": [user("hi")], "tools": [function("f"), { "type": "web_search" }] });
    let sent = write(both, THIRD);
    assert_eq!(sent["tools"].as_array().map(Vec::len), Some(2));
    assert_eq!(sent["toolConfig"]["includeServerSideToolInvocations"], true);
    assert_eq!(sent["toolConfig"]["functionCallingConfig"]["mode"], "VALIDATED");
}

#[test]
fn odd_names_of_functions_and_parameters_are_fitted_and_named_back() {
    let parameters = json!({ "type": "object", "properties": { "-n": { "type": "integer" }, "a b": {} }, "required": ["-n"] });
    let tool = json!({ "type": "function", "function": { "name": "mcp/find it", "parameters": parameters } });
    let messages = json!([user("hi"), answer(&[call("c", "mcp/find it", "{\"-n\":1}")]), result("c", "x")]);
    let request = read(json!({ "messages": messages, "tools": [tool] }));

    let (sent, correspondence) = kit::write(Dialect::Gemini, &request, FLASH, FLASH).unwrap();

    let declared = &sent["tools"][0]["functionDeclarations"][0];
    assert_eq!(
        (&declared["name"], &declared["parameters"]["required"]),
        (&json!("mcp_find_it"), &json!(["_n"]))
    );
    assert_eq!(sent["contents"][1]["parts"][0]["functionCall"]["args"], json!({ "_n": 1 }));
    let answer = json!({ "candidates": [{ "content": { "parts": [
        { "functionCall": { "name": "mcp_find_it", "args": { "_n": 2, "a_b": { "_n": 3 } } } },
    ] }, "finishReason": "STOP" }] });
    let told =
        kit::outbound(Dialect::Gemini).response(answer.to_string().as_bytes(), &correspondence).unwrap();
    let ir::Content::ToolCall { name, arguments, .. } = &told.choices[0].blocks[0].content else {
        panic!("{told:?}")
    };
    assert_eq!(name, "mcp/find it");
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({ "-n": 2, "a b": { "_n": 3 } }));
}

#[test]
fn media_are_told_in_their_parts_and_files_stand_before_the_words_about_them() {
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
    let body = json!({ "messages": [{ "role": "user", "content": [
        { "type": "text", "text": "What is said?" },
        { "type": "input_audio", "input_audio": { "data": "https://www.youtube.com/watch?v=ku-N-eS1lgM", "format": "mp4" } },
        { "type": "input_audio", "input_audio": { "data": "UklGRg==", "format": "wav" } },
        { "type": "image_url", "image_url": { "url": png } },
        { "type": "file", "file": { "file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf" } },
        { "type": "video_url", "video_url": { "url": "gs://bucket/v.webm" } },
    ] }] });

    let sent = write(body, FLASH);

    assert_eq!(
        sent["contents"][0]["parts"],
        json!([
            { "fileData": { "mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=ku-N-eS1lgM" } },
            { "fileData": { "mimeType": "video/webm", "fileUri": "gs://bucket/v.webm" } },
            { "text": "What is said?" },
            { "inlineData": { "mimeType": "audio/wav", "data": "UklGRg==" } },
            { "inlineData": { "mimeType": "image/png", "data": "iVBORw0KGgoAAAANSUhEUg==" } },
            { "text": "File: a.pdf" },
            { "inlineData": { "mimeType": "application/pdf", "data": "JVBERg==" } },
        ])
    );
}

#[test]
fn media_without_a_word_get_one_in_their_own_message() {
    let picture = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==" } });

    let sent =
        write(json!({ "messages": [{ "role": "user", "content": [picture] }, user("what is it?")] }), FLASH);

    let parts = sent["contents"][0]["parts"].as_array().unwrap();
    assert_eq!((&parts[1]["text"], &parts[2]["text"]), (&json!(" "), &json!("what is it?")));
}

#[test]
fn a_picture_within_an_earlier_answer_is_a_picture_again() {
    let text = "Here:\n![image](data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==)";
    let body = json!({ "messages": [user("draw"), { "role": "assistant", "content": text }, user("bluer")] });

    let sent = write(body, "gemini-3-pro-image-preview");

    let parts = &sent["contents"][1]["parts"];
    assert_eq!(parts[0], json!({ "text": "Here:\n" }));
    assert_eq!(parts[1]["inlineData"]["mimeType"], "image/png");
    assert_eq!(parts[1]["thoughtSignature"], "skip_thought_signature_validator");
    assert_eq!(sent["generationConfig"]["responseModalities"], json!(["TEXT", "IMAGE"]));
}

#[test]
fn seals_come_back_on_their_calls_and_the_first_call_of_the_third_version_never_lacks_one() {
    let sealed = |id: &str, seal: Option<&str>| {
        let mut call = call(id, "f", "{}");
        if let Some(seal) = seal {
            call["extra_content"] = json!({ "google": { "thought_signature": seal } });
        }
        call
    };
    let signatures = |calls: &[Value], model: &str| {
        let sent = write(json!({ "messages": [user("hi"), answer(calls)] }), model);
        let parts = sent["contents"][1]["parts"].as_array().unwrap().clone();
        parts.iter().map(|part| part["thoughtSignature"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());

    assert_eq!(signatures(&[sealed("a", Some("sig")), sealed("b", None)], THIRD), [some("sig"), None]);
    assert_eq!(signatures(&[sealed("call_c2ln.0", None), sealed("b", None)], FLASH), [some("sig"), None]);
    let bypass = some("skip_thought_signature_validator");
    assert_eq!(signatures(&[sealed("a", None), sealed("b", None)], THIRD), [bypass, None]);
    assert_eq!(signatures(&[sealed("a", None)], FLASH), [None]);
}

#[test]
fn results_with_pictures_are_told_as_each_version_takes_them() {
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
    let result = json!({ "role": "tool", "tool_call_id": "c", "content": [
        { "type": "text", "text": "shot" }, { "type": "image_url", "image_url": { "url": png } },
    ] });
    let body = json!({ "messages": [user("hi"), answer(&[call("c", "f", "{}")]), result] });

    let new = write(body.clone(), THIRD);
    assert_eq!(
        new["contents"][2]["parts"][0]["functionResponse"]["parts"][0]["inlineData"]["mimeType"],
        "image/png"
    );
    let old = write(body, FLASH);
    assert_eq!(old["contents"][2]["parts"][0]["functionResponse"]["response"], json!({ "result": "shot" }));
    assert_eq!(old["contents"][3]["parts"][0]["inlineData"]["mimeType"], "image/png");
}

#[test]
fn speech_has_a_voice_and_models_that_only_speak_are_asked_for_nothing_else() {
    let body = json!({ "messages": [{ "role": "system", "content": "slowly" }, user("hi")], "modalities": ["text", "audio"], "audio": { "voice": "alloy", "format": "wav" } });
    let voice = |sent: &Value| {
        sent["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"].clone()
    };

    let sent = write(body, FLASH);
    assert_eq!(sent["generationConfig"]["responseModalities"], json!(["AUDIO"]));
    assert_eq!(voice(&sent), "Kore");

    let own = json!({ "messages": [{ "role": "system", "content": "slowly" }, user("hi")], "audio": { "voice": "Puck" } });
    let sent = write(own, "gemini-2.5-flash-preview-tts");
    assert_eq!((voice(&sent), sent.get("systemInstruction")), (json!("Puck"), None));
    assert_eq!(sent["generationConfig"].get("thinkingConfig"), None);
}

#[test]
fn the_name_of_a_model_adds_no_tool_by_itself() {
    let names = ("gemini-2.5-flash-think-24576-search", FLASH);
    let request = read(json!({ "messages": [user("hi")] }));

    let sent =
        kit::write_wrapped(Dialect::Gemini, &request, names, &Envelope::GEMINI, &Quirks::NONE).unwrap();

    assert_eq!(sent.get("tools"), None);
    assert_eq!(sent["generationConfig"]["thinkingConfig"]["thinkingBudget"], 24_576);
}

#[test]
fn nothing_is_filtered_unless_the_client_says_so() {
    let threshold = |model: &str| {
        write(json!({ "messages": [user("hi")] }), model)["safetySettings"][0]["threshold"].clone()
    };

    assert_eq!((threshold(FLASH), threshold("gemini-1.5-pro")), (json!("OFF"), json!("BLOCK_NONE")));
    let own = json!([{ "category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_LOW_AND_ABOVE" }]);
    let sent = write(json!({ "messages": [user("hi")], "safety_settings": own }), FLASH);
    assert_eq!(sent["safetySettings"], own);
}

#[test]
fn a_longer_conversation_begins_as_the_shorter_one_did() {
    let mut messages = vec![
        json!({ "role": "system", "content": "be brief" }),
        user("hi"),
        answer(&[call("c", "f", "{}"), call("c", "f", "{}")]),
        result("c", "1"),
        result("c", "2"),
    ];
    let sent = |messages: &[Value]| {
        let body = json!({ "messages": messages, "tools": [function("f")] });
        kit::write_bytes(Dialect::Gemini, &read(body), THIRD, THIRD).unwrap().0
    };
    let shorter = sent(&messages);
    messages.extend([json!({ "role": "assistant", "content": "done" }), user("and?")]);
    let longer = sent(&messages);

    let end = shorter.windows(19).position(|window| window == b"\"generationConfig\":").unwrap();
    assert!(longer.starts_with(&shorter[..end - 2]), "{}", String::from_utf8_lossy(&longer));
}

// === answers ===

const STREAM: &str = concat!(
    "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"hm }{\",\"thought\":true}]},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":7,\"totalTokenCount\":7},\"modelVersion\":\"g\",\"responseId\":\"r1\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Let me see.\"},{\"functionCall\":{\"name\":\"f\"},\"thoughtSignature\":\"c2ln\"}]},\"index\":0}]}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":3,\"thoughtsTokenCount\":4,\"cachedContentTokenCount\":2,\"totalTokenCount\":14}}\r\n\r\n",
);

fn array() -> String {
    let frames: Vec<&str> =
        STREAM.split("\r\n\r\n").filter_map(|frame| frame.strip_prefix("data: ")).collect();
    format!("[{}\n]", frames.join("\n,\n"))
}

fn decoded(framing: Framing, stream: &str, cuts: &[usize]) -> Vec<ir::Event> {
    let mut events = Vec::new();
    let mut decoder = kit::outbound(Dialect::Gemini).events(&Correspondence::default());
    play_as(framing, stream.as_bytes(), cuts, |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    // The end of an array is a frame, too.
    events.retain(|event| *event != ir::Event::KeepAlive);
    events
}

fn whole(answer: &Value) -> Result<ir::Response, ir::Error> {
    kit::outbound(Dialect::Gemini).response(answer.to_string().as_bytes(), &Correspondence::default())
}

#[test]
fn a_stream_and_an_array_tell_the_same_wherever_they_are_cut() {
    let events = decoded(Framing::Sse, STREAM, &[]);
    let array = array();
    for at in 1..array.len() - 1 {
        assert_eq!(decoded(Framing::JsonArray, &array, &[at]), events, "{at}");
    }
    for at in 1..STREAM.len() {
        assert_eq!(decoded(Framing::Sse, STREAM, &[at]), events, "{at}");
    }

    let collected = ir::Response::fold(events).unwrap();
    let given =
        kit::outbound(Dialect::Gemini).response(array.as_bytes(), &Correspondence::default()).unwrap();
    assert_eq!(collected, given, "an array that was not asked for");
    let told = kit::response(Dialect::OpenAiChat, &given);
    let choice = &told["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["reasoning_content"], "hm }{");
    assert_eq!(choice["message"]["content"], "Let me see.");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["function"]["name"], &call["function"]["arguments"]), (&json!("f"), &json!("{}")));
    assert_eq!(call["extra_content"], json!({ "google": { "thought_signature": "c2ln" } }));
    let usage = &told["usage"];
    assert_eq!(usage["completion_tokens"], 7);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 4);
    assert_eq!(
        (&usage["prompt_tokens_details"]["cached_tokens"], &usage["total_tokens"]),
        (&json!(2), &json!(14))
    );
}

#[test]
fn the_seal_of_a_streamed_call_stands_where_it_is_read_when_it_comes_back() {
    let request = json!({ "model": FLASH, "stream": true, "messages": [user("hi")] }).to_string();
    let exchange = Exchange::new(Dialect::OpenAiChat, Dialect::Gemini, request.as_bytes(), true);

    let told = exchange.stream(STREAM.as_bytes(), &[]);

    assert!(told.contains(r#""extra_content":{"google":{"thought_signature":"c2ln"}}"#), "{told}");
    assert!(told.ends_with("data: [DONE]\n\n"));
}

/// A stream of these parts, a frame each.
fn streamed(parts: &[Value]) -> Vec<ir::Event> {
    let frame = |part: &Value| {
        let candidate = json!({ "content": { "parts": [part] }, "index": 0 });
        format!("data: {}\n\n", json!({ "candidates": [candidate], "responseId": "r" }))
    };
    let frames: String = parts.iter().map(frame).collect();
    decoded(Framing::Sse, &frames, &[])
}

#[test]
fn the_seal_of_a_text_is_told_once_although_each_piece_repeats_it() {
    let piece = |text: &str| json!({ "text": text, "thoughtSignature": "sig" });

    let events = streamed(&[piece("one "), piece("two "), piece("three")]);

    let seals = events.iter().filter(|event| matches!(event, ir::Event::Seal(_)));
    assert_eq!(seals.count(), 1, "{events:?}");
}

#[test]
fn a_call_whose_arguments_come_bit_by_bit_keeps_its_seal() {
    let piece = json!({ "jsonPath": "$.city", "stringValue": "Berlin" });
    let begun = json!({ "functionCall": { "name": "f", "willContinue": true }, "thoughtSignature": "sig" });
    let rest = json!({ "functionCall": { "partialArgs": [piece] } });

    let events = streamed(&[begun, rest]);

    let start = events.iter().find_map(|event| match event {
        ir::Event::ToolStart { seal, .. } => Some(seal.as_ref().map(|seal| seal.data.as_str())),
        _ => None,
    });
    assert_eq!(start, Some(Some("sig")), "{events:?}");
}

#[test]
fn a_stream_that_ends_without_a_reason_is_an_error_and_never_a_quiet_end() {
    let frames: Vec<&str> = STREAM.split_inclusive("\r\n\r\n").collect();

    let events = decoded(Framing::Sse, &frames[..2].concat(), &[]);

    assert_eq!(events.last(), Some(&ir::Event::Error(ir::Error::truncated())));
}

#[test]
fn a_prompt_that_is_blocked_is_a_refusal_of_the_request() {
    let blocked =
        json!({ "promptFeedback": { "blockReason": "SAFETY" }, "usageMetadata": { "promptTokenCount": 3 } });

    let error = whole(&blocked).expect_err("refused");

    assert_eq!((error.status, error.code.as_deref()), (StatusCode::BAD_REQUEST, Some("content_filter")));
    let events = decoded(Framing::Sse, &format!("data: {blocked}\n\n"), &[]);
    assert!(
        matches!(events.last(), Some(ir::Event::Error(error)) if error.status == StatusCode::BAD_REQUEST)
    );
}

#[test]
fn a_call_that_cannot_be_read_is_a_failure_unless_something_was_said() {
    let ended = |parts: Value| {
        whole(&json!({ "candidates": [{ "content": parts, "finishReason": "MALFORMED_FUNCTION_CALL" }] }))
    };

    let error = ended(json!({})).expect_err("nothing was said");
    assert_eq!(
        (error.status, error.code.as_deref()),
        (StatusCode::BAD_GATEWAY, Some("malformed_function_call"))
    );
    let told = ended(json!({ "parts": [{ "text": "I will" }] })).unwrap();
    assert_eq!(told.choices[0].finish, ir::FinishReason::MalformedToolCall);
}

#[test]
fn every_reason_to_end_has_its_word() {
    for (reason, word) in [
        (json!("STOP"), "stop"),
        (json!(1), "stop"),
        (json!("MAX_TOKENS"), "length"),
        (json!("SAFETY"), "content_filter"),
        (json!("RECITATION"), "content_filter"),
        (json!("IMAGE_SAFETY"), "content_filter"),
        (json!("OTHER"), "stop"),
        (json!("NEW_WORD"), "stop"),
    ] {
        let parts = json!({ "parts": [{ "text": "x" }] });
        let told = whole(&json!({ "candidates": [{ "content": parts, "finishReason": reason }] })).unwrap();

        assert_eq!(
            kit::response(Dialect::OpenAiChat, &told)["choices"][0]["finish_reason"],
            word,
            "{reason}"
        );
    }
}

#[test]
fn errors_within_a_stream_are_errors_in_both_of_google_s_shapes() {
    let error = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    let first = STREAM.split_inclusive("\r\n\r\n").next().unwrap();
    for stream in [format!("{first}data: {error}\n\n"), format!("{first}data: [{error}]\n\n")] {
        let events = decoded(Framing::Sse, &stream, &[]);

        let Some(ir::Event::Error(told)) = events.last() else { panic!("{events:?}") };
        assert_eq!((told.status.as_u16(), told.message.as_str()), (503, "The model is overloaded."));
    }
}

#[test]
fn candidates_are_told_apart_and_each_counts_its_own_calls() {
    let candidate = |index: u32, text: &str| {
        json!({ "index": index, "finishReason": "STOP", "content": { "parts": [
            { "text": text }, { "functionCall": { "name": "f", "args": { "n": index } } },
        ] } })
    };
    let told =
        whole(&json!({ "responseId": "r", "candidates": [candidate(0, "a"), candidate(1, "b")] })).unwrap();

    let told = kit::response(Dialect::OpenAiChat, &told);
    assert_eq!(told["choices"][1]["message"]["content"], "b");
    let id = |at: usize| &told["choices"][at]["message"]["tool_calls"][0]["id"];
    assert_ne!(id(0), id(1));
}

#[test]
fn identical_parallel_calls_have_identities_of_their_own() {
    let call = json!({ "functionCall": { "name": "f", "args": {} } });
    let answer = json!({ "candidates": [{ "content": { "parts": [call, call] }, "finishReason": "STOP" }] });

    let told = kit::response(Dialect::OpenAiChat, &whole(&answer).unwrap());

    let calls = told["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(told, kit::response(Dialect::OpenAiChat, &whole(&answer).unwrap()), "and the same each time");
}

#[test]
fn pictures_and_code_stand_within_the_text_and_drafts_do_not() {
    let picture = |thought: bool| json!({ "inlineData": { "mimeType": "image/png", "data": "AAAA" }, "thought": thought });
    let parts = json!([
        picture(true),
        { "text": "See" },
        { "executableCode": { "language": "PYTHON", "code": "print(1)\n" } },
        { "codeExecutionResult": { "outcome": "OUTCOME_OK", "output": "1\n" } },
        picture(false),
    ]);
    let told =
        whole(&json!({ "candidates": [{ "content": { "parts": parts }, "finishReason": "STOP" }] })).unwrap();

    assert_eq!(
        kit::response(Dialect::OpenAiChat, &told)["choices"][0]["message"]["content"],
        "See\n```python\nprint(1)\n```\n\n```output\n1\n```\n![image](data:image/png;base64,AAAA)"
    );
}

#[test]
fn speech_is_told_as_a_wave_with_its_own_rate() {
    let parts = json!([{ "inlineData": { "mimeType": "audio/L16;codec=pcm;rate=16000", "data": "AAEC" } }]);
    let told =
        whole(&json!({ "candidates": [{ "content": { "parts": parts }, "finishReason": "STOP" }] })).unwrap();

    let audio = &kit::response(Dialect::OpenAiChat, &told)["choices"][0]["message"]["audio"];

    assert_eq!(audio["format"], "wav");
    // `RIFF`, and 16000 at byte 24.
    let data = audio["data"].as_str().unwrap();
    assert!(data.starts_with("UklGR") && data[32..].starts_with("gD4AAA"), "{data}");
}

#[test]
fn sources_of_the_text_are_told_with_their_places_in_characters() {
    let request = json!({ "model": FLASH, "messages": [user("hi")], "web_search_options": {} }).to_string();
    let exchange = Exchange::new(Dialect::OpenAiChat, Dialect::Gemini, request.as_bytes(), false);
    let answer = json!({ "candidates": [{
        "content": { "parts": [{ "text": "Äpfel. Birnen." }] },
        "finishReason": "STOP",
        "groundingMetadata": {
            "webSearchQueries": ["q"],
            "groundingChunks": [{ "web": { "uri": "https://a.example", "title": "A" } }],
            "groundingSupports": [{ "segment": { "startIndex": 8, "endIndex": 15, "text": "Birnen." }, "groundingChunkIndices": [0] }],
        },
    }] });

    let told = exchange.whole(answer.to_string().as_bytes(), AnswerForm::Json).unwrap();

    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(
        told["choices"][0]["message"]["annotations"],
        json!([{ "type": "url_citation", "url_citation": { "start_index": 7, "end_index": 14, "url": "https://a.example", "title": "A" } }])
    );
}

#[test]
fn fields_in_snake_case_are_read_too() {
    let answer = json!({
        "candidates": [{
            "content": { "parts": [{ "function_call": { "name": "f", "args": {} }, "thought_signature": "s" }] },
            "finish_reason": "STOP",
        }],
        "usage_metadata": { "prompt_token_count": 3, "candidates_token_count": 2 },
    });

    let told = whole(&answer).unwrap();

    assert_eq!(told.usage.unwrap().output_total, 2);
    assert_eq!(told.choices[0].finish, ir::FinishReason::ToolCalls);
    assert!(told.choices[0].blocks[0].seal.is_some());
}

#[test]
fn a_frame_without_candidates_keeps_a_stream_alive() {
    let events = decoded(Framing::Sse, &format!("data: {{\"candidates\":[]}}\n\n{STREAM}"), &[]);

    assert_eq!(events, decoded(Framing::Sse, STREAM, &[]));
}

#[test]
fn recorded_shapes_of_nothing_are_no_answer() {
    for nothing in ["{}", "[]", "null", "[{}]", "{\"choices\":[]}", "<html>"] {
        let error = kit::outbound(Dialect::Gemini).response(nothing.as_bytes(), &Correspondence::default());

        assert_eq!(error.expect_err(nothing).status, StatusCode::BAD_GATEWAY, "{nothing}");
    }
    let mut decoder = kit::outbound(Dialect::Gemini).events(&Correspondence::default());
    play(b"data: {}\n\n", &[], |frame| assert!(decoder.decode(frame, &mut Vec::new()).is_err()));
}
