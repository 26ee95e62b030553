//! The release: its workflow calls targets of the Makefile and nothing else, and those targets are run here.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::container::Container;
use crate::harness::*;
use crate::shell::{as_root, command, run};
use crate::{image, read};

const WORKFLOW: &str = ".github/workflows/release.yml";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn workflow() -> Value {
    serde_yaml::from_str(&read(WORKFLOW)).unwrap()
}

/// The steps of all jobs.
fn steps() -> Vec<Value> {
    let workflow = workflow();
    let jobs = workflow["jobs"].as_object().unwrap().values();
    jobs.flat_map(|job| job["steps"].as_array().cloned().unwrap()).collect()
}

/// Runs a target of the Makefile as the workflow does, with another folder for what it makes.
fn make(target: &str, dist: &Path, more: &[(&str, &str)]) -> String {
    let mut make = command(&["make", "--no-print-directory", target]);
    for (name, value) in more {
        make.arg(format!("{name}={value}"));
    }
    run(make.env("DIST", dist)).well()
}

/// Promises: `deploy-binary-linux`.
#[tokio::test]
async fn the_program_of_a_release_runs_after_download_and_chmod_on_a_bare_system() {
    let (upstream, dist) = (healthy("ok").await, tempfile::tempdir().unwrap());
    let program = image::program();
    let binary = ("BINARY", program.to_str().unwrap());
    make("archive", dist.path(), &[("TRIPLE", "x86_64-unknown-linux-gnu"), binary]);
    let name = format!("uni-api-linux-x86_64-{VERSION}");

    image::of("latest");
    let container = Container::new(image::DEBIAN).entrypoint(&["sh", "-c"]);
    std::fs::write(container.path("/root/api.yaml"), config([channel("a", &upstream)]).to_string()).unwrap();
    std::fs::copy(dist.path().join(&name), container.path(&format!("/root/{name}"))).unwrap();
    let line = format!("cd /root && chmod +x {name} && exec ./{name}");
    let running = container.spawn(&[&line]);

    running.ask(&Ask::chat(&hello())).await.expect(200);
    // Ubuntu 22.04 has 2.35: what asks for a later C library would not start there.
    let symbols = run(&mut command(&["objdump", "-T", dist.path().join(&name).to_str().unwrap()])).well();
    let asked: BTreeSet<u32> = symbols
        .split("GLIBC_2.")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect();
    assert!(asked.last().is_some_and(|latest| *latest <= 35), "{asked:?}");
}

#[test]
fn an_archive_holds_the_program_its_licences_and_examples_and_is_the_same_each_time() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = one.path().join("any");
    std::fs::write(&program, "a program").unwrap();
    let given = [("TRIPLE", "aarch64-apple-darwin"), ("BINARY", program.to_str().unwrap())];
    for dist in [&one, &two] {
        make("archive", dist.path(), &given);
    }
    let name = format!("uni-api-macos-arm64-{VERSION}");
    let archive = |dist: &tempfile::TempDir| dist.path().join(format!("{name}.tar.gz"));

    let listed = run(command(&["tar", "-tzvf"]).arg(archive(&one))).well();

    assert_eq!(std::fs::read(archive(&one)).unwrap(), std::fs::read(archive(&two)).unwrap());
    for file in ["uni-api", "README.md", "LICENSE-MIT", "api.yaml.example", "uni-api.service"] {
        assert!(listed.lines().any(|line| line.ends_with(&format!(" {name}/{file}"))), "{file}: {listed}");
    }
    assert!(listed.lines().next().is_some_and(|line| line.starts_with("-rwxr-xr-x 0/0")), "{listed}");
    let other =
        command(&["make", "archive", "TRIPLE=x86_64-pc-windows-msvc", "BINARY=Makefile"]).output().unwrap();
    assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("releases are for"));
}

#[test]
fn the_bill_of_materials_names_what_the_program_is_built_with_and_no_tests() {
    let dist = tempfile::tempdir().unwrap();
    make("sbom", dist.path(), &[]);
    let bill: Value =
        serde_json::from_slice(&std::fs::read(dist.path().join("uni-api.cdx.json")).unwrap()).unwrap();

    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
    assert_eq!(bill["metadata"]["component"]["purl"], format!("pkg:cargo/uni-api@{VERSION}"));
    let components = bill["components"].as_array().unwrap();
    let names: BTreeSet<&str> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
    for built_with in ["layers", "dialect", "hyper", "rustls", "aws-lc-sys", "libsqlite3-sys"] {
        assert!(names.contains(built_with), "{built_with}: {names:?}");
    }
    for tested_with in ["proptest", "divan", "rcgen"] {
        assert!(!names.contains(tested_with), "{tested_with}");
    }
    let lock = read("Cargo.lock");
    for component in components {
        let (name, version) = (component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
    let references: BTreeSet<_> = components.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
    assert_eq!(references.len(), components.len(), "each stands once");
}

#[test]
fn checksums_are_of_every_file_and_hold() {
    let dist = tempfile::tempdir().unwrap();
    for file in ["a", "b.tar.gz"] {
        std::fs::write(dist.path().join(file), file).unwrap();
    }
    make("checksums", dist.path(), &[]);
    make("checksums", dist.path(), &[]);

    let sums = std::fs::read_to_string(dist.path().join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 2, "{sums}");
    run(command(&["sha256sum", "--check", "--strict", "SHA256SUMS"]).current_dir(dist.path())).well();
}

/// Neither program is run: what is shown is that both are put together under one name, without emulation.
///
/// Promises: `deploy-image-multiarch`, `deploy-image-published`.
#[test]
fn a_release_pushes_three_images_for_two_architectures_each() {
    let (dist, registry) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    image::of("latest");
    for machine in ["x86_64", "aarch64"] {
        let program = dist.path().join(format!("uni-api-linux-{machine}-{VERSION}"));
        std::fs::write(program, format!("a program for {machine}")).unwrap();
    }
    // A system of each kind, with no more than what is copied out of it.
    let bases = [("amd64", "x86_64", "ld-linux-x86-64.so.2"), ("arm64", "aarch64", "ld-linux-aarch64.so.1")];
    let bases = bases.map(|(arch, machine, loader)| {
        let system = tempfile::tempdir().unwrap();
        let folder = system.path().join(format!("usr/lib/{machine}-linux-gnu"));
        std::fs::create_dir_all(&folder).unwrap();
        for library in [loader, "libc.so.6", "libm.so.6", "libgcc_s.so.1"] {
            std::fs::write(folder.join(library), library).unwrap();
        }
        let base = image::buildah(&["from", "scratch"]);
        image::buildah(&["config", "--arch", arch, base.trim()]);
        image::buildah(&["add", "--quiet", base.trim(), system.path().to_str().unwrap(), "/"]);
        let name = format!("localhost/system-{arch}-{}", std::process::id());
        image::buildah(&["commit", "--quiet", base.trim(), &name]);
        image::buildah(&["rm", base.trim()]);
        name
    });

    let mut make = as_root(&["make", "images", "REPOSITORY=localhost/release"]);
    make.env("DIST", dist.path())
        .env("DESTINATION", format!("oci:{}:", registry.path().display()))
        .env("DEBIAN_IMAGE_amd64", &bases[0])
        .env("DEBIAN_IMAGE_arm64", &bases[1])
        .env("CONTAINERS_STORAGE_CONF", image::storage());
    run(&mut make).well();

    let blob = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().replace(':', "/");
        serde_json::from_slice(&std::fs::read(registry.path().join("blobs").join(name)).unwrap()).unwrap()
    };
    let index: Value =
        serde_json::from_slice(&std::fs::read(registry.path().join("index.json")).unwrap()).unwrap();
    let mut tags = BTreeSet::new();
    for entry in index["manifests"].as_array().unwrap() {
        let Some(tag) = entry["annotations"]["org.opencontainers.image.ref.name"].as_str() else { continue };
        let list = blob(&entry["digest"]);
        let architectures: BTreeSet<_> = list["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["platform"]["architecture"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(architectures, BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]), "{tag}");
        tags.insert(tag.to_owned());
    }
    let wanted = ["latest", "debug", "distroless"].map(str::to_owned).into_iter();
    let versions = ["", "-debug", "-distroless"].map(|kind| format!("{VERSION}{kind}"));
    assert_eq!(tags, wanted.chain(versions).collect());
    for target in image::TARGETS {
        image::buildah(&["manifest", "rm", &format!("localhost/release:{target}")]);
        let names = ["amd64", "arm64"].map(|arch| format!("localhost/release:{target}-{arch}"));
        image::forget(&[&names[0], &names[1]]);
    }
    image::forget(&[&bases[0], &bases[1]]);
}

/// Each command is one call of `make`; what it makes is run by a test of this file.
///
/// Promises: `deploy-image-published`.
#[test]
fn the_workflow_calls_only_targets_that_are_run_here() {
    let (makefile, tests) = (read("Makefile"), read("tests/deploy/release.rs"));
    let mut called = BTreeSet::new();
    for step in steps() {
        let Some(line) = step["run"].as_str() else { continue };
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("make"), "{line}");
        let target = words.next().unwrap().to_owned();
        assert!(
            words.all(|word| word.contains('=')
                || word.ends_with("}}")
                || word.starts_with("github")
                || word.starts_with("matrix")),
            "{line}"
        );
        assert!(makefile.contains(&format!("\n{target}: ")), "there is no target {target}");
        let is_run = tests.contains(&format!("make(\"{target}\""))
            || tests.contains(&format!("\"make\", \"{target}\""));
        assert!(is_run, "no test runs {target}");
        called.insert(target);
    }
    assert_eq!(called, ["archive", "checksums", "images", "sbom"].map(str::to_owned).into());
}

/// Promises: `deploy-image-published`, `deploy-image-multiarch`, `deploy-binary-macos`.
#[test]
fn the_workflow_builds_each_system_before_it_publishes_and_says_where_all_comes_from() {
    let workflow = workflow();
    let jobs = &workflow["jobs"];
    let built: Vec<_> = jobs["programs"]["strategy"]["matrix"]["include"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["triple"].as_str().unwrap(), one["runner"].as_str().unwrap()))
        .collect();
    assert_eq!(
        built,
        [
            ("x86_64-unknown-linux-gnu", "ubuntu-22.04"),
            ("aarch64-unknown-linux-gnu", "ubuntu-22.04-arm"),
            ("aarch64-apple-darwin", "macos-14"),
        ]
    );
    // Each on a machine of its own kind, so the name of each is what it is.
    for (triple, runner) in built {
        assert_eq!(triple.ends_with("darwin"), runner.starts_with("macos"));
        assert_eq!(triple == "aarch64-unknown-linux-gnu", runner.ends_with("-arm"));
    }
    assert_eq!(
        (&jobs["images"]["needs"], &jobs["release"]["needs"]),
        (&json!("programs"), &json!(["programs", "images"]))
    );
    assert_eq!(jobs["images"]["permissions"]["packages"], "write");
    assert_eq!(workflow["permissions"], json!({ "contents": "read" }));
    assert_eq!(workflow["on"]["push"]["tags"], json!(["v*"]));
    let steps = steps();
    let uses = |name: &str| {
        steps.iter().find(|step| step["uses"].as_str().is_some_and(|used| used.starts_with(name)))
    };
    assert_eq!(uses("actions/attest-build-provenance@").unwrap()["with"]["subject-path"], "dist/*");
    assert_eq!(jobs["release"]["permissions"]["id-token"], "write");
    assert!(uses("actions/upload-artifact@").is_some() && uses("softprops/action-gh-release@").is_some());
}
