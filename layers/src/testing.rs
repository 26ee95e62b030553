//! A kit for tests of layers: everything that stands around one layer, as values of a few words.
//!
//! | file | what it builds |
//! |---|---|
//! | [`stage`] | the stages: [`exchange`], [`routed`], [`attempt`], [`call`] |
//! | [`policy`] | the values of a configuration: [`caller`], [`channel`], [`target`] |
//! | [`ports`] | scripted ports of the request stage, which note what they were told |
//! | [`handles`] | the same that hang on channels and targets: keys, health, meters, providers |
//! | [`service`] | the scripted inner service, and [`mount`] |
//! | [`body`] | bodies that come in chunks, with pauses, and break |
//! | [`adapters`] | the adapters of [`crate::body`], each over such a body |
//! | [`reply`] | answers of scripted pieces, and readers of answers |
//! | [`failures`] | failures by their usual names |
//!
//! A test says only what it is about; everything else has a plain default. Tests reach the fields
//! of stages and policy values through this kit alone, so that a changed field is a changed
//! builder. Whatever is scripted panics when the script has no more to say, and nothing sleeps
//! but on tokio's clock, which tests pause.

pub mod adapters;
pub mod body;
pub mod failures;
pub mod handles;
pub mod policy;
pub mod ports;
pub mod reply;
pub mod service;
pub mod stage;

pub use body::{Chunks, chunks};
pub use policy::{caller, channel, patience, target};
pub use ports::{catalog, route};
pub use reply::{Read, pieces, read, wire};
pub use service::{Mounted, Scripted, mount};
pub use stage::{attempt, call, exchange, routed};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A list that a port or a service keeps of what it was told.
#[derive(Debug)]
pub struct Notes<T>(Mutex<Vec<T>>);

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Notes<T> {
    /// Adds one.
    pub fn add(&self, note: T) {
        self.lock().push(note);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Takes all of them.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // A panic in one test thread says more than the poison that it leaves.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Notes<T> {
    /// All of them, kept.
    pub fn all(&self) -> Vec<T> {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests;
