//! A client's conversation in neutral form, read at most once for all attempts that need it.

use std::sync::OnceLock;

use crate::{Inbound, Malformed, Manner, Received, ir};

/// A cell that holds what was read of a client's request; empty until an attempt needs it.
#[derive(Debug, Default)]
pub struct Neutral(OnceLock<Box<Result<(ir::Request, Manner), Malformed>>>);

impl Neutral {
    /// The conversation, read now unless it was before. It is shared by all attempts and never changed: what is
    /// theirs is in [`crate::Aim`].
    ///
    /// # Errors
    /// What in the request cannot be understood.
    pub(crate) fn chat(
        &self,
        inbound: &dyn Inbound,
        received: Received<'_>,
    ) -> Result<&(ir::Request, Manner), Malformed> {
        self.0.get_or_init(|| Box::new(inbound.request(received))).as_ref().as_ref().map_err(Malformed::clone)
    }
}
