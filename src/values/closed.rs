//! A record that is closed and has its cost: what metrics, the request line and the database read.
//!
//! It is made once per request and shared by reference count, so the log thread and the database
//! writer copy no text, and whichever lets go last frees it, off the request path.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dialect::Kind;
use dialect::ir::Usage;
use layers::ledger::{AttemptRecord, Entry};

use super::price::Price;

/// What a picture, a sound or a file takes where nobody counted: about a picture in high detail.
const TOKENS_PER_MEDIUM: u64 = 1000;
/// How often a count may exceed the estimate before it is taken for a slip, once it is large.
const MOST_TIMES: u64 = 100;

/// Longest model name that is stored or logged, in bytes: the name is the client's own text.
const LONGEST_MODEL: usize = 256;

/// A closed record and what it cost.
#[derive(Debug)]
pub struct Closed {
    /// What is known of the request.
    pub entry: Entry,
    /// The prices at that moment; later changes do not alter history.
    pub price: Price,
    /// What it cost, in picodollars, side calls included.
    pub cost: i128,
    /// Whether `cost` is an estimate, because the upstream never told the usage.
    pub estimated: bool,
}

impl Closed {
    /// Puts the cost on a record, and takes usage off it that tells nothing.
    ///
    /// Usage that never came is charged as the input estimate and the delivered text, four bytes a
    /// token. So is a side of a conversation that was not counted though something went through it,
    /// and the output of an answer that did not come to its end and told only what it had counted in
    /// the beginning. Nothing is charged when no attempt was accepted, nor for moderation and counting,
    /// whose answers hold no usage by design.
    pub fn new(mut entry: Entry, price: Price) -> Self {
        let size = entry.estimate.unwrap_or_default();
        let input = size.input.0.saturating_add(size.media.saturating_mul(TOKENS_PER_MEDIUM));
        let delivered = entry.delivered / 4;
        entry.usage =
            entry.usage.filter(|usage| !usage.counts_nothing() && is_plausible(usage, input, delivered));
        let cut_short = entry.abandoned || entry.failure.is_some();
        let talks = matches!(entry.endpoint.kind, Kind::Chat | Kind::Completion);
        if entry.endpoint.kind == Kind::Stored {
            // It was charged when it was made.
            entry.usage = None;
        }
        let (cost, estimated) = match entry.usage {
            _ if entry.accepted.is_none() || entry.endpoint.kind == Kind::Stored => (0, false),
            Some(told) => {
                let mut taken = told;
                if cut_short || (talks && told.output_total == 0) {
                    taken.output_total = told.output_total.max(delivered);
                }
                if talks && told.input_total == 0 {
                    taken.input_total = input;
                }
                (price.cost(&taken), taken != told)
            }
            None if matches!(entry.endpoint.kind, Kind::Moderate | Kind::CountTokens) => (0, false),
            None => (price.estimate(input, delivered), true),
        };
        Self { entry, price, cost, estimated }
    }

    /// The model as asked for, cut to a length that may be stored.
    pub fn model(&self) -> &str {
        clip(&self.entry.model, LONGEST_MODEL)
    }

    /// The model that one of its attempts asked for, cut likewise.
    pub fn model_of<'a>(&'a self, attempt: &'a AttemptRecord) -> &'a str {
        attempt.side_call.as_deref().map_or(self.model(), |model| clip(model, LONGEST_MODEL))
    }

    /// The channel that served it.
    pub fn channel(&self) -> Option<&str> {
        self.entry.target.as_ref().map(|target| target.channel.name.as_str())
    }

    /// Whether the client was given what it asked for, or left before that without a fault of ours.
    pub fn succeeded(&self) -> bool {
        self.entry.failure.is_none() && self.entry.status.is_success()
    }

    /// When it ended, in Unix seconds.
    pub fn ended(&self) -> i64 {
        seconds(self.entry.arrived + self.entry.elapsed)
    }

    /// The part of [`Self::overhead`] that was spent before the first attempt; none where there was none.
    pub fn overhead_before(&self) -> Option<Duration> {
        let first = self.entry.attempts.iter().find(|attempt| attempt.side_call.is_none())?;
        Some(first.began.saturating_sub(first.waited))
    }

    /// Time that was ours and not an upstream's: until the acceptance, or all of it when nothing was accepted.
    pub fn overhead(&self) -> Duration {
        self.entry.accepted.unwrap_or(self.entry.elapsed).saturating_sub(self.entry.waited)
    }
}

/// Whether counts can be believed: none is more than any model takes, and a large one is within
/// reason of what went through, so that a relay's slip books no fortune on a key.
fn is_plausible(usage: &Usage, input: u64, delivered: u64) -> bool {
    let within = |told: u64, estimate: u64| {
        told <= Usage::MOST_UNDOUBTED || told <= estimate.max(1).saturating_mul(MOST_TIMES)
    };
    !usage.is_absurd() && within(usage.input_total, input) && within(usage.output_total, delivered)
}

/// Unix seconds of a wall clock time; 0 before 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The longest beginning of `text` that has at most `limit` bytes and ends between characters.
fn clip(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests {
    use layers::estimate::Size;
    use layers::ports::InputTokens;

    use super::*;
    use crate::values::testing::entry;

    const PRICE: Price = Price {
        input: 10,
        output: 100,
        cache_read: None,
        cache_write: None,
        reasoning: None,
        image: None,
        audio: None,
    };

    #[test]
    fn told_usage_is_charged_as_it_is() {
        let mut entry = entry("gpt-4o");
        entry.usage = Some(Usage { input_total: 3, output_total: 2, ..Usage::default() });

        let closed = Closed::new(entry, PRICE);

        assert_eq!((closed.cost, closed.estimated), (230, false));
    }

    #[test]
    fn usage_that_never_came_is_charged_by_length_and_marked() {
        let mut entry = entry("gpt-4o");
        entry.usage = None;
        entry.accepted = Some(Duration::from_millis(5));
        entry.estimate = asked(100, 0);
        entry.delivered = 40;

        let closed = Closed::new(entry, PRICE);

        assert_eq!((closed.cost, closed.estimated), (100 * 10 + 10 * 100, true));
    }

    #[test]
    fn an_answer_that_was_left_early_costs_what_was_delivered() {
        let mut entry = entry("gpt-4o");
        // What a stream of Anthropic's tells in its first event.
        entry.usage = Some(Usage { input_total: 3, output_total: 1, ..Usage::default() });
        entry.delivered = 40;
        entry.abandoned = true;

        let closed = Closed::new(entry, PRICE);

        assert_eq!((closed.cost, closed.estimated), (3 * 10 + 10 * 100, true));
    }

    #[test]
    fn media_cost_a_fixed_number_of_tokens_whatever_their_length() {
        let mut entry = entry("gpt-4o");
        entry.usage = None;
        entry.body_bytes = 4_000_000;
        entry.estimate = asked(7, 2);

        assert_eq!(Closed::new(entry, PRICE).cost, 2007 * 10);
    }

    fn asked(input: u64, media: u64) -> Option<Size> {
        Some(Size { input: InputTokens(input), media, most_output: None })
    }

    /// The cost of an answer of forty bytes to a request of a hundred tokens that told this usage,
    /// whether it is an estimate, and whether the usage is stored.
    fn charged(usage: Usage) -> (i128, bool, bool) {
        let mut entry = entry("gpt-4o");
        entry.usage = Some(usage);
        entry.estimate = asked(100, 0);
        entry.delivered = 40;
        let closed = Closed::new(entry, PRICE);
        (closed.cost, closed.estimated, closed.entry.usage.is_some())
    }

    #[test]
    fn usage_that_counts_nothing_is_none() {
        let told = Usage::default();
        let estimate = (100 * 10 + 10 * 100, true, false);

        assert_eq!(charged(told), estimate);
        assert_eq!(charged(Usage { stated_total: 7, stated_cost: 9, ..told }), estimate);
    }

    #[test]
    fn a_side_that_was_not_counted_is_estimated_and_the_other_is_believed() {
        let told = Usage::default();

        assert_eq!(charged(Usage { input_total: 3, ..told }), (3 * 10 + 10 * 100, true, true));
        assert_eq!(charged(Usage { output_total: 3, ..told }), (100 * 10 + 3 * 100, true, true));
    }

    #[test]
    fn counts_beyond_reason_are_none() {
        let estimate = (100 * 10 + 10 * 100, true, false);
        let of = |input_total, output_total| charged(Usage { input_total, output_total, ..Usage::default() });

        for absurd in [u64::MAX, 1 << 63, 10_000_001, 1_000_001] {
            assert_eq!(of(absurd, 5), estimate, "{absurd}");
            assert_eq!(of(5, absurd), estimate, "{absurd}");
        }
        assert_eq!(of(1_000_000, 5), (1_000_000 * 10 + 500, false, true));
    }

    #[test]
    fn a_large_count_is_believed_where_much_went_through() {
        let mut entry = entry("gpt-4o");
        entry.usage = Some(Usage { input_total: 1_900_000, output_total: 1, ..Usage::default() });
        entry.estimate = asked(20_000, 0);

        let closed = Closed::new(entry, PRICE);

        assert_eq!((closed.cost, closed.estimated), (19_000_100, false));
    }

    #[test]
    fn a_request_that_nobody_accepted_costs_nothing() {
        let mut entry = entry("gpt-4o");
        entry.usage = None;
        entry.accepted = None;
        entry.estimate = asked(100, 0);

        let closed = Closed::new(entry, PRICE);

        assert_eq!((closed.cost, closed.estimated), (0, false));
    }

    #[test]
    fn a_long_model_name_is_cut_between_characters() {
        let mut entry = entry("gpt-4o");
        entry.model = "é".repeat(200).into();

        let closed = Closed::new(entry, PRICE);

        assert_eq!(closed.model(), "é".repeat(128));
    }
}
