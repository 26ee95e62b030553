//! The table of `docs/providers.md` that says what each provider can do: written out of what is converted here, and of
//! the golden cases, which the other tests prove.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use dialect::Dialect;
use serde_json::{Value, json};

use crate::golden;
use crate::kit::{Exchange, UPSTREAMS};
use crate::requests::models;

const HEADING: &str = "## What each provider can do";

/// The names of the columns.
fn column(upstream: Dialect) -> &'static str {
    match upstream.label() {
        "openai_chat" => "OpenAI chat and what speaks like it",
        "anthropic" => "Anthropic, Claude on Vertex AI and on Bedrock",
        "responses" => "OpenAI Responses",
        "gemini" => "Gemini, Vertex AI",
        "converse" => "Bedrock Converse",
        "cohere" => "Cohere",
        "cohere_v1" => "Cohere, version 1",
        "cloudflare" => "Cloudflare Workers AI",
        other => other,
    }
}

/// Why a wish is left out of a request, or why an answer never holds something. The reason lies with the provider.
const REASONS: &[(&str, &str, &str)] = &[
    ("seed", "anthropic", "Messages take no seed"),
    ("seed", "converse", "Converse takes no seed"),
    ("seed", "responses", "Responses take no seed"),
    ("presence and frequency penalties", "anthropic", "Messages take no penalties"),
    ("presence and frequency penalties", "converse", "Converse takes no penalties"),
    ("presence and frequency penalties", "responses", "Responses take no penalties"),
    ("stop sequences", "responses", "Responses take no stop sequences"),
    ("`user`", "cohere", "Cohere is told of no users"),
    ("`user`", "gemini", "Gemini is told of no users"),
    ("`user`", "converse", "Converse is told of no users"),
    ("`user`", "cloudflare", "Workers AI is told of no users"),
    ("service tier", "cohere", "Cohere has none"),
    ("service tier", "cloudflare", "Workers AI has none"),
    ("several candidates", "responses", "Responses hold one answer"),
    ("several candidates", "converse", "Converse gives one answer"),
    ("several candidates", "cohere", "Cohere gives one answer"),
    ("several candidates", "cloudflare", "Workers AI gives one answer"),
    ("refusals in words of their own", "anthropic", "a refusal ends the answer with `content_filter`"),
    ("refusals in words of their own", "gemini", "a refusal ends the answer with `content_filter`"),
    ("refusals in words of their own", "converse", "a refusal ends the answer with `content_filter`"),
    ("refusals in words of their own", "cohere", "Cohere tells of none"),
    ("refusals in words of their own", "cloudflare", "Workers AI tells of none"),
    (
        "tokens written to a cache",
        "openai_chat",
        "few providers of this format tell of them; told, they pass",
    ),
    ("tokens written to a cache", "gemini", "Gemini tells of none"),
    ("tokens written to a cache", "cohere", "Cohere tells of none"),
    ("tokens written to a cache", "cloudflare", "Workers AI tells of none"),
    ("tokens written to a cache", "cohere_v1", "Cohere tells of none"),
    (
        "tokens written to a cache",
        "responses",
        "caches are written unasked, and no recorded answer tells of it",
    ),
    ("tokens read from a cache", "cohere_v1", "Cohere's first version tells of none"),
    ("tokens of reasoning", "converse", "Converse counts them as output and does not tell them apart"),
    ("tokens of reasoning", "cohere", "Cohere counts them as output and does not tell them apart"),
    ("tokens of reasoning", "cohere_v1", "Cohere's first version does not think"),
    ("reasoning effort", "cohere_v1", "Cohere's first version does not think"),
    ("service tier", "cohere_v1", "Cohere has no field for it"),
    ("`user`", "cohere_v1", "Cohere has no field for it"),
    ("refusals in words of their own", "cohere_v1", "Cohere refuses in the text of its answer"),
    ("failures by status", "cohere_v1", "its failures are those of Cohere's second version"),
    (
        "addresses of sources",
        "cohere",
        "Cohere's sources are documents of the request, which have no address",
    ),
    ("addresses of sources", "cloudflare", "Workers AI does not search"),
    (
        "streamed tool calls",
        "cloudflare",
        "models with a format of their own tell calls in whole answers only",
    ),
    ("answers that were cut short", "cloudflare", "Workers AI does not tell why an answer ended"),
    (
        "failures by status",
        "cloudflare",
        "no failure of it was recorded; its numbers are those of its documents",
    ),
];

/// What a client may wish for, each as the fields that it adds to a plain request.
fn wishes() -> Vec<(&'static str, Value)> {
    let png = "data:image/png;base64,iVBORw0KGgo=";
    let user = |parts: Value| json!({ "messages": [{ "role": "user", "content": parts }] });
    let f = json!({ "type": "function", "function": {
        "name": "lookup", "parameters": { "type": "object", "properties": { "zip": { "type": "string" } } },
    } });
    let call = json!({ "id": "c1", "type": "function", "function": { "name": "lookup", "arguments": "{}" } });
    let schema = json!({ "type": "object", "properties": { "zip": { "type": "string" } }, "required": ["zip"], "additionalProperties": false });
    vec![
        (
            "instructions in mid-conversation",
            json!({ "messages": [
            { "role": "user", "content": "U" }, { "role": "assistant", "content": "A" },
            { "role": "system", "content": "MID" }, { "role": "user", "content": "V" },
        ] }),
        ),
        ("images", user(json!([{ "type": "image_url", "image_url": { "url": png } }]))),
        (
            "images by address",
            user(json!([{ "type": "image_url", "image_url": { "url": "https://example.com/p.png" } }])),
        ),
        (
            "documents",
            user(
                json!([{ "type": "file", "file": { "filename": "d.pdf", "file_data": "data:application/pdf;base64,JVBERi0x" } }]),
            ),
        ),
        (
            "sound",
            user(json!([{ "type": "input_audio", "input_audio": { "data": "UklGRg==", "format": "wav" } }])),
        ),
        ("tools", json!({ "tools": [f] })),
        ("tool choice: any", json!({ "tools": [f], "tool_choice": "required" })),
        (
            "tool choice: one",
            json!({ "tools": [f], "tool_choice": { "type": "function", "function": { "name": "lookup" } } }),
        ),
        (
            "tool results",
            json!({ "tools": [f], "messages": [
            { "role": "user", "content": "U" }, { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "c1", "content": "R" },
        ] }),
        ),
        ("JSON", json!({ "response_format": { "type": "json_object" } })),
        (
            "JSON by a schema",
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "r", "schema": schema } } }),
        ),
        ("reasoning effort", json!({ "reasoning_effort": "high" })),
        ("web search", json!({ "tools": [{ "type": "web_search" }] })),
        ("output limit", json!({ "max_completion_tokens": 77 })),
        ("temperature", json!({ "temperature": 0.25 })),
        ("stop sequences", json!({ "stop": ["END"] })),
        ("seed", json!({ "seed": 7 })),
        ("presence and frequency penalties", json!({ "presence_penalty": 0.5, "frequency_penalty": 0.5 })),
        ("likelihoods of tokens", json!({ "logprobs": true, "top_logprobs": 2 })),
        ("several candidates", json!({ "n": 2 })),
        ("service tier", json!({ "service_tier": "flex" })),
        ("`user`", json!({ "user": "somebody" })),
    ]
}

/// Whether an answer holds something, by its case and its meaning.
type Holds = fn(&golden::Case, &Value) -> bool;

/// What an answer may hold, and how that is seen in its meaning and its case.
const FOUND: &[(&str, Holds)] = &[
    ("text", |_, meaning| meaning["text"].as_str().is_some_and(|text| !text.is_empty())),
    ("streams", |case, _| case.coming().is_some()),
    ("tool calls", |_, meaning| meaning["tools"][0].is_object()),
    ("several calls at once", |_, meaning| meaning["tools"][1].is_object()),
    ("streamed tool calls", |case, meaning| case.coming().is_some() && meaning["tools"][0].is_object()),
    ("reasoning", |_, meaning| meaning["reasoning"].as_str().is_some_and(|text| !text.is_empty())),
    ("addresses of sources", |_, meaning| meaning["citations"][0].is_string()),
    ("refusals in words of their own", |_, meaning| {
        meaning["refusal"].as_str().is_some_and(|text| !text.is_empty())
    }),
    ("tokens read from a cache", |_, meaning| meaning["usage"]["cached"].as_u64() > Some(0)),
    ("tokens written to a cache", |_, meaning| meaning["usage"]["cache_write"].as_u64() > Some(0)),
    ("tokens of reasoning", |_, meaning| meaning["usage"]["reasoning"].as_u64() > Some(0)),
    ("answers that were cut short", |_, meaning| meaning["finish"] == "length"),
    ("failures by status", |case, _| !case.is_answer()),
];

/// One cell, with the reason where it is no plain yes.
fn wish(upstream: Dialect, name: &str, fields: &Value) -> Result<String, String> {
    let ask = |fields: &Value, model: &str| {
        let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "U" }] });
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        Exchange::aimed(Dialect::OpenAiChat, upstream, body.to_string().as_bytes(), false, model)
            .map(|exchange| exchange.sent)
    };
    let mut refusal = None;
    for model in models(upstream) {
        match ask(fields, model) {
            Ok(sent) if Ok(&sent) != ask(&json!({}), model).as_ref() => return Ok("yes".to_owned()),
            Ok(_) => {}
            Err(refused) => refusal = Some(format!("refused: {refused}")),
        }
    }
    refusal.map_or_else(|| reason(name, upstream), Ok)
}

fn reason(name: &str, upstream: Dialect) -> Result<String, String> {
    REASONS
        .iter()
        .find(|(feature, label, _)| *feature == name && *label == upstream.label())
        .map(|(_, _, reason)| format!("no: {reason}"))
        .ok_or_else(|| {
            format!(
                "{name} at {}: an empty cell needs a reason that lies with the provider",
                upstream.label()
            )
        })
}

/// The section, and the cells that lack a reason.
fn section() -> (String, Vec<String>) {
    let mut upstreams = UPSTREAMS.to_vec();
    // A translation is of one text; what it takes stands in its own section.
    upstreams.retain(|upstream| *upstream != Dialect::DoubaoTranslation);
    upstreams.sort_by_key(|upstream| column(*upstream));
    let mut notes: Vec<String> = Vec::new();
    let mut missing = Vec::new();
    let mut cell = |told: Result<String, String>| match told {
        Ok(told) if told == "yes" || told.bytes().all(|byte| byte.is_ascii_digit()) => told,
        Ok(told) => {
            let (word, why) = told.split_once(": ").unwrap_or(("no", &told));
            let known = notes.iter().position(|note| note == why);
            let at = known.unwrap_or_else(|| {
                notes.push(why.to_owned());
                notes.len() - 1
            });
            format!("{word} ({})", at + 1)
        }
        Err(lack) => {
            missing.push(lack);
            "?".to_owned()
        }
    };
    let mut text = format!(
        "{HEADING}\n\nFor clients of OpenAI's chat format. This section is written by a test, out of what is converted \
         and out of recorded\nanswers (`layers/dialect/tests/golden`).\n\nWhat a request may ask for; *refused* means that the next channel is asked:\n\n"
    );
    let head = |text: &mut String| {
        let _ = writeln!(
            text,
            "| | {} |",
            upstreams.iter().map(|one| column(*one)).collect::<Vec<_>>().join(" | ")
        );
        let _ = writeln!(text, "| --- |{}", " --- |".repeat(upstreams.len()));
    };
    head(&mut text);
    for (name, fields) in wishes() {
        let cells: Vec<String> =
            upstreams.iter().map(|upstream| cell(wish(*upstream, name, &fields))).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut every = golden::every();
    every.retain(|case| case.client == Dialect::OpenAiChat);
    for case in &every {
        let meaning = case.expected();
        for (name, holds) in FOUND {
            *counts.entry((name, case.upstream.label())).or_default() += usize::from(holds(case, &meaning));
        }
    }
    text.push_str(
        "\nWhat answers hold, and in how many recorded ones it is checked that clients get it:\n\n",
    );
    head(&mut text);
    for (name, _) in FOUND {
        let cells: Vec<String> = upstreams
            .iter()
            .map(|upstream| match counts.get(&(name, upstream.label())) {
                Some(0) | None => cell(reason(name, *upstream)),
                Some(count) => cell(Ok(count.to_string())),
            })
            .collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text.push('\n');
    for (at, note) in notes.iter().enumerate() {
        let _ = writeln!(text, "{}. {note}", at + 1);
    }
    let differing: Vec<(String, String, String)> = every.iter().flat_map(golden::Case::differences).collect();
    if !differing.is_empty() {
        text.push_str("\nWhere clients get something else than the provider's own SDK finds:\n\n");
        for (case, field, why) in differing {
            let _ = writeln!(text, "- `{case}`, {field}: {why}");
        }
    }
    (text, missing)
}

#[test]
fn the_page_says_of_each_provider_what_the_tests_say_and_leaves_no_cell_without_a_reason() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/providers.md");
    let page = fs::read_to_string(&file).expect("the page");
    let start = page.find(HEADING).expect("its section");
    let end = page[start + 1..].find("\n## ").map_or(page.len(), |end| start + 1 + end + 1);
    let (section, missing) = section();

    assert_eq!(missing, Vec::<String>::new());
    if std::env::var_os("GOLDEN_BLESS").is_some() {
        let page = format!("{}{section}{}", &page[..start], &page[end..]);
        fs::write(&file, page).expect("writable");
        return;
    }
    assert_eq!(&page[start..end], section, "write it anew: GOLDEN_BLESS=1 make test-dialect FILTER=table");
}
