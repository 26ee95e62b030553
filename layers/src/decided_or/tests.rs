use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::testing::read;
use crate::testing::reply::whole;

type Answering = std::future::Ready<Result<Reply, Failure>>;

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_decided_is_there_at_once() {
    let failure = DecidedOr::<Answering>::failed(Failure::NoChannel).await.unwrap_err();

    assert!(matches!(failure, Failure::NoChannel), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn an_inner_answer_passes() {
    let reply = DecidedOr::inner(std::future::ready(Ok(whole("inner")))).await.unwrap();

    assert_eq!(read(reply.into_body()).await.text, "inner");
}

#[tokio::test(start_paused = true)]
async fn what_has_to_be_awaited_is() {
    let waiting = DecidedOr::<Answering>::waiting(async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(whole("late"))
    });
    assert_eq!(read(waiting.await.unwrap().into_body()).await.text, "late");
}

#[tokio::test(start_paused = true)]
async fn what_is_awaited_is_dropped_with_it() {
    let shared = Arc::new(());
    let held = shared.clone();
    let waiting = DecidedOr::<Answering>::waiting(async move {
        let _held = held;
        std::future::pending().await
    });
    assert_eq!(Arc::strong_count(&shared), 2);

    drop(waiting);

    assert_eq!(Arc::strong_count(&shared), 1);
}
