//! Tools and the choice among them, in this dialect's shapes.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses/create> (`tools`, `tool_choice`).

use serde_json::{Map, Value, json};

use super::alias::Alias;
use crate::ir::{Request, ServerTask, Tool, ToolChoice, WebSearch};
use crate::names::Names;
use crate::rope::Node;
use crate::{Dialect, Unsupported};

/// The tools of a request as the upstream is told of them.
#[derive(Debug, Default)]
pub(super) struct Tools {
    written: Vec<Value>,
}

impl Tools {
    /// The tools of a request: the client's functions, then the provider's own.
    ///
    /// # Errors
    /// A tool of another provider that this dialect does not know.
    pub(super) fn of(request: &Request, alias: &Alias, names: &mut Names) -> Result<Self, Unsupported> {
        let mut written: Vec<Value> = request.tools.iter().map(|tool| function(tool, names)).collect();
        let mut searches = false;
        for tool in &request.server_tools {
            searches |= matches!(tool.task, ServerTask::WebSearch(_));
            // Clients of chat who name another kind of tool mean those of this dialect.
            let own = tool.raw.of(Dialect::Responses).or_else(|| tool.raw.of(Dialect::OpenAiChat));
            match (own, &tool.task) {
                (Some(own), ServerTask::WebSearch(search)) => written.push(own_search(own, search, request)),
                (Some(own), ServerTask::Other) if is_known(own) => written.push(own.clone()),
                (None, ServerTask::WebSearch(search)) => written.push(web_search(search, request)),
                _ => {
                    let what = "a tool of this type cannot be sent to this upstream";
                    return Err(Unsupported::at("tools", what));
                }
            }
        }
        if alias.search && !searches {
            written.push(web_search(&WebSearch::default(), request));
        }
        if request.modalities.iter().any(|form| form == "image") {
            written.push(json!({ "type": "image_generation" }));
        }
        Ok(Self { written })
    }

    /// `tools`, and the choice among them, which is refused without any.
    pub(super) fn write(self, request: &Request, names: &mut Names, body: &mut Node<'_>) {
        if self.written.is_empty() {
            return;
        }
        body.insert("tools", Value::from(self.written));
        body.insert_some(
            "tool_choice",
            request.tool_choice.as_ref().map(|choice| tool_choice(choice, names)),
        );
        body.insert_some("parallel_tool_calls", request.parallel_tool_calls);
    }
}

/// A function. Unless told otherwise this dialect takes every schema for a strict one, and refuses most.
fn function(tool: &Tool, names: &mut Names) -> Value {
    let mut function = Map::new();
    function.insert("type".into(), "function".into());
    function.insert("name".into(), names.fitting(&tool.name).into());
    if let Some(description) = &tool.description {
        function.insert("description".into(), description.as_str().into());
    }
    function.insert("parameters".into(), parameters(&tool.schema));
    function.insert("strict".into(), tool.strict.unwrap_or(false).into());
    function.into()
}

/// A schema of an object: a function without parameters has one, too.
fn parameters(schema: &Value) -> Value {
    match schema {
        Value::Object(map) if map.contains_key("type") => schema.clone(),
        Value::Object(map) => {
            let mut map = map.clone();
            map.insert("type".into(), "object".into());
            map.entry("properties").or_insert_with(|| json!({}));
            map.into()
        }
        Value::Null | Value::Bool(true) => json!({ "type": "object", "properties": {} }),
        other => other.clone(),
    }
}

/// Whether a tool may be one of this dialect: one that Anthropic has named has the day of its version behind its name,
/// one of OpenRouter's has that in front of it, and custom tools are not converted.
fn is_known(tool: &Value) -> bool {
    let name = tool.get("type").and_then(Value::as_str).unwrap_or_default();
    let version = name.rsplit('_').next().unwrap_or_default();
    let is_dated = version.len() == 8 && version.bytes().all(|byte| byte.is_ascii_digit());
    !is_dated && !name.contains(':') && name != "custom"
}

/// A search as a client of this dialect's family has it, in this dialect's fields: others belong to another provider.
fn own_search(own: &Value, search: &WebSearch, request: &Request) -> Value {
    let mut tool = web_search(search, request);
    for name in ["filters", "search_context_size", "user_location"] {
        if let Some(value) = own.get(name).filter(|value| !value.is_null()) {
            tool[name] = value.clone();
        }
    }
    if let Some(name @ ("web_search_preview" | "web_search_preview_2025_03_11")) =
        own.get("type").and_then(Value::as_str)
    {
        tool["type"] = name.into();
    }
    tool
}

fn web_search(search: &WebSearch, request: &Request) -> Value {
    let mut tool = Map::new();
    tool.insert("type".into(), "web_search".into());
    if let Some(place) = &search.place {
        let mut place = place.clone();
        place.insert("type".into(), "approximate".into());
        tool.insert("user_location".into(), place.into());
    }
    let options = request.extra.get("web_search_options").filter(|_| request.source == Dialect::OpenAiChat);
    if let Some(size) = options.and_then(|options| options.get("search_context_size")) {
        tool.insert("search_context_size".into(), size.clone());
    }
    tool.into()
}

fn tool_choice(choice: &ToolChoice, names: &mut Names) -> Value {
    let mut named = |name: &str| json!({ "type": "function", "name": names.fitting(name) });
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => named(name),
        ToolChoice::Allowed { names: allowed, required } => {
            let tools: Vec<Value> = allowed.iter().map(|name| named(name)).collect();
            let mode = if *required { "required" } else { "auto" };
            json!({ "type": "allowed_tools", "mode": mode, "tools": tools })
        }
    }
}
