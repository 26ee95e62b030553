//! Anthropic's Messages API, at Anthropic or behind anybody's URL that ends in `/messages`.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Kind};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::{bearer, put, secret_of, sensitive, usable, with_path};
use crate::engine::{Engine, Listing, Pages, ProviderSpec};

/// Anthropic Messages.
pub(super) static ANTHROPIC: Engine = Engine {
    names: &["claude", "anthropic"],
    // Claude on Azure ends so too, and is not Azure's own format.
    detect: |url| {
        let is_on_azure = url.is_on("azure.com") && url.path.ends_with("/anthropic");
        // It speaks OpenAI's format too.
        let is_chat = url.path.ends_with("/chat/completions");
        !super::is_openai_shim(url)
            && !is_chat
            && (url.path.ends_with("/v1/messages") || url.host == "api.anthropic.com" || is_on_azure)
    },
    dialect: Dialect::Anthropic,
    listing: Some(Listing {
        path: |base| format!("{}/v1/models?limit=1000", super::gateway::prefix(base.host(), base.path())),
        list: "/data",
        name: "/id",
        pages: Some(Pages { token: "/last_id", parameter: "after_id" }),
    }),
    build: |spec| Ok(Arc::new(Anthropic::new(spec)?)),
    ..Engine::PLAIN
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// An upstream of the Messages format.
struct Anthropic {
    messages: Uri,
}

impl Anthropic {
    /// Derives the URL.
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        let base = usable(spec.base_url.or(Some("https://api.anthropic.com")))?;
        let path = base.path().trim_end_matches('/');
        let path = match path {
            "" => "/v1/messages".to_owned(),
            path if path.ends_with("/messages") => path.to_owned(),
            path if path.ends_with("/anthropic") => format!("{path}/v1/messages"),
            path => format!("{path}{}/messages", super::gateway::version(base.host(), path)),
        };
        Ok(Self { messages: with_path(&base, &path)? })
    }
}

impl Provider for Anthropic {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        match wanted.endpoint.kind {
            Kind::Chat => Ok(self.messages.clone()),
            Kind::CountTokens if wanted.endpoint.client == Dialect::Anthropic => {
                with_path(&self.messages, &format!("{}/count_tokens", self.messages.path()))
            }
            kind => Err(Unsupported(format!("it has no {} of this format", kind.label()).into())),
        }
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        put(request, VERSION, HeaderValue::from_static("2023-06-01"));
        match secret_of(with)? {
            // OAuth tokens are bearers, keys are not.
            Some(secret) if secret.expose().starts_with("sk-ant-oat") => {
                put(request, AUTHORIZATION, bearer(secret)?);
            }
            Some(secret) => put(request, X_API_KEY, sensitive(secret.expose().into())?),
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::testing::spec;

    #[test]
    fn messages_is_appended_where_it_is_missing() {
        for (base, expected) in [
            ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
            ("https://a.example/anthropic/v1", "https://a.example/anthropic/v1/messages"),
            ("https://a.example/anthropic", "https://a.example/anthropic/v1/messages"),
        ] {
            assert_eq!(Anthropic::new(&spec(&ANTHROPIC, base)).unwrap().messages, expected);
        }
    }
}
