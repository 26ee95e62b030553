use layers::testing::exchange;
use layers::testing::stage::ExchangeBuilder;

use super::*;
use crate::config::testing::settings;
use crate::snapshot::{CurrentSnapshot, Discovered, Snapshot, compile};
use crate::telemetry::metrics::Metrics;

/// Two requests for the gateway, one a minute for each key; `payer` has a dollar, `poor` has none.
const CONFIGURATION: &str = "
providers:
  - {provider: a, base_url: 'https://a.test/v1/chat/completions', api: k, model: [m]}
api_keys:
  - {api: sk-plain, role: plain, preferences: {rate_limit: 1/min}}
  - {api: sk-payer, role: payer, preferences: {rate_limit: 1/min, credits: 1}}
  - {api: sk-poor, role: poor, preferences: {rate_limit: 1/min, credits: 0}}
preferences: {rate_limit: 2/min}
";

struct World {
    runtime: Runtime,
    snapshot: Arc<Snapshot>,
    allowance: Allowance,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::new(None);
        let settings = settings(CONFIGURATION).into();
        let snapshot = Arc::new(compile(settings, &Discovered::new(), &runtime, &Metrics::new()));
        let prices = Arc::new(CurrentSnapshot::new(snapshot.clone()));
        let allowance = Allowance::new(&runtime, prices);
        Self { runtime, snapshot, allowance }
    }

    fn caller(&self, name: &str) -> Arc<Caller> {
        self.snapshot.callers_called(name).remove(0)
    }

    /// A request of this key.
    fn request(&self, name: &str) -> ExchangeBuilder {
        exchange().caller(self.caller(name)).catalog(self.snapshot.clone())
    }

    /// A request of this key that is too large to be measured at once.
    fn large_request(&self, name: &str) -> Exchange {
        self.request(name).saying(&"word ".repeat(INLINE / 4)).build()
    }

    /// How a plain request of this key is answered.
    fn ask(&self, name: &str) -> &'static str {
        word(self.allowance.admit(&self.request(name).build()))
    }

    /// How many requests count in the windows of the gateway and of this key.
    fn used(&self, name: &str) -> (u64, u64) {
        let caller = self.caller(name);
        let limits = layers::ports::Catalog::limits(&*self.snapshot, &caller, "m");
        let usage = self.runtime.windows().usage_at(&caller.fingerprint, &limits, Instant::now());
        (usage.global[0].used, usage.caller[0].used)
    }

    /// What is held on the balance of this key.
    fn held(&self, name: &str) -> i128 {
        let caller = self.caller(name);
        self.runtime.accounts().balance(&caller.fingerprint, &caller.credits.unwrap()).reserved
    }
}

/// The decision in a word.
fn word(verdict: Verdict<()>) -> &'static str {
    match verdict {
        Verdict::Ready(result) => result.map_or_else(|failure| failure.label(), |()| "ok"),
        Verdict::Wait(_) => "waits",
    }
}

#[tokio::test(start_paused = true)]
async fn an_admitted_request_counts_in_all_windows_and_holds_its_cost() {
    let world = World::new();
    let exchange = world.request("payer").build();

    assert_eq!(word(world.allowance.admit(&exchange)), "ok");

    assert_eq!(world.used("payer"), (1, 1));
    assert!(world.held("payer") > 0);
    assert_eq!(exchange.ledger.entry().reserved, world.held("payer"));
}

#[tokio::test(start_paused = true)]
async fn a_key_without_credits_is_not_asked_for_any() {
    let world = World::new();

    assert_eq!((world.ask("plain"), world.used("plain")), ("ok", (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn what_the_balance_refuses_counts_in_no_window() {
    let world = World::new();

    assert_eq!((world.ask("poor"), world.used("poor")), ("balance_exhausted", (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_window_reserves_nothing() {
    let world = World::new();
    assert_eq!(world.ask("payer"), "ok");
    let held = world.held("payer");

    assert_eq!(world.ask("payer"), "rate_limited");

    assert_eq!(world.held("payer"), held);
}

#[tokio::test(start_paused = true)]
async fn a_large_body_is_measured_elsewhere_and_counts_meanwhile() {
    let world = World::new();
    let Verdict::Wait(admission) = world.allowance.admit(&world.large_request("payer")) else {
        panic!("a body above {INLINE} bytes is measured at once");
    };
    assert_eq!((world.used("payer"), world.held("payer")), ((1, 1), 0));

    admission.await.unwrap();

    assert_eq!(world.used("payer"), (1, 1));
    assert!(world.held("payer") > 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_balance_refuses_after_a_wait_counts_in_no_window() {
    let world = World::new();
    let admission = world.allowance.admit(&world.large_request("payer"));
    let caller = world.caller("payer");
    world.runtime.accounts().settle(&caller.fingerprint, 0, caller.credits.unwrap().amount);

    let failure = admission.resolve().await.unwrap_err();

    assert_eq!((failure.label(), world.used("payer")), ("balance_exhausted", (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_the_body_is_measured_counts_nowhere() {
    let world = World::new();
    let admission = world.allowance.admit(&world.large_request("payer"));
    assert_eq!(world.used("payer"), (1, 1));

    drop(admission);

    assert_eq!((world.used("payer"), world.held("payer")), ((0, 0), 0));
    assert_eq!(world.ask("payer"), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_group_counts_in_the_windows_of_its_key_alone_and_is_noted_in_the_record() {
    let world = World::new();
    let (group, exchange) =
        (Group { caller: world.caller("payer"), node: 0 }, world.request("plain").build());

    assert_eq!(word(world.allowance.enter(&group, &exchange)), "ok");

    assert_eq!((world.used("payer"), world.used("plain")), ((0, 1), (0, 0)));
    assert_eq!(exchange.ledger.entry().groups, std::slice::from_ref(&group.caller.fingerprint));
    assert_eq!(word(world.allowance.enter(&group, &exchange)), "rate_limited");
    assert_eq!(exchange.ledger.entry().groups.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_without_money_is_not_entered_and_counts_nothing() {
    let world = World::new();
    let group = Group { caller: world.caller("poor"), node: 0 };

    let entered = world.allowance.enter(&group, &world.request("plain").build());

    assert_eq!((word(entered), world.used("poor")), ("balance_exhausted", (0, 0)));
}
