//! The stage of the Dockerfile that compiles, with a compiler that only tells what it is asked: compiling itself is
//! what `make image` does without `BINARY`, and takes minutes.

use crate::container::Container;
use crate::shell::{as_root, command, run, script};
use crate::{image, read};

/// Programs in the compiler's place: each notes how it was called.
fn stubs(container: &Container, cargo: &str) {
    let note = |name: &str| format!("#!/bin/sh\necho \"{name} $*\" >>/called\n");
    for name in ["rustup", "apt-get", "cc", "cmake", "aarch64-linux-gnu-gcc"] {
        script(&container.path(&format!("/usr/local/bin/{name}")), &note(name));
    }
    script(&container.path("/usr/local/bin/cargo"), &(note("cargo") + cargo));
    script(&container.path("/usr/local/bin/compile"), &read("deploy/docker/compile"));
}

#[test]
fn each_step_asks_the_compiler_of_the_image_s_processor() {
    image::of("latest");
    for (arch, triple, linker) in [
        ("amd64", "x86_64-unknown-linux-gnu", ""),
        ("arm64", "aarch64-unknown-linux-gnu", "aarch64-linux-gnu-gcc"),
    ] {
        let container = Container::new(image::DEBIAN).env("PROFILE", "release").env("TARGETARCH", arch);
        let program = format!("target/{triple}/release/uni-api");
        let made = format!(
            "mkdir -p $(dirname {program})\necho \"$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER\" >{program}\n"
        );
        stubs(&container, &made);
        std::fs::create_dir(container.path("/src")).unwrap();
        for file in ["Cargo.toml", "build.rs"] {
            std::fs::write(container.path(&format!("/src/{file}")), read(file)).unwrap();
        }
        let container = container.entrypoint(&["sh", "-euc"]);

        container.run(&["cd /src; compile needs; compile dependencies; compile program"]).well();

        let called = std::fs::read_to_string(container.path("/called")).unwrap();
        let build = format!("cargo build --locked --bin uni-api --profile release --target {triple}\n");
        assert_eq!(called.matches(&build).count(), 2, "{called}");
        assert_eq!(called.contains("rustup target add"), !linker.is_empty(), "{called}");
        assert!(!called.contains("apt-get"), "nothing is missing: {called}");
        assert_eq!(std::fs::read_to_string(container.path("/uni-api")).unwrap(), format!("{linker}\n"));
    }
}

/// What is copied before the sources has to be enough for a compiler that reads the manifests.
#[test]
fn the_layer_of_the_dependencies_has_all_files_that_the_manifests_name() {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = read("deploy/docker/Dockerfile");
    let before = dockerfile.split("RUN compile dependencies").next().unwrap();
    let copied = before
        .lines()
        .skip_while(|line| *line != "WORKDIR /src")
        .filter_map(|line| line.strip_prefix("COPY "));
    for line in copied {
        let words: Vec<&str> = line.split(' ').collect();
        let (to, from) = words.split_last().unwrap();
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        if from.len() > 1 || words[words.len() - 1].ends_with('/') {
            std::fs::create_dir_all(&to).unwrap();
        }
        run(command(&["cp", "-r"]).args(from).arg(&to)).well();
    }
    // In cargo's place one that reads the manifests as cargo does, and compiles nothing.
    let stub = folder.path().join("bin");
    std::fs::create_dir(&stub).unwrap();
    let cargo = env!("CARGO");
    script(
        &stub.join("cargo"),
        &format!("#!/bin/sh\nexec {cargo} metadata --offline --locked --format-version 1 >/dev/null\n"),
    );

    let compile = crate::root().join("deploy/docker/compile");
    let line = format!("PATH={}:$PATH exec sh {} dependencies", stub.display(), compile.display());
    let ended = run(command(&["sh", "-c", &line]).current_dir(folder.path()).env("PROFILE", "release"));

    assert_eq!(ended.code, 0, "{}", ended.printed);
    for file in ["tests/gateway/main.rs", "benches/layout/request.ld"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}

#[test]
fn a_processor_that_there_is_no_image_for_is_refused() {
    let mut compile = command(&["sh", "deploy/docker/compile", "needs"]);

    let ended = run(compile.env("TARGETARCH", "riscv64").env("PROFILE", "release"));

    assert!(ended.code == 1 && ended.printed.contains("only for amd64 and arm64"), "{}", ended.printed);
}

/// The whole stage as buildah runs it, of the sources that the Dockerfile copies; the compiler makes a program of one
/// line, which says that it was made.
#[test]
fn without_a_program_the_image_holds_the_one_that_its_build_stage_has_made() {
    image::of("latest");
    let name = format!("localhost/rust-stub-{}", std::process::id());
    let container = Container::new(image::DEBIAN);
    let made = "cat Cargo.lock src/main.rs layers/src/lib.rs layers/dialect/src/lib.rs >/dev/null\n\
                mkdir -p target/x86_64-unknown-linux-gnu/release\n\
                printf '#!/bin/sh\\necho compiled of %s lines\\n' $(wc -l <src/main.rs) \\\n\
                >target/x86_64-unknown-linux-gnu/release/uni-api\n";
    stubs(&container, made);
    image::buildah(&["commit", "--quiet", container.name(), &name]);

    let mut make = as_root(&["make", "image", "TARGET=distroless", "BUILDER=buildah", "ARCH=amd64"]);
    make.env("IMAGE", format!("{name}-built"))
        .env("RUST_IMAGE", &name)
        .env("DEBIAN_IMAGE", image::DEBIAN)
        .env("CONTAINERS_STORAGE_CONF", image::storage());
    let ended = run(&mut make);

    assert_eq!(ended.code, 0, "{}", ended.printed);
    let lines = read("src/main.rs").lines().count();
    let built = Container::new(&format!("{name}-built"));
    let program = std::fs::read_to_string(built.path("/usr/local/bin/uni-api")).unwrap();
    assert!(program.contains(&format!("compiled of {lines} lines")), "{program}");
    drop((container, built));
    image::forget(&[&format!("{name}-built"), &name]);
}
