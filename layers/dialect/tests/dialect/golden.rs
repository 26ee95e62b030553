//! Recorded upstream answers, and what clients of another dialect get of them.
//!
//! A case is a folder below `tests/golden/<client>-<upstream>/`: `request.json` is what the client sends,
//! `upstream_request.json` what the upstream is sent, `upstream.{json,sse}` what it once answered, and
//! `response.{json,sse}` what the client gets. `GOLDEN_BLESS=1` writes the two results anew.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use dialect::{Correspondence, Dialect, StreamStyle, ir};

use crate::cuts::{play, ways};

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
    let inbound = client.inbound().expect("the client's dialect can be converted");
    let outbound = upstream.outbound();
    let body = fs::read(case.join("request.json")).expect("a request");
    let request = inbound.request(&body).map_err(|error| format!("{}: {error}", case.display()))?;
    let sent = outbound.request(&request).map_err(|error| format!("{}: {error}", case.display()))?;
    compare(&case.join("upstream_request.json"), &pretty(&sent.body))?;

    let streamed = case.join("upstream.sse");
    if let Ok(answer) = fs::read(&streamed) {
        let style = StreamStyle {
            model: request.model_alias.clone(),
            include_usage: request.include_usage,
            id: "fallback".into(),
            created: 1_700_000_000,
        };
        let replay = |cuts: &[usize]| replay(&answer, cuts, client, upstream, &style, &sent.correspondence);
        let whole = replay(&[]);
        compare(&case.join("response.sse"), &whole)?;
        for cuts in ways(&answer) {
            if replay(&cuts) != whole {
                return Err(format!("{}: cut at {cuts:?} the answer is another", streamed.display()));
            }
        }
    } else {
        let answer = fs::read(case.join("upstream.json")).expect("an answer");
        let mut answer = outbound
            .response(&answer, &sent.correspondence)
            .map_err(|error| format!("{}: {error}", case.display()))?;
        answer.model = Some(request.model_alias);
        answer.created = Some(1_700_000_000);
        compare(&case.join("response.json"), &pretty(&inbound.response(&answer)))?;
    }
    Ok(())
}

/// What the client gets of an answer that comes in the given pieces.
fn replay(
    answer: &[u8],
    cuts: &[usize],
    client: Dialect,
    upstream: Dialect,
    style: &StreamStyle,
    correspondence: &Correspondence,
) -> String {
    let mut decoder = upstream.outbound().events(correspondence);
    let mut encoder = client.inbound().expect("convertible").events(style);
    let (mut events, mut out) = (Vec::new(), BytesMut::new());
    play(answer, cuts, |frame| decoder.decode(frame, &mut events).expect("readable"));
    decoder.finish(&mut events);
    // Pings tell when, not what.
    events.retain(|event| *event != ir::Event::KeepAlive);
    events.iter().for_each(|event| encoder.encode(event, &mut out));
    encoder.finish(&mut out);
    String::from_utf8(out.to_vec()).expect("text")
}

fn pretty(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    format!("{value:#}\n")
}

fn compare(file: &Path, found: &str) -> Result<(), String> {
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
