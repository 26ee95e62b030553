//! Mends JSON text that a Rust string cannot hold: escapes of half a surrogate pair.
//!
//! RFC 8259 §8.2 allows them, and whoever cuts a text by UTF-16 units writes them. Bytes that are passed on keep
//! them; what is read of them, and written anew, has U+FFFD in their place.

use std::borrow::Cow;

use memchr::memchr;
use serde::de::DeserializeOwned;

/// What stands for a half; of the same length.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The text with its halves replaced; borrowed where it has none, which nearly all texts have.
pub(crate) fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(next) = memchr(b'\\', &json[at.min(json.len())..]) {
        at += next;
        let half = match unit(&json[at..]) {
            Some(0xD800..0xDC00) => match unit(&json[at + 6..]) {
                Some(0xDC00..0xE000) => {
                    at += 12;
                    continue;
                }
                _ => true,
            },
            Some(0xDC00..0xE000) => true,
            _ => false,
        };
        if half {
            text.to_mut()[at..at + 6].copy_from_slice(REPLACEMENT);
            at += 6;
        } else {
            // Whatever else is escaped is no backslash that escapes again.
            at += 2;
        }
    }
    text
}

/// The UTF-16 unit that an escape at the beginning of this text names.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// Reads JSON, mended where it cannot be read otherwise.
///
/// # Errors
/// What is wrong with it beside halves of pairs.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| match mended(json) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(text) => serde_json::from_slice(&text),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn text(json: &str) -> String {
        String::from_utf8(mended(json.as_bytes()).into_owned()).expect("text")
    }

    #[test]
    fn halves_are_replaced_and_everything_else_stays() {
        for (json, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""a\uDE00b""#, r#""a\ufffdb""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\u00e9\ud7ff\ue000""#, r#""\u00e9\ud7ff\ue000""#),
            (r#""\ud83"#, r#""\ud83"#),
            (r#""\"#, r#""\"#),
        ] {
            assert_eq!(text(json), expected, "{json}");
        }
    }

    #[test]
    fn a_text_without_halves_is_not_copied() {
        assert!(matches!(mended(br#"{"a":"b\n\ud83d\ude00"}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn what_else_is_wrong_stays_wrong() {
        assert!(read::<Value>(br#"{"a":"\ud83d"#).is_err());
        assert_eq!(read::<Value>(br#""\ud83d""#).unwrap(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_of_escapes_can_be_read(units in prop::collection::vec(0xD7FEu32..0xE002, 0..12)) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();

            let quoted = format!("\"{json}\"");
            let read = serde_json::from_slice::<String>(&mended(quoted.as_bytes())).is_ok();
            prop_assert!(read, "{}", quoted);
        }

        #[test]
        fn no_text_makes_it_panic(json in prop::collection::vec(prop_oneof![Just(b'\\'), Just(b'u'), Just(b'd'), Just(b'8'), any::<u8>()], 0..40)) {
            prop_assert_eq!(mended(&json).len(), json.len());
        }
    }
}
