//! The signals that the process listens to, from its first moment on: who is process 1 of a container
//! and does not listen cannot be told to stop at all.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// The signals of a serving process: SIGTERM and SIGINT stop it, SIGHUP reloads its configuration.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    reload: Arc<Notify>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system cannot deliver signals to this process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            reload: Arc::default(),
        })
    }

    /// Waits until the process is told to stop. Whoever waits for a reload learns of those meanwhile.
    pub async fn told_to_stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                Some(()) = self.hup.recv() => {
                    tracing::info!("Told to reload the configuration.");
                    self.reload.notify_one();
                }
            }
        }
    }

    /// Rings for each wish for a reload.
    pub(super) fn reload(&self) -> Arc<Notify> {
        self.reload.clone()
    }
}
