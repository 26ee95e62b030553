//! What a scrape holds, as Prometheus' own tool and a reader of figures see it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::*;

/// A gateway that has served, refused, failed over and left alone.
async fn busy() -> (Gateway, Upstream) {
    let (good, ill) = (healthy("hi").await, Upstream::always(Script::error(401, "no such key")).await);
    // A lone key never cools: what cools then is the channel's model.
    let ill = channel("ill", &ill).with("/api", json!(["key-one", "key-two"]));
    let config = config([ill, channel("good", &good)])
        .with("/api_keys/0/preferences/credits", json!(5))
        .with("/api_keys/0/preferences/rate_limit", json!("100/min"))
        .with("/api_keys/0/role", json!("team"))
        .with("/preferences/rate_limit", json!("1000/min"))
        .with("/preferences/model_price/default", json!("1,2"));
    let gateway = Setup::new(config).with_database().start().await;
    for body in [hello(), hello_stream()] {
        gateway.chat(&body).await.expect(200);
    }
    gateway.chat(&hello_to("absent")).await.expect(404);
    gateway.ask(&Ask::chat(&hello()).key("sk-unknown")).await.expect(401);
    (gateway, good)
}

#[tokio::test]
async fn prometheus_s_own_check_finds_nothing_to_say() {
    let (gateway, _upstream) = busy().await;
    let page = gateway.metrics().await;

    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by `make deps-test`");
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();

    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}\n{page}");
}

#[tokio::test]
async fn what_cools_is_left_and_was_refused_can_be_read() {
    let (gateway, _upstream) = busy().await;

    let page = gateway.metrics().await;

    for line in [
        "uni_api_channel_keys{channel=\"ill\"} 2",
        "uni_api_channel_keys_cooling{channel=\"ill\"} 2",
        "uni_api_channel_models_cooling{channel=\"ill\"} 1",
        "uni_api_channel_models_cooling{channel=\"good\"} 0",
        "uni_api_models_cooling 0",
        "uni_api_caller_window_limit{caller=\"team\",period_seconds=\"60\"} 100",
        "uni_api_caller_window_remaining{caller=\"team\",period_seconds=\"60\"} 97",
        "uni_api_gateway_window_limit{period_seconds=\"60\"} 1000",
        "uni_api_caller_credits_usd{caller=\"team\"} 5",
        "uni_api_refused_requests_total{reason=\"unauthenticated\"} 1",
        "uni_api_refused_requests_total{reason=\"model_not_found\"} 1",
        "uni_api_retried_requests_total{result=\"ok\"} 1",
        "uni_api_config_source_up 1",
        "uni_api_ledger_up 1",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    }
    assert!(gateway.metric("uni_api_caller_balance_usd{").await < 5.0);
    for series in [
        "uni_api_upstream_connect_seconds_count{result=\"ok\"}",
        "uni_api_runtime_tasks{runtime=\"worker-0\"}",
        "uni_api_runtime_busy_seconds_total{runtime=\"main\"}",
        "process_open_fds",
        "process_resident_memory_bytes",
        "gen_ai_server_time_to_first_token_seconds_count{",
    ] {
        assert!(gateway.metric(series).await > 0.0, "{series} in {page}");
    }
}

#[tokio::test]
async fn an_emptied_file_is_seen_in_the_gauges_and_so_is_its_return() {
    let upstream = healthy("hi").await;
    let config = config([channel("a", &upstream)]);
    let gateway = Gateway::start(&config).await;
    assert_eq!(gateway.metric("uni_api_config_source_up").await, 1.0);

    std::fs::write(gateway.api_yaml(), "").unwrap();
    let until = async |value: f64| {
        let began = std::time::Instant::now();
        while gateway.metric("uni_api_config_source_up").await != value {
            assert!(began.elapsed() < PATIENCE, "{}", gateway.metrics().await);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    gateway.signal("HUP");
    until(0.0).await;
    assert_eq!(gateway.metric("uni_api_config_reload_success").await, 0.0);
    gateway.chat(&hello()).await.expect(200);
    std::fs::write(gateway.api_yaml(), config.to_string()).unwrap();
    until(1.0).await;

    assert_eq!(gateway.metric("uni_api_config_reload_success").await, 1.0);
}
