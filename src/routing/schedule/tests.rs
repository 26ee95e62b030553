use proptest::prelude::*;

use super::*;

fn schedule(algorithm: Algorithm, weights: &[u32]) -> Arc<Schedule> {
    Arc::new(Schedule::new(algorithm, weights))
}

/// The ordinal that a synthetic member carries.
fn ordinal(backend: &Backend) -> Option<usize> {
    match backend.addr {
        SocketAddr::Inet(std::net::SocketAddr::V6(address)) => Some(address.ip().to_bits() as u32 as usize),
        _ => None,
    }
}

fn order(schedule: &Arc<Schedule>, turn: u64, out: &[usize]) -> Vec<usize> {
    let mut set = Ordinals::none(schedule.backends.len());
    out.iter().for_each(|ordinal| set.insert(*ordinal));
    let mut order = schedule.iter(Key::new(Ticket(turn), &set).as_bytes());
    std::iter::from_fn(|| order.next().and_then(ordinal)).collect()
}

fn firsts(algorithm: Algorithm, weights: &[u32], turns: u64) -> String {
    let schedule = schedule(algorithm, weights);
    (0..turns).map(|turn| char::from(b'A' + order(&schedule, turn, &[])[0] as u8)).collect()
}

/// The rule as it is written: counters grow by the weight, the largest counter in proportion
/// to its weight wins and pays the total.
fn by_the_rule(weights: &[u32]) -> Vec<usize> {
    let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    let mut counters = vec![0i128; weights.len()];
    (0..total)
        .map(|_| {
            counters.iter_mut().zip(weights).for_each(|(counter, weight)| *counter += i128::from(*weight));
            let mut best = None::<usize>;
            for at in (0..weights.len()).filter(|at| weights[*at] > 0) {
                let wins = best.is_none_or(|best| {
                    counters[at] * i128::from(weights[best]) > counters[best] * i128::from(weights[at])
                });
                if wins {
                    best = Some(at);
                }
            }
            let best = best.unwrap();
            counters[best] -= total;
            best
        })
        .collect()
}

#[test]
fn weights_interleave_as_the_vectors_say() {
    for (weights, sequence) in [
        (&[5, 3, 2][..], "ABCABACABA"),
        (&[2, 1], "ABA"),
        (&[1, 2], "ABB"),
        (&[3, 1, 1], "ABCAA"),
        (&[7, 3], "ABAABAABAA"),
        (&[1, 1], "AB"),
    ] {
        let turns = sequence.len() as u64;

        assert_eq!(firsts(Algorithm::WeightedRoundRobin, weights, turns * 2), sequence.repeat(2));
    }
}

#[test]
fn the_order_of_the_rules_survives_pingoras() {
    let schedule = schedule(Algorithm::FixedPriority, &[0; 300]);

    assert_eq!(order(&schedule, 7, &[]), (0..300).collect::<Vec<_>>());
}

#[test]
fn round_robin_moves_the_head_by_one() {
    assert_eq!(firsts(Algorithm::RoundRobin, &[0, 0, 0], 7), "ABCABCA");
}

#[test]
fn weighted_algorithms_without_weights_rotate() {
    for algorithm in [Algorithm::WeightedRoundRobin, Algorithm::Lottery, Algorithm::SmartRoundRobin] {
        assert_eq!(firsts(algorithm, &[0, 0, 0], 6), "ABCABC");
    }
}

#[test]
fn smart_round_robin_follows_weights_where_there_are_any() {
    assert_eq!(firsts(Algorithm::SmartRoundRobin, &[2, 1], 6), "ABAABA");
}

#[test]
fn weights_do_nothing_under_other_algorithms() {
    assert_eq!(firsts(Algorithm::RoundRobin, &[5, 0, 1], 6), "ABCABC");
    assert_eq!(firsts(Algorithm::FixedPriority, &[1, 0, 5], 3), "AAA");
}

#[test]
fn unweighted_members_come_last_in_rule_order() {
    let schedule = schedule(Algorithm::WeightedRoundRobin, &[0, 2, 0, 1]);

    assert_eq!(order(&schedule, 0, &[]), [1, 3, 0, 2]);
    assert_eq!(order(&schedule, 1, &[]), [3, 1, 0, 2]);
    assert_eq!(order(&schedule, 0, &[1, 3]), [0, 2]);
}

#[test]
fn a_failing_member_hands_its_share_to_the_others_by_weight() {
    let schedule = schedule(Algorithm::WeightedRoundRobin, &[5, 3, 2]);
    let mut served = [0; 3];

    for turn in 0..100 {
        let took = order(&schedule, turn, &[]).into_iter().find(|member| *member != 0).unwrap();
        served[took] += 1;
    }

    assert_eq!(served, [0, 60, 40]);
}

#[test]
fn a_lottery_follows_the_weights_over_ten_thousand_requests() {
    let schedule = schedule(Algorithm::Lottery, &[5, 3, 2]);
    let mut served = [0f64; 3];

    for turn in 0..10_000 {
        served[order(&schedule, turn, &[])[0]] += 1.0;
    }

    let chi: f64 =
        served.iter().zip([5000.0, 3000.0, 2000.0]).map(|(seen, due)| (seen - due).powi(2) / due).sum();
    assert!(chi < 13.8, "chi-square {chi} of {served:?}"); // p = 0.001 at two degrees of freedom
}

#[test]
fn random_draws_every_order_equally_often() {
    let schedule = schedule(Algorithm::Random, &[9, 0, 1]);
    let mut seen = std::collections::HashMap::<Vec<usize>, f64>::new();

    for turn in 0..12_000 {
        *seen.entry(order(&schedule, turn, &[])).or_default() += 1.0;
    }

    let chi: f64 = seen.values().map(|count| (count - 2000.0).powi(2) / 2000.0).sum();
    assert_eq!(seen.len(), 6);
    assert!(chi < 20.5, "chi-square {chi}"); // p = 0.001 at five degrees of freedom
}

#[test]
fn a_draw_inside_a_draw_is_another_draw() {
    let schedule = schedule(Algorithm::Random, &[0, 0]);
    let mut seen = [[0f64; 2]; 2];

    for turn in 0..10_000 {
        let key = Key::new(Ticket(turn), &Ordinals::none(2));
        let outer = schedule.iter(key.as_bytes()).advance().unwrap();
        let inner = schedule.descend(&key, outer);
        seen[outer][order(&schedule, inner.0, &[])[0]] += 1.0;
    }

    let chi: f64 = seen.iter().flatten().map(|count| (count - 2500.0).powi(2) / 2500.0).sum();
    assert!(chi < 16.3, "chi-square {chi} of {seen:?}");
}

#[test]
fn huge_weights_cost_no_memory_and_stay_exact() {
    let schedule = schedule(Algorithm::WeightedRoundRobin, &[u32::MAX, u32::MAX - 1, 1]);

    let served = (0..10_000).filter(|turn| order(&schedule, *turn, &[])[0] == 0).count();

    assert!((4_999..=5_001).contains(&served), "{served}");
}

proptest! {
    #[test]
    fn the_rotation_is_the_rule_as_written(weights in prop::collection::vec(0u32..40, 1..9)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let schedule = schedule(Algorithm::WeightedRoundRobin, &weights);
        let rule = by_the_rule(&weights);

        let ours: Vec<usize> =
            (0..rule.len()).map(|turn| order(&schedule, turn as u64, &[])[0]).collect();

        prop_assert_eq!(ours, rule);
    }

    #[test]
    fn shares_are_exact_over_those_who_remain(
        weights in prop::collection::vec(1u32..12, 2..7),
        out in prop::collection::vec(any::<bool>(), 7),
        cycles in 1u64..4,
        start in 0u64..1000,
    ) {
        let out: Vec<usize> = (0..weights.len()).filter(|at| out[*at]).collect();
        prop_assume!(out.len() < weights.len());
        let schedule = schedule(Algorithm::WeightedRoundRobin, &weights);
        let total: u64 =
            (0..weights.len()).filter(|at| !out.contains(at)).map(|at| u64::from(weights[at])).sum();
        let mut served = vec![0u64; weights.len()];

        for turn in start..start + total * cycles {
            served[order(&schedule, turn, &out)[0]] += 1;
        }

        for at in 0..weights.len() {
            let due = if out.contains(&at) { 0 } else { u64::from(weights[at]) * cycles };
            prop_assert_eq!(served[at], due);
        }
    }

    #[test]
    fn every_order_names_every_member_once(
        weights in prop::collection::vec(0u32..9, 1..130),
        turn in any::<u64>(),
        algorithm in prop::sample::select(vec![
            Algorithm::FixedPriority, Algorithm::RoundRobin, Algorithm::WeightedRoundRobin,
            Algorithm::Lottery, Algorithm::Random, Algorithm::SmartRoundRobin,
        ]),
    ) {
        let schedule = schedule(algorithm, &weights);

        let mut members = order(&schedule, turn, &[]);

        prop_assert_eq!(&members, &order(&schedule, turn, &[]));
        members.sort_unstable();
        prop_assert_eq!(members, (0..weights.len()).collect::<Vec<_>>());
    }
}
