//! `GET /v1/models`: exactly the models that this key can route, in the order of its rules.

use std::sync::Arc;

use axum::Json;
use serde::Serialize;

use super::{Asker, Current};

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
struct Model {
    id: Arc<str>,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

/// Lists the models.
pub(super) async fn list(Current(snapshot): Current, Asker(caller): Asker) -> Json<ModelList> {
    let model = |id| Model { id, object: "model", created: CREATED, owned_by: "uni-api" };
    let data = snapshot.models(&caller).into_iter().map(model).collect();
    Json(ModelList { object: "list", data })
}
