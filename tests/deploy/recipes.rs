//! Recipes for hosts that are not ours: what they take of the image and of the program, run here as they run it.

use serde_json::Value;

use crate::container::Container;
use crate::harness::*;
use crate::shell::{command, run};
use crate::{image, read, root};

/// An image that is built of this folder on ours; the place of its base is taken by what is tested.
struct Space {
    name: String,
    _folder: tempfile::TempDir,
}

impl Space {
    fn build(folder: &str, base: &str) -> Self {
        let context = tempfile::tempdir().unwrap();
        run(command(&["cp", "-r"]).arg(format!("{folder}/.")).arg(context.path())).well();
        let file = read(&format!("{folder}/Dockerfile"));
        assert!(file.contains(&format!("FROM {base}\n")), "{file}");
        let file = file.replace(&format!("FROM {base}\n"), &format!("FROM {}\n", image::of("latest")));
        std::fs::write(context.path().join("Dockerfile"), file).unwrap();
        let name = format!("localhost/space-{}-{}", std::process::id(), folder.matches("fixtures").count());
        let here = context.path().to_str().unwrap();
        // As on the hub: what of a file may be executed is not known to its web page.
        image::buildah(&["build", "--isolation", "chroot", "--pull-never", "--tag", &name, here]);
        Self { name, _folder: context }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        image::forget(&[&self.name]);
    }
}

const THEIRS: &str = "tests/fixtures/deploy/huggingface";

/// Promises: `deploy-hf-recipe`, `deploy-hf-secret`, `deploy-hf-user`.
#[tokio::test]
async fn a_space_of_the_three_files_that_people_have_serves_as_user_1000() {
    let upstream = healthy("ok").await;
    let secret = config([channel("a", &upstream)]).to_string();
    let space = Space::build(THEIRS, "yym68686/uni-api:latest");
    let container = Container::new(&space.name).env("API_YAML_CONTENT", &secret);

    let running = container.start().await;

    running.ask(&Ask::chat(&hello())).await.expect(200);
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.process())).unwrap();
    assert!(status.contains("Uid:\t1000\t1000"), "{status}");
    assert_eq!(std::fs::read_to_string(container.path("/home/api.yaml")).unwrap(), format!("{secret}\n"));
    assert!(!container.path("/home/data").exists(), "there is no database");
    assert!(running.printed().contains("python main.py: this image runs uni-api"), "{}", running.printed());
}

/// Promises: `deploy-hf-secret`.
#[tokio::test]
async fn the_entrypoint_passes_arguments_on_and_ends_without_the_secret() {
    let space = Space::build(THEIRS, "yym68686/uni-api:latest");

    let without = Container::new(&space.name).run(&[]);
    assert!(
        without.code == 1 && without.printed.contains("does not exist or is empty"),
        "{}",
        without.printed
    );
    let container = Container::new(&space.name).env("API_YAML_CONTENT", "providers: []");
    let asked = container.run(&["--version"]);
    assert!(asked.printed.contains(concat!("uni-api ", env!("CARGO_PKG_VERSION"))), "{}", asked.printed);
    assert_eq!(asked.code, 0);
}

/// Promises: `deploy-hf-user`.
#[tokio::test]
async fn our_space_needs_no_entrypoint_since_the_program_reads_the_secret() {
    let upstream = healthy("ok").await;
    let space = Space::build("deploy/huggingface", "ghcr.io/OWNER/uni-api:latest");
    let secret = config([channel("a", &upstream)]).to_string();

    let running = Container::new(&space.name).env("API_YAML_CONTENT", &secret).start().await;

    running.ask(&Ask::chat(&hello())).await.expect(200);
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.process())).unwrap();
    assert!(status.contains("Uid:\t1000\t1000"), "{status}");
}

/// Promises: `deploy-hf-port`.
#[test]
fn the_space_names_the_port_on_which_the_image_listens() {
    for folder in [THEIRS, "deploy/huggingface"] {
        let page = read(&format!("{folder}/README.md"));
        let metadata: Value = serde_yaml::from_str(page.split("---\n").nth(1).unwrap()).unwrap();

        assert_eq!(metadata["app_port"], 8000, "{folder}");
        assert_eq!(metadata["sdk"], "docker");
    }
    assert!(image::settings(&image::of("latest"))["ExposedPorts"].get("8000/tcp").is_some());
}

/// Promises: `deploy-koyeb-button`.
#[test]
fn the_link_to_koyeb_names_the_image_its_port_and_the_one_variable() {
    let page = read("docs/deploying.md");
    let link = page.split("https://app.koyeb.com/deploy?").nth(1).unwrap().split(')').next().unwrap();
    let fields: Vec<_> = link.split('&').filter_map(|field| field.split_once('=')).collect();
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);

    assert_eq!(field("type"), Some("docker"));
    assert_eq!(field("image"), Some("ghcr.io%2FOWNER%2Funi-api%3Alatest"));
    assert_eq!(field("ports"), Some("8000%3Bhttp%3B%2F"));
    assert_eq!(field("env%5BCONFIG_URL%5D"), Some(""));
    assert!(read("src/config/environment.rs").contains("\"CONFIG_URL\""));
    assert!(fields.len() >= 5, "{fields:?}");
}

/// Promises: `deploy-serv00-port`.
#[tokio::test]
async fn the_port_is_the_one_that_the_host_assigns() {
    let (upstream, port) = (healthy("ok").await, crate::port());

    let setup = Setup::new(config([channel("a", &upstream)])).env("PORT", &port.to_string());
    let gateway = setup.env("DISABLE_DATABASE", "true").start().await;

    assert_eq!(gateway.address().port(), port);
    gateway.chat(&hello()).await.expect(200);
}

/// Nothing of it can be run here; what can be read is that the sources build there at all: no file of them
/// is for Linux alone without saying so.
///
/// Promises: `deploy-serv00-build`.
#[test]
fn what_is_for_linux_alone_stands_behind_a_condition() {
    let mut folders = vec![root().join("src"), root().join("layers/src"), root().join("layers/dialect/src")];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            looked += 1;
            let linux = ["std::os::linux", "tokio::net::unix::pipe", "inotify::", "epoll::"];
            let found = linux.iter().find(|name| code.contains(**name));
            assert!(found.is_none(), "{} uses {found:?}", path.display());
        }
    }
    assert!(looked > 150, "{looked}");
    // The list of functions for the linker is asked for on Linux only.
    assert!(read("build.rs").contains(r#"is("CARGO_CFG_TARGET_OS", "linux")"#));
    let page = read("docs/deploying.md");
    let recipe = page.split("## FreeBSD").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(recipe.contains("not run here") && recipe.contains("cargo build --locked --release"), "{recipe}");
}
