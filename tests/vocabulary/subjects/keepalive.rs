//! The comments that keep a stream alive.

use super::super::super::*;

pub(crate) const COMMENT: &str = ": keepalive\n\n";

pub(crate) fn comments(answer: &Answer) -> usize {
    answer.text().matches(COMMENT).count()
}
