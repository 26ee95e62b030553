//! Where the log goes: standard error, standard output, or a file that may be rotated.
//!
//! A file is written at its end and opened anew when another one stands in its place, so both ways of
//! rotating work without a signal: renaming it, and copying and emptying it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is looked whether the file is still in its place.
const LOOK: Duration = Duration::from_secs(1);

/// A place for the lines of the log.
#[derive(Debug)]
pub struct Output(Place);

#[derive(Debug)]
enum Place {
    Err,
    Out,
    File { path: PathBuf, file: File, looked: Instant },
}

impl Output {
    /// The place that `LOG_FILE` names: `stderr`, `stdout` or a path; standard error without it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(wish: Option<&str>) -> io::Result<Self> {
        Ok(Self(match wish.map(str::trim).unwrap_or_default() {
            "" | "stderr" => Place::Err,
            "stdout" => Place::Out,
            path => {
                let (path, file) = (PathBuf::from(path), append(Path::new(path))?);
                Place::File { path, file, looked: Instant::now() }
            }
        }))
    }

    /// Whether a person reads it.
    pub fn is_terminal(&self) -> bool {
        match self.0 {
            Place::Err => io::stderr().is_terminal(),
            Place::Out => io::stdout().is_terminal(),
            Place::File { .. } => false,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Place::Err => io::stderr().write(bytes),
            Place::Out => io::stdout().write(bytes),
            Place::File { path, file, looked } => {
                if looked.elapsed() >= LOOK {
                    *looked = Instant::now();
                    // Whoever cannot be opened anew is written on: better there than nowhere.
                    if !is_in_place(path, file)
                        && let Ok(new) = append(path)
                    {
                        *file = new;
                    }
                }
                file.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Place::Err => io::stderr().flush(),
            Place::Out => io::stdout().flush(),
            Place::File { .. } => Ok(()),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn is_in_place(path: &Path, file: &File) -> bool {
    let identity = |facts: &std::fs::Metadata| (facts.dev(), facts.ino());
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(there), Ok(here)) => identity(&there) == identity(&here),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_is_opened_anew_and_one_that_was_emptied_is_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        std::fs::write(&path, "before\n").unwrap();
        let mut output = Output::open(path.to_str()).unwrap();
        let mut line = |text: &str| {
            if let Place::File { looked, .. } = &mut output.0 {
                *looked = Instant::now().checked_sub(LOOK).unwrap();
            }
            output.write_all(text.as_bytes()).unwrap();
        };

        line("one\n");
        std::fs::rename(&path, &rotated).unwrap();
        line("two\n");
        std::fs::write(&path, "").unwrap();
        line("three\n");

        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((&*read(&rotated), &*read(&path)), ("before\none\n", "three\n"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_and_no_word_is_standard_error() {
        assert!(Output::open(Some("/nowhere/at/all")).is_err());
        for wish in [None, Some(" "), Some("stderr")] {
            assert!(matches!(Output::open(wish).unwrap().0, Place::Err));
        }
        assert!(matches!(Output::open(Some("stdout")).unwrap().0, Place::Out));
    }
}
