//! Pictures, sound, videos and documents in this dialect's shapes.
//!
//! Source: <https://ai.google.dev/api/caching#Part> (`inlineData`, `fileData`).

use crate::ir::Source;
use crate::media;
use crate::rope::Node;

/// The kind of medium that a part of a request is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Picture,
    Sound,
    Video,
    Document,
}

/// Media types by the ends of addresses.
const ENDS: [(&str, &str); 25] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("aac", "audio/aac"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/opus"),
    ("m4a", "audio/m4a"),
    ("mp4", "video/mp4"),
    ("mov", "video/mov"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpg"),
    ("avi", "video/avi"),
    ("webm", "video/webm"),
    ("wmv", "video/wmv"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("html", "text/html"),
    ("csv", "text/csv"),
];

/// A part that holds a medium, or points to one that the provider fetches; what is wrong with it otherwise.
pub(super) fn part(source: &Source, medium: Medium) -> Result<Node<'_>, &'static str> {
    Ok(match source {
        Source::Base64 { mime, data } => {
            let data = Node::Media { before: String::new(), data: data.clone() };
            let blob = Node::object([("mimeType", mime.as_str().into()), ("data", data)]);
            Node::object([("inlineData", blob)])
        }
        Source::Text(text) => super::turns::text(text),
        Source::Url(address) => file(address, mime_of(address, medium)),
        Source::Reference(id) if id.starts_with("files/") => {
            let address = format!("https://generativelanguage.googleapis.com/v1beta/{id}");
            Node::object([("fileData", Node::object([("fileUri", address.into())]))])
        }
        Source::Reference(id) if media::is_for_provider(id) => file(id, mime_of(id, medium)),
        Source::Reference(_) => {
            return Err("a file of another provider's store cannot be sent to this upstream");
        }
    })
}

fn file<'a>(address: &'a str, mime: &'static str) -> Node<'a> {
    let file = Node::object([("mimeType", mime.into()), ("fileUri", address.into())]);
    Node::object([("fileData", file)])
}

/// The type of what is at an address: videos at YouTube, else by its end, else by what the client takes it for.
fn mime_of(address: &str, medium: Medium) -> &'static str {
    if media::is_video_page(address) {
        return "video/mp4";
    }
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let end = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, end)| end);
    let known = end.and_then(|end| ENDS.iter().find(|(known, _)| end.eq_ignore_ascii_case(known)));
    match (known, medium) {
        (Some((_, mime)), _) => mime,
        (None, Medium::Picture) => "image/jpeg",
        (None, Medium::Sound) => "audio/mpeg",
        (None, Medium::Video) => "video/mp4",
        (None, Medium::Document) => "application/pdf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: &Source, medium: Medium) -> Result<serde_json::Value, &'static str> {
        part(source, medium).map(Node::into_value)
    }

    #[test]
    fn addresses_that_the_provider_follows_are_told_with_their_type() {
        for (address, medium, mime) in [
            ("https://www.youtube.com/watch?v=x", Medium::Sound, "video/mp4"),
            ("gs://bucket/a.MP3?x", Medium::Sound, "audio/mpeg"),
            ("gs://bucket/a", Medium::Document, "application/pdf"),
            ("gs://bucket.x/a", Medium::Picture, "image/jpeg"),
        ] {
            let told = told(&Source::Url(address.into()), medium).unwrap();

            assert_eq!(told["fileData"]["mimeType"], mime, "{address}");
            assert_eq!(told["fileData"]["fileUri"], address);
        }
    }

    #[test]
    fn files_of_google_s_store_are_named_and_those_of_others_refused() {
        let own = told(&Source::Reference("files/abc".into()), Medium::Document).unwrap();

        assert_eq!(own["fileData"]["fileUri"], "https://generativelanguage.googleapis.com/v1beta/files/abc");
        assert!(told(&Source::Reference("file-abc".into()), Medium::Document).is_err());
    }
}
