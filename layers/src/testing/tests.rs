use std::time::Duration;

use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::{Scripted, chunks, mount};

type Echo = Scripted<u8, u8, ()>;

#[tokio::test(start_paused = true)]
async fn a_scripted_service_answers_in_order_and_notes_what_it_was_asked() {
    let mut service = Echo::new().answers(1).after(Duration::from_secs(3), Ok(2)).fails(());
    let began = Instant::now();

    let mut answers = Vec::new();
    for request in [7, 8, 9] {
        answers.push(service.ready().await.unwrap().call(request).await);
    }

    assert_eq!((answers, began.elapsed().as_secs()), (vec![Ok(1), Ok(2), Err(())], 3));
    assert_eq!((service.requests(), service.calls(), service.polls()), (vec![7, 8, 9], 3, 3));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "called without having been polled ready")]
async fn a_layer_that_calls_a_clone_without_asking_it_is_caught() {
    let careless = tower::layer::layer_fn(|inner: Echo| {
        tower::service_fn(move |request: u8| inner.clone().call(request))
    });

    let _ = mount(careless, &Echo::new().answers(1)).ask(7).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "more often than the script has answers")]
async fn a_call_beyond_the_script_is_caught() {
    let mut service = Echo::new();

    let _ = service.ready().await.unwrap().call(7).await;
}

#[tokio::test(start_paused = true)]
async fn chunks_come_in_their_time_and_leave_traces() {
    let body = chunks().now("a").after(Duration::from_secs(2), "b").trailers().now("c");
    let (traces, began) = (body.traces(), Instant::now());

    let collected = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();

    assert_eq!((&collected[..], began.elapsed().as_secs()), (&b"abc"[..], 2));
    assert_eq!((traces.read(), traces.dropped()), (3, true));
}
