//! Tries one channel after another until one of them answers or a verdict is reached.
//!
//! A loop over the attempt stack and nothing else. What a failure means is
//! [`Failure::disposition`], who is next is [`crate::ports::Route::pick`], what is left of the
//! budget is [`Plan`]. Inside `keepalive`, so that the client is kept warm while channels change.
//! Not `tower::retry`, whose policy must clone a request before the first try and cannot choose
//! the next one by what happened.
//!
//! An answer that comes back from the attempt stack is accepted: nothing is retried after it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

use crate::conversation;
use crate::failure::{Disposition, Failure};
use crate::observe::telling;
use crate::plan::{Plan, Step};
use crate::policy::{Target, Timeouts};
use crate::ports::{Allowances, Homes};
use crate::reply::Reply;
use crate::stage::{Attempt, Exchange, Purpose, Routed, TriedKeys};

/// The pause before a lone channel with a lone key is asked again: long enough for a hiccup to
/// pass, jittered so that many clients do not return at once.
const PAUSE: std::ops::Range<u64> = 150..450;

/// Mounts [`Failover`].
#[derive(Clone)]
pub struct FailoverLayer {
    allowances: Arc<dyn Allowances>,
    homes: Arc<dyn Homes>,
}

/// The service of [`FailoverLayer`].
#[derive(Clone)]
pub struct Failover<S> {
    inner: S,
    allowances: Arc<dyn Allowances>,
    homes: Arc<dyn Homes>,
}

// === impl FailoverLayer ===

impl FailoverLayer {
    /// Asks `allowances` before it enters a group, and notes in `homes` who served a conversation.
    pub fn new(allowances: Arc<dyn Allowances>, homes: Arc<dyn Homes>) -> Self {
        Self { allowances, homes }
    }
}

impl<S> Layer<S> for FailoverLayer {
    type Service = Failover<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Failover { inner, allowances: self.allowances.clone(), homes: self.homes.clone() }
    }
}

// === impl Failover ===

impl<S> Service<Routed> for Failover<S>
where
    S: Service<Attempt, Response = Reply, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        let spare = self.inner.clone();
        let attempts = std::mem::replace(&mut self.inner, spare);
        Box::pin(run(attempts, self.allowances.clone(), self.homes.clone(), routed))
    }
}

async fn run<S>(
    mut attempts: S,
    allowances: Arc<dyn Allowances>,
    homes: Arc<dyn Homes>,
    routed: Routed,
) -> Result<Reply, Failure>
where
    S: Service<Attempt, Response = Reply, Error = Failure>,
{
    let Routed { exchange, mut plan } = routed;
    let mut verdict = Failure::NoChannel;
    // The last attempt, where the log was not told of it: nothing cooled, but it may end the request.
    let mut untold = None;
    let mut ordinal = 0;
    plan.route.narrate(&plan, &exchange.id);
    while let Some(target) = next(&mut plan, allowances.as_ref(), &exchange, &mut verdict).await {
        let timeouts = target.timeouts_for(exchange.as_ref().into());
        if ordinal > 0 && is_late(&exchange, timeouts) {
            break;
        }
        let mut tried = TriedKeys::default();
        let mut paused = false;
        let mut only_here = false;
        while plan.spend() {
            ordinal += 1;
            tracing::debug!(
                request_id = exchange.id.as_str(),
                attempt = ordinal,
                channel = %target.channel.name,
                place = target.place.as_deref(),
                url = telling::url(exchange.endpoint, exchange.peek.stream, &target),
                "Attempt begins."
            );
            let attempt = Attempt {
                exchange: exchange.clone(),
                target: target.clone(),
                ordinal,
                tried: tried.clone(),
                timeouts,
            };
            let failure = match attempts.ready().await?.call(attempt).await {
                Ok(reply) => {
                    conversation::note(&exchange, &target, homes.as_ref());
                    return Ok(signed(reply, &exchange, &target, ordinal));
                }
                Err(failure) => failure,
            };
            only_here = failure.is_of_place();
            let is_told = telling::is_loud(&failure, &target);
            untold = (!is_told).then(|| (target.clone(), failure.clone()));
            match failure.disposition() {
                Disposition::Return => return Err(failure),
                // Under another key there is no object that a pinned request could mean.
                Disposition::NextKey { without }
                    if exchange.pinned.is_none()
                        && plan.allows_more_of(&target)
                        && !is_late(&exchange, timeouts) =>
                {
                    if failure.asked_nobody() {
                        plan.refund();
                    }
                    tried = tried.with(without);
                    verdict = verdict.more_telling(failure);
                }
                Disposition::NextChannel | Disposition::NextKey { .. } => {
                    // The channel is done with all the same, so this ends.
                    if failure.asked_nobody() {
                        plan.refund();
                    }
                    let lone = plan.single() && target.channel.keys.count() <= 1;
                    let again = lone && !paused && plan.has_budget() && failure.worth_a_pause();
                    verdict = verdict.more_telling(failure);
                    if !again || is_late(&exchange, timeouts) {
                        break;
                    }
                    paused = true;
                    let pause = Duration::from_millis(fastrand::u64(PAUSE));
                    tokio::time::sleep(pause).await;
                    exchange.ledger.entry().waited += pause;
                }
            }
        }
        if !plan.has_budget() {
            break;
        }
        if only_here { plan.exclude(target) } else { plan.exclude_channel(target) }
    }
    if let Some((target, failure)) = untold {
        telling::tell(&exchange.ledger.entry(), &target, &failure);
    }
    Err(verdict)
}

/// The next channel, the groups on the way to it entered.
async fn next(
    plan: &mut Plan,
    allowances: &dyn Allowances,
    exchange: &Exchange,
    verdict: &mut Failure,
) -> Option<Arc<Target>> {
    loop {
        match plan.next(Instant::now()) {
            Step::Try(target) => return Some(target),
            Step::Exhausted => return None,
            // A side call is none that a window would count.
            Step::Enter(group) if exchange.purpose == Purpose::SideCall => plan.gate(group, true),
            Step::Enter(group) => {
                let admitted = allowances.enter(&group, exchange).resolve().await;
                plan.gate(group, admitted.is_ok());
                if let Err(refusal) = admitted {
                    *verdict = std::mem::replace(verdict, Failure::NoChannel).more_telling(refusal);
                }
            }
        }
    }
}

/// No attempt starts after half of the time that the whole request has.
fn is_late(exchange: &Exchange, timeouts: Timeouts) -> bool {
    exchange.received.elapsed() > timeouts.total / 2
}

/// Tells callers who may know it which channel served, and after how many attempts.
fn signed(mut reply: Reply, exchange: &Exchange, target: &Target, ordinal: u32) -> Reply {
    const CHANNEL: HeaderName = HeaderName::from_static("x-uni-api-channel");
    const ATTEMPTS: HeaderName = HeaderName::from_static("x-uni-api-attempts");
    if exchange.caller.expose_route {
        if let Ok(name) = HeaderValue::from_str(target.channel.name.as_str()) {
            reply.headers_mut().insert(CHANNEL, name);
        }
        reply.headers_mut().insert(ATTEMPTS, HeaderValue::from(ordinal));
    }
    reply
}

#[cfg(test)]
mod tests;
