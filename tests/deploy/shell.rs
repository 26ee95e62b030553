//! Commands of the system that a test runs to their end.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How a command ended: its exit code and all that it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) printed: String,
}

impl Ended {
    /// Stops the test unless all went well; gives what was printed.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, 0, "{}", self.printed);
        self.printed
    }
}

/// A command with these words, in the project's folder.
pub(crate) fn command<S: AsRef<OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(crate::root()).stdin(Stdio::null());
    command
}

/// The same as root: of images, file systems are mounted.
pub(crate) fn as_root<S: AsRef<OsStr>>(words: &[S]) -> Command {
    let words: Vec<&OsStr> = words.iter().map(AsRef::as_ref).collect();
    // Asked of a file of this process, since the standard library does not tell who runs it.
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if is_root {
        return command(&words);
    }
    let sudo = ["sudo", "-n", "-E"].map(OsStr::new);
    command(&[&sudo[..], &words].concat())
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = [output.stdout, output.stderr].concat();
    Ended {
        code: output.status.code().unwrap_or(-1),
        printed: String::from_utf8_lossy(&printed).into_owned(),
    }
}

/// Writes a script that can be run.
pub(crate) fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}
