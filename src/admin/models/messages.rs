//! The model list as Anthropic's clients read it (<https://docs.anthropic.com/en/api/models-list>). All of it stands on
//! one page, whatever limit is asked for.

use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;

/// When models were made; those here have no date of their own.
const CREATED: &str = "2024-07-09T00:00:00Z";

/// A page of models.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    data: Vec<Model>,
    has_more: bool,
    first_id: Option<Arc<str>>,
    last_id: Option<Arc<str>>,
}

/// One model.
#[derive(Debug, Serialize)]
pub(super) struct Model {
    r#type: &'static str,
    id: Arc<str>,
    display_name: Arc<str>,
    created_at: &'static str,
    /// How many tokens it can look at, where an upstream tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_input_tokens: Option<u64>,
}

/// Whether whoever asks is such a client: they say which version of the format they speak.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

impl Model {
    pub(super) fn new(id: Arc<str>, max_input_tokens: Option<u64>) -> Self {
        Self { r#type: "model", display_name: id.clone(), id, created_at: CREATED, max_input_tokens }
    }
}

impl Page {
    pub(super) fn of(data: Vec<Model>) -> Self {
        let id = |model: Option<&Model>| model.map(|model| model.id.clone());
        Self { has_more: false, first_id: id(data.first()), last_id: id(data.last()), data }
    }
}
