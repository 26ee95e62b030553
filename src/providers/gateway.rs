//! Cloudflare's AI Gateway, which stands in front of other providers: what is behind it is the fourth part of the path,
//! `/v1/{account}/{gateway}/{provider}/…`, and behind that comes the provider's own path.
//!
//! Its own token goes in `cf-aig-authorization`, a header like any other that a channel configures.
//!
//! Source: <https://developers.cloudflare.com/ai-gateway/usage/providers/>.

use super::{ANTHROPIC, AZURE, BEDROCK, CLOUDFLARE, COHERE, GEMINI, OPENAI, OPENROUTER, RESPONSES, VERTEX};
use crate::engine::{BaseUrl, Engine};

/// The host of all gateways.
const HOST: &str = "gateway.ai.cloudflare.com";

/// Providers in OpenAI's format whose own path begins with a version.
const VERSIONED: [&str; 5] = ["grok", "mistral", "openrouter", "workers-ai", "anthropic"];

/// The provider behind a gateway, and its own path.
fn behind<'a>(host: &str, path: &'a str) -> Option<(&'a str, &'a str)> {
    if host != HOST {
        return None;
    }
    let mut parts = path.splitn(6, '/');
    // What is before the first slash, the version, the account and the gateway.
    let provider = parts.nth(4).filter(|provider| !provider.is_empty())?;
    Some((provider, parts.next().unwrap_or_default()))
}

/// The engine of what is behind a gateway; none for any other address.
pub(super) fn engine(url: &BaseUrl<'_>) -> Option<&'static Engine> {
    let (provider, path) = behind(&url.host, url.path)?;
    let is_openai = path.contains("openai") || path.ends_with("chat/completions");
    Some(match provider {
        "google-ai-studio" if !is_openai => &GEMINI,
        "google-vertex-ai" if !is_openai => &VERTEX,
        "anthropic" if !is_openai => &ANTHROPIC,
        "azure-openai" => &AZURE,
        "aws-bedrock" => &BEDROCK,
        "workers-ai" => &CLOUDFLARE,
        "cohere" => &COHERE,
        "openrouter" => &OPENROUTER,
        _ if path.ends_with("responses") => &RESPONSES,
        _ if path.ends_with("messages") => &ANTHROPIC,
        _ => &OPENAI,
    })
}

/// The path of a gateway up to the provider behind it; empty for any other address.
pub(super) fn prefix<'a>(host: Option<&str>, path: &'a str) -> &'a str {
    match behind(host.unwrap_or_default(), path) {
        Some((_, "")) => path.trim_end_matches('/'),
        Some((_, own)) => &path[..path.len() - own.len() - 1],
        None => "",
    }
}

/// What has to follow a path that ends with the provider's name, before its endpoints.
pub(super) fn version(host: Option<&str>, path: &str) -> &'static str {
    match behind(host.unwrap_or_default(), path) {
        Some((provider, "")) if VERSIONED.contains(&provider) => "/v1",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use layers::endpoint::CHAT_COMPLETIONS;
    use layers::ports::Wanted;

    use super::*;
    use crate::providers::testing::spec;
    use crate::providers::{build, detect};

    fn of(path: &str) -> (String, &'static Engine) {
        let base = format!("https://{HOST}/v1/A/G/{path}");
        let engine = detect(&base.parse::<Uri>().unwrap()).unwrap();
        (base, engine)
    }

    #[test]
    fn the_provider_behind_a_gateway_tells_the_engine() {
        for (path, engine) in [
            ("openai", "gpt"),
            ("openai/chat/completions", "gpt"),
            ("openai/responses", "responses"),
            ("anthropic", "claude"),
            ("anthropic/v1/messages", "claude"),
            ("google-ai-studio", "gemini"),
            ("google-ai-studio/v1beta", "gemini"),
            ("google-ai-studio/v1beta/openai/chat/completions", "gpt"),
            ("google-vertex-ai", "vertex"),
            ("google-vertex-ai/v1/projects/p/locations/l", "vertex"),
            ("azure-openai/resource/deployment", "azure"),
            ("aws-bedrock/bedrock-runtime/us-east-1", "aws"),
            ("workers-ai", "cloudflare"),
            ("workers-ai/v1", "gpt"),
            ("workers-ai/v1/chat/completions", "gpt"),
            ("cohere", "cohere"),
            ("cohere/v1/chat", "cohere-v1"),
            ("cohere/compatibility/v1", "gpt"),
            ("openrouter", "openrouter"),
            ("groq", "gpt"),
            ("compat", "gpt"),
            ("compat/chat/completions", "gpt"),
        ] {
            assert_eq!(of(path).1.name(), engine, "{path}");
        }
        assert_eq!(detect(&"https://relay.test/v1/A/G/cohere".parse().unwrap()), None);
    }

    #[test]
    fn models_are_listed_behind_the_gateway_too() {
        for (path, list) in [
            ("anthropic", "anthropic/v1/models?limit=1000"),
            ("anthropic/v1/messages", "anthropic/v1/models?limit=1000"),
            ("cohere", "cohere/v1/models?page_size=1000&endpoint=chat"),
            ("openai", "openai/models"),
            ("mistral", "mistral/v1/models"),
        ] {
            let (base, engine) = of(path);
            let listing = engine.listing.unwrap();
            assert_eq!((listing.path)(&base.parse().unwrap()), format!("/v1/A/G/{list}"), "{path}");
        }
    }

    #[test]
    fn the_path_of_the_provider_follows_its_name() {
        for (path, chat) in [
            ("openai", "openai/chat/completions"),
            ("openai/chat/completions", "openai/chat/completions"),
            ("anthropic", "anthropic/v1/messages"),
            ("anthropic/v1/messages", "anthropic/v1/messages"),
            (
                "google-ai-studio/v1beta/openai/chat/completions",
                "google-ai-studio/v1beta/openai/chat/completions",
            ),
            ("workers-ai", "workers-ai/@cf/m"),
            ("workers-ai/v1", "workers-ai/v1/chat/completions"),
            ("cohere", "cohere/v2/chat"),
            ("cohere/v1/chat", "cohere/v1/chat"),
            ("openrouter", "openrouter/v1/chat/completions"),
            ("grok", "grok/v1/chat/completions"),
            ("mistral", "mistral/v1/chat/completions"),
            ("groq", "groq/chat/completions"),
            ("deepseek", "deepseek/chat/completions"),
            ("perplexity-ai/chat/completions", "perplexity-ai/chat/completions"),
            ("compat", "compat/chat/completions"),
        ] {
            let (base, engine) = of(path);
            let provider = build(&spec(engine, &base));
            let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model: "@cf/m", place: None, stream: false };
            let found = provider.address(wanted).unwrap();
            assert_eq!(found.path(), format!("/v1/A/G/{chat}"), "{path}");
        }
    }
}
