//! A client's conversation in neutral form, read at most once for all attempts that need it.

use std::sync::OnceLock;

use super::Ask;
use crate::seals::attach::attach;
use crate::{Inbound, Malformed, Manner, cache_marks, ir};

/// A cell that holds what was read of a client's request; empty until an attempt needs it.
#[derive(Debug, Default)]
pub struct Neutral(OnceLock<Box<Result<(ir::Request, Manner), Malformed>>>);

impl Neutral {
    /// The conversation, read now unless it was before, with the seals that the client has dropped. It is shared by all attempts and never changed: what is
    /// theirs is in [`crate::Aim`].
    ///
    /// # Errors
    /// What in the request cannot be understood.
    pub(crate) fn chat(
        &self,
        inbound: &dyn Inbound,
        ask: &Ask<'_>,
    ) -> Result<&(ir::Request, Manner), Malformed> {
        let read = || {
            let mut read = inbound.request(ask.received());
            if let Ok((request, manner)) = &mut read {
                manner.previous = ask.previous.cloned();
                manner.keeps &= ask.answers.is_some();
                cache_marks::name(request, ask.conversation);
                if let Some(seals) = ask.seals {
                    attach(request, seals);
                }
            }
            Box::new(read)
        };
        self.0.get_or_init(read).as_ref().as_ref().map_err(Malformed::clone)
    }
}
