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

/// Every key with what follows its colon, at any depth, in the order of the text.
///
/// One walk over an event of a stream costs less than a search for each key that matters. It ends
/// where the text is no JSON any more.
pub(crate) fn members(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut quotes = Quotes { text: json, next: 0, at: 0, marks: 0 };
    std::iter::from_fn(move || {
        loop {
            let start = quotes.next()? + 1;
            let end = quotes.by_ref().find(|&at| !is_escaped(&json[start..at]))?;
            if let [b':', value @ ..] = json[end + 1..].trim_ascii_start() {
                return Some((&json[start..end], value.trim_ascii_start()));
            }
        }
    })
}

/// Whether what follows this part of a string is escaped.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The places of quotes in a text. It takes eight bytes at a time: most strings of an event are so
/// short that a search for the end of each costs more than the search itself.
struct Quotes<'a> {
    text: &'a [u8],
    /// Where the next eight bytes begin.
    next: usize,
    /// Where the current ones begin, and the high bit of each byte of them that is a quote.
    at: usize,
    marks: u64,
}

impl Iterator for Quotes<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        const LOW: u64 = u64::from_le_bytes([0x7f; 8]);
        const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
        while self.marks == 0 {
            let rest = self.text.get(self.next..).filter(|rest| !rest.is_empty())?;
            let word = rest.first_chunk().copied().unwrap_or_else(|| {
                let mut last = [0; 8];
                last[..rest.len()].copy_from_slice(rest);
                last
            });
            // Zero where there is a quote; the sum has the high bit of every other byte.
            let word = u64::from_le_bytes(word) ^ QUOTES;
            self.marks = !(((word & LOW) + LOW) | word | LOW);
            self.at = self.next;
            self.next += 8;
        }
        let place = self.at + self.marks.trailing_zeros() as usize / 8;
        self.marks &= self.marks - 1;
        Some(place)
    }
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
        if !is_escaped(&text[..end]) {
            return Some(end);
        }
        from = end + 1;
    }
}

/// Reads an object that holds nothing but counts, and objects of counts one level deeper.
///
/// `take` is told the key of the inner object (empty at the top), the key of the count, and the
/// count. `None` when something else is in it, or when `take` does not know a count: a parser has
/// to look then. What follows the object is not looked at.
pub(crate) fn counts(json: &[u8], mut take: impl FnMut(&[u8], &[u8], u64) -> Option<()>) -> Option<()> {
    let mut rest = json.strip_prefix(b"{")?;
    let mut within: Option<&[u8]> = None;
    loop {
        let key = rest.trim_ascii_start().strip_prefix(b"\"")?;
        let end = memchr(b'"', key)?;
        let (key, after) = key.split_at(end);
        let value = after[1..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        match *value.first()? {
            b'{' if within.is_none() => {
                within = Some(key);
                rest = value[1..].trim_ascii_start();
                if !rest.starts_with(b"}") {
                    continue;
                }
            }
            b'0'..=b'9' => {
                let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
                // Nineteen digits always fit.
                if digits > 19 {
                    return None;
                }
                let count =
                    value[..digits].iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
                take(within.unwrap_or_default(), key, count)?;
                rest = value[digits..].trim_ascii_start();
            }
            _ => return None,
        }
        if within.is_some()
            && let Some(outer) = rest.strip_prefix(b"}")
        {
            within = None;
            rest = outer.trim_ascii_start();
        }
        match rest.split_first()? {
            (b',', more) => rest = more,
            (b'}', _) if within.is_none() => return Some(()),
            _ => return None,
        }
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
    fn counts_are_read_two_levels_deep_and_nothing_else_is() {
        let read = |json: &str| {
            let mut seen = Vec::new();
            counts(json.as_bytes(), |outer, key, count| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                seen.push((text(outer), text(key), count));
                (key != b"unknown").then_some(())
            })
            .map(|()| seen)
        };
        let entry = |outer: &str, key: &str, count| (outer.to_owned(), key.to_owned(), count);

        assert_eq!(
            read(r#"{"a": 12 , "d" : {"b":0,"c":34}, "e":{},"f":1} and more"#),
            Some(vec![entry("", "a", 12), entry("d", "b", 0), entry("d", "c", 34), entry("", "f", 1)])
        );
        for other in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            r#"{"a""#,
            r#"{"a":"#,
            r#"{"a":1"#,
            r#"{"a":1,"#,
            r#"{"a":1,}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":null}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"b":{"c":1}}}"#,
            r#"{"a":{"b":1}"#,
            r#"{"a":123456789012345678901}"#,
            r#"{"unknown":1}"#,
            r#"{"a" 1}"#,
            r#"{a:1}"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn members_are_all_keys_with_their_values_and_nothing_of_the_strings() {
        let keys = |json: &str| {
            members(json.as_bytes())
                .map(|(key, value)| {
                    let value = &value[..value.len().min(4)];
                    format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value))
                })
                .collect::<Vec<_>>()
        };

        assert_eq!(
            keys(r#"{"a":"\"b\":1","c" : {"d":[1,{"e" :null}]},"f\\":"x"}"#),
            [r#"a="\"b"#, r#"c={"d""#, "d=[1,{", "e=null", r#"f\\="x"}"#]
        );
        for (cut, found) in [
            (r#"{"a":"b"#, vec!["a=\"b"]),
            (r#"{"a"#, vec![]),
            (r#"{"a":1,"b\"#, vec!["a=1,\"b"]),
            ("", vec![]),
        ] {
            assert_eq!(keys(cut), found, "{cut}");
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
