//! Amazon Bedrock: signatures over what is sent, regions that stand in for each other, and its streams.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use dialect::framing::event_stream::{HeaderValue, encode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::bench::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOVA: &str = "us.amazon.nova-lite-v1:0";
const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// A channel at an upstream of this test, which signs.
fn signing(upstream: &Upstream, model: &str) -> Value {
    json!({
        "provider": "aws", "engine": "aws", "base_url": upstream.origin(), "region": "us-test-1",
        "aws_access_key": "AKIDEXAMPLE", "aws_secret_key": SECRET, "aws_session_token": "session-0a1b2c3d",
        "model": [{ model: "m" }],
    })
}

fn said_by_nova(text: &str) -> Value {
    json!({
        "output": { "message": { "role": "assistant", "content": [{ "text": text }] } },
        "stopReason": "end_turn",
        "usage": { "inputTokens": 11, "outputTokens": 7, "totalTokens": 18 },
        "metrics": { "latencyMs": 1 },
    })
}

fn message(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let label = if kind == "event" { ":event-type" } else { ":exception-type" };
    let headers = [
        (label, HeaderValue::String(name.as_bytes())),
        (":message-type", HeaderValue::String(kind.as_bytes())),
    ];
    let mut out = BytesMut::new();
    encode(&headers, payload.to_string().as_bytes(), &mut out);
    out.to_vec()
}

fn messages(pieces: Vec<Vec<u8>>) -> Script {
    Script::events(pieces).header("content-type", "application/vnd.amazon.eventstream")
}

/// A stream of Converse that says these words.
fn converse_stream(words: &[&str]) -> Vec<Vec<u8>> {
    let mut pieces = vec![message("event", "messageStart", &json!({ "role": "assistant" }))];
    for word in words {
        let delta = json!({ "contentBlockIndex": 0, "delta": { "text": word }, "p": "abc" });
        pieces.push(message("event", "contentBlockDelta", &delta));
    }
    pieces.push(message("event", "contentBlockStop", &json!({ "contentBlockIndex": 0 })));
    pieces.push(message("event", "messageStop", &json!({ "stopReason": "end_turn" })));
    let usage = json!({ "usage": { "inputTokens": 11, "outputTokens": 7, "totalTokens": 18 } });
    pieces.push(message("event", "metadata", &usage));
    pieces
}

/// The same of Claude's own format, each event wrapped.
fn claude_stream(words: &[&str]) -> Vec<Vec<u8>> {
    let start = json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude", "content": [], "usage": { "input_tokens": 9, "output_tokens": 1 } } });
    let block =
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    let delta = |word: &&str| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } });
    let ends = [
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 4 } }),
        json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics": { "inputTokenCount": 9 } }),
    ];
    let events = [start, block].into_iter().chain(words.iter().map(delta)).chain(ends);
    let wrapped = events.map(|event| json!({ "bytes": STANDARD.encode(event.to_string()), "p": "abcdef" }));
    wrapped.map(|payload| message("event", "chunk", &payload)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

/// RFC 2104.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::digest([&padded(0x36)[..], text].concat());
    Sha256::digest([&padded(0x5C)[..], &inner].concat()).to_vec()
}

/// Whether the signature of a request is that of what arrived: worked out anew after AWS's description, by hand.
fn is_signed(seen: &Seen, region: &str) -> bool {
    let authorization = seen.header("authorization").unwrap();
    let (head, signature) = authorization.rsplit_once(", Signature=").unwrap();
    let names = head.rsplit_once("SignedHeaders=").unwrap().1;
    let date = seen.header("x-amz-date").unwrap();
    let scope = format!("{}/{region}/bedrock/aws4_request", &date[..8]);
    assert!(head.contains(&format!("Credential=AKIDEXAMPLE/{scope}")), "{head}");
    let headers: String =
        names.split(';').map(|name| format!("{name}:{}\n", seen.header(name).unwrap())).collect();
    let request = format!(
        "{}\n{}\n\n{headers}\n{names}\n{}",
        seen.method,
        seen.path.replace('%', "%25"),
        hex(&Sha256::digest(&seen.body))
    );
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let key = ["us-test-1", "bedrock", "aws4_request"]
        .iter()
        .fold(hmac(format!("AWS4{SECRET}").as_bytes(), &date.as_bytes()[..8]), |key, part| {
            hmac(&key, if *part == "us-test-1" { region } else { part }.as_bytes())
        });
    hex(&hmac(&key, text.as_bytes())) == signature
}

/// Promises: `cfg-aws-keys`, `dialect-aws`.
#[tokio::test(start_paused = true)]
async fn a_pair_signs_the_bytes_that_are_sent_overrides_included() {
    let upstream = Upstream::always(Script::json(&said_by_nova("ok"))).await;
    let channel = signing(&upstream, NOVA).with(
        "/preferences/post_body_parameter_overrides",
        json!({ "performanceConfig": { "latency": "optimized" } }),
    );
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert_eq!(answer.content(), "ok");
    let seen = upstream.only();
    assert_eq!(seen.path, "/model/us.amazon.nova-lite-v1%3A0/converse");
    assert_eq!(seen.header("x-amz-security-token"), Some("session-0a1b2c3d"));
    assert!(is_signed(&seen, "us-test-1"), "{seen:?}");
    let body = seen.json();
    assert_eq!(body["performanceConfig"], json!({ "latency": "optimized" }));
    assert_eq!(body["messages"], json!([{ "role": "user", "content": [{ "text": "hello" }] }]));
    assert_eq!((body.get("model"), body.get("stream")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn an_api_key_is_a_bearer_and_each_of_several_takes_its_turn() {
    let upstream = Upstream::always(Script::json(&said_by_nova("ok"))).await;
    let channel = json!({
        "provider": "aws", "engine": "bedrock", "base_url": upstream.origin(),
        "api": ["bedrock-key-1", "bedrock-key-2"], "model": [{ NOVA: "m" }],
    });
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(&hello()).await.expect(200);
    let first = upstream.last().key();
    gateway.chat(&hello()).await.expect(200);

    assert_ne!(first, upstream.last().key());
    assert!(first.starts_with("bedrock-key-"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_messages_becomes_the_client_s_and_ends_as_that_does() {
    let upstream = Upstream::always(messages(converse_stream(&["one ", "two"]))).await;
    let gateway = Gateway::start(config([signing(&upstream, NOVA)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(answer.streamed(), "one two");
    assert!(answer.is_done());
    let seen = upstream.only();
    assert_eq!(seen.path, "/model/us.amazon.nova-lite-v1%3A0/converse-stream");
    assert_eq!(seen.header("accept"), Some("application/vnd.amazon.eventstream"));
    assert!(is_signed(&seen, "us-test-1"));
}

#[tokio::test(start_paused = true)]
async fn claude_is_asked_in_its_own_format_with_the_version_and_the_features_in_the_body() {
    let upstream = Upstream::always(messages(claude_stream(&["one ", "two"]))).await;
    let gateway = Gateway::start(config([signing(&upstream, CLAUDE)])).await;
    let betas = "interleaved-thinking-2025-05-14,claude-code-20250219";

    let ask = Ask::chat(&hello_stream()).header("anthropic-beta", betas);
    let answer = gateway.ask(&ask).await.expect(200);

    assert_eq!(answer.streamed(), "one two");
    assert!(answer.is_done());
    let seen = upstream.only();
    assert_eq!(
        seen.path,
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke-with-response-stream"
    );
    let body = seen.json();
    assert_eq!(body["anthropic_version"], "bedrock-2023-05-31");
    assert_eq!(
        body["anthropic_beta"],
        json!(["interleaved-thinking-2025-05-14"]),
        "others are refused there"
    );
    assert_eq!((body.get("model"), body.get("stream")), (None, None));
    assert_eq!(seen.header("anthropic-beta"), None);
}

#[tokio::test(start_paused = true)]
async fn an_exception_before_the_first_word_is_a_reason_to_go_elsewhere_and_behind_it_an_error_event() {
    for stream in [converse_stream(&["one "]), claude_stream(&["one "])] {
        let model = if stream.len() == converse_stream(&["one "]).len() { NOVA } else { CLAUDE };
        let throttled = message("exception", "throttlingException", &json!({ "message": "Too many tokens" }));
        let begun = stream.len() - 3;
        let early = Upstream::always(messages(vec![stream[0].clone(), throttled.clone()])).await;
        let late = Upstream::always(messages([&stream[..begun], &[throttled]].concat())).await;
        let other = healthy("other").await;

        let elsewhere = Gateway::start(config([signing(&early, model), channel("b", &other)])).await;
        let torn = Gateway::start(config([signing(&late, model)])).await;

        assert_eq!(elsewhere.chat(&hello_stream()).await.expect(200).streamed(), "other");
        let answer = torn.chat(&hello_stream()).await.expect(200);
        assert!(!answer.is_done(), "{}", answer.text());
        assert!(answer.error_event().to_string().contains("Too many tokens"), "{}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_with_a_wrong_checksum_ends_the_stream_with_an_error() {
    let mut stream = converse_stream(&["one ", "two"]);
    let last = stream[2].len() - 1;
    stream[2][last] ^= 1;
    let upstream = Upstream::always(messages(stream)).await;
    let gateway = Gateway::start(config([signing(&upstream, NOVA)])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(!answer.is_done() && answer.error_event().is_object(), "{}", answer.text());
}

/// A channel without an address: each region is one.
fn regional(regions: &[&str]) -> Value {
    json!({
        "provider": "aws", "engine": "aws", "region": regions, "model": [{ NOVA: "m" }],
        "aws_access_key": "AKIDEXAMPLE", "aws_secret_key": SECRET,
    })
}

#[tokio::test(start_paused = true)]
async fn the_next_region_is_asked_with_the_same_key_when_one_has_no_room_is_down_or_lacks_the_model() {
    for (name, status) in [("room", 429), ("down", 503), ("lacks", 404)] {
        let regions = [format!("us-{name}-1"), format!("us-{name}-2")];
        let host = |region: &str| format!("bedrock-runtime.{region}.amazonaws.com");
        let body = json!({ "message": "not here" });
        let first = Upstream::at(&host(&regions[0]), move |_| Script::status(status, &body));
        let second = Upstream::at(&host(&regions[1]), |_| Script::json(&said_by_nova("ok")));
        let gateway = Gateway::start(config([regional(&[&regions[0], &regions[1]])])).await;

        // Places take turns; whichever came first, both are asked within two requests.
        for _ in 0..2 {
            assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "ok", "{name}");
        }

        assert!(is_signed(&first.last(), &regions[0]) && is_signed(&second.last(), &regions[1]), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn regions_beside_a_written_address_are_one_place() {
    let upstream = Upstream::always(Script::status(503, &json!({ "message": "down" }))).await;
    let other = healthy("other").await;
    let channel = signing(&upstream, NOVA).with("/region", json!(["us-test-1", "us-test-2"]));
    let gateway = Gateway::start(config([channel, super::bench::channel("b", &other)])).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "other");
    upstream.only();
}

#[tokio::test(start_paused = true)]
async fn bad_credentials_cool_the_key_and_the_next_channel_serves() {
    for kind in ["ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException"] {
        let refusal = json!({ "message": "The security token included in the request is invalid." });
        let refused = Script::status(403, &refusal)
            .header("x-amzn-errortype", &format!("{kind}:http://internal.amazon.com/"));
        let upstream = Upstream::always(refused).await;
        let other = healthy("other").await;
        let gateway = Gateway::start(config([signing(&upstream, NOVA), channel("b", &other)])).await;

        for _ in 0..3 {
            assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "other", "{kind}");
        }

        upstream.only();
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_the_account_may_not_ask_cools_the_model_and_not_the_key() {
    let denied = json!({ "message": "You don't have access to the model with the specified model ID." });
    let upstream = Upstream::start(move |seen| match seen.path.contains("nova") {
        true => Script::status(403, &denied).header("x-amzn-errortype", "AccessDeniedException"),
        false => Script::json(&said_by_nova("ok")),
    })
    .await;
    let channel = signing(&upstream, NOVA).with("/model", json!([{ NOVA: "m" }, { "meta.llama3": "n" }]));
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello()).await;

    assert!(answer.status >= 400 && answer.text().contains("access to the model"), "{}", answer.text());
    assert_eq!(gateway.chat(&hello_to("n")).await.expect(200).content(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_too_long_goes_to_the_next_channel_and_cools_nothing() {
    let long = "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length.";
    let refused =
        Script::status(400, &json!({ "message": long })).header("x-amzn-errortype", "ValidationException");
    let upstream = Upstream::always(refused).await;
    let other = healthy("other").await;
    let gateway = Gateway::start(config([signing(&upstream, NOVA), channel("b", &other)])).await;

    for _ in 0..2 {
        assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "other");
    }

    assert_eq!(upstream.count(), 2);
}

/// Promises: `dialect-tools-aws`, `dialect-vision-aws`.
#[tokio::test(start_paused = true)]
async fn tools_and_pictures_reach_models_of_every_maker_and_calls_come_back() {
    let called = json!({
        "output": { "message": { "role": "assistant", "content": [
            { "toolUse": { "toolUseId": "t1", "name": "look", "input": { "at": "x" } } },
        ]}},
        "stopReason": "tool_use", "usage": { "inputTokens": 1, "outputTokens": 2, "totalTokens": 3 },
    });
    let by_claude = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use",
        "content": [{ "type": "tool_use", "id": "t1", "name": "look", "input": { "at": "x" } }],
        "usage": { "input_tokens": 1, "output_tokens": 2 },
    });
    let png = "iVBORw0KGgoAAAANSUhEUg==";
    let request = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "what is it" },
            { "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{png}") } },
        ]}],
        "tools": [{ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } }],
    });
    for (model, answer, tools, picture) in [
        (NOVA, called, "/toolConfig/tools/0/toolSpec/name", "/messages/0/content/1/image/source/bytes"),
        (CLAUDE, by_claude, "/tools/0/name", "/messages/0/content/1/source/data"),
    ] {
        let upstream = Upstream::always(Script::json(&answer)).await;
        let gateway = Gateway::start(config([signing(&upstream, model)])).await;

        let answer = gateway.chat(&request).await.expect(200).json();

        let sent = upstream.only().json();
        assert_eq!(sent.pointer(tools), Some(&json!("look")), "{sent}");
        assert_eq!(sent.pointer(picture), Some(&json!(png)), "{sent}");
        let call = &answer["choices"][0]["message"]["tool_calls"][0];
        assert_eq!((&call["id"], &call["function"]["arguments"]), (&json!("t1"), &json!("{\"at\":\"x\"}")));
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }
}
