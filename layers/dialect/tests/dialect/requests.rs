//! Every recorded request in every upstream's dialect: by the types of the provider's own SDK it is valid, and it says
//! all that the provider can be told.
//!
//! The requests are written here, and held against the types by `tests/golden/valid.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use dialect::Dialect;
use serde_json::{Value, json};

use crate::golden;
use crate::kit::{Exchange, UPSTREAMS};

/// Models by whose names an upstream is asked: families that are asked in different ways.
pub(crate) fn models(upstream: Dialect) -> &'static [&'static str] {
    match upstream.label() {
        "anthropic" => &["claude-sonnet-4-5", "claude-opus-4-8", "claude-3-5-haiku-20241022"],
        "gemini" => &["gemini-2.5-flash", "gemini-3-pro-preview", "gemini-2.0-flash"],
        "converse" => &["anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0"],
        "responses" => &["gpt-5", "gpt-4o"],
        "cohere" => &["command-a-03-2025", "command-a-reasoning-08-2025", "command-r-08-2024"],
        "cohere_v1" => &["command-r-08-2024"],
        "cloudflare" => &["@cf/meta/llama-3.1-8b-instruct", "@cf/moonshotai/kimi-k2.6"],
        _ => &["gpt-4o"],
    }
}

#[test]
fn every_recorded_request_is_valid_for_every_upstream_by_its_own_types_and_loses_nothing() {
    let mut requests: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for case in golden::cases().into_iter().filter(|case| case.client == Dialect::OpenAiChat) {
        let name = case.folder.file_name().expect("a name").to_string_lossy().into_owned();
        requests.entry(case.request()).or_insert(name);
    }
    let mut lines = String::new();
    for (request, name) in &requests {
        let body: Value = serde_json::from_slice(request).expect("JSON");
        // Between equal dialects requests pass as they are, whoever's fields they hold; for translations there is no SDK.
        let untyped = [Dialect::OpenAiChat, Dialect::DoubaoTranslation];
        let others = UPSTREAMS.iter().filter(|upstream| !untyped.contains(upstream));
        for (upstream, model) in others.flat_map(|one| models(*one).iter().map(move |model| (*one, *model))) {
            let stream = body["stream"] == true;
            let mut line =
                json!({ "case": format!("{name} ({model})"), "upstream": upstream.label(), "request": body });
            match Exchange::aimed(Dialect::OpenAiChat, upstream, request, stream, model) {
                Ok(exchange) => line["sent"] = exchange.sent,
                Err(refused) => line["refused"] = refused.to_string().into(),
            }
            lines.push_str(&format!("{line}\n"));
        }
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("requests.jsonl");
    fs::write(&file, lines).expect("writable");

    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let python = scripts.join(".venv/bin/python");
    assert!(python.exists(), "the providers' SDKs are missing; install them with: tests/golden/install.sh");
    let output =
        Command::new(python).arg(scripts.join("valid.py")).arg(&file).output().expect("python starts");

    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}");
}
