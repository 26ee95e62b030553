//! Tools and the choice among them, in this dialect's shapes.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html>.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::marks::Marked;
use crate::anthropic::{Parameters, described, schema};
use crate::converse::family::{Family, Force};
use crate::ir::{Content, Request, ServerTask, ServerTool, Tool, ToolChoice};
use crate::names::Names;
use crate::rekey::Keys;
use crate::{Dialect, Unsupported};

/// What says that no tool is to be called, for which there is no field.
pub(super) const NO_CALLS: &str = "Do not call any tool.";

/// The tools of a request as the upstream is told of them.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    /// `toolConfig.tools`.
    pub(super) written: Vec<Marked<'a>>,
    /// Whether some of them are functions that the client has.
    pub(super) callable: bool,
    /// Parameters renamed for the upstream, by its name of their tool: what leads back.
    pub(super) back: Vec<(String, Keys)>,
    /// The same by the client's name of the tool: what leads there, for calls of earlier turns.
    pub(super) there: HashMap<&'a str, Keys>,
}

impl<'a> Tools<'a> {
    /// The tools of a request.
    ///
    /// # Errors
    /// Parameters that are no schema of an object; a tool of a provider that this upstream does not have.
    pub(super) fn of(request: &'a Request, family: Family, names: &mut Names) -> Result<Self, Unsupported> {
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
            let mut spec = Map::new();
            spec.insert("name".into(), name.as_str().into());
            let description = described(tool.description.as_deref(), &parameters.rules);
            if let Some(words) = description.filter(|words| !words.trim().is_empty()) {
                spec.insert("description".into(), words.as_ref().into());
            }
            // Only what is closed everywhere can be followed exactly.
            let strict = tool.strict == Some(true)
                && family.schema
                && schema::can_be_closed(&parameters.schema)
                && schema::trimmed(&parameters.schema) == parameters.schema;
            spec.insert("inputSchema".into(), json!({ "json": parameters.schema }));
            if strict {
                spec.insert("strict".into(), true.into());
            }
            tools.written.push(Marked { node: json!({ "toolSpec": spec }).into(), mark: tool.cache.clone() });
            if !parameters.keys.is_empty() {
                tools.there.insert(&tool.name, parameters.keys.reversed());
                tools.back.push((name, parameters.keys));
            }
        }
        tools.callable = !tools.written.is_empty();
        for tool in &request.server_tools {
            tools.written.push(Marked::new(server_tool(tool, family)?.into()));
        }
        Ok(tools)
    }

    /// Tools that earlier turns speak of, where the client gives none: without them those turns are refused.
    pub(super) fn remember(&mut self, request: &'a Request, names: &mut Names) {
        if !self.written.is_empty() {
            return;
        }
        let mut seen: Vec<&str> = Vec::new();
        for block in request.turns.iter().flat_map(|turn| &turn.blocks) {
            if let Content::ToolCall { name, .. } = &block.content
                && !seen.contains(&name.as_str())
            {
                seen.push(name);
                let schema = json!({ "json": { "type": "object", "properties": {} } });
                let spec = json!({ "toolSpec": { "name": names.fitting(name), "inputSchema": schema } });
                self.written.push(Marked::new(spec.into()));
            }
        }
    }
}

/// A tool that runs at the provider: Nova has two.
fn server_tool(tool: &ServerTool, family: Family) -> Result<Value, Unsupported> {
    if let Some(own) = tool.raw.of(Dialect::Converse) {
        return Ok(own.clone());
    }
    let kind = tool.raw.json.get("type").and_then(Value::as_str);
    let name = match &tool.task {
        ServerTask::WebSearch(_) if family.searches => "nova_grounding",
        ServerTask::Other if family.searches && kind == Some("code_interpreter") => "nova_code_interpreter",
        ServerTask::WebSearch(_) => {
            return Err(Unsupported::at("tools", "this model cannot search the web at this upstream"));
        }
        ServerTask::Other => {
            return Err(Unsupported::at("tools", "a tool of this type cannot be sent to this upstream"));
        }
    };
    Ok(json!({ "systemTool": { "name": name } }))
}

/// The way in which the model is told which tools it may or must call.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// `toolChoice`.
    pub(super) choice: Option<Value>,
    /// What that cannot say.
    pub(super) words: Vec<String>,
    /// Whether the tools can be left out altogether.
    pub(super) without: bool,
}

impl Told {
    /// What a client's choice means; `called` is whether earlier turns hold calls. Force is illegal while Claude
    /// thinks.
    pub(super) fn of(
        request: &Request,
        family: Family,
        thinks: bool,
        called: bool,
        names: &mut Names,
    ) -> Self {
        let mut told = Self::default();
        let force = if thinks { None } else { Some(family.force) };
        match &request.tool_choice {
            // There is no such choice, and calls of earlier turns need their tools.
            Some(ToolChoice::None) => {
                told.without = !called;
                told.words.push(NO_CALLS.to_owned());
                return told;
            }
            Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => match force {
                Some(Force::Any | Force::Named) => told.choice = Some(json!({ "any": {} })),
                Some(Force::Words) => told.words.push("You must call at least one of the tools.".to_owned()),
                None => {}
            },
            Some(ToolChoice::Named(name)) => {
                let name = names.fitting(name);
                match force {
                    Some(Force::Named) => told.choice = Some(json!({ "tool": { "name": name } })),
                    Some(Force::Any) => {
                        told.choice = Some(json!({ "any": {} }));
                        told.words.push(format!("You must call the tool {name}."));
                    }
                    Some(Force::Words) => told.words.push(format!("You must call the tool {name}.")),
                    None => {}
                }
            }
            Some(ToolChoice::Auto | ToolChoice::Allowed { .. }) => told.choice = Some(json!({ "auto": {} })),
            None => {}
        }
        if request.parallel_tool_calls == Some(false) {
            told.words.push("Call at most one tool at a time.".to_owned());
        }
        told
    }
}
