//! `post_body_parameter_overrides`: what it adds, merges, removes and forces.

use serde_json::{Value, json};

use super::bench::subjects::google::gemini_said;
use super::bench::*;

/// The body that reaches the upstream of a channel with these overrides.
async fn sent(overrides: Value, request: &Value) -> Value {
    let upstream = healthy("ok").await;
    let channel = channel("a", &upstream)
        .with("/model", json!(["m", "gpt-x", { "upstream-name": "alias" }]))
        .with("/preferences/post_body_parameter_overrides", overrides);
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(request).await.expect(200);

    upstream.last().json()
}

/// Promises: `over-alias`.
#[tokio::test(start_paused = true)]
async fn an_entry_named_like_an_alias_is_for_that_model_only() {
    let overrides = json!({ "gpt-x": { "temperature": 0.1, "extra": true } });

    let own = sent(overrides.clone(), &hello_to("gpt-x").with("/temperature", json!(0.9))).await;
    let sibling = sent(overrides, &hello_to("m")).await;

    assert_eq!((&own["temperature"], &own["extra"]), (&json!(0.1), &json!(true)));
    assert_eq!(sibling, hello_to("m"));
}

#[tokio::test(start_paused = true)]
async fn an_entry_may_be_named_like_the_alias_or_the_upstream_model() {
    for name in ["alias", "upstream-name"] {
        let mut overrides = json!({});
        overrides[name] = json!({ "extra": 1 });

        assert_eq!(sent(overrides, &hello_to("alias")).await["extra"], 1, "{name}");
    }
}

/// Promises: `over-channel-wide`.
#[tokio::test(start_paused = true)]
async fn any_other_entry_is_for_every_model_of_the_channel_and_replaces_what_the_client_sent() {
    let overrides = json!({ "key1": "value1", "key2": 2 });

    for model in ["m", "gpt-x", "alias"] {
        let body = sent(overrides.clone(), &hello_to(model).with("/key1", json!("from the client"))).await;
        assert_eq!((&body["key1"], &body["key2"]), (&json!("value1"), &json!(2)), "{model}");
    }
}

/// Promises: `over-channel-wide-map`.
#[tokio::test(start_paused = true)]
async fn maps_merge_deeply_while_scalars_and_lists_replace() {
    let overrides = json!({
        "stream_options": { "include_usage": true },
        "deep": { "a": { "b": 1 }, "list": [9] },
    });
    let request = hello()
        .with("/stream_options", json!({ "other": 7, "include_usage": false }))
        .with("/deep", json!({ "a": { "c": 2 }, "list": [1, 2, 3], "kept": "x" }));

    let body = sent(overrides, &request).await;

    assert_eq!(body["stream_options"], json!({ "other": 7, "include_usage": true }));
    assert_eq!(body["deep"], json!({ "a": { "b": 1, "c": 2 }, "list": [9], "kept": "x" }));
}

#[tokio::test(start_paused = true)]
async fn the_models_entry_wins_over_the_channels() {
    let overrides = json!({ "temperature": 0.1, "m": { "temperature": 0.2 } });

    assert_eq!(sent(overrides.clone(), &hello()).await["temperature"], 0.2);
    assert_eq!(sent(overrides, &hello_to("gpt-x")).await["temperature"], 0.1);
}

#[tokio::test(start_paused = true)]
async fn remove_takes_fields_away() {
    let request = hello().with("/temperature", json!(1)).with("/top_p", json!(1)).with("/seed", json!(1));

    let body =
        sent(json!({ "__remove__": ["temperature", "top_p"], "m": { "__remove__": "seed" } }), &request)
            .await;

    assert_eq!(body, hello());
}

/// Promises: `over-unoffered-alias`.
#[tokio::test(start_paused = true)]
async fn an_entry_for_a_model_that_the_channel_lacks_changes_nothing() {
    let overrides = json!({ "gemini-2.5-flash-search": { "tools": [{ "google_search": {} }] } });

    assert_eq!(sent(overrides, &hello()).await, hello());
}

#[tokio::test(start_paused = true)]
async fn a_stream_forced_off_is_unfolded_for_the_client() {
    let upstream = healthy("whole inside").await;
    let channel = channel("a", &upstream)
        .with("/preferences/post_body_parameter_overrides", json!({ "stream": false }));
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert!(!upstream.only().streams(), "{}", upstream.only().json());
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    assert_eq!(answer.streamed(), "whole inside");
    assert!(answer.is_done());
}

#[tokio::test(start_paused = true)]
async fn a_stream_forced_on_is_folded_for_the_client() {
    let upstream = healthy("streamed inside").await;
    let channel = channel("a", &upstream)
        .with("/preferences/post_body_parameter_overrides", json!({ "m": { "stream": true } }));
    let gateway = Gateway::start(config([channel])).await;

    let answer = gateway.chat(&hello()).await.expect(200);

    assert!(upstream.only().streams());
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    assert_eq!(answer.content(), "streamed inside");
    assert_eq!(answer.json()["object"], "chat.completion");
}

#[tokio::test(start_paused = true)]
async fn tools_false_strips_tools() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream).with("/tools", json!(false))])).await;
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);

    gateway.chat(&hello().with("/tools", tool).with("/tool_choice", json!("auto"))).await.expect(200);

    assert_eq!(upstream.only().json(), hello());
}

#[tokio::test(start_paused = true)]
async fn overrides_reach_a_converted_upstream_in_its_own_words() {
    let upstream = Upstream::always(Script::json(&said_by_claude("ok"))).await;
    let channel = anthropic_channel("a", &upstream).with(
        "/preferences/post_body_parameter_overrides",
        json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 }, "max_tokens": 4000 }),
    );
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(&hello()).await.expect(200);

    let body = upstream.only().json();
    assert_eq!((&body["thinking"]["budget_tokens"], &body["max_tokens"]), (&json!(2000), &json!(4000)));
}

/// Promises: `over-claude-tools`.
#[tokio::test(start_paused = true)]
async fn tools_of_the_provider_s_own_are_added_to_a_converted_body() {
    let upstream = Upstream::always(Script::json(&said_by_claude("ok"))).await;
    let search = json!([{ "type": "web_search_20250305", "name": "web_search", "max_uses": 5 }]);
    let channel = channel("a", &upstream)
        .with("/engine", json!("claude"))
        .with("/preferences/post_body_parameter_overrides", json!({ "m": { "tools": search } }));
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(upstream.last().json()["tools"], search);
}

/// Promises: `dialect-search-suffix`.
#[tokio::test(start_paused = true)]
async fn an_alias_searches_by_the_override_that_is_written_for_it() {
    let upstream = Upstream::always(Script::json(&gemini_said("ok"))).await;
    let search = json!([{ "google_search": {} }]);
    let channel = channel("a", &upstream)
        .with("/engine", json!("gemini"))
        .with("/model", json!([{ "gemini-2.5-flash": "gemini-2.5-flash-search" }, "gemini-2.5-flash"]))
        .with(
            "/preferences/post_body_parameter_overrides",
            json!({ "gemini-2.5-flash-search": { "tools": search } }),
        );
    let gateway = Gateway::start(config([channel])).await;

    gateway.chat(&hello_to("gemini-2.5-flash-search")).await.expect(200);
    let searched = upstream.last().json();
    gateway.chat(&hello_to("gemini-2.5-flash")).await.expect(200);

    assert_eq!((&searched["tools"], &upstream.last().json()["tools"]), (&search, &Value::Null));
}
