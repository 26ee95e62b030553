//! The record of a request that never became an exchange: refused before it was read, or answered
//! beside the pipeline.
//!
//! A request of the pipeline has a [`crate::ledger`], which `account` closes. All others leave one
//! of these, made where they are refused or answered, from the head that is still at hand there: a
//! request that is served pays nothing for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Extensions, Method, StatusCode, Uri};
use tokio::time::Instant;

use crate::endpoint::{Endpoint, Lookup};
use crate::failure::Failure;
use crate::policy::{Caller, Fingerprint};
use crate::request_id::RequestId;
use crate::stage::Peer;

/// Longest path that is kept, in bytes: it is a stranger's own text.
const LONGEST_PATH: usize = 256;

/// The facts that are known of such a request.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Its name.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// Its path; without the query, in which keys may stand.
    pub path: Box<str>,
    /// The endpoint of the pipeline that it asked for, if it was one.
    pub endpoint: Option<&'static Endpoint>,
    /// From where; the proxy's word where the proxy is trusted.
    pub client: Option<IpAddr>,
    /// Who asked, where that is known.
    pub caller: Option<Arc<Caller>>,
    /// What stands for the key that it came with, where nobody has that key.
    pub unknown_key: Option<Fingerprint>,
    /// When it was over, by the wall clock.
    pub ended: SystemTime,
    /// How long it took.
    pub elapsed: Duration,
    /// The status that it was answered with.
    pub status: StatusCode,
    /// [`Failure::label`] of what it was refused with; none when it was answered.
    pub failure: Option<&'static str>,
    /// The same in words.
    pub reason: Option<String>,
}

impl Visit {
    /// That of a request with this head, so far without an end.
    pub fn of(method: &Method, uri: &Uri, extensions: &Extensions) -> Self {
        let path = uri.path();
        let endpoint = extensions.get::<Lookup>().and_then(Lookup::matched);
        Self {
            id: extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::draw),
            method: method.clone(),
            path: path[..path.floor_char_boundary(LONGEST_PATH)].into(),
            endpoint: endpoint.map(|matched| matched.endpoint),
            client: extensions.get::<Peer>().map(|peer| peer.0),
            caller: None,
            unknown_key: None,
            ended: SystemTime::now(),
            elapsed: Duration::ZERO,
            status: StatusCode::OK,
            failure: None,
            reason: None,
        }
    }

    /// Who asked, and when that began.
    #[must_use]
    pub fn by(self, caller: &Arc<Caller>, received: Instant) -> Self {
        Self { caller: Some(caller.clone()), elapsed: received.elapsed(), ..self }
    }

    /// It was answered with this status.
    #[must_use]
    pub fn answered(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// It was refused.
    #[must_use]
    pub fn refused(self, failure: &Failure) -> Self {
        let (status, reason) = (failure.status(), Some(failure.to_string()));
        Self { status, failure: Some(failure.label()), reason, ..self }
    }

    /// The word for the outcome: `ok`, or what it was refused with.
    pub fn outcome(&self) -> &'static str {
        self.failure.unwrap_or("ok")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::find;

    #[test]
    fn a_visit_tells_who_and_what_and_never_the_query() {
        let request = http::Request::post("/v1/chat/completions?key=sk-secret&x=1")
            .extension(find(&Method::POST, "/v1/chat/completions"))
            .extension(Peer([203, 0, 113, 9].into()))
            .body(())
            .unwrap();

        let visit = Visit::of(request.method(), request.uri(), request.extensions())
            .refused(&Failure::Unauthenticated);

        assert_eq!((visit.method.as_str(), &*visit.path), ("POST", "/v1/chat/completions"));
        assert_eq!(visit.client, Some([203, 0, 113, 9].into()));
        assert_eq!(visit.endpoint.map(|endpoint| endpoint.label), Some("POST /v1/chat/completions"));
        assert_eq!((visit.status.as_u16(), visit.outcome()), (401, "unauthenticated"));
        assert!(!format!("{visit:?}").contains("sk-secret"));
    }

    #[test]
    fn a_long_path_is_cut() {
        let request = http::Request::get(format!("/{}", "a".repeat(10_000))).body(()).unwrap();

        let visit = Visit::of(request.method(), request.uri(), request.extensions());

        assert_eq!(visit.path.len(), LONGEST_PATH);
    }
}
