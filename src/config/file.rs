//! Reads a configuration file: a regular one, of bounded size, in UTF-8.
//!
//! Anything may stand in its place, at the start and at any time later: a folder, a pipe that nobody
//! writes to, a disk image. Nothing here waits for one of them or takes it into memory; each is an
//! error that says what is there and what helps.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::source::SourceError;

/// A text longer than this is no configuration.
pub(super) const MAX_TEXT: u64 = 16 << 20;

/// The reason why a file holds no text that a configuration could be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not there.
    #[error("is not there: check the path")]
    Absent,
    /// A link stands there, to a file that does not.
    #[error("is a link to a file that is not there: mend the link")]
    Dangling,
    /// A folder stands there: a container mount of a file that does not exist.
    #[error(
        "is a directory, not a file: create the file before it is mounted (a missing one is mounted as a directory)"
    )]
    Directory,
    /// A pipe, a socket or a device stands there.
    #[error("is {0}, not a file: name a file, or give the text itself in API_YAML_CONTENT")]
    NoFile(&'static str),
    /// It is too long.
    #[error("is larger than 16 MiB, which no configuration is: check the path")]
    TooLarge,
    /// It holds nothing.
    #[error("is empty: copy api.yaml.example into it and fill in a provider and a key")]
    Empty,
    /// Its bytes are no UTF-8.
    #[error("is {0}: save it as UTF-8")]
    Encoding(&'static str),
    /// The system does not let it be read.
    #[error("cannot be read ({0}): check the path and its permissions")]
    Unreadable(String),
}

impl Unusable {
    /// Whether it may be a moment of a file that is being replaced or written.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Absent | Self::Dangling | Self::Empty)
    }
}

/// The text of a file that holds more than blanks.
pub(super) async fn read(path: &Path) -> Result<String, SourceError> {
    let (file, place) = (path.to_owned(), path.to_owned());
    // A slow mount would hold up the runtime's worker.
    let reading = tokio::task::spawn_blocking(move || text(&file));
    let text = reading.await.unwrap_or_else(|gone| Err(Unusable::Unreadable(gone.to_string())));
    text.map_err(|reason| SourceError::File { path: place, reason })
}

/// The same, and blocking.
pub(super) fn text(path: &Path) -> Result<String, Unusable> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Unusable::TooLarge);
    }
    let text = decoded(bytes).map_err(Unusable::Encoding)?;
    if text.trim().is_empty() { Err(Unusable::Empty) } else { Ok(text) }
}

/// Bytes as text, or what they are instead.
///
/// # Errors
/// A noun for them.
pub fn decoded(bytes: Vec<u8>) -> Result<String, &'static str> {
    // What Notepad and PowerShell call Unicode; without its mark it is full of zeros.
    if matches!(&*bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || memchr::memchr(0, &bytes).is_some() {
        return Err("UTF-16 or no text at all");
    }
    String::from_utf8(bytes).map_err(|_other| "text in an encoding other than UTF-8")
}

/// Whether something is there that wants to be the configuration. A file that cannot be read is:
/// that is worth an error rather than another source.
pub(super) fn is_claimed(path: &Path) -> bool {
    !matches!(text(path), Err(Unusable::Absent | Unusable::Dangling | Unusable::Directory | Unusable::Empty))
}

/// Opens a regular file and nothing else.
fn open(path: &Path) -> Result<File, Unusable> {
    // Asked first, because opening a device may be felt by it; and again once it is open, because
    // it may be another one by then. A pipe that is opened in between does not keep us waiting.
    let facts = std::fs::metadata(path).map_err(|error| absent(path, &error))?;
    is_file(&facts)?;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblocking).open(path);
    let file = opened.map_err(|error| absent(path, &error))?;
    is_file(&file.metadata().map_err(|error| unreadable(&error))?)?;
    Ok(file)
}

fn is_file(facts: &std::fs::Metadata) -> Result<(), Unusable> {
    let what = facts.file_type();
    if facts.is_dir() {
        return Err(Unusable::Directory);
    }
    if !facts.is_file() {
        return Err(Unusable::NoFile(match () {
            () if what.is_fifo() => "a pipe",
            () if what.is_socket() => "a socket",
            () => "a device",
        }));
    }
    if facts.len() > MAX_TEXT { Err(Unusable::TooLarge) } else { Ok(()) }
}

fn absent(path: &Path, error: &std::io::Error) -> Unusable {
    match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => Unusable::Dangling,
        ErrorKind::NotFound => Unusable::Absent,
        _ => unreadable(error),
    }
}

fn unreadable(error: &std::io::Error) -> Unusable {
    Unusable::Unreadable(error.kind().to_string())
}

/// The name that a file was given in place of `path`, if there is one: `api.yml` for `api.yaml`.
pub(super) fn misnamed(path: &Path) -> Option<PathBuf> {
    let other = path.with_extension("yml");
    other.is_file().then_some(other)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// Puts a pipe there.
    pub(in crate::config) fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn whatever_stands_in_the_file_s_place_is_told_at_once_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        pipe(&at("pipe"));
        let _listening = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        File::create(at("sparse")).unwrap().set_len(6 << 30).unwrap();
        File::create(at("large")).unwrap().set_len(MAX_TEXT + 1).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        std::fs::write(at("latin"), b"a: \xe4").unwrap();
        std::fs::write(at("utf16"), b"\xff\xfea\0:\0").unwrap();
        std::fs::write(at("utf16be"), b"\xfe\xff\0a\0:").unwrap();
        std::fs::write(at("unmarked"), b"a\0:\0 \x001\0").unwrap();
        std::fs::write(at("blank"), "\n \n").unwrap();

        let found = |name: &str| text(&at(name)).unwrap_err();

        assert_eq!(found("pipe"), Unusable::NoFile("a pipe"));
        assert_eq!(found("socket"), Unusable::NoFile("a socket"));
        assert_eq!(text(Path::new("/dev/zero")).unwrap_err(), Unusable::NoFile("a device"));
        assert_eq!((found("sparse"), found("large")), (Unusable::TooLarge, Unusable::TooLarge));
        assert_eq!((found("dangling"), found("nothing")), (Unusable::Dangling, Unusable::Absent));
        assert_eq!((found("."), found("blank")), (Unusable::Directory, Unusable::Empty));
        assert!(matches!(found("loop"), Unusable::Unreadable(_)));
        for name in ["latin", "utf16", "utf16be", "unmarked"] {
            assert!(found(name).to_string().ends_with("save it as UTF-8"), "{name}");
        }
    }

    #[test]
    fn a_file_of_the_kernel_that_says_it_is_empty_is_read_to_its_end() {
        // Files of /proc have a length of 0.
        assert!(text(Path::new("/proc/self/status")).unwrap().contains("VmRSS"));
    }
}
