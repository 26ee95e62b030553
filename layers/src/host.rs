//! Refuses requests of HTTP/1.1 that do not say, once, whom they mean (RFC 9112 §3.2).
//!
//! A proxy in front and this program could otherwise disagree about it. Inside `rescue`, which tells
//! the client, and outside everything that a request costs. Who is refused leaves a [`Visit`].

use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::HOST;
use http::{HeaderMap, Version};
use tower::{Layer, Service};

use crate::decided_or::DecidedOr;
use crate::failure::Failure;
use crate::ports::Records;
use crate::reply::Reply;
use crate::visit::Visit;

/// Mounts [`CheckHost`].
#[derive(Clone)]
pub struct HostLayer {
    records: Arc<dyn Records>,
}

/// The service of [`HostLayer`].
#[derive(Clone)]
pub struct CheckHost<S> {
    inner: S,
    records: Arc<dyn Records>,
}

// === impl HostLayer ===

impl HostLayer {
    /// Leaves the visits of those that it refuses with `records`.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records }
    }
}

impl<S> Layer<S> for HostLayer {
    type Service = CheckHost<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CheckHost { inner, records: self.records.clone() }
    }
}

// === impl CheckHost ===

impl<S, B> Service<http::Request<B>> for CheckHost<S>
where
    S: Service<http::Request<B>, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = DecidedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.version() == Version::HTTP_11 && !names_one_host(request.headers()) {
            let failure = Failure::invalid("a request needs one valid Host header", None);
            let visit = Visit::of(request.method(), request.uri(), request.extensions());
            self.records.visit(visit.refused(&failure));
            return DecidedOr::failed(failure);
        }
        DecidedOr::inner(self.inner.call(request))
    }
}

fn names_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        _ => false,
    }
}

/// Whether it is `uri-host [ ":" port ]` (RFC 9110 §7.2). It may be empty.
fn is_host(value: &[u8]) -> bool {
    let end = match value.first() {
        Some(b'[') => match value.iter().position(|&byte| byte == b']') {
            Some(end) => end + 1,
            None => return false,
        },
        _ => value.iter().position(|&byte| byte == b':').unwrap_or(value.len()),
    };
    let (host, port) = value.split_at(end);
    let named = match host {
        [b'[', address @ .., b']'] => address.iter().all(|&byte| OF_NAMES[usize::from(byte)] || byte == b':'),
        name => name.iter().all(|&byte| OF_NAMES[usize::from(byte)]),
    };
    named && (port.is_empty() || port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit))
}

/// The bytes of a `reg-name` (RFC 3986 §3.2.2).
static OF_NAMES: [bool; 256] = {
    let mut of_names = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        of_names[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~%!$&'()*+,;=";
    let mut at = 0;
    while at < others.len() {
        of_names[others[at] as usize] = true;
        at += 1;
    }
    of_names
};

#[cfg(test)]
mod tests;
