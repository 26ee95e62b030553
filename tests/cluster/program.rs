//! The program, held against the Deployment: what it reads of arguments and variables, and a run with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;
use serde_json::Value;
use uni_api::cli::{Arguments, Command};
use uni_api::config::Environment;
use uni_api::config::environment::Database;

use crate::harness::gateway::LOADED;
use crate::harness::*;
use crate::objects::{container, list, object};
use crate::read;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is a text"))
}

/// The variables of the container, and the one that every pod has.
fn variables() -> Vec<(String, String)> {
    let written =
        list(&container()["env"]).map(|one| (text(&one["name"]).into(), text(&one["value"]).into()));
    written.chain([("KUBERNETES_SERVICE_HOST".into(), "10.0.0.1".into())]).collect()
}

fn environment() -> Environment {
    Environment::from_vars(variables()).expect("the program takes the variables")
}

/// Where the volume of this kind is mounted.
fn mounted(kind: &str) -> PathBuf {
    let volumes = &object("Deployment")["spec"]["template"]["spec"]["volumes"];
    let volume = list(volumes).find(|volume| !volume[kind].is_null()).unwrap();
    let mount = list(&container()["volumeMounts"]).find(|mount| mount["name"] == volume["name"]).unwrap();
    text(&mount["mountPath"]).into()
}

/// The configuration file that the arguments name.
fn configuration() -> PathBuf {
    let written = list(&container()["args"]).map(text);
    let arguments =
        Arguments::try_parse_from(["uni-api"].into_iter().chain(written)).expect("known arguments");
    match arguments.command {
        Some(Command::Serve(source)) => source.config.expect("--config"),
        other => panic!("{other:?}"),
    }
}

fn port(name: &str) -> u64 {
    let port = list(&container()["ports"]).find(|port| port["name"] == name).unwrap();
    port["containerPort"].as_u64().unwrap()
}

#[test]
fn ports_and_paths_are_those_of_the_program() {
    let environment = environment();

    assert_eq!(port("http"), u64::from(environment.port));
    let metrics = environment.metrics_addr.expect("metrics are on");
    assert_eq!(port("metrics"), u64::from(metrics.port()));
    assert!(metrics.ip().is_unspecified(), "Prometheus comes from outside the pod");
    assert_eq!(configuration(), mounted("secret").join("api.yaml"));
    let Database::Sqlite(file) = &environment.database else { panic!("{:?}", environment.database) };
    assert_eq!(file.parent(), Some(&*mounted("persistentVolumeClaim")));
    assert!(environment.warnings.is_empty(), "{:?}", environment.warnings);
}

#[test]
fn every_variable_is_one_that_the_program_knows() {
    let readme = read("README.md");
    let table = readme.split("\n## Environment").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();

    for variable in list(&container()["env"]) {
        let name = text(&variable["name"]);
        assert!(table.contains(&format!("`{name}`")), "{name} is not in the table of README.md");
    }
}

/// The writer's farewell to a database that takes nothing, twice.
const LAST_ROWS: Duration = Duration::from_secs(10);

#[test]
fn the_program_has_ended_before_kubernetes_kills_it() {
    let grace = &object("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    let environment = environment();

    assert!(environment.drain_delay > Duration::ZERO, "a Service needs a while to see that a pod is gone");
    let longest = environment.drain_delay + environment.drain_seconds + LAST_ROWS;
    assert!(Duration::from_secs(grace.as_u64().unwrap()) >= longest, "{grace} s, {longest:?}");
}

/// A copy of a mounted Secret: files are links into a folder that is replaced as a whole.
struct Secret(PathBuf);

impl Secret {
    fn write(&self, version: &str, yaml: &str) {
        use std::os::unix::fs::symlink;
        let folder = self.0.join(version);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("api.yaml"), yaml).unwrap();
        symlink(version, self.0.join("..new")).unwrap();
        std::fs::rename(self.0.join("..new"), self.0.join("..data")).unwrap();
        if !self.0.join("api.yaml").exists() {
            symlink("..data/api.yaml", self.0.join("api.yaml")).unwrap();
        }
    }
}

/// Every file below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(below(&entry)) } else { found.push(entry) }
    }
    found
}

#[tokio::test]
async fn with_arguments_and_variables_of_the_pod_it_answers_its_probes_and_writes_to_its_volume_alone() {
    let upstream = healthy("ok").await;
    let setup = Setup::empty();
    let pod = setup.folder().join("pod");
    let inside = |path: &Path| pod.join(path.strip_prefix("/").unwrap());
    let (secrets, data) = (inside(&mounted("secret")), inside(&mounted("persistentVolumeClaim")));
    std::fs::create_dir_all(&data).unwrap();
    let secret = Secret(secrets);
    secret.write("..first", &config([channel("a", &upstream)]).to_string());
    // Paths are moved into a folder and ports are free ones; everything else is as the Deployment says.
    let moved = |value: &str| match value.starts_with('/') {
        true => inside(Path::new(value)).to_str().unwrap().to_owned(),
        false => value.to_owned(),
    };
    let mut setup = setup.without_env("DISABLE_DATABASE").env("HOME", "/nonexistent").env("DRAIN_DELAY", "0");
    for (name, value) in variables() {
        let value = match name.as_str() {
            "METRICS_ADDR" => "127.0.0.1:0".into(),
            "DRAIN_DELAY" => "0".into(),
            _ => moved(&value),
        };
        setup = setup.env(&name, &value);
    }
    for argument in list(&container()["args"]) {
        setup = setup.arg(&moved(text(argument)));
    }

    let mut gateway = setup.start().await;

    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &container()[probe]["httpGet"];
        assert_eq!(asked["port"], "http", "{probe}");
        gateway.ask(&Ask::get(text(&asked["path"])).without_key()).await.expect(200);
    }
    let scraped = text(&object("ServiceMonitor")["spec"]["endpoints"][0]["path"]);
    gateway.metrics_client().ask(&Ask::get(scraped).without_key()).await.expect(200);
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "a");
    // Another version of the Secret is seen without a restart.
    let before = gateway.count_messages(LOADED);
    secret.write("..second", &config([channel("b", &upstream)]).to_string());
    gateway.wait_for_reload(before).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    gateway.terminate();
    assert!(gateway.ended().await.success());

    let written: Vec<PathBuf> =
        below(gateway.folder()).into_iter().filter(|file| !file.starts_with(&secret.0)).collect();
    assert!(written.iter().any(|file| file.ends_with("stats.db")), "{written:?}");
    assert!(written.iter().all(|file| file.starts_with(&data)), "{written:?}");
}
