//! The dialects whose codecs are tested. A new codec adds its row here, and everything that is promised of all codecs is
//! tested of it: golden cases, prefixes, requests by the provider's own types, mutated inputs, `make fuzz`.

use dialect::Dialect;

/// The dialects that upstreams speak.
pub(crate) const UPSTREAMS: &[Dialect] = &[
    Dialect::Anthropic, //
    Dialect::OpenAiChat,
    Dialect::Responses,
    Dialect::DoubaoTranslation,
    Dialect::Gemini,
    Dialect::Converse,
    Dialect::CohereV2,
    Dialect::CohereV1,
    Dialect::Cloudflare,
];
