//! Reads requests into values and writes them again without losing any of their numbers.
//!
//! A [`Value`](serde_json::Value) holds integers of 64 bits and floats. An identity of 23 digits among the arguments
//! of a tool would come out rounded, and 1e999 could not be read at all. Such numbers pass through a value as strings
//! behind a mark, a code point that is no character, and are written as the digits that came. (The feature
//! `arbitrary_precision` of `serde_json` would change how every number of every crate is read.) A client that writes
//! the mark itself turns a text of its own into a number of its own, and nothing else.

use std::borrow::Cow;
use std::io::{self, Write};

use memchr::memchr2;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Number;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::surrogates;

/// Stands before the digits of a number within a string.
const MARK: &str = "\u{FDD0}";
/// Digits that a float always holds.
const DIGITS: usize = 15;

/// Reads JSON into values, halves of surrogate pairs replaced.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    if has_long_run(json) {
        return surrogates::read(&marked(json));
    }
    // A number with a large exponent is short.
    surrogates::read(json).or_else(|error| surrogates::read(&marked(json)).map_err(|_| error))
}

/// Writes values that were read so.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write(to: impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(to, Exact::default()))
}

/// The bytes of a JSON object that was read by this crate, every number with the digits that came.
pub fn json_bytes(object: &serde_json::Map<String, serde_json::Value>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    write(&mut bytes, object).expect("a JSON value can be written, and a buffer takes everything");
    bytes
}

/// The number that a string stands for, as near as it can be held; none for an ordinary string.
pub(crate) fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(MARK)?;
    Number::from_f64(digits.parse().ok().filter(|_| is_number(digits.as_bytes()))?)
}

/// Whether a number may be in it that is too long. Looks at every sixteenth byte only.
fn has_long_run(json: &[u8]) -> bool {
    let mut at = DIGITS;
    while let Some(byte) = json.get(at) {
        if is_numeric(byte) {
            let before = json[..at].iter().rev().take_while(|byte| is_numeric(byte)).count();
            let behind = json[at..].iter().take_while(|byte| is_numeric(byte)).count();
            if before + behind > DIGITS {
                return true;
            }
        }
        at += DIGITS + 1;
    }
    false
}

fn is_numeric(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// The text with the numbers as strings that no value holds.
fn marked(json: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at = string_end(json, at + 1),
            b'0'..=b'9' | b'-' => {
                let length = json[at..].iter().take_while(|byte| is_numeric(byte)).count();
                let digits = &json[at..at + length];
                if is_number(digits) && !is_held(digits) {
                    text.extend_from_slice(&json[copied..at]);
                    text.push(b'"');
                    text.extend_from_slice(MARK.as_bytes());
                    text.extend_from_slice(digits);
                    text.push(b'"');
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    text.extend_from_slice(&json[copied..]);
    Cow::Owned(text)
}

/// Behind the string whose text begins here, or behind everything.
fn string_end(json: &[u8], mut at: usize) -> usize {
    while let Some(next) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += next + 1;
        if json[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    json.len()
}

/// Whether this is a number of JSON's and nothing else.
fn is_number(text: &[u8]) -> bool {
    text.first().is_some_and(|first| matches!(first, b'0'..=b'9' | b'-'))
        && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether a value holds it as it is.
fn is_held(number: &[u8]) -> bool {
    let text = std::str::from_utf8(number).unwrap_or_default();
    if !number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok();
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    digits == 0 || digits <= DIGITS && text.parse().is_ok_and(f64::is_normal)
}

/// A compact form of JSON in which marked strings are numbers.
#[derive(Default)]
struct Exact {
    inner: CompactFormatter,
    /// The string's quote is written.
    quoted: bool,
    /// What it holds is a number so far, mark and all, and is not written yet.
    number: String,
}

impl Formatter for Exact {
    fn begin_string<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.quoted = false;
        self.number.clear();
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let begins = !self.quoted && self.number.is_empty();
        if begins && fragment.strip_prefix(MARK).is_some_and(|digits| is_number(digits.as_bytes())) {
            self.number.push_str(fragment);
            return Ok(());
        }
        self.quote(writer)?;
        self.inner.write_string_fragment(writer, fragment)
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.quote(writer)?;
        self.inner.write_char_escape(writer, escape)
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if let Some(digits) = self.number.strip_prefix(MARK) {
            return writer.write_all(digits.as_bytes());
        }
        self.quote(writer)?;
        self.inner.end_string(writer)
    }
}

impl Exact {
    /// It is a text: its quote, and what looked like a number.
    fn quote<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.quoted {
            return Ok(());
        }
        self.quoted = true;
        self.inner.begin_string(writer)?;
        let text = std::mem::take(&mut self.number);
        if text.is_empty() { Ok(()) } else { self.inner.write_string_fragment(writer, &text) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn again(json: &str) -> String {
        let object: Map<String, Value> =
            read(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
        String::from_utf8(json_bytes(&object)).expect("text")
    }

    #[test]
    fn numbers_come_out_with_the_digits_that_came() {
        for number in [
            "12345678901234567890123",
            "-9223372036854775809",
            "18446744073709551616",
            "18446744073709551615",
            "0.1234567890123456789",
            "-3.14159265358979323846e-10",
            "1e999",
            "123456789012345678e3",
            "0.1",
            "7",
        ] {
            let json = format!(r#"{{"a":[{number}],"b":"{number}","c":{{"d":{number}}}}}"#);

            assert_eq!(again(&json), json);
        }
    }

    #[test]
    fn texts_stay_texts() {
        for text in
            ["", "\\n", "\\\"", "a\\\"12345678901234567890123", "\u{FDD0}", "\u{FDD0}x", "\u{FDD0}1\\n"]
        {
            let json = format!(r#"{{"a":"{text}","b":12345678901234567890123}}"#);

            assert_eq!(again(&json), json);
        }
    }

    #[test]
    fn what_is_no_number_stays_an_error() {
        for wrong in [
            "0123456789012345678901",
            "1234567890123456789.",
            "--1234567890123456789",
            "1e9999e",
            "12345678901234567890123x",
        ] {
            assert!(read::<Value>(format!("[{wrong}]").as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_marked_string_is_the_number_nearest_to_it() {
        assert_eq!(number("\u{FDD0}0.50000000000000000001"), Number::from_f64(0.5));
        assert_eq!((number("0.5"), number("\u{FDD0}inf"), number("\u{FDD0}1e999")), (None, None, None));
    }

    proptest! {
        #[test]
        fn whatever_can_be_read_is_written_as_serde_would_or_exactly(json in "[\\[\\]{},:\"0-9.eE+\\-a ]{0,40}") {
            if let Ok(value) = serde_json::from_str::<Value>(&json) {
                let mut bytes = Vec::new();
                write(&mut bytes, &read::<Value>(json.as_bytes()).unwrap()).unwrap();

                prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
            }
        }
    }
}
