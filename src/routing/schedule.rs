//! Orders the members of one node of a route: our own algorithms behind pingora's selection traits.
//!
//! A member is known by its ordinal in the rule list, carried in a synthetic address that is never
//! dialled: pingora sorts members by address, so configuration order is kept and nothing
//! collapses. What a request brings is passed as the `key` of the selection: its ticket and the
//! members that stand out for everybody (cooling ones). The order is a pure function of members,
//! weights and that key, so every attempt of a request sees the same order, whatever other
//! requests do meanwhile.
//!
//! A rotation shares out exactly, also while members stand out. It takes the place of the ticket
//! in the rotation over *those that remain* instead of skipping slots, which would give the share
//! of a cooling member to whoever happens to follow it. The same holds for failover: the n-th
//! request that was sent to a member first takes the n-th place in the rotation over the others,
//! so the load of a failing member is spread by weight and not onto its neighbour.
//!
//! Pingora's balancer is not asked: it looks each member up by a hash to learn whether it is ready,
//! which here a target's own health tells, at the moment of each pick.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use crate::values::Algorithm;

/// Bits of a ticket that count requests; the ones above are drawn at random.
const TURN_BITS: u32 = 40;
const TURN_MASK: u64 = (1 << TURN_BITS) - 1;

/// A number that one request brings to every schedule of its route.
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

/// The bytes passed to pingora as the key of a selection: the ticket, then the members that stand
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

/// A rule by which the next member is found among those that are left.
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
    /// A schedule of members with these weights, in this order; 0 stands for "no weight".
    pub(crate) fn new(algorithm: Algorithm, weights: &[u32]) -> Self {
        let members = weights.iter().enumerate().map(|(ordinal, weight)| backend(ordinal, *weight)).collect();
        Self::build_with_config(&members, &algorithm)
    }

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
mod tests;
