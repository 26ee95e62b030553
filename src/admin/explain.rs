//! `POST /v1/route/explain`: where a request would go at this moment, and why.
//!
//! Takes `{"key", "model", "endpoint", "request"}`, all optional: without `key` it is the asking
//! key's own request, without `model` the one of `request`, which is the body that would be sent,
//! and without `endpoint` it is sent to `/v1/chat/completions`. With neither `model` nor `request` the
//! answer is about all models of the key, in short. For administrators only, because it
//! tells every channel, weight, limit and balance of other keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use layers::Failure;
use layers::endpoint::{self, CHAT_COMPLETIONS};
use layers::ingress::read;
use layers::offload::offload;
use layers::policy::Caller;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Administrator, Asker, Current, Refused, Sources};
use crate::explain::{Counts, Explanation, Overview, Question};
use crate::snapshot::Snapshot;

/// Body of the question.
#[derive(Deserialize)]
struct ExplainBody<'a> {
    key: Option<String>,
    model: Option<String>,
    endpoint: Option<String>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
}

/// Part of a request that names its model.
#[derive(Deserialize)]
struct ModelName {
    model: Option<String>,
}

/// Explains one request.
pub(super) async fn explain(
    State(sources): State<Sources>,
    _admin: Administrator,
    Current(snapshot): Current,
    Asker(caller): Asker,
    request: Request,
) -> Result<Json<Answer>, Refused> {
    // As the pipeline reads it: a request may stand in it whole.
    let (head, body) = request.into_parts();
    let reading = read(&head.headers, body, sources.most_body, sources.capacity.hold());
    let (body, _held) = reading.await.map_err(Refused)?;
    // Whatever its length, it may be about every model of the key.
    let explained = offload(usize::MAX, move || answer(&sources, &snapshot, caller, &body)).await;
    explained.map_err(Refused)?.map(Json)
}

fn answer(
    sources: &Sources,
    snapshot: &Snapshot,
    asker: Arc<Caller>,
    body: &[u8],
) -> Result<Answer, Refused> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let asked: ExplainBody<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(&format!("the body is not as expected: {error}"), None))?;
    let caller = match &asked.key {
        None => asker,
        Some(name) => called(snapshot, name)?,
    };
    let endpoint = match &asked.endpoint {
        None => &CHAT_COMPLETIONS,
        Some(path) => endpoint::on_path(path)
            .next()
            .ok_or_else(|| invalid("this is no path that requests are sent to", Some("endpoint")))?,
    };
    let request = asked.request.map(|request| request.get().as_bytes());
    let named = || serde_json::from_slice::<ModelName>(request?).ok()?.model;
    let most_body = sources.most_body as u64;
    let counts =
        Counts { windows: &sources.windows, accounts: &sources.accounts, affinity: &sources.affinity };
    let now = Instant::now();
    let Some(model) = asked.model.or_else(named) else {
        return match request {
            None => Ok(Answer::All(crate::explain::overview(snapshot, counts, &caller, most_body, now))),
            Some(_) => Err(invalid("name a model, or give a request that does", Some("model"))),
        };
    };
    let question = Question { caller: &caller, model: &model, endpoint, body: request, most_body };
    Ok(Answer::One(Box::new(crate::explain::explain(snapshot, counts, question, now))))
}

/// The answer: for one model, or for all.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// Of one request.
    One(Box<Explanation>),
    /// Of all models.
    All(Overview),
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
