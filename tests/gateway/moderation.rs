//! What is judged before a chat provider sees it, by whom, and that nothing passes unjudged.

use serde_json::json;

use crate::harness::subjects::moderation::*;
use crate::harness::*;

/// Promises: `mod-model-missing`.
#[tokio::test]
async fn a_key_that_cannot_use_the_model_is_warned_of_at_the_start_and_by_check() {
    let chat = healthy("hi").await;
    let config = moderated([channel("chat", &chat)]);

    let (code, told) = run(&config, &["check"]).await;
    let gateway = Gateway::start(&config).await;

    assert_eq!(code, 0, "{told}");
    for text in [told, gateway.printed()] {
        assert!(text.contains("api_keys[0].preferences.ENABLE_MODERATION"), "{text}");
        assert!(text.contains(JUDGE_MODEL), "{text}");
    }
}

/// Promises: `mod-model`.
#[tokio::test]
async fn the_next_channel_judges_when_the_first_one_fails() {
    let failing: [(&str, Script); 6] = [
        ("an error", Script::error(500, "down")),
        ("a refused key", Script::error(401, "no such key")),
        ("no verdict", Script::json(&json!({ "results": [] }))),
        ("an error in a success", Script::json(&json!({ "error": { "message": "overloaded" } }))),
        ("a page", Script::body(200, "text/html", "<html>down</html>")),
        ("a broken connection", Script::reset()),
    ];
    for (what, script) in failing {
        let (ill, good, chat) = (Upstream::always(script).await, judge().await, healthy("hi").await);
        let channels = [channel("chat", &chat), judging("ill", &ill), judging("good", &good)];
        let gateway = Gateway::start(moderated(channels)).await;

        let answer = gateway.chat(&hello()).await;

        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        assert!(ill.count() >= 1 && good.count() == 1, "{what}");
        assert_eq!(gateway.chat(&says("bad")).await.status, 400, "{what}");
        assert_eq!(chat.count(), 1, "{what}");
    }
}

#[tokio::test]
async fn the_record_of_a_request_holds_the_attempts_at_judging_it() {
    let (ill, good, chat) =
        (Upstream::always(Script::error(500, "down")).await, judge().await, healthy("hi").await);
    let channels = [channel("chat", &chat), judging("ill", &ill), judging("good", &good)];
    let gateway = Setup::new(moderated(channels)).with_database().start().await;

    gateway.chat(&hello()).await.expect(200);
    gateway.chat(&says("bad")).await.expect(400);

    let told: Vec<_> = gateway
        .channel_rows(4)
        .await
        .into_iter()
        .map(|row| (row.provider.unwrap(), row.model.unwrap(), row.success))
        .collect();
    let row = |channel: &str, model: &str, success| (channel.to_owned(), model.to_owned(), success);
    let judged = [row("ill", JUDGE_MODEL, false), row("good", JUDGE_MODEL, true)];
    let expected = [&judged[..], &[row("chat", "m", true), row("good", JUDGE_MODEL, true)]].concat();
    assert_eq!(told, expected);

    use sqlx::Row as _;
    let sql = "SELECT * FROM request_stats WHERE model IS NOT NULL ORDER BY id";
    let requests: Vec<(Option<String>, String, bool, i64, String)> = gateway
        .rows(sql, 2, |row| {
            (
                row.get("provider"),
                row.get("model"),
                row.get("is_flagged"),
                row.get("attempts"),
                row.get("outcome"),
            )
        })
        .await;
    assert_eq!(
        requests,
        [
            (Some("chat".to_owned()), "m".to_owned(), false, 1, "ok".to_owned()),
            (None, "m".to_owned(), true, 0, "flagged".to_owned()),
        ]
    );
}

#[tokio::test]
async fn what_judging_costs_is_on_the_request() {
    let judge = Upstream::always(Script::json(&json!({
        "results": [{ "flagged": false }], "usage": { "prompt_tokens": 1000, "total_tokens": 1000 },
    })))
    .await;
    let chat = healthy("hi").await;
    let config = moderated([channel("chat", &chat), judging("judge", &judge)])
        .with("/preferences/model_price", json!({ JUDGE_MODEL: "5,5", "m": "1,1" }));
    let gateway = Setup::new(config).with_database().start().await;

    gateway.chat(&hello()).await.expect(200);

    use sqlx::Row as _;
    let sql = "SELECT cost_picodollars FROM request_stats WHERE model IS NOT NULL";
    let cost: Vec<i64> = gateway.rows(sql, 1, |row| row.get("cost_picodollars")).await;
    // 1000 tokens at 5 dollars a million, and the 18 of the answer at one.
    assert_eq!(cost, [1000 * 5_000_000 + 18 * 1_000_000]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_question() {
    let (judge, chat) = (Upstream::always(Script::hang()).await, healthy("hi").await);
    let channels = [channel("chat", &chat), judging("judge", &judge)];
    let gateway = Setup::new(moderated(channels)).with_database().start().await;

    let mut wire = gateway.client().connect().await;
    let ask = Ask::chat(&hello()).header("content-length", &hello().to_string().len().to_string());
    wire.send_head(&ask).await;
    wire.write(&ask.body).await.unwrap();
    judge.wait_for(1).await;
    drop(wire);
    judge.wait_for_cancelled(1).await;

    assert_eq!(chat.count(), 0);
    let row = &gateway.channel_rows(1).await[0];
    assert_eq!((row.provider.as_deref(), row.model.as_deref()), (Some("judge"), Some(JUDGE_MODEL)));
}

#[tokio::test]
async fn neither_keys_nor_texts_are_left_behind() {
    let judge = Upstream::start(|seen| match seen.ordinal {
        0 => verdict(seen),
        _ => Script::error(400, &format!("you sent the key {}", seen.key())),
    })
    .await;
    let chat = healthy("hi").await;
    let channels = [channel("chat", &chat), judging("judge", &judge)];
    let gateway = Setup::new(moderated(channels)).with_database().start().await;

    let flagged = gateway.chat(&says("a bad text nobody should store")).await.expect(400);
    let failed = gateway.chat(&says("a good text nobody should store")).await.expect(502);

    gateway.request_rows(2).await;
    let secrets = secrets::Secrets::new(["nobody should store", "key-of-judge", CLIENT]);
    secrets.absent_from("the refusal", flagged.everything().as_bytes());
    secrets.absent_from("the failure", failed.everything().as_bytes());
    secrets.absent_from_run(&gateway).await;
}
