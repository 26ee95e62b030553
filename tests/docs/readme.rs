//! Keeps `README.md` true where a program can tell: its configurations, variables and paths.

use std::path::Path;
use std::process::Command;

use crate::{between, read, root};

#[test]
fn every_configuration_in_the_readme_passes_the_strict_check() {
    let readme = read("README.md");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let blocks = between(&readme, "```yaml\n", "```");
    assert!(blocks.len() > 5, "the readme shows configurations");

    for (n, block) in blocks.into_iter().enumerate() {
        let mut text = block.to_owned();
        // What an excerpt leaves out.
        if !block.contains("providers:") {
            text += "providers: [{provider: a, base_url: https://a.example/v1, api: k, model: [m]}]\n";
        }
        if !block.contains("api_keys:") {
            text += "api_keys: [{api: sk-1}]\n";
        }
        let path = folder.join(format!("readme-{n}.yaml"));
        std::fs::write(&path, text).expect("cargo gives a folder to write to");

        let check = Command::new(env!("CARGO_BIN_EXE_uni-api"))
            .args(["check", "--strict", "--config"])
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

#[test]
fn every_path_that_is_named_exists() {
    for page in ["README.md", "CONTRIBUTING.md", "benches/README.md"] {
        let text = read(page);
        let folders = ["src/", "layers/", "tests/", "docs/", "benches/"];
        let paths =
            text.split('`').skip(1).step_by(2).filter(|word| folders.iter().any(|f| word.starts_with(f)));

        for path in paths.filter(|path| !path.contains(['*', ' '])) {
            assert!(root().join(path).exists(), "{page} names {path}");
        }
    }
}
