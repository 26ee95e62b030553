//! Tools and the choice among them, in this dialect's shapes.
//!
//! Source: <https://docs.anthropic.com/en/api/messages> (`tools`, `tool_choice`).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::marks::mark_tool;
use crate::anthropic::parameters::{Parameters, described};
use crate::ir::{Request, ServerTask, Tool, ToolChoice, WebSearch};
use crate::names::Names;
use crate::rekey::Keys;
use crate::{Dialect, Envelope, Lack, Unsupported};

/// The tools of a request as the upstream is told of them.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    /// `tools`: the functions that may be called, then the provider's own.
    pub(super) written: Vec<Value>,
    /// Parameters renamed for the upstream, by its name of their tool: what leads back.
    pub(super) back: Vec<(String, Keys)>,
    /// The same by the client's name of the tool: what leads there, for calls of earlier turns.
    pub(super) there: HashMap<&'a str, Keys>,
}

impl<'a> Tools<'a> {
    /// The tools of a request.
    ///
    /// # Errors
    /// Parameters that are no schema of an object; a tool of a provider that this dialect does not know.
    pub(super) fn of(
        request: &'a Request,
        envelope: &Envelope,
        names: &mut Names,
    ) -> Result<Self, Unsupported> {
        let allowed = |tool: &&Tool| match &request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) => names.contains(&tool.name),
            _ => true,
        };
        let mut tools = Self::default();
        let mut known: HashMap<&str, &Tool> = HashMap::new();
        for tool in request.tools.iter().filter(allowed) {
            // The same tool twice is refused here.
            if known.insert(&tool.name, tool) == Some(tool) {
                continue;
            }
            let parameters = Parameters::of(&tool.schema).map_err(|what| {
                Unsupported::at("tools", format!("the parameters of the tool {} {what}", tool.name))
            })?;
            let name = names.fitting(&tool.name);
            let mut written = Map::new();
            written.insert("name".into(), name.as_str().into());
            let description = described(tool.description.as_deref(), &parameters.rules);
            insert(&mut written, "description", description.as_deref());
            written.insert("input_schema".into(), parameters.schema);
            let mut written = Value::from(written);
            tool.cache.iter().for_each(|hint| mark_tool(&mut written, hint));
            tools.written.push(written);
            if !parameters.keys.is_empty() {
                tools.there.insert(&tool.name, parameters.keys.reversed());
                tools.back.push((name, parameters.keys));
            }
        }
        for tool in &request.server_tools {
            if envelope.lacks(Lack::ServerTools) && matches!(tool.task, ServerTask::WebSearch(_)) {
                return Err(Unsupported::at("tools", "this upstream cannot search the web"));
            }
            match (tool.raw.of(Dialect::Anthropic), &tool.task) {
                (Some(own), _) => tools.written.push(own.clone()),
                (None, ServerTask::WebSearch(search)) => tools.written.push(web_search(search)),
                (None, ServerTask::Other) => {
                    let what = "a tool of this type cannot be sent to this upstream";
                    return Err(Unsupported::at("tools", what));
                }
            }
        }
        Ok(tools)
    }
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
///
/// `single` is whether the provider can be told to have one call at a time.
pub(super) fn tool_choice(request: &Request, thinks: bool, single: bool, names: &mut Names) -> Option<Value> {
    let single = single && request.parallel_tool_calls == Some(false);
    let mut choice = match request.tool_choice.as_ref() {
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) if !thinks => {
            json!({ "type": "any" })
        }
        Some(ToolChoice::Named(name)) if !thinks => json!({ "type": "tool", "name": names.fitting(name) }),
        Some(_) => json!({ "type": "auto" }),
        None if single => json!({ "type": "auto" }),
        None => return None,
    };
    if single {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

fn insert(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}
