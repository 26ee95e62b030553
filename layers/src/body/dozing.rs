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
pub struct Dozing<F> {
    inner: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// `bell` as a waker.
    waker: Waker,
    /// The waker of the task that `bell` rings for.
    task: Waker,
}

/// Notes that it was rung, and rings on.
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

impl<F: Future> Dozing<F> {
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
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_is_polled_when_it_fires_and_not_before() {
        let polls = Arc::new(AtomicUsize::new(0));
        let mut timer = Box::pin(sleep(Duration::from_secs(60)));
        let counted = polls.clone();
        let mut dozing = Dozing::new(poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            timer.as_mut().poll(cx)
        }));
        let began = Instant::now();
        for _ in 0..100 {
            assert!(poll_fn(|cx| Poll::Ready(dozing.poll(cx))).await.is_pending());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);

        poll_fn(|cx| dozing.poll(cx)).await;

        assert_eq!(began.elapsed(), Duration::from_secs(60));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_the_task_that_polled_it_last() {
        let mut dozing = Dozing::new(sleep(Duration::from_secs(60)));
        assert!(dozing.poll(&mut Context::from_waker(Waker::noop())).is_pending());

        let elsewhere = tokio::spawn(async move { poll_fn(|cx| dozing.poll(cx)).await });

        tokio::time::timeout(Duration::from_secs(61), elsewhere).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_moved_fires_at_its_new_time() {
        let began = Instant::now();
        let mut dozing = Dozing::new(sleep(Duration::from_secs(60)));
        assert!(poll_fn(|cx| Poll::Ready(dozing.poll(cx))).await.is_pending());

        dozing.wake().reset(began + Duration::from_secs(90));
        poll_fn(|cx| dozing.poll(cx)).await;

        assert_eq!(began.elapsed(), Duration::from_secs(90));
    }
}
