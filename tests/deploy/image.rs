//! The images, built once for all tests around the program that they have.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::shell::{as_root, command, run};
use super::{kept, root};

/// The Debian that stands for Debian's own image.
pub(crate) const DEBIAN: &str = "localhost/uni-api-debian";

/// The targets of the Dockerfile.
pub(crate) const TARGETS: [&str; 3] = ["latest", "debug", "distroless"];

/// An image of one of the targets, built if need be.
pub(crate) fn of(target: &str) -> String {
    let name = |target: &str| format!("localhost/uni-api-test:{target}");
    std::fs::create_dir_all(kept()).unwrap();
    // Tests are processes of their own, and the first of them builds for all.
    let lock = File::create(kept().join("lock")).unwrap();
    lock.lock().unwrap();
    run(command(&["tests/deploy/install.sh"]).arg(kept())).well();
    let (stamp, state) = (kept().join("stamp"), state());
    if std::fs::read_to_string(&stamp).is_ok_and(|built| built == state) {
        return name(target);
    }
    // What earlier runs have left.
    buildah(&["rm", "--all"]);
    let names = buildah(&["images", "--all", "--format", "{{.Name}}:{{.Tag}}"]);
    let left = names.lines().filter(|name| !name.starts_with(DEBIAN) && !name.contains("<none>"));
    forget(&left.collect::<Vec<_>>());
    // Of builds that go on at the same time this would take parts: there are none yet.
    let prune = ["buildah", "rmi", "--prune"];
    let _ = run(as_root(&prune).env("CONTAINERS_STORAGE_CONF", storage()));
    let program = program();
    for target in TARGETS {
        let mut make = as_root(&["make", "image"]);
        make.env("TARGET", target)
            .env("IMAGE", name(target))
            .env("BINARY", &program)
            .env("BUILDER", "buildah")
            .env("DEBIAN_IMAGE", DEBIAN)
            .env("CONTAINERS_STORAGE_CONF", storage());
        run(&mut make).well();
    }
    std::fs::write(stamp, state).unwrap();
    name(target)
}

/// The program without what only debuggers read, as releases are.
pub(crate) fn program() -> PathBuf {
    let stripped = kept().join(format!("uni-api-{}", std::process::id()));
    let built = env!("CARGO_BIN_EXE_uni-api");
    run(command(&["strip", "-o"]).arg(&stripped).arg(built)).well();
    let program = kept().join("uni-api");
    std::fs::rename(stripped, &program).unwrap();
    program
}

/// What an image depends on.
fn state() -> String {
    let mut hasher = DefaultHasher::new();
    let meta = std::fs::metadata(env!("CARGO_BIN_EXE_uni-api")).unwrap();
    (meta.len(), meta.modified().unwrap()).hash(&mut hasher);
    let mut folders = vec![root().join("deploy/docker")];
    let mut files = vec![root().join(".ci/image"), root().join(".dockerignore")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    files.sort();
    for file in files {
        (&file, std::fs::read(&file).unwrap()).hash(&mut hasher);
    }
    buildah(&["inspect", "--type", "image", "--format", "{{.FromImageID}}", DEBIAN]).hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

/// Where buildah is told that its storage lies.
pub(crate) fn storage() -> PathBuf {
    kept().join("storage.conf")
}

/// Runs buildah over the storage of the tests.
#[track_caller]
pub(crate) fn buildah(words: &[&str]) -> String {
    let words = [&["buildah"], words].concat();
    run(as_root(&words).env("CONTAINERS_STORAGE_CONF", storage())).well()
}

/// Removes images that no other test asks for. One that is still in use somewhere goes with the next build.
pub(crate) fn forget(names: &[&str]) {
    for name in names {
        let words = ["buildah", "rmi", name];
        let _ = run(as_root(&words).env("CONTAINERS_STORAGE_CONF", storage()));
    }
}

/// What an image says of how it is run.
pub(crate) fn settings(image: &str) -> Value {
    let told = buildah(&["inspect", "--type", "image", image]);
    let told: Value = serde_json::from_str(&told).unwrap();
    told["OCIv1"]["config"].clone()
}

/// The bytes of each layer of an image as registries keep them.
pub(crate) fn layers(image: &str, folder: &Path) -> Vec<u64> {
    buildah(&["push", "--quiet", image, &format!("oci:{}:it", folder.display())]);
    let blob = |digest: &Value| {
        let name = digest.as_str().unwrap().replace(':', "/");
        serde_json::from_slice::<Value>(&std::fs::read(folder.join("blobs").join(name)).unwrap()).unwrap()
    };
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let manifest = blob(&index["manifests"][0]["digest"]);
    manifest["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).collect()
}
