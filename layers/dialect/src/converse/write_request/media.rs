//! Pictures, documents, films and sounds in this dialect's shapes: bytes with a format that is one of a list.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html>. Nothing is fetched
//! but what lies in S3.

use std::collections::HashSet;

use crate::ir::Source;
use crate::media;
use crate::rope::Node;

/// Longest name of a document.
const LONGEST_NAME: usize = 200;

/// What is in `source`; what is wrong with it otherwise.
fn inside<'a>(source: &'a Source, what: &'static str) -> Result<Node<'a>, &'static str> {
    match source {
        Source::Base64 { data, .. } => {
            Ok(Node::object([("bytes", Node::Media { before: String::new(), data: data.clone() })]))
        }
        Source::Text(text) => Ok(Node::object([("bytes", media::encode(text.as_bytes()).into())])),
        Source::Url(url) if url.starts_with("s3://") => {
            Ok(Node::object([("s3Location", Node::object([("uri", url.as_str().into())]))]))
        }
        Source::Url(_) => Err("this upstream does not follow addresses"),
        Source::Reference(_) => Err(what),
    }
}

/// The media type of a source, with what the end of its name tells where nothing else does.
fn mime(source: &Source, title: Option<&str>) -> String {
    let by_name = |name: &str| {
        let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
        Some(match end.as_str() {
            "pdf" => "application/pdf",
            "csv" => "text/csv",
            "doc" => "application/msword",
            "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "xls" => "application/vnd.ms-excel",
            "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "html" | "htm" => "text/html",
            "md" | "markdown" => "text/markdown",
            "txt" | "log" | "json" | "xml" | "yaml" | "yml" => "text/plain",
            "png" => "image/png",
            "jpg" | "jpeg" => "image/jpeg",
            "gif" => "image/gif",
            "webp" => "image/webp",
            "mp4" => "video/mp4",
            "mov" => "video/quicktime",
            "mkv" => "video/x-matroska",
            "webm" => "video/webm",
            _ => return None,
        })
    };
    let known = match source {
        Source::Base64 { mime, .. } if !matches!(mime.as_str(), "" | "application/octet-stream") => {
            return mime.clone();
        }
        Source::Base64 { .. } => None,
        Source::Text(_) => Some("text/plain"),
        Source::Url(address) | Source::Reference(address) => by_name(address),
    };
    known.or_else(|| title.and_then(by_name)).unwrap_or_default().to_owned()
}

/// A picture.
pub(super) fn image(source: &Source) -> Result<Node<'_>, &'static str> {
    let format = match mime(source, None).as_str() {
        "image/png" => "png",
        "image/jpeg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err("a picture of this type cannot be sent to this upstream"),
    };
    block(
        "image",
        format,
        inside(source, "pictures of another provider's store cannot be sent to this upstream")?,
    )
}

fn block<'a>(kind: &'static str, format: &'static str, source: Node<'a>) -> Result<Node<'a>, &'static str> {
    Ok(Node::object([(kind, Node::object([("format", format.into()), ("source", source)]))]))
}

/// A film, where the type of it is one; none where it is another.
fn video<'a>(mime: &str, source: &'a Source) -> Option<Result<Node<'a>, &'static str>> {
    let format = match mime {
        "video/mp4" => "mp4",
        "video/quicktime" | "video/mov" => "mov",
        "video/x-matroska" | "video/mkv" => "mkv",
        "video/webm" => "webm",
        "video/x-flv" | "video/flv" => "flv",
        "video/mpeg" => "mpeg",
        "video/mpg" => "mpg",
        "video/x-ms-wmv" | "video/wmv" => "wmv",
        "video/3gpp" => "three_gp",
        other if other.starts_with("video/") => {
            return Some(Err("a film of this type cannot be sent to this upstream"));
        }
        _ => return None,
    };
    let source = inside(source, "films of another provider's store cannot be sent to this upstream");
    Some(source.and_then(|source| block("video", format, source)))
}

/// A sound, or a film that came as one.
pub(super) fn audio(source: &Source) -> Result<Node<'_>, &'static str> {
    let mime = mime(source, None);
    if let Some(video) = video(&mime, source) {
        return video;
    }
    let format = match mime.as_str() {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
        "audio/ogg" => "ogg",
        "audio/opus" => "opus",
        "audio/flac" | "audio/x-flac" => "flac",
        "audio/aac" => "aac",
        "audio/mp4" => "mp4",
        "audio/m4a" | "audio/x-m4a" => "m4a",
        "audio/webm" => "webm",
        _ => return Err("sound of this type cannot be sent to this upstream"),
    };
    block(
        "audio",
        format,
        inside(source, "sounds of another provider's store cannot be sent to this upstream")?,
    )
}

/// A document, or a picture or film that came as a file.
pub(super) fn document<'a>(
    source: &'a Source,
    title: Option<&str>,
    names: &mut DocumentNames,
) -> Result<Node<'a>, &'static str> {
    let mime = mime(source, title);
    if mime.starts_with("image/") {
        return image(source);
    }
    if let Some(video) = video(&mime, source) {
        return video;
    }
    let format = match mime.as_str() {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/json" | "application/xml" | "application/yaml" | "application/x-yaml" => "txt",
        text if text.starts_with("text/") => "txt",
        _ => return Err("a file of this type cannot be sent to this upstream"),
    };
    let source = inside(source, "files of another provider's store cannot be sent to this upstream")?;
    let document = Node::object([
        ("format", format.into()),
        ("name", names.fitting(title.unwrap_or("document")).into()),
        ("source", source),
    ]);
    Ok(Node::object([("document", document)]))
}

/// Names of documents, each once: letters, digits, hyphens, parentheses, brackets and single spaces.
#[derive(Debug, Default)]
pub(super) struct DocumentNames {
    taken: HashSet<String>,
}

impl DocumentNames {
    /// The name of the next document, which depends on it and on those before it alone.
    fn fitting(&mut self, title: &str) -> String {
        let mut name = String::new();
        for letter in title.chars() {
            match letter {
                letter if letter.is_ascii_alphanumeric() || "-()[]".contains(letter) => name.push(letter),
                letter if letter.is_whitespace() => {
                    if !name.ends_with(' ') {
                        name.push(' ');
                    }
                }
                _ => name.push('-'),
            }
            if name.len() >= LONGEST_NAME - 8 {
                break;
            }
        }
        let name = match name.trim() {
            "" => "document".to_owned(),
            name => name.to_owned(),
        };
        let mut unique = name.clone();
        let mut count = 1;
        while !self.taken.insert(unique.clone()) {
            count += 1;
            unique = format!("{name} ({count})");
        }
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_documents_fit_the_grammar_and_stand_once() {
        let mut names = DocumentNames::default();
        let fitted: Vec<String> = ["report v1.2.pdf", "a  \n b", "通知.md", "", "a b", "a b"]
            .iter()
            .map(|title| names.fitting(title))
            .collect();

        assert_eq!(fitted, ["report v1-2-pdf", "a b", "---md", "document", "a b (2)", "a b (3)"]);
        assert!(names.fitting(&"x".repeat(500)).len() <= LONGEST_NAME);
    }

    #[test]
    fn a_file_is_what_its_type_says_and_else_what_its_name_says() {
        let of = |mime: &str, title: &str| {
            let source = Source::Base64 { mime: mime.into(), data: "AAAA".into() };
            let node = document(&source, Some(title), &mut DocumentNames::default()).map(Node::into_value);
            node.map(|node| {
                let (kind, inner) = node.as_object().unwrap().iter().next().unwrap();
                format!("{kind} {}", inner["format"].as_str().unwrap())
            })
        };

        assert_eq!(of("application/pdf", "x"), Ok("document pdf".into()));
        assert_eq!(of("", "x.docx"), Ok("document docx".into()));
        assert_eq!(of("application/octet-stream", "x.CSV"), Ok("document csv".into()));
        assert_eq!(of("text/x-python", "x.py"), Ok("document txt".into()));
        assert_eq!(of("image/png", "x"), Ok("image png".into()));
        assert_eq!(of("video/mp4", "x"), Ok("video mp4".into()));
        assert!(of("application/zip", "x.zip").is_err() && of("", "x").is_err());
    }
}
