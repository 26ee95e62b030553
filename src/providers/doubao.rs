//! Doubao translation on Volcengine Ark: a model that translates and does nothing else, behind the address of
//! responses. Ark's other models there speak plain Responses.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Kind};
use http::header::AUTHORIZATION;
use http::{Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::responses::RESPONSES;
use super::{bearer, put, secret_of, usable};
use crate::engine::{Engine, ProviderSpec};

/// Doubao translation on Volcengine Ark.
pub(super) static DOUBAO: Engine = Engine {
    names: &["doubao"],
    old_names: &["doubao-translation"],
    detect: |url| url.is_on("volces.com") && url.path.ends_with("/api/v3/responses"),
    // The Ark endpoint speaks Responses except for its translation models.
    refine: |model, is_explicit| (!is_explicit && !model.contains("translation")).then_some(&RESPONSES),
    dialect: Dialect::DoubaoTranslation,
    build: |spec| Ok(Arc::new(Doubao::new(spec)?)),
    ..Engine::PLAIN
};

/// An upstream that translates.
struct Doubao {
    responses: Uri,
}

impl Doubao {
    fn new(spec: &ProviderSpec<'_>) -> Result<Self, Unsupported> {
        Ok(Self { responses: usable(spec.base_url)? })
    }
}

impl Provider for Doubao {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        match wanted.endpoint.kind {
            Kind::Chat => Ok(self.responses.clone()),
            kind => Err(Unsupported(format!("it translates and has no {}", kind.label()).into())),
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
    use layers::endpoint::{CHAT_COMPLETIONS, MODERATIONS};

    use super::*;
    use crate::providers::testing::spec;

    #[test]
    fn texts_are_translated_at_the_address_as_it_is_written_and_nothing_else_is_asked_there() {
        let base = "https://ark.cn-beijing.volces.com/api/v3/responses";
        let provider = (DOUBAO.build)(&spec(&DOUBAO, base)).unwrap();
        let asked = |endpoint| provider.address(Wanted { endpoint, model: "m", place: None, stream: false });

        assert_eq!(asked(&CHAT_COMPLETIONS).unwrap(), base);
        assert_eq!(asked(&MODERATIONS).unwrap_err().to_string(), "it translates and has no moderation");
    }
}
