//! The tools that a request offers, for providers that cannot be told which of them may be called.

use serde_json::{Map, Value};

use crate::Unsupported;
use crate::ir::{Content, Request, Tool, ToolChoice};

/// The tools that may be called, each once: the named one, those that are allowed, or all.
pub(crate) fn offered(request: &Request) -> Vec<&Tool> {
    let allowed = |tool: &Tool| match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&tool.name),
        Some(ToolChoice::Named(name)) => *name == tool.name,
        _ => true,
    };
    let mut known = std::collections::HashSet::new();
    request.tools.iter().filter(|tool| allowed(tool) && known.insert(tool.name.as_str())).collect()
}

/// The names of the tools, and of those that were called before.
pub(crate) fn all_names<'a>(request: &'a Request, offered: &[&'a Tool]) -> impl Iterator<Item = &'a str> {
    let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
    let called = blocks.filter_map(|block| match &block.content {
        Content::ToolCall { name, .. } => Some(name.as_str()),
        _ => None,
    });
    let offered: Vec<&str> = offered.iter().map(|tool| tool.name.as_str()).collect();
    offered.into_iter().chain(called)
}

/// The schema of a tool's parameters as an object's; some clients write it as text.
///
/// # Errors
/// What is no schema of an object.
pub(crate) fn schema_of(tool: &Tool) -> Result<Map<String, Value>, Unsupported> {
    let read;
    let given = match &tool.schema {
        Value::String(text) if !text.trim().is_empty() => {
            read = serde_json::from_str::<Value>(text).unwrap_or(Value::Bool(false));
            &read
        }
        given => given,
    };
    let mut schema = match given {
        Value::Object(map) => map.clone(),
        Value::Null | Value::Bool(true) => Map::new(),
        Value::String(text) if text.trim().is_empty() => Map::new(),
        _ => {
            let what =
                format!("the parameters of the tool {} must be a JSON schema of type object", tool.name);
            return Err(Unsupported::at("tools", what));
        }
    };
    schema.entry("type").or_insert_with(|| "object".into());
    if !schema.get("properties").is_some_and(Value::is_object) {
        schema.insert("properties".into(), Value::Object(Map::new()));
    }
    Ok(schema)
}
