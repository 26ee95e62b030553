//! Computes what a request cost, in whole picodollars (10⁻¹² USD).
//!
//! A price of one dollar per million tokens is exactly 1,000,000 picodollars per token, so costs
//! are sums of integer products and never round. A stream and a whole answer with equal usage cost
//! the same, because both arrive here as the same [`Usage`].

use dialect::ir::Usage;

/// Picodollars per token in a price of one US dollar per million tokens.
pub const PER_MILLION: u64 = 1_000_000;

/// The cost of one token, in picodollars, by the kind of token.
///
/// A kind without a price of its own costs what its side (input or output) costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// An input token.
    pub input: u64,
    /// An output token.
    pub output: u64,
    /// An input token that a cache supplied.
    pub cache_read: Option<u64>,
    /// An input token written to a cache.
    pub cache_write: Option<u64>,
    /// An output token spent on reasoning.
    pub reasoning: Option<u64>,
    /// An input token of an image.
    pub image: Option<u64>,
    /// A token of sound, in or out.
    pub audio: Option<u64>,
}

impl Default for Price {
    /// 1 USD per million input tokens, 2 USD per million output tokens.
    fn default() -> Self {
        Self::flat(PER_MILLION, 2 * PER_MILLION)
    }
}

impl Price {
    /// A price that knows input and output only, in picodollars per token.
    pub fn flat(input: u64, output: u64) -> Self {
        Self { input, output, cache_read: None, cache_write: None, reasoning: None, image: None, audio: None }
    }

    /// The cost of `usage` in picodollars.
    ///
    /// Totals in a [`Usage`] include their parts. Parts are taken out of their total one after the
    /// other, and a part larger than what is left counts as what is left: an upstream that counts
    /// one token twice (cached *and* sound) neither makes it cost twice nor the remainder negative.
    pub fn cost(&self, usage: &Usage) -> i128 {
        let mut input = Side::new(usage.input_total);
        input.part(usage.cached_read, self.cache_read);
        input.part(usage.cache_write, self.cache_write);
        input.part(usage.image_in, self.image);
        input.part(usage.audio_in, self.audio);
        let mut output = Side::new(usage.output_total);
        output.part(usage.audio_out, self.audio);
        output.part(usage.reasoning, self.reasoning);
        input.rest(self.input).saturating_add(output.rest(self.output))
    }

    /// The cost of a request whose usage never came: its input estimate and the text delivered, both in tokens.
    pub fn estimate(&self, input: u64, output: u64) -> i128 {
        product(input, self.input).saturating_add(product(output, self.output))
    }
}

/// One side of a request while its parts are taken out.
struct Side {
    left: u64,
    cost: i128,
}

impl Side {
    fn new(total: u64) -> Self {
        Self { left: total, cost: 0 }
    }

    fn part(&mut self, tokens: u64, price: Option<u64>) {
        // A part without a price stays in the rest, which is charged at the price of the side.
        let Some(price) = price else { return };
        let tokens = tokens.min(self.left);
        self.left -= tokens;
        self.cost = self.cost.saturating_add(product(tokens, price));
    }

    fn rest(self, price: u64) -> i128 {
        self.cost.saturating_add(product(self.left, price))
    }
}

fn product(tokens: u64, price: u64) -> i128 {
    // Two 64-bit factors fit 128 bits; only the sign bit can be short.
    i128::try_from(u128::from(tokens) * u128::from(price)).unwrap_or(i128::MAX)
}

/// Prices by the model that a request asks for.
pub trait Prices: Send + Sync {
    /// The price of `model`, the default when none is configured for it.
    fn price(&self, model: &str) -> Price;
}

impl<F> Prices for F
where
    F: Fn(&str) -> Price + Send + Sync,
{
    fn price(&self, model: &str) -> Price {
        self(model)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOLLAR: i128 = 1_000_000_000_000;

    fn detailed() -> Price {
        Price {
            input: 1_000_000,
            output: 2_000_000,
            cache_read: Some(100_000),
            cache_write: Some(1_250_000),
            reasoning: Some(3_000_000),
            image: Some(5_000_000),
            audio: Some(7_000_000),
        }
    }

    #[test]
    fn a_million_tokens_each_way_at_one_and_two_dollars_cost_three_dollars() {
        let usage = Usage { input_total: 1_000_000, output_total: 1_000_000, ..Usage::default() };

        assert_eq!(Price::flat(PER_MILLION, 2 * PER_MILLION).cost(&usage), 3 * DOLLAR);
    }

    #[test]
    fn each_kind_of_token_is_charged_once_at_its_own_price() {
        let usage = Usage {
            input_total: 1000,
            cached_read: 100,
            cache_write: 200,
            image_in: 30,
            audio_in: 40,
            output_total: 500,
            reasoning: 50,
            audio_out: 60,
            ..Usage::default()
        };

        let expected = 100 * 100_000
            + 200 * 1_250_000
            + 30 * 5_000_000
            + 40 * 7_000_000
            + (1000 - 370) * 1_000_000
            + 50 * 3_000_000
            + 60 * 7_000_000
            + (500 - 110) * 2_000_000;
        assert_eq!(detailed().cost(&usage), expected);
    }

    #[test]
    fn kinds_without_a_price_cost_what_their_side_costs() {
        let usage = Usage {
            input_total: 10,
            cached_read: 4,
            cache_write: 3,
            output_total: 10,
            reasoning: 5,
            ..Usage::default()
        };

        assert_eq!(Price::flat(7, 11).cost(&usage), 10 * 7 + 10 * 11);
    }

    #[test]
    fn parts_beyond_their_total_never_make_a_cost_negative_or_larger_than_the_total() {
        let usage = Usage {
            input_total: 10,
            cached_read: 8,
            audio_in: 8,
            output_total: 0,
            reasoning: 5,
            ..Usage::default()
        };

        assert_eq!(detailed().cost(&usage), 8 * 100_000 + 2 * 7_000_000);
    }

    #[test]
    fn the_largest_counts_and_prices_saturate() {
        let price = Price::flat(u64::MAX, u64::MAX);
        let usage = Usage { input_total: u64::MAX, output_total: u64::MAX, ..Usage::default() };

        assert_eq!(price.cost(&usage), i128::MAX);
    }

    fn tokens() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..5000, Just(0), Just(u64::MAX), any::<u64>()]
    }

    proptest! {
        #[test]
        fn no_cost_is_negative_and_none_exceeds_the_dearest_kind_of_token(
            counts in prop::array::uniform8(tokens()),
            prices in prop::array::uniform2(0u64..10_000_000),
            parts in prop::array::uniform5(prop::option::of(0u64..10_000_000)),
        ) {
            let [input_total, cached_read, cache_write, image_in, audio_in, output_total, reasoning, audio_out] = counts;
            let usage = Usage {
                input_total, cached_read, cache_write, image_in, audio_in, output_total, reasoning, audio_out,
                ..Usage::default()
            };
            let [cache_read, cache_written, thought, image, audio] = parts;
            let price = Price {
                input: prices[0], output: prices[1],
                cache_read, cache_write: cache_written, reasoning: thought, image, audio,
            };

            let cost = price.cost(&usage);

            let dearest = parts.into_iter().flatten().chain(prices).max().unwrap_or(0);
            let cheapest = parts.into_iter().flatten().chain(prices).min().unwrap_or(0);
            let most = product(input_total, dearest).saturating_add(product(output_total, dearest));
            let least = product(input_total, cheapest).saturating_add(product(output_total, cheapest));
            prop_assert!(cost >= 0 && cost >= least && cost <= most, "{} not in {}..={}", cost, least, most);
        }
    }

    #[test]
    fn an_estimate_uses_the_prices_of_input_and_output() {
        assert_eq!(detailed().estimate(100, 10), 100 * 1_000_000 + 10 * 2_000_000);
    }
}
