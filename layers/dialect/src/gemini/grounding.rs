//! Where an answer comes from: grounding metadata as citations of the text.
//!
//! Source: <https://ai.google.dev/gemini-api/docs/google-search>. Offsets are in bytes of the text in UTF-8; those of
//! citations are in characters. Metadata comes at the end of an answer, or with each part of it again.

use std::ops::Range;

use super::wire::{Grounding, Origin, Segment};
use crate::ir::{Citation, CitationKind};

/// How much text is kept to count its characters.
const MOST_TEXT: usize = 1 << 20;
/// Most citations of one candidate.
const MOST_CITATIONS: usize = 4096;

/// The sources of a candidate, and its text so far.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The text, as far as its characters may have to be counted.
    text: String,
    /// Text came that was not kept.
    lost: bool,
    /// Segments of the text with their sources.
    cited: Vec<(Option<Range<u64>>, String, Citation)>,
}

impl Sources {
    /// Notes text of the candidate; without sources to be expected nothing is kept of it.
    pub(super) fn keep(&mut self, text: &str, cites: bool) {
        if cites && !self.lost && self.text.len() + text.len() <= MOST_TEXT {
            self.text.push_str(text);
        } else {
            self.lost = true;
        }
    }

    /// Notes sources.
    pub(super) fn add(&mut self, grounding: &Grounding<'_>) {
        let origins = &grounding.grounding_chunks.0;
        for support in &grounding.grounding_supports.0 {
            let indexes = support.grounding_chunk_indices.map(|indexes| indexes.get()).unwrap_or_default();
            let indexes = serde_json::from_str::<Vec<usize>>(indexes).unwrap_or_default();
            for origin in indexes.into_iter().filter_map(|index| origins.get(index)) {
                self.note(origin, support.segment.0.as_ref());
            }
        }
        if grounding.grounding_supports.0.is_empty() {
            origins.iter().for_each(|origin| self.note(origin, None));
        }
    }

    fn note(&mut self, origin: &Origin<'_>, segment: Option<&Segment<'_>>) {
        let (kind, page) = match (&origin.web.0, &origin.maps.0, &origin.retrieved_context.0) {
            (Some(page), ..) | (None, Some(page), _) => (CitationKind::Web, page),
            (None, None, Some(page)) => (CitationKind::Document, page),
            (None, None, None) => return,
        };
        let span = segment.map(|segment| segment.start_index.0..segment.end_index.0);
        let words = segment.map(|segment| segment.text.text()).unwrap_or_default();
        let citation = Citation {
            kind,
            url: page.uri.owned(),
            title: page.title.owned(),
            cited_text: (!words.is_empty()).then(|| words.to_owned()),
            ..Citation::default()
        };
        let noted = (span, words.to_owned(), citation);
        if self.cited.len() < MOST_CITATIONS && !self.cited.contains(&noted) {
            self.cited.push(noted);
        }
    }

    /// The citations, once all text has come.
    pub(super) fn citations(self) -> impl Iterator<Item = Citation> {
        let (text, lost) = (self.text, self.lost);
        self.cited.into_iter().map(move |(span, words, citation)| {
            let span = span.filter(|_| !lost).and_then(|span| characters(&text, &span, &words));
            Citation { span, ..citation }
        })
    }
}

/// The characters of a segment, where it is a part of the text: its words count for more than its offsets.
fn characters(text: &str, bytes: &Range<u64>, words: &str) -> Option<Range<u32>> {
    let at = |offset: u64| usize::try_from(offset).ok();
    let named = at(bytes.start)?..at(bytes.end)?;
    let found = match text.get(named.clone()) {
        Some(part) if words.is_empty() || part == words => named,
        _ if words.is_empty() => return None,
        _ => {
            // Offsets of some parts count anew; the nearest place behind them, or else any.
            let from = text.floor_char_boundary(named.start.min(text.len()));
            let start = text[from..].find(words).map(|at| from + at).or_else(|| text.find(words))?;
            start..start + words.len()
        }
    };
    let count = |text: &str| u32::try_from(text.chars().count()).ok();
    let start = count(&text[..found.start])?;
    Some(start..start + count(&text[found])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_in_bytes_become_places_in_characters() {
        let text = "Äpfel sind süß. Birnen auch.";

        assert_eq!(characters(text, &(0..18), "Äpfel sind süß."), Some(0..15));
        assert_eq!(characters(text, &(19..31), "Birnen auch."), Some(16..28));
        assert_eq!(characters(text, &(0..0), "Birnen auch."), Some(16..28), "its words are found");
        assert_eq!(characters(text, &(0..1), ""), None, "half a letter");
        assert_eq!(characters(text, &Range { start: 7, end: 3 }, ""), None);
        assert_eq!(characters(text, &(0..900), "nowhere"), None);
    }

    #[test]
    fn sources_that_are_told_again_are_told_once() {
        let json = r#"{"groundingChunks":[{"web":{"uri":"https://a.example","title":"A"}}],
            "groundingSupports":[{"segment":{"endIndex":2,"text":"Hi"},"groundingChunkIndices":[0,7]}]}"#;
        let mut sources = Sources::default();
        sources.keep("Hi", true);
        (0..2).for_each(|_| sources.add(&serde_json::from_str(json).unwrap()));

        let citations: Vec<Citation> = sources.citations().collect();

        assert_eq!(citations.len(), 1);
        assert_eq!(citations[0].span, Some(0..2));
        assert_eq!(citations[0].url.as_deref(), Some("https://a.example"));
    }
}
