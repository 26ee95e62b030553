//! What the stacks are built from, and how it comes out of the process's state.

use std::sync::Arc;

use dialect::{Answers, Seals};
use layers::capacity::Capacity;
use layers::ports::{Allowances, Directory, Homes, Media, Records, Stored};
use layers::trace_context::Sampler;

use crate::admin::{Admin, Sources};
use crate::allowance::Allowance;
use crate::snapshot::CurrentSnapshot;
use crate::state::Runtime;
use crate::telemetry::metrics::Metrics;

/// Parts of the world that the stacks are built from: state and its users, shared by all workers.
#[derive(Clone)]
pub struct Parts {
    /// Callers and the current configuration.
    pub directory: Arc<dyn Directory>,
    /// Concurrent requests and buffered bytes.
    pub capacity: Arc<Capacity>,
    /// Largest accepted body, in bytes.
    pub most_body: usize,
    /// Where closed records go.
    pub records: Arc<dyn Records>,
    /// Judge of what keys may still have.
    pub allowances: Arc<dyn Allowances>,
    /// Media behind addresses that clients name.
    pub media: Arc<dyn Media>,
    /// Where the objects are that upstreams keep for callers.
    pub stored: Arc<dyn Stored>,
    /// Who served each conversation last.
    pub homes: Arc<dyn Homes>,
    /// What models have sealed, for clients that drop it.
    pub seals: Arc<dyn Seals>,
    /// Which traces are sent; none where no spans are made.
    pub sampler: Option<Sampler>,
    /// Answers that clients may name later, where no upstream keeps them.
    pub answers: Arc<dyn Answers>,
    /// Everything beside the pipeline: model list, health, metrics.
    pub admin: Admin,
}

/// The rooms for requests and their bodies.
pub struct Room {
    /// Concurrent requests and buffered bytes.
    pub capacity: Arc<Capacity>,
    /// Largest accepted body, in bytes.
    pub most_body: usize,
}

impl Parts {
    /// Those of a process with this state. No spans are made.
    pub fn new(
        runtime: &Runtime,
        current: &Arc<CurrentSnapshot>,
        metrics: Metrics,
        records: Arc<dyn Records>,
        media: Arc<dyn Media>,
        Room { capacity, most_body }: Room,
    ) -> Self {
        let sources = Sources {
            metrics,
            windows: runtime.windows().clone(),
            accounts: runtime.accounts().clone(),
            affinity: runtime.affinity().clone(),
            capacity: capacity.clone(),
            most_body,
        };
        Self {
            directory: current.clone(),
            capacity,
            most_body,
            records: records.clone(),
            allowances: Arc::new(Allowance::new(runtime, current.clone())),
            media,
            stored: runtime.pins().clone(),
            homes: runtime.affinity().clone(),
            seals: runtime.seals().clone(),
            sampler: None,
            answers: runtime.answers().clone(),
            admin: Admin::new(sources, records),
        }
    }
}
