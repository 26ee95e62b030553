//! What an upstream has seen.

use std::sync::Mutex;

use tokio::sync::watch;

use super::super::PATIENCE;
use super::Seen;

/// The requests of one upstream, and which of its answers were left early.
#[derive(Default)]
pub(crate) struct Log {
    seen: Mutex<Vec<Seen>>,
    cancelled: watch::Sender<usize>,
    count: watch::Sender<usize>,
}

impl Log {
    /// Notes a request and gives it its number.
    pub(crate) fn note(&self, seen: &mut Seen) {
        let mut requests = self.seen.lock().unwrap();
        seen.ordinal = requests.len();
        requests.push(seen.clone());
        self.count.send_replace(requests.len());
    }

    /// Notes that an answer was not let end.
    pub(crate) fn note_cancelled(&self) {
        self.cancelled.send_modify(|count| *count += 1);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// The only request.
    #[track_caller]
    pub(crate) fn only(&self) -> Seen {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests[0].clone()
    }

    /// The latest request.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.requests().pop().expect("a request should have come")
    }

    /// The keys that the requests carried, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.requests().iter().map(Seen::key).collect()
    }

    /// Waits for this many requests.
    pub(crate) async fn wait_for(&self, count: usize) {
        reached(&self.count, count, "requests").await;
    }

    /// Waits until this many answers were cut off by the gateway.
    pub(crate) async fn wait_for_cancelled(&self, count: usize) {
        reached(&self.cancelled, count, "cancelled answers").await;
    }
}

async fn reached(counter: &watch::Sender<usize>, count: usize, what: &str) {
    let mut counter = counter.subscribe();
    let reached = tokio::time::timeout(PATIENCE, counter.wait_for(|now| *now >= count)).await.is_ok();
    assert!(reached, "waited {PATIENCE:?} in vain for {count} {what}: {}", *counter.borrow());
}
