//! File descriptors: as many as the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the most that this process may have. Usual defaults are 1024 of
/// 524288, kept low for programs that use `select`; a stream takes two.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "The limit of open files is raised."),
        Err(error) => tracing::warn!(?current, %error, "The limit of open files cannot be raised."),
    }
}
