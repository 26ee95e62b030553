//! What keys may spend, what requests cost, and that both are told apart to the last token.

use serde_json::{Value, json};

use super::bench::subjects::credits::*;
use super::bench::*;

/// Promises: `credit-amount`, `credit-exhausted`.
#[tokio::test(start_paused = true)]
async fn a_key_spends_its_credits_and_is_refused_when_they_are_gone() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(priced(&upstream, &json!(21))).await;

    for _ in 0..3 {
        gateway.ask(&seven_dollars()).await.expect(200);
    }
    let refused = gateway.ask(&seven_dollars()).await.expect(429);

    assert_eq!(refused.error()["code"], "insufficient_quota");
    assert_eq!(upstream.count(), 3);
    gateway.chat(&hello()).await.expect(200);
}

/// Promises: `credit-amount`.
#[tokio::test(start_paused = true)]
async fn what_is_left_may_be_less_than_a_request_costs() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(priced(&upstream, &json!("7.000001"))).await;

    gateway.ask(&seven_dollars()).await.expect(200);
    gateway.ask(&seven_dollars()).await.expect(200);

    gateway.ask(&seven_dollars()).await.expect(429);
}

/// Promises: `credit-default`.
#[tokio::test(start_paused = true)]
async fn a_key_without_credits_is_never_refused() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(priced(&upstream, &Value::Null)).await;

    for _ in 0..30 {
        gateway.ask(&seven_dollars()).await.expect(200);
    }
}

/// Promises: `credit-zero`.
#[tokio::test(start_paused = true)]
async fn credits_of_zero_reach_no_provider() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(priced(&upstream, &json!(0))).await;

    for request in [hello(), hello_stream()] {
        let refused = gateway.ask(&Ask::chat(&request).key("sk-payer")).await.expect(429);
        assert_eq!(refused.error()["code"], "insufficient_quota");
    }

    assert_eq!(upstream.count(), 0);
}

/// Promises: `credit-exhausted`.
#[tokio::test(start_paused = true)]
async fn an_estimate_is_given_back_when_the_request_has_ended() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |seen| match seen.ordinal {
        0 => Script::json(&said("ok")).gated(&held),
        _ => Script::json(&said("ok")),
    })
    .await;
    let gateway = Gateway::start(priced(&upstream, &json!(1000))).await;
    let client = gateway.client();
    // Up to 1024 dollars while nobody knows better.
    let long = tokio::spawn(async move { client.ask(&Ask::chat(&hello()).key("sk-payer")).await.status });
    upstream.wait_for(1).await;

    gateway.ask(&seven_dollars()).await.expect(429);
    gate.open();
    assert_eq!(long.await.unwrap(), 200);

    // What is not spent is there again.
    gateway.ask(&seven_dollars()).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn failures_cost_nothing() {
    let upstream = Upstream::start(|seen| match seen.ordinal {
        0..4 => Script::error(400, "no"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let gateway = Gateway::start(priced(&upstream, &json!(7))).await;

    for _ in 0..4 {
        gateway.ask(&seven_dollars()).await.expect(400);
    }
    gateway.ask(&seven_dollars()).await.expect(200);

    gateway.ask(&seven_dollars()).await.expect(429);
}

#[tokio::test(start_paused = true)]
async fn what_the_balance_refuses_counts_in_no_window() {
    let upstream = healthy("ok").await;
    let config = priced(&upstream, &json!(0)).with("/preferences/rate_limit", json!("2/min"));
    let gateway = Gateway::start(config).await;

    for _ in 0..5 {
        gateway.ask(&seven_dollars()).await.expect(429);
    }

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&hello()).await.expect(429);
}

/// The costs of all requests in picodollars, in order, and whether they are estimates.
fn costs(gateway: &Gateway) -> Vec<(i128, bool)> {
    gateway.records().iter().map(|closed| (closed.cost, closed.estimated)).collect()
}

fn tells(input: u64, output: u64) -> Value {
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
}

/// An upstream that tells this usage, whole or in a stream.
async fn telling(input: u64, output: u64) -> Upstream {
    Upstream::start(move |seen| {
        if seen.streams() {
            let mut events = stream_of(&["ok"]);
            let usage: String = usage_event();
            let told = usage.replace(&said("x")["usage"].to_string(), &tells(input, output).to_string());
            events.insert(3, told);
            Script::events(events)
        } else {
            Script::json(&said("ok").with("/usage", tells(input, output)))
        }
    })
    .await
}

/// Promises: `credit-price`, `credit-price-entry-default`.
#[tokio::test(start_paused = true)]
async fn prices_go_by_the_longest_prefix_and_a_stream_costs_what_a_whole_answer_costs() {
    let upstream = telling(1000, 500).await;
    let prices = json!({ "gpt": "1,1", "gpt-5": "0.12,0.48", "default": "3,7" });
    let config = config([channel("a", &upstream).with("/model", json!(["gpt-5.2", "gpt-4", "other"]))])
        .with("/preferences/model_price", prices);
    let gateway = Gateway::start(config).await;

    for model in ["gpt-5.2", "gpt-4", "other"] {
        let request = hello_to(model);
        gateway.chat(&request).await.expect(200);
        let streaming =
            request.with("/stream", json!(true)).with("/stream_options/include_usage", json!(true));
        gateway.chat(&streaming).await.expect(200);
    }

    let dollars_per_million =
        |input: f64, output: f64| ((input * 1000.0 + output * 500.0) * 1e6).round() as i128;
    let due = [(0.12, 0.48), (1.0, 1.0), (3.0, 7.0)].map(|(i, o)| (dollars_per_million(i, o), false));
    assert_eq!(costs(&gateway), [due[0], due[0], due[1], due[1], due[2], due[2]]);
}

/// Promises: `credit-price-default`.
#[tokio::test(start_paused = true)]
async fn without_prices_a_million_tokens_in_cost_one_dollar_and_out_two() {
    let upstream = telling(1000, 2000).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    // 0.005 dollars.
    assert_eq!(costs(&gateway), [(5_000_000_000, false)]);
}

#[tokio::test(start_paused = true)]
async fn usage_that_never_came_is_charged_by_length_and_marked() {
    let upstream = healthy("sixteen letters.").await;
    let gateway = Gateway::start(priced(&upstream, &json!(5))).await;

    let request = hello_stream().with("/max_tokens", json!(1));
    gateway.ask(&Ask::chat(&request).key("sk-payer")).await.expect(200);

    assert_eq!(costs(&gateway), [(4_000_000_000_000, true)]);
    gateway.ask(&seven_dollars()).await.expect(200);
    gateway.ask(&seven_dollars()).await.expect(429);
}

#[tokio::test(start_paused = true)]
async fn a_picture_of_megabytes_is_estimated_by_the_text_beside_it() {
    let upstream = healthy("ok").await;
    let config =
        priced(&upstream, &json!(5)).with("/preferences/model_price", json!({ "default": "1000000,0" }));
    let gateway = Gateway::start(config).await;
    let picture = format!("data:image/png;base64,{}", "A".repeat(3 << 20));
    let content = json!([
        { "type": "text", "text": "four" },
        { "type": "image_url", "image_url": { "url": picture } },
    ]);

    let request = hello_stream().with("/messages/0/content", content);
    gateway.ask(&Ask::chat(&request).key("sk-payer")).await.expect(200);
    gateway.ask(&Ask::chat(&request)).await.expect(200);

    // One token of text, and a thousand for the picture, for keys with and without a balance.
    let dollars = 1001 * 1_000_000_000_000;
    assert_eq!(costs(&gateway), [(dollars, true), (dollars, true)]);
}

/// Answers in every shape that say `sixteen letters.` (four tokens) or call a tool with as much, and tell this usage.
fn shapes(usage: &Value, anthropic: bool) -> Vec<(&'static str, bool, Script)> {
    let call = json!([{ "index": 0, "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\":\"letters.\"}" } }]);
    if anthropic {
        let (opening, texts, ending) = layers::testing::adapters::anthropic_stream(&["sixteen ", "letters."]);
        let stream = opening + &texts.concat() + &ending;
        let stream: String = stream
            .split("\n\n")
            .filter(|event| !event.is_empty())
            .map(|event| {
                let (name, data) = event.split_once("data: ").expect("an event");
                let mut data: Value = serde_json::from_str(data).expect("JSON");
                for place in ["/usage", "/message/usage"] {
                    if let Some(told) = data.pointer_mut(place) {
                        *told = usage.clone();
                    }
                }
                format!("{name}data: {data}\n\n")
            })
            .collect();
        return vec![
            (
                "a whole answer",
                false,
                Script::json(&said_by_claude("sixteen letters.").with("/usage", usage.clone())),
            ),
            ("a stream", true, Script::events([stream.clone()])),
            ("a stream that is folded", false, Script::events([stream])),
        ];
    }
    let told = event(
        &json!({ "id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage }),
    );
    let mut events = stream_of(&["sixteen ", "letters."]);
    events.insert(events.len() - 1, told);
    let called = said("")
        .with("/choices/0/message", json!({ "role": "assistant", "content": null, "tool_calls": call }))
        .with("/choices/0/finish_reason", json!("tool_calls"));
    vec![
        ("a whole answer", false, Script::json(&said("sixteen letters.").with("/usage", usage.clone()))),
        ("a whole call", false, Script::json(&called.with("/usage", usage.clone()))),
        ("a stream", true, Script::events(events.clone())),
        ("a stream that is folded", false, Script::events(events)),
        (
            "a whole answer to a stream",
            true,
            Script::json(&said("sixteen letters.").with("/usage", usage.clone())),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn usage_that_counts_nothing_or_beyond_reason_is_as_none_in_every_shape_and_dialect() {
    let openai = |input: Value, output: Value| json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input });
    let claude = |input: Value, output: Value| json!({ "input_tokens": input, "output_tokens": output });
    let pairs = [
        (json!(0), json!(0)),
        (json!("5"), json!("7")),
        (json!(-5), json!(-7)),
        (json!(0.4), json!(0.2)),
        (json!(9_223_372_036_854_775_808_u64), json!(1)),
        (json!(1e308), json!(1)),
        (json!(3), json!(1e300)),
        (json!(50_000_000), json!(50_000_000)),
    ];
    let mut cases = vec![
        (false, Value::Null),
        (false, json!({})),
        (false, json!([7])),
        (false, json!({ "total_tokens": 9 })),
        (false, json!({ "prompt_tokens_details": { "cached_tokens": 4_000_000_000_u64 } })),
        (true, json!({})),
        (true, json!({ "cache_read_input_tokens": 4_000_000_000_u64 })),
    ];
    for (input, output) in pairs {
        cases.push((false, openai(input.clone(), output.clone())));
        cases.push((true, claude(input, output)));
    }
    let mut wrong = Vec::new();
    for (anthropic, usage) in cases {
        for (shape, stream, script) in shapes(&usage, anthropic) {
            let upstream = Upstream::always(script).await;
            let channel = if anthropic { anthropic_channel("a", &upstream) } else { channel("a", &upstream) };
            // A dollar for a token each way: the text of `hello` is one, the answer four.
            let config =
                config([channel]).with("/preferences/model_price", json!({ "default": "1000000,1000000" }));
            let gateway = Gateway::start(config).await;

            gateway.chat(&hello().with("/stream", json!(stream))).await.expect(200);

            let closed = gateway.records().remove(0);
            let told = (closed.cost / 1_000_000_000_000, closed.estimated, closed.entry.usage.is_some());
            if told != (5, true, false) {
                wrong.push(format!("{shape}, {usage}: {told:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn credits_end_also_where_an_upstream_counts_nothing() {
    let upstream =
        Upstream::always(Script::json(&said("sixteen letters.").with("/usage", tells(0, 0)))).await;
    let gateway = Gateway::start(priced(&upstream, &json!("4.5"))).await;
    let ask = Ask::chat(&hello().with("/max_tokens", json!(1))).key("sk-payer");

    gateway.ask(&ask).await.expect(200);
    gateway.ask(&ask).await.expect(200);

    gateway.ask(&ask).await.expect(429);
}

/// An upstream that tells usage in a stream when it is asked for it.
async fn telling_when_asked() -> Upstream {
    Upstream::start(|seen| {
        let mut events = stream_of(&["ok"]);
        if seen.json()["stream_options"]["include_usage"] == json!(true) {
            events.insert(events.len() - 1, usage_event());
        }
        Script::events(events)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn usage_of_a_stream_is_asked_of_every_host_where_the_client_set_nothing_and_kept_from_it() {
    let upstream = telling_when_asked().await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let unset = hello_stream().with("/stream_options", Value::Null);
    let own = hello_stream().with("/stream_options", json!({ "include_usage": false }));

    let plain = gateway.chat(&hello_stream()).await.expect(200);
    let null = gateway.chat(&unset).await.expect(200);
    gateway.chat(&own).await.expect(200);

    assert_eq!(plain.text(), stream_of(&["ok"]).concat());
    assert_eq!(null.text(), stream_of(&["ok"]).concat());
    let sent: Vec<String> =
        upstream.requests().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    assert_eq!(sent[1].matches("stream_options").count(), 1, "{}", sent[1]);
    assert_eq!(sent[2], own.to_string());
    let estimated: Vec<bool> = gateway.records().iter().map(|closed| closed.estimated).collect();
    assert_eq!(estimated, [false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn what_a_channel_does_not_understand_is_asked_once_also_after_a_reload() {
    let upstream = Upstream::start(|seen| match seen.json().get("stream_options") {
        Some(_) => Script::error(422, "extra inputs are not permitted"),
        None => Script::events(stream_of(&["ok"])),
    })
    .await;
    let config = config([channel("a", &upstream)]);
    let gateway = Gateway::start(&config).await;

    let first = gateway.chat(&hello_stream()).await.expect(200);
    gateway.reload(config.with("/preferences/cooldown_period", json!(7))).await;
    gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(first.header("x-uni-api-attempts"), Some("1"), "the repeat is outside the budget");
    let asked: Vec<bool> =
        upstream.requests().iter().map(|seen| seen.json().get("stream_options").is_some()).collect();
    assert_eq!(asked, [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn one_client_s_odd_body_never_turns_off_what_a_channel_is_asked() {
    let upstream = Upstream::start(|seen| {
        if seen.json().get("odd").is_some() {
            return Script::error(400, "Unrecognized request argument supplied: odd");
        }
        let mut events = stream_of(&["ok"]);
        events.insert(events.len() - 1, usage_event());
        Script::events(events)
    })
    .await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello_stream().with("/odd", json!(1))).await.expect(400);
    gateway.chat(&hello_stream()).await.expect(200);
    gateway.chat(&hello_stream().with("/odd", json!(1))).await.expect(400);
    gateway.chat(&hello_stream()).await.expect(200);

    let asked: Vec<bool> =
        upstream.requests().iter().map(|seen| seen.json().get("stream_options").is_some()).collect();
    // Asked again without it only while nothing is known.
    assert_eq!(asked, [true, false, true, true, true]);
}
