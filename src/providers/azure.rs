//! Azure OpenAI and Azure AI Foundry: OpenAI's format under addresses of several forms.
//!
//! Sources: <https://learn.microsoft.com/azure/ai-foundry/openai/reference>,
//! <https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle>,
//! <https://learn.microsoft.com/rest/api/aifoundry/modelinference/>. What Azure serves in other formats has rows of its
//! own: Claude (`/anthropic/v1/messages`) is Anthropic's, `/responses` that of Responses.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Kind, Quirks, Repair, Repairs};
use http::header::AUTHORIZATION;
use http::{HeaderName, Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::{bearer, put, secret_of, segment, sensitive, usable, with_path};
use crate::engine::{Engine, ProviderSpec};

/// Azure OpenAI and Azure AI Foundry.
pub(super) static AZURE: Engine = Engine {
    names: &["azure"],
    detect: |url| url.is_on("azure.com") && !url.path.ends_with("/responses"),
    quirks: |_| Quirks {
        stream_options: true,
        repairs: Repairs::of(&[
            Repair::MaxCompletionTokens,
            Repair::FixedSampling,
            Repair::BareChunks,
            Repair::FinishWords,
        ]),
        ..Quirks::NONE
    },
    build: |spec| Ok(Arc::new(Azure::new(spec)?)),
    ..Engine::PLAIN
};

/// The version where neither the address nor the channel names one.
const VERSION: &str = "2024-10-21";
const PARAMETER: &str = "api-version";
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Endings that an address may have; what stands before one of them is the base path.
const ENDPOINTS: [&str; 10] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/generations",
    "/images/edits",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
    "/responses",
    "/models/info",
];

/// A resource of Azure's.
struct Azure {
    base: Uri,
    form: Form,
}

/// The form of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// Below this path each deployment has one of its own, named like the model.
    Resource(String),
    /// The path is that of one deployment.
    Deployment(String),
    /// Models by their names, below this path, in the version-less API.
    V1(String),
    /// Models of all makers by their names, below this path: the API of model inference.
    Inference(String),
}

impl Azure {
    /// Derives what addresses have in common.
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        let base = usable(spec.base_url)?;
        let form = Form::of(&base);
        let base = match form.version(spec.api_version) {
            Some(version) if !names_version(&base) => with_version(&base, version)?,
            _ => base,
        };
        Ok(Self { base, form })
    }
}

impl Form {
    fn of(base: &Uri) -> Self {
        let written = base.path().trim_end_matches('/');
        let path = ENDPOINTS.iter().find_map(|end| written.strip_suffix(end)).unwrap_or(written);
        let host = base.host().unwrap_or_default().to_ascii_lowercase();
        let is_foundry = host.ends_with(".services.ai.azure.com");
        if let Some((before, deployment)) = path.split_once("/openai/deployments") {
            let deployment = deployment.trim_start_matches('/').split('/').next().unwrap_or_default();
            return match deployment {
                "" => Self::Resource(before.to_owned()),
                name => Self::Deployment(format!("{before}/openai/deployments/{name}")),
            };
        }
        // Also where only the list of models, or the first half of the path, is written.
        if let Some(before) = path.strip_suffix("/openai/v1/models").or(path.strip_suffix("/openai/v1")) {
            return Self::V1(format!("{before}/openai/v1"));
        }
        if path.ends_with("/models") {
            return Self::Inference(path.to_owned());
        }
        match path.strip_suffix("/openai").unwrap_or(path) {
            // Of all forms it takes models of every maker, and needs no version.
            before if (is_foundry && before.is_empty()) || before.contains("/api/projects/") => {
                Self::V1(format!("{before}/openai/v1"))
            }
            // An endpoint that is written down and has no form of Azure's own stands behind a gateway, or is that of
            // one model, as every endpoint of the serverless kind is.
            before if before == path && (written != path || host.ends_with(".models.ai.azure.com")) => {
                Self::Deployment(before.to_owned())
            }
            before => Self::Resource(before.to_owned()),
        }
    }

    /// The version that is asked for, where it needs one.
    fn version<'a>(&self, configured: Option<&'a str>) -> Option<&'a str> {
        match self {
            // It knows `preview` and `latest`, and refuses dates.
            Self::V1(_) => {
                configured.filter(|version| !version.starts_with(|first: char| first.is_ascii_digit()))
            }
            _ => Some(configured.unwrap_or(VERSION)),
        }
    }

    /// The path for an operation, such as `/chat/completions`.
    fn path(&self, model: &str, operation: &str) -> Result<String, Unsupported> {
        Ok(match self {
            Self::Resource(root) => format!("{root}/openai/deployments/{}{operation}", segment(model)?),
            Self::Deployment(root) | Self::V1(root) | Self::Inference(root) => format!("{root}{operation}"),
        })
    }
}

/// Whether a URL names the version among its parameters, wherever it stands there.
fn names_version(base: &Uri) -> bool {
    let parameters = base.query().unwrap_or_default().split('&');
    parameters
        .filter_map(|parameter| parameter.split_once('='))
        .any(|(name, value)| name.eq_ignore_ascii_case(PARAMETER) && !value.is_empty())
}

fn with_version(base: &Uri, version: &str) -> Result<Uri, Unsupported> {
    let others = base.query().unwrap_or_default().split('&');
    let others = others.filter(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        !name.is_empty() && !name.eq_ignore_ascii_case(PARAMETER)
    });
    let query: String = others.flat_map(|parameter| [parameter, "&"]).collect();
    let invalid = || Unsupported("its api_version cannot stand in a URL".into());
    let version = segment(version).map_err(|_refused| invalid())?;
    let mut parts = base.clone().into_parts();
    parts.path_and_query = format!("{}?{query}{PARAMETER}={version}", base.path()).parse().ok();
    Uri::from_parts(parts).map_err(|_refused| invalid())
}

impl Provider for Azure {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let endpoint = wanted.endpoint;
        let operation = match endpoint.kind {
            Kind::Chat => Some("/chat/completions"),
            // It moderates by itself, and has no endpoint for it.
            Kind::Moderate => None,
            _ if endpoint.client == Dialect::OpenAiChat && !endpoint.path.contains('{') => {
                endpoint.path.strip_prefix("/v1")
            }
            _ => None,
        };
        match operation {
            Some(operation) => with_path(&self.base, &self.form.path(wanted.model, operation)?),
            None => Err(Unsupported(format!("Azure has no {} of this format", endpoint.kind.label()).into())),
        }
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        match secret_of(with)? {
            // A token of Entra ID is a bearer; keys are letters and digits.
            Some(secret) if is_token(secret.expose()) => put(request, AUTHORIZATION, bearer(secret)?),
            Some(secret) => put(request, API_KEY, sensitive(secret.expose().into())?),
            None => {}
        }
        Ok(())
    }
}

/// Whether a secret is a JSON Web Token.
fn is_token(secret: &str) -> bool {
    secret.starts_with("eyJ") && secret.matches('.').count() == 2
}

#[cfg(test)]
mod tests {
    use dialect::Dialect;
    use http::Method;
    use layers::endpoint::{AnswerForm, CHAT_COMPLETIONS, Endpoint, MODERATIONS, RequestForm};
    use layers::policy::Fingerprint;
    use layers::ports::Secret;

    use super::*;
    use crate::providers::testing::spec;

    static EMBEDDINGS: Endpoint = Endpoint {
        label: "POST /v1/embeddings",
        method: Method::POST,
        path: "/v1/embeddings",
        kind: Kind::Embed,
        client: Dialect::OpenAiChat,
        request: RequestForm::Json,
        answer: AnswerForm::Json,
        may_be_empty: false,
        keeps: false,
    };

    fn address(
        base_url: &str,
        api_version: Option<&str>,
        model: &str,
        endpoint: &'static Endpoint,
    ) -> Result<String, Unsupported> {
        let azure = Azure::new(&ProviderSpec { api_version, ..spec(&AZURE, base_url) })?;
        Ok(azure.address(Wanted { endpoint, model, place: None, stream: false })?.to_string())
    }

    fn chat(base_url: &str) -> String {
        address(base_url, None, "gpt-5.2", &CHAT_COMPLETIONS).unwrap()
    }

    #[test]
    fn every_form_of_address_leads_to_its_chat_endpoint() {
        let deployment = "/openai/deployments/gpt-5.2/chat/completions";
        for (base, expected) in [
            // Bare resources.
            (
                "https://r.openai.azure.com",
                &*format!("https://r.openai.azure.com{deployment}?api-version=2024-10-21"),
            ),
            (
                "https://r.openai.azure.com/openai/",
                &format!("https://r.openai.azure.com{deployment}?api-version=2024-10-21"),
            ),
            (
                "https://r.cognitiveservices.azure.com?api-version=2025-04-01-preview",
                &format!("https://r.cognitiveservices.azure.com{deployment}?api-version=2025-04-01-preview"),
            ),
            (
                "https://r.openai.azure.com/openai/deployments",
                &format!("https://r.openai.azure.com{deployment}?api-version=2024-10-21"),
            ),
            // One deployment, which need not be named like the model.
            (
                "https://r.openai.azure.com/openai/deployments/mine/chat/completions?x=1&api-version=2024-02-01",
                "https://r.openai.azure.com/openai/deployments/mine/chat/completions?x=1&api-version=2024-02-01",
            ),
            (
                "https://r.openai.azure.com/openai/deployments/mine?x=1",
                "https://r.openai.azure.com/openai/deployments/mine/chat/completions?x=1&api-version=2024-10-21",
            ),
            // The API without versions.
            ("https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1/chat/completions"),
            (
                "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview",
                "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview",
            ),
            ("https://r.services.ai.azure.com", "https://r.services.ai.azure.com/openai/v1/chat/completions"),
            (
                "https://r.services.ai.azure.com/api/projects/p",
                "https://r.services.ai.azure.com/api/projects/p/openai/v1/chat/completions",
            ),
            (
                "https://r.services.ai.azure.com/api/projects/p/openai/v1/",
                "https://r.services.ai.azure.com/api/projects/p/openai/v1/chat/completions",
            ),
            // Model inference.
            (
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
            ),
            (
                "https://r.services.ai.azure.com/models/chat/completions",
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://r.services.ai.azure.com/models",
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-10-21",
            ),
            // Behind a gateway, and serverless.
            (
                "https://gateway.ai.cloudflare.com/v1/a/g/azure-openai/r/d/chat/completions?api-version=2024-06-01",
                "https://gateway.ai.cloudflare.com/v1/a/g/azure-openai/r/d/chat/completions?api-version=2024-06-01",
            ),
            (
                "https://m.eastus2.models.ai.azure.com",
                "https://m.eastus2.models.ai.azure.com/chat/completions?api-version=2024-10-21",
            ),
        ] {
            assert_eq!(chat(base), expected, "{base}");
        }
    }

    #[test]
    fn other_operations_stand_where_chat_does() {
        let embed = |base| address(base, None, "text-embedding-3-small", &EMBEDDINGS).unwrap();

        assert_eq!(
            embed("https://r.openai.azure.com"),
            "https://r.openai.azure.com/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21"
        );
        assert_eq!(
            embed("https://r.services.ai.azure.com/models/chat/completions"),
            "https://r.services.ai.azure.com/models/embeddings?api-version=2024-10-21"
        );
        assert_eq!(
            embed("https://r.services.ai.azure.com/openai/v1/chat/completions"),
            "https://r.services.ai.azure.com/openai/v1/embeddings"
        );
        assert!(address("https://r.openai.azure.com", None, "m", &MODERATIONS).is_err());
    }

    #[test]
    fn the_channel_s_version_counts_where_the_address_names_none() {
        let chat = |base: &str, version| address(base, Some(version), "m", &CHAT_COMPLETIONS);
        let resource = "https://r.openai.azure.com";
        let v1 = "https://r.openai.azure.com/openai/v1";

        assert!(chat(resource, "2025-01-01-preview").unwrap().ends_with("?api-version=2025-01-01-preview"));
        assert!(
            chat(&format!("{resource}?API-Version=2024-02-01"), "2025-01-01-preview")
                .unwrap()
                .ends_with("?API-Version=2024-02-01")
        );
        assert!(
            chat(&format!("{resource}?api-version="), "2025-01-01")
                .unwrap()
                .ends_with("?api-version=2025-01-01")
        );
        assert!(chat(v1, "preview").unwrap().ends_with("?api-version=preview"));
        assert!(chat(v1, "2025-01-01").unwrap().ends_with("/chat/completions"), "it refuses dates");
        assert!(chat(resource, "2025&x=1").unwrap().ends_with("?api-version=2025%26x%3D1"));
    }

    #[test]
    fn a_deployment_is_one_segment_of_the_path() {
        let of = |model| address("https://r.openai.azure.com", None, model, &CHAT_COMPLETIONS);

        assert!(of("a/b c").unwrap().contains("/openai/deployments/a%2Fb%20c/chat/completions?"));
        assert!(of("../x").is_err());
    }

    #[test]
    fn a_key_has_a_header_of_its_own_and_a_token_is_a_bearer() {
        let signed = |key: &str| {
            let azure = Azure::new(&spec(&AZURE, "https://r.openai.azure.com")).unwrap();
            let key = Secret::new(key, Fingerprint::new("print"));
            let mut request = Request::new(Vec::new());
            azure.sign(&mut request, Some(&Presented::Key(&key))).unwrap();
            request.headers().clone()
        };

        let (key, token) = (signed("0a1b2c"), signed("eyJhbGciOi.eyJhdWQi.c2ln"));

        assert_eq!((&key["api-key"], key.get("authorization")), (&"0a1b2c".parse().unwrap(), None));
        assert_eq!(token["authorization"], "Bearer eyJhbGciOi.eyJhdWQi.c2ln");
        assert!(token.get("api-key").is_none());
    }
}
