//! The pipeline: every layer, outermost first, with the reason for its place.
//!
//! Three stacks, each the inner service of the one before. They exist once per worker thread;
//! there is no stack per channel or per configuration. What differs between channels is policy,
//! which travels with the request, so a reload rebuilds no service.

mod parts;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use layers::Gateway;
use layers::account::AccountLayer;
use layers::admission::AdmissionLayer;
use layers::auth::AuthLayer;
use layers::body::UpstreamBody;
use layers::convert::ConvertLayer;
use layers::cooldown::CooldownLayer;
use layers::dispatch::DispatchLayer;
use layers::endpoint::EndpointLayer;
use layers::error_trigger::ErrorTriggerLayer;
use layers::failover::FailoverLayer;
use layers::failure::TransportFault;
use layers::host::HostLayer;
use layers::ingress::IngressLayer;
use layers::keepalive::KeepaliveLayer;
use layers::lease::LeaseKeyLayer;
use layers::moderation::ModerationLayer;
use layers::observe::ObserveLayer;
use layers::overrides::ApplyOverridesLayer;
use layers::pin::PinLayer;
use layers::ports::{Ending, Outgoing};
use layers::rate_limit::RateLimitLayer;
use layers::request_id::SetRequestIdLayer;
use layers::rescue::RescueLayer;
use layers::resolve::ResolveLayer;
use layers::stage::{Attempt, Exchange};
use layers::timeout::TimeoutLayer;
use tokio::sync::watch;
use tower::{Service, ServiceBuilder};

use crate::admin::health::HealthCheckLayer;
use crate::edge::{BrowserLayer, EdgeBody, Fork, panic_layer};
use crate::lifecycle::{Grace, Phase};

pub use self::parts::{Parts, Room};

/// The service at the end: the pooled client, or what a test puts in its place.
pub trait Upstreams:
    Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportFault, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Upstreams for S where
    S: Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportFault, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// One HTTP request, from the listener to the answer.
pub fn edge<B, U>(
    parts: &Parts,
    upstream: U,
    phase: watch::Receiver<Phase>,
) -> impl Service<http::Request<B>, Response = http::Response<EdgeBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static
where
    B: Body<Data = Bytes, Error: Into<tower::BoxError> + Send> + Send + Unpin + 'static,
    U: Upstreams,
{
    let ending: Arc<dyn Ending> = Arc::new(Grace(phase.clone()));
    let exchanges = request(parts, attempt(parts, upstream), ending.clone());
    ServiceBuilder::new()
        // Whatever panics below costs one request, not the connection's others.
        .layer(panic_layer())
        // Outside everything that answers, so that every answer carries the id.
        .layer(SetRequestIdLayer)
        // Outside auth: browsers send preflights without a key, and read refusals only with these
        // headers.
        .layer(BrowserLayer::default())
        // Outside rescue: the shape of a refusal is that of the path's clients.
        .layer(EndpointLayer)
        // The only answers that need no key and are never refused.
        .layer(HealthCheckLayer::new(phase))
        // The only place where failures become bytes, so outside everything that fails.
        .layer(RescueLayer::new(ending))
        // What a proxy in front may read otherwise goes no further.
        .layer(HostLayer::new(parts.records.clone()))
        // Before auth, because checking keys is work too.
        .layer(AdmissionLayer::new(parts.capacity.clone(), parts.records.clone()))
        // Before the body is read: strangers cannot make us buffer.
        .layer(AuthLayer::new(parts.directory.clone(), parts.records.clone()))
        .service(Fork::new(
            ServiceBuilder::new()
                // The body, whole and bounded, and the fields that decide where it goes.
                .layer(
                    IngressLayer::new(parts.capacity.clone(), parts.most_body, parts.records.clone())
                        .tracing(parts.sampler),
                )
                .service(exchanges),
            parts.admin.clone(),
        ))
}

/// One client request, whatever the number of channels it takes.
fn request<A>(parts: &Parts, attempts: A, ending: Arc<dyn Ending>) -> impl Gateway<Exchange> + use<A>
where
    A: Gateway<Attempt>,
{
    ServiceBuilder::new()
        // Outermost: refusals are recorded like answers.
        .layer(AccountLayer::new(parts.records.clone()).until(ending))
        // Before anything that costs something upstream.
        .layer(RateLimitLayer::new(parts.allowances.clone()))
        // Asks the stack below it, so the question is routed and failed over like any request.
        .layer(ModerationLayer)
        // Behind moderation, whose questions name nothing stored; resolve has to know the pin.
        .layer(PinLayer::new(parts.stored.clone()).answering(parts.answers.clone()))
        // From here on it is known who may serve, and takes the request.
        .layer(ResolveLayer::new(parts.homes.clone()))
        // Outside failover: keeps the client warm while channels change.
        .layer(KeepaliveLayer)
        .layer(FailoverLayer::new(parts.allowances.clone(), parts.homes.clone()))
        .service(attempts)
}

/// One try on one channel.
fn attempt<U: Upstreams>(parts: &Parts, upstream: U) -> impl Gateway<Attempt> + use<U> {
    ServiceBuilder::new()
        // Outermost: notes the verdict of all the others.
        .layer(ObserveLayer)
        // Outside lease: one exhausted key does not bench a channel.
        .layer(CooldownLayer)
        .layer(LeaseKeyLayer)
        // Outside error_trigger: what must begin in time is an accepted answer.
        .layer(TimeoutLayer)
        // Outside convert, whose sightings it reads.
        .layer(ErrorTriggerLayer)
        .layer(
            ConvertLayer::new(parts.media.clone())
                .sealing(parts.seals.clone())
                .keeping(parts.answers.clone()),
        )
        // Inside convert: overrides speak the upstream's vocabulary.
        .layer(ApplyOverridesLayer)
        // Innermost: signatures cover the final bytes.
        .layer(DispatchLayer)
        .service(upstream)
}

#[cfg(test)]
mod tests;
