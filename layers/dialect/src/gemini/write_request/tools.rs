//! Tools and the choice among them, in this dialect's shapes.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/function-calling>, <https://ai.google.dev/api/caching#Tool>.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::aim::Google;
use crate::anthropic::parameters::{Parameters, described};
use crate::gemini::model::Model;
use crate::gemini::schema;
use crate::ir::{Request, ServerTask, Tool, ToolChoice, WebSearch};
use crate::names::{Grammar, Names};
use crate::rekey::Keys;
use crate::{Dialect, Unsupported};

/// Names by which functions are given that stand for a tool of the provider.
const SEARCHES: [&str; 2] = ["googleSearch", "google_search"];
/// Types of tools in the words of others, and the provider's tool that each is.
const OWN: [(&str, &str); 11] = [
    ("google_search", "googleSearch"),
    ("googleSearch", "googleSearch"),
    ("google_search_retrieval", "googleSearch"),
    ("url_context", "urlContext"),
    ("urlContext", "urlContext"),
    ("web_fetch", "urlContext"),
    ("code_execution", "codeExecution"),
    ("codeExecution", "codeExecution"),
    ("code_interpreter", "codeExecution"),
    ("google_maps", "googleMaps"),
    ("googleMaps", "googleMaps"),
];

/// The tools of a request as the upstream is told of them.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    /// The functions that may be called.
    functions: Vec<Value>,
    /// The provider's own, by name.
    own: Vec<(&'static str, Value)>,
    /// What of their limits has to be told in words.
    pub(super) words: Vec<String>,
    /// Parameters renamed for the upstream, by its name of their function: what leads back.
    pub(super) back: Vec<(String, Keys)>,
    /// The same by the client's name of the function: what leads there, for calls of earlier turns.
    pub(super) there: HashMap<&'a str, Keys>,
}

impl<'a> Tools<'a> {
    /// The tools of a request.
    ///
    /// # Errors
    /// Parameters that are no schema of an object; a tool of a provider that this dialect does not know; tools that do
    /// not go together at this model.
    pub(super) fn of(request: &'a Request, model: &Model, names: &mut Names) -> Result<Self, Unsupported> {
        let mut tools = Self::default();
        let mut known: HashMap<&str, &Tool> = HashMap::new();
        for tool in &request.tools {
            if SEARCHES.contains(&tool.name.as_str()) {
                tools.add_own("googleSearch");
                continue;
            }
            // The same function twice is refused here.
            if known.insert(&tool.name, tool) == Some(tool) {
                continue;
            }
            if model.calls {
                tools.function(tool, names)?;
            }
        }
        if !model.calls && !known.is_empty() && is_forced(request.tool_choice.as_ref()) {
            return Err(Unsupported::at("tools", "this model calls no functions"));
        }
        for tool in &request.server_tools {
            tools.server_tool(tool)?;
        }
        if !tools.functions.is_empty() && !tools.own.is_empty() && !model.is_third {
            let what = "this model does not call functions and use tools of the provider in one request";
            return Err(Unsupported::at("tools", what));
        }
        Ok(tools)
    }

    fn function(&mut self, tool: &'a Tool, names: &mut Names) -> Result<(), Unsupported> {
        let parameters =
            Parameters::within(&tool.schema, Grammar::of_google_parameters()).map_err(|what| {
                Unsupported::at("tools", format!("the parameters of the tool {} {what}", tool.name))
            })?;
        let schema = schema::sanitised(&parameters.schema, false);
        // An object of which nothing is said is refused by older versions.
        let is_empty = schema.get("properties").is_none() && schema.get("description").is_none();
        let name = names.fitting(&tool.name);
        let mut written = Map::new();
        written.insert("name".into(), name.as_str().into());
        if let Some(description) =
            described(tool.description.as_deref(), &parameters.rules).filter(|words| !words.is_empty())
        {
            written.insert("description".into(), description.as_ref().into());
        }
        if !is_empty {
            written.insert("parameters".into(), schema);
        }
        self.functions.push(written.into());
        if !parameters.keys.is_empty() {
            self.there.insert(&tool.name, parameters.keys.reversed());
            self.back.push((name, parameters.keys));
        }
        Ok(())
    }

    fn server_tool(&mut self, tool: &crate::ir::ServerTool) -> Result<(), Unsupported> {
        if let Some(Value::Object(own)) = tool.raw.of(Dialect::Gemini) {
            for (name, value) in own {
                if let Some((_, own)) = OWN.iter().find(|(known, _)| known == name) {
                    self.own.push((own, value.clone()));
                }
            }
            return Ok(());
        }
        if let ServerTask::WebSearch(search) = &tool.task {
            self.add_own("googleSearch");
            self.words.extend(limits(search));
            return Ok(());
        }
        let kind = tool.raw.json.get("type").and_then(Value::as_str).unwrap_or_default();
        // Anthropic's types end with a date.
        let is = |known: &str| {
            kind == known || kind.strip_prefix(known).is_some_and(|date| date.starts_with("_20"))
        };
        match OWN.iter().find(|(known, _)| is(known)) {
            Some((_, own)) => self.add_own(own),
            None => {
                return Err(Unsupported::at("tools", "a tool of this type cannot be sent to this upstream"));
            }
        }
        Ok(())
    }

    fn add_own(&mut self, name: &'static str) {
        if !self.own.iter().any(|(known, _)| *known == name) {
            self.own.push((name, json!({})));
        }
    }

    /// Whether the answer may name sources.
    pub(super) fn cites(&self) -> bool {
        !self.own.is_empty()
    }

    pub(super) fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// `tools`; none where there are none.
    pub(super) fn written(&mut self) -> Option<Value> {
        let functions = std::mem::take(&mut self.functions);
        let mut list = Vec::new();
        if !functions.is_empty() {
            list.push(json!({ "functionDeclarations": functions }));
        }
        for (name, value) in std::mem::take(&mut self.own) {
            list.push(Value::Object([(name.to_owned(), value)].into_iter().collect()));
        }
        (!list.is_empty()).then(|| list.into())
    }

    /// `toolConfig`; none where the model chooses as it does by itself.
    ///
    /// # Errors
    /// A choice among functions that are not there.
    pub(super) fn config(
        &self,
        request: &Request,
        model: &Model,
        google: Google,
        names: &mut Names,
    ) -> Result<Option<Value>, Unsupported> {
        if self.functions.is_empty() {
            return Ok(None);
        }
        let strict = request.tools.iter().any(|tool| tool.strict == Some(true));
        // With tools of the provider beside them functions are free in this mode only.
        let free = if model.validates && (strict || !self.own.is_empty()) { "VALIDATED" } else { "AUTO" };
        let known = |name: &&String| request.tools.iter().any(|tool| tool.name == **name);
        let mut config = match request.tool_choice.as_ref() {
            None if free == "AUTO" => return Ok(None),
            None | Some(ToolChoice::Auto) => json!({ "mode": free }),
            Some(ToolChoice::None) => json!({ "mode": "NONE" }),
            Some(ToolChoice::Required) => json!({ "mode": "ANY" }),
            Some(ToolChoice::Named(name)) => {
                json!({ "mode": "ANY", "allowedFunctionNames": [names.fitting(name)] })
            }
            Some(ToolChoice::Allowed { names: allowed, required }) => {
                let allowed: Vec<String> =
                    allowed.iter().filter(known).map(|name| names.fitting(name)).collect();
                match (allowed.is_empty(), required) {
                    (true, true) => {
                        return Err(Unsupported::at("tool_choice", "none of the allowed tools is there"));
                    }
                    (true, false) => json!({ "mode": "NONE" }),
                    (false, true) => json!({ "mode": "ANY", "allowedFunctionNames": allowed }),
                    // The only mode in which a list leaves the model free.
                    (false, false) => json!({ "mode": "VALIDATED", "allowedFunctionNames": allowed }),
                }
            }
        };
        config = json!({ "functionCallingConfig": config });
        if !self.own.is_empty() && google == Google::AiStudio {
            config["includeServerSideToolInvocations"] = true.into();
        }
        Ok(Some(config))
    }
}

fn is_forced(choice: Option<&ToolChoice>) -> bool {
    matches!(
        choice,
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
    )
}

/// What of a search has no field here.
fn limits(search: &WebSearch) -> Option<String> {
    let place = search.place.as_ref().map(|place| {
        let parts = ["city", "region", "country"].into_iter().filter_map(|part| place.get(part)?.as_str());
        parts.collect::<Vec<_>>().join(", ")
    });
    let place = place.filter(|place| !place.is_empty()).map(|place| format!("The user is in {place}."));
    let uses = search.max_uses.map(|uses| format!("Search the web at most {uses} times."));
    let words: Vec<String> = [place, uses].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(" "))
}
