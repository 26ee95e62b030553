//! Keeps `docs/parity.md` true: every promise is proven by tests that exist, or planned.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::{read, root};

/// What a row may be planned for.
const TOPICS: [&str; 6] = ["foundation", "resilience", "dialects", "clients", "ledger-admin", "operate"];

/// How many promises there are: one that vanishes from the page is noticed.
const PROMISES: usize = 296;

/// What needs machines that no test has; only these may be described instead.
const DESCRIBED: [&str; 5] = [
    "deploy-binary-macos",
    "deploy-image-multiarch",
    "deploy-image-published",
    "deploy-koyeb-button",
    "deploy-serv00-build",
];

struct Row {
    section: String,
    id: String,
    promise: String,
    state: String,
}

fn rows() -> Vec<Row> {
    let page = read("docs/parity.md");
    let sections = page.split("\n## ").skip(1).filter_map(|text| text.split_once('\n'));
    let lines = sections.flat_map(|(section, text)| text.lines().map(move |line| (section, line)));
    lines
        .filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| id "))
        .map(|(section, line)| {
            let [id, promise, state] = cells(line)[..] else { panic!("not three cells: {line}") };
            Row {
                section: section.to_owned(),
                id: id.to_owned(),
                promise: promise.to_owned(),
                state: state.to_owned(),
            }
        })
        .collect()
}

/// The cells of a row of a table.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Where each test function stands, by its name.
fn tests_of_the_tree() -> HashMap<String, Vec<(PathBuf, String)>> {
    let mut tests: HashMap<String, Vec<(PathBuf, String)>> = HashMap::new();
    let mut folders = ["src", "layers", "tests"].map(|name| root().join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("sources can be read") {
            let path = entry.expect("sources can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && !["target", "node_modules", ".venv", "fixtures", "golden"].contains(&&*name) {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("sources can be read");
                for name in functions_under_test(&text) {
                    tests.entry(name).or_default().push((path.clone(), text.clone()));
                }
            }
        }
    }
    tests
}

/// The names of the functions that carry a test attribute.
fn functions_under_test(text: &str) -> Vec<String> {
    let (mut names, mut marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        let function = line.trim_start_matches("pub ").trim_start_matches("async ").strip_prefix("fn ");
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some(function) = function.filter(|_| marked) {
            marked = false;
            names.extend(function.split(['(', '<']).next().map(str::to_owned));
        }
    }
    names
}

/// Whether a module's segment belongs to this file: part of its path, or a module within it.
fn stands_in(segment: &str, path: &Path, text: &str) -> bool {
    let folders = path.strip_prefix(root()).unwrap_or(path).with_extension("");
    folders.iter().any(|part| part == segment) || text.contains(&format!("mod {segment} {{"))
}

#[test]
fn every_promise_stands_once_and_says_something() {
    let rows = rows();
    let mut ids = HashSet::new();

    for row in &rows {
        assert!(ids.insert(&row.id), "{} stands twice", row.id);
        assert!(!row.promise.is_empty() && !row.state.is_empty(), "{} is left open", row.id);
    }
    assert_eq!(rows.len(), PROMISES);
}

#[test]
fn the_summary_counts_each_section_once_and_rightly() {
    let (page, rows) = (read("docs/parity.md"), rows());
    let summary = page.split("\n## ").next().unwrap_or_default();
    let mut unseen: HashSet<&str> = rows.iter().map(|row| &*row.section).collect();
    let mut sums = (0, 0);

    for line in summary.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| theme ")) {
        let [_, sections, kept, open, _] = cells(line)[..] else { panic!("not five cells: {line}") };
        let of_theme: Vec<&Row> = sections
            .split(", ")
            .flat_map(|name| rows.iter().filter(move |row| row.section == name))
            .collect();
        let planned = of_theme.iter().filter(|row| row.state.starts_with("planned")).count();
        let is_new = |name| unseen.remove(name);

        assert!(sections.split(", ").all(is_new), "a section stands twice, or is none: {line}");
        let counted = (of_theme.len() - planned, planned);
        assert_eq!((kept.parse(), open.parse()), (Ok(counted.0), Ok(counted.1)), "{line}");
        sums = (sums.0 + counted.0, sums.1 + counted.1);
    }
    assert!(unseen.is_empty(), "of no theme: {unseen:?}");
    let told = format!("Of {PROMISES} promises {} are kept and {} are to come", sums.0, sums.1);
    assert!(summary.contains(&told), "{told}");
}

#[test]
fn every_row_is_proven_by_tests_that_exist_or_is_planned() {
    let tests = tests_of_the_tree();
    let mut wrong = Vec::new();

    for Row { id, state, .. } in rows() {
        if let Some(topic) = state.strip_prefix("planned (").and_then(|rest| rest.strip_suffix(')')) {
            if !TOPICS.contains(&topic) {
                wrong.push(format!("{id}: planned for {topic:?}, which is none of {TOPICS:?}"));
            }
            continue;
        }
        if let Some(reason) = state.strip_prefix("described: ") {
            if !DESCRIBED.contains(&&*id) {
                wrong.push(format!("{id}: described, which only {DESCRIBED:?} may be"));
            }
            let told = format!("`{id}`");
            let is_read = tests.values().flatten().any(|(path, text)| {
                let mut promises = text.lines().filter(|line| line.starts_with("/// Promises: "));
                stands_in("deploy", path, "") && promises.any(|line| line.contains(&told))
            });
            if reason.len() < 30 || !is_read {
                wrong.push(format!(
                    "{id}: described without a reason, or without a test that reads what there is"
                ));
            }
            continue;
        }
        for proof in state.split(", ") {
            let Some(proof) = proof.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else {
                wrong.push(format!("{id}: {proof:?} is neither a test in backticks nor planned"));
                continue;
            };
            let (module, name) = proof.rsplit_once("::").unwrap_or(("", proof));
            let found = tests.get(name).is_some_and(|places| {
                places.iter().any(|(path, text)| module.split("::").all(|part| stands_in(part, path, text)))
            });
            if module.is_empty() || !found {
                wrong.push(format!("{id}: there is no test {proof}"));
            }
        }
    }

    assert!(wrong.is_empty(), "docs/parity.md:\n{}", wrong.join("\n"));
}

#[test]
fn what_belongs_to_finished_work_is_not_planned_any_more() {
    let finished = ["planned (foundation)", "planned (resilience)"];
    let open: Vec<String> =
        rows().into_iter().filter(|row| finished.contains(&&*row.state)).map(|row| row.id).collect();

    assert!(open.is_empty(), "still to prove: {open:?}");
}
