//! Fetches small documents: configurations, model lists.
//!
//! Not part of the pipeline: one request at a time, redirects followed, size and time bounded.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use layers::body::UpstreamBody;

use super::body::{BodyChunks, readable};
use super::cause::cause;
use super::client::PooledClient;
use super::connector::Connector;
use crate::config::source::{Fetch, Fetched, decoded};

/// Longest document.
const LONGEST: usize = 16 << 20;
/// Longest time for one document, redirects included.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most redirects that are followed.
const REDIRECTS: usize = 5;

/// What is taken of a document.
pub const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
/// The name of this program.
pub const AGENT: HeaderValue = HeaderValue::from_static(concat!("uni-api/", env!("CARGO_PKG_VERSION")));

/// A client for documents.
#[derive(Clone)]
pub struct Fetcher {
    pool: PooledClient,
}

impl Fetcher {
    /// Fetches directly, or through this proxy.
    pub fn new(proxy: Option<&str>) -> Self {
        let pool = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(Connector::new(proxy, false, None));
        Self { pool }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    pub async fn get(&self, url: &str, headers: HeaderMap) -> Result<Bytes, String> {
        match self.get_unless(None, parsed(url)?, headers).await? {
            Some((body, _tag)) => Ok(body),
            None => Err("answered 304".to_owned()),
        }
    }

    /// The body of a successful answer to a request that was signed as it stands, which has no body
    /// itself.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    pub async fn get_signed(&self, request: Request<Vec<Bytes>>) -> Result<Bytes, String> {
        let (head, _nothing) = request.into_parts();
        match self.get_unless(None, head.uri, head.headers).await? {
            Some((body, _tag)) => Ok(body),
            None => Err("answered 304".to_owned()),
        }
    }

    /// The whole answer to a request that was signed as it stands, which has no body itself: the one
    /// behind all redirects, whatever its status.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    pub async fn answer_signed(&self, request: Request<Vec<Bytes>>) -> Result<Response<Bytes>, String> {
        let (head, _nothing) = request.into_parts();
        let (head, body) = self.follow(None, head.uri, head.headers).await?.into_parts();
        Ok(Response::from_parts(head, whole(body).await?))
    }

    /// The answer to a request as it comes, a redirect being one.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    pub async fn open(&self, request: Request<Vec<Bytes>>) -> Result<Response<UpstreamBody>, String> {
        let answer = self.pool.request(request.map(BodyChunks::from)).await;
        answer.map(readable).map_err(|error| reason(&error))
    }

    /// The status and the body of the answer to this JSON.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        json: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::new(vec![Bytes::from(json)]);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = parsed(url)?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answering = async {
            let (head, body) = self.open(request).await?.into_parts();
            Ok((head.status, whole(body).await?))
        };
        tokio::time::timeout(PATIENCE, answering)
            .await
            .unwrap_or_else(|_elapsed| Err(format!("nothing came for {} s", PATIENCE.as_secs())))
    }

    /// The body of a successful answer and its `ETag`; none when that is `known` still.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    async fn get_unless(
        &self,
        known: Option<&HeaderValue>,
        uri: Uri,
        headers: HeaderMap,
    ) -> Result<Option<(Bytes, Option<String>)>, String> {
        let answering = async {
            let (head, body) = self.follow(known, uri, headers).await?.into_parts();
            if head.status == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            if !head.status.is_success() {
                return Err(format!("answered {}", head.status.as_u16()));
            }
            let tag = head.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            Ok(Some((whole(body).await?, tag)))
        };
        tokio::time::timeout(PATIENCE, answering)
            .await
            .unwrap_or_else(|_elapsed| Err(format!("nothing came for {} s", PATIENCE.as_secs())))
    }

    /// The answer behind all redirects.
    async fn follow(
        &self,
        known: Option<&HeaderValue>,
        mut uri: Uri,
        mut headers: HeaderMap,
    ) -> Result<Response<UpstreamBody>, String> {
        for _ in 0..=REDIRECTS {
            let mut request = Request::new(Vec::new());
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            for (name, value) in [(ACCEPT, ANYTHING), (USER_AGENT, AGENT)] {
                request.headers_mut().entry(name).or_insert(value);
            }
            if let Some(known) = known {
                // Every hop is asked: which of them answers is not known before.
                request.headers_mut().insert(IF_NONE_MATCH, known.clone());
            }
            let answer = self.open(request).await?;
            if answer.status() != StatusCode::NOT_MODIFIED
                && answer.status().is_redirection()
                && let Some(target) = answer.headers().get(LOCATION).and_then(|target| target.to_str().ok())
            {
                let next = resolve(&uri, target).ok_or_else(|| "a redirect to no URL".to_owned())?;
                if !is_same_origin(&next, &uri) {
                    // What authorises at one origin is no business of another: another port is
                    // another's program, and plain HTTP is everybody's to read (RFC 9110 §15.4).
                    headers.clear();
                }
                headers.remove(HOST);
                uri = next;
                continue;
            }
            return Ok(answer);
        }
        Err("too many redirects".to_owned())
    }
}

#[async_trait]
impl Fetch for Fetcher {
    async fn fetch(&self, url: &str, known: Option<&str>) -> Result<Fetched, String> {
        let known = known.and_then(|tag| HeaderValue::from_str(tag).ok());
        let Some((body, tag)) = self.get_unless(known.as_ref(), parsed(url)?, HeaderMap::new()).await? else {
            return Ok(Fetched::Unchanged);
        };
        let text = decoded(body.into()).map_err(|what| format!("it is {what}: save it as UTF-8"))?;
        Ok(Fetched::Text { text, tag })
    }
}

/// A body to its end.
async fn whole(body: UpstreamBody) -> Result<Bytes, String> {
    let whole = Limited::new(body, LONGEST).collect().await;
    Ok(whole.map_err(|_broken| "the answer broke off or is over 16 MiB".to_owned())?.to_bytes())
}

/// Whether two URLs lead to the same scheme, host and port.
fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let is_same_host = match (one.host(), other.host()) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    };
    is_same_host && one.scheme() == other.scheme() && port(one) == port(other)
}

fn parsed(url: &str) -> Result<Uri, String> {
    url.parse().map_err(|_invalid| "it is no URL".to_owned())
}

fn reason(error: &hyper_util::client::legacy::Error) -> String {
    let what = if error.is_connect() { "cannot be reached" } else { "the connection broke" };
    format!("{what} ({})", cause(error))
}

/// A `Location`, which may be relative (RFC 9110 §10.2.2).
pub(super) fn resolve(base: &Uri, target: &str) -> Option<Uri> {
    let scheme = target.split_once(':').map_or("", |(scheme, _)| scheme);
    // A path or a query may well hold the URL of another place: `/login?next=https://…`.
    if !scheme.is_empty() && !scheme.contains(['/', '?', '#']) {
        // `mailto:me@a.example` would be read as a host with credentials.
        return target.parse().ok().filter(|uri: &Uri| uri.scheme().is_some());
    }
    if target.starts_with("//") {
        return format!("{}:{target}", base.scheme_str()?).parse().ok();
    }
    let mut parts = base.clone().into_parts();
    let path = if target.starts_with('/') {
        target.to_owned()
    } else if target.starts_with('?') {
        format!("{}{target}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{target}")
    };
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |one: &str, other: &str| is_same_origin(&one.parse().unwrap(), &other.parse().unwrap());

        for other in ["https://a.example/y?z", "https://A.example:443/", "https://user@a.example/"] {
            assert!(same("https://a.example/x", other), "{other}");
        }
        for other in ["http://a.example/x", "https://b.example/x", "https://a.example:8443/x", "/x"] {
            assert!(!same("https://a.example/x", other), "{other}");
        }
        assert!(!same("http://127.0.0.1:8000/", "http://127.0.0.1:8001/"));
    }

    #[test]
    fn a_redirect_leads_where_a_browser_would_go() {
        let base: Uri = "https://a.example/folder/page?old=1".parse().unwrap();

        for (target, wanted) in [
            ("http://b.example/x", Some("http://b.example/x")),
            ("//b.example/x", Some("https://b.example/x")),
            ("/x", Some("https://a.example/x")),
            ("x", Some("https://a.example/folder/x")),
            ("?new=1", Some("https://a.example/folder/page?new=1")),
            ("/login?next=https://b.example/", Some("https://a.example/login?next=https://b.example/")),
            ("?next=https://b.example/", Some("https://a.example/folder/page?next=https://b.example/")),
            ("mailto:me@b.example", None),
            ("https://", None),
        ] {
            let next = resolve(&base, target).map(|uri| uri.to_string());
            assert_eq!(next.as_deref(), wanted, "{target}");
        }
    }
}
