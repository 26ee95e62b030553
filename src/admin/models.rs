//! `GET /v1/models`: exactly the models that this key can route, in the order of its rules.

use axum::Json;
use serde_json::{Value, json};

use super::{Asking, Refused};
use crate::snapshot::Snapshot;

/// What OpenAI clients expect in `created`; models here have no date of their own.
const CREATED: i64 = 1_720_524_448;

/// Lists the models.
pub(super) async fn list(asking: Asking) -> Result<Json<Value>, Refused> {
    let Some(snapshot) = asking.catalog.as_any().downcast_ref::<Snapshot>() else {
        return Err(Refused(layers::Failure::Internal));
    };
    let models: Vec<Value> = snapshot
        .models(&asking.caller)
        .iter()
        .map(|alias| json!({ "id": &**alias, "object": "model", "created": CREATED, "owned_by": "uni-api" }))
        .collect();
    Ok(Json(json!({ "object": "list", "data": models })))
}
