//! A client's request.

use serde_json::Value;

use super::CLIENT;

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    /// A GET with the usual key.
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path, Vec::new())
    }

    /// A POST of this JSON with the usual key.
    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path, body.to_string().into_bytes()).header("content-type", "application/json")
    }

    /// A chat request with the usual key.
    pub(crate) fn chat(body: &Value) -> Self {
        Self::post("/v1/chat/completions", body)
    }

    /// A chat request whose body is exactly this.
    pub(crate) fn raw(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/v1/chat/completions", body.into()).header("content-type", "application/json")
    }

    /// Any request with the usual key.
    pub(crate) fn new(method: &str, path: &str, body: Vec<u8>) -> Self {
        let headers = vec![("authorization".to_owned(), format!("Bearer {CLIENT}"))];
        Self { method: method.into(), path: path.into(), headers, body }
    }

    /// One more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Another key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.without_key().header("authorization", &format!("Bearer {key}"))
    }

    /// No key.
    pub(crate) fn without_key(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "authorization");
        self
    }
}
