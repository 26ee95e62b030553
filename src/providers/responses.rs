//! Upstreams whose conversations are those of OpenAI's Responses API: everything else lies beside it, as at any
//! upstream of the OpenAI format.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Dialect, Kind};
use http::{Request, Uri};
use layers::address::OBJECT;
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::openai::{self, OpenAi};
use super::with_path;
use crate::engine::{Engine, ProviderSpec};

/// OpenAI Responses.
pub(super) static RESPONSES: Engine = Engine {
    names: &["responses"],
    old_names: &["codex"],
    detect: |url| url.path.ends_with("/responses"),
    dialect: Dialect::Responses,
    listing: Some(openai::LISTING),
    build: |spec| Ok(Arc::new(Responses(upstream(spec)?))),
    ..Engine::PLAIN
};

/// An upstream whose conversations are responses.
struct Responses(OpenAi);

fn upstream(spec: &ProviderSpec<'_>) -> Result<OpenAi, Unsupported> {
    let upstream = OpenAi::new(spec)?;
    let path = format!("{}/responses", openai::root(upstream.base()));
    upstream.chatting_at(&path)
}

impl Provider for Responses {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        let endpoint = wanted.endpoint;
        // Whatever else is asked of responses lies below them.
        let below = endpoint.path.strip_prefix("/v1/responses").filter(|_| endpoint.kind != Kind::Chat);
        match below {
            Some(below) => {
                let path =
                    format!("{}/responses{}", openai::root(self.0.base()), below.replace("{id}", OBJECT));
                with_path(self.0.base(), &path)
            }
            None => self.0.address(wanted),
        }
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        self.0.sign(request, with)
    }
}

#[cfg(test)]
mod tests {
    use layers::endpoint::{CHAT_COMPLETIONS, Endpoint, MODERATIONS};

    use super::*;
    use crate::providers::testing::spec;

    fn address(base_url: &str, endpoint: &'static Endpoint) -> String {
        let provider = (RESPONSES.build)(&spec(&RESPONSES, base_url)).unwrap();
        provider.address(Wanted { endpoint, model: "m", place: None, stream: true }).unwrap().to_string()
    }

    #[test]
    fn conversations_go_to_responses_and_all_else_beside_it() {
        for (base, chat) in [
            ("https://api.openai.com/v1/responses", "https://api.openai.com/v1/responses"),
            ("https://api.openai.com", "https://api.openai.com/v1/responses"),
            ("https://x.example/api/v3/responses/", "https://x.example/api/v3/responses"),
            ("https://a.example/v1", "https://a.example/v1/responses"),
            ("https://a.example/v1/chat/completions", "https://a.example/v1/responses"),
            (
                "https://a.example/openai/responses?api-version=preview",
                "https://a.example/openai/responses?api-version=preview",
            ),
        ] {
            assert_eq!(address(base, &CHAT_COMPLETIONS), chat, "{base}");
        }
        assert_eq!(
            address("https://a.example/v1/responses", &MODERATIONS),
            "https://a.example/v1/moderations"
        );
    }
}
