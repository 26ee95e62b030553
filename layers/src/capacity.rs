//! The means of the gateway: so many requests at once, so many buffered bytes.
//!
//! Plain counters without a queue, since a client's own retry is a better one. `admission` takes a
//! permit for each request; whoever buffers bytes for one, on their way up or down, holds them
//! ([`Held`]) until they are given back. Bytes of answers may take three quarters of the budget:
//! clients that do not read cannot keep the requests of others out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use crate::failure::Failure;

/// Bytes of an answer up to this are not counted: the client's socket takes them, whether or not the
/// client reads, and most answers are no longer.
pub const UNCOUNTED: usize = 16 << 10;

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
        self.take_within(amount, self.most)
    }

    fn take_within(&self, amount: usize, most: usize) -> bool {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= most;
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
        Held { capacity: Some(self.clone()), bytes: 0, of_answer: false }
    }
}

/// A share of the byte budget, given back when dropped.
#[derive(Debug, Default)]
pub struct Held {
    capacity: Option<Arc<Capacity>>,
    bytes: usize,
    /// It is of an answer, which may take no more than answers may.
    of_answer: bool,
}

impl Held {
    /// An empty share of the same budget.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { capacity: self.capacity.clone(), bytes: 0, of_answer: false }
    }

    /// An empty share of the same budget for bytes of an answer.
    #[must_use]
    pub fn for_answer(&self) -> Self {
        Self { capacity: self.capacity.clone(), bytes: 0, of_answer: true }
    }

    /// How much it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
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
        if self.try_grow(bytes) { Ok(()) } else { Err(self.refuse()) }
    }

    /// Takes more, where there is room for it: for those who can do without.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        if let Some(capacity) = &self.capacity {
            let most = capacity.bytes.most;
            let most = if self.of_answer { most - most / 4 } else { most };
            if !capacity.bytes.take_within(bytes, most) {
                return false;
            }
        }
        self.bytes += bytes;
        true
    }

    /// The refusal of a request for which there is no room.
    pub fn refuse(&self) -> Failure {
        if let Some(capacity) = &self.capacity {
            capacity.refused.fetch_add(1, Ordering::Relaxed);
        }
        Failure::Overloaded
    }

    /// Holds this much from now on, whether or not there is room for it: it is there already.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if let Some(capacity) = &self.capacity {
            capacity.bytes.give_back(before);
            capacity.bytes.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The bytes of an answer, which hold their share until the last of them has been sent or
    /// dropped, whoever has them by then.
    pub fn carried_by(mut self, bytes: Bytes) -> Bytes {
        if bytes.len() <= UNCOUNTED {
            return bytes;
        }
        self.set(bytes.len());
        Bytes::from_owner(Counted { bytes, _held: self })
    }
}

/// Bytes with their share of the budget.
struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_a_quarter_of_the_budget_to_requests() {
        let capacity = Capacity::new(1, 100);
        let mut answer = capacity.hold().for_answer();

        assert!(answer.try_grow(75) && !answer.try_grow(1));
        assert!(capacity.hold().grow(25).is_ok() && capacity.hold().grow(26).is_err());
    }
}
