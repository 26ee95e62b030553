//! Guesses the length of a request in tokens: characters of text divided by four.
//!
//! A tokenizer would be exact for one family of models and wrong for the others; the guess serves
//! `tpr` limits and the reservation of credits, both of which are settled with real usage.

use dialect::Body;

use crate::endpoint::Endpoint;
use crate::ports::InputTokens;
use crate::stage::Exchange;

/// The size of a request, as far as its body tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Text that goes in.
    pub input: InputTokens,
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
    Size { input: InputTokens(size.characters / 4), most_output: size.most_output }
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

        assert_eq!(size, Size { input: InputTokens(2), most_output: Some(7) });
    }
}
