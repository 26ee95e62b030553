//! Shows how busy the threads are that serve: tokio's own figures, and their connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Handle, RuntimeMetrics};

use super::Worker;
use crate::telemetry::metrics::{CONNECTIONS, Metrics, RUNTIME_BUSY, RUNTIME_QUEUE, RUNTIME_TASKS};

/// Shows the workers' figures, and those of the runtime that this is called on.
pub(super) fn observe(metrics: &Metrics, workers: &[Worker]) {
    let main = [("main".to_owned(), Handle::current(), None)];
    let of_worker = |(n, worker): (usize, &Worker)| {
        (format!("worker-{n}"), worker.runtime.clone(), Some(worker.connections.clone()))
    };
    let runtimes: Vec<(String, Handle, Option<Arc<AtomicUsize>>)> =
        main.into_iter().chain(workers.iter().enumerate().map(of_worker)).collect();
    metrics.observe_page(move |page| {
        let mut samples = page.of(&CONNECTIONS);
        for (name, _, connections) in &runtimes {
            if let Some(connections) = connections {
                samples.add(&[name], connections.load(Ordering::Relaxed) as f64);
            }
        }
        for (series, value) in [
            (&RUNTIME_TASKS, (|of| of.num_alive_tasks() as f64) as fn(&RuntimeMetrics) -> f64),
            (&RUNTIME_QUEUE, |of| of.global_queue_depth() as f64),
            (&RUNTIME_BUSY, busy),
        ] {
            let mut samples = page.of(series);
            for (name, runtime, _) in &runtimes {
                samples.add(&[name], value(&runtime.metrics()));
            }
        }
    });
}

/// Seconds that the runtime's threads have spent with tasks.
fn busy(of: &RuntimeMetrics) -> f64 {
    (0..of.num_workers()).map(|worker| of.worker_total_busy_duration(worker).as_secs_f64()).sum()
}
