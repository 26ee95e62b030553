//! Cohere's own chat: its second version, or the first where the address names that.
//!
//! The interface in OpenAI's format that it offers beside them is an upstream of that format.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Kind};
use http::header::AUTHORIZATION;
use http::{Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::{OPENAI, bearer, put, secret_of, usable, with_path};
use crate::engine::{BaseUrl, Engine, Listing, Pages, ProviderSpec};

/// Cohere, version 2.
pub(super) static COHERE: Engine = Engine {
    names: &["cohere"],
    detect: |url| matches!(&*url.host, "api.cohere.com" | "api.cohere.ai") && !is_compatible(url),
    at: |url| match () {
        () if is_compatible(url) => Some(&OPENAI),
        () if url.path.ends_with("/v1") || url.path.ends_with("/v1/chat") => Some(&COHERE_V1),
        () => None,
    },
    ..VERSION
};

/// Cohere, version 1.
pub(super) static COHERE_V1: Engine = Engine { names: &["cohere-v1"], dialect: Dialect::CohereV1, ..VERSION };

/// What both versions have in common.
const VERSION: Engine = Engine {
    dialect: Dialect::CohereV2,
    listing: Some(Listing {
        // Those of other endpoints cannot be asked here.
        path: |base| format!("{}/v1/models?page_size=1000&endpoint=chat", root(base.path())),
        list: "/models",
        name: "/name",
        pages: Some(Pages { token: "/next_page_token", parameter: "page_token" }),
    }),
    build: |spec| Ok(Arc::new(Cohere::new(spec)?)),
    ..Engine::PLAIN
};

/// Whether this is the interface in OpenAI's format.
fn is_compatible(url: &BaseUrl<'_>) -> bool {
    url.path.contains("/compatibility/") || url.path.ends_with("/compatibility")
}

/// What stands before the version in a path.
fn root(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/chat").unwrap_or(path);
    path.strip_suffix("/v1").or(path.strip_suffix("/v2")).unwrap_or(path)
}

/// An upstream of either version.
struct Cohere {
    chat: Uri,
}

impl Cohere {
    /// Derives the URL. A path that ends in `/chat` is taken at its word.
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        let base = usable(spec.base_url)?;
        let path = base.path().trim_end_matches('/');
        let version = if spec.engine.dialect == Dialect::CohereV1 { "v1" } else { "v2" };
        let chat = match path.ends_with("/chat") {
            true => path.to_owned(),
            false => format!("{}/{version}/chat", root(path)),
        };
        Ok(Self { chat: with_path(&base, &chat)? })
    }
}

impl Provider for Cohere {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        match wanted.endpoint.kind {
            Kind::Chat => Ok(self.chat.clone()),
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
    use super::*;
    use crate::providers::testing::spec;

    #[test]
    fn the_path_says_which_version_is_asked() {
        for (base, engine, chat, models) in [
            ("https://api.cohere.com", "cohere", "/v2/chat", "/v1/models"),
            ("https://api.cohere.com/v2/chat", "cohere", "/v2/chat", "/v1/models"),
            ("https://api.cohere.com/v2", "cohere", "/v2/chat", "/v1/models"),
            ("https://api.cohere.ai/v1/chat", "cohere-v1", "/v1/chat", "/v1/models"),
            ("https://api.cohere.com/v1/", "cohere-v1", "/v1/chat", "/v1/models"),
            ("https://a.test/own/chat", "cohere", "/own/chat", "/own/v1/models"),
            ("https://a.test/own", "cohere", "/own/v2/chat", "/own/v1/models"),
        ] {
            let url: Uri = base.parse().unwrap();
            let found = COHERE.at(&url);
            assert_eq!(found.name(), engine, "{base}");
            let provider = Cohere::new(&spec(found, base)).unwrap();
            assert_eq!(provider.chat.path(), chat, "{base}");
            let listing = found.listing.unwrap();
            assert_eq!((listing.path)(&url), format!("{models}?page_size=1000&endpoint=chat"), "{base}");
        }
        assert_eq!(COHERE.at(&"https://api.cohere.ai/compatibility/v1".parse().unwrap()), &OPENAI);
    }
}
