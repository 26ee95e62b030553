//! Gemini: at AI Studio, where calls have identities and the first call of a step must bring back its signature, and on
//! Vertex AI, where identities are refused.

use serde_json::{Value, json};

use super::super::model::{
    Asked, Call, GREETING, INPUT, OUTPUT, Part, Refusal, Spoken, THINKING, Thought, Turn, refuse,
};
use super::{Speaks, bearer, list, only, path, text, tool};
use crate::harness::*;

/// An upstream of Gemini.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Gemini {
    /// AI Studio with a model that wants its signatures back.
    Studio,
    /// Vertex AI.
    Vertex,
}

const KNOWN: [&str; 7] =
    ["contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "labels"];
const CONFIG: [&str; 8] = [
    "maxOutputTokens",
    "thinkingConfig",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "temperature",
    "topP",
    "stopSequences",
];

impl Gemini {
    fn at(self, seen: &Seen) -> Result<bool, Refusal> {
        let stream = seen.path.contains(":streamGenerateContent");
        let way = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        match self {
            Self::Studio => {
                path(seen, &format!("/v1beta/models/gemini-3-pro-preview:{way}"))?;
                if seen.header("x-goog-api-key") != Some("key-of-gemini") {
                    return Err(Refusal { status: 401, message: "API key not valid".into() });
                }
            }
            Self::Vertex => {
                let models = "/v1/projects/p/locations/us-east5/publishers/google/models";
                path(seen, &format!("{models}/gemini-2.5-flash:{way}"))?;
                bearer(seen, "token-of-account")?;
            }
        }
        Ok(stream)
    }

    /// The identity of a call, or of its result.
    fn id(self, value: &Value) -> Result<String, Refusal> {
        match (self, value["id"].as_str()) {
            (Self::Studio, Some(id)) => Ok(id.to_owned()),
            (Self::Studio, None) => refuse("a call without its identity"),
            (Self::Vertex, None) => Ok(String::new()),
            (Self::Vertex, Some(_)) => {
                refuse("Unknown name \"id\" at 'contents.parts.function_call': Cannot find field.")
            }
        }
    }

    fn user(self, parts: &[Value], asked: &mut Asked) -> Result<(), Refusal> {
        let mut said = Vec::new();
        let mut results = Vec::new();
        for part in parts {
            only(part, &["text", "inlineData", "functionResponse"], "part")?;
            if let Some(text) = part["text"].as_str() {
                said.push(Part::Text(text.to_owned()));
            } else if part["inlineData"]["mimeType"] == "image/png" {
                said.push(Part::Image(text(&part["inlineData"], "data")?));
            } else {
                results.push(&part["functionResponse"]);
            }
        }
        if !results.is_empty() {
            self.results(&results, asked)?;
        }
        if !said.is_empty() {
            asked.turns.push(Turn::User(said));
        }
        Ok(())
    }

    /// Results are matched to calls by identity where there are any, and by name and order otherwise.
    fn results(self, results: &[&Value], asked: &mut Asked) -> Result<(), Refusal> {
        let Some(Turn::Model(spoken)) = asked.turns.last() else {
            return refuse(
                "Please ensure that function response turn comes immediately after a function call turn.",
            );
        };
        if spoken.calls.len() != results.len() {
            return refuse(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
            );
        }
        let calls = spoken.calls.clone();
        let mut given = Vec::new();
        for (at, result) in results.iter().enumerate() {
            only(result, &["id", "name", "response"], "functionResponse")?;
            let (id, name) = (self.id(result)?, text(result, "name")?);
            let call = match self {
                Self::Studio => calls.iter().find(|call| call.id == id && call.name == name),
                Self::Vertex => calls.get(at).filter(|call| call.name == name),
            };
            let Some(call) = call else { return refuse(format!("a result of no call: {result}")) };
            let response = &result["response"];
            let Some(map) = response.as_object() else { return refuse("a response is an object") };
            let told = map.get("output").or(map.get("result")).or(map.get("content"));
            let told = match told {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => return refuse(format!("a response without output: {response}")),
            };
            given.push((call.clone(), told));
        }
        asked.turns.push(Turn::Results(given));
        Ok(())
    }

    fn model(self, parts: &[Value]) -> Result<Spoken, Refusal> {
        let mut spoken = Spoken::default();
        let mut seal = String::new();
        let mut thought = String::new();
        for part in parts {
            only(part, &["text", "thought", "thoughtSignature", "functionCall"], "part")?;
            let signature = part["thoughtSignature"].as_str().unwrap_or_default();
            if part["thought"] == true {
                thought.push_str(&text(part, "text")?);
                continue;
            }
            if part["functionCall"].is_object() {
                let call = &part["functionCall"];
                only(call, &["id", "name", "args"], "functionCall")?;
                if spoken.calls.is_empty() {
                    seal = signature.to_owned();
                } else if !signature.is_empty() {
                    return refuse("only the first call of a step has a signature");
                }
                if !call["args"].is_object() && !call["args"].is_null() {
                    return refuse("args should be an object");
                }
                let arguments = if call["args"].is_null() { json!({}) } else { call["args"].clone() };
                spoken.calls.push(Call { id: self.id(call)?, name: text(call, "name")?, arguments });
            } else {
                spoken.text.push_str(&text(part, "text")?);
            }
        }
        if !seal.is_empty() {
            spoken.thought = Some(Thought { text: thought, seal });
        }
        Ok(spoken)
    }

    fn parts(self, spoken: &Spoken) -> Vec<Value> {
        let mut parts = Vec::new();
        let seal = spoken.thought.as_ref().map(|thought| thought.seal.clone());
        if let Some(thought) = &spoken.thought {
            parts.push(json!({ "text": thought.text, "thought": true }));
        }
        if !spoken.text.is_empty() {
            parts.push(json!({ "text": spoken.text }));
        }
        for (at, call) in spoken.calls.iter().enumerate() {
            let mut part = json!({ "functionCall": { "name": call.name, "args": call.arguments } });
            if !call.id.is_empty() {
                part["functionCall"]["id"] = call.id.clone().into();
            }
            if let (0, Some(seal)) = (at, &seal) {
                part["thoughtSignature"] = seal.clone().into();
            }
            parts.push(part);
        }
        if let (true, Some(seal), Some(last)) = (spoken.calls.is_empty(), seal, parts.last_mut()) {
            last["thoughtSignature"] = seal.into();
        }
        parts
    }
}

fn answer(id: &str, parts: &[Value], finish: Option<&str>, thinks: bool) -> Value {
    let thinking = if thinks { THINKING } else { 0 };
    let mut candidate = json!({ "index": 0, "content": { "role": "model", "parts": parts } });
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    json!({
        "candidates": [candidate], "modelVersion": "gemini", "responseId": id,
        "usageMetadata": {
            "promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT - thinking, "thoughtsTokenCount": thinking,
            "totalTokenCount": INPUT + OUTPUT,
        },
    })
}

impl Speaks for Gemini {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        let stream = self.at(seen)?;
        let body = seen.json();
        only(&body, &KNOWN, "body")?;
        let mut asked = Asked { stream, ..Asked::default() };
        for part in body["systemInstruction"]["parts"].as_array().into_iter().flatten() {
            asked.system.push_str(&text(part, "text")?);
        }
        for content in list(&body, "contents")? {
            only(content, &["role", "parts"], "content")?;
            let parts = list(content, "parts")?;
            if parts.is_empty() {
                return refuse("contents.parts must not be empty.");
            }
            match content["role"].as_str() {
                Some("user") => self.user(parts, &mut asked)?,
                Some("model") => asked.turns.push(Turn::Model(self.model(parts)?)),
                _ => return refuse("Please use a valid role: user, model."),
            }
        }
        for offered in body["tools"].as_array().into_iter().flatten() {
            only(offered, &["functionDeclarations"], "tool")?;
            for function in list(offered, "functionDeclarations")? {
                let known = ["name", "description", "parameters", "parametersJsonSchema"];
                only(function, &known, "functionDeclaration")?;
                let schema = match function["parameters"].is_null() {
                    true => &function["parametersJsonSchema"],
                    false => &function["parameters"],
                };
                asked.tools.push(tool(&function["name"], schema)?);
            }
        }
        let config = &body["generationConfig"];
        if !config.is_null() {
            only(config, &CONFIG, "generationConfig")?;
            let thinking = &config["thinkingConfig"];
            if !thinking["thinkingLevel"].is_null() && !thinking["thinkingBudget"].is_null() {
                return refuse("thinking_level and thinking_budget are mutually exclusive");
            }
            asked.thinks = thinking["includeThoughts"] == true && thinking["thinkingBudget"] != 0;
            if config["responseMimeType"] == "application/json" {
                let schema = match config["responseSchema"].is_null() {
                    true => &config["responseJsonSchema"],
                    false => &config["responseSchema"],
                };
                asked.schema = Some(schema.clone());
            }
        }
        let asked = asked.complete()?;
        let last_user =
            asked.turns.iter().rposition(|turn| matches!(turn, Turn::User(_))).unwrap_or_default();
        for turn in &asked.turns[last_user..] {
            if let (Self::Studio, Turn::Model(spoken)) = (self, turn)
                && !spoken.calls.is_empty()
                && spoken.thought.is_none()
            {
                return refuse("Function call is missing a thought_signature in functionCall parts.");
            }
        }
        Ok(asked)
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        let (parts, thinks) = (self.parts(spoken), spoken.thought.is_some());
        if !stream {
            return Script::json(&answer(&spoken.id, &parts, Some("STOP"), thinks));
        }
        let mut chunks: Vec<Vec<Value>> = Vec::new();
        for part in parts {
            let Some(text) = part["text"].as_str() else {
                chunks.push(vec![part]);
                continue;
            };
            // The signature of a text comes in a part of its own, which is empty.
            let mut bare = part.clone();
            let seal = bare.as_object_mut().unwrap().shift_remove("thoughtSignature");
            for piece in super::pieces(text) {
                let mut part = bare.clone();
                part["text"] = piece.into();
                chunks.push(vec![part]);
            }
            chunks.extend(seal.map(|seal| vec![json!({ "text": "", "thoughtSignature": seal })]));
        }
        let last = chunks.len().saturating_sub(1);
        let events = chunks.iter().enumerate().map(|(at, parts)| {
            let finish = (at == last).then_some("STOP");
            // Windows line ends, as Google sends them.
            format!("data: {}\r\n\r\n", answer(&spoken.id, parts, finish, thinks))
        });
        Script::events(events)
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        let status = match refusal.status {
            429 => "RESOURCE_EXHAUSTED",
            401 => "UNAUTHENTICATED",
            404 => "NOT_FOUND",
            _ => "INVALID_ARGUMENT",
        };
        let error = json!({ "code": refusal.status, "message": refusal.message, "status": status });
        Script::status(refusal.status, &json!({ "error": error }))
    }

    fn tear(&self) -> Script {
        let error = json!({ "error": { "code": 500, "message": "the script tears", "status": "INTERNAL" } });
        let begun = answer("torn", &[json!({ "text": GREETING })], None, false);
        Script::events([format!("data: {begun}\r\n\r\n"), format!("data: {error}\r\n\r\n")])
    }
}
