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

/// Texts in quotes that could be the name of a JSON field; those of a `Debug` form are none.
fn quoted(code: &str) -> BTreeSet<&str> {
    let is_name = |text: &&str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'0'..=b'9'))
    };
    let lines = code.lines().filter(|line| !line.trim_start().starts_with(".field(\""));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(is_name).collect()
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

/// Words that open a clause, or say what a thing does: neither says what it is.
///
/// "Mounts" is none of them: the layer types all begin with it.
const NO_NOUNS: &str = "\
    What Where How Why Whether Who Whoever When Whom Which Whose Says Gives Takes Turns Finds Reads \
    Writes Watches Holds Keeps Decides Remembers Counts Builds Notes Tells Asks Makes Sends Polls \
    Joins Forwards See Completes Puts Moves Renders Answers Races Settles Lets Runs Splits Iterates \
    Wraps Serves Collects Compares Everything Nothing Something Adds Closes Dials Ends Fetches \
    Fingerprints Judges Receives Resolves Loads Stores";

/// The name of the type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let is_before = |word: &&str| word.starts_with("pub") || word.ends_with(')') || *word == "unsafe";
    let keyword = words.by_ref().find(|word| !is_before(word))?;
    let name = words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    matches!(keyword, "struct" | "enum" | "trait" | "type" | "union").then_some(name)
}

/// Types of a program with the first word of their doc. Those without a doc are left out.
fn documented(program: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let (mut opening, mut attribute) = (None, 0_usize);
    for line in program.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let is_attribute = attribute > 0 || line.starts_with("#[");
        if is_attribute {
            // An attribute may go over several lines.
            let (opened, closed) = (line.matches('[').count(), line.matches(']').count());
            attribute = (attribute + opened).saturating_sub(closed);
        } else if let Some(text) = line.strip_prefix("///") {
            let word = text.split_whitespace().next().unwrap_or_default();
            opening.get_or_insert(word.trim_end_matches(|c: char| !c.is_alphanumeric()));
        } else if !line.starts_with("//") {
            found.extend(declared(line).zip(opening.take()));
            opening = None;
        }
    }
    found
}

#[test]
fn a_type_is_found_behind_its_attributes_and_inside_a_macro() {
    let program = "/// Reads `it`.\n///\n/// A lot.\n#[derive(Clone)]\n#[serde(\n    default\n)]\n\
                   // No doc.\npub(crate) struct Kept<T>(T);\n\n\
                   pin_project! {\n    /// Polls: it.\n    #[project = Seen]\n    pub enum State<F> {\n\
                   /// A field.\n        first: F,\n    }\n}\n\n\
                   /// What is done.\nfn act() {}\nstruct Bare;\n/// A map.\ntype Table = ();\n";

    let found = documented(program);

    assert_eq!(found, [("Kept", "Reads"), ("State", "Polls"), ("Table", "A")]);
}

#[test]
fn the_doc_of_a_type_begins_with_what_it_is() {
    let no_nouns: BTreeSet<&str> = NO_NOUNS.split_whitespace().collect();
    let (mut types, mut wrong) = (0, Vec::new());
    for file in ["src", "layers/src", "layers/dialect/src"].into_iter().flat_map(sources) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();

        let documented = documented(program);

        types += documented.len();
        wrong.extend(
            documented
                .into_iter()
                .filter(|(_, word)| no_nouns.contains(word))
                .map(|(name, word)| format!("{}: {name}: \"{word} \u{2026}\"", file.display())),
        );
    }

    assert!(types > 400, "only {types} types were found");
    assert!(wrong.is_empty(), "begin with a noun that says what it is:\n{}", wrong.join("\n"));
}
