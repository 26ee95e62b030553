//! The end of an answer, which both versions tell alike.

use super::words::{End, end};
use crate::ir::{Error, Event, FinishReason};

/// The end of an answer, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Ending {
    finish: Option<(FinishReason, String)>,
    ended: bool,
}

impl Ending {
    /// Whether nothing comes behind what was told.
    pub(super) fn is_over(&self) -> bool {
        self.ended
    }

    /// Takes the reason down for which the answer ends; `told` says more of a failure.
    pub(super) fn stop(&mut self, raw: &str, told: Option<&str>, out: &mut Vec<Event>) {
        match end(raw, told) {
            End::Finish(reason) => self.finish = Some((reason, raw.to_owned())),
            End::Failed(error) => self.fail(error, out),
        }
    }

    /// Ends the answer with an error, unless it has ended.
    pub(super) fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Event::Error(error));
        }
    }

    /// Ends the answer, in which there are calls or none, for the reason that was taken down.
    pub(super) fn finish(&mut self, calls: bool, out: &mut Vec<Event>) {
        self.ended = true;
        let (reason, raw) = self.finish.take().unwrap_or((FinishReason::Stop, String::new()));
        let reason = match reason {
            FinishReason::Stop if calls => FinishReason::ToolCalls,
            FinishReason::ToolCalls if !calls => FinishReason::Stop,
            reason => reason,
        };
        let raw = Some(raw).filter(|raw| !raw.is_empty());
        out.push(Event::Finish { reason, raw, stop_sequence: None });
    }
}
