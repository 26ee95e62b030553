//! The wire forms of providers, as strict as they are: each reads requests into the model's words, and refuses what the
//! provider would refuse; each writes what the model says, whole and streamed.

mod anthropic;
mod chat;
mod cloudflare;
mod cohere;
mod cohere_v1;
mod converse;
mod doubao;
mod gemini;
mod responses;

use serde_json::{Map, Value};

pub(crate) use anthropic::{Anthropic, Host};
pub(crate) use chat::{Chat, Maker};
pub(crate) use cloudflare::Cloudflare;
pub(crate) use cohere::Cohere;
pub(crate) use cohere_v1::CohereV1;
pub(crate) use converse::Converse;
pub(crate) use doubao::Doubao;
pub(crate) use gemini::Gemini;
pub(crate) use responses::Responses;

use super::model::{Asked, Refusal, Spoken, Tool, refuse};
use crate::harness::*;

/// A provider's wire form.
pub(crate) trait Speaks: Send + Sync {
    /// What a request says.
    ///
    /// # Errors
    /// What the provider would refuse.
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal>;
    /// An answer that says this.
    fn tell(&self, spoken: &Spoken, stream: bool) -> Script;
    /// A refusal in the provider's shape.
    fn refuse(&self, refusal: &Refusal) -> Script;
    /// A stream that begins and then tells of an error, as the provider does.
    fn tear(&self) -> Script;
}

/// Refuses fields that the provider does not know.
pub(super) fn only(value: &Value, known: &[&str], what: &str) -> Result<(), Refusal> {
    let Some(map) = value.as_object() else { return refuse(format!("{what} is no object: {value}")) };
    match map.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => refuse(format!("{what}: unknown field {name:?}: {}", map[name])),
        None => Ok(()),
    }
}

/// A text that must be there.
pub(super) fn text(value: &Value, name: &str) -> Result<String, Refusal> {
    match value[name].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => refuse(format!("{name} should be a text: {value}")),
    }
}

/// An array that must be there.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>, Refusal> {
    match value[name].as_array() {
        Some(list) => Ok(list),
        None => refuse(format!("{name} should be an array: {value}")),
    }
}

/// Arguments that are written as text.
pub(super) fn parsed(arguments: &str) -> Result<Value, Refusal> {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Ok(map.into()),
        _ => refuse(format!("arguments are no JSON object: {arguments:?}")),
    }
}

/// A tool with a JSON schema.
pub(super) fn tool(name: &Value, schema: &Value) -> Result<Tool, Refusal> {
    let Some(name) = name.as_str() else { return refuse(format!("a tool without a name: {name}")) };
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    Ok(Tool { name: name.to_owned(), parameters: properties.keys().cloned().collect() })
}

/// The pieces in which a text is streamed: cut between characters, more than one where it can be.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(5).map(|piece| piece.iter().collect()).collect()
}

/// An event with a name of its own.
pub(super) fn named(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The data of a picture that is written as an address.
pub(super) fn inline(url: &str) -> Result<String, Refusal> {
    match url.strip_prefix("data:image/png;base64,") {
        Some(data) => Ok(data.to_owned()),
        None => refuse(format!("an address that cannot be followed: {url}")),
    }
}

/// The bearer must be the channel's key.
pub(super) fn bearer(seen: &Seen, key: &str) -> Result<(), Refusal> {
    match seen.header("authorization") == Some(&format!("Bearer {key}")) {
        true => Ok(()),
        false => Err(Refusal { status: 401, message: "the key is not that of the channel".into() }),
    }
}

/// Path and query must be these.
pub(super) fn path(seen: &Seen, expected: &str) -> Result<(), Refusal> {
    match seen.path == expected {
        true => Ok(()),
        false => Err(Refusal { status: 404, message: format!("there is no {}", seen.path) }),
    }
}
