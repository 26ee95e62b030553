//! Vertex AI: Gemini and Claude at Google Cloud, by service account or, Gemini alone, by API key
//! (Vertex Express).
//!
//! Each region is a place of the channel: which regions a model is served in is a table
//! ([`regions`]), unless `region` or the host of `base_url` says it. The project stands in the path.
//! Where credentials have projects of their own, the one of the credential at hand is put there when
//! the request is signed. A key is asked for without a project, and goes on with its project when
//! Google says that it cannot do without.

mod account;
mod address;
mod regions;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dialect::{Dialect, Envelope, Kind, ir};
use foldhash::fast::RandomState;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use layers::policy::Fingerprint;
use layers::ports::{Presented, Provider, Unsupported, Wanted};
use serde_json::Value;

pub use self::account::key_problem;

use self::account::GoogleIssuer;
use self::address::{Base, GOOGLE, Publisher};
use self::regions::GLOBAL;
use super::{bearer, put, sensitive, with_path};
use crate::engine::{Engine, Listing, Need, Pages, ProviderSpec, Slot};

/// Vertex AI before the model's name decides; no model has it.
pub(super) static VERTEX: Engine = Engine {
    names: &["vertex"],
    detect: |url| {
        !super::is_openai_shim(url)
            && (url.host.ends_with("aiplatform.googleapis.com")
                || url.host.ends_with("rep.googleapis.com")
                || url.host.ends_with("gateway.ai.cloudflare.com") && url.path.contains("google-vertex-ai")
                || url.path.contains("aiplatform.googleapis.com"))
    },
    hints: &["project_id", "private_key"],
    with_keys: Some(&VERTEX_EXPRESS),
    refine: |model, _| Some(if model.contains("claude") { &VERTEX_CLAUDE } else { &VERTEX_GEMINI }),
    listing: Some(GEMINI_MODELS),
    more_listings: &[CLAUDE_MODELS],
    ..BY_ACCOUNT
};

/// Gemini on Vertex AI.
pub(super) static VERTEX_GEMINI: Engine =
    Engine { names: &["vertex-gemini"], listing: Some(GEMINI_MODELS), ..BY_ACCOUNT };

/// Claude on Vertex AI.
pub(super) static VERTEX_CLAUDE: Engine = Engine {
    names: &["vertex-claude"],
    dialect: Dialect::Anthropic,
    envelope: Envelope::VERTEX_CLAUDE,
    places: |spec, model| places(spec, regions::of_claude(model)),
    listing: Some(CLAUDE_MODELS),
    build: |spec| Ok(Arc::new(Vertex::new(spec, Publisher::Anthropic)?)),
    ..BY_ACCOUNT
};

/// Gemini on Vertex AI with API keys.
pub(super) static VERTEX_EXPRESS: Engine = Engine {
    names: &["vertex-express"],
    needs: &[Need::Key],
    credentials: Slot::keys,
    is_regional: false,
    places: |_, _| Vec::new(),
    ..BY_ACCOUNT
};

/// What the engines of Vertex AI have in common that are asked by a service account.
const BY_ACCOUNT: Engine = Engine {
    dialect: Dialect::Gemini,
    envelope: Envelope::VERTEX_GEMINI,
    is_regional: true,
    places: |spec, model| places(spec, regions::of_google(model)),
    needs: &[Need::AccountOrKey {
        settings: &["project_id", "private_key", "client_email"],
        told: "project_id, private_key and client_email of a service account, or api",
    }],
    credentials: |spec| match spec.accounts {
        [] => Slot::keys(spec),
        accounts => {
            let issuer = |account| Slot::Account(Arc::new(GoogleIssuer::new(account, spec.link)));
            accounts.iter().map(issuer).collect()
        }
    },
    base: Some(GOOGLE),
    listed,
    build: |spec| Ok(Arc::new(Vertex::new(spec, Publisher::Google)?)),
    ..Engine::PLAIN
};

/// Source: <https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/publishers.models/list>.
const GEMINI_MODELS: Listing = Listing {
    path: |base| list_path(base, "google"),
    list: "/publisherModels",
    name: "/name",
    pages: Some(Pages { token: "/nextPageToken", parameter: "pageToken" }),
};
const CLAUDE_MODELS: Listing = Listing { path: |base| list_path(base, "anthropic"), ..GEMINI_MODELS };

fn list_path(base: &Uri, publisher: &str) -> String {
    let prefix = Base::of(Some(&base.to_string())).map(|base| base.prefix().to_owned()).unwrap_or_default();
    format!("{prefix}/v1beta1/publishers/{publisher}/models?pageSize=100")
}

/// Google lists all that it has for whatever use; what answers chats is Gemini and Claude.
fn listed<'a>(name: &'a str, _: &Value) -> Option<&'a str> {
    let name = name.rsplit('/').next()?;
    let is_chat = name.starts_with("claude-") || (name.starts_with("gemini-") && !name.contains("embedding"));
    is_chat.then_some(name)
}

/// What is missing where a Claude is to be asked with a key.
const CLAUDE_NEEDS: &str =
    "Claude on Vertex AI takes a service account: project_id, private_key and client_email";

const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const X_GOOG_USER_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// The regions of a model on a channel that names none: the one that its address is for, else those
/// of the table. A key has none.
fn places(spec: &ProviderSpec<'_>, table: &'static [&'static str]) -> Vec<Cow<'static, str>> {
    match Base::of(spec.base_url) {
        _ if spec.accounts.is_empty() => Vec::new(),
        Ok(Base { location: Some(location), .. }) => vec![location.into()],
        _ => table.iter().map(|region| Cow::Borrowed(*region)).collect(),
    }
}

/// Vertex AI for the models of one publisher.
struct Vertex {
    base: Base,
    publisher: Publisher,
    by_account: bool,
    /// The project in the addresses.
    project: Option<String>,
    /// The credentials that have a project.
    owners: HashMap<Fingerprint, Owner, RandomState>,
}

/// A credential that has a project.
struct Owner {
    project: String,
    /// Whether it is asked for by name, where that goes without saying at first.
    is_named: AtomicBool,
}

// === impl Vertex ===

impl Vertex {
    fn new(spec: &ProviderSpec<'_>, publisher: Publisher) -> Result<Self, Unsupported> {
        let base = Base::of(spec.base_url)?;
        let by_account = !spec.accounts.is_empty();
        if !by_account && publisher == Publisher::Anthropic {
            return Err(Unsupported(CLAUDE_NEEDS.into()));
        }
        let accounts = spec.accounts.iter().map(|account| (&account.private_key, Some(&account.project)));
        let of = |at| if spec.projects.len() == 1 { spec.projects.first() } else { spec.projects.get(at) };
        let keys = spec.keys.iter().enumerate().map(|(at, key)| (key, of(at)));
        let keys = keys.filter(|_| !by_account);
        let owners: Vec<(Fingerprint, String)> = accounts
            .chain(keys)
            .filter_map(|(secret, project)| Some((secret.fingerprint().clone(), project?.clone())))
            .collect();
        let project = owners.first().map(|(_, project)| project.clone());
        let owner = |project| Owner { project, is_named: AtomicBool::new(false) };
        let owners = owners.into_iter().map(|(secret, project)| (secret, owner(project))).collect();
        Ok(Self { base, publisher, by_account, project, owners })
    }

    /// Puts the project of a credential into the address.
    fn name_project(&self, uri: &mut Uri, owner: &Owner) -> Result<(), Unsupported> {
        let path = uri.path();
        let path = match &self.project {
            Some(first) if path.contains("/projects/") => {
                if *first == owner.project {
                    return Ok(());
                }
                path.replacen(&format!("/projects/{first}/"), &format!("/projects/{}/", owner.project), 1)
            }
            _ if owner.is_named.load(Ordering::Relaxed) => {
                let project = address::part(&owner.project, "project_id")?;
                let named = format!("/projects/{project}/locations/{GLOBAL}/publishers/");
                path.replacen("/publishers/", &named, 1)
            }
            _ => return Ok(()),
        };
        *uri = with_path(uri, &path)?;
        Ok(())
    }
}

impl Provider for Vertex {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let Wanted { endpoint, model, place, stream } = wanted;
        let (model, method) = match (endpoint.kind, self.publisher, stream) {
            (Kind::Chat, Publisher::Google, false) => (model, "generateContent"),
            (Kind::Chat, Publisher::Google, true) => (model, "streamGenerateContent?alt=sse"),
            (Kind::Chat, Publisher::Anthropic, false) => (model, "rawPredict"),
            (Kind::Chat, Publisher::Anthropic, true) => (model, "streamRawPredict"),
            (Kind::CountTokens, Publisher::Google, _) => (model, "countTokens"),
            // A model of its own that counts for all others.
            (Kind::CountTokens, Publisher::Anthropic, _) => ("count-tokens", "rawPredict"),
            (kind, ..) => {
                return Err(Unsupported(format!("it has no {} of this format", kind.label()).into()));
            }
        };
        match &self.project {
            Some(project) if self.by_account || place.is_some() => {
                let location = place.or(self.base.location()).unwrap_or(GLOBAL);
                self.base.in_project((project, location), (self.publisher, model), method)
            }
            _ if wanted.model.contains("claude") => Err(Unsupported(CLAUDE_NEEDS.into())),
            _ => self.base.express(model, method),
        }
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        let owner = match with {
            None => return Ok(()),
            Some(Presented::Token(token)) => {
                put(request, AUTHORIZATION, bearer(token)?);
                self.owners.get(token.fingerprint())
            }
            Some(Presented::Key(key)) => {
                put(request, X_GOOG_API_KEY, sensitive(key.expose().into())?);
                self.owners.get(key.fingerprint())
            }
            Some(Presented::Pair(_)) => {
                return Err(Unsupported("a pair of keys does not sign for it".into()));
            }
        };
        let Some(owner) = owner else { return Ok(()) };
        if request.method() == Method::GET {
            // A list of models has no project in its path, and somebody's quota has to count it.
            let project = HeaderValue::from_str(&owner.project);
            let project = project.map_err(|_invalid| Unsupported("its project_id is no name".into()))?;
            put(request, X_GOOG_USER_PROJECT, project);
            return Ok(());
        }
        self.name_project(request.uri_mut(), owner)
    }

    fn relearns(&self, key: &Fingerprint, status: StatusCode, error: &ir::Error) -> bool {
        let Some(owner) = self.owners.get(key).filter(|_| !self.by_account) else { return false };
        let said = error.message.to_lowercase();
        let was_named = owner.is_named.load(Ordering::Relaxed);
        let is_other = match status.as_u16() {
            // Keys that are bound to a service account are refused without its project.
            401 | 403 | 404 if was_named => true,
            401 | 403 | 404 => said.contains("project") || said.contains("api keys are not supported"),
            400 => {
                !was_named
                    && said.contains("project")
                    && ["required", "missing", "specif"].iter().any(|word| said.contains(word))
            }
            _ => false,
        };
        if is_other {
            owner.is_named.store(!was_named, Ordering::Relaxed);
        }
        is_other
    }
}

#[cfg(test)]
mod tests;
