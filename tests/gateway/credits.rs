//! What keys may spend, what requests cost, and that both are told apart to the last token.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::subjects::credits::*;
use crate::harness::*;

/// Promises: `credit-exhausted`.
#[tokio::test]
async fn sixty_four_clients_at_once_spend_what_there_is() {
    let upstream = Upstream::start(|_| Script::json(&said("ok")).after(Duration::from_millis(50))).await;
    let gateway = Gateway::start(priced(&upstream, &json!(70))).await;
    let client = gateway.client();

    let clients = (0..64).map(|_| tokio::spawn(async move { client.ask(&seven_dollars()).await.status }));
    let mut served = 0;
    for status in clients.collect::<Vec<_>>() {
        served += usize::from(status.await.unwrap() == 200);
    }

    // What is held is what they cost, so not one too many is let in.
    assert_eq!((served, upstream.count()), (10, 10));
    gateway.ask(&seven_dollars()).await.expect(429);
}

#[tokio::test]
async fn a_client_that_leaves_gives_back_what_was_held() {
    let upstream = Upstream::start(|seen| match seen.ordinal {
        0 => Script::hang(),
        _ => Script::json(&said("ok")),
    })
    .await;
    let gateway = Gateway::start(priced(&upstream, &json!(7))).await;
    let mut wire = gateway.client().connect().await;
    let ask = seven_dollars();
    let length = ask.body.len().to_string();
    wire.send_head(&ask.clone().header("content-length", &length)).await;
    wire.write(&ask.body).await.unwrap();
    upstream.wait_for(1).await;
    gateway.ask(&seven_dollars()).await.expect(429);

    drop(wire);
    upstream.wait_for_cancelled(1).await;

    let served = async {
        while gateway.ask(&seven_dollars()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the hold should end with the client");
    assert_eq!(upstream.count(), 2);
}

/// Promises: `credit-amount`.
#[tokio::test]
async fn a_reload_keeps_what_was_spent_and_new_credits_act_at_once() {
    let upstream = healthy("ok").await;
    let config = |credits| priced(&upstream, &json!(credits));
    let gateway = Gateway::start(config(7)).await;
    gateway.ask(&seven_dollars()).await.expect(200);
    gateway.ask(&seven_dollars()).await.expect(429);

    gateway.reload(config(7).with("/providers/0/model", json!(["m", "new"]))).await;
    gateway.ask(&seven_dollars()).await.expect(429);

    gateway.reload(config(14)).await;
    gateway.ask(&seven_dollars()).await.expect(200);
    gateway.ask(&seven_dollars()).await.expect(429);

    // Without credits and back again: nothing that was spent meanwhile is forgotten.
    gateway.reload(priced(&upstream, &Value::Null)).await;
    gateway.ask(&seven_dollars()).await.expect(200);
    gateway.reload(config(21)).await;
    gateway.ask(&seven_dollars()).await.expect(429);
    gateway.reload(config(22)).await;
    gateway.ask(&seven_dollars()).await.expect(200);
}
