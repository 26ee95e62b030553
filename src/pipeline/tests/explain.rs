//! Every request can tell where it would go, and why; asking changes nothing.

use serde_json::{Value, json};

use super::bench::subjects::explain::*;
use super::bench::*;

#[tokio::test(start_paused = true)]
async fn a_cooling_channel_is_shown_with_the_seconds_that_are_left_and_nobody_is_called() {
    let (a, b) = (Upstream::always(Script::error(500, "ill")).await, healthy("b").await);
    let gateway = Gateway::start(config([channel("a", &a), channel("b", &b)])).await;
    let before = explained(&gateway, &json!({ "model": "m" })).await;
    assert_eq!(standings(&before), ["a chosen", "b standby"]);
    assert_eq!(before["verdict"]["channel"], "a");
    assert_eq!((a.count(), b.count()), (0, 0));
    gateway.chat(&hello()).await.expect(200);

    let after = explained(&gateway, &json!({ "model": "m" })).await;

    assert_eq!(standings(&after), ["b chosen", "a cooling"]);
    assert_eq!(after["candidates"][1]["cooling_seconds"].as_f64(), Some(300.0));
    assert_eq!((a.count(), b.count()), (1, 1));
    assert_eq!((after["fresh"].clone(), after["algorithm"].clone()), (json!(false), json!("fixed_priority")));
}

#[tokio::test(start_paused = true)]
async fn a_key_over_its_limit_is_told_so_and_asking_does_not_count() {
    let upstream = healthy("ok").await;
    let config = with_user(
        config([channel("a", &upstream)]).with("/preferences/rate_limit", json!("1000/min")),
        json!(["a/*"]),
        json!({ "rate_limit": "2/min,100/day" }),
    );
    let gateway = Gateway::start(config).await;
    let question = json!({ "key": USER, "model": "m" });
    for _ in 0..5 {
        explained(&gateway, &question).await;
    }
    gateway.ask(&Ask::chat(&hello()).key(USER)).await.expect(200);

    let once = explained(&gateway, &question).await;
    gateway.ask(&Ask::chat(&hello()).key(USER)).await.expect(200);
    let twice = explained(&gateway, &question).await;

    let limit = |explanation: &Value, at: usize| {
        let limit = &explanation["limits"][at];
        (limit["whose"].clone(), limit["used"].clone(), limit["remaining"].clone())
    };
    assert_eq!(limit(&once, 0), (json!("key"), json!(1), json!(1)));
    assert_eq!(once["verdict"]["channel"], "a");
    assert_eq!(limit(&twice, 0), (json!("key"), json!(2), json!(0)));
    assert_eq!(limit(&twice, 1), (json!("key"), json!(2), json!(98)));
    // What administrators ask counts in the gateway's window like every request.
    assert_eq!(limit(&twice, 2), (json!("gateway"), json!(9), json!(991)));
    assert!(twice["limits"][0]["full_for_seconds"].as_f64().unwrap() <= 60.0, "{twice}");
    assert_eq!((twice["verdict"]["status"].clone(), twice["verdict"].get("channel")), (json!(429), None));
    gateway.ask(&Ask::chat(&hello()).key(USER)).await.expect(429);
}

#[tokio::test(start_paused = true)]
async fn asking_moves_no_cursor() {
    let (a, b) = (healthy("a").await, healthy("b").await);
    let config = with_user(
        config([channel("a", &a), channel("b", &b)]),
        json!(["a/*", "b/*"]),
        json!({ "SCHEDULING_ALGORITHM": "round_robin", "expose_route": true }),
    );
    let gateway = Gateway::start(config).await;
    let question = json!({ "key": "user", "model": "m" });

    let mut told = String::new();
    let mut served = String::new();
    for _ in 0..6 {
        for _ in 0..3 {
            let explanation = explained(&gateway, &question).await;
            told += explanation["verdict"]["channel"].as_str().unwrap();
            assert_eq!(explanation["candidates"][0]["share"], 0.5);
        }
        served += gateway.ask(&Ask::chat(&hello()).key(USER)).await.expect(200).channel();
    }

    assert_eq!((told.as_str(), served.as_str()), ("aaabbbaaabbbaaabbb", "ababab"));
}

#[tokio::test(start_paused = true)]
async fn weights_shares_groups_prices_and_times_are_those_in_force() {
    let upstream = healthy("ok").await;
    let channels = [
        channel("a", &upstream)
            .with("/preferences", json!({ "keepalive_interval": 20, "model_timeout": 90 })),
        channel("b", &upstream),
        channel("c", &upstream),
    ];
    let config = config(channels)
        .with("/preferences/model_price", json!({ "m": "1.25,10" }))
        .with("/preferences/model_timeout", json!(45))
        .with(
            "/api_keys",
            json!([
                { "api": CLIENT, "role": "admin" },
                { "api": "sk-inner", "role": "inner", "model": ["b/*", "c/*"],
                  "preferences": { "SCHEDULING_ALGORITHM": "random" } },
                { "api": USER, "role": "user", "model": [{ "a/*": 3 }, { "sk-inner/*": 1 }],
                  "preferences": { "SCHEDULING_ALGORITHM": "weighted_round_robin" } },
            ]),
        );
    let gateway = Gateway::start(config).await;

    let explanation = explained(&gateway, &json!({ "key": USER, "model": "m" })).await;

    let of = |name: &str| {
        let all = explanation["candidates"].as_array().unwrap();
        all.iter().find(|candidate| candidate["channel"] == name).unwrap().clone()
    };
    assert_eq!((of("a")["weight"].clone(), of("a")["share"].clone()), (json!(3), json!(0.75)));
    assert_eq!((of("b")["share"].clone(), of("c")["share"].clone()), (json!(0.125), json!(0.125)));
    assert_eq!(of("b")["groups"], json!([{ "key": "inner", "algorithm": "random" }]));
    assert_eq!(
        (of("a")["timeout_seconds"].clone(), of("b")["timeout_seconds"].clone()),
        (json!(90.0), json!(45.0))
    );
    assert_eq!((of("a")["keepalive_seconds"].clone(), of("b").get("keepalive_seconds")), (json!(20.0), None));
    assert_eq!(explanation["price_per_million"], json!({ "input": "1.25", "output": "10" }));
    assert_eq!(explanation["algorithm"], "weighted_round_robin");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_for_a_channel_goes_past_it() {
    let upstream = healthy("ok").await;
    let small = channel("small", &upstream).with("/preferences/api_key_rate_limit", json!("10/tpr"));
    let gateway = Gateway::start(config([small, channel("large", &upstream)])).await;
    let long =
        json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": "x".repeat(400) }] });

    let explanation = explained(&gateway, &json!({ "request": long })).await;

    assert_eq!(standings(&explanation), ["small too_long", "large chosen"]);
    assert_eq!(explanation["request"]["input_tokens"], 100);
    assert_eq!(explanation["request"]["stream"], true);
    assert_eq!(explanation["verdict"]["channel"], "large");
    assert_eq!(gateway.chat(&long.with("/stream", json!(false))).await.expect(200).channel(), "large");
    let short = explained(&gateway, &json!({ "request": hello() })).await;
    assert_eq!(short["verdict"]["channel"], "small");
}

/// The status and the channel that an explanation foretells.
async fn foretold(gateway: &Gateway, question: &Value) -> (u16, String) {
    let verdict = &explained(gateway, question).await["verdict"];
    let status = verdict["status"].as_u64().map_or(200, |status| status.try_into().unwrap());
    (status, verdict["channel"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_is_explained_is_what_happens_then() {
    let upstream = healthy("ok").await;
    let two = json!(["m", JUDGE_MODEL]);
    let config = config([
        channel("small", &upstream).with("/max_request_body_bytes", json!(300)).with("/model", two.clone()),
        channel("mute", &upstream).with("/exclude_endpoints", json!("/v1/moderations")).with("/model", two),
        channel("shut", &upstream)
            .with("/exclude_endpoints", json!("/v1/chat/completions"))
            .with("/model", json!(["n"])),
    ])
    // An answer costs seven dollars.
    .with("/preferences/model_price", json!({ "default": "0,1000000" }))
    .with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin" },
            { "api": "sk-blocked", "preferences": { "credits": 0 } },
            { "api": "sk-group", "model": ["small/*"], "preferences": { "credits": 7 } },
            { "api": "sk-through", "model": ["sk-group/*", "mute/*"], "preferences": { "expose_route": true } },
            { "api": "sk-only", "model": ["sk-group/*"], "preferences": { "expose_route": true } },
            { "api": "sk-judged", "model": ["mute/*"], "preferences": { "ENABLE_MODERATION": true } },
        ]),
    );
    let gateway = Gateway::start(config).await;
    let long = hello().with("/messages/0/content", json!("x".repeat(400)));
    let judged = json!({ "model": JUDGE_MODEL, "input": "x".repeat(400) });
    let chat = "/v1/chat/completions";
    // What a group has spent is booked on the key that asked, and its own balance by its own use.
    gateway.ask(&Ask::chat(&hello()).key("sk-group")).await.expect(200);

    for (key, path, request, expected) in [
        (CLIENT, chat, hello(), (200, "small")),
        (CLIENT, chat, long.clone(), (200, "mute")),
        (CLIENT, "/v1/moderations", judged, (413, "")),
        (CLIENT, chat, hello_to("n"), (404, "")),
        ("sk-blocked", chat, hello(), (429, "")),
        ("sk-through", chat, hello(), (200, "mute")),
        ("sk-only", chat, hello(), (429, "")),
        ("sk-judged", chat, hello(), (404, "")),
    ] {
        let question = json!({ "key": key, "endpoint": path, "request": request });
        let told = foretold(&gateway, &question).await;
        let answer = gateway.ask(&Ask::post(path, &request).key(key)).await;

        let channel = answer.header("x-uni-api-channel").unwrap_or_default().to_owned();
        assert_eq!((answer.status, channel.as_str()), expected, "{key} {request}: {}", answer.text());
        assert_eq!(told, (expected.0, expected.1.to_owned()), "{key} {request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_route_is_explained() {
    let upstream = healthy("ok").await;
    let config = with_user(
        config([
            channel("a", &upstream).with("/model", json!(["gpt-5.2"])),
            channel("b", &upstream).with("/model", json!(["secret-model"])),
        ]),
        json!(["a/*"]),
        json!({}),
    );
    let gateway = Gateway::start(config).await;
    let reason = async |model: &str| {
        let explanation = explained(&gateway, &json!({ "key": "user", "model": model })).await;
        assert_eq!(
            (&explanation["verdict"]["status"], &explanation["candidates"]),
            (&json!(404), &json!([]))
        );
        explanation["verdict"]["reason"].as_str().unwrap().to_owned()
    };

    assert_eq!(reason("gtp-5.2").await, "no channel has this model; did you mean gpt-5.2?");
    assert_eq!(
        reason("secret-model").await,
        "the key's rules do not admit it, though these channels have it: b"
    );
}

#[tokio::test(start_paused = true)]
async fn only_administrators_may_ask() {
    let upstream = healthy("ok").await;
    let config = with_user(config([channel("a", &upstream)]), json!(["a/*"]), json!({}));
    let gateway = Gateway::start(config).await;
    let ask = Ask::post("/v1/route/explain", &json!({ "model": "m" }));

    gateway.ask(&ask.clone().key(USER)).await.expect(403).error();
    gateway.ask(&ask.clone().without_key()).await.expect(401).error();
    gateway.ask(&Ask::get("/v1/route/explain")).await.expect(405).error();
    for broken in [
        json!({ "request": {} }),
        json!([]),
        json!({ "model": 1 }),
        json!({ "model": "m", "key": "sk-nobody-knows" }),
    ] {
        let answer = gateway.ask(&Ask::post("/v1/route/explain", &broken)).await.expect(400);
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(!message.contains("sk-nobody"), "{message}");
    }
    gateway.ask(&ask).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn without_a_model_every_model_is_told_with_what_rests() {
    let (a, b) = (Upstream::always(Script::error(500, "ill")).await, healthy("b").await);
    let config = config([channel("a", &a), channel("b", &b).with("/model", json!(["m", "n"]))]);
    let gateway = Gateway::start(config).await;
    gateway.chat(&hello()).await.expect(200);

    let overview = explained(&gateway, &json!({})).await;

    let line = |at: usize| &overview["models"][at];
    assert_eq!((&line(0)["model"], &line(0)["verdict"]["channel"]), (&json!("m"), &json!("b")));
    assert_eq!((&line(1)["model"], &line(1)["verdict"]["channel"]), (&json!("n"), &json!("b")));
    let ill = &line(0)["channels"][1];
    assert_eq!((&ill["channel"], &ill["standing"]), (&json!("a"), &json!("cooling")));
    assert_eq!(ill["cooling_seconds"].as_f64(), Some(300.0));
    assert_eq!((a.count(), b.count()), (1, 1), "nobody is called");
}
