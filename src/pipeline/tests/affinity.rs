//! Conversations return to the channel and the key that served them last, and nobody else's turn
//! moves for it.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::subjects::distribution::{channels, hello_ask, key, keys, weighted};
use super::bench::*;

/// A request of a conversation that an agent names in this header.
fn named(header: &str, name: &str) -> Ask {
    hello_ask().header(header, name)
}

fn session(name: &str) -> Ask {
    named("x-claude-code-session-id", name)
}

/// Two channels with three keys each, taken in turn.
async fn two_by_three(upstream: &Upstream) -> Value {
    let with_keys = |channel: Value| {
        let name = channel["provider"].as_str().unwrap().to_owned();
        channel.with("/api", json!([format!("{name}1"), format!("{name}2"), format!("{name}3")]))
    };
    config(channels(2, upstream).into_iter().map(with_keys))
        .with("/api_keys", keys("round_robin", json!(["all"])))
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_names_itself_stays_with_its_channel_and_key() {
    let in_body = |field: &str| Ask::chat(&hello().with(&format!("/{field}"), json!("c-1")));
    for ask in [
        session("c-1"),
        named("session_id", "c-1"),
        named("Session-Id", "c-1"),
        in_body("prompt_cache_key"),
        in_body("previous_response_id"),
    ] {
        let upstream = healthy("ok").await;
        let gateway = Gateway::start(two_by_three(&upstream).await).await;

        for _ in 0..7 {
            gateway.ask(&ask).await.expect(200);
            gateway.ask(&hello_ask()).await.expect(200);
        }

        let served = upstream.keys();
        let own: Vec<&String> = served.iter().step_by(2).collect();
        assert!(own.iter().all(|key| *key == own[0]), "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_conversation_keep_the_exact_turns_of_channels_and_keys() {
    let alone = healthy("ok").await;
    let gateway = Gateway::start(two_by_three(&alone).await).await;
    for _ in 0..12 {
        gateway.ask(&hello_ask()).await.expect(200);
    }
    let beside = healthy("ok").await;
    let gateway = Gateway::start(two_by_three(&beside).await).await;
    let mut turns = Vec::new();
    // The conversation begins in the turn of the first.
    gateway.ask(&session("c")).await.expect(200);
    turns.extend(beside.keys());
    for _ in 0..11 {
        gateway.ask(&session("c")).await.expect(200);
        gateway.ask(&hello_ask()).await.expect(200);
        turns.push(beside.last().key());
    }

    assert_eq!(turns, alone.keys());
}

#[tokio::test(start_paused = true)]
async fn conversations_are_told_apart_by_name_client_key_and_model() {
    let upstream = healthy("ok").await;
    let two_models = |channel: Value| channel.with("/model", json!(["m", "n"]));
    let config = config(channels(3, &upstream).into_iter().map(two_models)).with(
        "/api_keys",
        json!([key(CLIENT, "round_robin", json!(["all"])), key("sk-other", "round_robin", json!(["all"])),]),
    );
    let gateway = Gateway::start(config).await;
    let other_model = Ask::chat(&hello_to("n")).header("session_id", "1");

    assert_eq!(gateway.sequence(3, &named("session_id", "1")).await, "aaa");
    assert_eq!(gateway.sequence(3, &named("session_id", "2")).await, "bbb");
    assert_eq!(gateway.sequence(3, &named("session_id", "3")).await, "ccc");
    assert_eq!(gateway.sequence(1, &named("session_id", "4").key("sk-other")).await, "a");
    assert_eq!(gateway.sequence(2, &named("session_id", "3").key("sk-other")).await, "bb");
    assert_eq!(gateway.sequence(2, &other_model).await, "aa");
    assert_eq!(gateway.sequence(2, &named("session_id", "2")).await, "bb");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_whose_channel_fails_moves_on_and_stays_where_it_went() {
    let ill = Upstream::start(|seen| match seen.ordinal {
        0 => Script::json(&said("a")),
        1 => Script::error(500, "broken"),
        _ => Script::json(&said("a again")),
    })
    .await;
    let well = healthy("b").await;
    let config = config([channel("a", &ill), channel("b", &well)])
        .with("/api_keys", keys("fixed_priority", json!(["all"])));
    let gateway = Gateway::start(config).await;

    assert_eq!(gateway.sequence(1, &session("c")).await, "a");
    assert_eq!(gateway.sequence(1, &session("c")).await, "b", "the same request fails over");
    tokio::time::sleep(Duration::from_secs(400)).await;

    assert_eq!(gateway.sequence(1, &hello_ask()).await, "a", "it serves again");
    assert_eq!(gateway.sequence(3, &session("c")).await, "bbb");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_rests_gives_the_conversation_away_and_nobody_is_refused() {
    let upstream = Upstream::start(|seen| match (seen.key().as_str(), seen.ordinal) {
        ("k1", 1..) => Script::error(429, "slow down").header("retry-after", "30"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let only = channel("a", &upstream).with("/api", json!(["k1", "k2", "k3"]));
    let gateway = Gateway::start(config([only])).await;

    for _ in 0..4 {
        gateway.ask(&session("c")).await.expect(200);
    }

    assert_eq!(upstream.keys(), ["k1", "k1", "k2", "k2", "k2"]);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_silence_ends_it_and_a_reload_does_not() {
    let upstream = healthy("ok").await;
    let config = config(channels(2, &upstream)).with("/api_keys", keys("round_robin", json!(["all"])));
    let gateway = Gateway::start(&config).await;

    assert_eq!(gateway.sequence(2, &session("c")).await, "aa");
    gateway.reload(config.clone().with("/api_keys/0/model", json!(["b/*", "a/*"]))).await;
    assert_eq!(gateway.sequence(1, &session("c")).await, "a");
    gateway.reload(&config).await;
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert_eq!(gateway.sequence(1, &session("c")).await, "a");
    tokio::time::sleep(Duration::from_secs(3600)).await;

    assert_eq!(gateway.sequence(2, &session("c")).await, "bb", "it is the turn of b, who keeps it");
}

#[tokio::test(start_paused = true)]
async fn affinity_false_turns_it_off_and_prefix_turns_it_on_for_all() {
    let upstream = healthy("ok").await;
    let with = async |affinity: Value| {
        let keys = keys("round_robin", json!(["all"])).with("/0/preferences/affinity", affinity);
        Gateway::start(config(channels(2, &upstream)).with("/api_keys", keys)).await
    };
    let (off, named, prefix) =
        (with(json!(false)).await, with(json!(true)).await, with(json!("prefix")).await);
    let talk = |first: &str, turns: usize| {
        let mut messages = vec![json!({ "role": "system", "content": "Be kind." })];
        messages.push(json!({ "role": "user", "content": first }));
        for turn in 0..turns {
            messages.push(json!({ "role": "assistant", "content": format!("answer {turn}") }));
            messages.push(json!({ "role": "user", "content": format!("question {turn}") }));
        }
        Ask::chat(&json!({ "model": "m", "messages": messages }))
    };

    assert_eq!(off.sequence(4, &session("c")).await, "abab");
    assert_eq!(named.sequence(4, &talk("hello", 0)).await, "abab");
    let mut served = String::new();
    for turns in 0..4 {
        served += &prefix.sequence(1, &talk("hello", turns)).await;
        served += &prefix.sequence(1, &talk("good bye", turns)).await;
    }
    assert_eq!(served, "abababab");
    assert_eq!(
        prefix.sequence(1, &talk("hello", 9).header("session_id", "own")).await,
        "a",
        "a turn of its own"
    );
    assert_eq!(prefix.sequence(2, &talk("good bye", 9).header("session_id", "own")).await, "aa");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_within_a_group_goes_home_through_its_gate() {
    let upstream = healthy("ok").await;
    let config = config(channels(3, &upstream)).with(
        "/api_keys",
        json!([
            key(CLIENT, "fixed_priority", json!(["sk-group/*", "c/*"])),
            key("sk-group", "round_robin", json!(["a/*", "b/*"]))
                .with("/preferences/rate_limit", json!("4/day")),
        ]),
    );
    let gateway = Gateway::start(config).await;

    assert_eq!(gateway.sequence(3, &session("1")).await, "aaa");
    assert_eq!(gateway.sequence(1, &session("2")).await, "b");
    assert_eq!(gateway.sequence(2, &session("1")).await, "cc", "the gate is shut");
}

#[tokio::test(start_paused = true)]
async fn weights_and_priorities_choose_where_conversations_begin() {
    let upstream = healthy("ok").await;
    let config =
        config(channels(3, &upstream)).with("/api_keys", keys("weighted_round_robin", weighted(&[5, 3, 2])));
    let gateway = Gateway::start(config).await;
    let mut begun = Vec::new();

    for at in 0..100 {
        let ask = session(&at.to_string());
        let channels = gateway.sequence(3, &ask).await;
        let first = channels.chars().next().unwrap();
        assert_eq!(channels, String::from(first).repeat(3));
        begun.push(first);
    }

    let of = |channel: char| begun.iter().filter(|first| **first == channel).count();
    assert_eq!([of('a'), of('b'), of('c')], [50, 30, 20]);
}

#[tokio::test(start_paused = true)]
async fn explain_says_which_conversations_return_and_to_whom() {
    let upstream = healthy("ok").await;
    let config = config(channels(2, &upstream)).with("/api_keys", keys("round_robin", json!(["all"])));
    let gateway = Gateway::start(config).await;
    let body = hello().with("/prompt_cache_key", json!("c"));
    gateway.ask(&Ask::chat(&body)).await.expect(200);
    let explain = async |request: &Value| {
        let ask = Ask::post("/v1/route/explain", &json!({ "request": request }));
        gateway.ask(&ask).await.expect(200).json()
    };

    let (mine, fresh) = (explain(&body).await, explain(&hello()).await);

    assert_eq!((&mine["affinity"], &mine["verdict"]["channel"]), (&json!("named"), &json!("a")));
    assert_eq!(mine["candidates"][0]["reason"], "is next: it served this conversation last");
    assert_eq!(fresh["verdict"]["channel"], "b");
    assert_eq!(gateway.sequence(1, &hello_ask()).await, "b", "to ask took no turn");
}
