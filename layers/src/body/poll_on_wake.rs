//! Polls a future only after it has asked to be.
//!
//! A stream is polled for each of its chunks, and with it whatever might end it: a timer that fires
//! in minutes, the end of the process. Such a future has nothing new to say unless it woke somebody.
//! This wrapper gives it a waker of its own that leaves a note, and lets it sleep while there is
//! none, which costs a comparison instead of a walk through its locks.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled when it woke its task, and when the task's waker has changed.
pub struct PollOnWake<F> {
    inner: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// `bell` as a waker.
    waker: Waker,
    /// The waker of the task that `bell` rings for.
    task: Waker,
}

/// A waker that notes that it was rung, and rings on.
struct Bell {
    rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl<F: Future> PollOnWake<F> {
    /// Wraps `inner`, which is polled with the next poll.
    pub fn new(inner: F) -> Self {
        let task = Waker::noop().clone();
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::new(task.clone()) });
        Self { inner: Box::pin(inner), waker: Waker::from(bell.clone()), bell, task }
    }

    /// The future, to be changed: it is polled with the next poll.
    pub fn wake(&mut self) -> Pin<&mut F> {
        self.bell.rung.store(true, Ordering::Release);
        self.inner.as_mut()
    }

    /// Polls the future if it has rung.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !self.task.will_wake(cx.waker()) {
            self.task.clone_from(cx.waker());
            self.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
        }
        // After the waker is in its place: who rings from now on wakes the right task.
        if !self.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.bell.rung.store(false, Ordering::Release);
        self.inner.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}

#[cfg(test)]
mod tests;
