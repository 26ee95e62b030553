//! Gemini, as far as its clients are told of failures.

pub(crate) mod words;
