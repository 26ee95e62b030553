//! Forms of several parts (`multipart/form-data`, RFC 7578) as they were received: an index over chunks that are
//! never joined.
//!
//! An upload of many megabytes is held once, as the chunks in which it came. What is read of it are the heads of its
//! parts and the few short fields that decide where it goes; what is changed is spliced in between slices.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;

use crate::Malformed;

/// Longest head of a part.
const LONGEST_HEAD: usize = 16 << 10;
/// Most parts of one form.
const MOST_PARTS: usize = 1024;
/// Longest boundary (RFC 2046 §5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// A form as it was received.
#[derive(Clone, Debug)]
pub struct Form {
    chunks: Arc<[Bytes]>,
    /// Where each chunk begins in the whole.
    starts: Arc<[usize]>,
    len: usize,
    parts: Arc<[Part]>,
    content_type: Arc<str>,
}

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name, where it is a file.
    pub filename: Option<String>,
    /// The part's own content type.
    pub content_type: Option<String>,
    /// Where its value stands in the whole.
    pub value: Range<usize>,
}

impl Form {
    /// Indexes the parts of a form that came in these chunks, under this `content-type`.
    ///
    /// # Errors
    /// A content type without a usable boundary, a form that does not end, a part without a name, more than 1024
    /// parts, a head of more than 16 KiB.
    pub fn read(chunks: Vec<Bytes>, content_type: &str) -> Result<Self, Malformed> {
        let boundary = boundary(content_type)?;
        let mut starts = Vec::with_capacity(chunks.len());
        let mut len = 0;
        for chunk in &chunks {
            starts.push(len);
            len += chunk.len();
        }
        let mut form = Self {
            chunks: chunks.into(),
            starts: starts.into(),
            len,
            parts: Arc::new([]),
            content_type: content_type.into(),
        };
        form.parts = form.index(&boundary)?.into();
        Ok(form)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as they came.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The content type it came under, boundary included.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The position of the only part of this name.
    ///
    /// # Errors
    /// It is there more than once: readers would differ in which one counts.
    pub fn position(&self, name: &str) -> Result<Option<usize>, Malformed> {
        let mut found = self.parts.iter().enumerate().filter(|(_, part)| part.name == name).map(|(at, _)| at);
        match (found.next(), found.next()) {
            (at, None) => Ok(at),
            (_, Some(_)) => Err(Malformed::at(name, format!("{name} is given twice"))),
        }
    }

    /// The value of a part of at most `most` bytes as text; none for a longer one, and for one that is no UTF-8.
    pub fn text(&self, part: usize, most: usize) -> Option<String> {
        let range = self.parts.get(part)?.value.clone();
        if range.len() > most {
            return None;
        }
        String::from_utf8(self.copy(range)).ok()
    }

    /// The value of a part, as slices of what was received.
    pub fn value(&self, part: usize) -> Vec<Bytes> {
        self.parts.get(part).map(|part| self.slices(part.value.clone())).unwrap_or_default()
    }

    /// The whole form with another value in one part, everything else as slices of what was received.
    pub fn with_value(&self, part: usize, value: Bytes) -> Vec<Bytes> {
        let Some(range) = self.parts.get(part).map(|part| part.value.clone()) else {
            return self.chunks.to_vec();
        };
        let mut whole = self.slices(0..range.start);
        whole.push(value);
        whole.extend(self.slices(range.end..self.len));
        whole
    }

    /// Slices that make up a range of the whole.
    fn slices(&self, range: Range<usize>) -> Vec<Bytes> {
        let mut slices = Vec::new();
        if range.is_empty() {
            return slices;
        }
        let first = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        for (chunk, start) in self.chunks[first..].iter().zip(&self.starts[first..]) {
            if *start >= range.end {
                break;
            }
            let from = range.start.saturating_sub(*start);
            let to = (range.end - start).min(chunk.len());
            if from < to {
                slices.push(chunk.slice(from..to));
            }
        }
        slices
    }

    fn copy(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(range.len());
        self.slices(range).iter().for_each(|slice| bytes.extend_from_slice(slice));
        bytes
    }

    /// Finds `needle` at or behind `from`, also where it lies across chunks.
    fn find(&self, needle: &memmem::Finder<'_>, from: usize) -> Option<usize> {
        let length = needle.needle().len();
        let first = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        for (at, chunk) in self.chunks.iter().enumerate().skip(first) {
            let start = self.starts[at];
            let skip = from.saturating_sub(start).min(chunk.len());
            if let Some(found) = needle.find(&chunk[skip..]) {
                return Some(start + skip + found);
            }
            // What begins in this chunk and ends in a later one.
            let seam = (start + chunk.len()).saturating_sub(length - 1).max(from);
            let end = (start + chunk.len() + length - 1).min(self.len);
            if seam < end
                && let Some(found) = needle.find(&self.copy(seam..end))
            {
                return Some(seam + found);
            }
        }
        None
    }

    fn starts_with(&self, at: usize, text: &[u8]) -> bool {
        at + text.len() <= self.len && self.copy(at..at + text.len()) == text
    }

    fn index(&self, boundary: &str) -> Result<Vec<Part>, Malformed> {
        let torn = || Malformed::new("the form does not end with its boundary");
        let line = format!("\r\n--{boundary}");
        let delimiter = memmem::Finder::new(line.as_bytes());
        let blank = memmem::Finder::new(b"\r\n\r\n");
        // The first delimiter stands at the very start, or behind a preamble that nobody reads.
        let opening = &line.as_bytes()[2..];
        let mut at = if self.starts_with(0, opening) {
            opening.len()
        } else {
            self.find(&delimiter, 0).ok_or_else(torn)? + line.len()
        };
        let mut parts = Vec::new();
        loop {
            if self.starts_with(at, b"--") {
                return Ok(parts);
            }
            // White space may pad the delimiter (RFC 2046 §5.1.1).
            while self.starts_with(at, b" ") || self.starts_with(at, b"\t") {
                at += 1;
            }
            if !self.starts_with(at, b"\r\n") {
                return Err(torn());
            }
            if parts.len() == MOST_PARTS {
                return Err(Malformed::new("the form has more than 1024 parts"));
            }
            let end = self.find(&blank, at).ok_or_else(torn)?;
            if end - at > LONGEST_HEAD {
                return Err(Malformed::new("the head of a part is longer than 16 KiB"));
            }
            let head = if end > at { self.copy(at + 2..end.max(at + 2)) } else { Vec::new() };
            let value = end + 4;
            // A part without a value ends with the line end of its head.
            let stop = self.find(&delimiter, value - 2).ok_or_else(torn)?;
            parts.push(part(&head, value..stop.max(value))?);
            at = stop + line.len();
        }
    }
}

/// The boundary that a content type names.
fn boundary(content_type: &str) -> Result<String, Malformed> {
    let found = parameter(content_type, "boundary").filter(|text| {
        (1..=LONGEST_BOUNDARY).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    });
    found.ok_or_else(|| Malformed::new("the content type of the form names no boundary"))
}

/// Reads the head of a part.
fn part(head: &[u8], value: Range<usize>) -> Result<Part, Malformed> {
    let head = String::from_utf8_lossy(head);
    let field = |wanted: &str| {
        head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let disposition = field("content-disposition").unwrap_or_default();
    let name =
        parameter(&disposition, "name").ok_or_else(|| Malformed::new("a part of the form has no name"))?;
    let filename = parameter(&disposition, "filename").or_else(|| parameter(&disposition, "filename*"));
    Ok(Part { name, filename, content_type: field("content-type"), value })
}

/// A parameter of a header value: `form-data; name="file"; filename="a.wav"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().trim_start_matches(';').trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next.split_once(';')?.1;
    }
}

/// The text up to the closing quote, and what follows it. Browsers escape a quote as `%22`, others with a backslash.
fn quoted_text(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => match letters.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                // A path that a very old browser sent: the backslash is one.
                Some((_, other)) => value.extend(['\\', other]),
                None => return (value, ""),
            },
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xYz";
    const FORM: &str = "--xYz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".wav\"\r\nContent-Type: audio/wav\r\n\r\n\
        RIFF\r\n--xY not yet\r\n--xYz\r\ncontent-disposition: form-data; name=\"empty\"\r\n\r\n\r\n--xYz--\r\n";

    fn cut(at: &[usize]) -> Vec<Bytes> {
        let mut from = 0;
        let mut chunks = Vec::new();
        for &to in at.iter().chain([&FORM.len()]) {
            chunks.push(Bytes::copy_from_slice(&FORM.as_bytes()[from..to]));
            from = to;
        }
        chunks
    }

    #[test]
    fn parts_are_found_wherever_the_chunks_are_cut() {
        let whole = Form::read(cut(&[]), TYPE).unwrap();
        for at in 0..FORM.len() {
            let form = Form::read(cut(&[at, (at + 3).min(FORM.len())]), TYPE).unwrap();

            assert_eq!(form.parts(), whole.parts(), "{at}");
        }

        let names: Vec<&str> = whole.parts().iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["model", "file", "empty"]);
        assert_eq!(whole.parts()[1].filename.as_deref(), Some("a \"b\".wav"));
        assert_eq!(whole.parts()[1].content_type.as_deref(), Some("audio/wav"));
        assert_eq!(whole.text(0, 100).as_deref(), Some("whisper-1"));
        assert_eq!(whole.text(1, 100).as_deref(), Some("RIFF\r\n--xY not yet"));
        assert_eq!(whole.text(2, 100).as_deref(), Some(""));
        assert_eq!(whole.text(0, 3), None, "longer than asked for");
    }

    #[test]
    fn another_value_leaves_all_other_bytes_as_they_are() {
        for at in 0..FORM.len() {
            let form = Form::read(cut(&[at]), TYPE).unwrap();

            let spliced = form.with_value(0, Bytes::from_static(b"gpt-4o-transcribe")).concat();

            assert_eq!(spliced, FORM.replacen("whisper-1", "gpt-4o-transcribe", 1).into_bytes(), "{at}");
        }
    }

    #[test]
    fn values_are_slices_of_what_was_received() {
        let chunks = cut(&[]);
        let place = chunks[0].as_ptr().addr();
        let form = Form::read(chunks, TYPE).unwrap();

        let value = form.value(1);

        assert_eq!(value.len(), 1);
        assert_eq!(value[0].as_ptr().addr(), place + form.parts()[1].value.start);
    }

    #[test]
    fn a_field_that_stands_twice_is_refused() {
        let twice = "--b\r\nContent-Disposition: form-data; name=model\r\n\r\na\r\n\
                     --b\r\nContent-Disposition: form-data; name=model\r\n\r\nb\r\n--b--";
        let form = Form::read(vec![Bytes::from_static(twice.as_bytes())], "multipart/form-data; boundary=b")
            .unwrap();

        assert!(form.position("model").is_err());
        assert_eq!(form.position("file").unwrap(), None);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for body in [
            "",
            "--xYz",
            "--xYz--x",
            "--xYz\r\n\r\nvalue\r\n--xYz--",
            "--xYz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv",
        ] {
            let read = Form::read(vec![Bytes::copy_from_slice(body.as_bytes())], TYPE);

            assert!(read.is_err() || body == "--xYz--x", "{body:?}");
        }
        for kind in ["multipart/form-data", "multipart/form-data; boundary=", "text/plain"] {
            assert!(Form::read(cut(&[]), kind).is_err(), "{kind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            body in proptest::collection::vec(proptest::sample::select(b"-xYz\r\n\r\n: ;=\"name".to_vec()), 0..120),
            at in proptest::sample::select((0..120).collect::<Vec<usize>>()),
        ) {
            let at = at.min(body.len());
            let chunks = vec![Bytes::copy_from_slice(&body[..at]), Bytes::copy_from_slice(&body[at..])];
            let _ = Form::read(chunks, TYPE);
        }
    }
}
