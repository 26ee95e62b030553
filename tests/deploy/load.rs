//! The load test of `deploy/load`, for a moment instead of minutes.

use crate::shell::{command, run};
use crate::{kept, port};

/// Promises: `load-locust`.
#[test]
fn a_user_s_load_test_runs_without_a_failure_and_prints_its_table() {
    run(command(&["tests/deploy/install.sh"]).arg(kept())).well();
    let mut load = command(&["make", "load", "USERS=10", "RATE=10", "DURATION=5"]);
    load.env("BINARY", env!("CARGO_BIN_EXE_uni-api")).env("PORT", port().to_string());

    let printed = run(&mut load).well();

    let row = printed.lines().rfind(|line| line.contains("/v1/chat/completions (stream)")).unwrap();
    let requests: usize = row.split_whitespace().last().unwrap().parse().unwrap();
    assert!(requests >= 10, "{printed}");
    for column in ["50%", "99%", "99.9%", "# reqs"] {
        assert!(printed.contains(column), "{printed}");
    }
}

/// A stream that is refused counts, and the command says so.
#[test]
fn a_load_test_in_which_a_request_fails_fails() {
    run(command(&["tests/deploy/install.sh"]).arg(kept())).well();
    let mut load = command(&["make", "load", "USERS=2", "RATE=2", "DURATION=5"]);
    load.env("BINARY", env!("CARGO_BIN_EXE_uni-api"))
        .env("PORT", port().to_string())
        .env("API", "sk-unknown");

    let ended = run(&mut load);

    assert!(ended.code != 0 && ended.printed.contains("status 401"), "{}", ended.printed);
}
