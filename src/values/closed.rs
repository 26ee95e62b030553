//! A record that is closed and has its cost: what metrics, the request line and the database read.
//!
//! It is made once per request and shared by reference count, so the log thread and the database
//! writer copy no text, and whichever lets go last frees it, off the request path.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dialect::Kind;
use dialect::ir::Usage;
use layers::ledger::{AttemptRecord, Entry};

use super::price::Price;

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
    /// Puts the cost on a record.
    ///
    /// Usage that never came is charged as the input estimate (without one, the body's length) and
    /// the delivered text, four bytes a token. So is the output of an answer that did not come to
    /// its end and told only what it had counted in the beginning. Nothing is charged when no
    /// attempt was accepted, nor for moderation, whose answers hold no usage by design.
    pub fn new(entry: Entry, price: Price) -> Self {
        let delivered = entry.delivered / 4;
        let cut_short = entry.abandoned || entry.failure.is_some();
        let (cost, estimated) = match &entry.usage {
            _ if entry.accepted.is_none() => (0, false),
            Some(usage) if cut_short && usage.output_total < delivered => {
                (price.cost(&Usage { output_total: delivered, ..*usage }), true)
            }
            Some(usage) => (price.cost(usage), false),
            None if entry.endpoint.kind == Kind::Moderate => (0, false),
            None => {
                let input = entry.input_estimate.unwrap_or(entry.body_bytes as u64 / 4);
                (price.estimate(input, delivered), true)
            }
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

    /// Time that was ours and not an upstream's: until the acceptance, or all of it when nothing was accepted.
    pub fn overhead(&self) -> Duration {
        self.entry.accepted.unwrap_or(self.entry.elapsed).saturating_sub(self.entry.waited)
    }
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
        entry.body_bytes = 400;
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
    fn an_input_estimate_that_was_made_comes_before_the_length_of_the_body() {
        let mut entry = entry("gpt-4o");
        entry.usage = None;
        entry.body_bytes = 4_000_000;
        entry.input_estimate = Some(7);

        assert_eq!(Closed::new(entry, PRICE).cost, 70);
    }

    #[test]
    fn a_request_that_nobody_accepted_costs_nothing() {
        let mut entry = entry("gpt-4o");
        entry.usage = None;
        entry.accepted = None;
        entry.body_bytes = 400;

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
