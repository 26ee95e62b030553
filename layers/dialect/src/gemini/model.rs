//! What Google's models accept, by family and version: a table in code, since no API tells it.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/models>, <https://ai.google.dev/gemini-api/docs/thinking>. Limits and
//! budgets are in tokens.

use crate::aim::Google;
use crate::ir::Effort;

/// A model, as far as what it accepts goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// The measure in which an amount of thinking is asked for.
    pub(super) thinking: Thinking,
    /// What it answers with.
    pub(super) answers: Answers,
    /// Longest answer at AI Studio; Vertex AI takes one token less of the longest.
    limit: u64,
    /// Whether the longest answer is asked for where the client names no limit.
    is_long: bool,
    /// Whether instructions have a field of their own.
    pub(super) has_system: bool,
    /// Whether it calls functions.
    pub(super) calls: bool,
    /// Whether functions go together with tools of the provider, and with a form of the answer; and whether calls of
    /// earlier turns must carry their seals.
    pub(super) is_third: bool,
    /// Whether calls can be held to their schemas where they are free.
    pub(super) validates: bool,
    /// Whether words that occurred can be made less likely.
    pub(super) penalties: bool,
}

/// The way in which the amount of thinking is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all: it has no such setting.
    None,
    /// By a budget of tokens.
    Budget {
        /// The smallest there is; 0 turns thinking off.
        least: u64,
        /// The smallest that is not 0.
        smallest: u64,
        /// The largest.
        most: u64,
        /// Whether it thinks unless told not to.
        by_default: bool,
    },
    /// By a word. It cannot be turned off.
    Level(&'static [Effort]),
}

/// The forms of what a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// Text, and sound where that is asked for.
    Text,
    /// Text with pictures.
    Pictures,
    /// Speech alone.
    Speech,
}

/// The longest answer of all.
const LONGEST: u64 = 65_536;
const OLD_LIMIT: u64 = 8_192;
const PICTURE_LIMIT: u64 = 32_768;

const PRO: Thinking = Thinking::Budget { least: 128, smallest: 128, most: 32_768, by_default: true };
const FLASH: Thinking = Thinking::Budget { least: 0, smallest: 1, most: 24_576, by_default: true };
const LITE: Thinking = Thinking::Budget { least: 0, smallest: 512, most: 24_576, by_default: false };

impl Model {
    /// Reads family and version out of a model's name, in any provider's spelling.
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let has = |word: &str| name.contains(word);
        let version = version(&name);
        let answers = if has("-tts") {
            Answers::Speech
        } else if has("-image") || has("nano-banana") {
            Answers::Pictures
        } else {
            Answers::Text
        };
        let thinks_aloud = has("2.0-flash-thinking");
        // Names that move on with the versions.
        let moves = version.is_none() && has("gemini") && has("-latest");
        let (pro, lite) = (has("pro"), has("lite"));
        let thinking = match version {
            _ if answers != Answers::Text => Thinking::None,
            None if !moves => Thinking::None,
            Some((..=1, _) | (2, ..=4)) => Thinking::None,
            Some((3, 0)) if pro => Thinking::Level(&[Effort::Low, Effort::High]),
            Some((3.., _)) if pro => Thinking::Level(&[Effort::Low, Effort::Medium, Effort::High]),
            Some((3.., _)) => Thinking::Level(&[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High]),
            // Budgets are understood by later versions too.
            _ if pro => PRO,
            _ if lite => LITE,
            _ if has("flash") => FLASH,
            _ => Thinking::None,
        };
        let is_old = matches!(version, Some((1, _) | (2, 0)));
        let is_pro_2 = version == Some((2, 0)) && pro;
        Self {
            thinking,
            answers,
            limit: match answers {
                Answers::Pictures => PICTURE_LIMIT,
                Answers::Text if is_old && !thinks_aloud && !is_pro_2 => OLD_LIMIT,
                _ => LONGEST,
            },
            is_long: answers == Answers::Text
                && (thinks_aloud || is_pro_2 || moves || version.is_some_and(|version| version >= (2, 5))),
            has_system: !has("gemma")
                && answers != Answers::Speech
                && !(is_old && answers == Answers::Pictures),
            calls: answers == Answers::Text && !thinks_aloud,
            is_third: version.is_some_and(|(major, _)| major >= 3) || moves,
            validates: version.is_some_and(|version| version >= (2, 5)) || moves,
            penalties: is_old && answers == Answers::Text && !thinks_aloud,
        }
    }

    /// The output limit to ask for.
    pub(super) fn limit(&self, wanted: Option<u64>, google: Google) -> Option<u64> {
        let most = match google {
            Google::AiStudio => self.limit,
            Google::Vertex => self.limit.min(LONGEST - 1),
        };
        match wanted.filter(|wanted| *wanted > 0) {
            Some(wanted) => Some(wanted.min(most)),
            None => self.is_long.then_some(most),
        }
    }

    /// Whether filters are turned off in the newer of two ways.
    pub(super) fn turns_filters_off(&self) -> bool {
        self.is_long || self.answers == Answers::Pictures
    }
}

/// The version behind `gemini-`.
fn version(name: &str) -> Option<(u32, u32)> {
    let behind = &name[name.find("gemini-")? + "gemini-".len()..];
    let numbers = behind.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next()?;
    let (major, minor) = numbers.split_once('.').unwrap_or((numbers, "0"));
    let small = |text: &str| text.parse::<u32>().ok().filter(|number| *number < 100);
    Some((small(major)?, small(minor).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_in_every_spelling() {
        const TWO: Thinking = Thinking::Level(&[Effort::Low, Effort::High]);
        for (name, thinking, limit, third) in [
            ("gemini-2.5-pro", PRO, Some(65_536), false),
            ("models/gemini-2.5-flash-preview-09-2025", FLASH, Some(65_536), false),
            ("google/gemini-2.5-flash-lite", LITE, Some(65_536), false),
            ("gemini-2.5-flash-image", Thinking::None, None, false),
            ("gemini-2.5-pro-preview-tts", Thinking::None, None, false),
            ("gemini-2.0-flash-001", Thinking::None, None, false),
            ("gemini-1.5-pro-latest", Thinking::None, None, false),
            ("gemini-pro-latest", PRO, Some(65_536), true),
            ("gemini-3-pro-preview", TWO, Some(65_536), true),
            ("gemini-3-pro-image-preview", Thinking::None, None, true),
            ("gemma-3-27b-it", Thinking::None, None, false),
        ] {
            let model = Model::of(name);

            assert_eq!(
                (model.thinking, model.limit(None, Google::AiStudio), model.is_third),
                (thinking, limit, third),
                "{name}"
            );
        }
        assert!(
            matches!(Model::of("gemini-3.1-pro-preview").thinking, Thinking::Level(levels) if levels.len() == 3)
        );
        assert!(
            matches!(Model::of("gemini-3.5-flash").thinking, Thinking::Level(levels) if levels.len() == 4)
        );
    }

    #[test]
    fn limits_are_cut_to_what_each_service_takes() {
        let limit = |model: &str, google| Model::of(model).limit(Some(100_000), google);

        assert_eq!(limit("gemini-2.5-pro", Google::AiStudio), Some(65_536));
        assert_eq!(limit("gemini-2.5-pro", Google::Vertex), Some(65_535));
        assert_eq!(limit("gemini-2.0-flash", Google::Vertex), Some(8_192));
        assert_eq!(Model::of("gemini-2.5-pro").limit(Some(7), Google::Vertex), Some(7));
    }

    #[test]
    fn older_models_and_gemma_are_told_apart_where_it_counts() {
        assert!(!Model::of("gemma-3-27b-it").has_system && Model::of("gemini-2.0-flash").has_system);
        assert!(!Model::of("gemini-2.5-flash-image").calls && Model::of("gemini-2.5-flash").calls);
        assert!(Model::of("gemini-1.5-pro").penalties && !Model::of("gemini-2.5-pro").penalties);
    }
}
