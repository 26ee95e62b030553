//! Where requests go and how they are signed, one file per kind of upstream.
//!
//! A *dialect* is how bytes are shaped, a *provider* is where they go: the configuration's
//! `engine` chooses the pair once, when it is compiled. Everything that does not depend on the
//! request (URLs above all) is computed there too; on the request path a provider clones a URL and
//! writes one header.

mod anthropic;
pub mod mock;
mod openai;
mod unserved;

pub(crate) use openai::root as openai_root;

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Quirks};
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Uri};
use layers::policy::ChannelName;
use layers::ports::{Provider, Secret};
use layers::stage::Call;

use crate::engine::Engine;

/// The plain facts that a provider is built from: a channel as far as it decides where requests go.
#[derive(Debug, Clone, Copy)]
pub struct ProviderSpec<'a> {
    /// The channel's name, for what is said about it.
    pub channel: &'a ChannelName,
    /// The wire format and place of the upstream.
    pub engine: Engine,
    /// Whether the configuration names the engine, so that the address is taken at its word.
    pub engine_is_explicit: bool,
    /// The upstream's address as written.
    pub base_url: Option<&'a str>,
}

/// The dialect and the provider of a channel's models that have this engine.
pub fn pair(spec: &ProviderSpec<'_>) -> (Dialect, Arc<dyn Provider>) {
    match spec.engine {
        Engine::OpenAi | Engine::OpenRouter => match openai::OpenAi::new(spec) {
            Some(provider) => (Dialect::OpenAiChat, Arc::new(provider)),
            None => (Dialect::OpenAiChat, unserved::unserved(spec.channel, "its base_url is no URL")),
        },
        Engine::Anthropic => match anthropic::Anthropic::new(spec) {
            Some(provider) => (Dialect::Anthropic, Arc::new(provider)),
            None => (Dialect::Anthropic, unserved::unserved(spec.channel, "its base_url is no URL")),
        },
        Engine::Mock => (Dialect::OpenAiChat, Arc::new(mock::Mock)),
        engine => {
            let reason = format!("engine {} is not served by this version", engine.name());
            (Dialect::OpenAiChat, unserved::unserved(spec.channel, &reason))
        }
    }
}

/// The deviations that are known of a host, changed by a channel's own: names that are added
/// (true) or removed (false).
pub fn quirks(base_url: Option<&str>, changes: &[(Box<str>, bool)]) -> Quirks {
    let host = base_url.and_then(|url| url.parse::<Uri>().ok());
    let host = host.as_ref().and_then(Uri::host).unwrap_or_default();
    let mut quirks = Quirks { stream_options: UNDERSTANDS_STREAM_OPTIONS.contains(&host) };
    for (name, on) in changes {
        if &**name == "stream_options" {
            quirks.stream_options = *on;
        }
    }
    quirks
}

/// Hosts that understand `stream_options.include_usage`, by their documentation.
const UNDERSTANDS_STREAM_OPTIONS: [&str; 6] = [
    "api.openai.com",
    "openrouter.ai",
    "api.deepseek.com",
    "api.groq.com",
    "api.together.xyz",
    "api.fireworks.ai",
];

/// Headers with the `host`, with room for what a request for a whole answer gets besides: growing
/// moves all that is in it, and beyond this size the allocator is slow.
fn addressed(host: &HeaderValue, call: &Call) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    if !call.attempt.target.channel.link.http2 {
        headers.insert(HOST, host.clone());
    }
    headers
}

/// The `host` of a URL (RFC 9110 §7.2). Told here because the client would write it anew for each
/// request; HTTP/2 has a pseudo-header instead.
fn host(base: &Uri) -> Option<HeaderValue> {
    let usual = if base.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = base.host()?;
    match base.port_u16().filter(|port| *port != usual) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        None => HeaderValue::try_from(host).ok(),
    }
}

/// `Bearer <key>`, not to be printed. None for a key that cannot stand in a header.
fn bearer(secret: &Secret) -> Option<HeaderValue> {
    sensitive([b"Bearer ", secret.expose().as_bytes()].concat())
}

/// A header value that is not to be printed.
fn sensitive(value: Vec<u8>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(value)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A URL with another path, its query kept: gateways put tokens and versions there.
pub(crate) fn with_path(base: &Uri, path: &str) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    let target = match base.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::LazyLock;

    use super::*;

    static CHANNEL: LazyLock<ChannelName> = LazyLock::new(|| ChannelName::from("a"));

    /// A channel at this URL.
    pub(crate) fn spec(engine: Engine, base_url: &str) -> ProviderSpec<'_> {
        ProviderSpec { channel: &CHANNEL, engine, engine_is_explicit: false, base_url: Some(base_url) }
    }
}
