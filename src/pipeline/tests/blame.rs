//! Whose fault a failure is: no words of a client bench a key or a channel, in whatever dialect and shape the
//! upstream repeats them, and what is about one request is told and forgotten.

use serde_json::{Value, json};

use super::bench::*;

/// Two channels with the same model: the first always answers like this, the second serves.
async fn two(script: Script, anthropic: bool) -> (Gateway, Upstream, Upstream) {
    of_two(Upstream::always(script).await, anthropic).await
}

/// The same with this first upstream.
async fn of_two(a: Upstream, anthropic: bool) -> (Gateway, Upstream, Upstream) {
    let b = healthy("b").await;
    let first = if anthropic { anthropic_channel("a", &a) } else { channel("a", &a) };
    // Whose fault it is, and not what was added to a stream.
    let first = first.with("/preferences/quirks", json!(["-stream_options"]));
    let gateway = Gateway::start(config([first, channel("b", &b)])).await;
    (gateway, a, b)
}

/// An error as each dialect shapes it, told as a refusal, within a success, and as an event.
fn shapes(message: &str, anthropic: bool) -> Vec<(&'static str, bool, Script)> {
    let error = match anthropic {
        true => json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}}),
        false => {
            json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}})
        }
    };
    let named = if anthropic { format!("event: error\n{}", event(&error)) } else { event(&error) };
    vec![
        ("400", false, Script::status(400, &error)),
        ("422", false, Script::status(422, &error)),
        ("400 to a stream", true, Script::status(400, &error)),
        ("in a 200", false, Script::json(&error)),
        ("in an event", true, Script::events([named])),
    ]
}

#[tokio::test(start_paused = true)]
async fn words_that_the_client_wrote_and_the_upstream_repeats_bench_nobody() {
    let phrases = [
        "insufficient_quota",
        "credit balance is too low",
        "API key not valid",
        "You exceeded your current quota",
        "Model Not Exist",
        "rate limit",
        "overloaded",
    ];
    let mut wrong = Vec::new();
    for anthropic in [false, true] {
        for phrase in phrases {
            let culprits = [
                json!({"messages": [{"role": phrase, "content": "x"}]}),
                json!({"tools": [{"type": "function", "function": {"name": phrase, "parameters": {}}}]}),
                json!({"messages": [{"role": "user", "content": "x"}], phrase: true}),
            ];
            // What cannot be converted is refused before anybody is asked.
            let culprits = if anthropic { &culprits[1..] } else { &culprits[..] };
            for culprit in culprits {
                for (shape, stream, script) in
                    shapes(&format!("{phrase}: unknown value '{phrase}'"), anthropic)
                {
                    let well = if anthropic { said_by_claude("ok") } else { said("ok") };
                    let upstream = Upstream::start(move |seen| match seen.ordinal {
                        0 => script.clone(),
                        _ => Script::json(&well),
                    });
                    let (gateway, a, b) = of_two(upstream.await, anthropic).await;
                    let mut request = if stream { hello_stream() } else { hello() };
                    for (name, value) in culprit.as_object().expect("an object") {
                        request[name] = value.clone();
                    }

                    let answer = gateway.chat(&request).await;
                    gateway.chat(&hello()).await;

                    if (a.count(), b.count()) != (2, 0) || !matches!(answer.status, 400 | 422) {
                        let (a, b) = (a.count(), b.count());
                        wrong.push(format!(
                            "{shape}, {anthropic}, {culprit}: {a} {b} {} {}",
                            answer.status,
                            answer.text()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_field_or_a_code_that_says_otherwise_speaks_against_a_fault_of_the_key() {
    let refusal = |code: Value, param: Value| {
        let message = "Invalid value: 'insufficient_quota'. exceeded your current quota";
        Script::status(
            400,
            &json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}),
        )
    };
    for script in
        [refusal(json!("invalid_value"), Value::Null), refusal(Value::Null, json!("messages[0].role"))]
    {
        let body = script.bytes();
        let (gateway, a, b) = two(script, false).await;

        let answer = gateway.chat(&hello()).await.expect(400);
        gateway.chat(&hello()).await.expect(400);

        assert_eq!(answer.body, body, "told in the upstream's own words");
        assert_eq!((a.count(), b.count()), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn words_in_a_header_that_is_passed_on_bench_nobody() {
    let refusal = "Unexpected value(s) `credit balance is too low` for the `openai-beta` header";
    let (gateway, a, _) = two(Script::error(400, refusal), false).await;
    let ask = Ask::chat(&hello()).header("openai-beta", "credit balance is too low");

    gateway.ask(&ask).await.expect(400);
    gateway.chat(&hello()).await;

    assert_eq!(a.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_about_one_request_goes_to_the_next_channel_and_cools_nothing() {
    let flagged = json!({"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"], "flagged_input": "x"}}});
    let poor = "This request requires more credits, or fewer max_tokens. You requested up to 9 tokens.";
    let long = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Extra usage is required for long context requests."}});
    let large = json!({"error": {"message": "Request too large for gpt-4o: Limit 3, Requested 5.", "type": "tokens", "code": "rate_limit_exceeded"}});
    let foreign = json!({"error": {"message": "No such organization", "type": "invalid_request_error", "param": null, "code": "invalid_organization"}});
    for (script, anthropic, words) in [
        (Script::status(403, &flagged), false, "Your input was flagged"),
        (Script::error(402, poor), false, poor),
        (Script::status(429, &long).header("retry-after", "60"), true, "Extra usage is required"),
        (Script::status(429, &large), false, "Request too large"),
        (Script::status(401, &foreign), false, "No such organization"),
    ] {
        let (gateway, a, b) = two(script.clone(), anthropic).await;
        gateway.chat(&hello()).await.expect(200);
        gateway.chat(&hello()).await.expect(200);
        assert_eq!((a.count(), b.count()), (2, 2), "{words}");

        let sole = Upstream::always(script).await;
        let sole = if anthropic { anthropic_channel("a", &sole) } else { channel("a", &sole) };
        let answer = Gateway::start(config([sole])).await.chat(&hello()).await.expect(400);

        let error = answer.error();
        assert!(error["message"].as_str().is_some_and(|said| said.starts_with(words)), "{error}");
        assert_eq!((&error["type"], answer.header("retry-after")), (&json!("invalid_request_error"), None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_400_that_knows_no_such_model_is_as_a_404_of_the_model() {
    for (status, message) in [
        (400, "Model Not Exist"),
        (400, "large-1 is not a valid model ID"),
        (404, "The model `large-1` does not exist"),
    ] {
        let (a, b) = (Upstream::always(Script::error(status, message)).await, healthy("b").await);
        let first = channel("a", &a).with("/model", json!([{"large-1": "m"}]));
        let gateway = Gateway::start(config([first, channel("b", &b)])).await;

        gateway.chat(&hello()).await.expect(200);
        gateway.chat(&hello()).await.expect(200);

        assert_eq!((a.count(), b.count()), (1, 2), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_of_a_path_or_an_object_cools_nothing_though_it_says_model() {
    for message in [
        "Invalid URL (POST /v1/model/chat/completions)",
        "Previous response 'model' not found",
        "no deployment route",
    ] {
        let (gateway, a, b) = two(Script::error(404, message), false).await;

        gateway.chat(&hello()).await.expect(200);
        gateway.chat(&hello()).await.expect(200);

        assert_eq!((a.count(), b.count()), (2, 2), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_without_a_code_that_quotes_the_request_goes_to_the_next_channel_and_cools_nothing() {
    let request = hello().with("/messages/0/role", json!("overloaded"));
    for (message, expected) in
        [("unknown role overloaded", (2, 2)), ("bad 'overloaded'", (2, 2)), ("out of memory", (1, 2))]
    {
        for stream in [false, true] {
            let error = json!({ "error": message });
            let script = if stream { Script::events([event(&error)]) } else { Script::json(&error) };
            let (gateway, a, b) = two(script, false).await;
            let request = request.clone().with("/stream", json!(stream));

            gateway.chat(&request).await.expect(200);
            gateway.chat(&request).await.expect(200);

            assert_eq!((a.count(), b.count()), expected, "{message}");
        }
    }
}

/// A key that may not see the route, beside an administrator's.
const USER: &str = "sk-user-0123456789abcdef";

fn with_user(config: Value) -> Value {
    config.with("/api_keys", json!([{ "api": CLIENT, "role": "admin" }, { "api": USER, "role": "user" }]))
}

#[tokio::test(start_paused = true)]
async fn the_provider_s_own_reason_is_told_and_its_name_only_to_keys_that_may_see_the_route() {
    let torn = Script::events([role_event(), text_event("begun")]).then_close();
    for (script, stream, code, told) in [
        (Script::error(401, "it was revoked"), false, "upstream_rejected", ": it was revoked"),
        (Script::error(404, "not at this path"), false, "model_not_found", ": not at this path"),
        (Script::reset(), false, "upstream_unreachable", ""),
        (Script::json(&said("")), false, "upstream_error", "empty"),
        (torn, true, "upstream_unreachable", ""),
    ] {
        let upstream = Upstream::always(script).await;
        let gateway = Gateway::start(with_user(config([channel("secretive", &upstream)]))).await;
        for (key, names) in [(CLIENT, true), (USER, false)] {
            let request = hello().with("/stream", json!(stream));
            let answer = gateway.ask(&Ask::chat(&request).key(key)).await;

            let error = if stream { answer.error_event() } else { answer.error() };
            let message = error["message"].as_str().expect("a message");
            assert_eq!(message.contains("channel secretive"), names, "{message}");
            assert_eq!(message.contains("a provider"), !names, "{message}");
            assert!(message.contains(told) && !answer.text().contains("key-of-secretive"), "{message}");
            assert_eq!(error["code"], code);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_not_to_repeat_what_repeating_cannot_help() {
    let spent = json!({ "error": { "message": "no", "type": "insufficient_quota", "param": null, "code": "insufficient_quota" } });
    for (script, again) in [
        (Script::error(401, "revoked"), Some("false")),
        (Script::hang(), Some("false")),
        (Script::status(429, &spent), Some("false")),
        (Script::error(429, "slow down"), None),
        (Script::error(503, "ill"), None),
    ] {
        let upstream = Upstream::always(script).await;
        let gateway = Gateway::start(config([channel("a", &upstream)])).await;

        let answer = gateway.chat(&hello()).await;

        assert_eq!(answer.header("x-should-retry"), again, "{}", answer.text());
    }
    let upstream = healthy("never").await;
    let poor = with_user(config([channel("a", &upstream)])).with("/api_keys/1/preferences/credits", json!(0));
    let gateway = Gateway::start(poor).await;
    let refused = gateway.ask(&Ask::chat(&hello()).key(USER)).await.expect(429);
    assert_eq!(refused.header("x-should-retry"), Some("false"));
}

#[tokio::test(start_paused = true)]
async fn a_limit_says_which_one_it_is_and_when_to_come_back() {
    let upstream = healthy("ok").await;
    let own = config([channel("a", &upstream)]).with("/api_keys/0/preferences/rate_limit", json!("1/min"));
    let global = config([channel("a", &upstream)]).with("/preferences/rate_limit", json!("1/min"));
    for (config, told) in [
        (own, "Too many requests: 1 per minute of this key; again in 60 s"),
        (global, "Too many requests: 1 per minute of all keys together; again in 60 s"),
    ] {
        let gateway = Gateway::start(config).await;
        gateway.chat(&hello()).await.expect(200);

        assert_eq!(gateway.chat(&hello()).await.expect(429).error()["message"], told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_is_awaited_for_ten_seconds_after_the_start_and_no_longer() {
    let upstream = healthy("ok").await;
    let listing = channel("a", &upstream).with("/model", json!([]));
    let gateway = Gateway::start(config([listing])).await;

    let early = gateway.chat(&hello()).await.expect(503);
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let late = gateway.chat(&hello()).await.expect(404);

    assert_eq!((&early.error()["code"], early.header("retry-after")), (&json!("models_pending"), Some("5")));
    assert_eq!(late.error()["code"], "model_not_found");
}

#[tokio::test(start_paused = true)]
async fn a_judgement_without_a_model_is_one_of_the_usual_model() {
    let upstream = Upstream::always(Script::json(
        &json!({ "id": "j", "model": "x", "results": [{ "flagged": false, "categories": {} }] }),
    ))
    .await;
    let judge = channel("a", &upstream).with("/model", json!([{ "own-judge": JUDGE_MODEL }]));
    let gateway = Gateway::start(config([judge])).await;
    let ask = |body: Value| Ask::post("/v1/moderations", &body);

    gateway.ask(&ask(json!({ "input": "x" }))).await.expect(200);
    gateway.ask(&ask(json!({ "input": "x", "model": null }))).await.expect(200);
    gateway.ask(&ask(json!({ "input": "x", "model": 7 }))).await.expect(400);

    let named: Vec<String> = upstream.requests().iter().map(Seen::model).collect();
    assert_eq!(named, ["own-judge", "own-judge"]);
}
