use proptest::prelude::*;
use tokio::time::advance;

use super::*;

fn quota(windows: &[(u64, u64)]) -> Arc<Quota> {
    let windows = windows
        .iter()
        .map(|(count, seconds)| Window { count: *count, period: Duration::from_secs(*seconds) });
    Arc::new(Quota { windows: windows.collect(), tokens_per_request: None })
}

fn own(windows: &[(u64, u64)], model: Option<&str>) -> Limits {
    Limits { global: None, caller: Some((quota(windows), model.map(Arc::from))) }
}

fn windows() -> Windows {
    Windows::new(Clock::new())
}

fn exceeded(limit: u64, period: u64, reset: u64) -> Exceeded {
    let [period, reset] = [period, reset].map(Duration::from_secs);
    Exceeded { limit, period, whose: Whose::Key, reset }
}

fn ask(windows: &Windows, caller: &str, limits: &Limits) -> Option<Exceeded> {
    windows.check(&Fingerprint::new(caller), limits, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn the_request_over_the_limit_is_refused_with_its_reset() {
    let (windows, limits) = (windows(), own(&[(2, 60)], None));
    assert_eq!(ask(&windows, "a", &limits), None);
    advance(Duration::from_secs(10)).await;
    assert_eq!(ask(&windows, "a", &limits), None);

    let refused = ask(&windows, "a", &limits);

    assert_eq!(refused, Some(exceeded(2, 60, 50)));
    assert_eq!(ask(&windows, "b", &limits), None);
    advance(Duration::from_secs(50)).await;
    assert_eq!(ask(&windows, "a", &limits), None);
    assert!(ask(&windows, "a", &limits).is_some());
}

#[tokio::test(start_paused = true)]
async fn models_share_a_bucket_only_where_the_limit_has_none() {
    let windows = windows();
    let (a, b, whole) = (own(&[(1, 60)], Some("a")), own(&[(1, 60)], Some("b")), own(&[(1, 60)], None));

    assert_eq!(ask(&windows, "k", &a), None);
    assert!(ask(&windows, "k", &a).is_some());
    assert_eq!(ask(&windows, "k", &b), None);

    assert_eq!(ask(&windows, "k", &whole), None);
    assert!(ask(&windows, "k", &whole).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_counts_in_no_window() {
    let windows = windows();
    let limits = Limits { global: Some(quota(&[(3, 60)])), caller: Some((quota(&[(1, 60)]), None)) };
    assert_eq!(ask(&windows, "a", &limits), None);

    for _ in 0..10 {
        assert_eq!(ask(&windows, "a", &limits).map(|exceeded| exceeded.limit), Some(1));
    }

    assert_eq!(ask(&windows, "b", &limits), None);
    assert_eq!(ask(&windows, "c", &limits), None);
    assert_eq!(ask(&windows, "d", &limits).map(|exceeded| exceeded.limit), Some(3));
    assert_eq!(ask(&windows, "d", &own(&[(1, 60)], None)), None);
}

#[tokio::test(start_paused = true)]
async fn of_several_windows_the_longest_refusal_is_told() {
    let (windows, limits) = (windows(), own(&[(1, 60), (2, 86_400)], None));
    assert_eq!(ask(&windows, "a", &limits), None);
    assert_eq!(ask(&windows, "a", &limits).map(|exceeded| exceeded.reset), Some(Duration::from_secs(60)));
    advance(Duration::from_secs(60)).await;
    assert_eq!(ask(&windows, "a", &limits), None);

    let refused = ask(&windows, "a", &limits);

    assert_eq!(refused, Some(exceeded(2, 86_400, 86_340)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_admits_nobody_and_a_quota_without_limits_everybody() {
    let windows = windows();

    assert!(ask(&windows, "a", &own(&[(0, 60)], None)).is_some());
    assert_eq!(ask(&windows, "b", &own(&[], None)), None);
    assert_eq!(windows.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hit_that_is_taken_back_leaves_room() {
    let windows = windows();
    for limits in [own(&[(1, 60)], None), own(&[(20_000, 60), (1, 5)], Some("m"))] {
        assert_eq!(ask(&windows, "a", &limits), None);
        assert!(ask(&windows, "a", &limits).is_some());

        windows.take_back(&Fingerprint::new("a"), &limits);

        assert_eq!(ask(&windows, "a", &limits), None);
    }
}

#[tokio::test(start_paused = true)]
async fn large_limits_count_in_cells() {
    let (windows, limits) = (windows(), own(&[(20_000, 60)], None));
    for _ in 0..20_000 {
        assert_eq!(ask(&windows, "a", &limits), None);
    }

    let refused = ask(&windows, "a", &limits).expect("the limit is reached");

    assert!(refused.reset <= Duration::from_secs(60) && refused.reset > Duration::from_secs(58));
    advance(refused.reset).await;
    assert_eq!(ask(&windows, "a", &limits), None);
}

#[tokio::test(start_paused = true)]
async fn recalled_hits_count_in_whatever_order_they_come() {
    for hours in [[30, 20, 10], [10, 30, 20]] {
        let (windows, limits) = (windows(), own(&[(3, 86_400)], None));

        for hours in hours {
            windows.recall(&Fingerprint::new("a"), &limits, Duration::from_secs(hours * 3600), 1);
        }

        assert_eq!(ask(&windows, "a", &limits), None);
        let refused = ask(&windows, "a", &limits).expect("two of the three still count");
        assert_eq!(refused.reset, Duration::from_secs(4 * 3600));
    }
}

#[tokio::test(start_paused = true)]
async fn recalled_hits_count_in_cells_too() {
    let (windows, limits) = (windows(), own(&[(20_000, 86_400)], None));
    assert_eq!(ask(&windows, "a", &limits), None);

    windows.recall(&Fingerprint::new("a"), &limits, Duration::from_secs(20 * 3600), 19_999);
    windows.recall(&Fingerprint::new("a"), &limits, Duration::from_secs(25 * 3600), 19_999);

    let refused = ask(&windows, "a", &limits).expect("as many still count as are admitted");
    assert!(refused.reset <= Duration::from_secs(4 * 3600 + 1440), "{refused:?}");
}

/// One count for each unit that a limit may be written in.
#[tokio::test(start_paused = true)]
async fn a_limit_of_each_unit_admits_its_count_and_again_after_its_period() {
    let day = 86_400;
    for (unit, seconds) in
        [("min", 60), ("hour", 3600), ("day", day), ("month", 30 * day), ("year", 365 * day)]
    {
        let windows = windows();
        let quota = crate::config::quota::parse(&format!("5/{unit}")).unwrap();
        let limits = Limits { global: None, caller: Some((Arc::new(quota), None)) };
        for _ in 0..5 {
            assert_eq!(ask(&windows, "a", &limits), None, "{unit}");
            advance(Duration::from_secs(1)).await;
        }

        let refused = ask(&windows, "a", &limits).expect(unit);
        assert_eq!(refused.reset, Duration::from_secs(seconds - 5), "{unit}");
        advance(Duration::from_secs(seconds - 6)).await;
        assert!(ask(&windows, "a", &limits).is_some(), "{unit}");
        advance(Duration::from_secs(1)).await;
        assert_eq!(ask(&windows, "a", &limits), None, "{unit}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_buckets_make_room_for_new_ones() {
    let windows = windows();
    for caller in 0..CAPACITY * 2 {
        ask(&windows, &caller.to_string(), &own(&[(1, 60)], None));
    }
    assert!(windows.len() <= CAPACITY);

    advance(Duration::from_secs(61)).await;
    windows.retain(&|_| true);

    assert!(windows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_once_get_exactly_the_limit() {
    let windows = Arc::new(windows());
    let limits = Limits { global: Some(quota(&[(1000, 3600)])), caller: Some((quota(&[(20, 3600)]), None)) };

    let clients = (0..64).map(|client| {
        let (windows, limits) = (Arc::clone(&windows), limits.clone());
        tokio::spawn(async move {
            (0..100).filter(|_| ask(&windows, &client.to_string(), &limits).is_none()).count()
        })
    });
    let mut admitted = 0;
    for client in clients.collect::<Vec<_>>() {
        admitted += client.await.unwrap();
    }

    assert_eq!(admitted, 1000);
}

proptest! {
    #[test]
    fn cells_count_what_lies_in_the_last_sixty_of_them(
        steps in prop::collection::vec((0u64..90, any::<bool>()), 1..200),
        count in 1u64..30,
    ) {
        // A cell is ten ticks wide.
        let (mut ring, mut now, mut hits) = (Ring::new(600), 5_000u64, Vec::<u64>::new());
        for (step, back) in steps {
            now += step;
            if back && !hits.is_empty() {
                ring.advance(now);
                hits.retain(|at| at / 10 + 60 > now / 10);
                hits.pop();
                ring.take_back();
            } else {
                ring.hit(now, 1);
                hits.push(now);
            }
            let in_cells = |now: u64| hits.iter().filter(|at| **at / 10 + 60 > now / 10).count() as u64;

            prop_assert_eq!(ring.total, in_cells(now));
            if ring.total >= count {
                let room = ring.room_at(count);
                prop_assert!(in_cells(room) < count && in_cells(room - 1) >= count);
            }
        }
    }

    #[test]
    fn no_period_ever_holds_more_than_its_limit(
        steps in prop::collection::vec(0u64..40, 1..300),
        small in 1u64..6, large in 6u64..20,
    ) {
        let quota = quota(&[(small, 30), (large, 200)]);
        let mut tally = Tally::default();
        let (mut now, mut admitted) = (ticks(Duration::from_secs(1000)), Vec::new());

        for step in steps {
            now += ticks(Duration::from_secs(step));
            let within = |seconds: u64| {
                let from = now - ticks(Duration::from_secs(seconds));
                admitted.iter().filter(|at| **at > from).count() as u64
            };
            let room = within(30) < small && within(200) < large;
            let refusal = tally.refusal(&quota, now);

            prop_assert_eq!(refusal.is_none(), room);
            if room {
                tally.hit(&quota, now);
                admitted.push(now);
            } else if let Some((until, _)) = refusal {
                prop_assert!(until > now);
                prop_assert!(tally.refusal(&quota, until - 1).is_some());
                prop_assert!(tally.refusal(&quota, until).is_none());
            }
        }
    }
}
