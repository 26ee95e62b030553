use layers::failure::Exceeded;

use super::*;
use crate::config::Settings;
use crate::config::testing::settings;
use crate::snapshot::{Discovered, compile};
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
        Self::of(settings(text))
    }

    fn of(settings: Settings) -> Self {
        let runtime = Runtime::new(None);
        let snapshot = compile(settings.into(), &Discovered::new(), &runtime, &Metrics::new());
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
        let question = Question {
            caller: &caller,
            model: "m",
            endpoint: &layers::endpoint::CHAT_COMPLETIONS,
            body,
            most_body: 100,
        };
        let counts = Counts {
            windows: self.runtime.windows(),
            accounts: self.runtime.accounts(),
            affinity: self.runtime.affinity(),
        };
        explain(&self.snapshot, counts, question, Instant::now())
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

const PAID: &str = "
providers:
  - {provider: east, base_url: 'https://east.test/v1', api: k, model: [m]}
  - {provider: last, base_url: 'https://last.test/v1', api: k, model: [m]}
api_keys:
  - {api: sk-admin, role: admin}
  - {api: sk-inner, role: inner, model: [east/*], preferences: {credits: 2}}
  - {api: sk-user, role: user, model: [sk-inner/*, last/*], preferences: {credits: 0.5, rate_limit: 5/min}}
  - {api: sk-only, role: only, model: [sk-inner/*]}
";

/// US dollars.
fn usd(amount: f64) -> i128 {
    (amount * 1e12) as i128
}

#[tokio::test(start_paused = true)]
async fn a_balance_is_told_in_dollars_and_refuses_when_it_is_used_up() {
    let world = World::new(PAID);
    let user = world.caller("user");
    let accounts = world.runtime.accounts();
    accounts.settle(&user.fingerprint, 0, usd(0.2));
    accounts.hold(&user.fingerprint, &user.credits.unwrap(), usd(0.05));

    let explanation = world.explain("user", None);

    let Balance { whose, credits, spent, reserved, left, admits } = &explanation.balances[0];
    assert_eq!([whose, credits, spent, reserved, left], ["key", "0.5", "0.2", "0.05", "0.25"]);
    assert!(*admits && explanation.verdict.channel.as_deref() == Some("east"));
    assert!(
        table::render(&explanation).contains("credits    key: $0.5, $0.2 spent, $0.05 held, $0.25 left\n")
    );

    accounts.settle(&user.fingerprint, usd(0.05), usd(0.4));
    let explanation = world.explain("user", None);
    assert_eq!((explanation.verdict.status, explanation.balances[0].left.as_str()), (Some(429), "0"));
    assert!(explanation.verdict.reason.starts_with("the key's credits of $0.5 are used up: $0.6 spent"));
}

#[tokio::test(start_paused = true)]
async fn a_group_over_its_balance_is_passed_over_and_refuses_where_it_is_all_there_is() {
    let world = World::new(PAID);
    world.runtime.accounts().settle(&world.caller("inner").fingerprint, 0, usd(2.0));

    let explanation = world.explain("user", None);

    assert_eq!(standings(&explanation), [("east", "gate_refused"), ("last", "chosen")]);
    let whose: Vec<&str> = explanation.balances.iter().map(|balance| &*balance.whose).collect();
    assert_eq!(whose, ["key", "inner"]);
    assert!(explanation.candidates[0].reason.contains("inner's credits of $2 are used up"));
    let explanation = world.explain("only", None);
    assert_eq!(explanation.verdict.status, Some(429));
    assert!(explanation.verdict.reason.contains("inner's credits"), "{}", explanation.verdict.reason);
}

const PICKY: &str = "
providers:
  - {provider: small, base_url: 'https://small.test/v1', api: k, model: [m], max_request_body_bytes: 20}
  - {provider: quiet, base_url: 'https://quiet.test/v1', api: k, model: [m], exclude_endpoints: /v1/chat/completions}
  - {provider: wide, base_url: 'https://wide.test/v1', api: k, model: [m], max_request_body_bytes: 50}
api_keys: [{api: sk-user, role: user}]
preferences:
  timeout_policy: {rules: [{match: {stream: true, role: user}, timeout: {idle: 7, total: 70}}]}
";

#[test]
fn channels_that_do_not_take_the_request_are_shown_and_refuse_it_when_they_are_all() {
    let world = World::new(PICKY);
    let shown = |body: Option<&[u8]>| {
        let explanation = world.explain("user", body);
        let words: Vec<String> = standings(&explanation).iter().map(|(a, b)| format!("{a} {b}")).collect();
        (words.join(", "), explanation.verdict.status)
    };

    assert_eq!(shown(None), ("small chosen, wide standby, quiet unfit".to_owned(), None));
    assert_eq!(shown(Some(&[b' '; 21])), ("wide chosen, small unfit, quiet unfit".to_owned(), None));
    assert_eq!(shown(Some(&[b' '; 51])), ("small unfit, quiet unfit, wide unfit".to_owned(), Some(413)));
    let reasons = world.explain("user", Some(&[b' '; 51])).candidates.into_iter().map(|line| line.reason);
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        [
            "takes bodies of at most 20 bytes, this one has 51",
            "does not serve /v1/chat/completions",
            "takes bodies of at most 50 bytes, this one has 51"
        ]
    );
}

#[test]
fn times_that_depend_on_the_request_are_told_when_it_is_given() {
    let world = World::new(PICKY);
    let times = |body: Option<&[u8]>| {
        let candidate = world.explain("user", body).candidates.remove(0);
        (candidate.timeout_seconds, candidate.total_timeout_seconds)
    };

    assert_eq!(times(None), (100.0, 3600.0));
    assert_eq!(times(Some(b"{\"stream\":false}")), (100.0, 3600.0));
    assert_eq!(times(Some(b"{\"stream\":true}")), (7.0, 70.0));
}

#[test]
fn a_key_whose_texts_nobody_can_judge_is_refused() {
    let moderated = |model: &str| {
        let world = World::new(&format!(
            "
providers: [{{provider: a, base_url: 'https://a.test/v1', api: k, model: [m, {model}]}}]
api_keys: [{{api: sk-user, role: user, preferences: {{ENABLE_MODERATION: true}}}}]
"
        ));
        let explanation = world.explain("user", None);
        assert!(explanation.moderated);
        explanation.verdict
    };

    assert_eq!(moderated("omni-moderation-latest").channel.as_deref(), Some("a"));
    let refused = moderated("other");
    assert_eq!(refused.status, Some(404));
    assert!(refused.reason.contains("omni-moderation-latest"), "{}", refused.reason);
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
    assert_eq!(per_million(1_250_000), "1.25");
    assert_eq!(per_million(10_000_000), "10");
    assert_eq!(per_million(75), "0.000075");
    assert_eq!(dollars(0), "0");
    assert_eq!(dollars(1), "0.000000000001");
    assert_eq!(dollars(-2_500_000_000_000), "-2.5");
}

#[test]
fn times_are_told_in_a_unit_that_fits() {
    for (seconds, text) in
        [(0.25, "0.2 s"), (1.0, "1 s"), (60.0, "1 min"), (90.0, "90 s"), (300.0, "5 min"), (86_400.0, "1 d")]
    {
        assert_eq!(span(seconds), text, "{seconds}");
    }
}

const REGIONS: &str = "
providers:
  - {provider: wide, engine: aws, api: k, region: [east, west], model: [m]}
  - {provider: plain, base_url: 'https://plain.test/v1', api: k, region: [east, west], model: [m]}
api_keys: [{api: sk-user, role: user}]
";

#[tokio::test(start_paused = true)]
async fn a_channel_whose_engine_has_regions_is_shown_in_each_of_them() {
    let world = World::of(settings(REGIONS));
    let (wide, east) = (layers::policy::ChannelName::from("wide"), Arc::from("east"));
    world.runtime.health_in(&wide, "m", Some(&east)).settle(true, Duration::from_secs(60), Instant::now());

    let explanation = world.explain("user", None);

    let places: Vec<_> = explanation.candidates.iter().map(Candidate::name).collect();
    assert_eq!(places, ["wide in west", "wide in east", "plain"]);
    assert_eq!(explanation.candidates[1].standing, "cooling");
    assert!(table::render(&explanation).contains("\n2 wide in east cools for 1 min"));
    assert!(world.snapshot.has_place(&wide, "m", Some("west")));
    assert!(
        !world.snapshot.has_place(&wide, "m", None) && !world.snapshot.has_place(&wide, "m", Some("far"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_overview_says_of_every_model_where_it_goes_and_what_rests() {
    let world = World::new(
        "
providers:
  - {provider: a, base_url: 'https://a.test/v1', api: [k, l], model: [m, n]}
  - {provider: b, base_url: 'https://b.test/v1', api: k, model: [m]}
api_keys: [{api: sk-user, role: user}]
",
    );
    let a = layers::policy::ChannelName::from("a");
    world.runtime.health(&a, "m").settle(true, Duration::from_secs(240), Instant::now());
    let counts = Counts {
        windows: world.runtime.windows(),
        accounts: world.runtime.accounts(),
        affinity: world.runtime.affinity(),
    };

    let overview = overview(&world.snapshot, counts, &world.caller("user"), 100, Instant::now());

    let told: Vec<_> = overview.render().lines().map(str::to_owned).collect();
    assert_eq!(
        told,
        [
            "user may use 2 models.",
            "",
            "MODEL  GOES TO  THEN  RESTS",
            "m      b        -     a for 4 min",
            "n      a        -     -",
        ]
    );
    let again: Overview = serde_json::from_str(&serde_json::to_string(&overview).unwrap()).unwrap();
    assert_eq!((again.models.len(), again.more), (2, 0));
    assert_eq!(again.models[0].channels[0].channel, "b");
}

#[test]
fn a_candidate_shows_engine_and_address_and_no_credential_of_it() {
    let text = "
providers:
  - {provider: a, base_url: 'https://user:hidden@a.test:8443/v1/chat?key=hidden', api: k, model: [m]}
  - {provider: b, base_url: 'https://api.anthropic.com/v1/messages', api: k, model: [m]}
api_keys: [{api: sk-user, role: user}]
";
    let explanation = World::new(text).explain("user", None);

    let shown: Vec<_> = explanation
        .candidates
        .iter()
        .map(|candidate| (candidate.engine.as_str(), candidate.url.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            ("gpt", "https://a.test:8443/v1/chat/chat/completions"),
            ("claude", "https://api.anthropic.com/v1/messages")
        ]
    );
    let table = table::render(&explanation);
    assert!(table.contains("asked at https://a.test:8443/v1/chat/chat/completions"), "{table}");
    assert!(!table.contains("hidden") && !serde_json::to_string(&explanation).unwrap().contains("hidden"));
}

#[tokio::test(start_paused = true)]
async fn keys_are_listed_by_what_stands_for_them() {
    let text = "
providers:
  - {provider: a, base_url: 'https://a.test/v1', api: [sk-0123456789-abcd, short], model: [m]}
  - {provider: b, base_url: 'https://b.test/v1', api: sk-9876543210-wxyz, model: [m]}
api_keys:
  - {api: sk-client-0123456789, role: someone}
  - {api: sk-2}
";
    let settings = settings(text);
    let print = |key: &str| crate::config::settings::SecretText::from(key).fingerprint().as_str().to_owned();

    let listed = names::render(&settings, None);

    for line in [
        format!("1           someone  {}  6789", print("sk-client-0123456789")),
        format!("2           -        {}  -", print("sk-2")),
        format!("a        1    {}  abcd", print("sk-0123456789-abcd")),
        format!("a        2    {}  -", print("short")),
        format!("b        1    {}  wxyz", print("sk-9876543210-wxyz")),
    ] {
        assert!(listed.lines().any(|found| found == line), "{line} is missing:\n{listed}");
    }
    assert!(!listed.contains("0123") && !listed.contains("short"), "{listed}");

    let resting =
        OneKey { fingerprint: print("short"), standing: "over_limit".to_owned(), seconds: Some(60.0) };
    let world = World::new(text);
    let counts = Counts {
        windows: world.runtime.windows(),
        accounts: world.runtime.accounts(),
        affinity: world.runtime.affinity(),
    };
    let mut overview = overview(&world.snapshot, counts, &world.caller("someone"), 100, Instant::now());
    overview.models[0].channels[0].resting.push(resting);
    let listed = names::render(&settings, Some(&overview));
    assert!(listed.contains(&format!("{}  -        over limit for 1 min (m)", print("short"))), "{listed}");
    assert!(listed.contains(&format!("{}  wxyz     usable", print("sk-9876543210-wxyz"))), "{listed}");
}
