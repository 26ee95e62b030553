use std::time::Duration;

use tokio::time::{Instant, advance};

use super::*;
use crate::policy::Retries;
use crate::testing::failures::{refused, refused_key, refused_with, timed_out, unsupported};
use crate::testing::handles::ScriptedKeys;
use crate::testing::policy::{channel, target_of};
use crate::testing::ports::{ScriptedAllowances, no_homes};
use crate::testing::reply::whole;
use crate::testing::stage::{aimed_at, ordinal, place_of, tried};
use crate::testing::{Scripted, caller, exchange, mount, read, route, routed, target};

type Attempts = Scripted<Attempt>;

/// Two channels with one key each.
fn two() -> Routed {
    routed(exchange().shared(), route([target("a").build(), target("b").build()]).build())
}

/// One channel with one key.
fn lone() -> Routed {
    routed(exchange().shared(), route([target("a").build()]).build())
}

async fn run_over(attempts: &Attempts, routed: Routed) -> Result<Reply, Failure> {
    mount(FailoverLayer::new(ScriptedAllowances::open(), no_homes()), attempts).ask(routed).await
}

/// Whom the attempts were aimed at, in order.
fn aims(attempts: &Attempts) -> Vec<String> {
    attempts.requests().iter().map(|attempt| aimed_at(attempt).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_503_moves_on_to_the_next_channel() {
    let attempts = Attempts::new().fails(refused(503)).answers(whole("from b"));

    let reply = run_over(&attempts, two()).await.unwrap();

    assert_eq!(read(reply.into_body()).await.text, "from b");
    let asked = attempts.requests();
    assert_eq!(asked.iter().map(aimed_at).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(asked.iter().map(ordinal).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_request_is_returned_at_once() {
    let attempts = Attempts::new().fails(refused(400));

    let failure = run_over(&attempts, two()).await.unwrap_err();

    assert_eq!((failure.label(), attempts.calls()), ("upstream_client_error", 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_s_fault_takes_the_next_key_of_the_same_channel_and_leaves_the_tried_one_out() {
    let attempts = Attempts::new().fails(refused_key(401, 0, true)).answers(whole("ok"));

    run_over(&attempts, two()).await.unwrap();

    let asked = attempts.requests();
    assert_eq!(asked.iter().map(aimed_at).collect::<Vec<_>>(), ["a", "a"]);
    assert_eq!((tried(&asked[0]), tried(&asked[1])), (vec![], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn a_key_s_fault_without_a_spare_key_takes_the_next_channel_with_all_of_its_keys() {
    let attempts = Attempts::new().fails(refused_key(429, 0, false)).answers(whole("ok"));

    run_over(&attempts, two()).await.unwrap();

    let asked = attempts.requests();
    assert_eq!(asked.iter().map(aimed_at).collect::<Vec<_>>(), ["a", "b"]);
    assert!(tried(&asked[1]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_channel_with_many_bad_keys_leaves_one_attempt_for_each_channel_behind_it() {
    let mut attempts = Attempts::new();
    for slot in 0..11 {
        attempts = attempts.fails(refused_key(401, slot, true));
    }
    let attempts = attempts.fails(refused(503)).answers(whole("from c"));
    let three = route([target("a").build(), target("b").build(), target("c").build()]).build();

    run_over(&attempts, routed(exchange().shared(), three)).await.unwrap();

    // Three channels and ten spare attempts: eleven for the first, then one for each other.
    assert_eq!(aims(&attempts), [vec!["a"; 11], vec!["b", "c"]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_lone_channel_with_a_lone_key_gets_one_more_try_after_a_pause() {
    let attempts = Attempts::new().fails(refused(500)).fails(refused(500));
    let began = Instant::now();

    let failure = run_over(&attempts, lone()).await.unwrap_err();

    assert_eq!((failure.label(), attempts.calls()), ("upstream_error", 2));
    let paused = began.elapsed();
    assert!(paused >= Duration::from_millis(150) && paused < Duration::from_millis(451), "{paused:?}");
}

#[tokio::test(start_paused = true)]
async fn no_second_try_follows_a_timeout_a_408_or_a_channel_with_other_keys() {
    let keys = ScriptedKeys::of(&["one", "two"]);
    let rich = target_of(channel("a").keys(keys).build()).build();
    let cases = [
        (timed_out(), lone()),
        (refused(408), lone()),
        (refused(500), routed(exchange().shared(), route([rich]).build())),
    ];
    for (failure, routed) in cases {
        let attempts = Attempts::new().fails(failure);

        run_over(&attempts, routed).await.unwrap_err();

        assert_eq!(attempts.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_retries_the_first_attempt_decides_and_a_number_bounds_them() {
    for (retries, calls) in [(Retries::Never, 1), (Retries::AtMost(1), 2), (Retries::Budget, 3)] {
        let attempts = Attempts::new().fails(refused(503)).fails(refused(503)).fails(refused(503));
        let exchange = exchange().caller(caller().retries(retries).build()).shared();
        let three = route([target("a").build(), target("b").build(), target("c").build()]).build();

        run_over(&attempts, routed(exchange, three)).await.unwrap_err();

        assert_eq!(attempts.calls(), calls, "{retries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_known_before_anybody_was_asked_costs_no_attempt() {
    let attempts = Attempts::new().fails(unsupported()).answers(whole("from b"));
    let exchange = exchange().caller(caller().retries(Retries::Never).build()).shared();
    let two = route([target("a").build(), target("b").build()]).build();

    run_over(&attempts, routed(exchange, two)).await.unwrap();

    assert_eq!(aims(&attempts), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_after_half_of_the_time_of_the_request() {
    for (seconds, calls) in [(49, 2), (51, 1)] {
        let attempts =
            Attempts::new().after(Duration::from_secs(seconds), Err(refused(503))).answers(whole("from b"));
        let [a, b] = ["a", "b"].map(|name| target(name).limits(100, 100, 100).build());

        let _ = run_over(&attempts, routed(exchange().shared(), route([a, b]).build())).await;

        assert_eq!(attempts.calls(), calls, "after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn no_next_key_is_tried_after_half_of_the_time_of_the_request() {
    for (seconds, calls) in [(49, 2), (51, 1)] {
        let attempts = Attempts::new()
            .after(Duration::from_secs(seconds), Err(refused_key(429, 0, true)))
            .answers(whole("from the next key"));
        let slow = target("a").limits(100, 100, 100).build();

        let _ = run_over(&attempts, routed(exchange().shared(), route([slow]).build())).await;

        assert_eq!(attempts.calls(), calls, "after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_starts_however_late_it_is() {
    let attempts = Attempts::new().answers(whole("late"));
    let routed = lone();
    advance(Duration::from_secs(7200)).await;

    assert!(run_over(&attempts, routed).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_most_telling_failure_is_told() {
    let too_long = || refused_with(413, &[], "");
    let cases = [
        (timed_out(), refused(503), "upstream_error"),
        (refused(429), timed_out(), "upstream_rate_limited"),
        (too_long(), refused(429), "upstream_too_long"),
        (refused(503), too_long(), "upstream_too_long"),
    ];
    for (first, second, told) in cases {
        let attempts = Attempts::new().fails(first).fails(second);

        let failure = run_over(&attempts, two()).await.unwrap_err();

        assert_eq!((failure.label(), attempts.calls()), (told, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_rate_limits_the_sooner_recovery_is_told() {
    let limited = |seconds| refused_with(429, &[("retry-after", seconds)], "");
    let attempts = Attempts::new().fails(limited("70")).fails(limited("7"));

    let failure = run_over(&attempts, two()).await.unwrap_err();

    assert_eq!(failure.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test(start_paused = true)]
async fn a_group_s_gate_is_asked_once_and_a_refused_group_is_passed_over() {
    let allowances = ScriptedAllowances::refusing(&[1]);
    let attempts = Attempts::new().fails(refused(503)).answers(whole("ok"));
    let groups = route([])
        .gated(1, target("a").build())
        .gated(1, target("b").build())
        .gated(2, target("c").build())
        .gated(2, target("d").build())
        .build();

    let reply = mount(FailoverLayer::new(allowances.clone(), no_homes()), &attempts)
        .ask(routed(exchange().shared(), groups))
        .await;

    assert!(reply.is_ok());
    assert_eq!(aims(&attempts), ["c", "d"]);
    assert_eq!(allowances.asked.all(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_gate_is_told_when_nobody_else_is_left_and_a_side_call_passes_it() {
    for (aside, outcome) in [(false, "rate_limited"), (true, "ok")] {
        let attempts = Attempts::new().answers(whole("ok"));
        let exchange = if aside { exchange().side_call() } else { exchange() };
        let group = route([]).gated(1, target("a").build()).build();
        let mut failover =
            mount(FailoverLayer::new(ScriptedAllowances::refusing(&[1]), no_homes()), &attempts);

        let result = failover.ask(routed(exchange.shared(), group)).await;

        assert_eq!(result.map_or_else(|failure| failure.label(), |_| "ok"), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn only_callers_who_may_see_the_route_learn_channel_and_attempts() {
    for sees in [true, false] {
        let attempts = Attempts::new().fails(refused(503)).answers(whole("ok"));
        let caller = if sees { caller().sees_route() } else { caller() };
        let exchange = exchange().caller(caller.build()).shared();
        let two = route([target("a").build(), target("b").build()]).build();

        let reply = run_over(&attempts, routed(exchange, two)).await.unwrap();

        let told = |name| reply.headers().get(name).map(|value| value.to_str().unwrap());
        let expected = if sees { (Some("b"), Some("2")) } else { (None, None) };
        assert_eq!((told("x-uni-api-channel"), told("x-uni-api-attempts")), expected);
    }
}

/// Channel `a` in two places, and `b`.
fn two_places() -> Routed {
    let places = ["1", "2"].map(|place| target("a").place(place).build());
    routed(exchange().shared(), route(places.into_iter().chain([target("b").build()])).places().build())
}

/// Which places of which channels the attempts were aimed at, in order.
fn placed_aims(attempts: &Attempts) -> Vec<String> {
    let name = |attempt: &Attempt| format!("{}{}", aimed_at(attempt), place_of(attempt).unwrap_or_default());
    attempts.requests().iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_place_is_followed_by_the_next_place_before_the_next_channel() {
    for status in [404, 429, 503] {
        let attempts = Attempts::new().fails(refused(status)).fails(refused(status)).answers(whole("from b"));

        run_over(&attempts, two_places()).await.unwrap();

        assert_eq!(placed_aims(&attempts), ["a1", "a2", "b"], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_place_would_refuse_too_moves_on_to_the_next_channel() {
    for failure in [unsupported(), refused(413)] {
        let attempts = Attempts::new().fails(failure).answers(whole("from b"));

        run_over(&attempts, two_places()).await.unwrap();

        assert_eq!(placed_aims(&attempts), ["a1", "b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_channel_goes_on_to_its_next_place_without_a_pause() {
    let attempts = Attempts::new().fails(refused(503)).answers(whole("ok"));
    let places = ["1", "2"].map(|place| target("a").place(place).build());
    let began = Instant::now();

    run_over(&attempts, routed(exchange().shared(), route(places).places().build())).await.unwrap();

    assert_eq!(placed_aims(&attempts), ["a1", "a2"]);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_has_served_a_conversation_is_noted_and_who_has_failed_is_not() {
    let home = |channel: &str| crate::conversation::Home { channel: channel.into(), place: None, key: None };
    let homes = no_homes();
    let attempts = Attempts::new().fails(refused(503)).answers(whole("ok")).fails(refused(400));
    let mut failover = mount(FailoverLayer::new(ScriptedAllowances::open(), homes.clone()), &attempts);
    let over = |conversation| {
        let exchange = match conversation {
            Some(name) => exchange().of_conversation(name, None),
            None => exchange(),
        };
        routed(exchange.shared(), route([target("a").build(), target("b").build()]).build())
    };

    failover.ask(over(Some(7))).await.unwrap();
    failover.ask(over(Some(8))).await.unwrap_err();

    assert_eq!(homes.kept.all(), [("m".to_owned(), 7, home("b"))]);
}
