//! Finds the route: who may serve this model to this caller.
//!
//! After the limits and moderation, which do not depend on it; before `keepalive` and `failover`,
//! which do. From here on the exchange is shared. Returns [`Failure::ModelNotFound`], the same for
//! a model that is unknown, one that is not allowed, and one that no channel serves on this path;
//! and [`Failure::TooLong`] when no channel takes a body of this length. A request that names a
//! stored object has one route, to where that is, or [`Failure::StoredNotFound`]. One of a
//! conversation goes home first, to who served that last ([`crate::conversation`]).

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::estimate::input_tokens;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::policy::Demand;
use crate::ports::{Homes, Misfit};
use crate::reply::Reply;
use crate::stage::{Exchange, Pinned, Routed};

/// Mounts [`Resolve`].
#[derive(Clone)]
pub struct ResolveLayer {
    homes: Arc<dyn Homes>,
}

/// The service of [`ResolveLayer`].
#[derive(Clone)]
pub struct Resolve<S> {
    inner: S,
    homes: Arc<dyn Homes>,
}

// === impl ResolveLayer ===

impl ResolveLayer {
    /// Looks up in `homes` who served a conversation last.
    pub fn new(homes: Arc<dyn Homes>) -> Self {
        Self { homes }
    }
}

impl<S> Layer<S> for ResolveLayer {
    type Service = Resolve<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Resolve { inner, homes: self.homes.clone() }
    }
}

// === impl Resolve ===

impl<S> Service<Exchange> for Resolve<S>
where
    S: Service<Routed, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut exchange: Exchange) -> Self::Future {
        let Exchange { caller, peek, conversation, .. } = &mut exchange;
        if let Some(conversation) = conversation {
            conversation.home = self.homes.find(&caller.fingerprint, &peek.model, conversation.name);
        }
        match plan(&exchange) {
            Ok(plan) => DecidedOr::inner(self.inner.call(Routed { exchange: Arc::new(exchange), plan })),
            Err(failure) => DecidedOr::failed(failure),
        }
    }
}

fn plan(exchange: &Exchange) -> Result<Plan, Failure> {
    let route = match exchange.pinned.as_deref() {
        None => exchange.catalog.route(&exchange.caller, &exchange.peek.model)?,
        Some(Pinned { id, pin }) => {
            let named = &exchange.peek.model;
            let model = if named.is_empty() { &pin.model } else { named };
            let route = exchange.catalog.pinned(&exchange.caller, pin, model);
            route.ok_or_else(|| Failure::StoredNotFound { id: id.to_string() })?
        }
    };
    let demand = Demand { endpoint: exchange.endpoint, body: exchange.body.len() as u64 };
    let home = exchange.conversation.as_deref().and_then(|conversation| conversation.home.clone());
    // The estimate takes four characters for a token: below this nobody is too small.
    let least = route.least_context().unwrap_or(u64::MAX);
    let plan = Plan::returning(route, exchange.caller.retries, demand, home);
    let plan = match plan {
        Ok(plan) if demand.body / 4 > least => Ok(plan.of_length(input_tokens(exchange))),
        plan => plan,
    };
    plan.map_err(|misfit| {
        let model = exchange.peek.model.to_string();
        match misfit {
            Misfit::Endpoint => Failure::ModelNotFound { model },
            Misfit::Length => Failure::TooLong { model },
        }
    })
}

#[cfg(test)]
mod tests;
