//! Which key may use which model on which channel, under which name.

use serde_json::{Value, json};

use super::bench::*;

/// Two channels: `ok` offers `gpt-a` and the literal `org/gpt-x`, `org` offers `gpt-x`.
async fn slashes(rules: Value) -> Gateway {
    let (ok, org) = (healthy("ok").await, healthy("org").await);
    let config = config([
        channel("ok", &ok).with("/model", json!(["gpt-a", "org/gpt-x"])),
        channel("org", &org).with("/model", json!(["gpt-x"])),
    ]);
    Gateway::start(config.with("/api_keys/0/model", rules)).await
}

/// Who serves the model, or the status of the refusal.
async fn who(gateway: &Gateway, model: &str) -> String {
    let answer = gateway.chat(&hello_to(model)).await;
    if answer.status == 200 { answer.channel().to_owned() } else { answer.status.to_string() }
}

async fn listed(gateway: &Gateway, key: &str) -> Vec<String> {
    let answer = gateway.ask(&Ask::get("/v1/models").key(key)).await.expect(200).json();
    assert_eq!(answer["object"], "list");
    let models = answer["data"].as_array().unwrap();
    for model in models {
        assert_eq!(model["object"], "model", "{model}");
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
    }
    models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Promises: `key-rule-angle`, `key-rule-angle-not-channel`.
#[tokio::test(start_paused = true)]
async fn a_bracketed_rule_means_the_model_of_that_literal_name() {
    let gateway = slashes(json!(["<org/gpt-x>"])).await;

    assert_eq!(who(&gateway, "org/gpt-x").await, "ok");
    assert_eq!(who(&gateway, "gpt-x").await, "404");
    assert_eq!(who(&gateway, "gpt-a").await, "404");
    assert_eq!(listed(&gateway, CLIENT).await, ["org/gpt-x"]);
}

/// Promises: `key-rule-channel-model`, `key-rule-slash-not-literal`.
#[tokio::test(start_paused = true)]
async fn channel_slash_model_means_that_model_on_that_channel() {
    let gateway = slashes(json!(["org/gpt-x"])).await;

    assert_eq!(who(&gateway, "gpt-x").await, "org");
    assert_eq!(who(&gateway, "org/gpt-x").await, "404");
    assert_eq!(listed(&gateway, CLIENT).await, ["gpt-x"]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_many_ways_lead_to_list_each_model_once_and_serve() {
    // Thirty levels of one key, and ten of two that each name both of the next.
    let key = |level: usize, at: usize| format!("sk-{level}-{at}");
    let mut keys = vec![json!({ "api": CLIENT, "role": "admin", "model": [format!("{}/*", key(0, 0))] })];
    for level in 0..40 {
        let width = if level < 30 { 1 } else { 2 };
        let below = if level < 29 { 1 } else { 2 };
        let rules: Vec<_> = (0..below).map(|at| format!("{}/*", key(level + 1, at))).collect();
        let rules = if level == 39 { vec!["ok/*".to_owned(), "org/*".to_owned()] } else { rules };
        keys.extend((0..width).map(|at| json!({ "api": key(level, at), "model": rules })));
    }
    let (ok, org) = (healthy("ok").await, healthy("org").await);
    let config = config([channel("ok", &ok), channel("org", &org)]).with("/api_keys", json!(keys));

    let gateway = Gateway::start(config).await;

    assert_eq!(listed(&gateway, CLIENT).await, ["m"]);
    assert_eq!(who(&gateway, "m").await, "ok");
}

/// Promises: `key-all-models`.
#[tokio::test(start_paused = true)]
async fn all_means_every_model_of_every_channel() {
    for rules in [json!(["all"]), json!([]), json!(null), json!("all")] {
        let gateway = slashes(rules).await;

        assert_eq!(who(&gateway, "gpt-x").await, "org");
        assert_eq!(who(&gateway, "org/gpt-x").await, "ok");
        assert_eq!(who(&gateway, "gpt-a").await, "ok");
        assert_eq!(listed(&gateway, CLIENT).await, ["gpt-a", "org/gpt-x", "gpt-x"]);
    }
}

/// Promises: `key-rule-wildcard`.
#[tokio::test(start_paused = true)]
async fn a_star_after_a_channel_means_its_models_and_no_others() {
    let gateway = slashes(json!(["ok/*"])).await;

    assert_eq!(who(&gateway, "gpt-a").await, "ok");
    assert_eq!(who(&gateway, "org/gpt-x").await, "ok");
    assert_eq!(who(&gateway, "gpt-x").await, "404");
}

/// Promises: `key-rule-wildcard`, `key-rule-channel-model`.
#[tokio::test(start_paused = true)]
async fn a_rule_for_one_channel_never_calls_another_with_the_same_model() {
    let (a, b) = (healthy("a").await, Upstream::always(Script::error(500, "x")).await);
    for rule in ["b/*", "b/m"] {
        let config = config([channel("a", &a), channel("b", &b)]).with("/api_keys/0/model", json!([rule]));
        let gateway = Gateway::start(config).await;

        gateway.chat(&hello()).await.expect(500);
    }
    assert_eq!(a.count(), 0);
}

/// Promises: `key-rule-name`.
#[tokio::test(start_paused = true)]
async fn a_bare_name_means_the_model_on_every_channel_that_offers_it() {
    let (a, b) = (Upstream::always(Script::error(500, "x")).await, healthy("b").await);
    let config = config([
        channel("a", &a).with("/model", json!(["m", "n"])),
        channel("b", &b).with("/model", json!(["m", "n"])),
    ]);
    let gateway = Gateway::start(config.with("/api_keys/0/model", json!(["m"]))).await;

    assert_eq!(who(&gateway, "m").await, "b");
    assert_eq!((a.count(), b.count()), (1, 1));
    assert_eq!(who(&gateway, "n").await, "404");
}

#[tokio::test(start_paused = true)]
async fn partial_globs_match_nothing() {
    let gateway = slashes(json!(["ok/gpt*", "gpt*", "o*/*", "nowhere/*", "nowhere/gpt-a"])).await;

    for model in ["gpt-a", "gpt-x", "org/gpt-x"] {
        assert_eq!(who(&gateway, model).await, "404", "{model}");
    }
    assert!(listed(&gateway, CLIENT).await.is_empty());
}

/// Promises: `key-rule-weight`.
#[tokio::test(start_paused = true)]
async fn a_rule_may_carry_a_weight() {
    let gateway = slashes(json!([{ "ok/*": 5 }, { "org/gpt-x": 3 }])).await;

    assert_eq!(who(&gateway, "gpt-a").await, "ok");
    assert_eq!(who(&gateway, "gpt-x").await, "org");
}

/// Promises: `key-own-order`.
#[tokio::test(start_paused = true)]
async fn two_keys_may_order_the_same_channels_differently() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let config = config([channel("a", &a), channel("b", &b)]).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin", "model": ["a/*", "b/*"] },
            { "api": "sk-other", "preferences": { "expose_route": true }, "model": ["b/*", "a/*"] },
        ]),
    );
    let gateway = Gateway::start(config).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    assert_eq!(gateway.ask(&Ask::chat(&hello()).key("sk-other")).await.expect(200).channel(), "b");
}

/// Promises: `cfg-model-rename`, `cfg-model-rename-hides`.
#[tokio::test(start_paused = true)]
async fn a_renamed_model_is_hidden_under_its_upstream_name() {
    let upstream = healthy("ok").await;
    let renamed = channel("a", &upstream).with("/model", json!([{ "upstream-x": "alias-x" }]));
    let gateway = Gateway::start(config([renamed])).await;

    assert_eq!(who(&gateway, "alias-x").await, "a");
    assert_eq!(who(&gateway, "upstream-x").await, "404");
    assert_eq!(listed(&gateway, CLIENT).await, ["alias-x"]);
    assert_eq!(upstream.only().model(), "upstream-x");
}

/// Promises: `cfg-model-both-names`, `cfg-model-many-aliases`.
#[tokio::test(start_paused = true)]
async fn both_names_and_many_aliases_of_one_upstream_model_work() {
    let upstream = healthy("ok").await;
    let many = channel("a", &upstream)
        .with("/model", json!(["upstream-x", { "upstream-x": "alias-1" }, { "upstream-x": "alias-2" }]));
    let gateway = Gateway::start(config([many])).await;

    for model in ["upstream-x", "alias-1", "alias-2"] {
        assert_eq!(who(&gateway, model).await, "a");
        assert_eq!(upstream.last().model(), "upstream-x");
    }
}

/// Promises: `cfg-model-quoted`, `cfg-model-punctuation`, `cfg-model-slash`, `cfg-notes`.
#[tokio::test(start_paused = true)]
async fn names_with_punctuation_work_plain_and_renamed() {
    let upstream = healthy("ok").await;
    let yaml = format!(
        "providers:\n  - provider: cf\n    base_url: {}\n    api: k\n    notes: [anything, {{at: all}}]\n    model:\n      \
         - '@cf/meta/llama-3.1-8b-instruct': llama\n      - '@cf/meta/llama-3'\n      \
         - anthropic.claude-3-5-sonnet-20241022-v2:0: claude\n      - claude-sonnet-4@20250514: sonnet\n      \
         - org/team/model\napi_keys:\n  - api: {CLIENT}\n",
        upstream.url()
    );
    let gateway = Gateway::start(yaml).await;

    for (alias, name) in [
        ("llama", "@cf/meta/llama-3.1-8b-instruct"),
        ("@cf/meta/llama-3", "@cf/meta/llama-3"),
        ("claude", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("sonnet", "claude-sonnet-4@20250514"),
        ("org/team/model", "org/team/model"),
    ] {
        assert_eq!(who(&gateway, alias).await, "cf", "{alias}");
        assert_eq!(upstream.last().model(), name);
    }
}

/// Promises: `key-nested`.
#[tokio::test(start_paused = true)]
async fn a_nested_key_serves_its_models_by_its_own_rules() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let config = config([
        channel("a", &a).with("/model", json!(["m", "n"])),
        channel("b", &b).with("/model", json!(["m", "o"])),
    ])
    .with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin", "model": ["sk-inner-key/*"] },
            { "api": "sk-inner-key", "role": "inner", "model": ["b/m", "a/n"] },
        ]),
    );
    let gateway = Gateway::start(config).await;

    assert_eq!(who(&gateway, "m").await, "b");
    assert_eq!(who(&gateway, "n").await, "a");
    assert_eq!(who(&gateway, "o").await, "404");
    assert_eq!(listed(&gateway, CLIENT).await, ["m", "n"]);
}

/// Promises: `cfg-block-faq`, `key-nested`.
#[tokio::test(start_paused = true)]
async fn nested_keys_nest_twice_and_fail_over_like_channels() {
    let (a, b) = (Upstream::always(Script::error(500, "x")).await, healthy("b").await);
    let config = config([channel("a", &a), channel("b", &b)]).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin", "model": ["sk-middle/*", "b/*"] },
            { "api": "sk-middle", "model": ["sk-deep/m"] },
            { "api": "sk-deep", "model": ["a/*"] },
        ]),
    );
    let gateway = Gateway::start(config).await;

    assert_eq!(who(&gateway, "m").await, "b");
    assert_eq!((a.count(), b.count()), (1, 1));
    gateway.ask(&Ask::chat(&hello()).key("sk-deep")).await.expect(500);
}

/// Promises: `api-models`.
#[tokio::test(start_paused = true)]
async fn the_model_list_is_exactly_what_the_key_can_route() {
    let upstream = healthy("ok").await;
    let config = config([
        channel("a", &upstream).with("/model", json!(["x", "y", { "up": "z" }])),
        channel("b", &upstream).with("/model", json!(["x", "w"])),
    ])
    .with(
        "/api_keys",
        json!([
            { "api": CLIENT },
            { "api": "sk-some", "model": ["b/*", "z", "absent", "nowhere/*", "a/absent"] },
        ]),
    );
    let gateway = Gateway::start(config).await;

    assert_eq!(listed(&gateway, CLIENT).await, ["x", "y", "z", "w"]);
    let some = listed(&gateway, "sk-some").await;
    assert_eq!(some, ["x", "w", "z"]);
    for model in &some {
        gateway.ask(&Ask::chat(&hello_to(model)).key("sk-some")).await.expect(200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_turned_off_serves_nothing() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let gateway =
        Gateway::start(config([channel("a", &a).with("/enabled", json!(false)), channel("b", &b)])).await;

    assert_eq!(who(&gateway, "m").await, "b");
}

/// Promises: `cfg-provider-name`.
#[tokio::test(start_paused = true)]
async fn numbers_as_names_are_names() {
    let upstream = healthy("ok").await;
    let yaml = format!(
        "providers:\n  - provider: 42\n    base_url: {}\n    api: 77\n    model: [m]\napi_keys:\n  - api: 1234567890\n    model: 42/*\n",
        upstream.url()
    );
    let gateway = Gateway::start(yaml).await;

    let answer = gateway.ask(&Ask::chat(&hello()).key("1234567890")).await.expect(200);

    assert_eq!((answer.channel(), upstream.only().key().as_str()), ("42", "77"));
}

/// Promises: `route-model-on-many-channels`.
#[tokio::test(start_paused = true)]
async fn the_same_configuration_serves_hundreds_of_channels() {
    let upstream = healthy("ok").await;
    let channels = (0..200).map(|n| {
        let models: Vec<String> = (0..50).map(|m| format!("model-{n}-{m}")).collect();
        channel(&format!("c{n}"), &upstream).with("/model", json!(models))
    });
    let gateway = Gateway::start(config(channels)).await;

    assert_eq!(who(&gateway, "model-0-0").await, "c0");
    assert_eq!(who(&gateway, "model-199-49").await, "c199");
    assert_eq!(listed(&gateway, CLIENT).await.len(), 10_000);
}

/// Promises: `key-own-preferences`.
#[tokio::test(start_paused = true)]
async fn retries_limits_credits_and_order_of_one_key_are_not_those_of_another() {
    let upstream = Upstream::start(|seen| {
        if seen.key() == "key-of-a" { Script::error(500, "broken") } else { saying("ok")(seen) }
    })
    .await;
    let config = config(["a", "b", "c"].map(|name| channel(name, &upstream)))
        .with("/preferences", json!({ "cooldown_period": 0, "model_price": { "default": "0,1000000" } }))
        .with(
            "/api_keys",
            json!([
                { "api": "sk-plain" },
                // An answer costs seven dollars.
                { "api": "sk-paid", "preferences": { "credits": 14 } },
                { "api": "sk-once", "preferences": { "AUTO_RETRY": false } },
                { "api": "sk-few", "preferences": { "rate_limit": "2/hour" } },
                {
                    "api": "sk-turns",
                    "model": ["b/*", "c/*"],
                    "preferences": { "SCHEDULING_ALGORITHM": "round_robin" },
                },
            ]),
        );
    let gateway = Gateway::start(config).await;

    let mut seen = std::collections::BTreeMap::<&str, Vec<String>>::new();
    for _ in 0..4 {
        for key in ["sk-plain", "sk-once", "sk-few", "sk-paid", "sk-turns"] {
            let before = upstream.count();
            let status = gateway.ask(&Ask::chat(&hello()).key(key)).await.status;
            let asked: Vec<String> = upstream.keys().split_off(before);
            let asked: String = asked.iter().filter_map(|key| key.chars().last()).collect();
            seen.entry(key).or_default().push(format!("{asked} {status}"));
        }
    }

    assert_eq!(seen["sk-plain"], ["ab 200"; 4]);
    assert_eq!(seen["sk-once"], ["a 500"; 4]);
    assert_eq!(seen["sk-few"], ["ab 200", "ab 200", " 429", " 429"]);
    assert_eq!(seen["sk-paid"], ["ab 200", "ab 200", " 429", " 429"]);
    assert_eq!(seen["sk-turns"], ["b 200", "c 200", "b 200", "c 200"]);
}

/// Each weighs what its rule says, and rules without weight follow.
///
/// Promises: `key-rule-weight`.
#[tokio::test(start_paused = true)]
async fn weights_of_rules_of_every_form_count() {
    let upstream = healthy("ok").await;
    let config = config(["a", "b", "c", "d"].map(|name| channel(name, &upstream)))
        .with("/api_keys/0/model", json!(["d/*", { "a/m": 3 }, { "b/*": 2, "c/m": 1 }]))
        .with("/api_keys/0/preferences/SCHEDULING_ALGORITHM", json!("weighted_round_robin"));
    let gateway = Gateway::start(config).await;

    gateway.load(4, 60, &Ask::chat(&hello())).await.shares(&[("a", 30), ("b", 20), ("c", 10)]);
}
