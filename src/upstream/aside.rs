//! Asks upstreams what no client asked: for the tokens of accounts, over the connections of requests.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use layers::body::UpstreamBody;
use layers::failure::TransportFault;
use layers::ports::Outgoing;
use tower::{Service, ServiceExt};

use super::fetch::{AGENT, ANYTHING};
use crate::engine::SideClient;

/// Longest answer that is read.
const LONGEST: usize = 64 << 10;

/// A side client over the service that requests end in. How long an answer may take is the caller's
/// business.
#[derive(Debug, Clone)]
pub struct Aside<U>(U);

impl<U> Aside<U> {
    /// Asks by way of this service.
    pub fn new(upstreams: U) -> Self {
        Self(upstreams)
    }
}

#[async_trait]
impl<U> SideClient for Aside<U>
where
    U: Service<Outgoing, Response = Response<UpstreamBody>, Error = TransportFault, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    async fn ask(&self, mut outgoing: Outgoing) -> Result<(StatusCode, Bytes), String> {
        for (name, value) in [(ACCEPT, ANYTHING), (USER_AGENT, AGENT)] {
            outgoing.request.headers_mut().entry(name).or_insert(value);
        }
        let answer = self.0.clone().oneshot(outgoing).await.map_err(|fault| match fault.cause {
            Some(cause) => format!("{} ({})", fault.kind, cause.chain()),
            None => fault.kind.to_string(),
        })?;
        let (head, body) = answer.into_parts();
        let whole = Limited::new(body, LONGEST).collect().await;
        let whole = whole.map_err(|_broken| "the answer broke off or is over 64 KiB".to_owned())?;
        Ok((head.status, whole.to_bytes()))
    }
}
