//! Names of arguments that had to be fitted to an upstream's grammar, and their way back: in the JSON text of a call's
//! arguments, whole or in fragments cut anywhere.
//!
//! Only the outermost object is renamed, as only the names of a tool's own parameters are fitted. Everything else
//! passes byte for byte: numbers keep their digits, and nothing is parsed into a tree.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

/// Names of a tool's parameters: what stands in the text, and what is to stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys(Arc<HashMap<String, String>>);

impl Keys {
    /// Keys from pairs: the name that stands there, then the one that is to.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The other way round.
    pub(crate) fn reversed(&self) -> Self {
        Self::new(self.0.iter().map(|(from, to)| (to.clone(), from.clone())))
    }

    /// The whole text with its keys renamed.
    pub(crate) fn renamed(&self, text: &str) -> String {
        let (mut rekey, mut out) = (Rekey::new(self.clone()), String::with_capacity(text.len()));
        rekey.push(text, &mut out);
        rekey.finish(&mut out);
        out
    }

    /// What is to stand for a name; none where it stays.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A renamer of one text that comes in fragments.
#[derive(Debug)]
pub(crate) struct Rekey {
    keys: Keys,
    /// Longest text between quotes that can still be one of the keys: each of its bytes may be an escape.
    longest: usize,
    depth: usize,
    /// Whether the outermost value is an object whose next string is a key.
    awaits_key: bool,
    is_object: bool,
    place: Place,
    /// The key that is being read, without its first quote; bounded by `longest`.
    held: String,
}

/// The place of the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between strings.
    Outside,
    /// In a string that passes; whether the byte before began an escape.
    Text(bool),
    /// In a key that is held; the same.
    Key(bool),
}

impl Rekey {
    pub(crate) fn new(keys: Keys) -> Self {
        let longest = keys.0.keys().map(|from| 6 * from.len()).max().unwrap_or(0);
        Self {
            keys,
            longest,
            depth: 0,
            awaits_key: false,
            is_object: false,
            place: Place::Outside,
            held: String::new(),
        }
    }

    /// Reads a fragment and appends what is certain of it. A key is held until it is complete.
    pub(crate) fn push(&mut self, fragment: &str, out: &mut String) {
        // What of the fragment is neither written nor held.
        let mut rest = 0;
        for (at, byte) in fragment.bytes().enumerate() {
            match (self.place, byte) {
                (Place::Outside, b'"') if self.awaits_key && self.depth == 1 => {
                    out.push_str(&fragment[rest..at]);
                    rest = at + 1;
                    self.held.clear();
                    self.place = Place::Key(false);
                }
                (Place::Outside, b'"') => self.place = Place::Text(false),
                (Place::Outside, byte) => self.structure(byte),
                (Place::Text(false), b'"') => self.place = Place::Outside,
                (Place::Text(escaped), byte) => self.place = Place::Text(!escaped && byte == b'\\'),
                (Place::Key(false), b'"') => {
                    self.held.push_str(&fragment[rest..at]);
                    rest = at + 1;
                    self.tell(out);
                    self.place = Place::Outside;
                }
                (Place::Key(escaped), byte) => self.place = Place::Key(!escaped && byte == b'\\'),
            }
        }
        let rest = &fragment[rest..];
        match self.place {
            Place::Key(_) if self.held.len() + rest.len() <= self.longest => self.held.push_str(rest),
            Place::Key(escaped) => {
                // Too long for a key that has another name.
                out.push('"');
                out.push_str(&std::mem::take(&mut self.held));
                out.push_str(rest);
                self.place = Place::Text(escaped);
            }
            _ => out.push_str(rest),
        }
    }

    /// The text has ended; what is held of a torn key is told as it is.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if matches!(self.place, Place::Key(_)) {
            out.push('"');
            out.push_str(&std::mem::take(&mut self.held));
            self.place = Place::Outside;
        }
    }

    fn structure(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth == 1 {
                    self.is_object = byte == b'{';
                    self.awaits_key = self.is_object;
                }
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.awaits_key = false,
            b',' if self.depth == 1 => self.awaits_key = self.is_object,
            _ => {}
        }
    }

    fn tell(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        let renamed = if held.contains('\\') {
            let read = serde_json::from_str::<String>(&format!("\"{held}\""));
            read.ok().and_then(|key| self.keys.get(&key))
        } else {
            self.keys.get(&held)
        };
        match renamed {
            Some(key) => out.push_str(&Value::from(key).to_string()),
            None => {
                out.push('"');
                out.push_str(&held);
                out.push('"');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let pairs = [("a_b", "a b"), ("q", "say \"q\""), ("page_1", "page[1]")];
        Keys::new(pairs.map(|(from, to)| (from.to_owned(), to.to_owned())))
    }

    const GIVEN: &str = concat!(
        r#"{"a_b" : {"a_b":1, "q":["a_b", {"q":2}]}, "text":"a_b \" {\"q\":1, ", "q":12345678901234567890123,"#,
        r#" "\u0070age_1":"é", "another name that is long":[],"page_1":null}"#
    );
    const RENAMED: &str = concat!(
        r#"{"a b" : {"a_b":1, "q":["a_b", {"q":2}]}, "text":"a_b \" {\"q\":1, ", "say \"q\"":12345678901234567890123,"#,
        r#" "page[1]":"é", "another name that is long":[],"page[1]":null}"#
    );

    #[test]
    fn only_keys_of_the_outermost_object_are_renamed() {
        assert_eq!(keys().renamed(GIVEN), RENAMED);
        assert_eq!(keys().renamed(r#"["a_b", {"a_b":1}, "q"]"#), r#"["a_b", {"a_b":1}, "q"]"#);
        assert_eq!(keys().renamed("{\"a_"), "{\"a_", "a torn text stays what it is");
    }

    #[test]
    fn fragments_are_renamed_as_their_whole_is_wherever_it_is_cut() {
        for size in 1..GIVEN.len() {
            let (mut rekey, mut out) = (Rekey::new(keys()), String::new());
            let letters: Vec<char> = GIVEN.chars().collect();
            for fragment in letters.chunks(size) {
                rekey.push(&fragment.iter().collect::<String>(), &mut out);
            }
            rekey.finish(&mut out);

            assert_eq!(out, RENAMED, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_renamed_comes_back() {
        let there = keys().reversed().renamed(RENAMED);

        assert_eq!(keys().renamed(&there), RENAMED);
    }
}
