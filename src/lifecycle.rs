//! The phases of the process, and who may still be served in each.

use layers::ports::{BoxFuture, Ending};
use tokio::sync::watch;

/// The stage of life that the process is in. Background tasks and connections watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The configuration is being read; nothing is served.
    Starting,
    /// Everything is served.
    Serving,
    /// Told to stop: not ready any more, but requests that still come are served, because a load
    /// balancer needs a moment to learn of it.
    Draining,
    /// The listener is closed; what is under way may end.
    Closing,
    /// The grace is over: what is under way ends with an error.
    Ending,
    /// No request is left: the ledger stores what it has.
    Ended,
}

impl Phase {
    /// The word for health answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "ok",
            Self::Draining | Self::Closing | Self::Ending | Self::Ended => "draining",
        }
    }
}

/// Waits until the phase is at least `phase`; at once when nobody steers it any more.
pub async fn reached(watch: &mut watch::Receiver<Phase>, phase: Phase) {
    let _ = watch.wait_for(|now| *now >= phase).await;
}

/// The grace that requests have: it ends with [`Phase::Ending`].
#[derive(Debug, Clone)]
pub struct Grace(pub watch::Receiver<Phase>);

impl Ending for Grace {
    fn is_here(&self) -> bool {
        *self.0.borrow() >= Phase::Ending
    }

    fn wait(&self) -> BoxFuture<()> {
        let mut phase = self.0.clone();
        Box::pin(async move { reached(&mut phase, Phase::Ending).await })
    }
}
