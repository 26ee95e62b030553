//! Cohere's chat, version 1: a message and a history, calls without identities, lines of JSON.

use serde_json::{Value, json};

use super::super::model::{Asked, Call, GREETING, INPUT, OUTPUT, Refusal, Spoken, Tool, Turn, refuse};
use super::{Speaks, bearer, list, only, path, pieces, text};
use crate::harness::*;

/// An upstream of Cohere's first version.
pub(crate) struct CohereV1;

const KNOWN: [&str; 10] = [
    "model",
    "message",
    "preamble",
    "chat_history",
    "tools",
    "tool_results",
    "response_format",
    "max_tokens",
    "temperature",
    "stream",
];

fn call(value: &Value) -> Result<Call, Refusal> {
    only(value, &["name", "parameters"], "call")?;
    if !value["parameters"].is_object() {
        return refuse("parameters should be an object");
    }
    Ok(Call { id: String::new(), name: text(value, "name")?, arguments: value["parameters"].clone() })
}

fn results(list: &[Value], asked: &mut Asked) -> Result<(), Refusal> {
    let Some(Turn::Model(spoken)) = asked.turns.last() else {
        return refuse("tool results must follow a chatbot turn with tool calls");
    };
    let mut given = Vec::new();
    for result in list {
        only(result, &["call", "outputs"], "tool result")?;
        let call = call(&result["call"])?;
        if !spoken.calls.contains(&call) {
            return refuse(format!("a result of a call that was not made: {call:?}"));
        }
        let output = &result["outputs"][0];
        let told = output["output"].as_str().map_or_else(|| output.to_string(), str::to_owned);
        given.push((call, told));
    }
    asked.turns.push(Turn::Results(given));
    Ok(())
}

fn entry(entry: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    only(entry, &["role", "message", "tool_calls", "tool_results"], "chat_history")?;
    match entry["role"].as_str() {
        Some("SYSTEM") => asked.system.push_str(&text(entry, "message")?),
        Some("USER") => asked.turns.push(Turn::user(&text(entry, "message")?)),
        Some("CHATBOT") => {
            let calls: Result<Vec<Call>, Refusal> =
                entry["tool_calls"].as_array().into_iter().flatten().map(call).collect();
            let text = text(entry, "message")?;
            // No entry may be empty, so that something is said before calls in any case.
            let text = if text == "I will use a tool." { String::new() } else { text };
            asked.turns.push(Turn::Model(Spoken { text, calls: calls?, ..Spoken::default() }));
        }
        Some("TOOL") => results(list(entry, "tool_results")?, asked)?,
        _ => return refuse(format!("an entry of an unknown role: {entry}")),
    }
    Ok(())
}

fn meta() -> Value {
    json!({
        "api_version": { "version": "1" }, "billed_units": { "input_tokens": 1, "output_tokens": 1 },
        "tokens": { "input_tokens": INPUT, "output_tokens": OUTPUT },
    })
}

fn calls(spoken: &Spoken) -> Value {
    let call = |call: &Call| json!({ "name": call.name, "parameters": call.arguments });
    spoken.calls.iter().map(call).collect()
}

fn answer(spoken: &Spoken) -> Value {
    let mut answer = json!({
        "response_id": spoken.id, "generation_id": spoken.id, "text": spoken.text, "finish_reason": "COMPLETE", "meta": meta(),
    });
    if !spoken.calls.is_empty() {
        answer["tool_calls"] = calls(spoken);
    }
    answer
}

fn line(kind: &str, mut event: Value) -> String {
    event["event_type"] = kind.into();
    event["is_finished"] = (kind == "stream-end").into();
    format!("{event}\n")
}

fn lines(lines: Vec<String>) -> Script {
    Script::events(lines).header("content-type", "application/stream+json")
}

impl Speaks for CohereV1 {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        path(seen, "/v1/chat")?;
        bearer(seen, "key-of-cohere-v1")?;
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream: body["stream"] == true, ..Asked::default() };
        asked.system = body["preamble"].as_str().unwrap_or_default().to_owned();
        for one in body["chat_history"].as_array().into_iter().flatten() {
            entry(one, &mut asked)?;
        }
        let message = text(&body, "message")?;
        match (message.is_empty(), body["tool_results"].as_array()) {
            (true, Some(list)) => results(list, &mut asked)?,
            (false, None) => asked.turns.push(Turn::user(&message)),
            _ => {
                return refuse(
                    "invalid request: message must be at least 1 token long or tool results must be specified.",
                );
            }
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            only(offered, &["name", "description", "parameter_definitions"], "tool")?;
            let definitions = offered["parameter_definitions"].as_object();
            let parameters = definitions.into_iter().flat_map(|map| map.keys().cloned()).collect();
            asked.tools.push(Tool { name: text(offered, "name")?, parameters });
        }
        if body["response_format"]["type"] == "json_object" {
            only(&body["response_format"], &["type", "schema"], "response_format")?;
            asked.schema = Some(body["response_format"]["schema"].clone());
        }
        asked.complete()
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        if !stream {
            return Script::json(&answer(spoken));
        }
        let mut told = vec![line("stream-start", json!({ "generation_id": spoken.id }))];
        let kind = if spoken.calls.is_empty() { "text-generation" } else { "tool-calls-chunk" };
        told.extend(pieces(&spoken.text).iter().map(|piece| line(kind, json!({ "text": piece }))));
        for (index, call) in spoken.calls.iter().enumerate() {
            let delta = json!({ "index": index, "name": call.name });
            told.push(line("tool-calls-chunk", json!({ "tool_call_delta": delta })));
            for piece in pieces(&call.arguments.to_string()) {
                let delta = json!({ "index": index, "parameters": piece });
                told.push(line("tool-calls-chunk", json!({ "tool_call_delta": delta })));
            }
        }
        if !spoken.calls.is_empty() {
            let all = json!({ "text": spoken.text, "tool_calls": calls(spoken) });
            told.push(line("tool-calls-generation", all));
        }
        let end = json!({ "finish_reason": "COMPLETE", "response": answer(spoken) });
        told.push(line("stream-end", end));
        lines(told)
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        Script::status(refusal.status, &json!({ "message": refusal.message }))
    }

    fn tear(&self) -> Script {
        let end = json!({ "finish_reason": "ERROR", "response": { "text": GREETING, "meta": meta() } });
        lines(vec![
            line("stream-start", json!({ "generation_id": "g-1" })),
            line("text-generation", json!({ "text": GREETING })),
            line("stream-end", end),
        ])
    }
}
