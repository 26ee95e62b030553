//! Wire dialects of uni-api: intermediate form, codecs and framing, without I/O.
//!
//! A *dialect* is how bytes are shaped; where they go and how they are signed is a provider's business and lives
//! elsewhere. Each dialect has one folder: `wire` (borrowed shapes), `request`, `response`, `stream` and `probe`.
//! Two dialects meet only in [`ir`], so a new one costs one folder and one arm of [`Dialect`], not one converter per
//! partner. Equal dialects never meet at all: their bytes are forwarded and only watched, by a [`Probe`].
//!
//! Everything here is pure: no clock, no randomness, no socket. Identities and times come in through [`StreamStyle`].

mod anthropic;
mod body;
mod dialect;
mod error_body;
mod error_shape;
mod fields;
pub mod form;
pub mod framing;
mod fresh_text;
pub mod ir;
mod json_scan;
mod kind;
mod lenient;
mod media;
pub mod moderation;
mod names;
mod openai_chat;
mod sighting;

pub use body::{Body, ModelPlace};
pub use dialect::{
    Correspondence, DecodeEvents, Dialect, EncodeEvents, Inbound, Malformed, Outbound, Probe, StreamStyle,
    Unsupported, UpstreamRequest,
};
pub use error_body::{normalise as normalise_error, scrub};
pub use error_shape::ErrorShape;
pub use form::Form;
pub use framing::{Frame, Framer, Frames, Framing, frames};
pub use kind::Kind;
pub use sighting::{Depth, Detail, Sighting};
