//! How often keys and the whole gateway may be used, and what a refusal says.

use serde_json::{Value, json};

use super::bench::subjects::limits::*;
use super::bench::*;

/// Promises: `limit-hour`, `limit-day`, `limit-month`, `limit-year`.
#[tokio::test(start_paused = true)]
async fn longer_periods_refuse_for_as_long_as_they_are() {
    let periods = [("hour", 3600), ("day", 86_400), ("month", 2_592_000), ("year", 31_536_000)];
    for (unit, seconds) in periods {
        let upstream = healthy("ok").await;
        let gateway = Gateway::start(limited(&upstream, &json!(["m"]), &json!(format!("2/{unit}")))).await;

        assert_eq!(passing(&gateway, "m", 2).await, 2);
        let refused = few(&gateway, "m").await.expect(429);

        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(wait, seconds, "{unit}");
    }
}

/// Promises: `limit-several`.
#[tokio::test(start_paused = true)]
async fn ten_a_day_hold_though_the_minute_has_room() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(limited(&upstream, &json!(["m"]), &json!("15/min,10/day"))).await;

    assert_eq!(passing(&gateway, "m", 10).await, 10);

    let refused = few(&gateway, "m").await.expect(429);
    assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("10"));
    assert_eq!(upstream.count(), 10);
}

/// Promises: `limit-key-map`, `limit-key-map-default`, `limit-exact-first`.
#[tokio::test(start_paused = true)]
async fn a_map_bounds_each_model_by_its_own_entry_or_the_default() {
    let upstream = healthy("ok").await;
    let limits = json!({ "gpt": "3/min", "gpt-5": "2/min", "default": "4/min" });
    let models = json!(["gpt-5", "gpt-4", "claude", "gemini"]);
    let gateway = Gateway::start(limited(&upstream, &models, &limits)).await;

    for (model, due) in [("gpt-5", 2), ("gpt-4", 3), ("claude", 4), ("gemini", 4)] {
        assert_eq!(passing(&gateway, model, 6).await, due, "{model}");
    }

    assert_eq!(upstream.count(), 13);
}

/// Promises: `limit-shared-entry`.
#[tokio::test(start_paused = true)]
async fn one_entry_gives_each_model_that_holds_its_name_a_window_of_its_own() {
    let upstream = healthy("ok").await;
    let models = ["gemini-1.5-pro-latest", "gemini-1.5-pro", "gemini-1.5-pro-001", "gemini-1.5-pro-002"];
    let limits = json!({ "gemini-1.5-pro": "2/min" });
    let gateway = Gateway::start(limited(&upstream, &json!(models), &limits)).await;

    for model in models {
        assert_eq!(passing(&gateway, model, 4).await, 2, "{model}");
    }
}

#[tokio::test(start_paused = true)]
async fn invented_names_share_one_window() {
    let upstream = healthy("ok").await;
    let limits = json!({ "default": "2/min" });
    let gateway = Gateway::start(limited(&upstream, &json!(["m"]), &limits)).await;

    few(&gateway, "no-1").await.expect(404);
    few(&gateway, "no-2").await.expect(404);

    few(&gateway, "no-3").await.expect(429);
    few(&gateway, "m").await.expect(200);
}

/// Promises: `limit-global`.
#[tokio::test(start_paused = true)]
async fn the_global_limit_bounds_all_keys_and_all_paths_together() {
    let upstream = healthy("ok").await;
    let config =
        limited(&upstream, &json!(["m"]), &Value::Null).with("/preferences/rate_limit", json!("4/min"));
    let gateway = Gateway::start(config).await;

    gateway.chat(&hello()).await.expect(200);
    few(&gateway, "m").await.expect(200);
    gateway.ask(&Ask::get("/v1/models")).await.expect(200);
    let form = b"--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--\r\n".to_vec();
    let multipart = Ask::new("POST", "/v1/audio/transcriptions", form)
        .header("content-type", "multipart/form-data; boundary=x");
    assert_ne!(gateway.ask(&multipart).await.status, 429);

    for ask in [Ask::chat(&hello()), Ask::chat(&hello()).key("sk-few"), Ask::get("/v1/models"), multipart] {
        let refused = gateway.ask(&ask).await.expect(429);
        assert_eq!(refused.header("x-ratelimit-limit-requests"), Some("4"));
    }
    gateway.ask(&Ask::get("/livez").without_key()).await.expect(200);
}

/// Promises: `limit-provider-key`, `limit-provider-key-map`, `limit-provider-key-map-default`.
#[tokio::test(start_paused = true)]
async fn limits_of_provider_keys_send_what_is_over_them_elsewhere() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let limits = json!({ "up-x": "1/min", "default": "2/min" });
    let models = json!([{ "up-x": "x" }, { "up-y": "y" }]);
    let config = config([
        channel("a", &a)
            .with("/model", models.clone())
            .with("/api", json!(["k1", "k2"]))
            .with("/preferences/api_key_rate_limit", limits),
        channel("b", &b).with("/model", models),
    ]);
    let gateway = Gateway::start(config).await;

    for (model, by_a) in [("x", 2), ("y", 4)] {
        let mut served = Vec::new();
        for _ in 0..5 {
            served.push(gateway.chat(&hello_to(model)).await.expect(200).channel().to_owned());
        }
        assert_eq!(served.iter().filter(|channel| *channel == "a").count(), by_a, "{model}: {served:?}");
        assert!(served[by_a..].iter().all(|channel| channel == "b"), "{model}: {served:?}");
    }
    let mut keys = a.keys();
    keys.sort();
    assert_eq!(keys, ["k1", "k1", "k1", "k2", "k2", "k2"]);
}

#[tokio::test(start_paused = true)]
async fn windows_outlive_a_reload() {
    let upstream = healthy("ok").await;
    let config = limited(&upstream, &json!(["m"]), &json!("2/hour"));
    let gateway = Gateway::start(&config).await;
    assert_eq!(passing(&gateway, "m", 2).await, 2);

    gateway.reload(config.with("/providers/0/model", json!(["m", "new"]))).await;

    few(&gateway, "m").await.expect(429);
    few(&gateway, "new").await.expect(429);
}
