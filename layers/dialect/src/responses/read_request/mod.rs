//! Reads the requests of clients of this dialect.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/create>. What only an upstream of the dialect can
//! do (keep, run tools of its own, work on behind a closed connection) is noted, so that another channel may be asked.

mod items;
mod tools;

use serde_json::{Map, Value};

use self::items::Reader;
use super::manner;
use crate::fields::{Fields, unknown_word, wrong};
use crate::ir::{Block, Content, Effort, Reasoning, Request, ResponseFormat, Sampling};
use crate::{Dialect, Malformed, Manner, cache_marks};

/// A wish that only upstreams of the dialect can fulfil: the field that asks for it, and what it is.
pub(super) type OwnOnly = Option<(&'static str, &'static str)>;

/// Reads a whole request and the wishes in it.
///
/// # Errors
/// A body that is no JSON object, a field of the wrong kind (by name), an item or part that means nothing.
pub(super) fn read(body: &[u8]) -> Result<(Request, Manner), Malformed> {
    let mut fields = Fields::of_body(body)?;
    // Which model is meant and whether events are wanted is read before, and goes with each attempt.
    let model = fields.string("model")?.filter(|model| !model.is_empty());
    model.ok_or_else(|| Malformed::at("model", "model is required"))?;
    fields.bool("stream")?;
    let said = fields.0.clone_without("input");
    let mut request = Request::new(Dialect::Responses);
    let mut own_only = kept_elsewhere(&mut fields)?;

    let list = fields.list("tools")?;
    let tools = tools::read(list, &mut request, &mut own_only)?;
    instructions(fields.take("instructions"), &mut request)?;
    let cached_for = cache_marks::time_of_all(&fields.0);
    let mut reader = Reader::new(&mut request, cached_for, &mut own_only);
    match fields.take("input") {
        Some(Value::String(text)) => reader.say(text),
        Some(Value::Array(items)) => reader.items(items)?,
        Some(other) => return Err(wrong("input", "a string or an array of items", &other)),
        None if own_only.is_some() => {}
        None => {
            let what = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be \
                        provided.";
            return Err(Malformed::at("input", what));
        }
    }
    if own_only.is_none() && request.turns.is_empty() && request.system.is_empty() {
        return Err(Malformed::at("input", "input holds nothing"));
    }
    request.tool_choice = match fields.take("tool_choice") {
        Some(choice) => tools::choice(&choice, &tools, &mut own_only)?,
        None => None,
    };
    request.parallel_tool_calls = fields.bool("parallel_tool_calls")?;
    text(&mut fields, &mut request)?;
    request.reasoning = reasoning(&mut fields)?;
    let include = fields.strings("include")?;
    let top_logprobs = fields.count("top_logprobs")?.filter(|count| *count > 0);
    let likely = include.iter().any(|what| what == "message.output_text.logprobs");
    request.sampling = Sampling {
        max_tokens: fields.count("max_output_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        logprobs: (likely || top_logprobs.is_some()).then_some(true),
        top_logprobs,
        ..Sampling::default()
    };
    request.service_tier = fields.string("service_tier")?;
    request.user = fields.string("user")?;
    request.safety_identifier = fields.string("safety_identifier")?;
    request.metadata = fields.object("metadata")?;
    // Events of this dialect tell their usage in any case.
    fields.object("stream_options")?;
    request.extra = fields.0;
    cache_marks::mark_end(&mut request);
    let manner = Manner { own_only, ..manner::of(&said, tools) };
    Ok((request, manner))
}

/// What stands at the provider: the field that names it. Our own memory has been asked before.
fn kept_elsewhere(fields: &mut Fields) -> Result<OwnOnly, Malformed> {
    let mut found = None;
    if fields.string("previous_response_id")?.is_some() {
        found = Some(("previous_response_id", "an earlier response that another upstream keeps"));
    }
    if fields.take("conversation").is_some() {
        found = found.or(Some(("conversation", "a conversation that an upstream keeps")));
    }
    if fields.take("prompt").is_some() {
        found = found.or(Some(("prompt", "a prompt that an upstream keeps")));
    }
    if fields.bool("background")? == Some(true) {
        found = found.or(Some(("background", "an answer in the background")));
    }
    Ok(found)
}

/// Instructions before the conversation: a text, or items.
fn instructions(value: Option<Value>, request: &mut Request) -> Result<(), Malformed> {
    match value {
        None => Ok(()),
        Some(Value::String(text)) => {
            if !text.is_empty() {
                request.system.push(Block::text(text));
            }
            Ok(())
        }
        Some(Value::Array(items)) => {
            let mut own_only = None;
            let mut before = Request::new(Dialect::Responses);
            Reader::new(&mut before, None, &mut own_only).items(items)?;
            let said = before.turns.into_iter().flat_map(|turn| turn.blocks);
            request.system.extend(
                before
                    .system
                    .into_iter()
                    .chain(said)
                    .filter(|block| matches!(block.content, Content::Text(_))),
            );
            Ok(())
        }
        Some(other) => Err(wrong("instructions", "a string or an array of items", &other)),
    }
}

/// `text`: the form of the answer, and how many words it makes.
fn text(fields: &mut Fields, request: &mut Request) -> Result<(), Malformed> {
    let Some(mut text) = fields.object("text")? else { return Ok(()) };
    if let Some(verbosity) = text.shift_remove("verbosity").filter(Value::is_string) {
        fields.0.insert("verbosity".to_owned(), verbosity);
    }
    request.response_format = match text.shift_remove("format") {
        None | Some(Value::Null) => None,
        Some(Value::Object(format)) => Some(response_format(format)?),
        Some(other) => return Err(wrong("text.format", "an object", &other)),
    };
    Ok(())
}

fn response_format(mut format: Map<String, Value>) -> Result<ResponseFormat, Malformed> {
    let kind = format.get("type").cloned().unwrap_or_default();
    match kind.as_str() {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            // Clients of chat nest it once more.
            if let Some(Value::Object(nested)) = format.shift_remove("json_schema") {
                format = nested;
            }
            let word = |name: &str| format.get(name).and_then(Value::as_str).map(str::to_owned);
            Ok(ResponseFormat::JsonSchema {
                name: word("name").unwrap_or_else(|| "response".to_owned()),
                description: word("description"),
                strict: format.get("strict").and_then(Value::as_bool),
                schema: format.shift_remove("schema").unwrap_or(Value::Object(Map::new())),
            })
        }
        _ => Err(unknown_word("text.format.type", &["text", "json_object", "json_schema"], &kind)),
    }
}

/// `reasoning`: how much, and whether the thoughts are told.
fn reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, Malformed> {
    let Some(said) = fields.object("reasoning")? else { return Ok(None) };
    let word = |name: &str| said.get(name).and_then(Value::as_str).filter(|word| !word.is_empty());
    let visible = match word("summary").or_else(|| word("generate_summary")) {
        None => None,
        Some("none") => Some(false),
        Some(_) => Some(true),
    };
    let wanted = match word("effort") {
        None if visible.is_none() => return Ok(None),
        None => Reasoning::FREE,
        Some("none") => Reasoning::OFF,
        Some(word) => match Effort::parse(word) {
            Some(effort) => Reasoning::with_effort(effort),
            None => {
                let known = [&["none"][..], &Effort::ALL.map(Effort::as_str)].concat();
                return Err(unknown_word("reasoning.effort", &known, &word.into()));
            }
        },
    };
    Ok(Some(Reasoning { visible, ..wanted }))
}

/// A copy of an object's other members.
trait CloneWithout {
    fn clone_without(&self, name: &str) -> Self;
}

impl CloneWithout for Map<String, Value> {
    fn clone_without(&self, name: &str) -> Self {
        self.iter().filter(|(key, _)| *key != name).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}
