//! No secret of a run stands in its log, metrics, database or error bodies.
//!
//! Later work that brings new secrets adds them to the configuration here, and new requests that
//! could leak them to the run.

use std::time::Duration;

use serde_json::json;

use crate::harness::secrets::Secrets;
use crate::harness::*;

const CLIENT_ONE: &str = "sk-leakclient-one-1f2e3d4c5b6a";
const CLIENT_TWO: &str = "sk-leakclient-two-6a5b4c3d2e1f";
const NESTED: &str = "sk-leaknested-998877665544";
const WRONG: &str = "sk-leakwrong-112233445566";
const PROVIDER_GOOD: &str = "leakprovidergood-aabbccddeeff";
const PROVIDER_BAD: &str = "leakproviderbad-ffeeddccbbaa";
const PROVIDER_ECHO: &str = "leakproviderecho-a1b2c3d4e5f6";
const PROXY_PASSWORD: &str = "leakproxypassword-0011223344";
const HEADER_VALUE: &str = "leakheadervalue-5566778899";
const QUERY_TOKEN: &str = "leakquerytoken-1357924680";
const ENVIRONMENT: &str = "leakenvironment-2468013579";
const CLIENT_JUDGED: &str = "sk-leakjudged-0a1b2c3d4e5f";
const PROVIDER_JUDGE: &str = "leakproviderjudge-135724689";
const WRONG_PROXY_PASSWORD: &str = "leakwrongproxy-2233445566";
/// `user:` and each proxy password, as they travel.
const PROXY_LOGINS: [&str; 2] =
    ["dXNlcjpsZWFrcHJveHlwYXNzd29yZC0wMDExMjIzMzQ0", "dXNlcjpsZWFrd3Jvbmdwcm94eS0yMjMzNDQ1NTY2"];
const COOKIE: &str = "leakcookie-9753108642";
const PROMPT: &str = "leakprompt: what nobody else should read";

fn secrets() -> Secrets {
    Secrets::new([
        CLIENT_ONE,
        CLIENT_TWO,
        NESTED,
        WRONG,
        PROVIDER_GOOD,
        PROVIDER_BAD,
        PROVIDER_ECHO,
        PROXY_PASSWORD,
        HEADER_VALUE,
        QUERY_TOKEN,
        ENVIRONMENT,
        COOKIE,
        PROMPT,
        CLIENT_JUDGED,
        PROVIDER_JUDGE,
        WRONG_PROXY_PASSWORD,
        PROXY_LOGINS[0],
        PROXY_LOGINS[1],
    ])
}

/// Promises: `env-debug`.
#[tokio::test]
async fn no_secret_of_a_busy_run_is_found_anywhere() {
    for debug in ["", "true"] {
        busy_run(debug).await;
    }
}

async fn busy_run(debug: &str) {
    let good = Upstream::start(|seen| saying("ok")(seen)).await;
    let bad =
        Upstream::start(|seen| Script::error(401, &format!("Incorrect API key provided: {}", seen.key())))
            .await;
    let broken = Upstream::start(|seen| match seen.model().as_str() {
        "bad-request" => Script::error(400, "bad request"),
        "html" => Script::body(500, "text/html", "<html>sorry</html>"),
        "midway" => Script::events([role_event(), text_event("x")]).then_close(),
        _ => Script::error(500, "broken"),
    })
    .await;
    let judge = Upstream::start(|seen| match seen.ordinal % 3 {
        0 => Script::json(&json!({ "results": [{ "flagged": true, "input": seen.json()["input"] }] })),
        1 => Script::error(400, &format!("no access for {}", seen.key())),
        _ => Script::json(&json!({ "results": [{ "flagged": false }] })),
    })
    .await;
    let proxy = Proxy::start(Speaks::Connect, Some(("user", PROXY_PASSWORD)), &[]).await;
    let through = |password: &str| json!(proxy.url(&format!("user:{password}@")));
    let with_token = format!("{}/v1/chat/completions?token={QUERY_TOKEN}", broken.origin());
    let config = config([
        channel("bad", &bad)
            .with("/api", json!([PROVIDER_BAD, format!("{PROVIDER_BAD}-2")]))
            .with("/model", json!(["m"])),
        channel("good", &good).with("/api", json!(PROVIDER_GOOD)).with("/model", json!(["m", "n"])),
        channel_at("broken", &with_token)
            .with("/api", json!(PROVIDER_ECHO))
            .with("/preferences/headers", json!({ "x-secret": HEADER_VALUE }))
            .with("/model", json!(["broken", "bad-request", "html", "midway"])),
        channel_at("proxied", "http://192.0.2.1/v1")
            .with("/api", json!("${LEAK_KEY}"))
            .with("/preferences/proxy", json!(format!("http://user:{PROXY_PASSWORD}@127.0.0.1:9")))
            .with("/model", json!(["proxied"])),
        channel_at("dead", &refused_port().await).with("/model", json!(["dead"])),
        channel("tunnelled", &good)
            .with("/preferences/proxy", through(PROXY_PASSWORD))
            .with("/model", json!(["tunnelled"])),
        channel("refused", &good)
            .with("/preferences/proxy", through(WRONG_PROXY_PASSWORD))
            .with("/model", json!(["refused"])),
        channel("judge", &judge).with("/api", json!(PROVIDER_JUDGE)).with("/model", json!([JUDGE_MODEL])),
        channel("smart", &good)
            .with("/api", json!([PROVIDER_GOOD, PROVIDER_BAD]))
            .with("/preferences/api_key_schedule_algorithm", json!("smart_round_robin"))
            .with("/preferences/api_key_rate_limit", json!("1000/hour"))
            .with("/model", json!(["smart"])),
    ])
    .with(
        "/api_keys",
        json!([
            { "api": CLIENT_ONE, "role": "admin", "model": ["all", format!("{NESTED}/*")] },
            { "api": CLIENT_TWO, "model": ["n", "nowhere/*"] },
            { "api": NESTED, "model": ["n"], "preferences": { "credits": 5 } },
            {
                "api": CLIENT_JUDGED,
                "model": ["all"],
                "preferences": { "ENABLE_MODERATION": true, "credits": 5, "rate_limit": "1000/hour" },
            },
        ]),
    );
    let mut setup = Setup::new(&config).with_database().env("LEAK_KEY", ENVIRONMENT);
    if !debug.is_empty() {
        setup = setup.env("DEBUG", debug);
    }
    let mut gateway = setup.clone().start().await;
    let secrets = secrets();
    let mut bodies = String::new();

    for model in [
        "m",
        "n",
        "broken",
        "bad-request",
        "html",
        "midway",
        "proxied",
        "dead",
        "absent",
        "tunnelled",
        "refused",
        "smart",
    ] {
        for stream in [false, true] {
            let request =
                hello_to(model).with("/stream", json!(stream)).with("/messages/0/content", json!(PROMPT));
            let ask = Ask::chat(&request).key(CLIENT_ONE).header("cookie", COOKIE);
            bodies += &gateway.ask(&ask).await.everything();
        }
    }
    // One is flagged, one cannot be judged, one is answered.
    for _ in 0..3 {
        let request = hello().with("/messages/0/content", json!(PROMPT));
        bodies += &gateway.ask(&Ask::chat(&request).key(CLIENT_JUDGED)).await.everything();
    }
    let explain = |question: serde_json::Value| Ask::post("/v1/route/explain", &question).key(CLIENT_ONE);
    let said = hello().with("/messages/0/content", json!(PROMPT));
    for ask in [
        explain(json!({ "request": said })),
        explain(json!({ "key": CLIENT_JUDGED, "request": said })),
        explain(json!({ "key": NESTED, "model": "smart" })),
        explain(json!({ "key": WRONG, "model": "m" })),
        explain(json!({ "model": "proxied" })),
        explain(json!({ "endpoint": PROMPT, "model": "m" })),
        explain(json!({ "key": [CLIENT_ONE] })),
        explain(json!({ "model": "m" })).key(CLIENT_TWO),
        Ask::chat(&hello()).key(WRONG),
        Ask::chat(&hello()).key(CLIENT_TWO),
        Ask::chat(&hello_to("n")).key(CLIENT_TWO),
        Ask::chat(&hello_to("n")).without_key().header("x-api-key", NESTED),
        Ask::get(&format!("/v1/models?key={CLIENT_TWO}")).without_key(),
        Ask::get(&format!("/v1/nowhere?key={CLIENT_TWO}&x={QUERY_TOKEN}")).without_key(),
        Ask::get(&format!("/v1/models?key={WRONG}")).without_key(),
        Ask::get("/v1/models").key(CLIENT_ONE),
        Ask::get("/metrics").key(CLIENT_ONE),
        Ask::raw(format!("{{\"model\": \"{PROMPT}\"")).key(CLIENT_ONE),
    ] {
        bodies += &gateway.ask(&ask).await.everything();
    }
    // A configuration that is wrong is told without what it holds.
    let broken = config
        .to_string()
        .replace("http://192.0.2.1/v1", "not a url")
        .replace("\"model\":[\"dead\"]", "\"model\":{\"a\":[1]}");
    std::fs::write(gateway.api_yaml(), &broken).unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    let (_, checked) = run(&broken, &["check"]).await;

    secrets.absent_from("an answer", bodies.as_bytes());
    secrets.absent_from("the check", checked.as_bytes());
    for (key, url) in
        [(CLIENT_ONE, None), (NESTED, None), (WRONG, None), (CLIENT_ONE, Some(gateway.base_url()))]
    {
        let mut command = Setup::new(&config).env("LEAK_KEY", ENVIRONMENT).file("said.json", &said);
        for argument in ["explain", "--key", key, "--model", "smart", "--body", "said.json"] {
            command = command.arg(argument);
        }
        if let Some(url) = url {
            command = command.arg("--url").arg(&url);
        }
        let (_, explained) = command.run().await;
        secrets.absent_from("what the command explains", explained.as_bytes());
        assert!(key == WRONG || explained.contains("smart"), "{explained}");
    }
    gateway.request_rows(27).await;
    secrets.absent_from_run(&gateway).await;
    gateway.terminate();
    gateway.ended().await;
    secrets.absent_from("the log of the end", gateway.printed().as_bytes());
    let database = std::fs::read(gateway.folder().join("data/stats.db")).unwrap();
    secrets.absent_from("the database", &database);
    // What was searched was really there: channels by name, callers by alias, and what only the
    // debug level tells.
    assert!(gateway.printed().contains("\"bad\"") && gateway.printed().contains("midway"));
    assert_eq!(gateway.count_messages("Candidate.") > 0, !debug.is_empty());
    assert_eq!((proxy.targets().is_empty(), proxy.refused() > 0), (false, true));
    assert!(judge.count() >= 3, "{}", judge.count());
    drop(gateway);

    // The next process reads balances, windows and the order of keys from what this one left.
    std::fs::write(setup.folder().join("api.yaml"), config.to_string()).unwrap();
    let gateway = setup.start().await;
    let explained =
        gateway.ask(&explain(json!({ "key": CLIENT_JUDGED, "model": "smart" }))).await.expect(200);
    let spent = &explained.json()["balances"][0]["spent"];
    assert_ne!(spent, "0", "nothing is known again");
    gateway.ask(&Ask::chat(&hello_to("smart")).key(CLIENT_ONE)).await.expect(200);
    secrets.absent_from("the explanation of what is known again", explained.everything().as_bytes());
    secrets.absent_from_run(&gateway).await;
}

/// What clients see of an upstream that repeats in its errors what it was sent.
async fn echoed(what: fn(&Seen) -> String) -> Vec<(String, String)> {
    let upstream = Upstream::start(move |seen| {
        let heard = what(seen);
        let error = json!({ "error": { "message": heard, "type": "x", "param": null, "code": null } });
        match seen.model().as_str() {
            "html" => Script::body(500, "text/html", format!("<html>{heard}</html>")),
            "in-band" => Script::json(&error),
            "event" => Script::events([event(&error)]),
            "midway" => Script::events([role_event(), text_event("x"), event(&error)])
                .paced(Duration::from_millis(30)),
            status => Script::status(status.parse().unwrap(), &error),
        }
    })
    .await;
    let models = ["400", "401", "404", "413", "418", "429", "500", "html", "in-band", "event", "midway"];
    let channel =
        channel_at("echo", &format!("{}/v1/chat/completions?token={QUERY_TOKEN}", upstream.origin()))
            .with("/api", json!(PROVIDER_ECHO))
            .with("/preferences/headers", json!({ "x-secret": HEADER_VALUE }))
            .with("/model", json!(models));
    let gateway = Gateway::start(config([channel])).await;
    let mut answers = Vec::new();
    for model in models {
        let answer = gateway.chat(&hello_to(model).with("/stream", json!(true))).await;
        answers.push((model.to_owned(), answer.everything()));
    }
    answers.push(("the log".to_owned(), gateway.printed()));
    answers
}

#[tokio::test]
async fn an_upstream_that_repeats_its_key_in_errors_does_not_tell_it_to_clients() {
    for (place, text) in
        echoed(|seen| format!("wrong key {} for {:?}", seen.key(), seen.header("authorization"))).await
    {
        secrets().absent_from(&place, text.as_bytes());
    }
}

#[tokio::test]
async fn an_upstream_that_repeats_configured_headers_in_errors_does_not_tell_them_to_clients() {
    for (place, text) in echoed(|seen| format!("odd header {:?}", seen.header("x-secret"))).await {
        secrets().absent_from(&place, text.as_bytes());
    }
}

#[tokio::test]
async fn a_redirect_of_a_model_list_takes_the_key_to_no_other_origin() {
    let elsewhere = Upstream::always(Script::json(&json!({ "data": [{ "id": "found" }] }))).await;
    let origin = elsewhere.origin();
    let upstream = Upstream::start(move |seen| match seen.path.as_str() {
        "/v1/models" => Script::body(302, "text/plain", "").header("location", "/v1/moved"),
        _ => Script::body(307, "text/plain", "").header("location", &format!("{origin}/collect")),
    })
    .await;
    let channel = channel("a", &upstream)
        .with("/api", json!(PROVIDER_GOOD))
        .with("/preferences/headers", json!({ "x-secret": HEADER_VALUE }))
        .with("/model", json!([]));
    let _gateway = Gateway::start(config([channel])).await;

    elsewhere.wait_for(1).await;

    assert_eq!(upstream.keys()[..2], [PROVIDER_GOOD; 2], "within the origin it is shown");
    let collected = elsewhere.last();
    assert_eq!((collected.key().as_str(), collected.header("x-secret")), ("", None), "{collected:?}");
}

/// Promises: `env-debug`.
#[tokio::test]
async fn debug_tells_more_and_off_tells_nothing_of_it() {
    let (failing, upstream) = (Upstream::always(Script::error(500, "x")).await, healthy("ok").await);
    let config = config([channel("a", &failing), channel("b", &upstream)])
        .with("/preferences/cooldown_period", json!(0));
    let mut counts = Vec::new();
    for debug in [None, Some("false"), Some("0"), Some(""), Some("true")] {
        let mut setup = Setup::new(&config);
        if let Some(debug) = debug {
            setup = setup.env("DEBUG", debug);
        }
        let gateway = setup.start().await;
        for _ in 0..3 {
            gateway.chat(&hello()).await.expect(200);
        }
        let lines =
            gateway.wait_for_line("the line of a request", |line| line.contains("\"outcome\":\"ok\"")).await;
        assert!(!lines.is_empty());
        tokio::time::sleep(Duration::from_millis(200)).await;
        counts.push(gateway.lines().len());
    }

    assert!(counts[..4].iter().all(|count| count.abs_diff(counts[0]) <= 1), "{counts:?}");
    assert!(counts[4] > counts[0], "{counts:?}");
}
