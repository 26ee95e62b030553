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
    let mut dozing = PollOnWake::new(poll_fn(move |cx| {
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
    let mut dozing = PollOnWake::new(sleep(Duration::from_secs(60)));
    assert!(dozing.poll(&mut Context::from_waker(Waker::noop())).is_pending());

    let elsewhere = tokio::spawn(async move { poll_fn(|cx| dozing.poll(cx)).await });

    tokio::time::timeout(Duration::from_secs(61), elsewhere).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_moved_fires_at_its_new_time() {
    let began = Instant::now();
    let mut dozing = PollOnWake::new(sleep(Duration::from_secs(60)));
    assert!(poll_fn(|cx| Poll::Ready(dozing.poll(cx))).await.is_pending());

    dozing.wake().reset(began + Duration::from_secs(90));
    poll_fn(|cx| dozing.poll(cx)).await;

    assert_eq!(began.elapsed(), Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_had_with_the_first_poll() {
    let mut dozing = PollOnWake::new(std::future::ready(7));

    assert_eq!(poll_fn(|cx| Poll::Ready(dozing.poll(cx))).await, Poll::Ready(7));
}
