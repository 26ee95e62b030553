//! Recorded upstream answers, and what clients of another dialect get of them.
//!
//! A case is a folder below `tests/golden/<client>-<upstream>/`: `request.json` is what the client sends,
//! `upstream_request.json` what the upstream is sent, `upstream.{json,sse}` what it once answered, and
//! `response.{json,sse}` what the client gets. `GOLDEN_BLESS=1` writes the two results anew.

use std::fs;
use std::path::{Path, PathBuf};

use dialect::{AnswerForm, Dialect};
use serde_json::Value;

use crate::cuts::ways;
use crate::kit::Exchange;

#[test]
fn openai_chat_clients_are_served_by_anthropic() {
    run("openai_chat-anthropic", Dialect::OpenAiChat, Dialect::Anthropic);
}

fn run(folder: &str, client: Dialect, upstream: Dialect) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut cases: Vec<PathBuf> =
        fs::read_dir(root).expect("the cases are there").map(|case| case.expect("a case").path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case, client, upstream).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn check(case: &Path, client: Dialect, upstream: Dialect) -> Result<(), String> {
    let body = fs::read(case.join("request.json")).expect("a request");
    let streamed = case.join("upstream.sse");
    let events = fs::read(&streamed).ok();
    let exchange = Exchange::new(client, upstream, &body, events.is_some());
    compare(&case.join("upstream_request.json"), &pretty(&exchange.sent))?;
    if let Some(answer) = events {
        let whole = exchange.stream(&answer, &[]);
        compare(&case.join("response.sse"), &whole)?;
        for cuts in ways(&answer) {
            if exchange.stream(&answer, &cuts) != whole {
                return Err(format!("{}: cut at {cuts:?} the answer is another", streamed.display()));
            }
        }
    } else {
        let answer = fs::read(case.join("upstream.json")).expect("an answer");
        let whole = exchange.whole(&answer, AnswerForm::Json);
        let whole = whole.map_err(|error| format!("{}: {error}", case.display()))?;
        compare(&case.join("response.json"), &pretty(&serde_json::from_slice(&whole).expect("JSON")))?;
    }
    Ok(())
}

pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn compare(file: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("GOLDEN_BLESS").is_some() {
        fs::write(file, found).expect("writable");
        return Ok(());
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or(0);
    let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    Err(format!(
        "{} line {}\n  expected {}\n  found    {}",
        file.display(),
        line + 1,
        show(&expected),
        show(found)
    ))
}
