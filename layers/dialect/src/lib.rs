//! Wire dialects of uni-api: intermediate form, codecs and framing, without I/O.
//!
//! A *dialect* is how bytes are shaped; where they go and how they are signed is a provider's business and lives
//! elsewhere. Each dialect has one folder: `wire` (borrowed shapes), `request`, `response`, `stream` and `probe`.
//! Two dialects meet only in [`ir`], so a new one costs one folder and one row ([`Dialect::codec`]), not one converter
//! per partner. Equal dialects never meet at all: their bytes are forwarded and only watched, by a [`Probe`].
//!
//! Layers see a dialect through a [`Conversion`] ([`between`]), what is aimed at ([`Aim`]) and what an answer tells
//! ([`Sighting`]), and through nothing else.
//!
//! Everything here is pure: no clock, no randomness, no socket. Identities and times come in through [`Ask`].

mod aim;
mod anthropic;
mod asked;
mod aws_error;
mod body;
mod cache_marks;
mod cloudflare;
mod codec;
mod cohere;
mod converse;
pub mod conversion;
mod dialect;
mod doubao;
mod error_body;
mod error_shape;
mod evidence;
mod exact;
mod fields;
pub mod form;
pub mod framing;
mod fresh_text;
mod gemini;
mod head;
pub mod ir;
mod json_scan;
mod kept;
mod kind;
mod lenient;
mod media;
pub mod moderation;
mod names;
mod offered;
mod openai_chat;
mod opening;
mod paired;
mod rekey;
mod responses;
mod rope;
mod scrub;
mod seals;
mod sighting;
mod size;
mod stops;
mod surrogates;
mod think_tags;
mod turned;
mod wait;
mod worded;

pub use aim::{Aim, Betas, Envelope, Google, Lack, Place, Quirks};
pub use asked::Asked;
pub use body::{Body, ModelPlace};
pub use codec::{
    Client, Codec, Correspondence, DecodeEvents, EncodeEvents, Identity, Inbound, Manner, Outbound, Probe,
    Received, Upstream, Watch, Written,
};
pub use conversion::{
    AnswerForm, Answered, Ask, Conversion, FetchedMedia, Kept, Neutral, Refused, Sent, SentBody, Transcode,
    Whole, answer_form, between, tells_its_form,
};
pub use dialect::{Dialect, Malformed, Unsupported};
pub use error_body::normalise as normalise_error;
pub use error_shape::ErrorShape;
pub use evidence::Evidence;
pub use exact::json_bytes;
pub use form::Form;
pub use framing::{Frame, Framer, Frames, Framing, frames};
pub use fresh_text::TextScope;
pub use head::Head;
pub use kept::{Answers, AnswersOf, Earlier, KeptAnswer, KeptCall};
pub use kind::Kind;
pub use openai_chat::{Repair, Repairs};
pub use scrub::{
    Care, Secrets, end_of, hide, hide_in_part, may_be_written_oddly, open_end, scrub, scrub_json,
};
pub use seals::{Sealed, Seals, SealsOf};
pub use sighting::{Depth, Detail, Sighting};
pub use size::{Condensed, Size, condensed};
