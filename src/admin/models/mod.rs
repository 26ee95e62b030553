//! `GET /v1/models`: exactly the models that this key can route, in the order of its rules. And one of
//! them by its name, as `models.retrieve` of the SDKs asks for it. In OpenAI's shape, unless the
//! client speaks another one.

mod messages;

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use layers::Failure;
use serde::Serialize;

use super::{Asker, Current, Refused};
use crate::snapshot::Snapshot;

/// What OpenAI clients expect in `created`; models here have no date of their own.
const CREATED: i64 = 1_720_524_448;

/// Answer of `GET /v1/models`, in OpenAI's shape.
#[derive(Debug, Serialize)]
pub(super) struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

/// One model of a [`ModelList`].
#[derive(Debug, Serialize)]
pub(super) struct Model {
    id: Arc<str>,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    /// How many tokens it can look at, where an upstream tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    /// What it takes, where an upstream tells: text, and what else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    input_modalities: Vec<Arc<str>>,
}

impl Model {
    fn of(snapshot: &Snapshot, id: Arc<str>) -> Self {
        let told = snapshot.told(&id).cloned().unwrap_or_default();
        let mut input_modalities = told.inputs;
        if !input_modalities.is_empty() {
            input_modalities.insert(0, "text".into());
        }
        let context_length = told.context;
        Self { id, object: "model", created: CREATED, owned_by: "uni-api", context_length, input_modalities }
    }
}

/// Lists the models.
pub(super) async fn list(Current(snapshot): Current, Asker(caller): Asker, headers: HeaderMap) -> Response {
    let models = snapshot.models(&caller).into_iter();
    if messages::asks(&headers) {
        let context = |id: &Arc<str>| snapshot.told(id).and_then(|told| told.context);
        let data = models.map(|id| messages::Model::new(id.clone(), context(&id))).collect();
        return Json(messages::Page::of(data)).into_response();
    }
    let data = models.map(|id| Model::of(&snapshot, id)).collect();
    Json(ModelList { object: "list", data }).into_response()
}

/// One model. Its name may hold slashes.
pub(super) async fn one(
    Current(snapshot): Current,
    Asker(caller): Asker,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let found = snapshot.models(&caller).into_iter().find(|id| **id == *name);
    let id = found.ok_or(Refused(Failure::ModelNotFound { model: name }))?;
    if messages::asks(&headers) {
        let context = snapshot.told(&id).and_then(|told| told.context);
        return Ok(Json(messages::Model::new(id, context)).into_response());
    }
    Ok(Json(Model::of(&snapshot, id)).into_response())
}
