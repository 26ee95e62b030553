//! `uni-api demo` and `engine: mock`: an answer without any provider.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::*;

/// Promises: `cfg-none-given`.
#[tokio::test]
async fn the_demo_prints_a_key_and_a_curl_line_that_answers() {
    let gateway = Setup::empty().arg("demo").without_env("HOST").start().await;

    assert!(gateway.address().ip().is_loopback(), "{}", gateway.address());
    let printed = gateway.printed();
    assert!(printed.to_lowercase().contains("demo"), "{printed}");
    let key = printed
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .find(|word| word.starts_with("sk-"));
    let key = key.unwrap_or_else(|| panic!("no key in {printed}"));
    assert!(printed.contains("curl") && printed.contains(&gateway.address().to_string()), "{printed}");

    let models = gateway.ask(&Ask::get("/v1/models").key(key)).await.expect(200).json();
    let model = models["data"][0]["id"].as_str().unwrap();
    assert!(printed.contains(model), "the curl line should name a model: {printed}");
    let answer = gateway.ask(&Ask::chat(&hello_to(model)).key(key)).await.expect(200);
    assert!(answer.content().contains("hello"), "{}", answer.text());
    gateway.ask(&Ask::chat(&hello_to(model))).await.expect(401);
}

/// Promises: `cfg-none-given`.
#[tokio::test]
async fn the_printed_curl_line_answers_as_it_stands() {
    let gateway = Setup::empty().arg("demo").start().await;
    let printed = gateway.printed();
    let from = printed.find("curl ").unwrap_or_else(|| panic!("no curl line in {printed}"));
    let mut lines = printed[from..].lines();
    let mut command = String::new();
    for line in lines.by_ref() {
        command.push_str(line.trim_end_matches('\\'));
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }

    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new("sh").args(["-c", &command]).env("no_proxy", "*").output()
    });
    let output = output.await.unwrap().unwrap();

    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("mock"), "{text} {}", String::from_utf8_lossy(&output.stderr));
}

/// Promises: `cfg-none-given`.
#[tokio::test]
async fn the_demo_listens_on_loopback_whatever_host_says() {
    let gateway = Setup::empty().arg("demo").env("HOST", "0.0.0.0").start().await;

    let line = gateway.wait_for_line("where it serves", |line| line.contains("Serving.")).await;
    assert!(line.contains("127.0.0.1:"), "{line}");
}

/// Promises: `load-mock`.
#[tokio::test]
async fn a_mock_channel_streams_and_tells_usage() {
    let mock = json!({ "provider": "mock", "engine": "mock", "model": ["m"] });
    let gateway = Gateway::start(config([mock])).await;

    let mut flow = gateway
        .client()
        .open(&Ask::chat(&hello_stream().with("/stream_options/include_usage", json!(true))))
        .await;
    assert_eq!(flow.status, 200);
    flow.next().await.unwrap();
    let answer = flow.rest().await;

    assert!(answer.streamed().contains("hello"), "{}", answer.text());
    assert!(answer.is_done());
    assert!(answer.pieces.len() > 3, "it comes word by word");
    assert!(answer.event_values().iter().any(|event| event["usage"]["total_tokens"].is_u64()));
    assert!(gateway.chat(&hello()).await.expect(200).content().contains("hello"));
}

/// Promises: `deploy-binary-listen`.
#[tokio::test]
async fn a_configured_gateway_listens_on_every_address_by_default() {
    let mock = json!({ "provider": "mock", "engine": "mock", "model": ["m"] });
    let gateway = Setup::new(config([mock])).without_env("HOST").start().await;

    let line = gateway.wait_for_line("where it serves", |line| line.contains("Serving.")).await;
    assert!(line.contains("0.0.0.0:") || line.contains("[::]:"), "{line}");
    let _: SocketAddr = gateway.address();
    gateway.chat(&hello()).await.expect(200);
}
