//! Writes requests for Cohere, version 1.
//!
//! Source: <https://docs.cohere.com/v1/reference/chat>. The last word of the user's is the message, or the results that
//! the model waits for; everything before it is the history.

use serde_json::{Map, Value, json};

use super::tools::Tools;
use crate::cohere::write_request::common::{check, write_sampling};
use crate::cohere::{documents, schema};
use crate::ir::{Block, Content, Request, ResponseFormat, Role, Source};
use crate::paired::{Group, Outcome, Said, groups};
use crate::rope::Node;
use crate::worded::{
    CONTINUE, JSON_OBJECT, MISSING, NO_OUTPUT, document, instruction, json_schema, spoken, system, thought,
};
use crate::{Aim, Correspondence, FetchedMedia, Unsupported, Written, exact};

/// What the model said before calls of which it said nothing: no entry of the history may be empty.
const CALLING: &str = "I will use a tool.";
/// Fields of this interface that clients of another one write beside their own.
const OWN: [&str; 5] = ["documents", "connectors", "citation_quality", "prompt_truncation", "safety_mode"];

/// Writes a request. Limits are in tokens, the temperature ends at 1.
///
/// # Errors
/// Pictures and sounds, several candidates, likelihoods and weights of tokens; tools that this upstream cannot take.
pub(in crate::cohere) fn write(
    request: &Request,
    aim: &Aim<'_>,
    _media: &FetchedMedia,
) -> Result<Written, Unsupported> {
    check(request)?;
    if request.sampling.logprobs == Some(true) {
        return Err(Unsupported::at("logprobs", "this upstream does not tell how likely its words are"));
    }
    let mut groups = groups(request, usize::MAX);
    let last = groups.pop().expect("there is a group at least");
    let are_answered = last.said.is_empty() && !last.results.is_empty();
    let mut writer = Writer { aim, tools: Tools::of(request, aim, are_answered)? };
    let mut history = Vec::new();
    for group in &groups {
        writer.model(group, &mut history);
        writer.tool(group, &mut history)?;
        for said in &group.said {
            writer.entry(said, &mut history)?;
        }
    }
    writer.model(&last, &mut history);
    let ends_with_results = are_answered && !writer.tools.written.is_empty();
    let mut results = None;
    let message = if ends_with_results {
        results = Some(writer.results(&last)?);
        String::new()
    } else {
        writer.tool(&last, &mut history)?;
        writer.message(&last, &mut history)?
    };

    let own = |name: &str| request.extra.get(name).filter(|value| !value.is_null());
    let mut rules = std::mem::take(&mut writer.tools.rules);
    let is_barred =
        !writer.tools.written.is_empty() || own("documents").is_some() || own("connectors").is_some();
    let format = format(request, is_barred, &mut rules);
    let preamble = system(request, &rules);
    let tools = writer.tools;
    let mut body = Node::Object(Vec::new());
    body.insert("model", aim.model);
    if !preamble.is_empty() {
        body.insert("preamble", preamble);
    }
    if !history.is_empty() {
        body.insert("chat_history", Value::from(history));
    }
    body.insert("message", message);
    if !tools.written.is_empty() {
        body.insert("tools", Value::from(tools.written));
    }
    body.insert_some("tool_results", results.map(Value::from));
    body.insert_some("response_format", format);
    let limit = request.sampling.max_tokens.filter(|limit| *limit > 0);
    let stop = write_sampling(&request.sampling, limit, &mut body);
    for name in OWN {
        let value = own(name);
        body.insert_some(name, if name == "documents" { value.map(documents::v1) } else { value.cloned() });
    }
    for (name, value) in aim.envelope.adds {
        body.insert(name, *value);
    }
    if aim.stream {
        body.insert("stream", true);
    }
    let correspondence = Correspondence {
        tools: tools.names.into_renamed(),
        parameters: tools.back,
        stop,
        ..Correspondence::default()
    };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// `response_format`, in which the schema is called `schema` here. Its words go to the rules where it is refused.
fn format(request: &Request, is_barred: bool, rules: &mut Vec<String>) -> Option<Value> {
    match request.response_format.as_ref()? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => {
            rules.push(JSON_OBJECT.to_owned());
            (!is_barred).then(|| json!({ "type": "json_object" }))
        }
        ResponseFormat::JsonSchema { schema, .. } => {
            let fitted = schema::fitted(schema).filter(|_| !is_barred);
            if fitted.is_none() {
                rules.push(json_schema(schema));
            }
            fitted.map(|schema| json!({ "type": "json_object", "schema": schema }))
        }
    }
}

/// A writer of conversations.
struct Writer<'a> {
    aim: &'a Aim<'a>,
    tools: Tools<'a>,
}

impl Writer<'_> {
    /// The model's turn.
    fn model(&mut self, group: &Group<'_>, history: &mut Vec<Value>) {
        if !group.answers {
            return;
        }
        let mut text = spoken(&group.blocks);
        if group.calls.is_empty() {
            if !text.trim().is_empty() {
                history.push(json!({ "role": "CHATBOT", "message": text }));
            }
            return;
        }
        if text.trim().is_empty() {
            text = thought(&group.blocks);
        }
        let message = if text.trim().is_empty() { CALLING } else { &text };
        let calls: Vec<Value> = (0..group.calls.len()).map(|call| self.call(group, call)).collect();
        history.push(json!({ "role": "CHATBOT", "message": message, "tool_calls": calls }));
    }

    /// A call: `{"name", "parameters"}`. Arguments that are no object are within one.
    fn call(&mut self, group: &Group<'_>, call: usize) -> Value {
        let call = &group.calls[call];
        let renamed = self.tools.arguments(call.name, call.arguments);
        let arguments = renamed.as_deref().unwrap_or(call.arguments);
        let parameters = match exact::read(arguments.as_bytes()) {
            Ok(Value::Object(object)) => object,
            Ok(Value::Null) | Err(_) if arguments.trim().is_empty() || arguments.trim() == "null" => {
                Map::new()
            }
            Ok(other) => Map::from_iter([("value".to_owned(), other)]),
            Err(_) => Map::from_iter([("value".to_owned(), arguments.into())]),
        };
        json!({ "name": self.tools.names.fitting(call.name), "parameters": parameters })
    }

    /// Results that were followed by something.
    fn tool(&mut self, group: &Group<'_>, history: &mut Vec<Value>) -> Result<(), Unsupported> {
        if !group.results.is_empty() {
            let results = self.results(group)?;
            history.push(json!({ "role": "TOOL", "tool_results": results }));
        }
        Ok(())
    }

    fn results(&mut self, group: &Group<'_>) -> Result<Vec<Value>, Unsupported> {
        let written = |result: &Outcome<'_>| {
            let call = self.call(group, result.call);
            let output = self.output(result, group.calls[result.call].message)?;
            Ok(json!({ "call": call, "outputs": [output] }))
        };
        group.results.iter().map(written).collect()
    }

    /// What a call gave back, as an object.
    fn output(&self, result: &Outcome<'_>, message: usize) -> Result<Value, Unsupported> {
        let Some(blocks) = result.blocks else { return Ok(json!({ "error": MISSING })) };
        let blocks: Vec<&Block> = blocks.iter().collect();
        let text = self.words(&blocks, message)?;
        Ok(match exact::read(text.as_bytes()) {
            Ok(Value::Object(object)) if !result.is_error && !object.is_empty() => object.into(),
            _ if result.is_error => json!({ "error": text }),
            _ if text.trim().is_empty() => json!({ "output": NO_OUTPUT }),
            _ => json!({ "output": text }),
        })
    }

    /// An entry of the history.
    fn entry(&self, said: &Said<'_>, history: &mut Vec<Value>) -> Result<(), Unsupported> {
        let (role, text) = self.told(said)?;
        if !text.trim().is_empty() {
            history.push(json!({ "role": role, "message": text }));
        }
        Ok(())
    }

    /// The last word of the user's, with instructions that stand behind it; everything before is history.
    fn message(&self, group: &Group<'_>, history: &mut Vec<Value>) -> Result<String, Unsupported> {
        let is_users = |said: &Said<'_>| !matches!(said, Said::Turn { role: Role::System, .. });
        let Some(last) = group.said.iter().rposition(is_users) else {
            for said in &group.said {
                self.entry(said, history)?;
            }
            return Ok(CONTINUE.to_owned());
        };
        for said in &group.said[..last] {
            self.entry(said, history)?;
        }
        let (_, mut message) = self.told(&group.said[last])?;
        for said in &group.said[last + 1..] {
            let (_, words) = self.told(said)?;
            if !words.trim().is_empty() {
                message.push_str("\n\n");
                message.push_str(&instruction(&words));
            }
        }
        Ok(if message.trim().is_empty() { CONTINUE.to_owned() } else { message })
    }

    /// Whose word something is, and what it says.
    fn told(&self, said: &Said<'_>) -> Result<(&'static str, String), Unsupported> {
        Ok(match said {
            Said::Turn { role: Role::System, blocks, message } => ("SYSTEM", self.words(blocks, *message)?),
            Said::Turn { blocks, message, .. } => ("USER", self.words(blocks, *message)?),
            Said::Orphan { blocks, message } => {
                let blocks: Vec<&Block> = blocks.iter().collect();
                ("USER", format!("Tool result: {}", self.words(&blocks, *message)?))
            }
        })
    }

    /// The words of blocks.
    fn words(&self, blocks: &[&Block], at: usize) -> Result<String, Unsupported> {
        let unsupported = |what: &str| {
            let what = format!("{what} cannot be sent to this upstream");
            Unsupported::at(format!("messages[{at}].content"), what)
        };
        let mut words: Vec<String> = Vec::new();
        for block in blocks {
            match &block.content {
                Content::Text(text) if text.is_empty() => {}
                Content::Text(text) => words.push(text.clone()),
                Content::Image { .. } if !self.aim.image => {}
                Content::Image { .. } => return Err(unsupported("a picture")),
                Content::Audio { .. } => return Err(unsupported("sound")),
                Content::Document { source: source @ (Source::Text(_) | Source::Base64 { .. }), title } => {
                    let text = document(source, title.as_deref());
                    words.push(text.ok_or_else(|| unsupported("a file of this type"))?);
                }
                Content::Document { .. } => return Err(unsupported("a file of this type")),
                Content::Opaque { .. } => return Err(unsupported("a content part of this type")),
                // They belong to the model.
                Content::ToolResult { .. }
                | Content::ToolCall { .. }
                | Content::Thinking { .. }
                | Content::RedactedThinking { .. }
                | Content::Refusal(_) => {}
            }
        }
        Ok(words.join("\n\n"))
    }
}
