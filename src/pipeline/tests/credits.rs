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

    assert_eq!(costs(&gateway), [(1_000_000_000_000, true)]);
}
