//! The tools of a request: functions, texts for tools without a schema, groups of both, and the provider's own.
//!
//! A tool without a schema becomes a function with one text elsewhere, and one in a group gets the group's name in front
//! of its own; [`ClientTool`] tells the way back.

use serde_json::{Value, json};

use super::OwnOnly;
use crate::ir::{Raw, Request, ServerTask, ServerTool, Tool, ToolChoice};
use crate::openai_chat::read_request::web_search;
use crate::responses::manner::{ClientTool, flat_name};
use crate::{Dialect, Malformed, cache_marks};

/// Reads `tools`. Gives back those that go by another name elsewhere.
///
/// # Errors
/// A tool that is no object, or has no name.
pub(super) fn read(
    tools: Vec<Value>,
    request: &mut Request,
    own_only: &mut OwnOnly,
) -> Result<Vec<ClientTool>, Malformed> {
    let mut found = Vec::new();
    for (index, tool) in tools.into_iter().enumerate() {
        one(tool, None, request, own_only, &mut found)
            .map_err(|malformed| malformed.within(&format!("tools[{index}]")))?;
    }
    Ok(found)
}

fn one(
    tool: Value,
    namespace: Option<&str>,
    request: &mut Request,
    own_only: &mut OwnOnly,
    found: &mut Vec<ClientTool>,
) -> Result<(), Malformed> {
    let Value::Object(mut map) = tool else { return Err(Malformed::new("a tool must be an object")) };
    let kind = map.get("type").and_then(Value::as_str).unwrap_or("function").to_owned();
    match kind.as_str() {
        "function" | "custom" => {
            let is_custom = kind == "custom";
            let cache = cache_marks::on(&map, None);
            // Some clients nest the function as in chat.
            if let Some(Value::Object(nested)) = map.shift_remove(kind.as_str()) {
                map = nested;
            }
            let name = map.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| Malformed::new("a tool needs a name"))?;
            let own = ClientTool::new(namespace, name, is_custom);
            let description = map.get("description").and_then(Value::as_str).map(str::to_owned);
            let (description, schema) = match is_custom {
                true => (Some(freeform(description, map.get("format"))), text_schema()),
                false => (description, map.get("parameters").cloned().unwrap_or_default()),
            };
            request.tools.push(Tool {
                name: own.flat.clone(),
                description,
                schema,
                strict: map.get("strict").and_then(Value::as_bool),
                cache,
            });
            if !own.is_plain() {
                found.push(own);
            }
        }
        "namespace" if namespace.is_none() => {
            let name = map.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let Some(Value::Array(inner)) = map.shift_remove("tools") else { return Ok(()) };
            for tool in inner {
                one(tool, Some(&name), request, own_only, found)?;
            }
        }
        // It may look at nothing that is not known already, which is no search to anybody else. Agents offer it unasked.
        kind if kind.starts_with("web_search")
            && map.get("external_web_access") == Some(&Value::Bool(false)) => {}
        kind if kind.starts_with("web_search") => {
            let tool = Value::Object(map);
            let task = ServerTask::WebSearch(web_search(&tool));
            request
                .server_tools
                .push(ServerTool { task, raw: Raw { dialect: Dialect::Responses, json: tool } });
        }
        _ => {
            let what = "a tool of this type";
            own_only.get_or_insert(("tools", what));
        }
    }
    Ok(())
}

/// The schema of a function that stands for a tool without one.
fn text_schema() -> Value {
    json!({
        "type": "object",
        "properties": { ClientTool::INPUT: { "type": "string" } },
        "required": [ClientTool::INPUT],
        "additionalProperties": false,
    })
}

/// What a tool without a schema is for, and how what it is given must look.
fn freeform(description: Option<String>, format: Option<&Value>) -> String {
    let mut words = description.unwrap_or_default();
    if !words.is_empty() {
        words.push_str("\n\n");
    }
    words.push_str("Give this tool its whole text in the one parameter `input`.");
    let word = |name: &str| format.and_then(|format| format.get(name)).and_then(Value::as_str);
    if let (Some("grammar"), Some(grammar)) = (word("type"), word("definition")) {
        let syntax = word("syntax").unwrap_or("lark");
        words.push_str(&format!(" The text must match this grammar ({syntax}):\n{grammar}"));
    }
    words
}

/// Reads `tool_choice`. None where the provider's own tools are meant, which is noted.
///
/// # Errors
/// A choice that means nothing.
pub(super) fn choice(
    choice: &Value,
    known: &[ClientTool],
    own_only: &mut OwnOnly,
) -> Result<Option<ToolChoice>, Malformed> {
    let flat = |tool: &Value| {
        let name = tool.get("name").or_else(|| tool.get("function")?.get("name"))?.as_str()?;
        let own = tool.get("namespace").and_then(Value::as_str);
        let known = known.iter().find(|known| {
            known.name == name && own.is_none_or(|own| known.namespace.as_deref() == Some(own))
        });
        Some(known.map_or_else(|| flat_name(own, name), |known| known.flat.clone()))
    };
    let unknown = || Malformed::at("tool_choice", "tool_choice names no tool");
    match (choice.as_str(), choice.get("type").and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(Some(ToolChoice::Auto)),
        (Some("none"), _) => Ok(Some(ToolChoice::None)),
        (Some("required" | "any"), _) => Ok(Some(ToolChoice::Required)),
        (_, Some("function" | "custom")) => flat(choice).map(ToolChoice::Named).map(Some).ok_or_else(unknown),
        (_, Some("allowed_tools")) => {
            // Clients of chat nest it once more.
            let inner = choice.get("allowed_tools").unwrap_or(choice);
            let tools = inner.get("tools").and_then(Value::as_array).ok_or_else(unknown)?;
            let names = tools.iter().filter_map(flat).collect();
            let required = inner.get("mode").and_then(Value::as_str) == Some("required");
            Ok(Some(ToolChoice::Allowed { names, required }))
        }
        (_, Some(_)) => {
            own_only.get_or_insert(("tool_choice", "a tool of this type"));
            Ok(None)
        }
        _ => Err(unknown()),
    }
}
