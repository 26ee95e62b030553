//! Shared builders for tests.

use super::environment::Environment;
use super::load::{Origin, load};
use super::settings::Settings;

/// Loads a text that is expected to be right.
pub(crate) fn settings(text: &str) -> Settings {
    match load(text, Origin::Inline, &Environment::default()) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!("{problems:?}"),
    }
}
