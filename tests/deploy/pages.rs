//! `docs/deploying.md`, whose commands are run as they stand, and the folder that it describes.

use crate::shell::{as_root, run};
use crate::{image, port, read, root};

/// The blocks of commands on the page.
fn blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn every_command_of_the_page_runs_or_says_why_it_does_not() {
    image::of("latest");
    let (page, program) = (read("docs/deploying.md"), image::program());
    let (mut ran, mut explained) = (0, 0);
    for block in blocks(&page) {
        if let Some(reason) = block.strip_prefix("# not run here: ") {
            assert!(reason.lines().next().is_some_and(|line| line.len() > 20), "{block}");
            explained += 1;
            continue;
        }
        assert!(!block.contains("# not run here"), "the reason stands first: {block}");

        let mut shell = as_root(&["sh", "-euc", block]);
        shell
            .env("BINARY", &program)
            .env("BUILDER", "buildah")
            .env("DEBIAN_IMAGE", image::DEBIAN)
            .env("CONTAINERS_STORAGE_CONF", image::storage())
            .env("PORT", port().to_string());
        let ended = run(&mut shell);

        assert_eq!(ended.code, 0, "{block}\n{}", ended.printed);
        ran += 1;
    }
    assert!(ran >= 5 && explained >= 4, "{ran} ran, {explained} did not");
    image::forget(&["localhost/uni-api:latest", "localhost/uni-api:distroless"]);
}

/// Which module of these tests is about a file or folder.
const CLAIMS: [(&str, &str); 12] = [
    ("deploy/docker/Dockerfile", "docker"),
    ("deploy/docker/compile", "build_stage"),
    ("deploy/docker/python", "docker"),
    ("deploy/docker/distroless", "docker"),
    ("deploy/docker-compose", "compose"),
    ("deploy/monitoring", "compose"),
    ("deploy/caddy", "proxies"),
    ("deploy/nginx", "proxies"),
    ("deploy/systemd", "systemd"),
    ("deploy/huggingface", "recipes"),
    ("deploy/load", "load"),
    // It has a binary of tests of its own.
    ("deploy/kubernetes", ""),
];

#[test]
fn every_file_in_the_folder_is_claimed_by_a_test() {
    let mut folders = vec![root().join("deploy")];
    let (mut unclaimed, mut seen) = (Vec::new(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            match CLAIMS.iter().find(|(claimed, _)| file.starts_with(claimed)) {
                Some((claimed, _)) => seen.push(*claimed),
                None => unclaimed.push(file),
            }
        }
    }

    assert!(unclaimed.is_empty(), "no test is about {unclaimed:?}");
    for (claimed, module) in CLAIMS.iter().filter(|(_, module)| !module.is_empty()) {
        assert!(seen.contains(claimed), "{claimed} is not there any more");
        assert!(root().join(format!("tests/deploy/{module}.rs")).exists());
    }
}
