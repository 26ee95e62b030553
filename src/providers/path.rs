//! Paths that hold a model's name: the one place where a name becomes a part of a URL.
//!
//! Names come from the configuration and from the model lists of upstreams, and an upstream decodes
//! them in ways of its own. A name must not choose another path than the one that it stands in,
//! whoever decodes it and how often: what is merely unusual is encoded, what could mean a way
//! through folders is refused.

use std::borrow::Cow;

use layers::ports::Unsupported;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters, and `@`, which Vertex wants to see as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');
/// No model has a longer name.
const LONGEST: usize = 512;

/// A model's name as one segment of a path.
///
/// # Errors
/// It cannot stand in a path.
pub fn segment(model: &str) -> Result<Cow<'_, str>, Unsupported> {
    let is_way = |part: &str| matches!(part, "" | "." | "..");
    // A percent sign would be an escape to whoever decodes twice, a backslash is a slash to some.
    let is_refused = |letter: char| letter.is_control() || matches!(letter, '%' | '\\');
    if model.len() > LONGEST || model.contains(is_refused) || model.split('/').any(is_way) {
        return Err(Unsupported("the name of its model cannot stand in a path".into()));
    }
    Ok(utf8_percent_encode(model, ENCODED).into())
}

/// A model's name as segments of a path, for upstreams that want its slashes as they are.
///
/// # Errors
/// It cannot stand in a path.
pub(super) fn segments(model: &str) -> Result<String, Unsupported> {
    segment(model)?;
    let parts = model.split('/').map(|part| utf8_percent_encode(part, ENCODED).to_string());
    Ok(parts.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Uri;
    use layers::endpoint::CHAT_COMPLETIONS;
    use layers::ports::{Presented, Provider, Wanted};

    use super::*;

    /// An upstream that has the model in the path, as Gemini has.
    struct InPath;

    impl Provider for InPath {
        fn address(&self, wanted: Wanted<'_>) -> Result<Uri, Unsupported> {
            let model = segment(wanted.model)?;
            let text = format!("https://a.test/v1/models/{model}:ask?alt=sse");
            text.parse().map_err(|_invalid| Unsupported("no URL".into()))
        }

        fn sign(
            &self,
            _: &mut http::Request<Vec<Bytes>>,
            _: Option<&Presented<'_>>,
        ) -> Result<(), Unsupported> {
            Ok(())
        }
    }

    fn address(model: &str) -> Option<Uri> {
        InPath.address(Wanted { endpoint: &CHAT_COMPLETIONS, model, place: None, stream: false }).ok()
    }

    #[test]
    fn a_model_s_name_never_chooses_a_path() {
        let long = "m".repeat(513);
        let attacks = [
            "",
            ".",
            "..",
            "../x",
            "x/..",
            "x/../../admin",
            "/x",
            "x/",
            "x//y",
            "//evil.test",
            "/../x",
            "x/./y",
            "x/y",
            "..%2fx",
            "%2e%2e",
            "%2F",
            "x%00",
            "..\\x",
            "x\\..",
            "x?key=1",
            "?",
            "x#y",
            "#",
            "x;y=1",
            "..;/x",
            "x:delete",
            ":delete",
            "x@evil.test",
            "https://evil.test/",
            "x\ny",
            "x\r\nhost: evil",
            "\u{7f}",
            "\u{85}",
            "x y",
            "通义千问",
            "\u{ff0e}\u{ff0e}\u{ff0f}x",
            &long,
        ];

        for attack in attacks {
            let Some(uri) = address(attack) else { continue };
            assert_eq!((uri.host(), uri.query()), (Some("a.test"), Some("alt=sse")), "{attack:?}: {uri}");
            let name = uri.path().strip_prefix("/v1/models/").and_then(|rest| rest.strip_suffix(":ask"));
            let name = name.unwrap_or_else(|| panic!("{attack:?}: {uri}"));
            assert!(!name.contains(['/', ':', ';', '\\', '?', '#']), "{attack:?}: {uri}");
            assert!(!matches!(name, "" | "." | ".."), "{attack:?}: {uri}");
            let decoded = percent_encoding::percent_decode_str(name).decode_utf8().unwrap();
            assert_eq!(decoded, attack);
        }
    }

    #[test]
    fn what_could_be_a_way_through_folders_is_refused() {
        let long = "m".repeat(513);
        for model in [
            "", ".", "..", "../x", "x/..", "a/../b", "/x", "x/", "x//y", "%2e%2e", "..%2fx", "..\\x", "x\ny",
            &long,
        ] {
            assert_eq!(address(model), None, "{model:?}");
        }
    }

    #[test]
    fn slashes_of_a_name_are_kept_where_they_are_wanted_and_ways_through_folders_never() {
        assert_eq!(segments("@cf/meta/llama-3.1:x").unwrap(), "@cf/meta/llama-3.1%3Ax");
        for way in ["../x", "a/../b", "a//b", "/a", "a%2f..", ""] {
            assert!(segments(way).is_err(), "{way:?}");
        }
    }

    #[test]
    fn names_that_models_have_are_kept_or_encoded() {
        for (model, expected) in [
            ("gemini-2.5-pro", "gemini-2.5-pro"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5@20250929"),
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic.claude-3-5-sonnet-20240620-v1%3A0"),
            ("tunedModels/mine", "tunedModels%2Fmine"),
            ("v1..2", "v1..2"),
            ("模型", "%E6%A8%A1%E5%9E%8B"),
        ] {
            assert_eq!(segment(model).unwrap(), expected);
        }
    }
}
