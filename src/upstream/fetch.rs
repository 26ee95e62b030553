//! Fetches small documents: configurations, model lists.
//!
//! Not part of the pipeline: one request at a time, redirects followed, size and time bounded.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::body::{Parts, readable};
use super::client::Pool;
use super::connector::Connector;
use crate::config::source::Fetch;

/// Longest document.
const LONGEST: usize = 16 << 20;
/// Longest time for one document, redirects included.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most redirects that are followed.
const REDIRECTS: usize = 5;

/// A client for documents.
#[derive(Clone)]
pub struct Fetcher {
    pool: Pool,
}

impl Fetcher {
    /// Fetches directly, or through this proxy.
    pub fn new(proxy: Option<&str>) -> Self {
        let pool = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(Connector::new(proxy, false));
        Self { pool }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    pub async fn get(&self, url: &str, headers: HeaderMap) -> Result<Bytes, String> {
        tokio::time::timeout(PATIENCE, self.follow(url, headers))
            .await
            .unwrap_or_else(|_elapsed| Err(format!("nothing came for {} s", PATIENCE.as_secs())))
    }

    async fn follow(&self, url: &str, mut headers: HeaderMap) -> Result<Bytes, String> {
        let mut uri: Uri = url.parse().map_err(|_invalid| "it is no URL".to_owned())?;
        for _ in 0..=REDIRECTS {
            let mut request = Request::new(Parts::from(Vec::new()));
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
            let agent = HeaderValue::from_static(concat!("uni-api/", env!("CARGO_PKG_VERSION")));
            request.headers_mut().insert(USER_AGENT, agent);
            let answer = self.pool.request(request).await.map_err(|error| reason(&error))?;
            if answer.status().is_redirection()
                && let Some(target) = answer.headers().get(LOCATION).and_then(|target| target.to_str().ok())
            {
                let next = resolve(&uri, target).ok_or_else(|| "a redirect to no URL".to_owned())?;
                if next.host() != uri.host() {
                    // What authorises with one host is no business of another.
                    headers.clear();
                }
                uri = next;
                continue;
            }
            if !answer.status().is_success() {
                return Err(format!("answered {}", answer.status().as_u16()));
            }
            let body = Limited::new(readable(answer).await.into_body(), LONGEST);
            let whole = body
                .collect()
                .await
                .map_err(|_broken| "the answer broke off or is over 16 MiB".to_owned())?;
            return Ok(whole.to_bytes());
        }
        Err("too many redirects".to_owned())
    }
}

#[async_trait]
impl Fetch for Fetcher {
    async fn fetch(&self, url: &str) -> Result<String, String> {
        let body = self.get(url, HeaderMap::new()).await?;
        String::from_utf8(body.into()).map_err(|_binary| "the answer is no text".to_owned())
    }
}

fn reason(error: &hyper_util::client::legacy::Error) -> String {
    if error.is_connect() { "cannot be reached".to_owned() } else { "the connection broke".to_owned() }
}

/// A `Location`, which may be relative (RFC 9110 §10.2.2).
fn resolve(base: &Uri, target: &str) -> Option<Uri> {
    if target.contains("://") {
        return target.parse().ok();
    }
    let mut parts = base.clone().into_parts();
    let path = if target.starts_with('/') {
        target.to_owned()
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{target}")
    };
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}
