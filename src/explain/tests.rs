use layers::failure::Exceeded;

use super::*;
use crate::config::{Discovered, compile, testing::settings};
use crate::state::Runtime;
use crate::telemetry::metrics::Metrics;

const GROUPED: &str = "
providers:
  - {provider: east, base_url: 'https://east.test/v1', api: k, model: [m]}
  - {provider: last, base_url: 'https://last.test/v1', api: k, model: [m]}
api_keys:
  - {api: sk-admin, role: admin}
  - {api: sk-inner, role: inner, model: [east/*], preferences: {rate_limit: 1/min}}
  - {api: sk-user, role: user, model: [sk-inner/*, last/*], preferences: {rate_limit: 5/min}}
";

struct World {
    runtime: Runtime,
    snapshot: Snapshot,
}

impl World {
    fn new(text: &str) -> Self {
        let runtime = Runtime::new(None);
        let snapshot = compile(settings(text).into(), &Discovered::new(), &runtime, &Metrics::new());
        Self { runtime, snapshot }
    }

    fn caller(&self, name: &str) -> Arc<Caller> {
        self.snapshot.callers_called(name).remove(0)
    }

    /// Counts one request of this key.
    fn count(&self, name: &str) -> Option<Exceeded> {
        let caller = self.caller(name);
        let limits = self.snapshot.limits(&caller, "m");
        self.runtime.windows().check(&caller.fingerprint, &limits, Instant::now())
    }

    fn explain(&self, name: &str, body: Option<&[u8]>) -> Explanation {
        let caller = self.caller(name);
        let question = Question { caller: &caller, model: "m", body, most_body: 100 };
        explain(&self.snapshot, &**self.runtime.windows(), question, Instant::now())
    }
}

fn standings<'a>(explanation: &'a Explanation) -> Vec<(&'a str, &'a str)> {
    let pair = |candidate: &'a Candidate| (candidate.channel.as_str(), candidate.standing.as_str());
    explanation.candidates.iter().map(pair).collect()
}

#[tokio::test(start_paused = true)]
async fn a_group_over_its_own_limit_is_passed_over() {
    let world = World::new(GROUPED);
    assert_eq!(standings(&world.explain("user", None)), [("east", "chosen"), ("last", "standby")]);

    assert!(world.count("inner").is_none());

    let explanation = world.explain("user", None);
    assert_eq!(standings(&explanation), [("east", "gate_refused"), ("last", "chosen")]);
    assert_eq!(explanation.verdict.channel.as_deref(), Some("last"));
    let whose: Vec<&str> = explanation.limits.iter().map(|limit| &*limit.whose).collect();
    assert_eq!(whose, ["key", "inner"]);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(standings(&world.explain("user", None))[0], ("east", "chosen"));
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_whatever_the_channels_say() {
    let explanation = World::new(GROUPED).explain("user", Some(&[b' '; 101]));

    assert_eq!(explanation.verdict.status, Some(413));
}

#[tokio::test(start_paused = true)]
async fn keys_have_several_names_and_roles_may_be_shared() {
    let world = World::new(&GROUPED.replace("role: inner", "role: user"));
    let fingerprint = world.caller("sk-user").fingerprint.as_str().to_owned();

    assert_eq!(world.snapshot.callers_called(&fingerprint).len(), 1);
    assert_eq!(world.snapshot.callers_called("user").len(), 2);
    assert!(world.snapshot.callers_called("sk-use").is_empty());
}

#[test]
fn prices_are_told_in_dollars_to_the_last_digit() {
    assert_eq!(dollars(1_250_000), "1.25");
    assert_eq!(dollars(10_000_000), "10");
    assert_eq!(dollars(0), "0");
    assert_eq!(dollars(75), "0.000075");
}

#[test]
fn times_are_told_in_a_unit_that_fits() {
    for (seconds, text) in
        [(0.25, "0.2 s"), (1.0, "1 s"), (60.0, "1 min"), (90.0, "90 s"), (300.0, "5 min"), (86_400.0, "1 d")]
    {
        assert_eq!(span(seconds), text, "{seconds}");
    }
}
