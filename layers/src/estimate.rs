//! Guesses the length of a request in tokens: characters of text divided by four.
//!
//! A tokenizer would be exact for one family of models and wrong for the others; the guess serves
//! `tpr` limits and the reservation of credits, both of which are settled with real usage.

use dialect::{Body, Condensed};

use crate::endpoint::Endpoint;
use crate::ports::InputTokens;
use crate::stage::Exchange;

/// The size of a request, as far as its body tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Text that goes in.
    pub input: InputTokens,
    /// Pictures, sounds and files that go in.
    pub media: u64,
    /// The most output tokens that the client wants, if it says so.
    pub most_output: Option<u64>,
}

/// The input estimate of a request: text only, pictures and sound count nothing. A body that cannot
/// be read counts nothing. Reads the whole body.
pub fn input_tokens(exchange: &Exchange) -> InputTokens {
    size(exchange).input
}

/// The input estimate, and the limit that the client sets to the output.
pub fn size(exchange: &Exchange) -> Size {
    size_of(exchange.endpoint, &exchange.body)
}

/// The same of a body that was sent to an endpoint.
pub fn size_of(endpoint: &Endpoint, body: &Body) -> Size {
    let size = endpoint.client.size(endpoint.kind, body);
    Size { input: InputTokens(size.characters / 4), media: size.media, most_output: size.most_output }
}

/// The content of a request, kept until its answer has ended: nearly always the answer tells what it
/// took, and nothing of this is read.
#[derive(Debug)]
pub enum Kept {
    /// The body, or what is left of it without its media.
    Text(Body),
    /// What was found by looking over a text too long to be kept.
    Glanced(Size),
}

impl Kept {
    /// Longest text that is kept: what a stream holds as long as it lasts.
    const LONGEST: usize = 64 << 10;

    /// Of a body. A short one is kept as it is, which costs a reference count.
    pub fn of(body: &Body) -> Self {
        match body {
            Body::Json(json) if json.len() > Self::LONGEST => {
                let Condensed { text, length, media } = dialect::condensed(json, Self::LONGEST);
                match text {
                    Some(text) => Self::Text(Body::Json(text.into())),
                    None => Self::Glanced(Size {
                        input: InputTokens(length as u64 / 4),
                        media,
                        most_output: None,
                    }),
                }
            }
            // What is uploaded to be heard or looked at.
            Body::Form(form) => {
                let files = form.parts().iter().filter(|part| part.filename.is_some()).count();
                Self::Glanced(Size { media: files as u64, ..Size::default() })
            }
            short => Self::Text(short.clone()),
        }
    }

    /// Its size. Reads the whole text.
    pub fn size(&self, endpoint: &Endpoint) -> Size {
        match self {
            Self::Text(body) => size_of(endpoint, body),
            Self::Glanced(size) => *size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::exchange;

    #[test]
    fn a_quarter_of_the_characters_are_tokens_and_the_limit_is_the_client_s() {
        let said =
            serde_json::json!({ "messages": [{ "role": "user", "content": "éééé eight" }], "max_tokens": 7 });

        let size = size(&exchange().fields(said).build());

        assert_eq!(size, Size { input: InputTokens(2), media: 0, most_output: Some(7) });
    }

    #[test]
    fn a_long_body_is_estimated_by_its_text_and_not_by_its_media() {
        let picture = format!("data:image/png;base64,{}", "A".repeat(3 << 20));
        let pictured = exchange().fields(serde_json::json!({ "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "four" }, { "type": "image_url", "image_url": { "url": picture } },
        ]}]}));
        let wordy = exchange().saying(&"words ".repeat(100_000));
        let kept = |exchange: crate::testing::stage::ExchangeBuilder| {
            let exchange = exchange.build();
            let size = Kept::of(&exchange.body).size(exchange.endpoint);
            (size.input.0, size.media)
        };

        assert_eq!(kept(pictured), (1, 1));
        let (tokens, media) = kept(wordy);
        assert!((150_000..150_100).contains(&tokens) && media == 0, "{tokens} {media}");
    }
}
