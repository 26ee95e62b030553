//! Orders the members of one node of a route: our own algorithms behind pingora's selection traits.
//!
//! A member is known by its ordinal in the rule list, carried in a synthetic address that is never
//! dialled: pingora sorts members by address, so configuration order is kept and nothing
//! collapses. What a request brings is passed as the `key` of the selection: its ticket and the
//! members that stand out for everybody (benched ones). The order is a pure function of members,
//! weights and that key, so every attempt of a request sees the same order, whatever other
//! requests do meanwhile.
//!
//! A rotation shares out exactly, also while members stand out. It takes the place of the ticket
//! in the rotation over *those that remain* instead of skipping slots, which would give the share
//! of a benched member to whoever happens to follow it. The same holds for failover: the n-th
//! request that was sent to a member first takes the n-th place in the rotation over the others,
//! so the load of a failing member is spread by weight and not onto its neighbour.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Backends, LoadBalancer, discovery};

use crate::values::Algorithm;

/// Bits of a ticket that count requests; the ones above are drawn at random.
const TURN_BITS: u32 = 40;
const TURN_MASK: u64 = (1 << TURN_BITS) - 1;

/// What one request brings to every schedule of its route.
///
/// The low 40 bits are its turn, which rotations follow; draws mix all 64 bits. One number serves
/// both, because a route may hold rotations and draws at different depths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(pub u64);

impl Ticket {
    /// The ticket of the request with this running number.
    pub fn of_turn(turn: u64, luck: u64) -> Self {
        Self((turn & TURN_MASK) | (luck << TURN_BITS))
    }

    fn turn(self) -> u64 {
        self.0 & TURN_MASK
    }

    fn with_turn(self, turn: u64) -> Self {
        Self((self.0 & !TURN_MASK) | (turn & TURN_MASK))
    }

    /// The next random number of this ticket.
    fn stir(self, salt: u64) -> u64 {
        // The finaliser of SplitMix64: every bit of the input reaches every bit of the output.
        let mut x = self.0.wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

/// A set of ordinals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ordinals {
    /// Up to 64 members, as nearly every node has: no allocation.
    Few(u64),
    /// More.
    Many(Box<[u64]>),
}

impl Ordinals {
    /// An empty set that can hold `len` ordinals.
    pub(crate) fn none(len: usize) -> Self {
        if len <= 64 { Self::Few(0) } else { Self::Many(vec![0; len.div_ceil(64)].into()) }
    }

    fn all(len: usize) -> Self {
        let mut all = Self::none(len);
        (0..len).for_each(|ordinal| all.insert(ordinal));
        all
    }

    fn words(&self) -> &[u64] {
        match self {
            Self::Few(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match self {
            Self::Few(word) => std::slice::from_mut(word),
            Self::Many(words) => words,
        }
    }

    pub(crate) fn insert(&mut self, ordinal: usize) {
        if let Some(word) = self.words_mut().get_mut(ordinal / 64) {
            *word |= 1 << (ordinal % 64);
        }
    }

    fn remove(&mut self, ordinal: usize) {
        if let Some(word) = self.words_mut().get_mut(ordinal / 64) {
            *word &= !(1 << (ordinal % 64));
        }
    }

    pub(crate) fn contains(&self, ordinal: usize) -> bool {
        self.words().get(ordinal / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    fn len(&self) -> usize {
        self.words().iter().map(|word| word.count_ones() as usize).sum()
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words().iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }
}

/// What is passed to pingora as the key of a selection: the ticket, then the members that stand
/// out.
pub(crate) struct Key {
    few: [u8; 16],
    many: Vec<u8>,
}

impl Key {
    pub(crate) fn new(ticket: Ticket, out: &Ordinals) -> Self {
        let mut few = [0; 16];
        few[..8].copy_from_slice(&ticket.0.to_le_bytes());
        let mut many = Vec::new();
        match out {
            Ordinals::Few(word) => few[8..].copy_from_slice(&word.to_le_bytes()),
            Ordinals::Many(words) => {
                many.extend_from_slice(&few[..8]);
                words.iter().for_each(|word| many.extend_from_slice(&word.to_le_bytes()));
            }
        }
        Self { few, many }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.many.is_empty() { &self.few } else { &self.many }
    }

    /// Reads a key back; bytes that are missing count as zero, so that a bare ticket is a key.
    fn read(bytes: &[u8], members: usize) -> (Ticket, Ordinals) {
        let mut words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let ticket = Ticket(words.next().unwrap_or(0));
        let mut out = Ordinals::none(members);
        out.words_mut().iter_mut().zip(words).for_each(|(word, read)| *word = read);
        (ticket, out)
    }
}

/// The synthetic member with this ordinal. A weight of 0 stands for "no weight".
pub(crate) fn backend(ordinal: usize, weight: u32) -> Backend {
    let low = u128::from(u32::try_from(ordinal).unwrap_or(u32::MAX));
    let address = Ipv6Addr::from_bits((0xfd00 << 112) | low);
    Backend {
        addr: SocketAddr::Inet(SocketAddrV6::new(address, 1, 0, 0).into()),
        weight: weight as usize,
        ext: http::Extensions::new(),
    }
}

/// The ordinal that a synthetic member carries.
pub(crate) fn ordinal(backend: &Backend) -> Option<usize> {
    match backend.addr {
        SocketAddr::Inet(std::net::SocketAddr::V6(address)) => Some(address.ip().to_bits() as u32 as usize),
        _ => None,
    }
}

/// A balancer over members with these weights, in this order; 0 stands for "no weight".
pub(crate) fn balancer(algorithm: Algorithm, weights: &[u32]) -> (LoadBalancer<Schedule>, Arc<Schedule>) {
    let members: BTreeSet<Backend> =
        weights.iter().enumerate().map(|(ordinal, weight)| backend(ordinal, *weight)).collect();
    let schedule = Arc::new(Schedule::build_with_config(&members, &algorithm));
    let balancer = LoadBalancer::from_backends_with_config(
        Backends::new(discovery::Static::new(members)),
        Some(algorithm),
    );
    // `update` is async for discoveries that ask somebody; this one answers from memory, so one
    // poll is enough and a route can be built where nothing may wait.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let updated = std::pin::pin!(balancer.update()).poll(&mut context);
    if !matches!(updated, std::task::Poll::Ready(Ok(()))) {
        tracing::error!("A static member list was not ready at once, the route stays empty.");
    }
    (balancer, schedule)
}

/// How the next member is found among those that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Head,
    Turn,
    WeightedTurn,
    WeightedDraw,
    Draw,
}

/// The members of one node with the rule that orders them.
#[derive(Debug)]
pub struct Schedule {
    backends: Box<[Backend]>,
    pace: Pace,
}

impl BackendSelection for Schedule {
    type Iter = Order;
    type Config = Algorithm;

    fn build_with_config(backends: &BTreeSet<Backend>, algorithm: &Algorithm) -> Self {
        let weighted = backends.iter().any(|backend| backend.weight > 0);
        let pace = match algorithm {
            Algorithm::FixedPriority => Pace::Head,
            Algorithm::Random => Pace::Draw,
            Algorithm::Lottery if weighted => Pace::WeightedDraw,
            Algorithm::WeightedRoundRobin | Algorithm::SmartRoundRobin if weighted => Pace::WeightedTurn,
            // Without any weight the weighted algorithms are a plain rotation.
            _ => Pace::Turn,
        };
        Self { backends: backends.iter().cloned().collect(), pace }
    }

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Self::build_with_config(backends, &Algorithm::default())
    }

    fn iter(self: &Arc<Self>, key: &[u8]) -> Order {
        let members = self.backends.len();
        let (ticket, out) = Key::read(key, members);
        let mut left = Ordinals::all(members);
        out.iter().for_each(|ordinal| left.remove(ordinal));
        Order { schedule: Arc::clone(self), left, ticket }
    }
}

impl Schedule {
    /// Whether tickets have to count requests; otherwise any number will do.
    pub fn rotates(&self) -> bool {
        matches!(self.pace, Pace::Turn | Pace::WeightedTurn)
    }

    /// The ticket that a request with this key brings to the node behind `member`.
    ///
    /// Under a rotation it is the running number among those requests that came this way, so a
    /// rotation inside a group is exact too.
    pub(crate) fn descend(self: &Arc<Self>, key: &Key, member: usize) -> Ticket {
        let mut order = self.iter(key.as_bytes());
        let drawn = order.ticket;
        while let Some(next) = order.advance() {
            if next == member {
                break;
            }
        }
        match self.pace {
            Pace::Head | Pace::Turn | Pace::WeightedTurn => order.ticket,
            // Two draws on one path must not be the same draw, or the inner one would always
            // fall where the outer one fell.
            Pace::Draw | Pace::WeightedDraw => Ticket::of_turn(drawn.turn(), drawn.stir(member as u64 + 1)),
        }
    }

    /// The weight of a member; 0 stands for "no weight".
    pub(crate) fn weight(&self, ordinal: usize) -> u64 {
        self.backends[ordinal].weight as u64
    }

    /// The share of requests that try each member first while those in `out` stand out.
    pub(crate) fn shares(&self, out: &Ordinals) -> Vec<f64> {
        let left = || (0..self.backends.len()).filter(|ordinal| !out.contains(*ordinal));
        let mut shares = vec![0.0; self.backends.len()];
        let total: u64 = left().map(|ordinal| self.weight(ordinal)).sum();
        match self.pace {
            Pace::Turn | Pace::Draw => {
                left().for_each(|ordinal| shares[ordinal] = 1.0 / left().count() as f64)
            }
            Pace::WeightedTurn | Pace::WeightedDraw if total > 0 => {
                left().for_each(|ordinal| shares[ordinal] = self.weight(ordinal) as f64 / total as f64);
            }
            // In rule order, which is also that of the members without a weight.
            Pace::Head | Pace::WeightedTurn | Pace::WeightedDraw => {
                left().take(1).for_each(|ordinal| shares[ordinal] = 1.0);
            }
        }
        shares
    }
}

/// The members of a schedule in the order in which one request tries them.
pub struct Order {
    schedule: Arc<Schedule>,
    left: Ordinals,
    ticket: Ticket,
}

impl BackendIter for Order {
    fn next(&mut self) -> Option<&Backend> {
        let ordinal = self.advance()?;
        self.schedule.backends.get(ordinal)
    }
}

impl Order {
    /// The ordinal of the next member.
    pub(crate) fn advance(&mut self) -> Option<usize> {
        let head = self.left.iter().next()?;
        let next = match self.schedule.pace {
            Pace::Head => head,
            Pace::Turn => {
                let members = self.left.len() as u64;
                let turn = self.ticket.turn();
                self.ticket = self.ticket.with_turn(turn / members);
                self.left.iter().nth((turn % members) as usize).unwrap_or(head)
            }
            Pace::WeightedTurn => self.weighted_turn().unwrap_or(head),
            Pace::Draw => {
                let at = self.draw(self.left.len() as u64);
                self.left.iter().nth(at as usize).unwrap_or(head)
            }
            Pace::WeightedDraw => self.weighted_draw().unwrap_or(head),
        };
        self.left.remove(next);
        Some(next)
    }

    /// A number below `bound`, evenly.
    fn draw(&mut self, bound: u64) -> u64 {
        let luck = self.ticket.stir(0);
        self.ticket = Ticket(luck);
        ((u128::from(luck) * u128::from(bound)) >> 64) as u64
    }

    fn weighted_draw(&mut self) -> Option<usize> {
        let total: u64 = self.left.iter().map(|ordinal| self.schedule.weight(ordinal)).sum();
        if total == 0 {
            return None;
        }
        let mut at = self.draw(total);
        self.left.iter().find(|ordinal| {
            let weight = self.schedule.weight(*ordinal);
            let found = at < weight;
            at = at.saturating_sub(weight);
            found
        })
    }

    /// The member whose slot this turn is, in the smooth rotation over the weighted members left.
    ///
    /// The rotation is: whoever has been served least in proportion to its weight is next, the
    /// first listed among equals. So the j-th slot of a member with weight w stands at j/w of the
    /// cycle, and slot number `place` is the one at that rank among the fractions of all members.
    /// It is found without laying the cycle out: a point shortly before it is known, and at most
    /// two slots per member lie between.
    fn weighted_turn(&mut self) -> Option<usize> {
        struct Slot {
            ordinal: usize,
            weight: u64,
            nth: u64,
        }
        let weighted = || {
            self.left
                .iter()
                .map(|ordinal| (ordinal, self.schedule.weight(ordinal)))
                .filter(|(_, weight)| *weight > 0)
        };
        let (mut members, mut total) = (0u64, 0u64);
        for (_, weight) in weighted() {
            members += 1;
            total += weight;
        }
        if total == 0 {
            return None;
        }
        let turn = self.ticket.turn();
        let place = turn % total;
        // Each member has ceil(weight × x) slots before the point x of the cycle. Summed up that
        // is at most `place` at x = (place − members) / total, and at least `place` at
        // x = place / total.
        let before =
            |weight: u64, at: u64| (u128::from(weight) * u128::from(at)).div_ceil(u128::from(total)) as u64;
        let start = place.saturating_sub(members);
        let mut skipped = 0;
        let mut slots = Vec::with_capacity(members as usize * 2);
        for (ordinal, weight) in weighted() {
            let from = before(weight, start);
            skipped += from;
            // One more than lies before the upper point: the slot at `place` may stand on it.
            let to = before(weight, place).saturating_add(1).min(weight);
            slots.extend((from..to).map(|nth| Slot { ordinal, weight, nth }));
        }
        let rank = (place - skipped) as usize;
        let (_, slot, _) = slots.select_nth_unstable_by(rank, |a, b| {
            let left = u128::from(a.nth) * u128::from(b.weight);
            let right = u128::from(b.nth) * u128::from(a.weight);
            left.cmp(&right).then(a.ordinal.cmp(&b.ordinal))
        });
        let (ordinal, weight, nth) = (slot.ordinal, slot.weight, slot.nth);
        self.ticket = self.ticket.with_turn(turn / total * weight + nth);
        Some(ordinal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(algorithm: Algorithm, weights: &[u32]) -> Arc<Schedule> {
        balancer(algorithm, weights).1
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
                counters
                    .iter_mut()
                    .zip(weights)
                    .for_each(|(counter, weight)| *counter += i128::from(*weight));
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
    fn the_order_of_the_rules_survives_the_balancer() {
        let weights = [0; 300];
        let (balancer, schedule) = balancer(Algorithm::FixedPriority, &weights);

        assert_eq!(order(&schedule, 7, &[]), (0..300).collect::<Vec<_>>());
        let picked = balancer.select_with(&[], 300, |member, ready| ready && ordinal(member) == Some(299));
        assert_eq!(picked.as_ref().and_then(ordinal), Some(299));
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
}
