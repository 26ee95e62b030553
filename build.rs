//! Lets the linker put the functions that serve a request side by side.
//!
//! A lone request pays for every page of code it touches. `benches/layout/layout.py` wrote the list
//! and says how; it holds for release builds on Linux, where the linker takes scripts. With
//! `UNI_API_LAYOUT=plain` everything lies where the compiler puts it: for a linker without scripts,
//! and for writing the list anew.

#![expect(clippy::disallowed_methods, reason = "a build script has no other way to be told anything")]

use std::env::var;

fn main() {
    println!("cargo::rerun-if-env-changed=UNI_API_LAYOUT");
    println!("cargo::rerun-if-changed=benches/layout/request.ld");
    let is = |name, wanted| var(name).is_ok_and(|value| value == wanted);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !is("UNI_API_LAYOUT", "plain") {
        let root = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/benches/layout/request.ld");
    }
}
