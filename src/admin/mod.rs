//! Everything that is not an operation: the model list, metrics, and what administrators ask.
//!
//! A second, shorter stack behind the same `auth` and `rescue`: the gateway's window, then the
//! role, then the handler. Handlers return [`Failure`]s like layers do, so errors have one shape
//! and one place.

mod astray;
mod explain;
pub mod health;
mod models;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use layers::Failure;
use layers::capacity::{Capacity, UNCOUNTED};
use layers::policy::{Caller, Role};
use layers::ports::{Catalog, Limits, Records};
use layers::stage::Admitted;
use layers::visit::Visit;
use layers::{Reply, ReplyBody};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::lifecycle::{Phase, reached};
use crate::snapshot::Snapshot;
use crate::state::affinity::Affinity;
use crate::state::balances::Accounts;
use crate::state::windows::Windows;
use crate::telemetry::metrics::Metrics;

/// State that handlers read beside the configuration.
#[derive(Clone)]
pub struct Sources {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Request windows.
    pub windows: Arc<Windows>,
    /// Balances.
    pub accounts: Arc<Accounts>,
    /// Who served which conversation.
    pub affinity: Arc<Affinity>,
    /// The room for bodies, shared with the pipeline.
    pub capacity: Arc<Capacity>,
    /// Largest accepted body, in bytes.
    pub most_body: usize,
}

/// Service of everything beside the pipeline.
#[derive(Clone)]
pub struct Admin {
    router: Router,
    windows: Arc<Windows>,
    records: Arc<dyn Records>,
    capacity: Arc<Capacity>,
}

impl Admin {
    /// The routes, with what their handlers read. Each request leaves a visit with `records`.
    pub fn new(sources: Sources, records: Arc<dyn Records>) -> Self {
        let (metrics, windows) = (sources.metrics.clone(), sources.windows.clone());
        let capacity = sources.capacity.clone();
        let router = Router::new()
            .route("/v1/route/explain", post(explain::explain).with_state(sources))
            .route("/v1/models", get(models::list))
            .route("/v1/models/{*name}", get(models::one))
            .route("/metrics", get(move |admin: Administrator| async move { scrape(&admin, &metrics) }))
            .fallback(|request: axum::extract::Request| async move {
                Refused(astray::failure(request.uri().path(), request.headers()))
            })
            .method_not_allowed_fallback(|| async {
                Refused(Failure::MethodNotAllowed { allow: String::new() })
            });
        Self { router, windows, records, capacity }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Whatever the handler, the role or the gateway's window refuses with.
    pub async fn answer<B>(self, admitted: Admitted<B>) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let Admitted { caller, received, request, .. } = &admitted;
        let visit = Visit::of(request.method(), request.uri(), request.extensions());
        let mut leaving = Leaving {
            records: self.records.clone(),
            visit: Some(visit),
            caller: caller.clone(),
            received: *received,
        };
        let answer = self.handle(admitted).await;
        leaving.leave(|visit| match &answer {
            Ok(reply) => visit.answered(reply.status()),
            Err(failure) => visit.refused(failure),
        });
        answer
    }

    async fn handle<B>(self, admitted: Admitted<B>) -> Result<Reply, Failure>
    where
        B: Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let Admitted { catalog, caller, received: _, request } = admitted;
        let limits = Limits { caller: None, ..catalog.limits(&caller, "") };
        if let Some(exceeded) = self.windows.check(&caller.fingerprint, &limits, Instant::now()) {
            return Err(Failure::RateLimited(exceeded));
        }
        let (mut head, body) = request.into_parts();
        head.extensions.insert(Current::of(catalog)?);
        head.extensions.insert(Asker(caller));
        let request = axum::extract::Request::from_parts(head, axum::body::Body::new(body));
        let mut response = match self.router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if let Some(Refusal(failure)) = response.extensions_mut().remove::<Refusal>() {
            return Err(match failure {
                // Only the router knows which methods the path has.
                Failure::MethodNotAllowed { .. } => Failure::MethodNotAllowed { allow: allowed(&response) },
                failure => failure,
            });
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_broken| Failure::Internal)?.to_bytes();
        // A list of models may be long, and whoever asks for it may read slowly.
        let mut held = self.capacity.hold().for_answer();
        if body.len() > UNCOUNTED {
            held.grow(body.len())?;
        }
        Ok(Reply::from_parts(head, ReplyBody::from(held.carried_by(body))))
    }
}

/// A guard that leaves the visit of a request, also when its client goes before the answer.
struct Leaving {
    records: Arc<dyn Records>,
    visit: Option<Visit>,
    caller: Arc<Caller>,
    received: Instant,
}

impl Leaving {
    fn leave(&mut self, end: impl FnOnce(Visit) -> Visit) {
        if let Some(visit) = self.visit.take() {
            self.records.visit(end(visit.by(&self.caller, self.received)));
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.leave(|visit| visit.refused(&Failure::ClientGone));
    }
}

/// The methods that the router lists for a path which has not the one that was asked for.
fn allowed(response: &Response) -> String {
    let listed = response.headers().get(ALLOW).and_then(|value| value.to_str().ok());
    listed.unwrap_or_default().replace(',', ", ")
}

/// The snapshot that the request was admitted under: an extractor, and the only place where the
/// catalogue of the layers becomes what it is.
#[derive(Clone)]
pub(crate) struct Current(pub(crate) Arc<Snapshot>);

impl Current {
    fn of(catalog: Arc<dyn Catalog>) -> Result<Self, Failure> {
        let catalog: Arc<dyn Any + Send + Sync> = catalog;
        catalog.downcast().map(Self).map_err(|_other| {
            tracing::error!("A request was admitted under something that is no snapshot.");
            Failure::Internal
        })
    }
}

impl<S: Sync> FromRequestParts<S> for Current {
    type Rejection = Refused;

    async fn from_request_parts(head: &mut Parts, _state: &S) -> Result<Self, Refused> {
        head.extensions.get::<Self>().cloned().ok_or(Refused(Failure::Internal))
    }
}

/// The caller whose key the request came with: an extractor.
#[derive(Clone)]
pub(crate) struct Asker(pub(crate) Arc<Caller>);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Refused;

    async fn from_request_parts(head: &mut Parts, _state: &S) -> Result<Self, Refused> {
        head.extensions.get::<Self>().cloned().ok_or(Refused(Failure::Internal))
    }
}

/// Proof that the asking key has the role `admin`: an extractor.
pub(crate) struct Administrator;

impl<S: Sync> FromRequestParts<S> for Administrator {
    type Rejection = Refused;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Asker(caller) = Asker::from_request_parts(head, state).await?;
        match caller.role {
            Role::Admin => Ok(Self),
            Role::Steward | Role::User => Err(Refused(Failure::PermissionDenied("Permission denied"))),
        }
    }
}

/// A handler's failure on its way to `rescue`.
pub(crate) struct Refused(pub(crate) Failure);

#[derive(Clone)]
struct Refusal(Failure);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Refusal(self.0));
        response
    }
}

fn scrape(_admin: &Administrator, metrics: &Metrics) -> Response {
    text(metrics)
}

fn text(metrics: &Metrics) -> Response {
    let kind = (CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    ([kind], metrics.render()).into_response()
}

/// Serves `/metrics` alone, on an address of its own. Tells the address, or none when it could not
/// be bound: that is logged and no reason not to serve.
pub async fn metrics_listener(
    address: SocketAddr,
    metrics: Metrics,
    mut phase: watch::Receiver<Phase>,
) -> Option<SocketAddr> {
    let listener = match tokio::net::TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "Metrics cannot be served there; set METRICS_ADDR.");
            return None;
        }
    };
    let bound = listener.local_addr().ok()?;
    let router = Router::new().route("/metrics", get(move || async move { text(&metrics) }));
    tokio::spawn(async move {
        // Scraped until the end: how the process drains is worth seeing.
        let stop = async move { reached(&mut phase, Phase::Ended).await };
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
        let _ = serving.await;
    });
    Some(bound)
}
