//! Events that a provider wraps in messages of another framing, each in one: Claude's at Bedrock.

use crate::framing::unwrap_invoke;
use crate::{Aim, Dialect, Frame, Framing, Malformed, aws_error, ir};

/// Whether an upstream that is aimed at wraps the events of this dialect.
pub(super) fn wraps(aim: &Aim<'_>, upstream: Dialect) -> bool {
    aim.envelope.framing == Some(Framing::EventStream)
        && upstream.codec().upstream.framing != Framing::EventStream
}

/// Gives `read` the event that a message wraps, or the message itself where it wraps none. What the framing calls an
/// error is none that the dialect knows: it goes to `fail`.
///
/// # Errors
/// A message that holds no event, and those of `read`.
pub(super) fn unwrapped<T>(
    frame: Frame<'_>,
    read: impl FnOnce(Frame<'_>) -> Result<T, Malformed>,
    fail: impl FnOnce(ir::Error) -> T,
) -> Result<T, Malformed> {
    if frame.exception {
        return Ok(fail(aws_error::exception(&frame)));
    }
    match unwrap_invoke(&frame)? {
        Some(inner) => read(inner.frame()),
        None => read(frame),
    }
}
