//! Texts that mean failure although the status says success.

use serde_json::json;

use super::bench::*;

const TRIGGERS: [&str; 2] =
    ["The bot's usage is covered by the developer", "process this request due to overload or policy"];

async fn gateway(first: &Upstream, second: &Upstream) -> Gateway {
    let config = config([channel("a", first), channel("b", second)]);
    Gateway::start(config.with("/preferences/error_triggers", json!(TRIGGERS))).await
}

/// Promises: `trig-match`.
#[tokio::test(start_paused = true)]
async fn a_whole_answer_with_a_trigger_is_a_failure_of_the_channel() {
    for trigger in TRIGGERS {
        let first = Upstream::always(Script::json(&said(&format!("Sorry. {trigger}!")))).await;
        let second = healthy("fine").await;
        let gateway = gateway(&first, &second).await;

        for _ in 0..2 {
            let answer = gateway.chat(&hello()).await.expect(200);
            assert_eq!((answer.channel(), answer.content().as_str()), ("b", "fine"));
        }
        assert_eq!(first.count(), 1, "the channel is left alone afterwards");
    }
}

/// Promises: `trig-stream`.
#[tokio::test(start_paused = true)]
async fn a_trigger_spread_over_five_deltas_is_found() {
    let parts = ["The bot's us", "age is cov", "ered", " by the deve", "loper"];
    let first = Upstream::always(Script::events(stream_of(&parts))).await;
    let second = healthy("fine").await;
    let gateway = gateway(&first, &second).await;

    for _ in 0..2 {
        let answer = gateway.chat(&hello_stream()).await.expect(200);
        assert_eq!(answer.text(), stream_of(&["fine"]).concat());
    }
    assert_eq!(first.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_only_begins_like_a_trigger_is_passed_on_whole() {
    let parts = ["The bot's us", "age is cov", "ered", " by a blanket", ".", " The bot's"];
    let first = Upstream::always(Script::events(stream_of(&parts))).await;
    let second = healthy("other").await;
    let gateway = gateway(&first, &second).await;

    let answer = gateway.chat(&hello_stream()).await.expect(200);

    assert_eq!(answer.text(), stream_of(&parts).concat());
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_is_escaped_or_not_latin_is_found() {
    let trigger = "配额已用尽";
    let escaped: String = trigger.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let whole = said("TEXT").to_string().replace("TEXT", &escaped);
    let events = stream_of(&["TEXT"]).concat().replace("TEXT", &escaped);
    let first = Upstream::start(move |seen| {
        if seen.streams() {
            Script::events([events.clone()])
        } else {
            Script::body(200, "application/json", whole.clone())
        }
    })
    .await;
    let second = healthy("fine").await;
    let config = config([channel("a", &first), channel("b", &second)])
        .with("/preferences/error_triggers", json!([trigger]))
        .with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;

    for request in [hello(), hello_stream()] {
        assert_eq!(gateway.chat(&request).await.expect(200).channel(), "b");
    }
    assert_eq!(first.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_trigger_in_a_converted_answer_is_found() {
    let trigger = said_by_claude("process this request due to overload or policy");
    let first = Upstream::always(Script::json(&trigger)).await;
    let second = healthy("fine").await;
    let config = config([anthropic_channel("a", &first), channel("b", &second)])
        .with("/preferences/error_triggers", json!(TRIGGERS));
    let gateway = Gateway::start(config).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "fine");
}

/// Promises: `trig-default`.
#[tokio::test(start_paused = true)]
async fn without_a_setting_any_text_passes() {
    let upstream = Upstream::start(|seen| saying(TRIGGERS[0])(seen)).await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), TRIGGERS[0]);
    assert_eq!(gateway.chat(&hello_stream()).await.expect(200).streamed(), TRIGGERS[0]);
}

#[tokio::test(start_paused = true)]
async fn when_every_channel_triggers_the_client_gets_502() {
    let upstream = Upstream::start(|seen| saying(TRIGGERS[0])(seen)).await;
    let gateway = gateway(&upstream, &upstream).await;

    gateway.chat(&hello()).await.expect(502).error();
    gateway.chat(&hello_stream()).await.expect(502).error();
}
