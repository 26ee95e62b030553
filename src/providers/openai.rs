//! Upstreams of the OpenAI format: chat completions and their neighbours under one base path.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Kind};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::hosts::Host;
use super::{bearer, put, secret_of, usable, with_path};
use crate::engine::{Engine, Listing, ProviderSpec};

/// OpenAI chat completions, and whatever speaks like it.
pub static OPENAI: Engine = Engine {
    names: &["gpt", "openai"],
    detect: |url| {
        super::is_openai_shim(url)
            || url.host == "models.inference.ai.azure.com"
            || url.host == "models.github.ai"
    },
    listing: Some(LISTING),
    build: |spec| Ok(Arc::new(OpenAi::new(spec)?)),
    ..Engine::PLAIN
};

/// The list of models as OpenAI gives it.
pub(super) const LISTING: Listing =
    Listing { path: |base| format!("{}/models", root(base)), list: "/data", name: "/id", pages: None };

/// Endings that a `base_url` may have; what stands before one of them is the base path.
const ENDPOINTS: [&str; 14] = [
    "/chat/completions",
    "/completions",
    "/images/generations",
    "/images/edits",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/moderations",
    "/embeddings",
    "/responses/compact",
    "/responses",
    "/messages",
    "/models",
    "/rerank",
];

/// An upstream of the OpenAI format.
pub(super) struct OpenAi {
    base: Uri,
    chat: Uri,
    /// Headers that the host wants of every request.
    headers: &'static [(&'static str, &'static str)],
}

impl OpenAi {
    /// Derives the URLs.
    ///
    /// # Errors
    /// There is no usable `base_url`.
    pub(super) fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        let base = usable(spec.base_url)?;
        let chat = format!("{}/chat/completions", root(&base));
        let headers = Host::of(&base).map_or(&[][..], |host| host.headers);
        Ok(Self { chat: with_path(&base, &chat)?, base, headers })
    }

    /// The same with another URL for chat.
    pub(super) fn chatting_at(mut self, path: &str) -> Result<Self, Unsupported> {
        self.chat = with_path(&self.base, path)?;
        Ok(self)
    }

    /// Its base URL.
    pub(super) fn base(&self) -> &Uri {
        &self.base
    }
}

/// The path under which all endpoints of an upstream lie, without a slash at its end.
pub(super) fn root(base: &Uri) -> Cow<'_, str> {
    let path = base.path().trim_end_matches('/');
    match (path, base.host()) {
        // The only upstream whose bare host everybody writes.
        ("", Some("api.openai.com")) => "/v1".into(),
        (path, host) => match super::gateway::version(host, path) {
            "" => ENDPOINTS.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path).into(),
            version => format!("{path}{version}").into(),
        },
    }
}

impl Provider for OpenAi {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let endpoint = wanted.endpoint;
        if endpoint.kind == Kind::Chat {
            return Ok(self.chat.clone());
        }
        // Our own paths of the format are OpenAI's.
        let own = (endpoint.client == Dialect::OpenAiChat && !endpoint.path.contains('{'))
            .then(|| endpoint.path.strip_prefix("/v1"))
            .flatten();
        match own {
            Some(path) => with_path(&self.base, &format!("{}{path}", root(&self.base))),
            None => Err(Unsupported(format!("it has no {} of this format", endpoint.kind.label()).into())),
        }
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        if let Some(secret) = secret_of(with)? {
            put(request, AUTHORIZATION, bearer(secret)?);
        }
        for (name, value) in self.headers {
            put(request, HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use layers::endpoint::{CHAT_COMPLETIONS, Endpoint, MODERATIONS};

    use super::*;
    use crate::providers::testing::spec;

    fn address(base_url: &str, endpoint: &'static Endpoint) -> String {
        let provider = OpenAi::new(&spec(&OPENAI, base_url)).unwrap();
        provider.address(Wanted { endpoint, model: "m", place: None, stream: false }).unwrap().to_string()
    }

    fn chat(base_url: &str) -> String {
        address(base_url, &CHAT_COMPLETIONS)
    }

    #[test]
    fn any_known_ending_gives_the_same_urls() {
        for ending in ["/chat/completions", "/embeddings", "/audio/speech", "", "/", "/models"] {
            let base = format!("https://a.example/v1{ending}");

            assert_eq!(chat(&base), "https://a.example/v1/chat/completions");
            assert_eq!(address(&base, &MODERATIONS), "https://a.example/v1/moderations");
        }
    }

    #[test]
    fn the_query_of_the_base_url_is_kept() {
        assert_eq!(
            chat("https://a.example/models/chat/completions?api-version=2024-05-01-preview"),
            "https://a.example/models/chat/completions?api-version=2024-05-01-preview"
        );
    }

    #[test]
    fn a_bare_host_gets_v1_at_openai_only() {
        assert_eq!(chat("https://api.openai.com"), "https://api.openai.com/v1/chat/completions");
        assert_eq!(chat("https://a.example"), "https://a.example/chat/completions");
        assert_eq!(
            chat("https://models.inference.ai.azure.com/chat/completions"),
            "https://models.inference.ai.azure.com/chat/completions"
        );
    }
}
