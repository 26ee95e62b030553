//! Media that travel inside JSON: data URLs, base64, and what the first bytes say about their type.

use crate::ir::Source;

/// Reads what `image_url.url`, `file_data` and `input_audio.data` may hold: a data URL, an address, or bare base64.
/// `assumed` is the media type where nothing names one.
pub(crate) fn source(text: &str, assumed: &str) -> Result<Source, &'static str> {
    let text = text.trim();
    if let Some((mime, payload)) = data_url(text) {
        let mime = if mime.is_empty() { assumed } else { mime };
        return inline(mime, payload);
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("http" | "https" | "gs" | "file") => Ok(Source::Url(text.to_owned())),
        _ => inline(assumed, text),
    }
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

fn inline(mime: &str, payload: &str) -> Result<Source, &'static str> {
    let mut data = String::with_capacity(payload.len());
    for part in payload.split_ascii_whitespace() {
        data.push_str(part);
    }
    let plain = data.trim_end_matches('=').len();
    if plain == 0 {
        return Err("the base64 data is empty");
    }
    data.truncate(plain);
    if plain % 4 == 1
        || !data.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_'))
    {
        return Err("the data is neither an address nor base64");
    }
    // Some clients use the URL alphabet; providers take only the standard one.
    let mut data = data.replace('-', "+").replace('_', "/");
    data.extend(std::iter::repeat_n('=', (4 - plain % 4) % 4));
    let declared = match mime.to_ascii_lowercase().as_str() {
        "image/jpg" => "image/jpeg".to_owned(),
        other => other.to_owned(),
    };
    // Providers refuse pictures whose declared type is not their real one.
    let mime = if declared.starts_with("image/") || declared.is_empty() {
        sniff(&data).map_or(declared, str::to_owned)
    } else {
        declared
    };
    Ok(Source::Base64 { mime, data })
}

/// The type of a picture by its first bytes.
fn sniff(base64: &str) -> Option<&'static str> {
    let head = decode(base64.as_bytes().get(..16).unwrap_or(base64.as_bytes()));
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

        let source = source(png, "image/png").expect("base64");

        assert_eq!(
            source,
            Source::Base64 { mime: "image/png".into(), data: "iVBORw0KGgoAAAANSUhEUg==".into() }
        );
    }

    #[test]
    fn base64_may_lack_padding_and_hold_white_space() {
        let source = source("UklGRgAA\n AABXRUJQVlA4", "image/png").expect("base64");

        assert_eq!(source, Source::Base64 { mime: "image/webp".into(), data: "UklGRgAAAABXRUJQVlA4".into() });
    }

    #[test]
    fn what_is_neither_an_address_nor_base64_is_refused() {
        for text in ["", "data:image/png;base64,", "ab$d", "abcde"] {
            assert!(source(text, "image/png").is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_stay_addresses() {
        assert_eq!(source("https://a/b.png", "x"), Ok(Source::Url("https://a/b.png".into())));
    }
}
