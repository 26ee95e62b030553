//! A set of positions that finds its next member in a few steps, whatever its size.

/// One bit for each position, and one for each word of those that is not zero.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    words: Box<[u64]>,
    summary: Box<[u64]>,
    ones: usize,
}

impl Bits {
    pub(super) fn none(len: usize) -> Self {
        let words = len.div_ceil(64);
        Self { words: vec![0; words].into(), summary: vec![0; words.div_ceil(64)].into(), ones: 0 }
    }

    pub(super) fn all(len: usize) -> Self {
        let mut all = Self::none(len);
        (0..len).for_each(|at| all.set(at));
        all
    }

    pub(super) fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    pub(super) fn set(&mut self, at: usize) {
        self.ones += usize::from(!self.get(at));
        self.words[at / 64] |= 1 << (at % 64);
        self.summary[at / 4096] |= 1 << (at / 64 % 64);
    }

    pub(super) fn clear(&mut self, at: usize) {
        self.ones -= usize::from(self.get(at));
        self.words[at / 64] &= !(1 << (at % 64));
        if self.words[at / 64] == 0 {
            self.summary[at / 4096] &= !(1 << (at / 64 % 64));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ones == 0
    }
}

/// The positions that are in both sets; one set alone where there is no second.
#[derive(Clone, Copy)]
pub(super) struct Both<'a>(pub(super) &'a Bits, pub(super) Option<&'a Bits>);

impl Both<'_> {
    pub(super) fn get(self, at: usize) -> bool {
        self.0.get(at) && self.1.is_none_or(|other| other.get(at))
    }

    fn word(self, at: usize) -> u64 {
        self.0.words[at] & self.1.map_or(!0, |other| other.words[at])
    }

    fn summary(self, at: usize) -> u64 {
        self.0.summary[at] & self.1.map_or(!0, |other| other.summary[at])
    }

    /// The words with a member, from word `from` on.
    fn words(self, from: usize) -> impl Iterator<Item = (usize, u64)> {
        let mut block = from / 64;
        let mut left = if block < self.0.summary.len() { self.summary(block) & !0 << (from % 64) } else { 0 };
        std::iter::from_fn(move || {
            loop {
                while left == 0 {
                    block += 1;
                    if block >= self.0.summary.len() {
                        return None;
                    }
                    left = self.summary(block);
                }
                let at = block * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                match self.word(at) {
                    0 => {}
                    word => return Some((at, word)),
                }
            }
        })
    }

    /// The first member at `from` or behind it.
    pub(super) fn next(self, from: usize) -> Option<usize> {
        let at = from / 64;
        if at >= self.0.words.len() {
            return None;
        }
        let first = self.word(at) & !0 << (from % 64);
        if first != 0 {
            return Some(at * 64 + first.trailing_zeros() as usize);
        }
        self.words(at + 1).next().map(|(at, word)| at * 64 + word.trailing_zeros() as usize)
    }

    /// How many members there are.
    pub(super) fn count(self) -> usize {
        self.words(0).map(|(_, word)| word.count_ones() as usize).sum()
    }

    /// The member with this rank.
    pub(super) fn nth(self, mut rank: usize) -> Option<usize> {
        for (at, mut word) in self.words(0) {
            let ones = word.count_ones() as usize;
            if rank >= ones {
                rank -= ones;
                continue;
            }
            for _ in 0..rank {
                word &= word - 1;
            }
            return Some(at * 64 + word.trailing_zeros() as usize);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_like_a_sorted_set(
            len in 1usize..9000,
            picks in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4), 0..60),
            from in any::<prop::sample::Index>(),
            rank in 0usize..40,
        ) {
            let (mut a, mut b) = (Bits::none(len), Bits::none(len));
            let (mut in_a, mut in_b) = (BTreeSet::new(), BTreeSet::new());
            for (at, what) in picks {
                let at = at.index(len);
                match what {
                    0 => { a.set(at); in_a.insert(at); }
                    1 => { b.set(at); in_b.insert(at); }
                    2 => { a.set(at); b.set(at); in_a.insert(at); in_b.insert(at); }
                    _ => { a.clear(at); in_a.remove(&at); }
                }
            }
            let from = from.index(len);
            let both: Vec<usize> = in_a.intersection(&in_b).copied().collect();

            prop_assert_eq!(Both(&a, None).next(from), in_a.range(from..).next().copied());
            prop_assert_eq!(Both(&a, Some(&b)).next(from), both.iter().find(|at| **at >= from).copied());
            prop_assert_eq!(Both(&a, Some(&b)).count(), both.len());
            prop_assert_eq!(Both(&a, Some(&b)).nth(rank), both.get(rank).copied());
            prop_assert_eq!(a.is_empty(), in_a.is_empty());
        }
    }
}
