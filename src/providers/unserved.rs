//! Upstreams that can be configured and are not asked by this version: their channels are no part of
//! any route. Each row moves into a file of its own with its provider.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri};
use layers::policy::Fingerprint;
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::is_openai_shim;
use crate::engine::{Engine, Issuer, Need, ServiceAccount, Slot, Token};

/// Doubao translation on Volcengine Ark.
pub(super) static DOUBAO: Engine = Engine {
    names: &["doubao"],
    old_names: &["doubao-translation"],
    detect: |url| url.is_on("volces.com") && url.path.ends_with("/api/v3/responses"),
    // The Ark endpoint speaks Responses except for its translation models.
    refine: |model, is_explicit| (!is_explicit && !model.contains("translation")).then_some(&RESPONSES),
    ..Engine::PLAIN
};

/// Google AI Studio.
pub(super) static GEMINI: Engine = Engine {
    names: &["gemini"],
    detect: |url| {
        !is_openai_shim(url)
            && (url.path.ends_with("/v1beta")
                || url.host == "generativelanguage.googleapis.com"
                || url.path.contains("google-ai-studio/v1"))
    },
    ..Engine::PLAIN
};

/// Vertex AI before the model's name decides; no model has it.
pub(super) static VERTEX: Engine = Engine {
    names: &["vertex"],
    detect: |url| {
        !is_openai_shim(url)
            && (url.host.ends_with("aiplatform.googleapis.com")
                || url.host.ends_with("rep.googleapis.com")
                || url.host.ends_with("gateway.ai.cloudflare.com") && url.path.contains("google-vertex-ai")
                || url.path.contains("aiplatform.googleapis.com"))
    },
    hints: &["project_id", "private_key"],
    with_keys: Some(&VERTEX_EXPRESS),
    refine: |model, _| Some(if model.contains("claude") { &VERTEX_CLAUDE } else { &VERTEX_GEMINI }),
    ..VERTEX_BY_ACCOUNT
};

/// Gemini on Vertex AI.
pub(super) static VERTEX_GEMINI: Engine = Engine { names: &["vertex-gemini"], ..VERTEX_BY_ACCOUNT };

/// Claude on Vertex AI.
pub(super) static VERTEX_CLAUDE: Engine = Engine { names: &["vertex-claude"], ..VERTEX_BY_ACCOUNT };

/// What the engines of Vertex AI have in common that are asked by a service account.
const VERTEX_BY_ACCOUNT: Engine = Engine {
    is_regional: true,
    needs: &[Need::AccountOrKey {
        settings: &["project_id", "private_key", "client_email"],
        told: "project_id, private_key and client_email of a service account, or api",
    }],
    credentials: |spec| match spec.account {
        Some(account) => vec![Slot::Account(Arc::new(NoExchange(account.clone())))],
        None => Slot::keys(spec),
    },
    ..Engine::PLAIN
};

/// Vertex AI with API keys.
pub(super) static VERTEX_EXPRESS: Engine =
    Engine { names: &["vertex-express"], needs: &[Need::Key], ..Engine::PLAIN };

/// Azure OpenAI and Azure AI Foundry.
pub(super) static AZURE: Engine =
    Engine { names: &["azure"], detect: |url| url.is_on("azure.com"), ..Engine::PLAIN };

/// Databricks serving endpoints.
pub(super) static DATABRICKS: Engine = Engine {
    names: &["azure-databricks", "databricks"],
    detect: |url| {
        ["azuredatabricks.net", "cloud.databricks.com", "gcp.databricks.com"].iter().any(|on| url.is_on(on))
    },
    ..Engine::PLAIN
};

/// Amazon Bedrock.
pub(super) static BEDROCK: Engine = Engine {
    is_regional: true,
    names: &["aws", "bedrock"],
    old_names: &["bedrock-converse"],
    detect: |url| url.host.contains("amazonaws.com"),
    hints: &["aws_access_key", "aws_secret_key"],
    needs: &[Need::AccountOrKey {
        settings: &["aws_access_key", "aws_secret_key"],
        told: "aws_access_key and aws_secret_key, or api",
    }],
    credentials: |spec| match spec.pair {
        Some(pair) => vec![Slot::Pair(pair.clone())],
        None => Slot::keys(spec),
    },
    ..Engine::PLAIN
};

/// OpenAI Responses as the only endpoint.
pub(super) static RESPONSES: Engine = Engine {
    names: &["responses"],
    old_names: &["codex"],
    detect: |url| url.path.ends_with("/responses"),
    ..Engine::PLAIN
};

/// A provider that takes no request.
struct Unserved {
    reason: String,
}

/// A provider that refuses for this reason.
pub(super) fn unserved(reason: &Unsupported) -> Arc<dyn Provider> {
    Arc::new(Unserved { reason: reason.to_string() })
}

impl Provider for Unserved {
    fn address(&self, _: Wanted<'_>) -> Result<Uri, Unsupported> {
        Err(Unsupported(self.reason.clone().into()))
    }

    fn sign(&self, _: &mut Request<Vec<Bytes>>, _: Option<&Presented<'_>>) -> Result<(), Unsupported> {
        Err(Unsupported(self.reason.clone().into()))
    }
}

/// The issuer of a service account in a version that asks no upstream by one.
struct NoExchange(ServiceAccount);

#[async_trait]
impl Issuer for NoExchange {
    fn account(&self) -> Fingerprint {
        self.0.private_key.fingerprint().clone()
    }

    async fn issue(&self) -> Result<Token, String> {
        Err("service accounts are not served by this version".to_owned())
    }
}
