//! Asks upstreams what no client asked: for the tokens of accounts, over the connections of requests.

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use layers::ports::Outgoing;
use tower::ServiceExt;

use crate::engine::SideClient;
use crate::pipeline::Upstreams;

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
impl<U: Upstreams> SideClient for Aside<U> {
    async fn ask(&self, outgoing: Outgoing) -> Result<(StatusCode, Bytes), String> {
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
