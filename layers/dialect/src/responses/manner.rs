//! What of a request its answer tells again, and which of its tools go by another name elsewhere.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::Manner;

/// The fields that a response tells again.
const TOLD_AGAIN: [&str; 17] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// A tool of the client's that upstreams of other dialects know as a function by another name or of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientTool {
    /// Its name there.
    pub(super) flat: String,
    /// Its own name.
    pub(super) name: String,
    /// The group of tools that it is in.
    pub(super) namespace: Option<String>,
    /// Whether it has no schema: it is given a text.
    pub(super) is_custom: bool,
}

impl ClientTool {
    /// The parameter of a function that stands for a tool without a schema.
    pub(super) const INPUT: &'static str = "input";

    /// A function by its own name.
    pub(super) fn function(name: &str) -> Self {
        Self { flat: name.to_owned(), name: name.to_owned(), namespace: None, is_custom: false }
    }

    /// A tool in a group, or in none.
    pub(super) fn new(namespace: Option<&str>, name: &str, is_custom: bool) -> Self {
        let flat = flat_name(namespace, name);
        Self { flat, name: name.to_owned(), namespace: namespace.map(str::to_owned), is_custom }
    }

    /// Whether it is a function by its own name.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_custom && self.namespace.is_none()
    }
}

/// The name of a function that stands for a tool in a group.
pub(super) fn flat_name(namespace: Option<&str>, name: &str) -> String {
    match namespace.filter(|space| !space.is_empty()) {
        Some(space) => format!("{space}__{name}"),
        None => name.to_owned(),
    }
}

/// The wishes in a request.
pub(super) fn of(body: &Map<String, Value>, tools: Vec<ClientTool>) -> Manner {
    let told = TOLD_AGAIN.iter().filter_map(|name| Some(((*name).to_owned(), body.get(*name)?.clone())));
    Manner {
        echo: Some(Arc::new(told.collect())),
        keeps: body.get("store").and_then(Value::as_bool).unwrap_or(true),
        client_tools: (!tools.is_empty()).then(|| tools.into()),
        ..Manner::default()
    }
}
