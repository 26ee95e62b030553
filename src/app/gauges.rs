//! Shows what is remembered: what cools, and what client keys have left.
//!
//! Read when somebody scrapes, so that no request pays for it.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use layers::policy::{Caller, Credits};
use layers::ports::{Catalog as _, Limits};
use tokio::time::Instant;

use crate::snapshot::{CurrentSnapshot, Snapshot};
use crate::state::balances::Accounts;
use crate::state::windows::{WindowUse, Windows};
use crate::state::{ChannelStanding, Runtime};
use crate::telemetry::metrics::{
    CALLER_BALANCE, CALLER_CREDITS, CALLER_SPENT, CALLER_WINDOW_LIMIT, CALLER_WINDOW_REMAINING, CHANNEL_KEYS,
    CHANNEL_KEYS_COOLING, CHANNEL_MODELS, CHANNEL_MODELS_COOLING, GATEWAY_WINDOW_LIMIT,
    GATEWAY_WINDOW_REMAINING, MODELS, MODELS_COOLING, Metrics, Page,
};

/// Most names of client keys that have series.
const MOST_CALLERS: usize = 200;

/// Shows all of it.
pub(super) fn observe(metrics: &Metrics, runtime: &Arc<Runtime>, current: &Arc<CurrentSnapshot>) {
    let of_channels = runtime.clone();
    metrics.observe_page(move |page| channels(page, &of_channels));
    let (runtime, current) = (runtime.clone(), current.clone());
    metrics.observe_page(move |page| callers(page, &runtime, &current.load()));
}

fn channels(page: &mut Page<'_>, runtime: &Runtime) {
    let standing = runtime.standing(Instant::now());
    for (series, value) in [
        (&CHANNEL_MODELS, (|one| one.models) as fn(&ChannelStanding) -> usize),
        (&CHANNEL_MODELS_COOLING, |one| one.models_cooling),
        (&CHANNEL_KEYS, |one| one.keys),
        (&CHANNEL_KEYS_COOLING, |one| one.keys_cooling),
    ] {
        let mut samples = page.of(series);
        for (channel, one) in &standing.channels {
            samples.add(&[channel.as_str()], value(one) as f64);
        }
    }
    page.of(&MODELS).add(&[], standing.models as f64);
    page.of(&MODELS_COOLING).add(&[], standing.models_cooling as f64);
}

/// The money of the client keys that share a name, in picodollars.
struct Purse {
    spent: i128,
    /// Credits and what is left, of the key that has the least left.
    poorest: Option<(i128, i128)>,
}

/// The fullest window of a period, as its limit and what is left.
type Fullest = BTreeMap<u64, (u64, u64)>;

fn callers(page: &mut Page<'_>, runtime: &Runtime, snapshot: &Snapshot) {
    let mut purses: BTreeMap<&str, Purse> = BTreeMap::new();
    let mut windows: BTreeMap<&str, Fullest> = BTreeMap::new();
    let mut global = Fullest::new();
    for caller in snapshot.callers() {
        let alias = &*caller.alias;
        if purses.len() >= MOST_CALLERS && !purses.contains_key(alias) {
            continue;
        }
        let own = purse(runtime.accounts(), caller);
        match purses.entry(alias) {
            btree_map::Entry::Vacant(vacant) => drop(vacant.insert(own)),
            btree_map::Entry::Occupied(mut occupied) => {
                let shared = occupied.get_mut();
                shared.spent = shared.spent.saturating_add(own.spent);
                let both = shared.poorest.into_iter().chain(own.poorest);
                shared.poorest = both.min_by_key(|(_, left)| *left);
            }
        }
        let of_key = usage(runtime.windows(), snapshot, caller, &mut global);
        let known = windows.entry(alias).or_default();
        of_key.iter().for_each(|window| note(known, window));
    }
    let dollars = |picodollars: i128| picodollars as f64 / 1e12;
    let mut samples = page.of(&CALLER_SPENT);
    purses.iter().for_each(|(alias, purse)| samples.add(&[alias], dollars(purse.spent)));
    let credits = || purses.iter().filter_map(|(alias, purse)| Some((alias, purse.poorest?)));
    let mut samples = page.of(&CALLER_CREDITS);
    credits().for_each(|(alias, (credits, _))| samples.add(&[alias], dollars(credits)));
    let mut samples = page.of(&CALLER_BALANCE);
    credits().for_each(|(alias, (_, left))| samples.add(&[alias], dollars(left)));
    for (series, global_series, value) in [
        (&CALLER_WINDOW_LIMIT, &GATEWAY_WINDOW_LIMIT, (|(limit, _)| limit) as fn((u64, u64)) -> u64),
        (&CALLER_WINDOW_REMAINING, &GATEWAY_WINDOW_REMAINING, |(_, left)| left),
    ] {
        let mut samples = page.of(series);
        for (alias, fullest) in &windows {
            for (period, window) in fullest {
                samples.add(&[alias, &period.to_string()], value(*window) as f64);
            }
        }
        let mut samples = page.of(global_series);
        global.iter().for_each(|(period, window)| samples.add(&[&period.to_string()], value(*window) as f64));
    }
}

fn purse(accounts: &Accounts, caller: &Caller) -> Purse {
    let unlimited = Credits { amount: 0, since: None };
    let balance = accounts.balance(&caller.fingerprint, caller.credits.as_ref().unwrap_or(&unlimited));
    let left = balance.credits.saturating_sub(balance.spent).saturating_sub(balance.reserved);
    Purse { spent: balance.spent, poorest: caller.credits.map(|_| (balance.credits, left)) }
}

/// The windows of a key that are over all models; those of the gateway are noted.
fn usage(windows: &Windows, snapshot: &Snapshot, caller: &Caller, global: &mut Fullest) -> Vec<WindowUse> {
    let limits = snapshot.limits(caller, "");
    let by_model = limits.caller.as_ref().is_some_and(|(_, model)| model.is_some());
    let own = limits.caller.filter(|_| !by_model);
    let limits = Limits { global: limits.global.filter(|_| global.is_empty()), caller: own };
    let usage = windows.usage_at(&caller.fingerprint, &limits, Instant::now());
    usage.global.iter().for_each(|window| note(global, window));
    usage.caller
}

/// Keeps the window of its period that has the least left.
fn note(fullest: &mut Fullest, one: &WindowUse) {
    let (limit, left) = (one.window.count, one.window.count.saturating_sub(one.used));
    let known = fullest.entry(one.window.period.as_secs()).or_insert((limit, left));
    if left < known.1 {
        *known = (limit, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Origin, load};
    use crate::snapshot::{Discovered, compile};

    const CONFIG: &str = "
providers: [{provider: a, base_url: 'https://a.test/v1/chat/completions', api: [k1, k2], model: [m, n]}]
api_keys:
  - {api: sk-1, role: team, preferences: {credits: 5, rate_limit: '10/min,100/h'}}
  - {api: sk-2, role: team, preferences: {credits: 2}}
  - {api: sk-3, role: free}
  - {api: sk-4, role: by-model, preferences: {rate_limit: {m: 3/min}}}
preferences: {rate_limit: 50/min}
";

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_told_by_name_and_of_a_shared_name_for_whoever_has_least() {
        let env = Arc::new(Environment::default());
        let loaded = load(CONFIG, Origin::Inline, &env).map_err(|problems| format!("{problems:?}")).unwrap();
        let (runtime, metrics) = (Arc::new(Runtime::new(None)), Metrics::new());
        let snapshot = compile(Arc::new(loaded.settings), &Discovered::new(), &runtime, &metrics);
        let current = Arc::new(CurrentSnapshot::new(Arc::new(snapshot)));
        observe(&metrics, &runtime, &current);
        let snapshot = current.load();
        let first = snapshot.caller("sk-1").unwrap();
        runtime.accounts().settle(&first.fingerprint, 0, 1_500_000_000_000);
        let limits = snapshot.limits(&first, "m");
        assert!(runtime.windows().check(&first.fingerprint, &limits, Instant::now()).is_none());

        let text = metrics.render();

        for line in [
            r#"uni_api_caller_spent_usd{caller="team"} 1.5"#,
            r#"uni_api_caller_spent_usd{caller="free"} 0"#,
            r#"uni_api_caller_credits_usd{caller="team"} 2"#,
            r#"uni_api_caller_balance_usd{caller="team"} 2"#,
            r#"uni_api_caller_window_limit{caller="team",period_seconds="60"} 10"#,
            r#"uni_api_caller_window_remaining{caller="team",period_seconds="60"} 9"#,
            r#"uni_api_caller_window_remaining{caller="team",period_seconds="3600"} 99"#,
            r#"uni_api_gateway_window_remaining{period_seconds="60"} 49"#,
            r#"uni_api_channel_models{channel="a"} 2"#,
            r#"uni_api_channel_keys{channel="a"} 2"#,
            r#"uni_api_channel_keys_cooling{channel="a"} 0"#,
            "uni_api_models 2",
            "uni_api_models_cooling 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in {text}");
        }
        assert!(
            !text.contains("balance_usd{caller=\"free\"}") && !text.contains("limit{caller=\"by-model\""),
            "{text}"
        );
    }
}
