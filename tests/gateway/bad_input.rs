//! Requests that cannot be served get a clear error in OpenAI's shape, and the next one works.

use std::time::Duration;

use serde_json::json;

use crate::harness::subjects::bad_input::*;
use crate::harness::*;

/// Promises: `key-api-required`.
#[tokio::test]
async fn an_unknown_key_is_refused_with_401() {
    let (upstream, gateway) = ready().await;

    let answer = gateway.ask(&Ask::chat(&hello()).key("sk-wrong")).await.expect(401);

    assert_eq!(answer.error()["code"], "invalid_api_key");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert!(!answer.everything().contains("sk-wrong"));
    unharmed(&upstream, &gateway).await;
}

/// Promises: `key-api-required`.
#[tokio::test]
async fn a_missing_key_is_refused_with_401() {
    let (upstream, gateway) = ready().await;

    let answer = gateway.ask(&Ask::chat(&hello()).without_key()).await.expect(401);

    assert_eq!(answer.error()["code"], "invalid_api_key");
    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn chunks_that_are_none_are_the_client_s_mistake_and_not_its_leaving() {
    let (upstream, gateway) = ready().await;
    let ask = Ask::new("POST", "/v1/chat/completions", Vec::new()).header("transfer-encoding", "chunked");

    for chunks in ["zz\r\n{}\r\n0\r\n\r\n", "5\r\n{\"a\":x\r\n", "2\r\n{}0\r\n\r\n"] {
        let mut wire = gateway.client().connect().await;
        wire.send_head(&ask).await;
        wire.write(chunks.as_bytes()).await.unwrap();
        let answer = wire.flow().await.rest().await.expect(400);
        assert_eq!(answer.error()["type"], "invalid_request_error", "{chunks}");
    }
    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_request_that_names_no_host_gets_a_400_with_an_id() {
    let (upstream, gateway) = ready().await;

    for head in ["GET /v1/models HTTP/1.1\r\n\r\n", "GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"] {
        let mut wire = gateway.client().connect().await;
        wire.write(head.as_bytes()).await.unwrap();
        let answer = wire.flow().await.rest().await.expect(400);
        assert!(
            answer.header("x-request-id").is_some() && answer.text().contains("Host"),
            "{}",
            answer.text()
        );
    }
    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn deeply_nested_json_harms_nobody() {
    let upstream = Upstream::always(Script::json(&said("ok"))).await;
    let claude = Upstream::always(Recorded::case("anthropic/cached").script()).await;
    let claude = anthropic_channel("b", &claude).with("/model", json!(["claude"]));
    let gateway = Gateway::start(config([channel("a", &upstream), claude])).await;

    for model in ["m", "claude"] {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let body = format!(r#"{{"model":"{model}","messages":[],"deep":{open}{close}}}"#);
        let answer = gateway.ask(&Ask::raw(body)).await;

        assert!(matches!(answer.status, 200 | 400), "{} {}", answer.status, answer.text());
    }
    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "ok");
}

#[tokio::test]
async fn the_413_is_seen_while_the_body_is_still_being_uploaded() {
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)])).env("MAX_BODY_BYTES", "1MiB").start().await;
    let length = (50 << 20).to_string();
    let ask = Ask::new("POST", "/v1/chat/completions", Vec::new()).header("content-length", &length);

    let mut wire = gateway.client().connect().await;
    wire.send_head(&ask).await;
    wire.write(&vec![b'x'; 200 << 10]).await.unwrap();
    let answer = wire.flow().await.rest().await.expect(413);

    assert_eq!(answer.error()["code"], "request_too_large");
    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)])).env("MAX_BODY_BYTES", "100KB").start().await;
    let ask = Ask::new("POST", "/v1/chat/completions", Vec::new()).header("transfer-encoding", "chunked");

    let mut wire = gateway.client().connect().await;
    wire.send_head(&ask).await;
    for _ in 0..20 {
        wire.write(format!("2800\r\n{}\r\n", "x".repeat(0x2800)).as_bytes()).await.unwrap();
    }
    let answer = wire.flow().await.rest().await.expect(413);

    answer.error();
    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_small_compressed_body_cannot_become_a_large_one() {
    use std::io::Write as _;
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)])).env("MAX_BODY_BYTES", "1MiB").start().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let body = hello().with("/messages/0/content", json!("x".repeat(20 << 20))).to_string();
    encoder.write_all(body.as_bytes()).unwrap();
    let bomb = encoder.finish().unwrap();

    let answer = gateway.ask(&Ask::raw(bomb).header("content-encoding", "gzip")).await;

    assert!(matches!(answer.status, 400 | 413 | 415), "{} {}", answer.status, answer.text());
    answer.error();
    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_truncated_body_reaches_no_upstream() {
    let (upstream, gateway) = ready().await;
    let ask = Ask::chat(&hello()).header("content-length", "1000");

    let mut wire = gateway.client().connect().await;
    wire.send_head(&ask).await;
    wire.write(hello().to_string().as_bytes()).await.unwrap();
    drop(wire);
    tokio::time::sleep(Duration::from_millis(200)).await;

    unharmed(&upstream, &gateway).await;
}

#[tokio::test]
async fn a_request_that_is_no_http_harms_nobody() {
    let (upstream, gateway) = ready().await;

    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\0\0",
    ] {
        let mut wire = gateway.client().connect().await;
        wire.write(garbage).await.unwrap();
    }
    let ask = Ask::chat(&hello()).header("x-large", &"x".repeat(2 << 20));
    let mut wire = gateway.client().connect().await;
    let mut head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-large: {}", ask.headers[2].1);
    head.push_str("\r\n\r\n");
    let _ = wire.write(head.as_bytes()).await;
    unharmed(&upstream, &gateway).await;
}

/// Waits for the line of the request that a client left.
async fn client_gone_is_logged(gateway: &Gateway) {
    gateway.wait_for_line("the line of the abandoned request", |line| line.contains("client_gone")).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_cancels_the_upstream_request() {
    let upstream =
        Upstream::start(|seen| if seen.ordinal == 0 { Script::hang() } else { saying("ok")(seen) }).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let mut wire = gateway.client().connect().await;
    let ask =
        Ask::chat(&hello_stream()).header("content-length", &hello_stream().to_string().len().to_string());
    wire.send_head(&ask).await;
    wire.write(&ask.body).await.unwrap();
    upstream.wait_for(1).await;
    drop(wire);

    upstream.wait_for_cancelled(1).await;
    client_gone_is_logged(&gateway).await;
    let answer = gateway.chat(&hello()).await.expect(200);
    assert_eq!(answer.channel(), "a", "nobody is blamed for a client that left");
}

#[tokio::test]
async fn a_client_that_leaves_a_whole_request_cancels_the_upstream_request() {
    let upstream =
        Upstream::start(|seen| if seen.ordinal == 0 { Script::hang() } else { saying("ok")(seen) }).await;
    let other = healthy("other").await;
    let gateway = Gateway::start(config([channel("a", &upstream), channel("b", &other)])).await;

    let mut wire = gateway.client().connect().await;
    let ask = Ask::chat(&hello()).header("content-length", &hello().to_string().len().to_string());
    wire.send_head(&ask).await;
    wire.write(&ask.body).await.unwrap();
    upstream.wait_for(1).await;
    drop(wire);

    upstream.wait_for_cancelled(1).await;
    client_gone_is_logged(&gateway).await;
    assert_eq!(other.count(), 0, "nobody asks on behalf of a client that left");
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
}

#[tokio::test]
async fn a_client_that_leaves_at_the_first_byte_cancels_the_upstream_request() {
    let upstream = Upstream::start(|seen| {
        if seen.ordinal == 0 {
            Script::events([role_event(), text_event("a")]).then_hang()
        } else {
            saying("ok")(seen)
        }
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.next().await.unwrap();
    drop(flow);

    upstream.wait_for_cancelled(1).await;
    client_gone_is_logged(&gateway).await;
    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).streamed(), "ok");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_cancels_the_upstream_request() {
    let upstream = Upstream::start(|seen| {
        if seen.ordinal == 0 {
            Script::events(vec![text_event("tick"); 10_000]).paced(Duration::from_millis(5))
        } else {
            saying("ok")(seen)
        }
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    for _ in 0..5 {
        flow.next().await.unwrap();
    }
    drop(flow);

    upstream.wait_for_cancelled(1).await;
    client_gone_is_logged(&gateway).await;
    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).streamed(), "ok");
}

#[tokio::test]
async fn a_key_is_not_cooled_and_a_channel_not_left_because_clients_leave() {
    let upstream =
        Upstream::start(|seen| if seen.ordinal < 5 { Script::hang() } else { saying("ok")(seen) }).await;
    let other = healthy("other").await;
    let two_keys = channel("a", &upstream)
        .with("/api", json!(["k1", "k2"]))
        .with("/preferences/api_key_cooldown_period", json!(60));
    let gateway = Gateway::start(config([two_keys, channel("b", &other)])).await;

    for n in 1..=5 {
        let mut wire = gateway.client().connect().await;
        let ask = Ask::chat(&hello()).header("content-length", &hello().to_string().len().to_string());
        wire.send_head(&ask).await;
        wire.write(&ask.body).await.unwrap();
        upstream.wait_for(n).await;
        drop(wire);
        upstream.wait_for_cancelled(n).await;
    }

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
}
