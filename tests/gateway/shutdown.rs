//! SIGTERM: not ready first, streams may end, a bounded grace, then a clean exit.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Row as _;

use crate::harness::gateway::LOADED;
use crate::harness::*;

#[tokio::test]
async fn an_open_stream_ends_well_and_then_the_process_does() {
    let gate = Gate::new();
    let script = Script::events([role_event(), text_event("before ")]).then_wait(&gate).then(format!(
        "{}{}{DONE}",
        text_event("after"),
        stop_event()
    ));
    let upstream = Upstream::always(script).await;
    let mut gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("before").await;
    gateway.terminate();
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.open();
    let answer = flow.rest().await;

    assert_eq!(answer.streamed(), "before after");
    assert!(answer.is_done() && answer.complete);
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once_with_exit_code_0() {
    let upstream = healthy("ok").await;
    let mut gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let idle = gateway.client().connect().await;
    gateway.chat(&hello()).await.expect(200);

    let began = Instant::now();
    gateway.terminate();

    assert!(gateway.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(idle);
}

#[tokio::test]
async fn it_is_not_ready_while_it_still_answers_during_the_drain_delay() {
    let upstream = healthy("ok").await;
    let mut gateway = Setup::new(config([channel("a", &upstream)])).env("DRAIN_DELAY", "1.5").start().await;
    gateway.ask(&Ask::get("/readyz").without_key()).await.expect(200);

    gateway.terminate();
    let client = gateway.client();
    tokio::time::sleep(Duration::from_millis(300)).await;

    client.ask(&Ask::get("/readyz").without_key()).await.expect(503);
    client.ask(&Ask::get("/livez").without_key()).await.expect(200);
    let answer = client.chat(&hello()).await.expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
    let gone = std::time::Instant::now();
    assert!(gateway.ended().await.success());
    assert!(gone.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn after_the_delay_no_connection_is_accepted() {
    let upstream = Upstream::always(Script::events([role_event(), text_event("x")]).then_hang()).await;
    let mut gateway = Setup::new(config([channel("a", &upstream)])).env("DRAIN_SECONDS", "2").start().await;
    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("x").await;

    gateway.terminate();
    tokio::time::sleep(Duration::from_millis(700)).await;

    let refused = tokio::net::TcpStream::connect(gateway.address()).await;
    assert!(refused.is_err(), "the listener should be closed");
    drop(flow);
    gateway.ended().await;
}

#[tokio::test]
async fn a_stream_that_does_not_end_in_the_grace_is_told_so_in_an_error_event() {
    let upstream = Upstream::always(
        Script::events(std::iter::once(role_event()).chain(vec![text_event("tick "); 2000]))
            .paced(Duration::from_millis(50)),
    )
    .await;
    let mut gateway = Setup::new(config([channel("a", &upstream)])).env("DRAIN_SECONDS", "1").start().await;
    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("tick").await;

    let began = Instant::now();
    gateway.terminate();
    let answer = flow.rest().await;

    assert!(!answer.is_done());
    answer.error_event();
    assert!(gateway.ended().await.success());
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn a_waiting_request_is_served_before_the_end() {
    let upstream = Upstream::start(|seen| saying("in time")(seen).after(Duration::from_millis(800))).await;
    let mut gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let client = gateway.client();
    let asking = tokio::spawn(async move { client.chat(&hello()).await });
    upstream.wait_for(1).await;

    gateway.terminate();

    assert_eq!(asking.await.unwrap().expect(200).content(), "in time");
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn the_ledger_is_flushed_before_the_end() {
    let upstream = healthy("ok").await;
    let mut gateway = Setup::new(config([channel("a", &upstream)])).with_database().start().await;
    gateway.request_rows(0).await;
    for n in 0..20 {
        let ask = Ask::chat(&hello()).header("x-request-id", &format!("last-{n}"));
        gateway.ask(&ask).await.expect(200);
    }

    gateway.terminate();
    assert!(gateway.ended().await.success());

    let rows = gateway.request_rows(20).await;
    assert_eq!(rows.len(), 20, "{rows:?}");
    assert_eq!(json!(rows[19].request_id), json!("last-19"));
}

#[tokio::test]
async fn who_waits_for_a_whole_answer_at_the_end_of_the_grace_is_told_and_booked_so() {
    let upstream = Upstream::always(Script::hang()).await;
    let mut gateway = Setup::new(config([channel("a", &upstream)]))
        .env("DRAIN_SECONDS", "0.5")
        .with_database()
        .start()
        .await;
    let client = gateway.client();
    let asking: Vec<_> = (0..4)
        .map(|n| {
            let body = if n % 2 == 0 { hello() } else { hello_stream() };
            tokio::spawn(async move { client.chat(&body).await })
        })
        .collect();
    upstream.wait_for(4).await;

    gateway.terminate();

    for answer in asking {
        let answer = answer.await.unwrap().expect(503);
        assert_eq!(answer.error()["code"], "shutting_down");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(gateway.ended().await.success());
    for sql in
        ["SELECT outcome FROM request_stats WHERE model IS NOT NULL", "SELECT outcome FROM channel_stats"]
    {
        let outcomes: Vec<String> = gateway.rows(sql, 4, |row| row.get("outcome")).await;
        assert_eq!(outcomes, ["shutting_down"; 4]);
    }
}

#[tokio::test]
async fn a_signal_while_a_model_list_is_awaited_ends_it_at_once() {
    let upstream = Upstream::always(Script::hang()).await;
    let channel = channel("a", &upstream).with("/model", Value::Null);
    let mut gateway = Setup::new(config([channel])).env("DRAIN_DELAY", "5").start().await;
    upstream.wait_for(1).await;

    let began = Instant::now();
    gateway.terminate();

    assert!(gateway.ended().await.success());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_second_signal_skips_the_grace() {
    let upstream = Upstream::always(Script::events([role_event(), text_event("x")]).then_hang()).await;
    let setup =
        Setup::new(config([channel("a", &upstream)])).env("DRAIN_DELAY", "60").env("DRAIN_SECONDS", "60");
    let mut gateway = setup.start().await;
    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("x").await;

    gateway.terminate();
    gateway.wait_for_line("the first signal", |line| line.contains("Told to stop")).await;
    gateway.signal("INT");

    flow.rest().await.error_event();
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_again_though_its_text_is_the_same_and_cuts_nothing() {
    let script = Script::events([role_event(), text_event("before ")]);
    let gate = Gate::new();
    let script = script.then_wait(&gate).then(format!("{}{}{DONE}", text_event("after"), stop_event()));
    let upstream = Upstream::always(script).await;
    let config = config([channel("a", &upstream).with("/api", json!("${file:key}"))]);
    let gateway = Setup::new(config).file("key", "old-key").start().await;
    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("before").await;

    std::fs::write(gateway.folder().join("key"), "new-key").unwrap();
    let before = gateway.count_messages(LOADED);
    gateway.signal("HUP");
    gateway.wait_for_reload(before).await;
    let asking = gateway.client().open(&Ask::chat(&hello_stream())).await;
    gate.open();

    assert_eq!(flow.rest().await.streamed(), "before after");
    drop(asking);
    assert_eq!(upstream.keys(), ["old-key", "new-key"]);
}
