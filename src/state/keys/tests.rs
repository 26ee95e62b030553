use std::collections::HashMap;

use layers::policy::Window;
use layers::ports::{Health, Pair, Secret};
use proptest::prelude::*;
use tokio::time::advance;

use super::turns::explore;
use super::*;
use crate::routing::testing::{channel_with, target_with};
use crate::state::Runtime;

fn secret(name: &str) -> Credential {
    Secret::new(&format!("sk-{name}"), Fingerprint::new(name)).into()
}

fn secrets(names: &[&str]) -> Vec<Credential> {
    names.iter().map(|name| secret(name)).collect()
}

fn numbered(keys: usize) -> Vec<Credential> {
    (0..keys).map(|at| secret(&format!("{at:05}"))).collect()
}

fn settings(algorithm: KeyAlgorithm) -> KeySettings {
    KeySettings { algorithm, cooldown: None, windows_per_model: false }
}

fn cooling(seconds: u64) -> KeySettings {
    KeySettings { cooldown: Some(Duration::from_secs(seconds)), ..KeySettings::default() }
}

fn quota(windows: &[(u64, u64)], tokens_per_request: Option<u64>) -> Option<Arc<Quota>> {
    let windows = windows
        .iter()
        .map(|(count, seconds)| Window { count: *count, period: Duration::from_secs(*seconds) });
    Some(Arc::new(Quota { windows: windows.collect(), tokens_per_request }))
}

/// One model of a channel with these keys.
fn aim(keys: &Arc<dyn Keys>, model: &str, quota: Option<Arc<Quota>>) -> Target {
    struct Well;
    impl Health for Well {
        fn settle(&self, _: bool, _: Duration, _: Instant) {}
        fn cooling_until(&self, _: Instant) -> Option<Instant> {
            None
        }
    }
    let target = target_with(&channel_with("c", Arc::clone(keys)), model, Arc::new(Well));
    Target { key_quota: quota, ..Arc::into_inner(target).unwrap() }
}

fn pool(settings: KeySettings, keys: Vec<Credential>) -> Arc<dyn Keys> {
    Runtime::new(None).keys(&ChannelName::from("c"), settings, keys)
}

fn lease(target: &Target) -> Result<Lease, KeysExhausted> {
    target.channel.keys.clone().lease(target, &TriedKeys::default(), InputTokens(0))
}

fn name(lease: &Lease) -> String {
    lease.credential().unwrap().fingerprint().as_str().to_owned()
}

/// Leases, settles as served, and tells the key; `-` when there is none.
fn use_one(target: &Target) -> String {
    let Ok(lease) = lease(target) else { return "-".to_owned() };
    let name = name(&lease);
    lease.settle(KeyOutcome::Served);
    name
}

fn uses(target: &Target, times: usize) -> String {
    (0..times).map(|_| use_one(target)).collect()
}

const LIMITED: KeyOutcome = KeyOutcome::Faulty { hint: None, rejected: false, quota: false };
const REJECTED: KeyOutcome = KeyOutcome::Faulty { hint: None, rejected: true, quota: false };

fn hinted(seconds: u64) -> KeyOutcome {
    KeyOutcome::Faulty { hint: Some(Duration::from_secs(seconds)), rejected: false, quota: false }
}

async fn seconds(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

#[test]
fn keys_are_used_in_turn_over_all_models() {
    let keys = pool(settings(KeyAlgorithm::RoundRobin), secrets(&["a", "b", "c"]));
    let (m1, m2) = (aim(&keys, "m1", None), aim(&keys, "m2", None));

    assert_eq!(uses(&m1, 6), "abcabc");
    assert_eq!([&m1, &m2, &m1, &m2].map(use_one).concat(), "abca");
}

#[test]
fn one_key_serves_under_every_algorithm() {
    for algorithm in [
        KeyAlgorithm::RoundRobin,
        KeyAlgorithm::Random,
        KeyAlgorithm::FixedPriority,
        KeyAlgorithm::SmartRoundRobin,
    ] {
        assert_eq!(uses(&aim(&pool(settings(algorithm), secrets(&["a"])), "m", None), 3), "aaa");
    }
}

#[test]
fn a_channel_without_keys_leases_nothing_and_never_fails() {
    let target = aim(&pool(KeySettings::default(), Vec::new()), "m", None);

    assert!(lease(&target).unwrap().credential().is_none());
    assert!(!target.channel.keys.has_spare(&target, &TriedKeys::default()));
}

#[test]
fn a_key_that_is_listed_often_stands_where_it_is_listed_first() {
    let target = aim(&pool(KeySettings::default(), secrets(&["c", "a", "c", "b", "a", "c", "d"])), "m", None);

    assert_eq!((target.channel.keys.count(), uses(&target, 8).as_str()), (4, "cabdcabd"));
}

#[test]
fn a_key_that_is_listed_twice_is_one_key() {
    let target = aim(&pool(KeySettings::default(), secrets(&["a", "b", "a"])), "m", None);

    assert_eq!(target.channel.keys.count(), 2);
    assert_eq!(uses(&target, 4), "abab");
}

#[test]
fn a_request_gets_each_key_once() {
    for algorithm in [KeyAlgorithm::RoundRobin, KeyAlgorithm::Random, KeyAlgorithm::FixedPriority] {
        let target = aim(&pool(settings(algorithm), secrets(&["a", "b", "c"])), "m", None);
        let mut tried = TriedKeys::default();

        for left in (0..3).rev() {
            let lease = target.channel.keys.clone().lease(&target, &tried, InputTokens(0)).unwrap();
            let slot = lease.slot().unwrap();
            assert!(!tried.contains(slot));
            tried = tried.with(slot);
            assert_eq!(target.channel.keys.has_spare(&target, &tried), left > 0);
        }

        let spent = target.channel.keys.clone().lease(&target, &tried, InputTokens(0));
        assert_eq!(spent.err(), Some(KeysExhausted::For(None)));
    }
}

#[test]
fn random_draws_each_key_equally_often() {
    let target = aim(&pool(settings(KeyAlgorithm::Random), numbered(10)), "m", None);
    let mut drawn = HashMap::<String, f64>::new();

    (0..10_000).for_each(|_| *drawn.entry(use_one(&target)).or_default() += 1.0);

    let chi: f64 = drawn.values().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
    assert!(chi < 39.3, "chi-square {chi} of {drawn:?}"); // p = 0.00001 at nine degrees of freedom
}

#[tokio::test(start_paused = true)]
async fn fixed_priority_returns_to_the_first_key_when_it_has_recovered() {
    let settings = KeySettings { algorithm: KeyAlgorithm::FixedPriority, ..cooling(60) };
    let target = aim(&pool(settings, secrets(&["a", "b"])), "m", None);
    assert_eq!(uses(&target, 3), "aaa");

    lease(&target).unwrap().settle(LIMITED);

    assert_eq!(uses(&target, 3), "bbb");
    seconds(59).await;
    assert_eq!(use_one(&target), "b");
    seconds(1).await;
    assert_eq!(use_one(&target), "a");
}

#[tokio::test(start_paused = true)]
async fn the_key_of_the_attempt_rests_and_no_other() {
    let target = aim(&pool(cooling(60), secrets(&["a", "b", "c"])), "m", None);
    let (a, b) = (lease(&target).unwrap(), lease(&target).unwrap());

    a.settle(LIMITED);
    b.settle(KeyOutcome::Blameless);

    assert_eq!(uses(&target, 4), "cbcb");
}

#[tokio::test(start_paused = true)]
async fn every_key_comes_to_every_place_though_both_take_turns() {
    let pool = pool(KeySettings::default(), secrets(&["a", "b"]));
    let places = ["1", "2"].map(|place| Target { place: Some(place.into()), ..aim(&pool, "m", None) });

    let pairs: Vec<String> = (0..4)
        .map(|turn| {
            let target = &places[turn % 2];
            format!("{}{}", use_one(target), target.place.as_deref().unwrap())
        })
        .collect();

    assert_eq!(pairs, ["a1", "a2", "b1", "b2"]);
}

#[tokio::test(start_paused = true)]
async fn an_account_and_a_signing_key_rest_as_keys_do_and_over_a_reload() {
    struct Issues;
    #[async_trait::async_trait]
    impl crate::engine::Issuer for Issues {
        fn account(&self) -> Fingerprint {
            Fingerprint::new("b")
        }
        async fn issue(
            &self,
            _: &dyn crate::engine::SideClient,
        ) -> Result<crate::engine::Token, crate::engine::NoToken> {
            Err(crate::engine::NoToken { why: "nobody asks".to_owned(), is_of_account: false })
        }
    }
    let plain = |name: &str| Secret::new(name, Fingerprint::new(name));
    let runtime = Runtime::new(None);
    let pool = |names: &[&str]| {
        let pair = Pair { id: plain("id"), secret: plain("a"), session: None };
        let mut keys = vec![
            Credential::Pair(Arc::new(pair)),
            Credential::Token(runtime.tokens().account(Arc::new(Issues))),
        ];
        keys.extend(secrets(names));
        runtime.keys(&ChannelName::from("c"), cooling(60), keys)
    };
    let old = aim(&pool(&["c"]), "m", None);
    let (a, b) = (lease(&old).unwrap(), lease(&old).unwrap());

    a.settle(LIMITED);
    b.settle(LIMITED);

    assert_eq!(uses(&old, 2), "cc");
    let new = aim(&pool(&["c", "d"]), "m", None);
    assert_eq!(uses(&new, 2).chars().filter(|name| "ab".contains(*name)).count(), 0);
    seconds(60).await;
    assert_eq!(uses(&new, 4).len(), 4);
    assert!(uses(&new, 4).contains('a') && uses(&new, 4).contains('b'));
}

#[tokio::test(start_paused = true)]
async fn without_a_period_only_a_hint_rests_a_limited_key() {
    let target = aim(&pool(KeySettings::default(), secrets(&["a", "b"])), "m", None);

    lease(&target).unwrap().settle(LIMITED);
    assert_eq!(uses(&target, 3), "bab");

    lease(&target).unwrap().settle(hinted(30));
    assert_eq!(uses(&target, 3), "bbb");
    seconds(30).await;
    assert_eq!(uses(&target, 2), "ab");
}

#[tokio::test(start_paused = true)]
async fn a_configured_period_is_the_least_and_an_hour_the_most_that_a_hint_gives() {
    let cools = async |outcome: KeyOutcome, least: u64| {
        let target = aim(&pool(cooling(60), secrets(&["a", "b"])), "m", None);
        lease(&target).unwrap().settle(outcome);
        assert_eq!(use_one(&target), "b");
        seconds(least - 1).await;
        assert_eq!(uses(&target, 2), "bb", "{outcome:?}");
        seconds(1).await;
        assert!(uses(&target, 2).contains('a'), "{outcome:?}");
    };

    cools(hinted(5), 60).await;
    cools(hinted(100), 100).await;
    cools(hinted(90_000), 3600).await;
    let quota = KeyOutcome::Faulty { hint: Some(Duration::from_secs(90_000)), rejected: false, quota: true };
    cools(quota, 6 * 3600).await;
}

#[tokio::test(start_paused = true)]
async fn a_period_of_zero_rests_no_key() {
    let target = aim(&pool(cooling(0), secrets(&["a", "b"])), "m", None);

    lease(&target).unwrap().settle(hinted(30));
    lease(&target).unwrap().settle(REJECTED);

    assert_eq!(uses(&target, 4), "abab");
}

#[tokio::test(start_paused = true)]
async fn a_single_key_never_rests() {
    let target = aim(&pool(cooling(60), secrets(&["a"])), "m", None);

    lease(&target).unwrap().settle(hinted(30));
    lease(&target).unwrap().settle(REJECTED);

    assert_eq!(uses(&target, 2), "aa");
}

#[tokio::test(start_paused = true)]
async fn rejections_rest_a_key_twice_as_long_each_time_up_to_an_hour() {
    let settings = KeySettings { algorithm: KeyAlgorithm::FixedPriority, ..KeySettings::default() };
    let target = aim(&pool(settings, secrets(&["a", "b"])), "m", None);

    for rest in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        lease(&target).unwrap().settle(REJECTED);
        seconds(rest - 1).await;
        assert_eq!(use_one_unsettled(&target), "b", "{rest}");
        seconds(1).await;
        assert_eq!(use_one_unsettled(&target), "a", "{rest}");
    }

    assert_eq!(use_one(&target), "a");
    lease(&target).unwrap().settle(REJECTED);
    seconds(60).await;
    assert_eq!(use_one(&target), "a");
}

fn use_one_unsettled(target: &Target) -> String {
    name(&lease(target).unwrap())
}

#[tokio::test(start_paused = true)]
async fn rejections_of_requests_under_way_together_count_once() {
    let settings = KeySettings { algorithm: KeyAlgorithm::FixedPriority, ..KeySettings::default() };
    let target = aim(&pool(settings, secrets(&["a", "b"])), "m", None);
    let together: Vec<_> = (0..64).map(|_| lease(&target).unwrap()).collect();

    together.into_iter().for_each(|lease| lease.settle(REJECTED));

    assert_eq!(use_one(&target), "b");
    seconds(60).await;
    assert_eq!(use_one(&target), "a");
}

#[tokio::test(start_paused = true)]
async fn a_rest_only_extends() {
    let settings = KeySettings { algorithm: KeyAlgorithm::FixedPriority, ..KeySettings::default() };
    let target = aim(&pool(settings, secrets(&["a", "b"])), "m", None);
    let (first, second) = (lease(&target).unwrap(), lease(&target).unwrap());

    first.settle(hinted(100));
    second.settle(hinted(10));

    let spare = TriedKeys::default().with(1);
    let refused = target.channel.keys.clone().lease(&target, &spare, InputTokens(0)).err();
    assert_eq!(refused, Some(KeysExhausted::For(Some(Duration::from_secs(100)))));
    seconds(50).await;
    assert_eq!(use_one(&target), "b");
    seconds(50).await;
    assert_eq!(use_one(&target), "a");
}

#[tokio::test(start_paused = true)]
async fn two_a_minute_on_two_keys_are_four_requests() {
    let target = aim(&pool(KeySettings::default(), secrets(&["a", "b"])), "m", quota(&[(2, 60)], None));
    assert_eq!(uses(&target, 2), "ab");
    seconds(20).await;
    assert_eq!(uses(&target, 2), "ab");

    assert_eq!(lease(&target).err(), Some(KeysExhausted::For(Some(Duration::from_secs(40)))));

    assert!(!target.channel.keys.has_spare(&target, &TriedKeys::default()));
    seconds(40).await;
    assert_eq!(uses(&target, 3), "ab-");
}

#[tokio::test(start_paused = true)]
async fn several_windows_all_have_to_admit() {
    let target = aim(&pool(KeySettings::default(), secrets(&["a"])), "m", quota(&[(1, 10), (2, 100)], None));
    assert_eq!(uses(&target, 2), "a-");
    seconds(10).await;
    assert_eq!(uses(&target, 2), "a-");
    seconds(10).await;

    assert_eq!(lease(&target).err(), Some(KeysExhausted::For(Some(Duration::from_secs(80)))));
}

#[tokio::test(start_paused = true)]
async fn models_have_windows_of_their_own_only_where_the_limit_is_a_map() {
    for (windows_per_model, second) in [(false, "-"), (true, "a")] {
        let settings = KeySettings { windows_per_model, ..KeySettings::default() };
        let keys = pool(settings, secrets(&["a"]));
        let limit = quota(&[(1, 60)], None);
        assert_eq!(use_one(&aim(&keys, "m1", limit.clone())), "a");

        assert_eq!(use_one(&aim(&keys, "m2", limit)), second);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_admits_no_key_ever() {
    let target = aim(&pool(KeySettings::default(), secrets(&["a", "b"])), "m", quota(&[(0, 60)], None));

    assert_eq!(lease(&target).err(), Some(KeysExhausted::For(None)));
    seconds(1000).await;
    assert_eq!(use_one(&target), "-");
}

#[test]
fn a_request_over_the_token_limit_is_too_long() {
    let target = aim(&pool(KeySettings::default(), secrets(&["a"])), "m", quota(&[], Some(100)));
    let ask = |tokens| {
        let lease = target.channel.keys.clone().lease(&target, &TriedKeys::default(), InputTokens(tokens));
        lease.map(drop)
    };

    assert_eq!(ask(100), Ok(()));
    assert_eq!(ask(101), Err(KeysExhausted::TooLong));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_gives_its_hit_back_and_a_settled_one_does_not() {
    let settings = KeySettings { windows_per_model: true, ..KeySettings::default() };
    for keys in [&["a"][..], &["a", "b"]] {
        let target = aim(&pool(settings, secrets(keys)), "m", quota(&[(1, 60)], None));
        let held: Vec<_> = keys.iter().map(|_| lease(&target).unwrap()).collect();
        assert_eq!(use_one(&target), "-");

        drop(held);

        let again: Vec<_> = keys.iter().map(|_| lease(&target).unwrap()).collect();
        again.into_iter().for_each(|lease| lease.settle(KeyOutcome::Blameless));
        assert_eq!(use_one(&target), "-");
        seconds(60).await;
        assert_eq!(use_one(&target), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn the_soonest_recovery_considers_rest_and_windows() {
    let target = aim(&pool(cooling(100), secrets(&["a", "b"])), "m", quota(&[(1, 30)], None));

    lease(&target).unwrap().settle(LIMITED);
    assert_eq!(use_one(&target), "b");

    assert_eq!(lease(&target).err(), Some(KeysExhausted::For(Some(Duration::from_secs(30)))));
    let tried = TriedKeys::default().with(1);
    let other = target.channel.keys.clone().lease(&target, &tried, InputTokens(0));
    assert_eq!(other.err(), Some(KeysExhausted::For(Some(Duration::from_secs(100)))));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_known_of_a_key_and_takes_the_new_order() {
    let runtime = Runtime::new(None);
    let channel = ChannelName::from("c");
    let limit = quota(&[(2, 60)], None);
    let old = aim(&runtime.keys(&channel, cooling(100), secrets(&["a", "b", "c"])), "m", limit.clone());
    lease(&old).unwrap().settle(LIMITED);
    assert_eq!(uses(&old, 3), "bcb");

    let new = aim(&runtime.keys(&channel, cooling(100), secrets(&["d", "c", "b", "a"])), "m", limit);

    // `c` was next; `a` cools, `b` is over its window, `c` has one use left.
    assert_eq!(uses(&new, 4), "cdd-");
    seconds(60).await;
    assert_eq!(uses(&new, 3), "cbd");
    seconds(40).await;
    assert!(uses(&new, 4).contains('a'));
}

#[tokio::test(start_paused = true)]
async fn outcomes_of_an_old_configuration_reach_the_new_one() {
    let runtime = Runtime::new(None);
    let channel = ChannelName::from("c");
    let old = aim(&runtime.keys(&channel, cooling(60), secrets(&["a", "b"])), "m", None);
    let under_way = lease(&old).unwrap();
    let new = aim(&runtime.keys(&channel, cooling(60), secrets(&["c", "b", "a"])), "m", None);

    under_way.settle(LIMITED);

    assert!(!uses(&new, 6).contains('a'));
    assert!(!uses(&old, 4).contains('a'));
}

#[tokio::test(start_paused = true)]
async fn a_reload_without_changes_keeps_the_pool_and_a_removed_key_is_forgotten() {
    let runtime = Runtime::new(None);
    let channel = ChannelName::from("c");
    let make = |names: &[&str]| runtime.keys(&channel, cooling(600), secrets(names));
    let first = make(&["a", "b", "c"]);
    assert!(Arc::ptr_eq(&first, &make(&["a", "b", "c"])));
    lease(&aim(&first, "m", None)).unwrap().settle(LIMITED);

    make(&["b", "c"]);

    assert_eq!(uses(&aim(&make(&["a", "b", "c"]), "m", None), 3).len(), 3);
    assert!(uses(&aim(&make(&["a", "b", "c"]), "m", None), 3).contains('a'));
}

#[tokio::test(start_paused = true)]
async fn of_fifty_thousand_keys_the_ten_usable_ones_are_found() {
    for algorithm in [KeyAlgorithm::RoundRobin, KeyAlgorithm::Random, KeyAlgorithm::FixedPriority] {
        let settings = KeySettings { algorithm, ..cooling(600) };
        let target = aim(&pool(settings, numbered(50_000)), "m", None);
        for slot in (0..50_000).filter(|slot| slot % 5000 != 77) {
            target.channel.keys.settle(slot, "m", LIMITED);
        }

        for _ in 0..100 {
            assert!(use_one(&target).parse::<u32>().unwrap() % 5000 == 77);
        }

        seconds(600).await;
        let woken = (0..2000).map(|_| use_one(&target)).collect::<std::collections::HashSet<_>>().len();
        assert!(if algorithm == KeyAlgorithm::FixedPriority { woken <= 2 } else { woken > 1000 }, "{woken}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_use_the_keys_equally() {
    let target = Arc::new(aim(&pool(KeySettings::default(), secrets(&["a", "b", "c", "d"])), "m", None));

    let clients = (0..64).map(|_| {
        let target = Arc::clone(&target);
        tokio::spawn(async move { uses(&target, 100) })
    });
    let mut used = HashMap::<char, usize>::new();
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap().chars().for_each(|key| *used.entry(key).or_default() += 1);
    }

    assert!(used.values().all(|count| *count == 1600), "{used:?}");
}

/// A history that answers at once with what it was told.
#[derive(Default)]
struct Told {
    records: Mutex<Vec<(Fingerprint, Record)>>,
    asked: Mutex<usize>,
    mute: AtomicBool,
}

impl Told {
    fn set(&self, records: &[(&str, u64, u64)]) {
        *lock(&self.records) = records
            .iter()
            .map(|(name, successes, attempts)| {
                (Fingerprint::new(name), Record { successes: *successes, attempts: *attempts })
            })
            .collect();
    }
}

impl History for Told {
    fn fetch(&self, _: &ChannelName, reply: RecordsReply) {
        *lock(&self.asked) += 1;
        if !self.mute.load(Ordering::Relaxed) {
            reply(lock(&self.records).clone());
        }
    }
}

fn smart(history: &Arc<Told>, keys: Vec<Credential>) -> Target {
    let runtime = Runtime::new(Some(Arc::clone(history) as Arc<dyn History>));
    aim(&runtime.keys(&ChannelName::from("c"), settings(KeyAlgorithm::SmartRoundRobin), keys), "m", None)
}

#[test]
fn the_best_keys_come_first_and_unused_ones_last() {
    let history = Arc::new(Told::default());
    history.set(&[("b", 9, 10), ("c", 90, 100), ("d", 0, 5), ("e", 10, 10)]);

    let target = smart(&history, secrets(&["a", "b", "c", "d", "e", "f"]));

    assert_eq!(uses(&target, 6), "ecbdaf");
}

#[test]
fn each_full_turn_ends_with_a_new_order() {
    let history = Arc::new(Told::default());
    let target = smart(&history, secrets(&["a", "b", "c"]));
    assert_eq!(uses(&target, 2), "ab");
    history.set(&[("b", 1, 1)]);

    assert_eq!(use_one(&target), "c");

    assert_eq!(uses(&target, 3), "bac");
    assert_eq!(*lock(&history.asked), 3);
}

#[test]
fn a_history_that_cannot_be_had_is_asked_again_after_the_next_turn() {
    let history = Arc::new(Told::default());
    history.mute.store(true, Ordering::Relaxed);
    let target = smart(&history, secrets(&["a", "b", "c"]));
    assert_eq!(uses(&target, 2), "ab");
    history.mute.store(false, Ordering::Relaxed);
    history.set(&[("c", 1, 1)]);

    assert_eq!(use_one(&target), "c");

    assert_eq!(uses(&target, 3), "cab");
}

#[test]
fn re_sorts_are_as_rare_as_the_pool_is_large() {
    for (keys, asked) in [(10, 1 + 1000 / 10), (1000, 1 + 1)] {
        let history = Arc::new(Told::default());
        let target = smart(&history, numbered(keys));

        uses(&target, 1000);

        assert_eq!(*lock(&history.asked), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_order_keeps_rests_and_windows() {
    let history = Arc::new(Told::default());
    let mut target = smart(&history, secrets(&["a", "b", "c"]));
    target.key_quota = quota(&[(1, 60)], None);
    lease(&target).unwrap().settle(hinted(600));
    assert_eq!(use_one(&target), "b");
    history.set(&[("c", 1, 1), ("b", 1, 2)]);

    assert_eq!(use_one(&target), "c");

    seconds(60).await;
    assert_eq!(uses(&target, 3), "cb-");
    seconds(540).await;
    assert_eq!(uses(&target, 3), "acb");
}

#[tokio::test(start_paused = true)]
async fn of_fifty_thousand_keys_in_smart_order_each_has_its_turn_and_the_usable_ones_are_found() {
    const KEYS: usize = 50_000;
    let history = Arc::new(Told::default());
    *lock(&history.records) = (0..KEYS as u64)
        .map(|at| (Fingerprint::new(&format!("{at:05}")), Record { successes: at % 101, attempts: 100 }))
        .collect();
    let target = smart(&history, numbered(KEYS));

    let turn: std::collections::HashSet<String> = (0..KEYS).map(|_| use_one(&target)).collect();

    assert_eq!(turn.len(), KEYS);
    assert_eq!(*lock(&history.asked), 2);
    for slot in (0..KEYS as u32).filter(|slot| slot % 5000 != 77) {
        target.channel.keys.settle(slot, "m", hinted(600));
    }
    let usable: std::collections::HashSet<String> = (0..100).map(|_| use_one(&target)).collect();
    assert!(usable.len() == 10 && usable.iter().all(|key| key.parse::<u32>().unwrap() % 5000 == 77));
}

#[test]
fn groups_hold_keys_of_all_qualities_best_first() {
    let records: Vec<Record> = (0..250)
        .map(|at| Record { successes: 1000 - at, attempts: if at < 240 { 1000 } else { 0 } })
        .collect();

    let order = explore(&records);

    // Three groups; the best three keys lead them, then the next three follow.
    assert_eq!(order[..3], [0, 3, 6]);
    assert_eq!((order[84], order[84 + 83]), (1, 2));
    let mut all = order.to_vec();
    all.sort_unstable();
    assert_eq!(all, (0..250).collect::<Vec<u32>>());
    for group in [&order[..84], &order[84..167], &order[167..]] {
        assert!(group.is_sorted());
        assert!(group.last().is_some_and(|last| *last >= 240), "an unused key has its turn");
    }
}

/// What happens to a pool in the comparison below.
#[derive(Debug, Clone)]
enum Event {
    Use,
    UseWithout(u32),
    Drop,
    Fault(u64),
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Use),
        1 => (0u32..9).prop_map(Event::UseWithout),
        1 => Just(Event::Drop),
        2 => (1u64..90).prop_map(Event::Fault),
        2 => (1u64..40).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 1..120)
}

proptest! {
    /// The same as a pool that looks at each key in turn.
    #[test]
    fn a_pool_picks_like_a_plain_walk_over_its_keys(
        events in events(), keys in 2usize..9, count in 1u64..4, fixed in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let algorithm = if fixed { KeyAlgorithm::FixedPriority } else { KeyAlgorithm::RoundRobin };
            let target = aim(&pool(settings(algorithm), numbered(keys)), "m", quota(&[(count, 60)], None));
            let (mut now, mut cursor) = (0u64, 0usize);
            let mut cool = vec![0u64; keys];
            let mut hits = vec![Vec::<u64>::new(); keys];
            let mut walk = |now: u64, cool: &[u64], hits: &mut [Vec<u64>], without: Option<u32>| {
                let from = if fixed { 0 } else { cursor };
                let found = (0..keys).map(|ahead| (from + ahead) % keys).find(|at| {
                    let used = hits[*at].iter().filter(|hit| **hit + 60 > now).count() as u64;
                    cool[*at] <= now && used < count && Some(*at as u32) != without
                })?;
                hits[found].push(now);
                cursor = (found + 1) % keys;
                Some(found as u32)
            };

            for event in events {
                if let Event::Wait(by) = event {
                    now += by;
                    seconds(by).await;
                    continue;
                }
                let without = if let Event::UseWithout(slot) = event { Some(slot) } else { None };
                let tried = without.map_or_else(TriedKeys::default, |slot| TriedKeys::default().with(slot));
                let expected = walk(now, &cool, &mut hits, without);
                let lease = target.channel.keys.clone().lease(&target, &tried, InputTokens(0)).ok();

                prop_assert_eq!(lease.as_ref().and_then(Lease::slot), expected);
                let (Some(lease), Some(slot)) = (lease, expected) else { continue };
                match event {
                    Event::Drop => { hits[slot as usize].pop(); }
                    Event::Fault(rest) => {
                        lease.settle(hinted(rest));
                        let cool = &mut cool[slot as usize];
                        *cool = (now + rest).max(*cool);
                    }
                    _ => lease.settle(KeyOutcome::Served),
                }
            }
            Ok(())
        })?;
    }
}
