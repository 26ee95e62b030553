//! How events are cut out of a body: server-sent events so far.

pub mod sse;
