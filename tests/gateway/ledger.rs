//! What is recorded of requests and attempts, as front ends read it from the SQLite file.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

async fn with_database(config: Value) -> Gateway {
    Setup::new(config).with_database().start().await
}

/// Promises: `db-sqlite-default`.
#[tokio::test]
async fn a_request_leaves_one_row_with_model_channel_tokens_and_endpoint() {
    let upstream = healthy("ok").await;
    let channel = channel("a", &upstream).with("/model", json!([{ "upstream-m": "m" }]));
    let gateway = with_database(config([channel])).await;

    gateway.ask(&Ask::chat(&hello()).header("x-request-id", "the-only-one")).await.expect(200);

    let rows = gateway.request_rows(1).await;
    let row = &rows[0];
    assert_eq!(rows.len(), 1);
    assert_eq!(row.endpoint, "POST /v1/chat/completions");
    assert_eq!(row.request_id, "the-only-one");
    assert_eq!((row.provider.as_deref(), row.model.as_deref()), (Some("a"), Some("m")));
    assert_eq!((row.prompt_tokens, row.completion_tokens, row.total_tokens), (11, 7, 18));
    assert!(row.process_time >= 0.0 && row.process_time < 10.0, "{row:?}");
    assert!(row.first_response_time >= 0.0 && row.first_response_time <= row.process_time, "{row:?}");
    let attempts = gateway.channel_rows(1).await;
    assert_eq!(attempts[0].request_id, "the-only-one");
    assert!(attempts[0].success);
}

/// Promises: `db-request-log`.
#[tokio::test]
async fn after_a_failover_there_is_a_row_for_each_attempt() {
    let a = Upstream::always(Script::error(401, "no")).await;
    let b = Upstream::always(Script::error(500, "no")).await;
    let c = healthy("c").await;
    let gateway = with_database(config([
        channel("a", &a).with("/api", json!(["k1", "k2"])),
        channel("b", &b),
        channel("c", &c),
    ]))
    .await;

    gateway.chat(&hello()).await.expect(200);

    let attempts = gateway.channel_rows(4).await;
    let told: Vec<_> = attempts.iter().map(|row| (row.provider.as_deref().unwrap(), row.success)).collect();
    assert_eq!(told, [("a", false), ("a", false), ("b", false), ("c", true)]);
    let request = &gateway.request_rows(1).await[0];
    assert_eq!(request.provider.as_deref(), Some("c"));
    assert!(attempts.iter().all(|row| row.request_id == request.request_id));
    assert!(attempts.iter().all(|row| row.model.as_deref() == Some("m")));
    let keys: Vec<_> = attempts.iter().map(|row| row.provider_api_key.clone().unwrap()).collect();
    assert_ne!(keys[0], keys[1]);
    for key in &keys {
        assert!(key.len() == 16 && key.chars().all(|c| c.is_ascii_hexdigit()), "{key}");
    }
}

/// Promises: `db-request-log`.
#[tokio::test]
async fn keys_are_stored_as_fingerprints() {
    let upstream = healthy("ok").await;
    let gateway = with_database(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    // The first 16 hex digits of SHA-256("uni-api key" ‖ key).
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(format!("uni-api key{CLIENT}"));
    let expected: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(gateway.request_rows(1).await[0].api_key.as_deref(), Some(expected.as_str()));
    assert_eq!(gateway.channel_rows(1).await[0].api_key.as_deref(), Some(expected.as_str()));
}

#[tokio::test]
async fn client_keys_are_stored_in_clear_only_when_asked_for() {
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)]))
        .with_database()
        .env("STATS_PLAIN_KEYS", "true")
        .start()
        .await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(gateway.request_rows(1).await[0].api_key.as_deref(), Some(CLIENT));
    let attempt = &gateway.channel_rows(1).await[0];
    assert_ne!(attempt.provider_api_key.as_deref(), Some("key-of-a"), "provider keys never are");
}

#[tokio::test]
async fn tokens_of_a_stream_are_read_from_what_passes_by() {
    let upstream = Upstream::start(|seen| {
        let mut events = stream_of(&["a", "b"]);
        if seen.json()["stream_options"]["include_usage"] == true {
            events.insert(4, usage_event());
        }
        Script::events(events).split(&[5])
    })
    .await;
    let asked = channel("asking", &upstream).with("/model", json!(["asked-by-us"]));
    let gateway = with_database(config([channel("a", &upstream), asked])).await;

    let request = hello_stream().with("/stream_options/include_usage", json!(true));
    gateway.chat(&request).await.expect(200);
    gateway.chat(&hello_to("asked-by-us").with("/stream", json!(true))).await.expect(200);

    for row in gateway.request_rows(2).await {
        assert_eq!((row.prompt_tokens, row.completion_tokens, row.total_tokens), (11, 7, 18), "{row:?}");
    }
}

#[tokio::test]
async fn tokens_of_a_converted_stream_are_recorded() {
    let case = Recorded::case("anthropic/stream-tools");
    let upstream = Upstream::always(case.script()).await;
    let gateway = with_database(config([anthropic_channel("a", &upstream)])).await;

    gateway.chat(&hello_stream()).await.expect(200);

    let told = crate::converted::Told::by_events(&case.body);
    let row = &gateway.request_rows(1).await[0];
    assert_eq!(
        (row.prompt_tokens as u64, row.completion_tokens as u64),
        (told.prompt_tokens, told.completion_tokens)
    );
}

#[tokio::test]
async fn a_refused_request_is_recorded_without_channel() {
    let upstream = Upstream::always(Script::error(500, "x")).await;
    let gateway = with_database(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(500);

    let row = &gateway.request_rows(1).await[0];
    assert_eq!((row.provider.as_deref(), row.total_tokens.max(0)), (None, 0));
    assert!(gateway.channel_rows(2).await.iter().all(|row| !row.success));
}

/// The words for the outcome of all requests, in order.
async fn outcomes(gateway: &Gateway, count: usize) -> Vec<String> {
    use sqlx::Row as _;
    let sql = "SELECT outcome FROM request_stats WHERE model IS NOT NULL ORDER BY id";
    gateway.rows(sql, count, |row| row.get::<Option<String>, _>("outcome").unwrap_or_default()).await
}

#[tokio::test]
async fn a_client_that_left_is_recorded_as_that() {
    let upstream = Upstream::start(|seen| match seen.ordinal {
        0 => Script::hang(),
        _ => Script::events([role_event(), text_event("a")]).then_hang(),
    })
    .await;
    let gateway = with_database(config([channel("a", &upstream)])).await;

    let mut wire = gateway.client().connect().await;
    let ask = Ask::chat(&hello()).header("content-length", &hello().to_string().len().to_string());
    wire.send_head(&ask).await;
    wire.write(&ask.body).await.unwrap();
    upstream.wait_for(1).await;
    drop(wire);
    upstream.wait_for_cancelled(1).await;
    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("a").await;
    drop(flow);

    assert_eq!(outcomes(&gateway, 2).await, ["client_gone", "client_gone"]);
    use sqlx::Row as _;
    let sql = "SELECT outcome FROM channel_stats WHERE NOT success";
    let blamed: Vec<String> = gateway.rows(sql, 0, |row| row.get("outcome")).await;
    assert!(blamed.iter().all(|outcome| outcome == "client_gone"), "no channel failed: {blamed:?}");
}

#[tokio::test]
async fn a_stream_that_broke_upstream_is_recorded_as_that() {
    let begun = Script::events([role_event(), text_event("a")]);
    let upstream =
        Upstream::in_turn(vec![begun.clone().then_close(), begun.clone().then_reset(), begun]).await;
    let gateway = with_database(config([channel("a", &upstream)])).await;

    for _ in 0..3 {
        gateway.chat(&hello_stream()).await.expect(200);
    }

    assert_eq!(outcomes(&gateway, 3).await, ["connection_broken", "connection_broken", "truncated_answer"]);
}

#[tokio::test]
async fn a_failure_behind_a_kept_alive_stream_is_recorded_with_its_true_status() {
    let upstream = Upstream::always(Script::error(400, "bad").after(Duration::from_millis(500))).await;
    let config = config([channel("a", &upstream)]).with("/preferences/keepalive_interval", json!(0.2));
    let gateway = with_database(config).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);
    answer.error_event();

    assert_eq!(outcomes(&gateway, 1).await, ["upstream_client_error"]);
}

/// Promises: `cfg-file-only`, `env-disable-database`.
#[tokio::test]
async fn without_a_database_no_file_is_made_and_everything_answers() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello_stream()).await.expect(200);
    tokio::time::sleep(Duration::from_millis(300)).await;

    let mut names: Vec<_> =
        std::fs::read_dir(gateway.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["api.yaml"]);
}

/// Promises: `db-optional-volume`.
#[tokio::test]
async fn a_data_folder_that_cannot_be_used_slows_nothing() {
    let upstream = healthy("ok").await;
    // A file in the folder's place fails for every user, root included.
    let gateway = Setup::new(config([channel("a", &upstream)]))
        .with_database()
        .file("data", "in the way")
        .start()
        .await;

    for _ in 0..3 {
        let answer = gateway.chat(&hello()).await.expect(200);
        assert!(answer.took < Duration::from_secs(1), "{:?}", answer.took);
    }
    assert_eq!(gateway.metric("uni_api_ledger_up").await, 0.0);
    gateway.ask(&Ask::get("/readyz").without_key()).await.expect(200);
}

/// Promises: `db-optional-volume`.
#[tokio::test]
async fn a_folder_without_write_permission_still_answers() {
    let upstream = healthy("ok").await;
    let setup = Setup::new(config([channel("a", &upstream)])).with_database();
    let folder = setup.folder().to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();

    let gateway = setup.start().await;
    gateway.chat(&hello()).await.expect(200);

    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn texts_of_requests_and_answers_are_not_stored() {
    let upstream = healthy("an answer nobody should store").await;
    let gateway = with_database(config([channel("a", &upstream)])).await;
    let request = hello().with("/messages/0/content", json!("a prompt nobody should store"));

    gateway.chat(&request).await.expect(200);
    gateway.request_rows(1).await;

    let texts = secrets::Secrets::new(["nobody should store"]);
    texts.absent_from_run(&gateway).await;
}

#[tokio::test]
async fn the_database_is_found_again_after_a_restart() {
    let upstream = healthy("ok").await;
    let text = config([channel("a", &upstream)]);
    let path = tempfile::tempdir().unwrap();
    let file = path.path().join("own.db");
    let start = || Setup::new(&text).with_database().env("DB_PATH", file.to_str().unwrap()).start();

    for count in 1..=2 {
        let mut gateway = start().await;
        gateway.chat(&hello()).await.expect(200);
        gateway.terminate();
        gateway.ended().await;
        let rows = stats::query(&file, "SELECT id FROM request_stats WHERE model IS NOT NULL", |_| ())
            .await
            .unwrap();
        assert_eq!(rows.len(), count);
    }
}
