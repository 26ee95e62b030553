//! What of an item the client was told, so that each word of it is told once: streams say everything up to four times
//! (in pieces, as the whole of a part, of an item, of the response), and relays leave some of them out.

/// An item of the output under way.
#[derive(Debug)]
pub(super) struct Told {
    /// Its place in the output.
    pub(super) index: Option<u64>,
    /// The upstream's name of it; some name it anew in each event.
    pub(super) id: String,
    pub(super) kind: Kind,
    /// It is complete.
    pub(super) closed: bool,
    /// The part under way: how it speaks, and its number.
    pub(super) part: Option<(Voice, u64)>,
    /// Parts of a message that are complete, and the number of the last of them.
    pub(super) parts: usize,
    last: Option<u64>,
    /// Bytes of the part under way that were told.
    pub(super) in_part: usize,
    /// Bytes of the whole item that were told, with what stands between its parts.
    pub(super) bytes: usize,
    /// Sources of the part under way that were told.
    pub(super) cited: usize,
    /// Whether likelihoods of the part under way were told.
    pub(super) likely: bool,
    /// Whether its seal was told.
    pub(super) sealed: bool,
}

/// The kinds of items that clients are told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words for the client.
    Message,
    /// Reasoning.
    Reasoning,
    /// A call of one of the client's tools.
    Call {
        /// Which call of the answer; none before it was announced.
        place: Option<usize>,
        /// Arguments that stood in its beginning.
        initial: String,
    },
    /// Anything else: it is told when it is complete.
    Other,
}

/// The way in which a part speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// Text or a refusal of a message, and reasoning in the model's own words.
    Content,
    /// Reasoning as it is told to people.
    Summary,
}

impl Told {
    pub(super) fn new(index: Option<u64>, id: &str, kind: Kind) -> Self {
        Self {
            index,
            id: id.to_owned(),
            kind,
            closed: false,
            part: None,
            parts: 0,
            last: None,
            in_part: 0,
            bytes: 0,
            cited: 0,
            likely: false,
            sealed: false,
        }
    }

    /// Notes that so much of the part under way was told.
    pub(super) fn tell(&mut self, text: &str) {
        self.in_part += text.len();
        self.bytes += text.len();
    }

    /// Whether a part of this number is complete.
    pub(super) fn is_over(&self, number: u64) -> bool {
        self.last.is_some_and(|last| number <= last)
    }

    /// Begins a part.
    pub(super) fn begin(&mut self, part: (Voice, u64)) {
        self.part = Some(part);
        (self.in_part, self.cited, self.likely) = (0, 0, false);
    }

    /// Ends the part under way; whether there was one.
    pub(super) fn end(&mut self) -> bool {
        let Some((_, number)) = self.part.take() else { return false };
        self.parts += 1;
        self.last = Some(number);
        true
    }
}

/// What of a whole was not told yet, when so many bytes of it were.
pub(super) fn rest(whole: &str, told: usize) -> &str {
    whole.get(told..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_told_is_left_of_a_whole() {
        for (told, left) in [(0, "añb"), (1, "ñb"), (2, ""), (3, "b"), (4, ""), (9, "")] {
            assert_eq!(rest("añb", told), left, "{told} bytes told");
        }
    }
}
