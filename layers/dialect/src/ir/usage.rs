/// The counts of what one answer took, in normal form: totals include their parts.
///
/// Providers disagree on what a total holds (Anthropic counts cached tokens apart from input, xAI reasoning apart
/// from output); decoders settle that on the way in, so that accounting adds nothing twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, with those read from and written to a cache.
    pub input_total: u64,
    /// Input tokens that a cache supplied.
    pub cached_read: u64,
    /// Input tokens written to a cache, of any lifetime.
    pub cache_write: u64,
    /// The part of `cache_write` that is kept for an hour.
    pub cache_write_1h: u64,
    /// Output tokens, with reasoning.
    pub output_total: u64,
    /// Output tokens spent on reasoning.
    pub reasoning: u64,
    /// Input tokens of sound.
    pub audio_in: u64,
    /// Output tokens of sound.
    pub audio_out: u64,
    /// Input tokens of images.
    pub image_in: u64,
    /// Input tokens of tool prompts that the provider added.
    pub tool_prompt: u64,
    /// Predicted output tokens that were used.
    pub accepted_prediction: u64,
    /// Predicted output tokens that were not used.
    pub rejected_prediction: u64,
    /// The total as the provider states it; 0 when it states none.
    pub stated_total: u64,
    /// Output tokens of images.
    pub image_out: u64,
    /// Sound that was heard or spoken, in milliseconds.
    pub sound_ms: u64,
    /// Characters that were spoken.
    pub characters: u64,
    /// Searches that were ranked, in the provider's units.
    pub search_units: u64,
    /// Calls of tools that run at the provider.
    pub server_calls: u64,
    /// What the provider says that it costs, in billionths of a dollar; 0 when it says nothing.
    pub stated_cost: u64,
    /// The class of service in which it was served, where the provider tells it.
    pub tier: Option<Tier>,
}

/// A class of service, in which an answer was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The usual one.
    Default,
    /// Cheaper, and slower.
    Flex,
    /// Before others.
    Priority,
    /// From capacity that was bought beforehand.
    Scale,
    /// Some time later.
    Batch,
}

impl Tier {
    /// Reads the word of any provider.
    pub(crate) fn of(word: &str) -> Option<Self> {
        const WORDS: [(&str, Tier); 8] = [
            ("default", Tier::Default),
            ("standard", Tier::Default),
            ("on_demand", Tier::Default),
            ("flex", Tier::Flex),
            ("priority", Tier::Priority),
            ("scale", Tier::Scale),
            ("reserved", Tier::Scale),
            ("batch", Tier::Batch),
        ];
        WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, tier)| *tier)
    }

    /// OpenAI's word for it.
    ///
    /// Source: <https://platform.openai.com/docs/api-reference/chat/object> (`service_tier`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Scale => "scale",
            Self::Batch => "batch",
        }
    }
}

impl Usage {
    /// Says whether nothing was counted at all.
    pub fn is_empty(&self) -> bool {
        Self { tier: None, ..*self } == Self::default()
    }

    /// Says whether nothing was counted that an answer takes: totals and costs alone tell nothing.
    pub fn counts_nothing(&self) -> bool {
        Self { stated_total: 0, stated_cost: 0, ..*self }.is_empty()
    }

    /// Says whether it has to be held against an estimate: a side that took nothing, or more than most models can.
    pub fn is_doubtful(&self) -> bool {
        [self.input_total, self.output_total].iter().any(|side| *side == 0 || *side > Self::MOST_UNDOUBTED)
    }

    /// Tokens that a side of an answer may take without being doubted.
    pub const MOST_UNDOUBTED: u64 = 1_000_000;
    /// Tokens that no side of an answer takes: who says so counts wrongly.
    pub const MOST: u64 = 10_000_000;

    /// Says whether a side takes more than any does.
    pub fn is_absurd(&self) -> bool {
        [self.input_total, self.output_total].iter().any(|side| *side > Self::MOST)
    }

    /// Input and output together: what the provider states, or their sum.
    pub fn total(&self) -> u64 {
        match self.stated_total {
            0 => self.input_total.saturating_add(self.output_total),
            stated => stated,
        }
    }

    /// Takes over a later report of the same answer, field by field.
    ///
    /// Reports are cumulative, and late ones leave fields out (read as 0), so a zero never overwrites a count.
    pub fn merge(&mut self, later: Usage) {
        let fields = [
            (&mut self.input_total, later.input_total),
            (&mut self.cached_read, later.cached_read),
            (&mut self.cache_write, later.cache_write),
            (&mut self.cache_write_1h, later.cache_write_1h),
            (&mut self.output_total, later.output_total),
            (&mut self.reasoning, later.reasoning),
            (&mut self.audio_in, later.audio_in),
            (&mut self.audio_out, later.audio_out),
            (&mut self.image_in, later.image_in),
            (&mut self.tool_prompt, later.tool_prompt),
            (&mut self.accepted_prediction, later.accepted_prediction),
            (&mut self.rejected_prediction, later.rejected_prediction),
            (&mut self.stated_total, later.stated_total),
            (&mut self.image_out, later.image_out),
            (&mut self.sound_ms, later.sound_ms),
            (&mut self.characters, later.characters),
            (&mut self.search_units, later.search_units),
            (&mut self.server_calls, later.server_calls),
            (&mut self.stated_cost, later.stated_cost),
        ];
        for (field, value) in fields {
            if value != 0 {
                *field = value;
            }
        }
        self.tier = later.tier.or(self.tier);
    }
}
