//! Lets the linker put the functions that serve a request side by side.
//!
//! A lone request pays for every page of code it touches. `benches/layout/layout.py` wrote the list
//! and says how; it holds for release builds on Linux, where the linker takes scripts. With
//! `UNI_API_LAYOUT=plain` everything lies where the compiler puts it: for a linker without scripts,
//! and for writing the list anew.
//!
//! A release build is told its commit too: by `UNI_API_COMMIT`, or by git where there is one.

#![expect(clippy::disallowed_methods, reason = "a build script has no other way to be told anything")]

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=UNI_API_LAYOUT");
    println!("cargo::rerun-if-changed=benches/layout/request.ld");
    let is = |name, wanted| var(name).is_ok_and(|value| value == wanted);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !is("UNI_API_LAYOUT", "plain") {
        let root = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/benches/layout/request.ld");
    }
    println!("cargo::rerun-if-env-changed=UNI_API_COMMIT");
    if is("PROFILE", "release")
        && let Some(commit) = commit()
    {
        let version = var("CARGO_PKG_VERSION").unwrap_or_default();
        println!("cargo::rustc-env=UNI_API_VERSION={version} ({commit})");
    }
}

/// The commit that is built, where somebody knows it.
fn commit() -> Option<String> {
    let given = var("UNI_API_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    given.map(|commit| commit.trim().to_owned()).or_else(|| {
        // Not that of a repository which only holds an unpacked archive of this one.
        let root = var("CARGO_MANIFEST_DIR").ok()?;
        Path::new(&root).join(".git").exists().then_some(())?;
        // The log of HEAD grows with each commit and each switch.
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
        println!("cargo::rerun-if-changed={log}");
        git(&["rev-parse", "--short=12", "HEAD"])
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
