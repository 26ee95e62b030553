//! `POST /v1/route/explain`: where a request would go at this moment, and why.
//!
//! Takes `{"key", "model", "request"}`, all optional: without `key` it is the asking key's own
//! request, without `model` the one of `request`, which is the body that would be sent. For
//! administrators only, because it tells every channel, weight and limit of other keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use layers::Failure;
use layers::policy::Caller;
use layers::ports::Windows;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Administrator, Asking, Refused};
use crate::config::Snapshot;
use crate::explain::{Explanation, Question};

/// What the handler reads beside the configuration.
#[derive(Clone)]
pub(super) struct Explaining {
    pub(super) windows: Arc<dyn Windows>,
    /// Largest accepted body, in bytes.
    pub(super) most_body: u64,
}

/// What is asked.
#[derive(Deserialize)]
struct Asked<'a> {
    key: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// The part of a request that names its model.
#[derive(Deserialize)]
struct Named {
    model: Option<String>,
}

/// Explains one request.
pub(super) async fn explain(
    State(explaining): State<Explaining>,
    _admin: Administrator,
    asking: Asking,
    body: Bytes,
) -> Result<Json<Explanation>, Refused> {
    let Some(snapshot) = asking.catalog.as_any().downcast_ref::<Snapshot>() else {
        return Err(Refused(Failure::Internal));
    };
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let asked: Asked<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(&format!("the body is not as expected: {error}"), None))?;
    let caller = match &asked.key {
        None => asking.caller,
        Some(name) => called(snapshot, name)?,
    };
    let request = asked.request.map(|request| request.get().as_bytes());
    let named = || serde_json::from_slice::<Named>(request?).ok()?.model;
    let Some(model) = asked.model.or_else(named) else {
        return Err(invalid("name a model, or give a request that does", Some("model")));
    };
    let question =
        Question { caller: &caller, model: &model, body: request, most_body: explaining.most_body };
    Ok(Json(crate::explain::explain(snapshot, &*explaining.windows, question, Instant::now())))
}

fn called(snapshot: &Snapshot, name: &str) -> Result<Arc<Caller>, Refused> {
    // What was sent may be a key, so it is not repeated.
    match snapshot.callers_called(name).as_slice() {
        [caller] => Ok(caller.clone()),
        [] => Err(invalid("no client key is this, has this fingerprint or this role", Some("key"))),
        _ => Err(invalid("several client keys have this role: name one by its fingerprint", Some("key"))),
    }
}

fn invalid(message: &str, param: Option<&'static str>) -> Refused {
    Refused(Failure::invalid(message, param))
}
