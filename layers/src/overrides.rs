//! Applies `post_body_parameter_overrides` to the body that goes upstream.
//!
//! Inside `convert`, because users write overrides in the upstream's vocabulary, and before
//! `dispatch`, because signatures cover the final bytes. Channel-wide entries first, then the
//! model's; maps merge deeply, scalars and lists replace, `__remove__` removes after the merge of
//! its step. Without overrides the payload passes untouched.

use std::task::{Context, Poll};

use serde_json::{Map, Value};
use tower::{Layer, Service};

use crate::failure::Failure;
use crate::policy::{OverrideStep, Removal};
use crate::stage::{Call, Payload};

/// Mounts [`ApplyOverrides`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ApplyOverridesLayer;

/// The service of [`ApplyOverridesLayer`].
#[derive(Debug, Clone)]
pub struct ApplyOverrides<S> {
    inner: S,
}

// === impl ApplyOverridesLayer ===

impl<S> Layer<S> for ApplyOverridesLayer {
    type Service = ApplyOverrides<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ApplyOverrides { inner }
    }
}

// === impl ApplyOverrides ===

impl<S> Service<Call> for ApplyOverrides<S>
where
    S: Service<Call, Error = Failure>,
{
    type Response = S::Response;
    type Error = Failure;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        // `convert` hands over a parsed body whenever there are overrides.
        if let (Some(overrides), Payload::Json(body)) = (&call.attempt.target.overrides, &mut call.payload) {
            for step in &overrides.steps {
                apply(step, body);
            }
            call.attempt.target.channel.dialect.codec().upstream.outbound.settle(body);
        }
        self.inner.call(call)
    }
}

/// Applies one step: merge, then remove.
pub fn apply(step: &OverrideStep, body: &mut Map<String, Value>) {
    merge(body, &step.merge);
    for removal in &step.remove {
        remove(body, removal, &removal.path);
    }
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}

fn remove(body: &mut Map<String, Value>, removal: &Removal, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    if !rest.is_empty() {
        if let Some(Value::Object(inner)) = body.get_mut(name) {
            remove(inner, removal, rest);
            if removal.drop_empty && inner.is_empty() {
                body.remove(name);
            }
        }
        return;
    }
    let emptied = match body.get_mut(name) {
        Some(_) if removal.when.is_empty() => true,
        Some(Value::Array(items)) => {
            items.retain(|item| !matches(item, &removal.when));
            removal.drop_empty && items.is_empty()
        }
        Some(value) => matches(value, &removal.when),
        None => false,
    };
    if emptied {
        body.remove(name);
    }
}

/// Whether one of the conditions holds, each of them in all its parts. A condition with an empty
/// path is about the value itself.
fn matches(value: &Value, when: &[Vec<(Vec<String>, Value)>]) -> bool {
    when.iter().any(|all| {
        all.iter().all(|(path, expected)| {
            path.iter().try_fold(value, |value, name| value.get(name)).is_some_and(|found| found == expected)
        })
    })
}

#[cfg(test)]
mod tests;
