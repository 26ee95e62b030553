use std::time::Duration;

use serde_json::json;

use super::*;
use crate::failure::Disposition;
use crate::policy::Channel;
use crate::testing::failures::{broken, key_told, refused, refused_with};
use crate::testing::handles::{KeyNote, Keyless, ScriptedKeys};
use crate::testing::policy::{channel, target_of};
use crate::testing::reply::whole;
use crate::testing::stage::{asks_events, attempt_after, is_untouched, key_of};
use crate::testing::{Scripted, attempt, exchange, mount};

type Calls = Scripted<Call>;

fn with_keys(keys: &Arc<ScriptedKeys>) -> Arc<Channel> {
    channel("a").keys(keys.clone()).build()
}

fn attempt_with(keys: &Arc<ScriptedKeys>, tried: &[u32]) -> Attempt {
    attempt_after(exchange().shared(), target_of(with_keys(keys)).build(), tried)
}

fn faulty(hint: Option<u64>, rejected: bool, quota: bool) -> KeyOutcome {
    KeyOutcome::Faulty { hint: hint.map(Duration::from_secs), rejected, quota }
}

#[tokio::test(start_paused = true)]
async fn the_call_carries_the_next_key_that_was_not_tried_and_the_client_s_own_body() {
    let keys = ScriptedKeys::of(&["sk-one", "sk-two"]);
    let calls = Calls::new().answers(whole("ok"));

    mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, &[0])).await.unwrap();

    let call = calls.request();
    assert_eq!(key_of(&call), Some("sk-two"));
    assert!(is_untouched(&call));
    assert_eq!(keys.notes.all(), [KeyNote::Leased(1), KeyNote::Settled(1, KeyOutcome::Served)]);
}

#[tokio::test(start_paused = true)]
async fn a_429_cools_the_key_that_was_used_for_as_long_as_the_upstream_asks() {
    let keys = ScriptedKeys::of(&["sk-one", "sk-two"]);
    let calls = Calls::new().fails(refused_with(429, &[("retry-after", "7")], ""));

    mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, &[])).await.unwrap_err();

    assert_eq!(keys.notes.all()[1], KeyNote::Settled(0, faulty(Some(7), false, false)));
}

#[tokio::test(start_paused = true)]
async fn rejected_keys_and_spent_quotas_are_booked_as_such() {
    let poor = r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#;
    let invalid = r#"{"error":{"message":"API key not valid","status":"INVALID_ARGUMENT"}}"#;
    let cases = [
        (401, "", faulty(None, true, false)),
        (403, "", faulty(None, true, false)),
        (429, poor, faulty(None, false, true)),
        (400, invalid, faulty(None, true, false)),
    ];
    for (status, body, expected) in cases {
        let keys = ScriptedKeys::of(&["sk-one"]);
        let calls = Calls::new().fails(refused_with(status, &[], body));

        mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, &[])).await.unwrap_err();

        assert_eq!(keys.notes.all()[1], KeyNote::Settled(0, expected), "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_failure_tells_which_key_it_was_where_another_is_left() {
    for (tried, told) in [(&[][..], Some(0)), (&[0], None)] {
        let keys = ScriptedKeys::of(&["sk-one", "sk-two"]);
        let calls = Calls::new().fails(refused(401));

        let failure = mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, tried)).await.unwrap_err();

        assert_eq!(key_told(&failure), Some(told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_the_key_s_leaves_the_key_alone() {
    for failure in [refused(503), refused(400), broken()] {
        let keys = ScriptedKeys::of(&["sk-one"]);
        let label = failure.label();
        let calls = Calls::new().fails(failure);

        mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, &[])).await.unwrap_err();

        assert_eq!(keys.notes.all()[1], KeyNote::Settled(0, KeyOutcome::Blameless), "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_unsettled_blames_nobody_and_is_given_back() {
    let keys = ScriptedKeys::of(&["sk-one"]);
    let calls = Calls::new().hangs();

    drop(mount(LeaseKeyLayer, &calls).start(attempt_with(&keys, &[])).await);

    assert_eq!(keys.notes.all(), [KeyNote::Leased(0), KeyNote::Released(0)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_usable_key_nobody_is_asked_and_the_first_return_is_told() {
    let keys = ScriptedKeys::cooling(Duration::from_secs(9));
    let calls = Calls::new();

    let failure = mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, &[])).await.unwrap_err();

    assert_eq!((failure.label(), calls.calls()), ("keys_exhausted", 0));
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(9)));
}

#[tokio::test(start_paused = true)]
async fn the_input_is_estimated_only_where_a_limit_asks_for_it() {
    let long = || exchange().saying(&"word ".repeat(100)).shared();
    for (limit, outcome) in [(Some(10), "too_long"), (None, "ok")] {
        let calls = Calls::new().answers(whole("ok"));
        let target = target_of(channel("a").keys(ScriptedKeys::short(10)).build());
        let target = limit.into_iter().fold(target, |target, most| target.tokens_per_request(most)).build();

        let result = mount(LeaseKeyLayer, &calls).ask(attempt(long(), target)).await;

        assert_eq!(result.map_or_else(|failure| failure.label(), |_| "ok"), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_without_keys_is_called_without_one_and_has_no_spare() {
    let calls = Calls::new().fails(refused(401));
    let target = target_of(channel("a").keys(Arc::new(Keyless)).build()).build();

    let failure = mount(LeaseKeyLayer, &calls).ask(attempt(exchange().shared(), target)).await.unwrap_err();

    assert_eq!(key_of(&calls.request()), None);
    assert_eq!(key_told(&failure), Some(None));
}

#[tokio::test(start_paused = true)]
async fn a_forced_mode_comes_before_the_client_s() {
    for (forced, streams, asked) in
        [(None, true, true), (Some(false), true, false), (Some(true), false, true)]
    {
        let calls = Calls::new().answers(whole("ok"));
        let keys = ScriptedKeys::of(&["sk-one"]);
        let target = target_of(with_keys(&keys));
        let target = forced.into_iter().fold(target, |target, stream| target.forced_stream(stream)).build();
        let exchange = exchange().fields(json!({}));
        let exchange = if streams { exchange.stream() } else { exchange };

        mount(LeaseKeyLayer, &calls).ask(attempt(exchange.shared(), target)).await.unwrap();

        assert_eq!(asks_events(&calls.request()), asked, "{forced:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_gets_no_token_rests_and_the_next_one_is_asked_if_it_was_refused_itself() {
    let without = |of_account| Failure::NoToken { why: "no".to_owned(), of_account, spare_of: None };
    for (of_account, outcome, disposition) in [
        (true, faulty(None, true, false), Disposition::NextKey { without: 0 }),
        (false, KeyOutcome::Blameless, Disposition::NextChannel),
    ] {
        let keys = ScriptedKeys::of(&["one", "two"]);
        let calls = Calls::new().fails(without(of_account));

        let failure = mount(LeaseKeyLayer, &calls).ask(attempt_with(&keys, &[])).await.unwrap_err();

        assert_eq!(keys.notes.all()[1], KeyNote::Settled(0, outcome), "{of_account}");
        assert_eq!(failure.disposition(), disposition, "{of_account}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_of_a_place_leaves_the_key_as_it_is_and_the_next_one_is_asked_there() {
    for (status, outcome) in [(429, KeyOutcome::Blameless), (401, faulty(None, true, false))] {
        let keys = ScriptedKeys::of(&["sk-one", "sk-two"]);
        let calls = Calls::new().fails(refused(status));
        let target = target_of(with_keys(&keys)).place("east").build();

        let failure =
            mount(LeaseKeyLayer, &calls).ask(attempt(exchange().shared(), target)).await.unwrap_err();

        assert_eq!(keys.notes.all()[1], KeyNote::Settled(0, outcome), "{status}");
        assert_eq!(key_told(&failure), Some(Some(0)), "{status}");
    }
}
