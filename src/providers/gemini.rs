//! Google AI Studio: Gemini by API key, at Google, behind Cloudflare's gateway or behind a relay.
//!
//! Its OpenAI-compatible paths are OpenAI's format and none of this.
//!
//! Source: <https://ai.google.dev/api>.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Envelope, Kind, Quirks};
use http::{HeaderName, Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};
use serde_json::Value;

use super::path::segment;
use super::{is_openai_shim, put, secret_of, sensitive, usable, with_path};
use crate::engine::{Engine, Listing, Pages, ProviderSpec};

/// Google AI Studio.
pub(super) static GEMINI: Engine = Engine {
    names: &["gemini"],
    detect: |url| {
        !is_openai_shim(url)
            && (url.path.ends_with("/v1beta")
                || url.host == "generativelanguage.googleapis.com"
                || url.path.contains("google-ai-studio/v1"))
    },
    dialect: Dialect::Gemini,
    envelope: Envelope::GEMINI,
    quirks: |base_url| Quirks { stream_options: true, system_in_turns: is_v1(base_url), ..Quirks::NONE },
    listing: Some(Listing {
        path: |base| format!("{}/models?pageSize=1000", root(base)),
        list: "/models",
        name: "/name",
        pages: Some(Pages { token: "/nextPageToken", parameter: "pageToken" }),
    }),
    listed,
    build: |spec| Ok(Arc::new(Gemini::new(spec)?)),
    ..Engine::PLAIN
};

const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// An upstream with Gemini's paths.
struct Gemini {
    base: Uri,
}

impl Gemini {
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        Ok(Self { base: usable(spec.base_url)? })
    }
}

/// The path under which the models lie: up to and including the version, the usual one where none
/// is written.
fn root(base: &Uri) -> String {
    let path = base.path().trim_end_matches('/');
    let path = path.split("/models").next().unwrap_or(path);
    let last = path.rsplit('/').next().unwrap_or_default();
    if matches!(last, "v1" | "v1beta" | "v1alpha") { path.to_owned() } else { format!("{path}/v1beta") }
}

/// Whether it is the stable version, which knows less.
fn is_v1(base_url: Option<&str>) -> bool {
    usable(base_url).is_ok_and(|base| root(&base).ends_with("/v1"))
}

/// A model as the rest of a path; a tuned one has a folder of its own.
fn resource(model: &str) -> Result<String, Unsupported> {
    let (folder, name) = match model.split_once('/') {
        Some((folder @ ("models" | "tunedModels"), name)) => (folder, name),
        _ => ("models", model),
    };
    Ok(format!("{folder}/{}", segment(name)?))
}

/// The models that answer; others are for vectors, pictures or films.
fn listed<'a>(name: &'a str, entry: &Value) -> Option<&'a str> {
    let methods = entry["supportedGenerationMethods"].as_array();
    let generates = methods.is_none_or(|methods| methods.iter().any(|method| method == "generateContent"));
    generates.then(|| name.strip_prefix("models/").unwrap_or(name))
}

impl Provider for Gemini {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let Wanted { endpoint, model, stream, .. } = wanted;
        let method = match endpoint.kind {
            // Without `alt` a stream is an array that comes piece by piece.
            Kind::Chat if stream => "streamGenerateContent?alt=sse",
            Kind::Chat => "generateContent",
            Kind::CountTokens => "countTokens",
            kind => return Err(Unsupported(format!("it has no {} of this format", kind.label()).into())),
        };
        with_path(&self.base, &format!("{}/{}:{method}", root(&self.base), resource(model)?))
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        // In the query it would stand in the logs of everybody in between.
        if let Some(secret) = secret_of(with)? {
            put(request, X_GOOG_API_KEY, sensitive(secret.expose().into())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use layers::endpoint::{CHAT_COMPLETIONS, MODERATIONS};
    use serde_json::json;

    use super::*;
    use crate::providers::testing::spec;

    fn address(base_url: &str, model: &str, stream: bool) -> String {
        let provider = Gemini::new(&spec(&GEMINI, base_url)).unwrap();
        let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model, place: None, stream };
        provider.address(wanted).map_or_else(|refused| refused.to_string(), |uri| uri.to_string())
    }

    #[test]
    fn every_form_of_base_url_leads_to_the_model_s_method() {
        const GOOGLE: &str = "https://generativelanguage.googleapis.com";
        const CLOUDFLARE: &str = "https://gateway.ai.cloudflare.com/v1/A/G/google-ai-studio";
        for (base, root) in [
            (format!("{GOOGLE}/v1beta"), format!("{GOOGLE}/v1beta")),
            (format!("{GOOGLE}/v1beta/"), format!("{GOOGLE}/v1beta")),
            (format!("{GOOGLE}/v1"), format!("{GOOGLE}/v1")),
            (format!("{GOOGLE}/v1alpha"), format!("{GOOGLE}/v1alpha")),
            (GOOGLE.to_owned(), format!("{GOOGLE}/v1beta")),
            (format!("{GOOGLE}/v1beta/models/x:generateContent"), format!("{GOOGLE}/v1beta")),
            (format!("{CLOUDFLARE}/v1"), format!("{CLOUDFLARE}/v1")),
            (format!("{CLOUDFLARE}/v1beta"), format!("{CLOUDFLARE}/v1beta")),
            ("https://relay.test/gemini".to_owned(), "https://relay.test/gemini/v1beta".to_owned()),
        ] {
            assert_eq!(
                address(&base, "gemini-2.5-pro", false),
                format!("{root}/models/gemini-2.5-pro:generateContent")
            );
            assert_eq!(address(&base, "m", true), format!("{root}/models/m:streamGenerateContent?alt=sse"));
        }
    }

    #[test]
    fn the_query_of_the_base_url_stands_beside_the_method_s() {
        assert_eq!(
            address("https://relay.test/v1beta?token=t", "m", true),
            "https://relay.test/v1beta/models/m:streamGenerateContent?alt=sse&token=t"
        );
    }

    #[test]
    fn a_tuned_model_has_a_folder_of_its_own_and_no_name_leads_elsewhere() {
        let of = |model| address("https://a.test/v1beta", model, false);

        assert_eq!(of("tunedModels/mine"), "https://a.test/v1beta/tunedModels/mine:generateContent");
        assert_eq!(of("models/m"), "https://a.test/v1beta/models/m:generateContent");
        assert_eq!(of("other/m"), "https://a.test/v1beta/models/other%2Fm:generateContent");
        assert_eq!(of("models/.."), "the name of its model cannot stand in a path");
    }

    #[test]
    fn the_stable_version_has_no_field_for_instructions() {
        for (base, expected) in [
            ("https://generativelanguage.googleapis.com/v1", true),
            ("https://generativelanguage.googleapis.com/v1/models", true),
            ("https://generativelanguage.googleapis.com/v1beta", false),
            ("https://generativelanguage.googleapis.com", false),
        ] {
            let quirks = (GEMINI.quirks)(Some(base));
            assert_eq!(quirks.system_in_turns, expected, "{base}");
        }
    }

    #[test]
    fn what_has_no_address_here_is_refused() {
        let provider = Gemini::new(&spec(&GEMINI, "https://a.test/v1beta")).unwrap();

        let wanted = Wanted { endpoint: &MODERATIONS, model: "m", place: None, stream: false };
        assert!(provider.address(wanted).is_err());
    }

    #[test]
    fn a_list_names_the_models_that_generate() {
        let entry = |methods: Value| json!({ "name": "models/m", "supportedGenerationMethods": methods });

        assert_eq!(listed("models/m", &entry(json!(["generateContent", "countTokens"]))), Some("m"));
        assert_eq!(listed("models/m", &entry(json!(["embedContent"]))), None);
        assert_eq!(listed("models/m", &json!({ "name": "models/m" })), Some("m"));
        assert_eq!(
            (GEMINI.listing.unwrap().path)(&"https://a.test/v1".parse().unwrap()),
            "/v1/models?pageSize=1000"
        );
    }
}
