//! Keeps the pages for users and the map in `src/lib.rs` true where a program can tell:
//! configurations, variables, paths, and which folder may import which.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{between, read, root};

/// Pages for users that show configurations.
const PAGES: [&str; 7] = [
    "README.md",
    "docs/behaviour.md",
    "docs/clients.md",
    "docs/configuration.md",
    "docs/from-uni-api.md",
    "docs/logs-and-statistics.md",
    "docs/providers.md",
];

#[test]
fn every_configuration_that_is_shown_passes_the_strict_check() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let texts = PAGES.map(read);
    let blocks: Vec<&str> = texts.iter().flat_map(|text| between(text, "```yaml\n", "```")).collect();
    assert!(blocks.len() > 10, "the pages show configurations");

    for (n, block) in blocks.into_iter().enumerate() {
        let path = folder.join(format!("shown-{n}.yaml"));
        std::fs::write(&path, block).expect("cargo gives a folder to write to");
        // What is a part says so in its first line, and a reader checks it the same way.
        let part = block.starts_with("# a part").then_some("--fragment");

        let check = Command::new(env!("CARGO_BIN_EXE_uni-api"))
            .args(["check", "--strict"])
            .args(part)
            .arg(&path)
            .env_clear()
            .output()
            .expect("the built program can be started");

        assert!(check.status.success(), "{block}\n{}", String::from_utf8_lossy(&check.stdout));
    }
}

#[test]
fn every_variable_that_is_read_is_in_the_table_of_the_readme() {
    let (readme, source) = (read("README.md"), read("src/main.rs") + &read("src/config/environment.rs"));
    let (table, code) = (readme.split("\n## Environment").nth(1), source.split("#[cfg(test)]").next());
    let table = table.and_then(|rest| rest.split("\n## ").next()).expect("there is such a section");
    let is_name = |text: &&str| text.len() > 2 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let names = between(code.unwrap_or_default(), "(\"", "\"").into_iter().filter(is_name);
    let names: Vec<&str> = names.filter(|name| *name != "KUBERNETES_SERVICE_HOST").collect();
    assert!(names.len() > 20, "{names:?}");

    for name in names {
        assert!(table.contains(&format!("`{name}`")), "{name} is not explained");
    }
}

/// The names by which links reach the headings of a page.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-"))
}

#[test]
fn every_path_and_link_leads_somewhere() {
    let others = [
        "docs/clients.md",
        "docs/deploying.md",
        "docs/operating.md",
        "docs/metrics.md",
        "docs/monitoring.md",
        "docs/kubernetes.md",
        "docs/traces.md",
        "CONTRIBUTING.md",
        "benches/README.md",
    ];
    for page in PAGES.into_iter().chain(others) {
        let text = read(page);
        let folders = ["src/", "layers/", "tests/", "docs/", "benches/", "deploy/", "grafana/"];
        let paths =
            text.split('`').skip(1).step_by(2).filter(|word| folders.iter().any(|f| word.starts_with(f)));

        for path in paths.filter(|path| !path.contains(['*', ' '])) {
            assert!(root().join(path).exists(), "{page} names {path}");
        }

        let folder = root().join(page).parent().map(Path::to_owned).unwrap_or_default();
        for link in between(&text, "](", ")").into_iter().filter(|link| !link.starts_with("http")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(page) } else { folder.join(path) };
            let Ok(text) = std::fs::read_to_string(target) else { panic!("{page} leads to {link}") };
            assert!(heading.is_empty() || anchors(&text).any(|one| one == heading), "{page} leads to {link}");
        }
    }
}

/// Every source file below a folder that is not tests alone.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be listed").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs")
            && name != "tests.rs"
            && name != "testing.rs"
        {
            found.push(path);
        }
    }
}

#[test]
fn every_import_runs_down_the_floors_that_the_map_gives() {
    let map = read("src/lib.rs");
    let floors: HashMap<&str, u32> = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "))
        .filter_map(|(floor, modules)| Some((floor.parse().ok()?, modules)))
        .flat_map(|(floor, modules)| modules.split('`').skip(1).step_by(2).map(move |name| (name, floor)))
        .collect();
    for module in between(&map, "\npub mod ", ";") {
        assert!(floors.contains_key(module), "{module} is on no floor of src/lib.rs");
    }
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);

    for file in files {
        let path = file.strip_prefix(root().join("src")).expect("it was found there");
        let module = path.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(floor) = floors.get(module.trim_end_matches(".rs")) else { continue };
        let text = std::fs::read_to_string(&file).expect("a source is text");
        // Unit tests may build what they need from above.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for used in text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(mentioned) {
            let own = used == module.trim_end_matches(".rs");
            let down = floors.get(used).is_none_or(|below| below < floor);
            assert!(own || down, "{} imports {used} from no floor below its own", path.display());
        }
    }
}

/// The modules of this crate that a line of code names.
fn mentioned(line: &str) -> impl Iterator<Item = &str> {
    let names = line.split("crate::").skip(1);
    names.map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default())
}
