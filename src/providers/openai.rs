//! Upstreams of the OpenAI format: chat completions and their neighbours under one base path.

use dialect::Kind;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use layers::Failure;
use layers::ports::{Destination, Provider, Verdict};
use layers::stage::Call;

use super::{ProviderSpec, addressed, bearer, host, with_path};
use crate::engine::Engine;

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
    chat: Uri,
    moderations: Uri,
    host: HeaderValue,
    headers: HeaderMap,
}

impl OpenAi {
    /// Derives the URLs; none when there is no usable `base_url`.
    pub(super) fn new(spec: &ProviderSpec<'_>) -> Option<Self> {
        let base: Uri = spec.base_url?.parse().ok()?;
        base.host()?;
        let path = base.path().trim_end_matches('/');
        let root = root(&base);
        // An explicit `engine: openrouter` may name an endpoint of another format; it is taken at
        // its word.
        let literal = spec.engine == Engine::OpenRouter && spec.engine_is_explicit && root != path;
        let chat = if literal { path.to_owned() } else { format!("{root}/chat/completions") };
        let mut headers = HeaderMap::new();
        if spec.engine == Engine::OpenRouter || base.host() == Some("openrouter.ai") {
            headers.insert(HeaderName::from_static("x-title"), HeaderValue::from_static("uni-api"));
        }
        Some(Self {
            chat: with_path(&base, &chat)?,
            moderations: with_path(&base, &format!("{root}/moderations"))?,
            host: host(&base)?,
            headers,
        })
    }
}

/// The path under which all endpoints of an upstream lie, without a slash at its end.
pub(crate) fn root(base: &Uri) -> &str {
    let path = base.path().trim_end_matches('/');
    match (path, base.host()) {
        // The only upstream whose bare host everybody writes.
        ("", Some("api.openai.com")) => "/v1",
        _ => ENDPOINTS.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path),
    }
}

impl Provider for OpenAi {
    fn prepare(&self, call: &Call) -> Verdict<Destination> {
        let uri = match call.attempt.exchange.endpoint.kind {
            Kind::Moderate => &self.moderations,
            _ => &self.chat,
        };
        let mut headers = addressed(&self.host, call);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(secret) = &call.secret {
            let Some(value) = bearer(secret) else {
                return Verdict::Ready(Err(Failure::Unsupported {
                    channel: call.attempt.target.channel.name.clone(),
                    what: "its key cannot stand in a header".to_owned(),
                }));
            };
            headers.insert(AUTHORIZATION, value);
        }
        Verdict::Ready(Ok(Destination { uri: uri.clone(), headers }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::testing::spec;

    fn chat(base_url: &str) -> String {
        OpenAi::new(&spec(Engine::OpenAi, base_url)).unwrap().chat.to_string()
    }

    #[test]
    fn any_known_ending_gives_the_same_chat_url() {
        for ending in ["/chat/completions", "/embeddings", "/audio/speech", "", "/", "/models"] {
            assert_eq!(
                chat(&format!("https://a.example/v1{ending}")),
                "https://a.example/v1/chat/completions"
            );
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
