//! Finds out who is asking, and takes the configuration for the whole request.
//!
//! Inside `rescue`, so that a 401 has the client's shape, and outside `ingress`, so that strangers
//! cannot make the gateway buffer a body. From here on the request sees one configuration, however
//! often that is reloaded meanwhile. Who is not known leaves a [`Visit`].

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::failure::Failure;
use crate::ports::{Directory, Records};
use crate::reply::Reply;
use crate::stage::Admitted;
use crate::visit::Visit;

/// Mounts [`Auth`].
#[derive(Clone)]
pub struct AuthLayer {
    directory: Arc<dyn Directory>,
    records: Arc<dyn Records>,
}

/// The service of [`AuthLayer`].
#[derive(Clone)]
pub struct Auth<S> {
    inner: S,
    directory: Arc<dyn Directory>,
    records: Arc<dyn Records>,
}

// === impl AuthLayer ===

impl AuthLayer {
    /// Asks `directory` for the callers.
    pub fn new(directory: Arc<dyn Directory>, records: Arc<dyn Records>) -> Self {
        Self { directory, records }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth { inner, directory: self.directory.clone(), records: self.records.clone() }
    }
}

// === impl Auth ===

impl<S, B> Service<http::Request<B>> for Auth<S>
where
    S: Service<Admitted<B>, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let received = Instant::now();
        let (head, body) = request.into_parts();
        match self.directory.admit(&head) {
            Ok(admission) => DecidedOr::inner(self.inner.call(Admitted {
                catalog: admission.catalog,
                caller: admission.caller,
                received,
                request: http::Request::from_parts(head, body),
            })),
            Err(failure) => {
                let mut visit = Visit::of(&head.method, &head.uri, &head.extensions).refused(&failure);
                visit.unknown_key = self.directory.unknown_key(&head);
                self.records.visit(visit);
                DecidedOr::failed(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests;
