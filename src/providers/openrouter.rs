//! OpenRouter: OpenAI's format, with the name of the program in a header of its own.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Quirks, Repair, Repairs};
use http::{HeaderName, HeaderValue, Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use super::openai::{self, OpenAi};
use super::put;
use crate::engine::{Engine, ProviderSpec};

/// OpenRouter.
pub(super) static OPENROUTER: Engine = Engine {
    names: &["openrouter"],
    detect: |url| url.is_on("openrouter.ai"),
    quirks: |_| Quirks {
        stream_options: true,
        repairs: Repairs::of(&[Repair::ReasoningField]),
        ..Quirks::NONE
    },
    listing: Some(openai::LISTING),
    build: |spec| Ok(Arc::new(OpenRouter(upstream(spec)?))),
    ..Engine::PLAIN
};

/// An upstream that is OpenRouter, wherever it is.
struct OpenRouter(OpenAi);

fn upstream(spec: &ProviderSpec<'_>) -> Result<OpenAi, Unsupported> {
    let upstream = OpenAi::new(spec)?;
    let path = upstream.base().path().trim_end_matches('/').to_owned();
    // Written down, the engine may stand beside an endpoint of another format: the address is taken
    // at its word.
    let is_endpoint = openai::root(upstream.base()) != path;
    if spec.engine_is_explicit && is_endpoint { upstream.chatting_at(&path) } else { Ok(upstream) }
}

/// Tells OpenRouter which program asks.
fn put_title(request: &mut Request<Vec<Bytes>>) {
    put(request, HeaderName::from_static("x-title"), HeaderValue::from_static("uni-api"));
}

impl Provider for OpenRouter {
    fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
        self.0.address(wanted)
    }

    fn sign(
        &self,
        request: &mut Request<Vec<Bytes>>,
        with: Option<&Presented<'_>>,
    ) -> Result<(), Unsupported> {
        self.0.sign(request, with)?;
        put_title(request);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use layers::endpoint::CHAT_COMPLETIONS;

    use super::*;
    use crate::providers::testing::spec;

    fn chat(is_explicit: bool, base_url: &str) -> String {
        let spec = ProviderSpec { engine_is_explicit: is_explicit, ..spec(&OPENROUTER, base_url) };
        let provider = (OPENROUTER.build)(&spec).unwrap();
        let wanted = Wanted { endpoint: &CHAT_COMPLETIONS, model: "m", place: None, stream: false };
        provider.address(wanted).unwrap().to_string()
    }

    #[test]
    fn an_address_beside_the_written_engine_is_taken_at_its_word() {
        let messages = "https://a.example/v1/messages";

        assert_eq!(chat(true, messages), messages);
        assert_eq!(chat(false, messages), "https://a.example/v1/chat/completions");
        assert_eq!(chat(true, "https://a.example/v1"), "https://a.example/v1/chat/completions");
    }

    #[test]
    fn it_learns_which_program_asks_unless_the_channel_says_another() {
        let provider = (OPENROUTER.build)(&spec(&OPENROUTER, "https://a.example/v1")).unwrap();
        let (mut plain, mut named) = (Request::new(Vec::new()), Request::new(Vec::new()));
        named.headers_mut().insert("x-title", HeaderValue::from_static("mine"));

        provider.sign(&mut plain, None).unwrap();
        provider.sign(&mut named, None).unwrap();

        assert_eq!(
            (&plain.headers()["x-title"], &named.headers()["x-title"]),
            (&"uni-api".parse().unwrap(), &"mine".parse().unwrap())
        );
    }
}
