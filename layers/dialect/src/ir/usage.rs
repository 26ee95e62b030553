use serde_json::{Map, Value, json};

/// Token counts of one answer in normal form: totals include their parts.
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
}

impl Usage {
    /// Says whether nothing was counted at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
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
        ];
        for (field, value) in fields {
            if value != 0 {
                *field = value;
            }
        }
    }

    /// The `usage` object of OpenAI chat answers, with all its parts (zeros included, as clients expect).
    pub fn to_openai(&self) -> Value {
        let mut input = json!({ "cached_tokens": self.cached_read, "audio_tokens": self.audio_in });
        if self.cache_write > 0 {
            input["cache_write_tokens"] = self.cache_write.into();
        }
        json!({
            "prompt_tokens": self.input_total,
            "completion_tokens": self.output_total,
            "total_tokens": self.total(),
            "prompt_tokens_details": input,
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": self.audio_out,
                "accepted_prediction_tokens": self.accepted_prediction,
                "rejected_prediction_tokens": self.rejected_prediction,
            },
        })
    }

    /// The `usage` object of Anthropic answers, whose input leaves cached tokens out.
    pub fn to_anthropic(&self) -> Value {
        let fresh = self.input_total.saturating_sub(self.cached_read).saturating_sub(self.cache_write);
        let mut usage = Map::new();
        usage.insert("input_tokens".into(), fresh.into());
        usage.insert("cache_creation_input_tokens".into(), self.cache_write.into());
        usage.insert("cache_read_input_tokens".into(), self.cached_read.into());
        usage.insert("output_tokens".into(), self.output_total.into());
        if self.cache_write_1h > 0 {
            let short = self.cache_write.saturating_sub(self.cache_write_1h);
            usage.insert(
                "cache_creation".into(),
                json!({ "ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": self.cache_write_1h }),
            );
        }
        if self.reasoning > 0 {
            usage.insert("output_tokens_details".into(), json!({ "thinking_tokens": self.reasoning }));
        }
        Value::Object(usage)
    }
}
