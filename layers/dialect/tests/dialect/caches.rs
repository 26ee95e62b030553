//! Cache marks and the names of conversations, from clients' words into providers'.

use dialect::Dialect;
use dialect::ir::{Block, CacheHint, Content, Request, Role, Turn};
use serde_json::{Value, json};

use crate::kit::{read, write};

fn to_claude(body: &Value) -> Value {
    let request = read(Dialect::OpenAiChat, body.to_string().as_bytes()).expect("readable");
    write(Dialect::Anthropic, &request, "claude", "claude-sonnet-4-5").expect("expressible").0
}

/// A request of a client of another family, as OpenAI's upstream gets it.
fn to_openai(request: &Request, model: &str) -> Value {
    write(Dialect::OpenAiChat, request, model, model).expect("expressible").0
}

fn text(words: &str, marked: bool) -> Block {
    Block { cache: marked.then(CacheHint::default), ..Block::text(words) }
}

#[test]
fn openai_s_marks_become_anthropic_s() {
    let mark = json!({ "mode": "explicit" });
    let body = json!({
        "model": "m",
        "prompt_cache_options": { "mode": "explicit", "ttl": "24h" },
        "messages": [
            { "role": "system", "content": [{ "type": "text", "text": "S", "prompt_cache_breakpoint": mark }] },
            { "role": "user", "content": [
                { "type": "text", "text": "U", "prompt_cache_breakpoint": mark },
                { "type": "text", "text": "and" },
            ]},
        ],
    });

    let sent = to_claude(&body);

    let hour = json!({ "type": "ephemeral", "ttl": "1h" });
    assert_eq!(sent["system"], json!([{ "type": "text", "text": "S", "cache_control": hour }]));
    assert_eq!(
        sent["messages"][0]["content"],
        json!([{ "type": "text", "text": "U", "cache_control": hour }, { "type": "text", "text": "and" }])
    );
}

#[test]
fn a_request_that_leaves_the_place_to_the_provider_is_marked_at_its_end() {
    for (name, value) in [
        ("prompt_cache_options", json!({ "mode": "implicit" })),
        ("cache_control", json!({ "type": "ephemeral" })),
    ] {
        let mut body = json!({ "model": "m", "messages": [
            { "role": "system", "content": "S" }, { "role": "user", "content": "U" },
        ]});
        body[name] = value;

        let sent = to_claude(&body);

        let marked = json!([{ "type": "text", "text": "U", "cache_control": { "type": "ephemeral" } }]);
        assert_eq!((&sent["messages"][0]["content"], &sent["system"]), (&marked, &json!("S")), "{name}");
        assert!(sent.get(name).is_none(), "{name} is no field of this provider");
    }
}

#[test]
fn marks_become_breakpoints_for_models_that_take_them_and_vanish_for_others() {
    let mut request = Request::new(Dialect::Anthropic);
    request.system = vec![text("S", true), text("T", false)];
    request.turns.push(Turn { role: Role::User, blocks: vec![text("U", true)] });
    let call = Content::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into() };
    request.turns.push(Turn { role: Role::Assistant, blocks: vec![Block::new(call)] });
    let result = Content::ToolResult {
        call_id: "c".into(),
        name: None,
        blocks: vec![text("R", false)],
        is_error: false,
    };
    request.turns.push(Turn {
        role: Role::Tool,
        blocks: vec![Block { cache: Some(CacheHint::default()), ..Block::new(result) }, text("V", false)],
    });

    let (new, old) = (to_openai(&request, "gpt-5.6"), to_openai(&request, "gpt-4o"));

    let marked = |words: &str| json!({ "type": "text", "text": words, "prompt_cache_breakpoint": { "mode": "explicit" } });
    assert_eq!(new["messages"][0]["content"], json!([marked("S"), { "type": "text", "text": "T" }]));
    assert_eq!(new["messages"][1]["content"], json!([marked("U")]));
    assert_eq!(new["messages"][3]["content"], json!([marked("R")]));
    assert_eq!(new["messages"][4]["content"], "V");
    assert_eq!(old["messages"][0]["content"], "S\n\nT");
    assert!(!old.to_string().contains("prompt_cache"));
}

#[test]
fn a_mark_on_what_is_left_out_moves_to_the_part_before_it() {
    let mut request = Request::new(Dialect::Anthropic);
    request.system = vec![text("S", false), text("", true)];
    let hidden = Block::new(Content::RedactedThinking { data: "x".into() });
    let hidden = Block { cache: Some(CacheHint::default()), ..hidden };
    request.turns.push(Turn { role: Role::User, blocks: vec![text("U", false), hidden] });

    let sent = to_openai(&request, "gpt-5.6");

    for message in 0..2 {
        let parts = sent["messages"][message]["content"].as_array().expect("parts");
        assert_eq!((parts.len(), parts[0].get("prompt_cache_breakpoint").is_some()), (1, true), "{sent}");
    }
}

#[test]
fn the_name_of_a_conversation_goes_to_models_whose_upstreams_know_it() {
    let mut request = Request::new(Dialect::Anthropic);
    request.turns.push(Turn { role: Role::User, blocks: vec![text("U", false)] });
    request.cache_key = Some("c-1".to_owned());

    assert_eq!(to_openai(&request, "gpt-4o")["prompt_cache_key"], "c-1");
    assert!(to_openai(&request, "llama-3").get("prompt_cache_key").is_none());
}

#[test]
fn calls_of_gemini_are_told_with_their_seals_whole_and_streamed() {
    use dialect::ir::{Choice, FinishReason, Maker, Response, Seal};
    use dialect::{Identity, Manner};

    use crate::kit::{inbound, response};

    let call = |maker| {
        let content = Content::ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into() };
        Block { seal: Some(Seal { maker, data: "s".into() }), ..Block::new(content) }
    };
    for (maker, told) in [(Maker::Google, true), (Maker::Anthropic, false)] {
        let choice = Choice {
            blocks: vec![call(maker)],
            citations: vec![],
            logprobs: vec![],
            finish: FinishReason::ToolCalls,
            raw_finish: None,
            stop_sequence: None,
            audio: None,
        };
        let answer = Response { choices: vec![choice], ..Response::default() };

        let whole = response(Dialect::OpenAiChat, &answer);
        let mut encoder = inbound(Dialect::OpenAiChat).events(&Manner::default(), &Identity::default());
        let mut out = bytes::BytesMut::new();
        answer.events().iter().for_each(|event| encoder.encode(event, &mut out));

        let beside = json!({ "google": { "thought_signature": "s" } });
        let expected = if told { Some(&beside) } else { None };
        assert_eq!(whole["choices"][0]["message"]["tool_calls"][0].get("extra_content"), expected);
        let streamed = String::from_utf8(out.to_vec()).unwrap();
        assert_eq!(streamed.contains(&format!("\"extra_content\":{beside}")), told, "{streamed}");
    }
}
