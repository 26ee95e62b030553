//! Connections to upstreams: TLS that is checked, and HTTP/2 where it is asked for.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::*;

/// A channel behind TLS.
fn secure_channel(name: &str, address: SocketAddr) -> serde_json::Value {
    channel_at(name, &format!("https://localhost:{}/v1/chat/completions", address.port()))
}

/// A gateway that trusts this authority and no other.
fn trusting(authority: &Authority, config: impl ToString) -> Setup {
    let setup = Setup::new(config).file("authority.pem", authority.pem());
    let file = setup.folder().join("authority.pem").display().to_string();
    setup.env("SSL_CERT_FILE", &file)
}

#[tokio::test]
async fn an_upstream_with_a_certificate_of_a_trusted_authority_serves() {
    let authority = Authority::new();
    let upstream = healthy("over TLS").await;
    let front = authority.front(&upstream, "localhost").await;
    let gateway = trusting(&authority, config([secure_channel("a", front)])).start().await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "over TLS");
    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).streamed(), "over TLS");
    assert_eq!(upstream.last().key(), "key-of-a");
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_sends_the_request_to_the_next_channel() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let upstream = healthy("never").await;
    let unknown = stranger.front(&upstream, "localhost").await;
    let misnamed = authority.front(&upstream, "other.example").await;
    let reserve = healthy("reserve").await;
    let config = config([
        secure_channel("unknown", unknown),
        secure_channel("misnamed", misnamed),
        channel("b", &reserve),
    ]);
    let gateway = trusting(&authority, config).start().await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!((answer.channel(), answer.header("x-uni-api-attempts")), ("b", Some("3")));
    assert_eq!(upstream.count(), 0, "no request, and no key, was sent to either");
}

#[tokio::test]
async fn certificates_that_are_named_and_not_there_are_told_at_the_start() {
    let upstream = healthy("plain").await;
    let setup = Setup::new(config([channel("a", &upstream)])).env("SSL_CERT_FILE", "/nonexistent.pem");
    let gateway = setup.start().await;

    let line =
        gateway.wait_for_line("a warning", |line| line.contains("SSL_CERT_FILE=/nonexistent.pem")).await;

    assert!(line.contains("WARN") && line.contains("No such file"), "{line}");
}

#[tokio::test]
async fn an_upstream_without_http2_serves_a_channel_that_asks_for_it() {
    let authority = Authority::new();
    let upstream = healthy("in HTTP/1.1").await;
    let front = authority.front(&upstream, "localhost").await;
    let channel = secure_channel("a", front).with("/preferences/http2", json!(true));
    let gateway = trusting(&authority, config([channel])).start().await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "in HTTP/1.1");
}

#[tokio::test]
async fn over_tls_300_streams_are_open_at_once_where_a_connection_may_have_100() {
    let authority = Authority::new();
    let upstream = Http2Upstream::start(Some(authority.acceptor("localhost", &["h2"]))).await;
    let channel = secure_channel("a", upstream.address()).with("/preferences/http2", json!(true));
    let gateway = trusting(&authority, config([channel])).start().await;

    hold_300(&gateway, &upstream).await;
}

#[tokio::test]
async fn without_tls_300_streams_are_open_at_once_where_a_connection_may_have_100() {
    let upstream = Http2Upstream::start(None).await;
    let channel = channel_at("a", &format!("http://{}/v1/chat/completions", upstream.address()))
        .with("/preferences/http2", json!(true));
    let gateway = Gateway::start(config([channel])).await;

    hold_300(&gateway, &upstream).await;
}

/// Begins 300 streams before any of them ends.
async fn hold_300(gateway: &Gateway, upstream: &Http2Upstream) {
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let client = gateway.client();
        streams.spawn(async move {
            let mut flow = client.open(&Ask::chat(&hello_stream())).await;
            flow.until("begun").await;
            flow.rest().await.expect(200)
        });
    }
    upstream.wait_for(300).await;
    upstream.release();

    for answer in streams.join_all().await {
        assert!(answer.is_done() && answer.complete, "{}", answer.text());
    }
    let most = upstream.most();
    assert!(most.iter().all(|streams| *streams <= 100), "{most:?}");
    assert!((4..=16).contains(&most.len()), "streams share connections: {most:?}");
}
