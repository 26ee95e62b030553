//! The means of the gateway: so many requests at once, so many buffered bytes.
//!
//! Plain counters without a queue, since a client's own retry is a better one. `admission` takes a
//! permit for each request; whoever buffers bytes for one holds them ([`Held`]) until they are
//! given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::failure::Failure;

/// The counters of a process, shared by all connections.
#[derive(Debug)]
pub struct Capacity {
    requests: Counter,
    bytes: Counter,
    /// Permits that are in the body of a stream.
    streams: AtomicUsize,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Counter {
    used: AtomicUsize,
    most: usize,
}

impl Counter {
    fn new(most: usize) -> Self {
        Self { used: AtomicUsize::new(0), most }
    }

    fn take(&self, amount: usize) -> bool {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= self.most;
        if !fits {
            self.give_back(amount);
        }
        fits
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Capacity {
    /// Room for this many requests at once and this many bytes of buffered bodies.
    pub fn new(requests: usize, bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Counter::new(requests),
            bytes: Counter::new(bytes),
            streams: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Requests that hold a permit now.
    pub fn requests(&self) -> usize {
        self.requests.used()
    }

    /// Streams that are open now.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Requests that were refused for want of room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many requests and how many bytes there is room for.
    pub fn limits(&self) -> (usize, usize) {
        (self.requests.most, self.bytes.most)
    }

    /// Bytes of bodies that are buffered now.
    pub fn bytes(&self) -> usize {
        self.bytes.used()
    }

    /// Starts holding bytes: none yet.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { capacity: Some(self.clone()), bytes: 0 }
    }
}

/// A share of the byte budget, given back when dropped.
#[derive(Debug, Default)]
pub struct Held {
    capacity: Option<Arc<Capacity>>,
    bytes: usize,
}

impl Held {
    /// An empty share of the same budget.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { capacity: self.capacity.clone(), bytes: 0 }
    }

    /// Takes over what another share of the same budget holds.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.capacity = self.capacity.take().or(other.capacity.take());
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] when the budget has not that much left.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        if let Some(capacity) = &self.capacity
            && !capacity.bytes.take(bytes)
        {
            capacity.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::Overloaded);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(capacity) = &self.capacity {
            capacity.bytes.give_back(self.bytes);
        }
    }
}

/// The right to be served, given back when dropped.
pub(crate) struct Permit {
    capacity: Arc<Capacity>,
    /// It is in the body of a stream.
    streams: bool,
}

impl Permit {
    /// Takes one; none when all are taken.
    pub(crate) fn take(capacity: &Arc<Capacity>) -> Option<Self> {
        if capacity.requests.take(1) {
            return Some(Self { capacity: capacity.clone(), streams: false });
        }
        capacity.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// The same, in the body of a stream.
    pub(crate) fn streaming(mut self) -> Self {
        self.streams = true;
        self.capacity.streams.fetch_add(1, Ordering::Relaxed);
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.capacity.requests.give_back(1);
        if self.streams {
            self.capacity.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
