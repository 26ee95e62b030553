//! Keeps the seams between the crates: what one of them must not know of another.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::root;

/// The Rust files below a folder that are no tests and no kit for tests.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            match (entry.is_dir(), name.as_str()) {
                (true, "testing" | "tests") => {}
                (true, _) => folders.push(entry),
                (false, "tests.rs" | "testing.rs") => {}
                (false, name) if name.ends_with(".rs") => found.push(entry),
                (false, _) => {}
            }
        }
    }
    found
}

/// The program of a file: neither its comments nor its tests.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("a source file");
    let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    program
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Texts in quotes that could be the name of a JSON field.
fn quoted(code: &str) -> BTreeSet<&str> {
    let is_name = |text: &&str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9'))
    };
    code.lines().flat_map(|line| line.split('"').skip(1).step_by(2)).filter(is_name).collect()
}

/// Names of fields that the dialects read and write.
fn fields_of_dialects() -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for file in sources("layers/dialect/src") {
        let (code, name) =
            (code(&file), file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned());
        if matches!(name.as_str(), "wire.rs" | "read_request.rs" | "raw.rs" | "size.rs" | "fresh_text.rs") {
            let declared =
                code.lines().filter_map(|line| line.trim().strip_prefix("pub(crate) ")?.split_once(':'));
            fields.extend(declared.map(|(field, _)| field.trim_start_matches("r#").to_owned()));
            fields.extend(quoted(&code).into_iter().map(str::to_owned));
        }
    }
    fields
}

#[test]
fn the_layers_know_no_field_of_a_dialect_but_model_and_stream() {
    let fields = fields_of_dialects();
    for expected in ["messages", "tools", "stream_options", "choices", "delta", "max_tokens"] {
        assert!(fields.contains(expected), "{expected} is a field of a dialect");
    }
    // Words that are no fields where they stand: values of `stream` in a form, a channel in a log line.
    let words = BTreeSet::from(["model", "stream", "true", "false"]);
    for file in sources("layers/src") {
        let code = code(&file);

        let known: Vec<&str> = quoted(&code)
            .into_iter()
            .filter(|name| fields.contains(*name) && !words.contains(name))
            .collect();

        assert!(known.is_empty(), "{} knows {known:?}: they belong into layers/dialect", file.display());
        let reads = code.contains("Deserialize") && !file.ends_with("ingress/fields.rs");
        assert!(!reads, "{} reads JSON of its own", file.display());
    }
}

#[test]
fn the_crates_depend_in_one_direction() {
    for (folder, foreign) in [
        ("layers/dialect/src", &["layers::", "uni_api::", "tokio::", "tower::"][..]),
        ("layers/src", &["uni_api::", "sqlx::", "rustls::", "pingora"]),
    ] {
        for file in sources(folder) {
            let code = code(&file);
            let met: Vec<&&str> = foreign.iter().filter(|name| code.contains(**name)).collect();

            assert!(met.is_empty(), "{} knows {met:?}", file.display());
        }
    }
}

/// Files that are tables, and may be as long as they have rows.
const TABLES: [&str; 0] = [];

#[test]
fn no_file_but_tables_and_tests_is_longer_than_a_reader_s_patience() {
    for folder in ["src", "layers/src", "layers/dialect/src"] {
        for file in sources(folder) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let is_convert = file.to_string_lossy().contains("layers/src/convert");
            let most = if is_convert { 250 } else { 500 };

            let is_table = TABLES.iter().any(|table| file.ends_with(table));
            assert!(
                is_table || program.lines().count() <= most,
                "{} has more than {most} lines",
                file.display()
            );
        }
    }
}
