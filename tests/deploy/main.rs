//! What lies in `deploy/`, used as its readers use it: images that are built and run, proxies with streams
//! through them, compose files, units, recipes, the release.
//!
//! The program is the one that was built beside the tests. Images stand on a Debian that `install.sh` makes of
//! Debian's packages, so nothing is pulled from a registry of images. What needs root asks sudo for it.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

mod container;
#[expect(dead_code, unused_imports, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/harness/mod.rs"]
mod harness;
mod home;
mod image;
mod shell;

mod build_stage;
mod compose;
mod docker;
mod front_ends;
mod load;
mod packages;
mod pages;
mod proxies;
mod recipes;
mod release;
mod systemd;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where what these tests make is kept from one run to the next.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("deploy")
}

/// A port that nobody else takes: below those that the system gives away, other ones for each process of tests.
fn port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 20_000).unwrap();
    let mut candidates = (0..500).map(|_| 10_000 + (first + TAKEN.fetch_add(1, Ordering::SeqCst)) % 20_000);
    candidates.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("a free port")
}
