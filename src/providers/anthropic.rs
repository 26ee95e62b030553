//! Anthropic's Messages API, at Anthropic or behind anybody's URL that ends in `/messages`.

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Uri};
use layers::Failure;
use layers::ports::{Destination, Provider, Verdict};
use layers::stage::Call;

use super::{ProviderSpec, addressed, bearer, host, sensitive, with_path};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// An upstream of the Messages format.
pub(super) struct Anthropic {
    messages: Uri,
    host: HeaderValue,
}

impl Anthropic {
    /// Derives the URL; none when there is no usable `base_url`.
    pub(super) fn new(spec: &ProviderSpec<'_>) -> Option<Self> {
        let base: Uri = spec.base_url.unwrap_or("https://api.anthropic.com").parse().ok()?;
        base.host()?;
        let path = base.path().trim_end_matches('/');
        let path = match path {
            "" => "/v1/messages".to_owned(),
            path if path.ends_with("/messages") => path.to_owned(),
            path => format!("{path}/messages"),
        };
        Some(Self { messages: with_path(&base, &path)?, host: host(&base)? })
    }
}

impl Provider for Anthropic {
    fn prepare(&self, call: &Call) -> Verdict<Destination> {
        let mut headers = addressed(&self.host, call);
        headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
        if let Some(secret) = &call.secret {
            // OAuth tokens are bearers, keys are not.
            let signed = if secret.expose().starts_with("sk-ant-oat") {
                bearer(secret).map(|value| (AUTHORIZATION, value))
            } else {
                sensitive(secret.expose().into()).map(|value| (X_API_KEY, value))
            };
            let Some((name, value)) = signed else {
                return Verdict::Ready(Err(Failure::Unsupported {
                    channel: call.attempt.target.channel.name.clone(),
                    what: "its key cannot stand in a header".to_owned(),
                }));
            };
            headers.insert(name, value);
        }
        Verdict::Ready(Ok(Destination { uri: self.messages.clone(), headers }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::providers::testing::spec;

    #[test]
    fn messages_is_appended_where_it_is_missing() {
        for (base, expected) in [
            ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            ("https://a.example/anthropic/v1", "https://a.example/anthropic/v1/messages"),
        ] {
            assert_eq!(Anthropic::new(&spec(Engine::Anthropic, base)).unwrap().messages, expected);
        }
    }
}
