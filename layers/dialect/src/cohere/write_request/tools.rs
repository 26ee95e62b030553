//! Tools and the choice among them.
//!
//! Sources: <https://docs.cohere.com/docs/tool-use-overview>, and the provider's refusals of names.

use serde_json::{Map, Value, json};

use super::NAME_LIMIT;
use super::common::Model;
use crate::cohere::schema;
use crate::ir::{Request, Tool, ToolChoice};
use crate::names::{Grammar, Names};
use crate::offered::{all_names, offered, schema_of};
use crate::worded::{MUST_CALL, ONE_CALL};
use crate::{Aim, Unsupported};

/// The tools of a request as the upstream is told of them.
#[derive(Debug)]
pub(super) struct Tools {
    /// `tools`.
    pub(super) written: Vec<Value>,
    /// `tool_choice`.
    pub(super) choice: Option<&'static str>,
    /// `strict_tools`: whether arguments follow the schemas exactly.
    pub(super) strict: bool,
    /// What has no field, in sentences.
    pub(super) rules: Vec<String>,
    /// Names that had to be fitted.
    pub(super) names: Names,
}

impl Tools {
    /// The tools of a request.
    ///
    /// # Errors
    /// Parameters that are no schema.
    pub(super) fn of(request: &Request, aim: &Aim<'_>, model: &Model) -> Result<Self, Unsupported> {
        let offered = if aim.tools { offered(request) } else { Vec::new() };
        let mut names = Names::new(Grammar::of_identifiers(NAME_LIMIT), all_names(request, &offered));
        let strict = !offered.is_empty()
            && offered.iter().all(|tool| tool.strict == Some(true) && schema::fitted(&tool.schema).is_some());
        let mut tools = Vec::new();
        for tool in &offered {
            let mut function = Map::new();
            function.insert("name".into(), names.fitting(&tool.name).into());
            // A tool with neither this nor parameters is refused.
            function.insert("description".into(), tool.description.as_deref().unwrap_or(&tool.name).into());
            function.insert("parameters".into(), parameters(tool, strict)?);
            tools.push(json!({ "type": "function", "function": function }));
        }
        let mut this = Self { written: tools, choice: None, strict, rules: Vec::new(), names };
        if !this.written.is_empty() {
            this.choose(request, model);
        }
        Ok(this)
    }

    fn choose(&mut self, request: &Request, model: &Model) {
        match &request.tool_choice {
            Some(ToolChoice::None) if model.chooses => self.choice = Some("NONE"),
            // What is not there is not called.
            Some(ToolChoice::None) => self.written.clear(),
            Some(
                ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. },
            ) => match model.chooses {
                true => self.choice = Some("REQUIRED"),
                false => self.rules.push(MUST_CALL.to_owned()),
            },
            Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) | None => {}
        }
        if request.parallel_tool_calls == Some(false) && !self.written.is_empty() {
            self.rules.push(ONE_CALL.to_owned());
        }
    }
}

fn parameters(tool: &Tool, strict: bool) -> Result<Value, Unsupported> {
    if strict && let Some(fitted) = schema::fitted(&tool.schema) {
        return Ok(fitted);
    }
    schema_of(tool).map(Value::from)
}
