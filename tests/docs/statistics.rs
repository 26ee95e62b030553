//! Keeps `docs/logs-and-statistics.md` complete: every outcome, column and field has its row.

use crate::{between, read};

/// The words in backticks of the page.
fn told() -> Vec<String> {
    let page = read("docs/logs-and-statistics.md");
    page.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A part of a source file, from one text to the next other one.
fn part<'a>(source: &'a str, from: &str, to: &str) -> &'a str {
    let rest = source.split_once(from).unwrap_or_else(|| panic!("{from} is somewhere")).1;
    rest.split_once(to).map_or(rest, |(part, _)| part)
}

#[test]
fn every_outcome_is_explained() {
    let (told, source) = (told(), read("layers/src/failure/label.rs"));
    let labels = part(&source, "pub fn label(&self) -> &'static str {", "\n    }\n");
    let labels: Vec<&str> = between(labels, "=> \"", "\"");
    assert!(labels.len() > 30, "{labels:?}");
    let handles = read("src/telemetry/metrics/handles.rs");
    let counted = between(part(&handles, "const OUTCOMES: ", "];"), "    \"", "\"");

    for label in labels.into_iter().chain(["ok", "proxy_failed"]) {
        assert!(told.iter().any(|word| word == label), "{label} is not explained");
        assert!(counted.contains(&label), "{label} is counted as none of its own");
    }
}

#[test]
fn every_column_is_explained() {
    let (told, source) = (told(), read("src/accounting/store/rows.rs"));
    for table in ["REQUESTS", "ATTEMPTS"] {
        let columns = part(&source, &format!("static {table}: Table"), "],");
        let columns: Vec<&str> = between(columns, "(\"", "\"");
        assert!(columns.len() > 8, "{columns:?}");

        for column in columns {
            assert!(told.iter().any(|word| word == column), "{column} is not explained");
        }
    }
}

#[test]
fn every_field_of_a_request_s_line_is_explained() {
    let (told, source) = (told(), read("src/telemetry/request_line.rs"));
    let writer = part(&source, "impl JsonLines {", "\n}\n");
    // In the source the quotes of a field have backslashes.
    let fields = writer.split("\\\":").filter_map(|before| before.rsplit_once("\\\""));
    let is_name = |field: &&str| {
        !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let fields: Vec<&str> = fields.map(|(_, field)| field).filter(is_name).collect();
    assert!(fields.len() > 20, "{fields:?}");

    for field in fields {
        assert!(told.iter().any(|word| word == field), "{field} is not explained");
    }
}

/// The text of every source file below a folder.
fn sources(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the sources can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if let Ok(source) = std::fs::read_to_string(&path) {
            text.push_str(&source);
        }
    }
}

#[test]
fn every_line_to_be_woken_by_is_one_that_is_written() {
    let (page, mut source) = (read("docs/logs-and-statistics.md"), String::new());
    for folder in ["src", "layers/src"] {
        sources(&crate::root().join(folder), &mut source);
    }
    let table = part(&page, "## Lines to be woken by", "\n## ");
    let rows =
        table.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").next());
    let messages: Vec<&str> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(messages.len() > 10, "{messages:?}");

    for message in messages.into_iter().filter(|message| *message != "request") {
        assert!(source.contains(message), "nobody says {message:?}");
    }
}
