use super::*;
use crate::testing::exchange;
use crate::testing::reply::counted;

fn ledger() -> Ledger {
    exchange().build().ledger
}

fn attempt(channel: &str) -> AttemptRecord {
    let (channel, side_call, key) = (ChannelName::from(channel), None, None);
    AttemptRecord {
        channel,
        place: None,
        side_call,
        key,
        began: Duration::ZERO,
        waited: Duration::ZERO,
        outcome: "ok",
        elapsed: Duration::ZERO,
        fault: None,
        traced: None,
    }
}

#[tokio::test(start_paused = true)]
async fn handles_share_one_record() {
    let ledger = ledger();

    ledger.clone().entry().flagged = true;

    assert!(ledger.entry().flagged);
}

#[tokio::test(start_paused = true)]
async fn a_side_call_leaves_its_attempts_and_usage_under_its_own_model() {
    let (ledger, call) = (ledger(), exchange().model("judge").side_call().build().ledger);
    ledger.entry().attempts.push(attempt("first"));
    call.entry().attempts.push(attempt("judge's"));
    call.entry().usage = counted(3, 5).usage();

    let call = call.entry().take();
    ledger.entry().absorb(call);

    let entry = ledger.entry();
    let names: Vec<_> = entry
        .attempts
        .iter()
        .map(|attempt| (attempt.channel.as_str(), attempt.side_call.as_deref()))
        .collect();
    assert_eq!(names, [("first", None), ("judge's", Some("judge"))]);
    assert_eq!((&*entry.side_calls[0].0, entry.side_calls[0].1.input_total), ("judge", 3));
    assert!(entry.usage.is_none(), "it is not the request's own");
}

#[tokio::test(start_paused = true)]
async fn calls_that_waited_at_once_count_no_longer_than_the_clock() {
    let ledger = ledger();
    tokio::time::advance(Duration::from_secs(10)).await;

    for _ in 0..3 {
        let call = exchange().side_call().build().ledger;
        call.entry().waited = Duration::from_secs(8);
        let call = call.entry().take();
        ledger.entry().absorb(call);
    }

    assert_eq!(ledger.entry().waited, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_its_outcome_and_leaving_is_one_only_without_it() {
    let ledger = ledger();
    assert_eq!(ledger.entry().outcome(), "ok");

    ledger.entry().abandoned = true;
    assert_eq!(ledger.entry().outcome(), "client_gone");
    ledger.entry().failure = Some("timeout");

    assert_eq!(ledger.entry().outcome(), "timeout");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_taken_holds_no_lists_any_more() {
    let ledger = ledger();
    ledger.entry().attempts.push(attempt("a"));

    let taken = ledger.entry().take();

    assert_eq!((taken.attempts.len(), ledger.entry().attempts.len()), (1, 0));
    assert_eq!(taken.id, ledger.entry().id);
}
