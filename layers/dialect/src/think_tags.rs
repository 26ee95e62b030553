//! Thoughts that a model writes into its text, `<think>…</think>` before the answer: told apart while the text comes.
//!
//! Only at the beginning of a text, as models write them: whoever speaks of the tag later on is quoted.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A splitter of one text that comes in fragments.
#[derive(Debug, Default)]
pub(crate) struct ThinkTags {
    place: Place,
    /// What may be the beginning of a tag, or is blank before one; shorter than a tag but for the blanks.
    held: String,
}

/// The place of the next letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing but blanks was said.
    #[default]
    Start,
    /// Between the tags.
    Thought,
    /// Behind them, and no word of the answer was said.
    Behind,
    /// In the answer.
    Answer,
}

/// The parts of a fragment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// What was thought.
    pub(crate) thought: String,
    /// What was said.
    pub(crate) said: String,
}

impl ThinkTags {
    /// Most blanks that are held while the text has not begun.
    const MOST_BLANKS: usize = 64;

    /// Whether nothing is told apart any more: what comes is the answer.
    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::Answer
    }

    /// Reads a fragment.
    pub(crate) fn push(&mut self, fragment: &str) -> Parts {
        let mut parts = Parts::default();
        self.held.push_str(fragment);
        loop {
            let text = std::mem::take(&mut self.held);
            match self.place {
                Place::Start => {
                    let begun = text.trim_start();
                    if let Some(rest) = begun.strip_prefix(OPEN) {
                        self.held = rest.to_owned();
                        self.place = Place::Thought;
                        continue;
                    }
                    if OPEN.starts_with(begun) && text.len() - begun.len() <= Self::MOST_BLANKS {
                        self.held = text;
                        return parts;
                    }
                    parts.said.push_str(&text);
                    self.place = Place::Answer;
                }
                Place::Thought => {
                    if let Some((thought, rest)) = text.split_once(CLOSE) {
                        parts.thought.push_str(thought);
                        self.held = rest.to_owned();
                        self.place = Place::Behind;
                        continue;
                    }
                    let kept = (1..CLOSE.len()).rev().find(|length| text.ends_with(&CLOSE[..*length]));
                    let end = text.len() - kept.unwrap_or(0);
                    parts.thought.push_str(&text[..end]);
                    text[end..].clone_into(&mut self.held);
                    return parts;
                }
                Place::Behind => {
                    let begun = text.trim_start();
                    if !begun.is_empty() {
                        parts.said.push_str(begun);
                        self.place = Place::Answer;
                    }
                }
                Place::Answer => parts.said.push_str(&text),
            }
            return parts;
        }
    }

    /// The text has ended: what is held of a tag that never came.
    pub(crate) fn finish(&mut self) -> Parts {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Thought => Parts { thought: held, said: String::new() },
            _ => Parts { thought: String::new(), said: held },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(fragments: &[&str]) -> (String, String) {
        let mut tags = ThinkTags::default();
        let mut all = Parts::default();
        for parts in fragments.iter().map(|fragment| tags.push(fragment)).collect::<Vec<_>>() {
            all.thought.push_str(&parts.thought);
            all.said.push_str(&parts.said);
        }
        let last = tags.finish();
        (all.thought + &last.thought, all.said + &last.said)
    }

    #[test]
    fn thoughts_are_told_apart_wherever_the_text_is_cut() {
        for (text, thought, said) in [
            ("<think>\na < b\n</think>\n\nYes.", "\na < b\n", "Yes."),
            ("\n<think></think>é", "", "é"),
            ("<think>never closed </thin", "never closed </thin", ""),
            ("Say <think>x</think>", "", "Say <think>x</think>"),
            ("<thin air", "", "<thin air"),
            ("<thi", "", "<thi"),
            ("  ", "", "  "),
            ("", "", ""),
        ] {
            let whole = split(&[text]);
            assert_eq!(whole, (thought.to_owned(), said.to_owned()), "{text:?}");
            for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                assert_eq!(split(&[&text[..cut], &text[cut..]]), whole, "{text:?} at {cut}");
            }
        }
    }

    #[test]
    fn no_more_than_a_tag_and_some_blanks_is_held() {
        let mut tags = ThinkTags::default();

        let blanks = " ".repeat(65);

        assert_eq!(tags.push(&blanks).said, blanks);
        assert!(tags.is_over());
    }
}
