//! Every client before every engine: text, streams, tools, reasoning, pictures, JSON Schema, failures, and a loop of tools.
//!
//! Upstreams are simulated by `speaks`, as strictly as the providers are, with one model behind all of them (`model`). A
//! plan of cells is written here and run by a script in `tests/sdk`, one process for each client; what it found is judged
//! here. **A further client** is a `Client` here and a class in its script, **a further engine** a row of
//! `engines::rows`. What cannot be is written in `lacks` of its row, and checked as well.

mod engines;
mod model;
mod recorded;
mod speaks;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::engines::{Instead, Row, Wish, rows};
use self::model::{
    AFTERWARDS, Answer, BeforeCalls, GREETING, INPUT, LOOKING, OUTPUT, PICTURE, REFUSED, THINKING, THOUGHT,
    TOGETHER,
};
use self::recorded::{Recording, recordings};
use crate::harness::subjects::google::token;
use crate::harness::*;

/// A client: a row of the matrix.
#[derive(Debug, Clone, Copy)]
struct Client {
    /// Its name in its script.
    name: &'static str,
    /// The script.
    script: &'static str,
    /// What its errors are called: of a request that is refused, of a limit, of a stream that fails.
    errors: [&'static str; 3],
    /// Whether it reads `reasoning_content`, which is no field of OpenAI's.
    reads_thoughts: bool,
}

const OPENAI_ERRORS: [&str; 3] = ["BadRequestError", "RateLimitError", "APIError"];

const PYTHON: Client =
    Client { name: "openai", script: "python/matrix.py", errors: OPENAI_ERRORS, reads_thoughts: true };
const LANGCHAIN: Client = Client {
    name: "langchain",
    errors: ["OpenAIInvalidRequestError", "OpenAIRateLimitError", "APIError"],
    reads_thoughts: false,
    ..PYTHON
};
const NODE: Client = Client { script: "node/matrix.js", ..PYTHON };
const AI_SDK: Client = Client {
    name: "ai-sdk",
    script: "node/matrix.js",
    // What fails within a stream it gives out as it came.
    errors: ["AI_APICallError", "AI_APICallError", "object"],
    reads_thoughts: true,
};

/// What a client is told to do, and what it must find.
struct Item {
    id: String,
    task: Value,
    expected: Value,
}

/// A wish before an engine.
struct Cell {
    wish: Wish,
    stream: bool,
}

/// All cells of an engine.
const CELLS: [Cell; 15] = {
    const fn cell(wish: Wish, stream: bool) -> Cell {
        Cell { wish, stream }
    }
    [
        cell(Wish::Text, false),
        cell(Wish::Text, true),
        cell(Wish::Tools, false),
        cell(Wish::Tools, true),
        cell(Wish::Reasoning, false),
        cell(Wish::Reasoning, true),
        cell(Wish::Images, false),
        cell(Wish::JsonSchema, false),
        cell(Wish::JsonSchema, true),
        cell(Wish::Refusal, false),
        cell(Wish::Refusal, true),
        cell(Wish::Limit, false),
        cell(Wish::Torn, true),
        cell(Wish::Loop, false),
        cell(Wish::Loop, true),
    ]
};

/// Tools that are offered: with an optional parameter, with an array, without any parameter.
fn tools() -> Value {
    let units = json!({ "type": "string", "enum": ["celsius", "fahrenheit"], "description": "The unit" });
    let city = json!({ "type": "string", "description": "The city" });
    let numbers = json!({ "type": "array", "items": { "type": "number" } });
    json!([
        {
            "name": "weather", "description": "Tells the temperature",
            "parameters": { "type": "object", "properties": { "city": city, "unit": units }, "required": ["city"] },
        },
        {
            "name": "add", "description": "Adds numbers",
            "parameters": { "type": "object", "properties": { "numbers": numbers }, "required": ["numbers"] },
        },
        { "name": "now", "description": "Tells the time", "parameters": { "type": "object", "properties": {} } },
    ])
}

impl Cell {
    fn item(&self, row: &Row, client: &Client) -> Item {
        let id = format!("{}/{:?}{}", row.name, self.wish, if self.stream { "/stream" } else { "" });
        Item { task: self.task(row, &id), expected: self.expected(row, client), id }
    }

    /// What the client is told to do.
    fn task(&self, row: &Row, id: &str) -> Value {
        let scene = match self.wish {
            Wish::Text => "text",
            Wish::Tools => "tools",
            Wish::Reasoning => "think",
            Wish::Images => "image",
            Wish::JsonSchema => "json",
            Wish::Refusal => "bad",
            Wish::Limit => "busy",
            Wish::Torn => "torn",
            Wish::Loop => "loop",
        };
        let showing = if self.stream { "stream" } else { "whole" };
        let mut task = json!({
            "id": id, "do": "say", "model": row.alias(self.wish), "stream": self.stream,
            "prompt": format!("What do you see? scene:{scene}:{showing}"),
        });
        match self.wish {
            Wish::Tools => task["tools"] = tools(),
            Wish::Reasoning => task["effort"] = "low".into(),
            Wish::Images => task["image"] = true.into(),
            Wish::JsonSchema => task["do"] = "form".into(),
            Wish::Loop => {
                task["do"] = "loop".into();
                task["tools"] = tools();
                task["effort"] = "low".into();
                task["then"] = format!("And in short? scene:after:{showing}").into();
            }
            _ => {}
        }
        task
    }

    /// What must be found.
    fn expected(&self, row: &Row, client: &Client) -> Value {
        let instead = row.instead(self.wish);
        let error = |at: usize, status: Option<u16>, message: &str| json!({ "error": { "class": client.errors[at], "status": status, "message": message } });
        if let Some(Instead::Refused(words)) = instead {
            return error(0, Some(400), words);
        }
        let lacks = instead.is_some();
        let thinking = if row.counts_thoughts { THINKING } else { 0 };
        let said = |text: &str, thinks: bool| {
            json!({
                "text": text, "reasoning": "", "tools": [], "finish": "stop", "input": INPUT, "output": OUTPUT,
                "thinking": if thinks { thinking } else { 0 },
            })
        };
        let weather = json!([["weather", { "city": "Paris" }], ["weather", { "city": "Oslo" }]]);
        match self.wish {
            Wish::Text => said(GREETING, false),
            Wish::Tools if lacks => said(LOOKING, false),
            Wish::Tools => {
                let called =
                    said(LOOKING, false).with("/tools", weather).with("/finish", json!("tool_calls"));
                match row.ways.before_calls {
                    BeforeCalls::Text => called,
                    // A plan is read where thoughts are.
                    BeforeCalls::Plan if client.reads_thoughts => {
                        called.with("/text", json!("")).with("/reasoning", json!(LOOKING))
                    }
                    BeforeCalls::Plan => called.with("/text", json!("")),
                }
            }
            Wish::Reasoning if lacks => said("Both.", row.ways.thinks),
            Wish::Reasoning if client.reads_thoughts => {
                said("Both.", true).with("/reasoning", json!(THOUGHT))
            }
            Wish::Reasoning => said("Both.", true),
            Wish::Images => said("A red dot.", false),
            Wish::JsonSchema => json!({ "value": { "city": "Paris", "degrees": 21 } }),
            Wish::Refusal => error(0, Some(400), REFUSED),
            Wish::Limit => error(1, Some(429), REFUSED),
            Wish::Torn => error(2, None, row.torn).with("/text", json!(GREETING)),
            Wish::Loop if lacks => json!({ "steps": [], "text": LOOKING, "after": AFTERWARDS }),
            Wish::Loop => json!({
                "steps": [weather, [["add", { "numbers": [21, 4] }], ["now", {}]]],
                "text": TOGETHER, "after": AFTERWARDS,
            }),
        }
    }
}

/// Where what was found is not what was expected: of an error's message its words must be there, of everything else all
/// that is expected.
fn differences(found: &Map<String, Value>, expected: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, value) in expected.as_object().unwrap() {
        let there = found.get(name).unwrap_or(&Value::Null);
        let is_same = match name.as_str() {
            // Providers cut thoughts into paragraphs in ways of their own.
            "reasoning" => bare(there) == bare(value),
            "error" => {
                let words = value["message"].as_str().unwrap();
                there["class"] == value["class"]
                    && there["status"] == value["status"]
                    && there["message"].as_str().is_some_and(|message| message.contains(words))
            }
            _ => same(there, value),
        };
        if !is_same {
            differences.push(format!("{name}: {there} instead of {value}"));
        }
    }
    if let (Some(error), true) = (found.get("error"), expected.get("error").is_none()) {
        differences.push(format!("error: {error}"));
    }
    differences
}

/// Whether two values are the same; a number is, however it is written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value): (&String, &Value)| one.get(name).is_some_and(|one| same(one, value));
            one.len() == other.len() && other.iter().all(has)
        }
        _ => one == other,
    }
}

fn bare(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect()
}

/// An upstream that speaks as the engine's provider does.
async fn upstream(row: &Arc<Row>, recordings: &Arc<Vec<Recording>>) -> Upstream {
    let (row, recordings) = (row.clone(), recordings.clone());
    Upstream::start(move |seen| {
        if seen.path == "/token" {
            return token("token-of-account");
        }
        let asked = row.speaks.read(seen);
        let answer = asked.and_then(|asked| Ok((asked.stream, asked.answer(row.ways)?)));
        match answer {
            Ok((stream, Answer::Spoken(spoken))) => row.speaks.tell(&spoken, stream),
            Ok((_, Answer::Torn)) => row.speaks.tear(),
            Ok((_, Answer::Recorded(name))) => match recordings.iter().find(|one| one.name == name) {
                Some(recording) => recording.script(),
                None => Script::error(418, &format!("nothing is recorded as {name}")),
            },
            Err(refusal) => row.speaks.refuse(&refusal),
        }
    })
    .await
}

/// Runs all cells with a client and stops the test with everything that differs.
async fn meets_every_engine(client: Client) {
    let rows: Vec<Arc<Row>> = rows().into_iter().map(Arc::new).collect();
    let recordings = Arc::new(recordings());
    let mut channels = Vec::new();
    for row in &rows {
        channels.push(row.entry(&upstream(row, &recordings).await.origin()));
    }
    // A failure that a cell is about must not be felt by the next cell.
    let preferences = json!({ "cooldown_period": 0, "api_key_cooldown_period": 0, "AUTO_RETRY": false });
    let gateway = Gateway::start(config(channels).with("/preferences", preferences)).await;
    let mut items: Vec<Item> = Vec::new();
    for row in &rows {
        items.extend(CELLS.iter().map(|cell| cell.item(row, &client)));
        let own = recordings.iter().filter(|recording| recording.engine == row.name);
        items.extend(own.map(|recording| recording.item(row, &client)));
    }
    let tasks: Vec<&Value> = items.iter().map(|item| &item.task).collect();
    let plan = json!({
        "base_url": gateway.base_url(), "key": CLIENT, "picture": PICTURE, "system": "Be brief.", "cells": tasks,
    });

    let found = run(client, &gateway, &plan).await;

    let mut differences = Vec::new();
    for Item { id, expected, .. } in &items {
        match found.iter().find(|line| line["id"] == *id).and_then(|line| line["found"].as_object()) {
            Some(found) => {
                let differ = self::differences(found, expected);
                differences.extend(differ.iter().map(|differ| format!("{id}: {differ}")));
            }
            None => differences.push(format!("{id}: nothing was found")),
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences in {} cells:\n{}",
        differences.len(),
        items.len(),
        differences.join("\n")
    );
}

/// Lets a client run the plan; what it found, line by line.
async fn run(client: Client, gateway: &Gateway, plan: &Value) -> Vec<Value> {
    let path = gateway.folder().join("plan.json");
    std::fs::write(&path, plan.to_string()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
    let program = match client.script.split('/').next() {
        Some("python") => folder.join("python/.venv/bin/python"),
        _ => "node".into(),
    };
    let mut command = Command::new(program);
    command.arg(folder.join(client.script)).arg(client.name).arg(path).env_remove("OPENAI_API_KEY");
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| {
        panic!("{} cannot be started: {error}; install the SDKs with: tests/sdk/install.sh", client.script)
    });
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{client:?}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn openai_s_python_sdk_gets_from_every_engine_what_it_wishes_or_is_told_why_not() {
    meets_every_engine(PYTHON).await;
}

#[tokio::test]
async fn openai_s_node_sdk_gets_from_every_engine_what_it_wishes_or_is_told_why_not() {
    meets_every_engine(NODE).await;
}

#[tokio::test]
async fn langchain_gets_from_every_engine_what_it_wishes_or_is_told_why_not() {
    meets_every_engine(LANGCHAIN).await;
}

#[tokio::test]
async fn the_ai_sdk_gets_from_every_engine_what_it_wishes_or_is_told_why_not() {
    meets_every_engine(AI_SDK).await;
}
