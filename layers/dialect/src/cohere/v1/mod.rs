//! Version 1 of the interface: one message, a history, tools whose parameters have types of their own, and answers
//! whose calls have no identity.

pub(super) mod response;
pub(super) mod stream;
mod tools;
mod wire;
pub(super) mod write_request;
