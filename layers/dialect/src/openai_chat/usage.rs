//! The token counts of OpenAI chat answers, in the forms of all who imitate them.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/object>, and recordings.

use serde::Deserialize;

use crate::ir::Usage;
use crate::json_scan::counts;
use crate::lenient::{Cost, Count, Decimal, Obj};

/// Token counts, and what some providers count besides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    /// Images and transcriptions count with these names.
    input_tokens: Count,
    output_tokens: Count,
    prompt_tokens_details: Obj<InputDetails>,
    input_tokens_details: Obj<InputDetails>,
    completion_tokens_details: Obj<OutputDetails>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Count,
    /// Moonshot.
    cached_tokens: Count,
    /// Mistral's older models.
    num_cached_tokens: Count,
    /// Perplexity.
    reasoning_tokens: Count,
    /// OpenRouter and Perplexity.
    cost: Cost,
    /// xAI: ten billion of them are a dollar.
    cost_in_usd_ticks: Count,
    /// Transcriptions that are charged by the length of the sound.
    seconds: Decimal,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    audio_tokens: Count,
    image_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
    audio_tokens: Count,
    accepted_prediction_tokens: Count,
    rejected_prediction_tokens: Count,
    image_tokens: Count,
}

impl WireUsage {
    /// The usage at the beginning of `json`, which more may follow. The form that OpenAI documents
    /// is tried first: reading it takes a fraction of what tolerance takes.
    pub(crate) fn at(json: &[u8]) -> Option<Usage> {
        if let Some(documented) = Self::documented(json) {
            return Some(documented);
        }
        let Obj(usage) = serde_json::Deserializer::from_slice(json).into_iter::<Obj<Self>>().next()?.ok()?;
        Some(usage?.normal())
    }

    /// The usage of the documented form, with nothing else in it.
    fn documented(json: &[u8]) -> Option<Usage> {
        let mut usage = Self::default();
        let (mut input, mut output) = (InputDetails::default(), OutputDetails::default());
        counts(json, |details, key, count| {
            let place = match details {
                b"" => match key {
                    b"prompt_tokens" => &mut usage.prompt_tokens,
                    b"completion_tokens" => &mut usage.completion_tokens,
                    b"total_tokens" => &mut usage.total_tokens,
                    _ => return None,
                },
                b"prompt_tokens_details" => match key {
                    b"cached_tokens" => &mut input.cached_tokens,
                    b"audio_tokens" => &mut input.audio_tokens,
                    _ => return None,
                },
                b"completion_tokens_details" => match key {
                    b"reasoning_tokens" => &mut output.reasoning_tokens,
                    b"audio_tokens" => &mut output.audio_tokens,
                    b"accepted_prediction_tokens" => &mut output.accepted_prediction_tokens,
                    b"rejected_prediction_tokens" => &mut output.rejected_prediction_tokens,
                    _ => return None,
                },
                _ => return None,
            };
            *place = Count(count);
            Some(())
        })?;
        usage.prompt_tokens_details = Obj(Some(input));
        usage.completion_tokens_details = Obj(Some(output));
        Some(usage.normal())
    }

    /// The counts in normal form.
    pub(crate) fn normal(&self) -> Usage {
        let input = self.prompt_tokens_details.0.as_ref().or(self.input_tokens_details.0.as_ref());
        let output = self.completion_tokens_details.0.as_ref();
        let first = |counts: &[u64]| counts.iter().copied().find(|count| *count > 0).unwrap_or(0);
        let cached_read = first(&[
            input.map_or(0, |details| details.cached_tokens.0),
            self.prompt_cache_hit_tokens.0,
            self.cached_tokens.0,
            self.num_cached_tokens.0,
        ]);
        let cache_write = input.map_or(0, |details| details.cache_write_tokens.0);
        let reasoning =
            first(&[output.map_or(0, |details| details.reasoning_tokens.0), self.reasoning_tokens.0]);
        let mut input_total = first(&[self.prompt_tokens.0, self.input_tokens.0]);
        // More cached than there is input: this provider counts them apart.
        if cached_read > input_total {
            input_total = input_total.saturating_add(cached_read);
        }
        let mut output_total = first(&[self.completion_tokens.0, self.output_tokens.0]);
        let total = self.total_tokens.0;
        let audio_in = input.map_or(0, |details| details.audio_tokens.0);
        // Mistral counts sound apart from input; its total gives it away.
        if audio_in > input_total
            && total == input_total.saturating_add(audio_in).saturating_add(output_total)
        {
            input_total = input_total.saturating_add(audio_in);
        }
        // xAI counts reasoning apart from output; its total gives it away.
        let apart = input_total.saturating_add(output_total).saturating_add(reasoning);
        if reasoning > output_total || (reasoning > 0 && total == apart) {
            output_total = output_total.saturating_add(reasoning);
        }
        Usage {
            input_total,
            cached_read,
            cache_write,
            cache_write_1h: 0,
            output_total,
            reasoning,
            audio_in,
            audio_out: output.map_or(0, |details| details.audio_tokens.0),
            image_in: input.map_or(0, |details| details.image_tokens.0),
            tool_prompt: 0,
            accepted_prediction: output.map_or(0, |details| details.accepted_prediction_tokens.0),
            rejected_prediction: output.map_or(0, |details| details.rejected_prediction_tokens.0),
            // A total that the parts exceed was counted otherwise.
            stated_total: if total < input_total.saturating_add(output_total) { 0 } else { total },
            image_out: output.map_or(0, |details| details.image_tokens.0),
            sound_ms: self.seconds.times(1e3),
            stated_cost: match self.cost.billionths() {
                0 => self.cost_in_usd_ticks.0.div_ceil(10),
                cost => cost,
            },
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Usage {
        WireUsage::at(json.as_bytes()).expect("a usage")
    }

    /// Usages of recordings: `perplexity/chat-citations-01`, `xai/chat-thinking-01`, `openrouter`.
    #[test]
    fn a_stated_cost_is_read_in_every_form() {
        for (json, billionths) in [
            (r#"{"prompt_tokens":1,"cost":0.00042}"#, 420_000),
            (r#"{"prompt_tokens":1,"cost":1}"#, 1_000_000_000),
            (
                r#"{"prompt_tokens":23,"cost":{"input_tokens_cost":2e-05,"request_cost":0.005,"total_cost":0.00506}}"#,
                5_060_000,
            ),
            (r#"{"prompt_tokens":12,"cost_in_usd_ticks":1176500}"#, 117_650),
            (r#"{"prompt_tokens":1,"cost":{"a":[{}]}}"#, 0),
            (r#"{"prompt_tokens":1,"cost":"free"}"#, 0),
            (r#"{"prompt_tokens":1,"cost":-1}"#, 0),
        ] {
            assert_eq!(usage(json).stated_cost, billionths, "{json}");
        }
    }

    /// `xai/chat-thinking-01`, `mistral/chat-audio-in-01`, `mistral/chat-tool-call-02-s1`.
    #[test]
    fn what_is_counted_apart_is_added() {
        let xai = usage(
            r#"{"prompt_tokens":12,"completion_tokens":1,"total_tokens":241,
                "completion_tokens_details":{"reasoning_tokens":228}}"#,
        );
        let sound = usage(
            r#"{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_audio_seconds":5,
                "prompt_tokens_details":{"audio_tokens":375,"cached_tokens":9}}"#,
        );
        let cached =
            usage(r#"{"prompt_tokens":64,"completion_tokens":6,"total_tokens":70,"num_cached_tokens":32}"#);

        assert_eq!((xai.output_total, xai.reasoning), (229, 228));
        assert_eq!((sound.input_total, sound.audio_in, sound.cached_read), (386, 375, 9));
        assert_eq!((cached.input_total, cached.cached_read), (64, 32));
    }
}
