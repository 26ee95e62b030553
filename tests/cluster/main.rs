//! What lies in `deploy/kubernetes` and `grafana/`, used as far as a machine without a cluster can: rendered, checked by
//! published schemas, held against the built program, asked of a real Prometheus that scrapes it.
//!
//! The schemas are installed by `install.sh`; kubectl and Prometheus are Debian's.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

#[expect(dead_code, unused_imports, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/harness/mod.rs"]
mod harness;

mod dashboards;
mod manifests;
mod objects;
mod pages;
mod program;
mod prometheus;
mod rules;
mod scenario;
mod scrape;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder of the project.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true if entry.ends_with("__pycache__") => {}
                true => folders.push(entry),
                false => found.push(entry),
            }
        }
    }
    found.sort();
    found
}

/// Runs a command at the root of the project: whether it succeeded, and what it printed.
fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> (bool, String) {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{} cannot be started: {error}; install it with: make deps-test", program.display())
    });
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), printed)
}

/// Something that `install.sh` brings.
fn installed(path: &str) -> PathBuf {
    let path = root().join("tests/cluster").join(path);
    assert!(path.exists(), "{} is missing; install it with: tests/cluster/install.sh", path.display());
    path
}
