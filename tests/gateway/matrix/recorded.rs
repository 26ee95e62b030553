//! Answers that providers once gave, with the meaning that their official SDKs find in them: the golden cases of `dialect`,
//! replayed behind the strict upstreams, for what clients make of them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::engines::Row;
use super::{Client, Item};
use crate::harness::*;

/// One recorded answer.
#[derive(Debug)]
pub(crate) struct Recording {
    /// `pair/case`.
    pub(crate) name: String,
    /// The engine that it belongs to.
    pub(crate) engine: &'static str,
    status: u16,
    stream: bool,
    content_type: String,
    body: Vec<u8>,
    expected: Value,
}

/// The engine of the matrix that speaks as this provider does.
fn engine(pair: &str, provider: &str, enveloped: bool) -> Option<&'static str> {
    let dialect = pair.strip_prefix("openai_chat-")?;
    Some(match (dialect, provider) {
        ("anthropic", "bedrock") if enveloped => "bedrock-claude",
        ("anthropic", "vertex-claude") => "vertex-claude",
        ("anthropic", "anthropic" | "azure") => "anthropic",
        ("converse", _) => "converse",
        ("gemini", "vertex-gemini") => "vertex-gemini",
        ("gemini", _) => "gemini",
        ("responses", _) => "responses",
        ("cohere", _) => "cohere",
        ("cohere_v1", _) => "cohere-v1",
        ("cloudflare", _) => "cloudflare",
        ("openai_chat", "openai") => "openai",
        ("openai_chat", "azure") => "azure",
        ("openai_chat", "groq") => "groq",
        ("openai_chat", "deepseek") => "deepseek",
        ("openai_chat", "mistral") => "mistral",
        ("openai_chat", "databricks") => "databricks",
        _ => return None,
    })
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

/// All recordings whose meaning a chat client can hold: one candidate, without pictures, told in full.
pub(crate) fn recordings() -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("layers/dialect/tests/golden");
    // Those of other clients are the same answers once more.
    let is_of_chat = |pair: &&PathBuf| {
        pair.file_name().is_some_and(|name| name.to_string_lossy().starts_with("openai_chat-"))
    };
    folders(&root)
        .iter()
        .filter(is_of_chat)
        .flat_map(|pair| folders(pair))
        .filter_map(|folder| recording(&root, &folder))
        .collect()
}

/// Whether clients can hold an answer: one candidate that says something, in words or by calls that are whole.
fn is_held(expected: &Value) -> bool {
    let calls = expected["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let says_something = !calls.is_empty() || expected["text"] != "";
    let is_whole = calls.is_empty()
        || expected["finish"] != "length" && calls.iter().all(|call| call["arguments"].is_object());
    let is_plain = expected["images"] == 0 && expected["refusal"] == "" && expected["finish"].is_string();
    says_something
        && is_whole
        && is_plain
        && expected.get("more").is_none()
        && expected.get("error").is_none()
}

fn recording(root: &Path, folder: &Path) -> Option<Recording> {
    let read = |file: &str| std::fs::read(folder.join(file)).ok();
    let parsed = |file: &str| serde_json::from_slice::<Value>(&read(file).unwrap()).unwrap();
    let (case, expected) = (parsed("case.json"), parsed("expected.json"));
    let name = folder.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let pair = name.split('/').next().unwrap();
    let engine = engine(
        pair,
        case["provider"].as_str().unwrap(),
        !case["envelope"].is_null() || case["stream"] == false,
    )?;
    let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
    let is_held = match status {
        200 => is_held(&expected),
        // Others blame a key, a limit or a model, which the gateway answers in its own way.
        400 => !parsed("error.json")["evidence"].as_str().unwrap().contains("true"),
        _ => false,
    };
    if !is_held || !case["differs"].is_null() || case["framing"] == "json_array" {
        return None;
    }
    let body = ["upstream.json", "upstream.sse", "upstream.bin"].into_iter().find_map(read)?;
    Some(Recording {
        engine,
        status,
        stream: case["stream"] == true,
        content_type: case["content_type"].as_str().unwrap().to_owned(),
        body,
        expected,
        name,
    })
}

impl Recording {
    /// The answer, as it came.
    pub(crate) fn script(&self) -> Script {
        Script::body(self.status, &self.content_type, self.body.clone())
    }

    /// What a client is told to do, and what it must find.
    pub(crate) fn item(&self, row: &Row, client: &Client) -> Item {
        let called = self.expected["tools"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<&str> = called.iter().filter_map(|call| call["name"].as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let schema = json!({ "type": "object", "properties": {} });
        let offered: Vec<Value> = names
            .iter()
            .map(|name| json!({ "name": name, "description": "A recorded tool", "parameters": schema }))
            .collect();
        let task = json!({
            "id": self.name, "do": "say", "model": row.name, "stream": self.stream, "tools": offered,
            "prompt": format!("Say it again. scene:recorded:{}", self.name),
        });
        Item { id: self.name.clone(), task, expected: self.found_by(client) }
    }

    fn found_by(&self, client: &Client) -> Value {
        let expected = &self.expected;
        if self.status != 200 {
            return json!({ "error": {
                "class": client.errors[0], "status": 400, "message": expected["error"]["message"],
            } });
        }
        let calls = expected["tools"].as_array().into_iter().flatten();
        let calls: Vec<Value> = calls.map(|call| json!([call["name"], call["arguments"]])).collect();
        let mut found = json!({ "text": expected["text"], "tools": calls, "finish": expected["finish"], "reasoning": "" });
        if client.reads_thoughts {
            found["reasoning"] = expected["reasoning"].clone();
        }
        let usage = &expected["usage"];
        // In OpenAI's format it passes as it comes: left out of the count, or told more than once.
        if usage.is_object() && !self.name.starts_with("openai_chat-openai_chat/") {
            let tokens = |names: &[&str]| names.iter().filter_map(|name| usage[*name].as_u64()).sum::<u64>();
            found["input"] = tokens(&["input", "cached", "cache_write"]).into();
            found["output"] = tokens(&["output", "reasoning"]).into();
        }
        found
    }
}
