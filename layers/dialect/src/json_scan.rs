//! Finds values in JSON text by key, without parsing: enough for what a probe must know of ordinary events.
//!
//! Quotes inside strings are escaped (`\"usage\"`), so a quoted word before a colon is a key of the text itself.

use memchr::{memchr, memmem::Finder};

/// What follows each occurrence of a key. The finder's needle holds the quotes.
pub(crate) fn values_of<'a>(json: &'a [u8], key: &Finder<'_>) -> impl Iterator<Item = &'a [u8]> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            from += key.find(&json[from..])? + key.needle().len();
            // A string value of the same letters is not followed by a colon.
            if let [b':', value @ ..] = json[from..].trim_ascii_start() {
                return Some(value.trim_ascii_start());
            }
        }
    })
}

/// What follows the first occurrence of a key.
pub(crate) fn value_of<'a>(json: &'a [u8], key: &Finder<'_>) -> Option<&'a [u8]> {
    values_of(json, key).next()
}

/// Whether a value is null, or empty as some providers send it in every event.
pub(crate) fn is_empty(value: &[u8]) -> bool {
    [&b"null"[..], b"\"\"", b"{}"].iter().any(|empty| value.starts_with(empty))
}

/// The length of a string on the wire, escapes included; `None` when the value is no whole string.
pub(crate) fn string_length(value: &[u8]) -> Option<usize> {
    let text = value.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let end = from + memchr(b'"', &text[from..])?;
        let escapes = text[..end].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(end);
        }
        from = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_the_first_quote_that_is_not_escaped() {
        for (value, length) in [
            (r#""a" "b""#, Some(1)),
            (r#""say \"hi\"""#, Some(10)),
            (r#""a\\" "b""#, Some(3)),
            (r#""""#, Some(0)),
            (r#""a\""#, None),
            ("null", None),
        ] {
            assert_eq!(string_length(value.as_bytes()), length, "{value}");
        }
    }

    #[test]
    fn every_occurrence_of_a_key_is_found_and_no_value_of_its_letters() {
        let json = br#"{"a":"usage","x":{"usage" : null},"usage":{"b":1}}"#;

        let found: Vec<&[u8]> = values_of(json, &Finder::new("\"usage\"")).collect();

        assert_eq!(found.len(), 2);
        assert!(is_empty(found[0]) && found[1].starts_with(b"{\"b\""));
    }
}
