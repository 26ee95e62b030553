//! Databricks serving endpoints: OpenAI's format, the endpoint's name in the path.
//!
//! Source: <https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Envelope, Kind, Place, Quirks, Repair, Repairs};
use http::header::AUTHORIZATION;
use http::{Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::{bearer, put, secret_of, segment, usable, with_path};
use crate::engine::{Engine, Listing, ProviderSpec};

/// Databricks serving endpoints.
pub(super) static DATABRICKS: Engine = Engine {
    names: &["azure-databricks", "databricks"],
    detect: |url| {
        ["azuredatabricks.net", "cloud.databricks.com", "gcp.databricks.com"].iter().any(|on| url.is_on(on))
    },
    envelope: Envelope { model: Place::Path, ..Envelope::PLAIN },
    quirks: |_| Quirks {
        // It is in every chunk, and many endpoints refuse the question.
        stream_options: false,
        repairs: Repairs::of(&[
            Repair::SystemRole,
            Repair::MaxTokens,
            Repair::NoBookkeeping,
            Repair::UsageUnasked,
            Repair::StripThoughts,
            Repair::ClaudeThinking,
            Repair::ContentParts,
        ]),
        ..Quirks::NONE
    },
    listing: Some(Listing {
        path: |_| "/api/2.0/serving-endpoints".to_owned(),
        list: "/endpoints",
        name: "/name",
        pages: None,
    }),
    build: |spec| Ok(Arc::new(Databricks::new(spec)?)),
    ..Engine::PLAIN
};

/// A workspace.
struct Databricks {
    base: Uri,
    /// What stands before `/serving-endpoints`.
    root: String,
    /// The endpoint that the address names.
    endpoint: Option<String>,
}

impl Databricks {
    /// Takes the address apart: that of the workspace, of its endpoints, or of one of them.
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        let base = usable(spec.base_url)?;
        let path = base.path().trim_end_matches('/');
        let (root, rest) = path.split_once("/serving-endpoints").unwrap_or((path, ""));
        let endpoint = rest.trim_start_matches('/').strip_suffix("/invocations").map(str::to_owned);
        Ok(Self { root: root.to_owned(), endpoint, base })
    }
}

impl Provider for Databricks {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let kind = wanted.endpoint.kind;
        // One path for all that an endpoint does.
        let is_its_own = wanted.endpoint.client == Dialect::OpenAiChat
            && matches!(kind, Kind::Chat | Kind::Completion | Kind::Embed);
        if !is_its_own && kind != Kind::Chat {
            return Err(Unsupported(format!("Databricks has no {} of this format", kind.label()).into()));
        }
        let name = match &self.endpoint {
            Some(written) => written.into(),
            None => segment(wanted.model)?,
        };
        with_path(&self.base, &format!("{}/serving-endpoints/{name}/invocations", self.root))
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        if let Some(secret) = secret_of(with)? {
            put(request, AUTHORIZATION, bearer(secret)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use layers::endpoint::{CHAT_COMPLETIONS, MODERATIONS};
    use layers::policy::Fingerprint;
    use layers::ports::Secret;

    use super::*;
    use crate::providers::testing::spec;

    fn chat(base_url: &str, model: &str) -> Result<String, Unsupported> {
        let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model, place: None, stream: false };
        Ok(Databricks::new(&spec(&DATABRICKS, base_url))?.address(wanted)?.to_string())
    }

    #[test]
    fn the_endpoint_is_in_the_path() {
        let model = "databricks-claude-sonnet-4";
        let expected =
            "https://xxx.azuredatabricks.net/serving-endpoints/databricks-claude-sonnet-4/invocations";
        for base in [
            "https://xxx.azuredatabricks.net",
            "https://xxx.azuredatabricks.net/",
            "https://xxx.azuredatabricks.net/serving-endpoints",
            "https://xxx.azuredatabricks.net/serving-endpoints/chat/completions",
        ] {
            assert_eq!(chat(base, model).unwrap(), expected, "{base}");
        }
        assert_eq!(
            chat("https://gw.example/dbx/serving-endpoints/mine/invocations?o=1", model).unwrap(),
            "https://gw.example/dbx/serving-endpoints/mine/invocations?o=1"
        );
        assert!(chat("https://xxx.azuredatabricks.net", "../x").is_err());
    }

    #[test]
    fn what_it_has_no_endpoint_for_is_refused() {
        let provider = Databricks::new(&spec(&DATABRICKS, "https://xxx.azuredatabricks.net")).unwrap();
        let wanted = Wanted { endpoint: &MODERATIONS, model: "m", place: None, stream: false };

        assert!(provider.address(wanted).is_err());
    }

    #[test]
    fn a_token_is_a_bearer() {
        let provider = Databricks::new(&spec(&DATABRICKS, "https://xxx.azuredatabricks.net")).unwrap();
        let key = Secret::new("dapi0a1b", Fingerprint::new("print"));
        let mut request = Request::new(Vec::new());

        provider.sign(&mut request, Some(&Presented::Key(&key))).unwrap();

        assert_eq!(request.headers()["authorization"], "Bearer dapi0a1b");
    }
}
