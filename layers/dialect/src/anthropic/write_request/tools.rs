//! Tools and the choice among them, in this dialect's shapes.
//!
//! Source: <https://docs.anthropic.com/en/api/messages> (`tools`, `tool_choice`).

use serde_json::{Map, Value, json};

use super::turns::cache_control;
use crate::ir::{Request, ServerTask, Tool, ToolChoice, WebSearch};
use crate::names::Names;
use crate::{Dialect, Unsupported};

/// A schema that `input_schema` may be: always that of an object.
pub(super) fn input_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(map) if map.get("type").is_some_and(|kind| kind == "object") => schema.clone(),
        Value::Object(map) if !map.contains_key("type") => {
            let mut map = map.clone();
            map.insert("type".into(), "object".into());
            map.into()
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

/// `tools`: the functions that may be called, then the provider's own.
///
/// # Errors
/// A tool of a provider that this dialect does not know.
pub(super) fn tools(request: &Request, names: &mut Names) -> Result<Vec<Value>, Unsupported> {
    let allowed = |tool: &&Tool| match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&tool.name),
        _ => true,
    };
    let mut tools = Vec::new();
    for tool in request.tools.iter().filter(allowed) {
        let mut written = Map::new();
        written.insert("name".into(), names.fitting(&tool.name).into());
        insert(&mut written, "description", tool.description.as_deref());
        written.insert("input_schema".into(), input_schema(&tool.schema));
        insert(&mut written, "cache_control", tool.cache.as_ref().map(cache_control));
        tools.push(written.into());
    }
    for tool in &request.server_tools {
        match (tool.raw.of(Dialect::Anthropic), &tool.task) {
            (Some(own), _) => tools.push(own.clone()),
            (None, ServerTask::WebSearch(search)) => tools.push(web_search(search)),
            (None, ServerTask::Other) => {
                return Err(Unsupported::at("tools", "a tool of this type cannot be sent to this upstream"));
            }
        }
    }
    Ok(tools)
}

fn web_search(search: &WebSearch) -> Value {
    let mut tool = Map::new();
    tool.insert("type".into(), "web_search_20250305".into());
    tool.insert("name".into(), "web_search".into());
    insert(&mut tool, "max_uses", search.max_uses);
    if let Some(place) = &search.place {
        let mut place = place.clone();
        place.insert("type".into(), "approximate".into());
        tool.insert("user_location".into(), place.into());
    }
    tool.into()
}

/// `tool_choice`; none where nothing was said. Force is illegal while the model thinks.
pub(super) fn tool_choice(request: &Request, thinks: bool, names: &mut Names) -> Option<Value> {
    let mut choice = match request.tool_choice.as_ref() {
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) if !thinks => {
            json!({ "type": "any" })
        }
        Some(ToolChoice::Named(name)) if !thinks => json!({ "type": "tool", "name": names.fitting(name) }),
        Some(_) => json!({ "type": "auto" }),
        None if request.parallel_tool_calls == Some(false) => json!({ "type": "auto" }),
        None => return None,
    };
    if request.parallel_tool_calls == Some(false) {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

fn insert(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}
