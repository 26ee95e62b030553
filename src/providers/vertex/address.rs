//! The addresses of Vertex AI: a host for each location, a path with project, location and model.
//!
//! Source: <https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest>, for hosts
//! <https://cloud.google.com/vertex-ai/docs/general/locations>.

use http::Uri;
use layers::ports::Unsupported;

use super::regions::GLOBAL;
use crate::providers::path::segment;
use crate::providers::{usable, with_path};

/// The host of Google's own, which stands for all of them.
pub(super) const GOOGLE: &str = "https://aiplatform.googleapis.com";
const HOST: &str = "aiplatform.googleapis.com";

/// The beginning of all addresses of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// As it is written, or Google's.
    url: Uri,
    /// The path before the version, without a slash at its end.
    prefix: String,
    version: &'static str,
    /// The location that its host is for; without, each location has its host at Google's.
    pub(super) location: Option<String>,
    is_google: bool,
}

/// The model of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publisher {
    Google,
    Anthropic,
}

impl Base {
    /// Reads a channel's `base_url`, if it has one. Anything from the project on is cut off.
    pub(super) fn of(base_url: Option<&str>) -> Result<Self, Unsupported> {
        let url = usable(base_url.or(Some(GOOGLE)))?;
        let path = url.path().trim_end_matches('/');
        let (prefix, version) = versioned(path);
        let (host, last) = (url.host().unwrap_or_default(), prefix.rsplit('/').next().unwrap_or_default());
        // Of a relay the path may name the host that it leads to.
        let location = location_of(host).or_else(|| location_of(last)).map(str::to_owned);
        let is_google = host.eq_ignore_ascii_case(HOST) && prefix.is_empty();
        let prefix = prefix.to_owned();
        Ok(Self { prefix, version, location, is_google, url })
    }

    /// The path before the version.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The location that it is for, where it names one.
    pub(super) fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The address of a model of a project in a location.
    pub(super) fn in_project(
        &self,
        (project, location): (&str, &str),
        (publisher, model): (Publisher, &str),
        method: &str,
    ) -> Result<Uri, Unsupported> {
        let (project, location) = (part(project, "project_id")?, part(location, "region")?);
        let Self { prefix, version, .. } = self;
        let model = resource(publisher, model)?;
        let path = format!("{prefix}/{version}/projects/{project}/locations/{location}/{model}:{method}");
        with_path(&self.at(location)?, &path)
    }

    /// The address of a model of Google's for keys, whose project goes without saying.
    pub(super) fn express(&self, model: &str, method: &str) -> Result<Uri, Unsupported> {
        let Self { prefix, version, .. } = self;
        let model = resource(Publisher::Google, model)?;
        with_path(&self.url, &format!("{prefix}/{version}/{model}:{method}"))
    }

    /// The base URL for a location.
    fn at(&self, location: &str) -> Result<Uri, Unsupported> {
        if !self.is_google || location == GLOBAL {
            return Ok(self.url.clone());
        }
        let host = match location {
            "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
            region => format!("{region}-{HOST}"),
        };
        let mut parts = self.url.clone().into_parts();
        let authority = match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        let unusable = || Unsupported("its region is no name of a place".into());
        parts.authority = Some(authority.parse().map_err(|_invalid| unusable())?);
        Uri::from_parts(parts).map_err(|_invalid| unusable())
    }
}

/// A path before its version, and the version: the usual one, where the path names none.
fn versioned(path: &str) -> (&str, &'static str) {
    for version in ["v1beta1", "v1"] {
        for (at, found) in path.match_indices(version).collect::<Vec<_>>().into_iter().rev() {
            let (before, after) = (&path[..at], &path[at + found.len()..]);
            let is_end =
                after.is_empty() || after.starts_with("/projects") || after.starts_with("/publishers");
            if is_end && let Some(prefix) = before.strip_suffix('/') {
                return (prefix, version);
            }
        }
    }
    (path, "v1")
}

/// The location that a host of Google's is for; none of the one that is for all.
fn location_of(host: &str) -> Option<&str> {
    let location = match host.strip_suffix("-aiplatform.googleapis.com") {
        Some(region) => region,
        None => host.strip_prefix("aiplatform.")?.strip_suffix(".rep.googleapis.com")?,
    };
    is_name(location).then_some(location)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A project or location as a part of a path.
pub(super) fn part<'a>(text: &'a str, setting: &str) -> Result<&'a str, Unsupported> {
    // Projects of organisations are `example.com:name`.
    let is_part = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        && !matches!(text, "." | "..");
    if is_part { Ok(text) } else { Err(Unsupported(format!("its {setting} cannot stand in a path").into())) }
}

/// A model as the rest of a path, whatever form its name has.
fn resource(publisher: Publisher, model: &str) -> Result<String, Unsupported> {
    let (folder, prefixes): (_, &[&str]) = match publisher {
        Publisher::Google => ("google", &["publishers/google/models/", "models/", "google/"]),
        Publisher::Anthropic => ("anthropic", &["publishers/anthropic/models/", "models/", "anthropic/"]),
    };
    // A tuned model is asked where it was deployed.
    if let Some(endpoint) = model.strip_prefix("endpoints/") {
        return Ok(format!("endpoints/{}", segment(endpoint)?));
    }
    let name = prefixes.iter().find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model);
    let name = match publisher {
        Publisher::Google => name.to_owned(),
        Publisher::Anthropic => dated(name),
    };
    Ok(format!("publishers/{folder}/models/{}", segment(&name)?))
}

/// A Claude by the name that Vertex has for it, also where the one of Anthropic itself is written:
/// the date stands behind an `@` here.
fn dated(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((model, date)) if date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{model}@{date}")
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_project(base: Option<&str>, location: &str, publisher: Publisher, model: &str) -> String {
        let base = Base::of(base).unwrap();
        let method = if publisher == Publisher::Google { "generateContent" } else { "streamRawPredict" };
        match base.in_project(("P", location), (publisher, model), method) {
            Ok(uri) => uri.to_string(),
            Err(unsupported) => unsupported.to_string(),
        }
    }

    #[test]
    fn each_location_has_its_host_and_stands_in_the_path() {
        for (location, host) in [
            ("global", "aiplatform.googleapis.com"),
            ("us", "aiplatform.us.rep.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
            ("us-east5", "us-east5-aiplatform.googleapis.com"),
        ] {
            for base in [
                None,
                Some("https://aiplatform.googleapis.com/"),
                Some("https://aiplatform.googleapis.com/v1"),
            ] {
                assert_eq!(
                    in_project(base, location, Publisher::Google, "gemini-3-pro-preview"),
                    format!(
                        "https://{host}/v1/projects/P/locations/{location}/publishers/google/models/gemini-3-pro-preview:generateContent"
                    )
                );
            }
        }
        assert_eq!(
            in_project(None, "us-east5", Publisher::Anthropic, "claude-sonnet-4-5@20250929"),
            "https://us-east5-aiplatform.googleapis.com/v1/projects/P/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict"
        );
    }

    #[test]
    fn an_address_that_is_written_wins_and_keeps_what_leads_to_it() {
        let path = "/v1/projects/P/locations/us-east5/publishers/google/models/m:generateContent";
        for (base, expected) in [
            (
                "https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai",
                "https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai",
            ),
            (
                "https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai/v1",
                "https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai",
            ),
            ("https://proxy.test/aiplatform.googleapis.com/", "https://proxy.test/aiplatform.googleapis.com"),
            ("http://127.0.0.1:9/v1/projects/Q/locations/x", "http://127.0.0.1:9"),
            ("https://us-west1-aiplatform.googleapis.com", "https://us-west1-aiplatform.googleapis.com"),
        ] {
            assert_eq!(
                in_project(Some(base), "us-east5", Publisher::Google, "m"),
                format!("{expected}{path}")
            );
        }
        assert_eq!(
            in_project(Some("https://a.test/v1beta1?k=v"), "global", Publisher::Google, "m"),
            "https://a.test/v1beta1/projects/P/locations/global/publishers/google/models/m:generateContent?k=v"
        );
    }

    #[test]
    fn a_host_of_one_location_names_it() {
        for (base, location) in [
            ("https://us-east5-aiplatform.googleapis.com", Some("us-east5")),
            ("https://aiplatform.eu.rep.googleapis.com", Some("eu")),
            ("https://proxy.test/us-east1-aiplatform.googleapis.com", Some("us-east1")),
            ("https://aiplatform.googleapis.com", None),
            ("https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai", None),
        ] {
            assert_eq!(Base::of(Some(base)).unwrap().location(), location, "{base}");
        }
    }

    #[test]
    fn a_model_is_found_by_every_form_of_its_name() {
        for (publisher, model, path) in [
            (Publisher::Google, "publishers/google/models/gemini-x", "publishers/google/models/gemini-x"),
            (Publisher::Google, "models/gemini-x", "publishers/google/models/gemini-x"),
            (Publisher::Google, "google/gemini-x", "publishers/google/models/gemini-x"),
            (Publisher::Google, "endpoints/123", "endpoints/123"),
            (Publisher::Anthropic, "claude-opus-4-6", "publishers/anthropic/models/claude-opus-4-6"),
            (
                Publisher::Anthropic,
                "claude-sonnet-4-5-20250929",
                "publishers/anthropic/models/claude-sonnet-4-5@20250929",
            ),
        ] {
            assert_eq!(resource(publisher, model).unwrap(), path);
        }
    }

    #[test]
    fn neither_project_nor_region_nor_model_chooses_a_path() {
        let base = Base::of(None).unwrap();
        let of = |project, location, model| {
            base.in_project((project, location), (Publisher::Google, model), "x")
                .map_err(|refused| refused.to_string())
        };

        for project in ["", "..", "a/b", "a?b", "[p, q]"] {
            assert_eq!(of(project, "global", "m"), Err("its project_id cannot stand in a path".to_owned()));
        }
        for region in ["", "a/b", "evil.test/x"] {
            assert!(of("p", region, "m").is_err());
        }
        for model in ["../m", "endpoints/..", "models/", "a%2fb"] {
            assert!(of("p", "global", model).is_err(), "{model}");
        }
        assert!(of("example.com:p", "global", "m").is_ok());
    }
}
