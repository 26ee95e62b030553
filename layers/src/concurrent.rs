//! Runs a few futures at a time within one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Futures that run side by side, at most so many of them.
pub struct Concurrent<'a, T> {
    most: usize,
    running: Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
}

impl<'a, T> Concurrent<'a, T> {
    /// Room for `most` futures.
    pub fn new(most: usize) -> Self {
        Self { most, running: Vec::with_capacity(most) }
    }

    /// Whether there is room for another one.
    pub fn has_room(&self) -> bool {
        self.running.len() < self.most
    }

    /// Lets another one run.
    pub fn add(&mut self, future: impl Future<Output = T> + Send + 'a) {
        self.running.push(Box::pin(future));
    }

    /// What the next one that is done gives; none when none runs.
    pub async fn next(&mut self) -> Option<T> {
        if self.running.is_empty() {
            return None;
        }
        let next = poll_fn(|cx| {
            for at in 0..self.running.len() {
                if let Poll::Ready(value) = self.running[at].as_mut().poll(cx) {
                    drop(self.running.swap_remove(at));
                    return Poll::Ready(value);
                }
            }
            Poll::Pending
        });
        Some(next.await)
    }
}

/// What these futures give, in their order, at most `most` of them running at once. The first error
/// ends all.
///
/// # Errors
/// The first error that comes.
pub async fn in_order<'a, T, E, F>(futures: impl IntoIterator<Item = F>, most: usize) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>> + Send + 'a,
    T: 'a,
    E: 'a,
{
    let mut waiting = futures.into_iter().enumerate();
    let mut concurrent = Concurrent::new(most);
    let mut done: Vec<(usize, T)> = Vec::new();
    loop {
        while concurrent.has_room()
            && let Some((at, future)) = waiting.next()
        {
            concurrent.add(async move { future.await.map(|value| (at, value)) });
        }
        match concurrent.next().await {
            Some(result) => done.push(result?),
            None => break,
        }
    }
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_keep_their_order_however_long_each_takes_and_few_run_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let slow = |at: u64| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                sleep(Duration::from_secs(10 - at)).await;
                now.fetch_sub(1, SeqCst);
                Ok::<_, ()>(at)
            }
        };

        let done = in_order((0..7).map(slow), 3).await.unwrap();

        assert_eq!((done, most.load(SeqCst)), ((0..7).collect::<Vec<_>>(), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_ends_all() {
        let began = Instant::now();

        let failed = in_order(
            (1..5).map(|at| async move {
                sleep(Duration::from_secs(at)).await;
                if at == 2 { Err(at) } else { Ok(at) }
            }),
            4,
        );

        assert_eq!((failed.await, began.elapsed()), (Err(2), Duration::from_secs(2)));
    }
}
