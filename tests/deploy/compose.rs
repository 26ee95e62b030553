//! The compose files: what `docker-compose` reads in them is so, and the gateway's part of them runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::container::Container;
use crate::harness::*;
use crate::home::{recorded, stop};
use crate::shell::{command, run};
use crate::{image, port, read, root};

/// Our files, laid over each other in every way that their heads name.
const OURS: [&[&str]; 5] = [
    &[BASE],
    &[BASE, "deploy/docker-compose.postgres.yml"],
    &[BASE, MONITORING],
    &[BASE, FRONT_END],
    &[BASE, "deploy/docker-compose.postgres.yml", MONITORING, FRONT_END],
];
const BASE: &str = "deploy/docker-compose.yml";
const MONITORING: &str = "deploy/docker-compose.monitoring.yml";
const FRONT_END: &str = "deploy/docker-compose.frontend.yml";

/// The files that the requirement document has, to the letter.
const THEIRS: [&str; 3] = [
    "tests/fixtures/deploy/compose.yml",
    "tests/fixtures/deploy/compose-restart.yml",
    "tests/fixtures/deploy/compose-frontend.yml",
];

/// What `docker-compose` reads, with paths relative to this folder.
pub(crate) fn composed(files: &[&str], folder: &Path) -> Value {
    let mut compose = command(&["docker-compose", "--project-directory"]);
    compose.arg(folder).env("POSTGRES_PASSWORD", "secret").env("GRAFANA_PASSWORD", "secret");
    for file in files {
        compose.args(["-f", file]);
    }
    let printed = run(compose.arg("config")).well();
    serde_yaml::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// A value of a compose file as the text that containers get.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The variables that a service sets.
fn variables(service: &Value) -> Vec<(String, String)> {
    let set = service["environment"].as_object();
    set.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The volumes of a service: what of the machine, where inside, and how.
fn volumes(service: &Value) -> Vec<(String, String, String)> {
    let given = service["volumes"].as_array().cloned().unwrap_or_default();
    let volumes = given.iter().map(|volume| {
        let parts: Vec<_> = volume.as_str().unwrap().split(':').map(str::to_owned).collect();
        (parts[0].clone(), parts[1].clone(), parts[2].clone())
    });
    volumes.collect()
}

/// A service as a container of our image.
pub(crate) fn container(service: &Value) -> Container {
    let mut container = Container::new(&image::of("latest"));
    for (name, value) in variables(service) {
        container = container.env(&name, &value);
    }
    for (from, to, access) in volumes(service) {
        container = container.volume(Path::new(&from), &to, &access);
    }
    let words = service["command"].as_array().cloned().unwrap_or_default();
    container.command_words(words.iter().map(text))
}

/// A folder that containers of every user may pass through.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Names of variables that the program reads.
fn known() -> Vec<String> {
    let source = read("src/config/environment.rs") + &read("src/main.rs") + &read("src/init.rs");
    let words = source.split('"').skip(1).step_by(2);
    let is_name = |word: &&str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    words.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn docker_compose_reads_every_file_alone_and_laid_over_the_first() {
    for files in OURS.iter().copied().chain(THEIRS.iter().map(std::slice::from_ref)) {
        let all = composed(files, root());

        assert!(all["services"]["uni-api"].is_object(), "{files:?}");
    }
}

/// Every file of ours that there is is read by the test above.
#[test]
fn every_compose_file_is_laid_over_the_first_in_some_way() {
    for entry in std::fs::read_dir(root().join("deploy")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let file = format!("deploy/{name}");
        let known = OURS.iter().any(|files| files.contains(&&*file));
        assert!(known || !name.starts_with("docker-compose"), "{file} is read by no test");
    }
}

#[test]
fn every_variable_port_path_and_folder_in_them_is_the_program_s() {
    let (known, settings) = (known(), image::settings(&image::of("latest")));
    assert!(known.len() > 25, "{known:?}");
    for files in OURS {
        let all = composed(files, &root().join("deploy"));
        let service = &all["services"]["uni-api"];
        for (name, _) in variables(service) {
            assert!(known.contains(&name), "{files:?}: the program does not read {name}");
        }
        let port = &service["ports"][0];
        assert_eq!(port["target"], 8000, "{port}");
        assert!(settings["ExposedPorts"].get("8000/tcp").is_some());
        // What is kept is below the folder that the program works in; the file is where it is told.
        assert_eq!(settings["WorkingDir"], "/home");
        let mounted: Vec<_> = volumes(service).into_iter().map(|(_, to, _)| to).collect();
        assert_eq!(mounted, ["/home/config", "/home/data"]);
        assert_eq!(service["command"], json!(["--config", "/home/config/api.yaml"]));
        assert!(read("src/config/environment.rs").contains("./data/stats.db"));

        // Files of this project that are mounted into others are there.
        for (name, service) in all["services"].as_object().unwrap() {
            for (from, ..) in volumes(service).into_iter().filter(|(from, ..)| from.starts_with('/')) {
                let from = Path::new(&from).strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                let by_users = ["deploy/config", "deploy/data"].contains(&&*from);
                assert!(by_users || root().join(&from).exists(), "{name} mounts {from}");
            }
        }
        let build = &service["build"];
        assert_eq!(build["context"], root().to_str().unwrap());
        let targets = read("deploy/docker/Dockerfile");
        assert!(targets.contains(&format!(" AS {}\n", text(&build["target"]))), "{build}");
    }
}

/// Values that it does not take would end the program.
#[tokio::test]
async fn the_program_takes_every_value_in_them() {
    let config = config([channel_at("a", "http://127.0.0.1:9/v1/chat/completions")]);
    for files in OURS.iter().copied().chain(THEIRS.iter().map(std::slice::from_ref)) {
        let all = composed(files, root());
        let mut setup = Setup::new(&config).arg("check").without_env("PORT").without_env("DISABLE_DATABASE");
        for (name, value) in variables(&all["services"]["uni-api"]) {
            setup = setup.env(&name, &value);
        }

        let (code, printed) = setup.run().await;

        assert_eq!(code, 0, "{files:?}: {printed}");
    }
}

/// The health check that it has says so as well, on the port that it publishes.
#[tokio::test]
async fn our_file_runs_as_it_stands_and_its_health_check_knows() {
    let folder = folder();
    let service = composed(&[BASE], folder.path())["services"]["uni-api"].clone();
    let check: Vec<String> = service["healthcheck"]["test"].as_array().unwrap().iter().map(text).collect();
    let check: Vec<&str> = check[1..].iter().map(String::as_str).collect();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    let mock = channel_at("a", "http://127.0.0.1:9/v1").with("/engine", json!("mock"));
    std::fs::write(folder.path().join("config/api.yaml"), config([mock]).to_string()).unwrap();
    let container = container(&service).without_env("PORT").alone();

    let running = container.start().await;

    assert_eq!(running.exec(&check).code, 0);
    assert!(folder.path().join("data/stats.db").exists());
    assert_ne!(self::container(&service).run(&check).code, 0, "nobody serves in an empty container");
}

/// Promises: `deploy-compose`.
#[tokio::test]
async fn the_file_that_people_have_runs_with_folders_that_root_has_made() {
    let upstream = healthy("ok").await;
    let folder = folder();
    let service = composed(&THEIRS[..1], folder.path())["services"]["uni-api"].clone();
    assert!(service["user"].is_null());
    std::fs::write(folder.path().join("api.yaml"), config([channel("a", &upstream)]).to_string()).unwrap();
    let container = container(&service);

    let running = container.start().await;
    running.ask(&Ask::chat(&hello())).await.expect(200);
    stop(running).await;

    assert_eq!(recorded(&folder.path().join("uniapi_db")).await, 1);
}

/// What the sidecar calls, in place of what it would install: a watcher of the file, and an engine that restarts.
const STUBS: [(&str, &str); 3] = [
    ("apk", "#!/bin/sh\nexit 0\n"),
    (
        "inotifywait",
        "#!/bin/sh\nfor file in \"$@\"; do :; done\nseen=$(stat -c %y \"$file\")\necho >>/engine/watching\n\
         while [ \"$(stat -c %y \"$file\")\" = \"$seen\" ]; do sleep 0.05; done\n",
    ),
    (
        "docker",
        "#!/bin/sh\necho \"$*\" >>/engine/asked\n\
         while [ \"$(wc -l </engine/asked)\" != \"$(wc -l </engine/done)\" ]; do sleep 0.05; done\n",
    ),
];

/// The gateway reloads by itself, and is restarted on top of that, while requests go on.
///
/// Promises: `deploy-compose-hot-reload`, `deploy-restart-clean`.
#[tokio::test]
async fn the_file_with_the_restart_sidecar_keeps_every_row() {
    let (upstream, folder) = (healthy("ok").await, folder());
    let models =
        |models: &[&str]| config([channel("a", &upstream).with("/model", json!(models))]).to_string();
    let file = folder.path().join("api.yaml");
    std::fs::write(&file, models(&["m"])).unwrap();
    let all = composed(&THEIRS[1..2], folder.path());
    let gateway = container(&all["services"]["uni-api"]).env("PORT", &port().to_string());
    // The sidecar itself, to the letter, with an engine that tells this test what it is asked.
    let engine = folder.path().join("engine");
    std::fs::create_dir(&engine).unwrap();
    let (asked, done) = (engine.join("asked"), engine.join("done"));
    std::fs::write(&asked, "").unwrap();
    std::fs::write(&done, "").unwrap();
    let mut watcher = all["services"]["config-watcher"].clone();
    let socket = "/var/run/docker.sock";
    watcher["volumes"].as_array_mut().unwrap().retain(|volume| !volume.as_str().unwrap().contains(socket));
    let mut sidecar = container(&watcher).entrypoint(&[]).volume(&engine, "/engine", "rw");
    for (name, script) in STUBS {
        let stub = folder.path().join(name);
        crate::shell::script(&stub, script);
        sidecar = sidecar.volume(&stub, &format!("/usr/local/bin/{name}"), "ro");
    }
    let words = shell_words(&text(&watcher["command"]));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = gateway.start().await;
    let address = running.client().await;
    let _watching = sidecar.spawn(&words);

    let mut answered = 0;
    for (round, list) in [&["m", "n"][..], &["m", "n", "o"]].into_iter().enumerate() {
        for _ in 0..5 {
            address.chat(&hello()).await.expect(200);
            answered += 1;
        }
        // A change before the sidecar looks again would be seen by the gateway alone.
        let looks =
            || std::fs::read(engine.join("watching")).is_ok_and(|text| text.len() > round).then_some(());
        eventually("the sidecar to watch", PATIENCE, looks).await;
        std::fs::write(&file, models(list)).unwrap();
        let restart = "restart uni-api\n".repeat(round + 1);
        let wanted = || std::fs::read_to_string(&asked).is_ok_and(|text| text == restart).then_some(());
        // Those under way when the engine is asked are answered too.
        let (_, last) = tokio::join!(eventually("the sidecar to ask", PATIENCE, wanted), async {
            address.chat(&hello()).await
        });
        last.expect(200);
        answered += 1;
        assert!(stop(running).await < Duration::from_secs(10));
        running = gateway.start().await;
        std::fs::write(&done, &restart).unwrap();
        address.chat(&hello_to(list[list.len() - 1])).await.expect(200);
        answered += 1;
    }
    stop(running).await;

    assert_eq!(recorded(&folder.path().join("uniapi_db")).await, answered);
}

/// The words of a command that is written as one text.
fn shell_words(text: &str) -> Vec<String> {
    let program = "import json, shlex, sys; print(json.dumps(shlex.split(sys.argv[1])))";
    let printed = run(&mut command(&["python3", "-c", program, text])).well();
    serde_json::from_str(&printed).unwrap()
}

/// Where Prometheus asks is where the gateway is told to answer, and Grafana asks Prometheus.
#[test]
fn prometheus_asks_where_the_gateway_answers() {
    let all = composed(&[BASE, MONITORING], &root().join("deploy"));
    let told = |service: &str, name: &str| {
        let found = variables(&all["services"][service]).into_iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value).unwrap()
    };
    let prometheus: Value = serde_yaml::from_str(&read("deploy/monitoring/prometheus.yml")).unwrap();
    let source: Value = serde_yaml::from_str(&read("deploy/monitoring/datasource.yml")).unwrap();
    let boards: Value = serde_yaml::from_str(&read("deploy/monitoring/dashboards.yml")).unwrap();

    let port = told("uni-api", "METRICS_ADDR").replace("0.0.0.0", "uni-api");
    assert_eq!(prometheus["scrape_configs"][0]["static_configs"][0]["targets"], json!([port]));
    assert_eq!(prometheus["scrape_configs"][0]["job_name"], "uni-api");
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    let mounted = volumes(&all["services"]["grafana"]);
    let folder = text(&boards["providers"][0]["options"]["path"]);
    assert!(mounted.iter().any(|(from, to, _)| *to == folder && from.ends_with("grafana/dashboards")));
    let rules = volumes(&all["services"]["prometheus"]);
    assert!(rules.iter().any(|(_, to, _)| *to == "/etc/prometheus/rules"));
    assert_eq!(prometheus["rule_files"], json!(["/etc/prometheus/rules/*.yaml"]));
    run(&mut command(&["promtool", "check", "config", "deploy/monitoring/prometheus.yml"])).well();
}
