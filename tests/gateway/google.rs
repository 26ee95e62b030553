//! Google's service accounts over real sockets: the token endpoint, the proxy, the list of models.

use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::harness::subjects::google::*;
use crate::harness::*;

/// What an assertion claims, if the account of tests has signed it.
fn claims(form: &[u8]) -> Value {
    let form = String::from_utf8(form.to_vec()).unwrap();
    let (_, assertion) = form.split_once("&assertion=").unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let der: String = private_key().lines().filter(|line| !line.starts_with('-')).collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .expect("the account's own signature");
    let (_, claims) = signed.split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// Promises: `cfg-private-key`, `cfg-private-key-json`, `cfg-client-email`.
#[tokio::test]
async fn an_account_signs_for_its_token_behind_the_channel_s_proxy_and_serves_with_it() {
    let upstream = Upstream::always(Script::json(&gemini_said("Hi"))).await;
    let tokens = token_endpoint().await;
    let names = [("vertex.test:80", upstream.address()), ("token.test:80", tokens.address())];
    let proxy = Proxy::start(Speaks::Connect, None, &names).await;
    let file = json!({
        "type": "service_account", "project_id": "p", "private_key": private_key(),
        "client_email": "me@p.test", "token_uri": "http://token.test/token",
    });
    let channel = json!({
        "provider": "v", "engine": "vertex", "base_url": "http://vertex.test", "region": "us-east5",
        "private_key": file.to_string(), "model": ["gemini-2.5-flash"],
        "preferences": { "proxy": proxy.url("") },
    });
    let gateway = Gateway::start(config([channel])).await;

    for _ in 0..3 {
        assert_eq!(gateway.chat(&hello_to("gemini-2.5-flash")).await.expect(200).content(), "Hi");
    }

    let asked = tokens.only();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    let claims = claims(&asked.body);
    assert_eq!(claims["iss"], "me@p.test");
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    let served = upstream.last();
    assert_eq!(
        served.path,
        "/v1/projects/p/locations/us-east5/publishers/google/models/gemini-2.5-flash:generateContent"
    );
    assert_eq!(served.header("authorization"), Some("Bearer token-1"));
    assert_eq!(proxy.targets()[0], "token.test:80");
    let printed = gateway.printed();
    for secret in ["token-1", "BEGIN PRIVATE KEY", "assertion="] {
        assert!(!printed.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn the_lists_of_both_publishers_are_asked_for_with_the_token() {
    let upstream = Upstream::start(|seen| {
        let list = |names: &[&str], next: &str| {
            let models: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            Script::json(&json!({ "publisherModels": models, "nextPageToken": next }))
        };
        match (seen.path.contains("/publishers/google/models?"), seen.path.contains("pageToken=two")) {
            (true, false) => {
                list(&["publishers/google/models/gemini-one", "publishers/google/models/imagen"], "two")
            }
            (true, true) => list(&["publishers/google/models/gemini-two"], ""),
            (false, _) if seen.method == "GET" => list(&["publishers/anthropic/models/claude-three"], ""),
            (false, _) => Script::json(&gemini_said("Hi")),
        }
    })
    .await;
    let tokens = token_endpoint().await;
    let mut channel = vertex_channel("v", &upstream, &tokens);
    channel.as_object_mut().unwrap().remove("model");
    let gateway = Gateway::start(config([channel])).await;

    let listed = eventually("the list", PATIENCE, || {
        gateway.lines().iter().any(|line| line.contains("Model list of the channel is known")).then_some(())
    });
    listed.await;
    let models = gateway.ask(&Ask::get("/v1/models")).await.expect(200).json();

    let mut names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["claude-three", "gemini-one", "gemini-two"]);
    let asked = upstream.requests();
    assert!(asked.iter().all(|seen| seen.header("authorization") == Some("Bearer token-1")));
    assert!(asked.iter().all(|seen| seen.header("x-goog-user-project") == Some("p")));
    assert_eq!(gateway.chat(&hello_to("gemini-two")).await.expect(200).content(), "Hi");
}
