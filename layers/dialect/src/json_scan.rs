//! Finds values in JSON text by key, without parsing: enough for what a probe must know of ordinary events.
//!
//! Quotes inside strings are escaped (`\"usage\"`), so a quoted word before a colon is a key of the text itself. Sixteen
//! bytes are looked at at a time: most strings of an answer are so short that a search for the end of each costs more
//! than the search itself.

use memchr::memchr;
use wide::u8x16;

/// Every key with what follows its colon, at any depth, in the order of the text.
///
/// One walk over an event of a stream costs less than a search for each key that matters. It ends
/// where the text is no JSON any more.
pub(crate) fn members(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut quotes = Quotes::of(json);
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

/// Tells `see` the members of a JSON object (RFC 8259): each key without its quotes and with its escapes, and where its
/// value begins. `None` where the text is no object, and where it is nested deeper than 64 levels: a parser has to look
/// then.
pub(crate) fn object_members<'a>(json: &'a str, mut see: impl FnMut(&'a [u8], usize)) -> Option<()> {
    if !json.trim_ascii_start().starts_with('{') {
        return None;
    }
    walk(json, |depth, key, at| {
        if depth == 1 {
            see(key, at);
        }
    })
}

/// Walks all of a JSON text (RFC 8259) and tells `see` every key with its depth, from 1, and with the place of its
/// value. `None` where it is no such text, and where it is deeper than any answer: a parser has to look then.
///
/// What a pass over the text for each key that matters would cost, spent on one that knows the grammar too.
pub(crate) fn walk<'a>(json: &'a str, mut see: impl FnMut(u32, &'a [u8], usize)) -> Option<()> {
    const DEEPEST: u32 = u64::BITS;
    let text = json.as_bytes();
    // One bit for each level that is open: whether it is an object.
    let (mut objects, mut depth) = (0_u64, 0);
    let mut at_key = false;
    let mut at = blank(text, 0);
    loop {
        let first = *text.get(at)?;
        match first {
            b'"' => {
                let start = at + 1;
                at = string_end(text, start)?;
                if at_key {
                    let key = text.get(start..at - 1)?;
                    at = blank(text, at);
                    if *text.get(at)? != b':' {
                        return None;
                    }
                    at = blank(text, at + 1);
                    see(depth, key, at);
                    at_key = false;
                    continue;
                }
            }
            _ if at_key => return None,
            b'{' | b'[' => {
                if depth == DEEPEST {
                    return None;
                }
                depth += 1;
                objects = objects << 1 | u64::from(first == b'{');
                at = blank(text, at + 1);
                let is_empty = matches!((first, *text.get(at)?), (b'{', b'}') | (b'[', b']'));
                if !is_empty {
                    at_key = first == b'{';
                    continue;
                }
            }
            b'-' | b'0'..=b'9' => at = number_end(text, at)?,
            _ => {
                let words: [&[u8]; 3] = [b"null", b"true", b"false"];
                at += words.into_iter().find(|word| text[at..].starts_with(word))?.len();
            }
        }
        // Behind a value: what is closed here, and what comes next.
        loop {
            at = blank(text, at);
            if depth == 0 {
                return (at == text.len()).then_some(());
            }
            match (*text.get(at)?, objects & 1) {
                (b',', object) => {
                    at = blank(text, at + 1);
                    at_key = object == 1;
                    break;
                }
                (b'}', 1) | (b']', 0) => {
                    at += 1;
                    depth -= 1;
                    objects >>= 1;
                }
                _ => return None,
            }
        }
    }
}

/// Where the blanks from here on end.
fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Behind the string whose text begins here.
#[inline(always)]
fn string_end(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let rest = text.get(from..)?;
        let bits = ends_and_escapes(block(rest)?);
        if bits == 0 {
            from += size_of::<u8x16>();
            continue;
        }
        let mark = from + bits.trailing_zeros() as usize;
        match *text.get(mark)? {
            b'"' => return Some(mark + 1),
            _ => from = escape_end(text, mark)?,
        }
    }
}

/// Behind the escape that stands here; none for what is no escape.
fn escape_end(text: &[u8], at: usize) -> Option<usize> {
    match (*text.get(at)?, *text.get(at + 1)?) {
        (b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Some(at + 2),
        (b'\\', b'u') if text.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => Some(at + 6),
        _ => None,
    }
}

/// Behind the number that begins here.
fn number_end(text: &[u8], mut at: usize) -> Option<usize> {
    at += usize::from(text[at] == b'-');
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits_end(text, at)? };
    if text.get(at) == Some(&b'.') {
        at = digits_end(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at = digits_end(text, at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-'))))?;
    }
    Some(at)
}

/// Behind the digits that begin here; none where there is none.
#[inline(always)]
fn digits_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(b'0'..=b'9') = text.get(at) {
        at += 1;
    }
    (at > from).then_some(at)
}

/// Whether what follows this part of a string is escaped.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The quotes of sixteen bytes, a bit for each byte.
#[inline(always)]
fn quotes(block: u8x16) -> u32 {
    block.simd_eq(u8x16::splat(b'"')).to_bitmask()
}

/// Those of sixteen bytes that end a string, escape, or may not stand in one (below a space): a bit for each byte.
#[inline(always)]
fn ends_and_escapes(block: u8x16) -> u32 {
    let control = block.simd_eq(block.min(u8x16::splat(b' ' - 1)));
    let ends = block.simd_eq(u8x16::splat(b'"'));
    (control | ends | block.simd_eq(u8x16::splat(b'\\'))).to_bitmask()
}

/// The first sixteen bytes of a text; of a shorter one what there is, and blanks behind it. None where nothing is left.
#[inline(always)]
fn block(text: &[u8]) -> Option<u8x16> {
    match text.first_chunk() {
        Some(block) => Some(u8x16::new(*block)),
        None => last(text),
    }
}

/// The places of the quotes in a text.
struct Quotes<'a> {
    text: &'a [u8],
    /// Where the next bytes begin that are looked at.
    next: usize,
    /// Where those begin that were looked at last, and a bit for each of them that is left to tell.
    at: usize,
    bits: u32,
}

impl<'a> Quotes<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { text, next: 0, at: 0, bits: 0 }
    }
}

impl Iterator for Quotes<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.bits == 0 {
            self.bits = quotes(block(self.text.get(self.next..)?)?);
            self.at = self.next;
            self.next += size_of::<u8x16>();
        }
        let place = self.at + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(place)
    }
}

/// The last bytes of a text, fewer than sixteen.
#[cold]
fn last(rest: &[u8]) -> Option<u8x16> {
    let mut block = [b' '; 16];
    block.get_mut(..rest.len()).filter(|room| !room.is_empty())?.copy_from_slice(rest);
    Some(u8x16::new(block))
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
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

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

    /// Texts, and whether they are JSON as serde_json judges it.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\"a\""),
            Just("\"b\\n\\\"\""),
            Just("\"\\ud83d\""),
            Just("\"\\u12\""),
            Just("\"\u{1}\""),
            Just("\"long enough for words, é漢\""),
            Just("\""),
            Just("1"),
            Just("-0.5e+3"),
            Just("01"),
            Just("1."),
            Just("-"),
            Just("1e"),
            Just("NaN"),
            Just("Infinity"),
            Just("true"),
            Just("null"),
            Just("nul"),
            Just(" "),
            Just("\n"),
            Just("\u{b}"),
            Just("{\"k\":[{}]}"),
        ];
        prop_oneof![
            prop::collection::vec(word, 0..12).prop_map(|words| words.concat().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..24),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn a_walk_takes_what_a_parser_takes_and_nothing_else(text in texts()) {
            let Ok(text) = std::str::from_utf8(&text) else { return Ok(()) };
            let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();

            prop_assert_eq!(walk(text, |_, _, _| {}).is_some(), is_json, "{}", text);
        }
    }

    #[test]
    fn every_byte_that_is_changed_in_an_answer_is_judged_as_a_parser_does() {
        let answer =
            r#"{"id":"c","n":[-1.5e3,{}, []],"t":"two é \ud83d\" and","z":null,"y":true}"#.as_bytes();
        for at in 0..answer.len() {
            for byte in 0..=u8::MAX {
                let mut text = answer.to_vec();
                text[at] = byte;
                let Ok(text) = std::str::from_utf8(&text) else { continue };
                let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();

                assert_eq!(walk(text, |_, _, _| {}).is_some(), is_json, "{text}");
            }
        }
    }

    #[test]
    fn a_walk_tells_every_member_with_its_value_and_leaves_depths_to_a_parser() {
        let text = r#" {"a":"\"b\":1","c" : {"d":[1,{"e" :null}]},"f":"x"} "#;
        let mut seen = Vec::new();
        let end = walk(text, |depth, key, at| {
            let key = String::from_utf8_lossy(key);
            seen.push(format!("{depth}{key}={}", &text[at..text.len().min(at + 4)]));
        });

        assert_eq!(
            (end, seen.join(" ")),
            (Some(()), r#"1a="\"b 1c={"d" 2d=[1,{ 4e=null 1f="x"}"#.to_owned())
        );
        let mut top = Vec::new();
        let end = object_members(r#" {"a":{"b":1},"c":2}"#, |key, _| top.push(key));
        assert_eq!((end, top), (Some(()), vec![&b"a"[..], b"c"]));
        assert_eq!(object_members("[{\"a\":1}]", |_, _| {}), None);
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(walk(&nested(64), |_, _, _| {}), Some(()));
        assert_eq!(walk(&nested(65), |_, _, _| {}), None);
    }
}
