//! Keeps lines that come in floods from filling the log: the first of each second are told, the
//! others are counted.

use std::time::Duration;

use tokio::time::Instant;

/// The time in which so many lines are told.
const SPAN: Duration = Duration::from_secs(1);

/// A gate for one sort of line.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Lines that are told in each span.
    most: u32,
    /// When the span is over that the last told line was in.
    over: Option<Instant>,
    told: u32,
    kept_back: u64,
}

impl Throttle {
    /// Lets `most` lines a second pass.
    pub(super) const fn new(most: u32) -> Self {
        Self { most, over: None, told: 0, kept_back: 0 }
    }

    /// Asks for one line. When it may be told: how many were not since the last one was.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.over.is_none_or(|over| now >= over) {
            self.over = Some(now + SPAN);
            self.told = 0;
        }
        if self.told < self.most {
            self.told += 1;
            return Some(std::mem::take(&mut self.kept_back));
        }
        self.kept_back += 1;
        None
    }

    /// How many lines were not told in a span that is over, once: nobody may ask for another. At the
    /// end of the program every span is.
    pub(super) fn rest(&mut self, now: Instant, is_end: bool) -> Option<u64> {
        let is_over = is_end || self.over.is_some_and(|over| now >= over);
        (is_over && self.kept_back > 0).then(|| std::mem::take(&mut self.kept_back))
    }

    /// Whether lines are kept back that are not told of yet.
    pub(super) fn owes(&self) -> bool {
        self.kept_back > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_lines_of_a_second_are_told_and_the_others_counted() {
        let (mut throttle, start) = (Throttle::new(2), Instant::now());

        let told: Vec<_> = (0..5).map(|_| throttle.pass(start)).collect();

        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        assert_eq!(throttle.rest(start + SPAN / 2, false), None, "more may come");
        assert_eq!(throttle.pass(start + SPAN), Some(3));
        assert_eq!((throttle.rest(start + SPAN * 3, false), throttle.owes()), (None, false), "told already");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asked_behind_is_told_once_by_whoever_looks() {
        let (mut throttle, start) = (Throttle::new(1), Instant::now());
        assert_eq!((0..42).filter_map(|_| throttle.pass(start)).count(), 1);

        assert!(throttle.owes());
        assert_eq!(throttle.rest(start, true), Some(41));
        assert_eq!(throttle.rest(start + SPAN, false), None);
        assert_eq!(throttle.pass(start + SPAN), Some(0));
    }
}
