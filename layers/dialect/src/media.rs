//! Media that travel inside JSON: data URLs, base64, and what the first bytes say about their type.

use bytes::Bytes;

use crate::ir::Source;

/// Reads what `image_url.url`, `file_data` and `input_audio.data` may hold: a data URL, an address, or bare base64.
/// `assumed` is the media type where nothing names one. The text is taken over: of a large medium no copy is made.
///
/// # Errors
/// What is neither, as a clause.
pub(crate) fn source(text: String, assumed: &str) -> Result<Source, &'static str> {
    let trimmed = text.trim();
    if let Some((mime, payload)) = data_url(trimmed) {
        let mime = if mime.is_empty() { assumed } else { mime }.to_owned();
        let at = payload.as_ptr().addr() - text.as_ptr().addr();
        let range = at..at + payload.len();
        return inline(mime, Bytes::from(text).slice(range));
    }
    let scheme = trimmed.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("http" | "https" | "gs" | "s3" | "file") => Ok(Source::Url(trimmed.to_owned())),
        _ => inline(assumed.to_owned(), Bytes::from(text)),
    }
}

/// Bytes that were fetched, under the type that they were served with.
pub(crate) fn of_bytes(mime: &str, bytes: &[u8]) -> Source {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let data = Bytes::from(encode(bytes));
    Source::Base64 { mime: real_type(mime, &data), data }
}

/// Whether an address is one that only a provider can follow, and nobody fetches: of a video at YouTube, of an object
/// in Google's storage, of a file in a provider's own store.
pub(crate) fn is_for_provider(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    if scheme.eq_ignore_ascii_case("gs") {
        return true;
    }
    let (host, path) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    is_video_host(&host) || host == "generativelanguage.googleapis.com" && path.contains("files/")
}

/// Whether an address is that of a video at YouTube.
pub(crate) fn is_video_page(address: &str) -> bool {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', ':']).next().unwrap_or_default();
    is_video_host(&host.to_ascii_lowercase())
}

fn is_video_host(host: &str) -> bool {
    let host = host.strip_prefix("www.").or(host.strip_prefix("m.")).unwrap_or(host);
    matches!(host, "youtube.com" | "youtu.be" | "music.youtube.com" | "youtube-nocookie.com")
}

/// The media type and payload of a base64 data URL.
fn data_url(text: &str) -> Option<(&str, &str)> {
    let prefix = text.get(..5)?;
    if !prefix.eq_ignore_ascii_case("data:") {
        return None;
    }
    let (head, payload) = text[5..].split_once(',')?;
    let head = head.strip_suffix(";base64").unwrap_or(head);
    Some((head.split(';').next().unwrap_or_default(), payload))
}

fn inline(mime: String, payload: Bytes) -> Result<Source, &'static str> {
    let data = if is_standard(&payload) { payload } else { standard(&payload)? };
    if data.is_empty() {
        return Err("the base64 data is empty");
    }
    Ok(Source::Base64 { mime: real_type(&mime, &data), data })
}

/// Whether base64 is in the standard alphabet, padded and without white space, as nearly all of it is.
fn is_standard(base64: &[u8]) -> bool {
    let padding = base64.iter().rev().take_while(|letter| **letter == b'=').count();
    let plain = &base64[..base64.len() - padding];
    base64.len().is_multiple_of(4)
        && padding <= 2
        && !plain.is_empty()
        && plain.iter().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/'))
}

/// The same bytes in standard base64, from a text with white space, without padding, or in the URL alphabet, which
/// some clients use and providers do not take.
fn standard(payload: &[u8]) -> Result<Bytes, &'static str> {
    let mut data = Vec::with_capacity(payload.len() + 3);
    data.extend(payload.iter().filter(|letter| !letter.is_ascii_whitespace()).map(|letter| match letter {
        b'-' => b'+',
        b'_' => b'/',
        letter => *letter,
    }));
    let plain = data.len() - data.iter().rev().take_while(|letter| **letter == b'=').count();
    if plain == 0 {
        return Err("the base64 data is empty");
    }
    data.truncate(plain);
    if plain % 4 == 1
        || !data.iter().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'+' | b'/'))
    {
        return Err("the data is neither an address nor base64");
    }
    data.extend(std::iter::repeat_n(b'=', (4 - plain % 4) % 4));
    Ok(data.into())
}

/// The media type of base64. Providers refuse pictures whose declared type is not their real one.
fn real_type(declared: &str, base64: &[u8]) -> String {
    let declared = match declared.to_ascii_lowercase().as_str() {
        "image/jpg" => "image/jpeg".to_owned(),
        other => other.to_owned(),
    };
    if declared.starts_with("image/") || declared.is_empty() {
        sniff(base64).map_or(declared, str::to_owned)
    } else {
        declared
    }
}

/// The type of a picture by its first bytes.
fn sniff(base64: &[u8]) -> Option<&'static str> {
    let head = decode(base64.get(..16).unwrap_or(base64));
    match head.as_slice() {
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        _ => None,
    }
}

/// Decodes base64 up to the first byte that is none.
pub(crate) fn decode(base64: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    for &letter in base64 {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// A decoder of base64 that comes in pieces, cut anywhere or padded each.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Letters that do not make up whole bytes yet.
    held: Vec<u8>,
}

impl Pieces {
    /// The bytes that a further piece completes.
    pub(crate) fn push(&mut self, base64: &[u8]) -> Vec<u8> {
        self.held.extend(base64.iter().filter(|letter| !letter.is_ascii_whitespace()));
        let whole = match self.held.last() {
            // A padded piece is complete, and the next one begins anew.
            Some(b'=') => self.held.len(),
            _ => self.held.len() / 4 * 4,
        };
        let bytes = decode(&self.held[..whole]);
        self.held.drain(..whole);
        bytes
    }

    /// The bytes of an end that was not padded.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        decode(&std::mem::take(&mut self.held))
    }
}

/// Encodes bytes in standard base64.
pub(crate) fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut base64 = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
            base64.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    base64
}

/// The media type of sound from OpenAI's `format`.
pub(crate) fn audio_mime(format: &str) -> String {
    match format {
        "" => "audio/wav".to_owned(),
        "mp3" | "mpeg" => "audio/mpeg".to_owned(),
        "mp4" => "video/mp4".to_owned(),
        mime if mime.contains('/') => mime.to_owned(),
        other => format!("audio/{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_type_of_a_picture_replaces_the_declared_one() {
        let png = "data:image/jpg;base64,iVBORw0KGgoAAAANSUhEUg==";

        let source = source(png.to_owned(), "image/png").expect("base64");

        assert_eq!(
            source,
            Source::Base64 { mime: "image/png".into(), data: "iVBORw0KGgoAAAANSUhEUg==".into() }
        );
    }

    #[test]
    fn base64_may_lack_padding_and_hold_white_space() {
        let source = source("UklGRgAA\n AABXRUJQVlA4".to_owned(), "image/png").expect("base64");

        assert_eq!(source, Source::Base64 { mime: "image/webp".into(), data: "UklGRgAAAABXRUJQVlA4".into() });
    }

    #[test]
    fn what_is_neither_an_address_nor_base64_is_refused() {
        for text in ["", "data:image/png;base64,", "ab$d", "abcde"] {
            assert!(source(text.to_owned(), "image/png").is_err(), "{text:?}");
        }
    }

    #[test]
    fn standard_base64_is_taken_over_without_a_copy() {
        let url = format!("data:image/png;base64,{}", "AAAA".repeat(10_000));
        let place = url.as_ptr().addr();

        let source = source(url, "image/png").expect("base64");

        let Source::Base64 { data, .. } = source else { panic!("{source:?}") };
        assert_eq!(data.as_ptr().addr(), place + "data:image/png;base64,".len());
        assert_eq!(data.len(), 40_000);
    }

    #[test]
    fn pieces_of_base64_are_joined_as_bytes() {
        for pieces in [&["YQ==", "Yg=="][..], &["YWI="], &["Y", "WI"], &["YW", "I="], &["YQ==", "Yg"]] {
            let mut decoder = Pieces::default();

            let mut bytes: Vec<u8> = pieces.iter().flat_map(|piece| decoder.push(piece.as_bytes())).collect();
            bytes.extend(decoder.finish());

            assert_eq!(bytes, b"ab", "{pieces:?}");
        }
    }

    #[test]
    fn base64_comes_back_as_it_went() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"abcd", &[0xFF, 0xFE, 0xFD, 0xFC, 0]] {
            assert_eq!(decode(encode(bytes).as_bytes()), bytes);
        }
        assert_eq!(encode(b"ab"), "YWI=");
    }

    #[test]
    fn addresses_that_only_a_provider_follows_are_told_from_others() {
        for address in [
            "https://www.youtube.com/watch?v=ku-N-eS1lgM",
            "https://youtu.be/ku-N-eS1lgM",
            "HTTPS://YouTube.com/shorts/x",
            "gs://bucket/a.mp4",
            "https://generativelanguage.googleapis.com/v1beta/files/abc",
        ] {
            assert!(is_for_provider(address), "{address}");
        }
        for address in [
            "https://youtube.com.evil.example/x",
            "https://a.example/youtu.be",
            "youtu.be/x",
            "https://a/b.png",
        ] {
            assert!(!is_for_provider(address) && !is_video_page(address), "{address}");
        }
        assert!(is_video_page("https://youtu.be/x") && !is_video_page("gs://bucket/a.mp4"));
    }

    #[test]
    fn addresses_stay_addresses() {
        assert_eq!(source("https://a/b.png".to_owned(), "x"), Ok(Source::Url("https://a/b.png".into())));
    }
}
