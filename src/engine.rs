//! The engine of a channel: its names, and what in a base URL gives it away.

use http::Uri;

/// The wire format and place of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// OpenAI chat completions, and whatever speaks like it: `gpt`, `openai`.
    OpenAi,
    /// OpenAI Responses as the only upstream endpoint: `responses`.
    Responses,
    /// Anthropic Messages: `claude`, `anthropic`.
    Anthropic,
    /// Google AI Studio: `gemini`.
    Gemini,
    /// Vertex AI before the model's name decides; no model has it.
    Vertex,
    /// Gemini on Vertex AI: `vertex-gemini`.
    VertexGemini,
    /// Claude on Vertex AI: `vertex-claude`.
    VertexClaude,
    /// Vertex AI with API keys: `vertex-express`.
    VertexExpress,
    /// Azure OpenAI and Azure AI Foundry: `azure`.
    Azure,
    /// Databricks serving endpoints: `azure-databricks`, `databricks`.
    Databricks,
    /// Amazon Bedrock: `aws`, `bedrock`.
    Bedrock,
    /// Cloudflare Workers AI: `cloudflare`.
    Cloudflare,
    /// Cohere: `cohere`.
    Cohere,
    /// OpenRouter: `openrouter`.
    OpenRouter,
    /// Doubao translation on Volcengine Ark: `doubao`.
    Doubao,
    /// The upstream inside this program: `mock`.
    Mock,
}

/// The names that are listed when an unknown one is met.
pub const NAMES: &str = "gpt, openai, responses, claude, anthropic, gemini, vertex, vertex-gemini, vertex-claude, \
                         vertex-express, azure, azure-databricks, databricks, aws, bedrock, cloudflare, cohere, \
                         openrouter, doubao, mock";

/// The meaning of an `engine:` text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// An engine.
    Engine(Engine),
    /// A name of an older configuration for an engine.
    Old(Engine),
    /// An operation (images, speech, …) that older configurations wrote as an engine: the base URL
    /// decides, since operations come with the request.
    Operation,
    /// Nothing known.
    Unknown,
}

/// Reads an `engine:` text, in any case.
pub fn named(text: &str) -> Named {
    let engine = match text.trim().to_ascii_lowercase().as_str() {
        "gpt" | "openai" => Engine::OpenAi,
        "responses" => Engine::Responses,
        "claude" | "anthropic" => Engine::Anthropic,
        "gemini" => Engine::Gemini,
        "vertex" => Engine::Vertex,
        "vertex-gemini" => Engine::VertexGemini,
        "vertex-claude" => Engine::VertexClaude,
        "vertex-express" => Engine::VertexExpress,
        "azure" => Engine::Azure,
        "azure-databricks" | "databricks" => Engine::Databricks,
        "aws" | "bedrock" => Engine::Bedrock,
        "cloudflare" => Engine::Cloudflare,
        "cohere" => Engine::Cohere,
        "openrouter" => Engine::OpenRouter,
        "doubao" => Engine::Doubao,
        "mock" => Engine::Mock,
        "codex" => return Named::Old(Engine::Responses),
        "doubao-translation" => return Named::Old(Engine::Doubao),
        "bedrock-converse" => return Named::Old(Engine::Bedrock),
        "dalle" | "whisper" | "tts" | "moderation" | "embedding" | "search" | "content-generation" => {
            return Named::Operation;
        }
        _ => return Named::Unknown,
    };
    Named::Engine(engine)
}

/// The engine of a base URL; `None` when nothing in it tells, which means OpenAI's format.
pub fn detect(url: &Uri) -> Option<Engine> {
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let path = url.path().trim_end_matches('/');
    let on = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    // The order decides: Claude on Azure ends in /v1/messages and is not Azure's own format.
    let engine = if on("volces.com") && path.ends_with("/api/v3/responses") {
        Engine::Doubao
    } else if path.contains("/v1beta/openai") {
        Engine::OpenAi
    } else if path.ends_with("/v1beta")
        || host == "generativelanguage.googleapis.com"
        || path.contains("google-ai-studio/v1")
    {
        Engine::Gemini
    } else if host.ends_with("aiplatform.googleapis.com")
        || host.ends_with("rep.googleapis.com")
        || host.ends_with("gateway.ai.cloudflare.com") && path.contains("google-vertex-ai")
        || path.contains("aiplatform.googleapis.com")
    {
        Engine::Vertex
    } else if path.ends_with("/v1/messages") || host == "api.anthropic.com" {
        Engine::Anthropic
    } else if host == "models.inference.ai.azure.com" || host == "models.github.ai" {
        Engine::OpenAi
    } else if on("azure.com") {
        Engine::Azure
    } else if on("azuredatabricks.net") || on("cloud.databricks.com") || on("gcp.databricks.com") {
        Engine::Databricks
    } else if host == "api.cloudflare.com" {
        if path.ends_with("/v1/chat/completions") { Engine::OpenAi } else { Engine::Cloudflare }
    } else if host.contains("amazonaws.com") {
        Engine::Bedrock
    } else if (host == "api.cohere.com" || host == "api.cohere.ai") && !path.contains("/compatibility/") {
        Engine::Cohere
    } else if on("openrouter.ai") {
        Engine::OpenRouter
    } else if path.ends_with("/responses") {
        Engine::Responses
    } else {
        return None;
    };
    Some(engine)
}

// === impl Engine ===

impl Engine {
    /// Its name in `engine:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "gpt",
            Self::Responses => "responses",
            Self::Anthropic => "claude",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::VertexGemini => "vertex-gemini",
            Self::VertexClaude => "vertex-claude",
            Self::VertexExpress => "vertex-express",
            Self::Azure => "azure",
            Self::Databricks => "azure-databricks",
            Self::Bedrock => "aws",
            Self::Cloudflare => "cloudflare",
            Self::Cohere => "cohere",
            Self::OpenRouter => "openrouter",
            Self::Doubao => "doubao",
            Self::Mock => "mock",
        }
    }

    /// The format of one upstream model on a channel of this engine.
    pub fn refined(self, upstream: &str, is_explicit: bool) -> Self {
        let name = upstream.to_lowercase();
        match self {
            Self::Vertex if name.contains("claude") => Self::VertexClaude,
            Self::Vertex => Self::VertexGemini,
            // The Ark endpoint speaks Responses except for its translation models.
            Self::Doubao if !is_explicit && !name.contains("translation") => Self::Responses,
            engine => engine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_tells_the_engine() {
        let cases = [
            ("https://ark.cn-beijing.volces.com/api/v3/responses", Some(Engine::Doubao)),
            ("https://ark.cn-beijing.volces.com/api/v3/chat/completions", None),
            (
                "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
                Some(Engine::OpenAi),
            ),
            ("https://generativelanguage.googleapis.com/v1beta", Some(Engine::Gemini)),
            ("https://relay.example/v1beta/", Some(Engine::Gemini)),
            (
                "https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio/v1beta/openai/chat/completions",
                Some(Engine::OpenAi),
            ),
            ("https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio/v1", Some(Engine::Gemini)),
            ("https://gateway.ai.cloudflare.com/v1/a/g/google-vertex-ai", Some(Engine::Vertex)),
            ("https://aiplatform.googleapis.com/", Some(Engine::Vertex)),
            ("https://us-east5-aiplatform.googleapis.com", Some(Engine::Vertex)),
            ("https://aiplatform.eu.rep.googleapis.com", Some(Engine::Vertex)),
            ("https://proxy.example/aiplatform.googleapis.com/", Some(Engine::Vertex)),
            ("https://api.anthropic.com/v1/messages", Some(Engine::Anthropic)),
            ("https://x.services.ai.azure.com/anthropic/v1/messages", Some(Engine::Anthropic)),
            ("https://models.inference.ai.azure.com/chat/completions", Some(Engine::OpenAi)),
            ("https://your-endpoint.openai.azure.com", Some(Engine::Azure)),
            (
                "https://e.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
                Some(Engine::Azure),
            ),
            ("https://xxx.azuredatabricks.net", Some(Engine::Databricks)),
            ("https://api.cloudflare.com/", Some(Engine::Cloudflare)),
            ("https://api.cloudflare.com/client/v4/accounts/a/ai/v1/chat/completions", Some(Engine::OpenAi)),
            ("https://bedrock-runtime.us-east-1.amazonaws.com", Some(Engine::Bedrock)),
            ("https://api.cohere.com/v2/chat", Some(Engine::Cohere)),
            ("https://api.cohere.ai/compatibility/v1/chat/completions", None),
            ("https://openrouter.ai/api/v1/chat/completions", Some(Engine::OpenRouter)),
            ("https://api.openai.com/v1/responses", Some(Engine::Responses)),
            ("https://api.groq.com/openai/v1/chat/completions", None),
            ("https://notazure.com/v1/chat/completions", None),
        ];

        for (url, engine) in cases {
            assert_eq!(detect(&url.parse().unwrap()), engine, "{url}");
        }
    }

    #[test]
    fn every_listed_name_is_known_in_any_case() {
        for name in NAMES.split(", ") {
            assert!(matches!(named(name), Named::Engine(_)), "{name}");
            assert_eq!(named(&name.to_uppercase()), named(name));
        }
        assert_eq!(named("gtp"), Named::Unknown);
        assert_eq!(named("dalle"), Named::Operation);
    }

    #[test]
    fn a_name_survives_the_round_trip() {
        for name in NAMES.split(", ") {
            let Named::Engine(engine) = named(name) else { panic!("{name}") };
            assert_eq!(named(engine.name()), Named::Engine(engine));
        }
    }

    #[test]
    fn the_model_refines_the_engine_of_mixed_upstreams() {
        assert_eq!(Engine::Vertex.refined("claude-sonnet-4-5@20250929", false), Engine::VertexClaude);
        assert_eq!(Engine::Vertex.refined("text-embedding-004", true), Engine::VertexGemini);
        assert_eq!(Engine::Doubao.refined("doubao-seed-translation", false), Engine::Doubao);
        assert_eq!(Engine::Doubao.refined("doubao-seed-1-6", false), Engine::Responses);
        assert_eq!(Engine::Doubao.refined("doubao-seed-1-6", true), Engine::Doubao);
        assert_eq!(Engine::OpenAi.refined("claude", false), Engine::OpenAi);
    }
}
