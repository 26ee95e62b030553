//! Keys within keys: the order of a group, and what a nested key's own limits mean to it.

use serde_json::json;

use super::bench::subjects::groups::*;
use super::bench::*;

/// The channels that serve the next requests, as one word.
async fn served(gateway: &Gateway, count: usize) -> String {
    gateway.sequence(count, &Ask::chat(&hello())).await
}

/// Promises: `route-group-random`, `route-group-first`.
#[tokio::test(start_paused = true)]
async fn a_random_group_is_asked_first_and_shares_evenly() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let config = grouped(&a, &b, &c, &json!({ "SCHEDULING_ALGORITHM": "random" }))
        .with("/api_keys/0/preferences/SCHEDULING_ALGORITHM", json!("fixed_priority"));
    let gateway = Gateway::start(config).await;

    for _ in 0..1000 {
        gateway.chat(&hello()).await.expect(200);
    }

    assert_eq!((a.count() + b.count(), c.count()), (1000, 0));
    // Five standard deviations.
    assert!(a.count().abs_diff(500) < 80, "{} of 1000", a.count());
}

#[tokio::test(start_paused = true)]
async fn a_group_over_its_limit_is_passed_over() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let gateway = Gateway::start(grouped(&a, &b, &c, &json!({ "rate_limit": "3/min" }))).await;

    // Direct use counts in the same window.
    gateway.ask(&Ask::chat(&hello()).key("sk-group")).await.expect(200);

    assert_eq!(served(&gateway, 4).await, "aacc");
    gateway.ask(&Ask::chat(&hello()).key("sk-group")).await.expect(429);
}

#[tokio::test(start_paused = true)]
async fn a_request_counts_once_in_a_group_however_many_of_its_channels_it_tries() {
    let a = Upstream::always(Script::error(500, "x")).await;
    let (b, c) = (healthy("b").await, healthy("c").await);
    let gateway = Gateway::start(grouped(&a, &b, &c, &json!({ "rate_limit": "2/min" }))).await;

    assert_eq!(served(&gateway, 4).await, "bbcc");
    assert_eq!(a.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_a_group_are_by_model_where_its_key_says_so() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let models = json!(["m", "n"]);
    let config = grouped(&a, &b, &c, &json!({ "rate_limit": { "m": "1/min", "default": "2/min" } }))
        .with("/providers/0/model", models.clone())
        .with("/providers/2/model", models);
    let gateway = Gateway::start(config).await;

    assert_eq!(served(&gateway, 3).await, "acc");
    for due in ["a", "a", "c"] {
        assert_eq!(gateway.chat(&hello_to("n")).await.expect(200).channel(), due);
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_a_key_three_levels_down_holds() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let config = config([channel("a", &a), channel("b", &b)]).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin", "model": ["sk-one/*", "b/*"] },
            { "api": "sk-one", "model": ["sk-two/*"] },
            { "api": "sk-two", "model": ["sk-three/*"] },
            { "api": "sk-three", "model": ["a/*"], "preferences": { "rate_limit": "2/min" } },
        ]),
    );
    let gateway = Gateway::start(config).await;

    assert_eq!(served(&gateway, 3).await, "aab");
}

#[tokio::test(start_paused = true)]
async fn when_every_group_refuses_the_client_learns_when_to_come_back() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let config = grouped(&a, &b, &c, &json!({ "rate_limit": "1/hour" }))
        .with("/api_keys/0/model", json!(["sk-group/*"]));
    let gateway = Gateway::start(config).await;
    gateway.chat(&hello()).await.expect(200);

    let refused = gateway.chat(&hello()).await.expect(429);

    assert_eq!(refused.error()["code"], "rate_limit_exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(wait, 3600);
    assert_eq!(a.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_tells_more_than_a_group_that_refused() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let c = Upstream::always(Script::error(413, "too large")).await;
    let gateway = Gateway::start(grouped(&a, &b, &c, &json!({ "rate_limit": "1/min" }))).await;
    assert_eq!(served(&gateway, 1).await, "a");

    gateway.chat(&hello()).await.expect(413);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_balance_is_used_up_is_passed_over_and_usage_is_the_outer_key_s() {
    let (a, b, c) = (healthy("a").await, healthy("b").await, healthy("c").await);
    let gateway = Gateway::start(grouped(&a, &b, &c, &json!({ "credits": 7 }))).await;

    // Seven dollars each, booked on the outer key: the group's own balance stays as it is.
    assert_eq!(served(&gateway, 3).await, "aaa");
    gateway.ask(&Ask::chat(&hello()).key("sk-group")).await.expect(200);

    assert_eq!(served(&gateway, 1).await, "c");
}
