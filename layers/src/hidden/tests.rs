use std::time::Duration;

use super::*;
use crate::body::Broken;
use crate::body::idle::Idle;
use crate::ports::Pair;
use crate::testing::handles::ScriptedTokens;
use crate::testing::policy::{caller, secret};
use crate::testing::{Chunks, channel, chunks};

const KEY: &str = "sk-provider-0123456789";

fn asked_with(credential: impl Into<Credential>) -> Hidden {
    Hidden::of(&channel("a").build(), Some(&credential.into()), None)
}

fn guarded(body: Chunks, care: Care) -> Idle {
    body.patient().guarded(Guard::new(asked_with(secret(KEY)), care))
}

/// What comes out of a body, and what broke it.
async fn read(mut body: Idle) -> (String, Option<Broken>) {
    let mut text = Vec::new();
    loop {
        match std::future::poll_fn(|cx| body.poll_data(cx)).await {
            Some(Ok(data)) => text.extend_from_slice(&data),
            Some(Err(broken)) => return (String::from_utf8(text).unwrap(), Some(broken)),
            None => return (String::from_utf8(text).unwrap(), None),
        }
    }
}

#[test]
fn every_text_of_every_kind_of_credential_is_hidden() {
    let pair = Pair {
        id: secret("name-of-key"),
        secret: secret("signing-key"),
        session: Some(secret("session-token")),
    };
    let tokens = ScriptedTokens::of(&["token-of-now", "token-before"]);
    for (hidden, texts) in [
        (asked_with(secret("sk-provider-key")), vec!["sk-provider-key"]),
        (asked_with(Credential::Token(tokens)), vec!["token-of-now", "token-before"]),
        (asked_with(Credential::Pair(pair.into())), vec!["name-of-key", "signing-key", "session-token"]),
    ] {
        for text in texts {
            let mut told = format!("no: {text}.");
            hidden.clean_text(&mut told);
            assert_eq!(told, "no: [hidden].");
        }
    }
}

#[test]
fn the_client_s_own_key_is_hidden_in_what_is_told_of_errors() {
    let caller = caller().key("sk-client-0123456789").build();
    let hidden = Hidden::of(&channel("a").build(), None, Some(&caller));
    assert!(hidden.clean(b"sk-client-0123456789", Care::Error).is_some());
    assert!(hidden.clean(b"sk-client-0123456789", Care::Events).is_none());
}

#[test]
fn headers_are_clean_in_name_and_value() {
    let dirty = || {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-request-id", format!("req-{KEY}")),
            ("openai-organization", format!("org-{}", KEY.replace("sk-", "%73k%2D"))),
            ("content-disposition", format!("attachment; filename=\"{KEY}\"")),
            ("openai-version", "2020-10-01".to_owned()),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers.insert(http::HeaderName::try_from(format!("openai-{KEY}")).unwrap(), "x".parse().unwrap());
        headers
    };
    for care in [Care::Odd, Care::Error] {
        let mut headers = dirty();
        asked_with(secret(KEY)).clean_headers(&mut headers, care);
        assert_eq!(headers["x-request-id"], "req-[hidden]");
        assert_eq!(headers["openai-organization"], "org-[hidden]");
        assert_eq!(headers["content-disposition"], "attachment; filename=\"[hidden]\"");
        assert_eq!((&headers["openai-version"], headers.len()), (&"2020-10-01".parse().unwrap(), 4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_hidden_wherever_its_body_is_cut() {
    let text = format!("data: {{\"m\":\"x {KEY} y\"}}\n\ndata: {KEY}{KEY}\n\n");
    for care in [Care::Events, Care::Whole, Care::Error] {
        for cut in 0..text.len() {
            let (first, rest) = text.as_bytes().split_at(cut);
            let body = chunks().now(first.to_vec()).after(Duration::from_secs(1), rest.to_vec());
            let (told, broken) = read(guarded(body, care)).await;
            assert_eq!(
                told, "data: {\"m\":\"x [hidden] y\"}\n\ndata: [hidden][hidden]\n\n",
                "{care:?} cut at {cut}"
            );
            assert_eq!(broken, None);
        }
        let drip = text.bytes().fold(chunks(), |body, byte| body.now(vec![byte]));
        assert_eq!(read(guarded(drip, care)).await.0.matches("[hidden]").count(), 3, "{care:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_secrets_passes_byte_for_byte_and_at_once() {
    let text = "data: {\"m\":\"skip \\u0073 100%\"}\n\n";
    let mut body = guarded(chunks().now(text).hangs(), Care::Events);

    let data = std::future::poll_fn(|cx| body.poll_data(cx)).await.unwrap().unwrap();

    assert_eq!(data, text);
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_comes_at_the_end_unless_it_is_most_of_a_secret() {
    for (end, told) in [("and sk", "and sk"), ("and sk-provider-01", "and [hidden]"), ("and", "and")] {
        assert_eq!(read(guarded(chunks().now(end), Care::Events)).await, (told.to_owned(), None));
        let (told, broken) = read(guarded(chunks().now(end).breaks(), Care::Events)).await;
        assert!(end.starts_with(&told) && !told.contains("sk-pro"), "{told}");
        assert_eq!(broken, Some(Broken::Connection(None)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_channel_configures_is_hidden_as_its_keys_are() {
    let channel = channel("a")
        .secrets(
            Secrets::default().with_header("x-mine", "header-0a1b2c3d4e").with_header("x-tier", "economy"),
        )
        .build();
    let hidden = Hidden::of(&channel, None, None);
    let body = |care| {
        chunks().now("header-0a1b2c3d4e economy\n").patient().guarded(Guard::new(hidden.clone(), care))
    };
    assert_eq!(read(body(Care::Events)).await.0, "[hidden] economy\n");
    assert_eq!(read(body(Care::Error)).await.0, "[hidden] [hidden]\n");
}
