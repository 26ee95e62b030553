//! The size of a request: characters of text that go in, and the limit that the client sets to what comes out.
//!
//! One pass over the borrowed body, without a copy of its texts. Pictures, sound and names of things count nothing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::surrogates::mended;

/// The size of a request: how much it will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Characters of text that go in.
    pub characters: u64,
    /// Pictures, sounds and files that go in.
    pub media: u64,
    /// The most output tokens that the client wants, if it says so.
    pub most_output: Option<u64>,
}

/// The fields of a dialect's requests that matter for their size.
pub(crate) struct Measure {
    /// Fields with texts, at any depth.
    pub(crate) texts: &'static [&'static str],
    /// Fields with a limit of the output, the truest first.
    pub(crate) limits: &'static [&'static str],
}

/// Fields of parts in which media stand.
const MEDIA: [&str; 9] = [
    "image_url",
    "input_audio",
    "video_url",
    "file",
    "source",
    "inline_data",
    "inlineData",
    "file_data",
    "fileData",
];

/// Fields of turns and parts in which texts stand.
const TEXTUAL: [&str; 5] = ["content", "text", "parts", "output", "arguments"];

impl Measure {
    /// The size of a body. One that cannot be read has none.
    pub(crate) fn of(&self, body: &[u8]) -> Size {
        let read = |body: &[u8]| {
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            let found = Request(self).deserialize(&mut deserializer);
            found.ok().filter(|_| deserializer.end().is_ok())
        };
        read(body).or_else(|| read(&mended(body))).unwrap_or_default()
    }
}

struct Request<'a>(&'a Measure);

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = Size;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Size, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Size, A::Error> {
        let (mut characters, mut media) = (0, 0);
        // The rank of the limit that was found, and the limit.
        let mut limit: Option<(usize, u64)> = None;
        while let Some(key) = map.next_key_seed(Key)? {
            if self.0.texts.iter().any(|name| key.is(name)) {
                let counted = map.next_value_seed(Any)?;
                characters += counted.characters;
                media += counted.media;
            } else if let Some(rank) = self.0.limits.iter().position(|name| key.is(name)) {
                let number = map.next_value_seed(Any)?.number;
                limit = number.map(|number| (rank, number)).into_iter().chain(limit).min();
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Size { characters, media, most_output: limit.map(|(_, limit)| limit) })
    }
}

/// A key, compared without a copy of it.
struct Key;

/// A key, as one of the known words.
struct Word(Option<&'static str>);

/// Every word that is looked for.
const WORDS: [&str; 14] = [
    "content",
    "text",
    "parts",
    "output",
    "arguments",
    "system",
    "messages",
    "contents",
    "prompt",
    "input",
    "instructions",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
];

impl Word {
    fn is(&self, name: &str) -> bool {
        self.0 == Some(name)
    }
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Word;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Word, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Word, E> {
        Ok(Word(WORDS.iter().chain(&MEDIA).copied().find(|word| *word == text)))
    }
}

/// A value of any kind.
struct Any;

/// The count of a value.
#[derive(Default)]
struct Counted {
    characters: u64,
    media: u64,
    number: Option<u64>,
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Counted;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Counted, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Counted, E> {
        Ok(Counted { characters: text.chars().count() as u64, ..Counted::default() })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Counted, E> {
        Ok(Counted { number: Some(number), ..Counted::default() })
    }

    fn visit_unit<E>(self) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Counted, A::Error> {
        let mut all = Counted::default();
        while let Some(element) = seq.next_element_seed(Any)? {
            all.characters += element.characters;
            all.media += element.media;
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counted, A::Error> {
        let mut all = Counted::default();
        while let Some(key) = map.next_key_seed(Key)? {
            if TEXTUAL.iter().any(|name| key.is(name)) {
                let value = map.next_value_seed(Any)?;
                all.characters += value.characters;
                all.media += value.media;
            } else {
                all.media += u64::from(MEDIA.iter().any(|name| key.is(name)));
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(all)
    }
}

/// The text of a JSON body without the media in it, as far as it is no longer than `most`.
///
/// Media are told by what they look like: long runs of the letters of base64. A look at every few hundred bytes
/// finds them, so text costs next to nothing.
pub fn condensed(json: &[u8], most: usize) -> Condensed {
    /// How far apart the looks are, and how long each is.
    const STRIDE: usize = 512;
    const LOOK: usize = 64;
    /// Shorter runs are words.
    const SHORTEST: usize = 4 << 10;
    let is_letter =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    let mut parts = Vec::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(look) = json.get(at..at + LOOK) {
        if !look.iter().all(is_letter) {
            at += STRIDE;
            continue;
        }
        let start =
            kept + json[kept..at].iter().rposition(|byte| !is_letter(byte)).map_or(0, |before| before + 1);
        let end = memchr::memchr(b'"', &json[at..]).map_or(json.len(), |end| at + end);
        if end - start >= SHORTEST {
            parts.push(&json[kept..start]);
            kept = end;
        }
        at = end;
    }
    let media = parts.len() as u64;
    parts.push(&json[kept..]);
    let length = parts.iter().map(|part| part.len()).sum();
    Condensed { text: (length <= most).then(|| parts.concat()), length, media }
}

/// A body without its media.
#[derive(Debug, PartialEq, Eq)]
pub struct Condensed {
    /// What is left, if it is short enough.
    pub text: Option<Vec<u8>>,
    /// Its length.
    pub length: usize,
    /// How many media were left out.
    pub media: u64,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::condensed;
    use crate::{Body, Dialect, Kind, Size};

    #[test]
    fn media_are_counted_one_by_one_and_left_out_of_what_is_kept() {
        let data = "QUJD/+".repeat(20_000);
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"four"}},
                {{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}},
                {{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}]}}]}}"#
        );

        let short = condensed(body.as_bytes(), 1 << 10);

        assert_eq!(
            (size(Dialect::OpenAiChat, &body).characters, size(Dialect::OpenAiChat, &body).media),
            (4, 2)
        );
        assert_eq!(short.media, 2);
        let kept = String::from_utf8(short.text.expect("short enough")).expect("text");
        assert_eq!(kept.replace(&data, ""), body.replace(&data, ""), "at most pieces of them are left");
        assert_eq!(size(Dialect::OpenAiChat, &kept), size(Dialect::OpenAiChat, &body));
    }

    #[test]
    fn text_is_kept_whole_or_only_measured() {
        let body = format!(r#"{{"messages":[{{"content":"{}"}}]}}"#, "many words ".repeat(10_000));

        assert_eq!(condensed(body.as_bytes(), body.len()).text.as_deref(), Some(body.as_bytes()));
        let long = condensed(body.as_bytes(), body.len() - 1);
        assert_eq!((long.text, long.length, long.media), (None, body.len(), 0));
        assert_eq!(condensed(b"", 10).text.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_body_of_nothing_but_letters_is_condensed() {
        assert_eq!(condensed(&[b'A'; 10_000], 10).media, 1);
    }

    fn size(dialect: Dialect, body: &str) -> Size {
        dialect.size(Kind::Chat, &Body::Json(Bytes::copy_from_slice(body.as_bytes())))
    }

    #[test]
    fn text_counts_in_characters_and_pictures_do_not() {
        let body = r#"{"messages":[{"role":"system","content":"éééé"},{"role":"user","content":[
            {"type":"text","text":"eight ch"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#;

        assert_eq!(size(Dialect::OpenAiChat, body).characters, 12);
        assert_eq!(size(Dialect::Anthropic, &format!(r#"{{"system":"ab",{}"#, &body[1..])).characters, 14);
    }

    #[test]
    fn the_newer_name_of_the_output_limit_comes_first() {
        let limit = |body: &str| size(Dialect::OpenAiChat, body).most_output;

        assert_eq!(limit(r#"{"max_tokens":5}"#), Some(5));
        assert_eq!(limit(r#"{"max_tokens":5,"max_completion_tokens":7}"#), Some(7));
        assert_eq!(limit(r#"{"max_completion_tokens":7,"max_tokens":5}"#), Some(7));
        assert_eq!(limit(r#"{"max_tokens":null}"#), None);
        assert_eq!(limit(r#"{"max_tokens":-1}"#), None);
    }

    #[test]
    fn what_cannot_be_read_counts_nothing() {
        for body in ["{", "[]", "{} {}", r#"{"messages":["a"]"#] {
            assert_eq!(size(Dialect::OpenAiChat, body), Size::default(), "{body}");
        }
    }
}
