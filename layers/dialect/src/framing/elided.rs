//! Keeps what tells the meaning of an event that is too long to be held.
//!
//! Such events hold a picture, or a whole answer that was said at once. Its bytes go to the client in parts; kept for
//! whoever must know its usage, its finish reason or its error is all of it up to a bound, and behind that everything
//! but the length of strings, so that the copy stays JSON however long the event is.

/// A copy of an event, bounded.
#[derive(Debug)]
pub struct Elided {
    kept: Vec<u8>,
    most: usize,
    state: State,
    /// Bytes of the string so far.
    length: usize,
    /// The rest of this string is left out.
    skips: bool,
}

/// The place within JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    String,
    /// Behind a backslash.
    Escape,
    /// Within an escape of four digits, of which so many are left.
    Digits(u8),
}

/// Room for what is kept behind the bound.
const STRUCTURE: usize = 64 << 10;
/// What is kept of a string behind the bound: names and words.
const WORD: usize = 256;

impl Elided {
    /// Keeps all of the first `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most, state: State::Outside, length: 0, skips: false }
    }

    /// Takes more of the event.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let before = self.state;
            self.state = match (before, byte) {
                // No string of JSON holds a line end: whatever looked like one was none.
                (_, b'\n' | b'\r') => State::Outside,
                (State::Outside, b'"') => State::String,
                (State::Outside, _) => State::Outside,
                (State::String, b'"') => State::Outside,
                (State::String, b'\\') => State::Escape,
                (State::Escape, b'u') => State::Digits(4),
                (State::Digits(left @ 2..), _) => State::Digits(left - 1),
                (State::String | State::Escape | State::Digits(_), _) => State::String,
            };
            self.length = if self.state == State::Outside { 0 } else { self.length + 1 };
            // A string is cut between characters only.
            self.skips |= before == State::String
                && self.length > WORD
                && self.kept.len() >= self.most
                && !matches!(byte, 0x80..0xC0);
            self.skips &= self.state != State::Outside;
            if !self.skips && self.kept.len() < self.most + STRUCTURE {
                self.kept.push(byte);
            }
        }
    }

    /// The copy.
    pub fn bytes(&self) -> &[u8] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn copy(text: &str, most: usize) -> Vec<u8> {
        let mut elided = Elided::new(most);
        text.as_bytes().chunks(7).for_each(|part| elided.push(part));
        elided.bytes().to_vec()
    }

    #[test]
    fn what_is_short_enough_is_kept_as_it_is() {
        let event = "event: a\ndata: {\"a\":\"b\\\"c\"}\n\n";

        assert_eq!(copy(event, 100), event.as_bytes());
    }

    #[test]
    fn behind_the_bound_strings_end_and_everything_else_stays() {
        let text = "é".repeat(5000);
        let event = format!(
            "data: {{\"text\":\"{text}\",\"finish\":\"stop\",\"more\":\"{text}\",\"usage\":{{\"n\":7}}}}\n\n"
        );

        let copy = String::from_utf8(copy(&event, 1001)).unwrap();

        let json: Value = serde_json::from_str(copy.strip_prefix("data: ").unwrap()).unwrap();
        let length = |name: &str| json[name].as_str().unwrap().chars().count();
        assert_eq!((length("text"), length("more")), (493, 128));
        assert_eq!((&json["finish"], &json["usage"]["n"]), (&Value::from("stop"), &Value::from(7)));
    }

    proptest! {
        #[test]
        fn wherever_the_bound_lies_the_copy_is_json(text in "(\\\\u00e9|\\\\n|\\\\\"|[a-zé漢]){0,400}", most in 0_usize..1200) {
            let event = format!("{{\"key\":\"{text}\",\"n\":[1,{{}}],\"text\":\"{text}\"}}");

            let copy = copy(&event, most);

            prop_assert!(serde_json::from_slice::<Value>(&copy).is_ok(), "{}", String::from_utf8_lossy(&copy));
        }
    }
}
