//! Workers AI at Cloudflare in its own format: the model is in the path, behind the account.
//!
//! The interface in OpenAI's format that it offers beside it is an upstream of that format.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Envelope, Kind, Place};
use http::header::AUTHORIZATION;
use http::{Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::path::segments;
use super::{OPENAI, bearer, put, secret_of, segment, usable, with_path};
use crate::engine::{BaseUrl, Engine, Listing, Need, Numbered, ProviderSpec};

/// Cloudflare Workers AI.
pub(super) static CLOUDFLARE: Engine = Engine {
    names: &["cloudflare"],
    detect: |url| url.host == HOST,
    hints: &["cf_account_id"],
    at: |url| is_compatible(url).then_some(&OPENAI),
    needs: &[Need::SettingOrBaseUrl("cf_account_id"), Need::Key],
    dialect: Dialect::Cloudflare,
    envelope: Envelope { model: Place::Path, fetches_media: true, ..Envelope::PLAIN },
    listing: Some(Listing {
        path: |base| base.path().to_owned(),
        list: "/result",
        name: "/name",
        pages: None,
    }),
    lists_at: Some(listed),
    numbered: Some(Numbered { total: "/result_info/total_count", size: PAGE, parameter: "page" }),
    build: |spec| Ok(Arc::new(Cloudflare::new(spec)?)),
    ..Engine::PLAIN
};

const HOST: &str = "api.cloudflare.com";
/// Models on a page of the list.
const PAGE: usize = 100;

/// Whether this is the interface in OpenAI's format.
fn is_compatible(url: &BaseUrl<'_>) -> bool {
    let ends = ["/ai/v1", "/workers-ai/v1", "/v1/chat/completions", "/v1/embeddings", "/v1/models"];
    ends.iter().any(|end| url.path.ends_with(end))
}

/// An upstream of Workers AI.
struct Cloudflare {
    base: Uri,
    /// The path before the model.
    root: String,
}

impl Cloudflare {
    /// Derives the path: of the account, or below an address that holds it already, as that of an AI Gateway does.
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        let base = base(spec)?;
        let path = base.path().trim_end_matches('/');
        let up_to = |part: &str| path.find(&format!("{part}/")).map(|at| &path[..at + part.len()]);
        let root = match () {
            () if path.ends_with("/ai/run") || path.ends_with("/workers-ai") => path.to_owned(),
            () if path.ends_with("/ai") => format!("{path}/run"),
            () => match up_to("/ai/run").or_else(|| up_to("/workers-ai")) {
                Some(root) => root.to_owned(),
                None => format!("{}/ai/run", account(spec, path)?),
            },
        };
        Ok(Self { root, base })
    }
}

fn base(spec: &ProviderSpec<'_>) -> Result<Uri, Unsupported> {
    usable(spec.base_url.or(Some("https://api.cloudflare.com")))
}

/// The path of the account.
fn account(spec: &ProviderSpec<'_>, path: &str) -> Result<String, Unsupported> {
    if let Some((_, behind)) = path.rsplit_once("/accounts/")
        && !behind.contains('/')
    {
        return Ok(path.to_owned());
    }
    let id = spec.cf_account.ok_or_else(|| Unsupported("it needs cf_account_id".into()))?;
    let root = path.strip_suffix("/client/v4").unwrap_or(path);
    Ok(format!("{root}/client/v4/accounts/{}", segment(id)?))
}

/// The list of models that can be asked, which an AI Gateway does not have.
///
/// Source: <https://developers.cloudflare.com/api/resources/ai/subresources/models/>.
fn listed(spec: &ProviderSpec<'_>) -> Option<Uri> {
    let base = base(spec).ok()?;
    let path = base.path().trim_end_matches('/');
    let path = path.find("/ai/run").map_or(path, |at| &path[..at]);
    let account = account(spec, path.strip_suffix("/ai").unwrap_or(path)).ok()?;
    let list = format!("{account}/ai/models/search?per_page={PAGE}&task=Text%20Generation");
    (!path.contains("/workers-ai")).then(|| with_path(&base, &list).ok()).flatten()
}

impl Provider for Cloudflare {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        match wanted.endpoint.kind {
            Kind::Chat => with_path(&self.base, &format!("{}/{}", self.root, segments(wanted.model)?)),
            kind => Err(Unsupported(format!("it has no {} of this format", kind.label()).into())),
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use layers::endpoint::CHAT_COMPLETIONS;

    use super::*;
    use crate::providers::testing::spec;

    const MODEL: &str = "@cf/meta/llama-3.1-8b-instruct";

    fn asked<'a>(base_url: Option<&'a str>, cf_account: Option<&'a str>) -> ProviderSpec<'a> {
        ProviderSpec { base_url, cf_account, ..spec(&CLOUDFLARE, "") }
    }

    fn chat(base_url: Option<&str>, cf_account: Option<&str>) -> Result<String, Unsupported> {
        let provider = Cloudflare::new(&asked(base_url, cf_account))?;
        let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model: MODEL, place: None, stream: true };
        provider.address(wanted).map(|uri| uri.to_string())
    }

    #[test]
    fn the_model_stands_as_it_is_behind_the_account_or_behind_the_address() {
        let run = "https://api.cloudflare.com/client/v4/accounts/ID/ai/run/@cf/meta/llama-3.1-8b-instruct";
        for (base, account) in [
            (None, Some("ID")),
            (Some("https://api.cloudflare.com/"), Some("ID")),
            (Some("https://api.cloudflare.com/client/v4"), Some("ID")),
            (Some("https://api.cloudflare.com/client/v4/accounts/ID"), None),
            (Some("https://api.cloudflare.com/client/v4/accounts/ID/ai"), None),
            (Some("https://api.cloudflare.com/client/v4/accounts/ID/ai/run"), None),
            (Some("https://api.cloudflare.com/client/v4/accounts/ID/ai/run/@cf/x/y"), Some("other")),
        ] {
            assert_eq!(chat(base, account).unwrap(), run, "{base:?}");
        }
        assert_eq!(
            chat(Some("http://127.0.0.1:9/cf"), Some("ID")).unwrap(),
            format!("http://127.0.0.1:9/cf/client/v4/accounts/ID/ai/run/{MODEL}")
        );
        let gateway = "https://gateway.ai.cloudflare.com/v1/A/G/workers-ai";
        assert_eq!(chat(Some(gateway), None).unwrap(), format!("{gateway}/{MODEL}"));
        assert!(chat(Some("https://api.cloudflare.com"), None).is_err());
        assert!(chat(None, Some("../x")).is_err(), "an account is no way through folders");
    }

    #[test]
    fn models_are_listed_where_the_account_is_and_not_at_a_gateway() {
        let list = "/client/v4/accounts/ID/ai/models/search?per_page=100&task=Text%20Generation";
        for (base, account) in [
            (None, Some("ID")),
            (Some("https://api.cloudflare.com/client/v4/accounts/ID/ai/run"), None),
            (Some("https://api.cloudflare.com/client/v4/accounts/ID/ai"), None),
        ] {
            let found = listed(&asked(base, account)).unwrap();
            assert_eq!(found.path_and_query().unwrap(), list, "{base:?}");
        }
        assert_eq!(
            listed(&asked(Some("https://gateway.ai.cloudflare.com/v1/A/G/workers-ai"), Some("ID"))),
            None
        );
    }
}
