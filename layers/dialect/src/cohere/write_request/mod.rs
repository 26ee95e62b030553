//! Writes requests for Cohere, version 2.
//!
//! Source: <https://docs.cohere.com/reference/chat>. What is broken is repaired where the meaning is plain, what has no
//! field is said in words, and what cannot be said at all is an error, so that another channel may try.

pub(super) mod common;
mod tools;
mod turns;

use serde_json::{Value, json};

use self::common::{Model, check, thinking, write_sampling};
use self::tools::Tools;
use self::turns::Writer;
use super::{documents, schema};
use crate::ir::{Request, ResponseFormat};
use crate::rope::Node;
use crate::worded::{JSON_OBJECT, json_schema};
use crate::{Aim, Correspondence, FetchedMedia, Unsupported, Written};

/// Longest name of a tool.
pub(super) const NAME_LIMIT: usize = 64;
/// Fields of this interface that clients of another one write beside their own.
const OWN: [&str; 5] = ["documents", "citation_options", "safety_mode", "strict_tools", "priority"];

/// Writes a request. Limits and budgets are in tokens, the temperature ends at 1.
///
/// # Errors
/// Spoken answers, several candidates, weights of tokens; media, tools and blocks that this upstream cannot take.
pub(super) fn write(request: &Request, aim: &Aim<'_>, media: &FetchedMedia) -> Result<Written, Unsupported> {
    check(request)?;
    if request.sampling.top_logprobs.is_some_and(|count| count > 0) {
        let what = "this upstream does not tell which other words were likely";
        return Err(Unsupported::at("top_logprobs", what));
    }
    let model = Model::of(aim.model);
    let mut tools = Tools::of(request, aim, &model)?;
    let mut rules = std::mem::take(&mut tools.rules);
    let own = |name: &str| request.extra.get(name).filter(|value| !value.is_null());
    let has_documents =
        own("documents").is_some_and(|list| list.as_array().is_none_or(|list| !list.is_empty()));
    let format = format(request, has_documents || !tools.written.is_empty(), &mut rules);

    let mut writer = Writer { request, aim, media, tools };
    let messages = writer.messages(&rules)?;
    let tools = writer.tools;
    let mut body = Node::Object(Vec::new());
    body.insert("model", aim.model);
    body.insert("messages", messages);
    if !tools.written.is_empty() {
        body.insert("tools", Value::from(tools.written));
        body.insert_some("tool_choice", tools.choice.map(Value::from));
        if tools.strict {
            body.insert("strict_tools", true);
        }
    }
    body.insert_some("response_format", format);
    let (thinking, limit) = thinking(request, aim.alias, &model);
    let stop = write_sampling(&request.sampling, limit, &mut body);
    if request.sampling.logprobs == Some(true) {
        body.insert("logprobs", true);
    }
    body.insert_some("thinking", thinking);
    for name in OWN {
        if let Some(value) = own(name)
            && !body.has(name)
            && !value.as_array().is_some_and(Vec::is_empty)
        {
            body.insert(name, if name == "documents" { documents::v2(value) } else { value.clone() });
        }
    }
    for (name, value) in aim.envelope.adds {
        body.insert(name, *value);
    }
    if aim.stream {
        body.insert("stream", true);
    }
    let correspondence =
        Correspondence { tools: tools.names.into_renamed(), stop, ..Correspondence::default() };
    Ok(Written { body: body.into_body(aim.as_json), correspondence })
}

/// `response_format`; none beside tools and documents, where it is refused, and where a schema cannot be said. Its
/// words go to the rules then.
fn format(request: &Request, is_barred: bool, rules: &mut Vec<String>) -> Option<Value> {
    match request.response_format.as_ref()? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => {
            // Without these words the model may write blanks for ever.
            rules.push(JSON_OBJECT.to_owned());
            (!is_barred).then(|| json!({ "type": "json_object" }))
        }
        ResponseFormat::JsonSchema { schema, .. } => {
            let fitted = schema::fitted(schema).filter(|_| !is_barred);
            if fitted.is_none() {
                rules.push(json_schema(schema));
            }
            fitted.map(|schema| json!({ "type": "json_object", "json_schema": schema }))
        }
    }
}
