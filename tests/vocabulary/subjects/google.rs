//! Channels of Google's, with accounts that have keys of their own.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::super::*;

/// A fresh private key as a key file has it.
pub(crate) fn new_private_key() -> String {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()))
}

/// The private key of the account of tests that need only one.
pub(crate) fn private_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(new_private_key)
}

/// A token endpoint that gives out `token-1`, `token-2` and so on, each for an hour.
pub(crate) async fn token_endpoint() -> Upstream {
    Upstream::start(|seen| token(&format!("token-{}", seen.ordinal + 1))).await
}

/// The answer of a token endpoint.
pub(crate) fn token(text: &str) -> Script {
    Script::json(&json!({ "access_token": text, "expires_in": 3600, "token_type": "Bearer" }))
}

/// A channel of Vertex AI that offers the model `m`, which is a Gemini.
pub(crate) fn vertex_channel(name: &str, upstream: &Upstream, tokens: &Upstream) -> Value {
    json!({
        "provider": name, "engine": "vertex", "base_url": upstream.origin(), "project_id": "p",
        "client_email": "me@p.test", "private_key": private_key(),
        "token_uri": format!("{}/token", tokens.origin()), "model": [{ "gemini-2.5-flash": "m" }],
    })
}

/// A whole answer of Gemini's.
pub(crate) fn gemini_said(text: &str) -> Value {
    json!({
        "candidates": [{
            "content": { "role": "model", "parts": [{ "text": text }] }, "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": { "promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10 },
        "modelVersion": "gemini-2.5-flash", "responseId": "r1",
    })
}
