//! The images of `deploy/docker`, built by `make image` and run as the recipes run them.

use std::time::Duration;

use serde_json::json;

use crate::container::Container;
use crate::harness::*;
use crate::home::{Home, recorded, stop};
use crate::{image, read};

/// Promises: `deploy-docker-mount`, `deploy-docker-root`, `deploy-docker-data`, `deploy-docker-update`.
#[tokio::test]
async fn a_container_that_is_made_anew_keeps_the_mounted_file_and_its_statistics() {
    let upstream = healthy("ok").await;
    let home = Home::new(config([channel("a", &upstream)]));
    for round in 1..=2 {
        // Both given, as in the recipe for updates: the file counts.
        let container = home.container("latest").env("CONFIG_URL", "http://127.0.0.1:9/api.yaml");

        let running = container.start().await;
        running.ask(&Ask::chat(&hello())).await.expect(200);
        stop(running).await;

        assert_eq!(recorded(&home.data()).await, round);
    }
    assert_eq!(std::fs::read_to_string(home.file()).unwrap(), config([channel("a", &upstream)]).to_string());
}

/// Promises: `deploy-docker-mount`.
#[tokio::test]
async fn a_file_that_is_not_there_is_a_folder_inside_and_the_log_says_what_to_do() {
    let home = Home::new("");
    std::fs::remove_file(home.file()).unwrap();

    let ended = home.container("latest").run(&[]);

    assert_eq!(ended.code, 2, "{}", ended.printed);
    assert!(ended.printed.contains("api.yaml") && ended.printed.contains("directory"), "{}", ended.printed);
}

/// Promises: `deploy-docker-port`.
#[tokio::test]
async fn without_any_setting_it_listens_on_port_8000_of_every_address() {
    let home =
        Home::new(config([channel_at("mock", "http://127.0.0.1:9/v1").with("/engine", json!("mock"))]));
    let container = home.container("latest").without_env("PORT").without_env("METRICS_ADDR").alone();

    let running = container.start().await;

    assert_eq!(running.address().await.to_string(), "0.0.0.0:8000");
    assert!(image::settings(&image::of("latest"))["ExposedPorts"].get("8000/tcp").is_some());
    let answer = running.exec(&["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /readyz HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; head -1 <&3"]);
    assert!(answer.well().contains("200"));
}

/// A file that only root may write, as platforms make one of pasted text; the list of models is found without
/// writing it.
///
/// Promises: `deploy-koyeb-file`, `deploy-docker-root`.
#[tokio::test]
async fn another_user_is_served_by_a_file_that_it_may_only_read() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/v1/models" => Script::json(&json!({ "data": [{ "id": "m" }] })),
        _ => saying("ok")(seen),
    })
    .await;
    let mut found = channel("a", &upstream);
    found.as_object_mut().unwrap().remove("model");
    for user in [0, 1000] {
        let home = Home::new(config([found.clone()]));
        std::fs::create_dir(home.data()).unwrap();
        std::os::unix::fs::chown(home.data(), Some(user), Some(user)).unwrap();

        let running = home.container("latest").user(user).start().await;
        running.ask(&Ask::chat(&hello())).await.expect(200);
        stop(running).await;

        assert_eq!(recorded(&home.data()).await, 1, "user {user}");
        assert_eq!(std::fs::read_to_string(home.file()).unwrap(), config([found.clone()]).to_string());
    }
}

/// Promises: `deploy-docker-config-url`.
#[tokio::test]
async fn a_url_is_enough_without_any_volume() {
    let upstream = healthy("ok").await;
    let text = config([channel("a", &upstream)]).to_string();
    let files = Upstream::always(Script::body(200, "text/plain", text)).await;
    for target in image::TARGETS {
        let container = Container::new(&image::of(target));

        let running = container.env("CONFIG_URL", &format!("{}/api.yaml", files.origin())).start().await;

        running.ask(&Ask::chat(&hello())).await.expect(200);
    }
}

/// Engines kill ten seconds after they ask to stop.
///
/// Promises: `deploy-restart-clean`.
#[tokio::test]
async fn a_restart_with_an_open_stream_takes_less_than_ten_seconds_and_loses_no_row() {
    let upstream = Upstream::start(|seen| {
        let endless = Script::events([role_event(), text_event("one")]).then_hang();
        if seen.streams() { endless } else { Script::json(&said("ok")) }
    })
    .await;
    let home = Home::new(config([channel("a", &upstream)]));
    let container = home.container("latest");
    let running = container.start().await;
    running.ask(&Ask::chat(&hello())).await.expect(200);
    let mut stream = running.client().await.open(&Ask::chat(&hello_stream())).await;
    stream.until("one").await;
    home.write(config([channel("a", &upstream).with("/model", json!(["m", "new"]))]));

    let took = stop(running).await;

    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(recorded(&home.data()).await, 2);
    let running = container.start().await;
    running.ask(&Ask::chat(&hello_to("new"))).await.expect(200);
    stop(running).await;
    assert_eq!(recorded(&home.data()).await, 3);
}

/// Promises: `deploy-image-debug`.
#[tokio::test]
async fn the_debug_image_has_a_shell_and_tells_of_every_attempt() {
    let upstream = healthy("ok").await;
    let home = Home::new(config([channel("a", &upstream)]));
    let told = async |target: &str| {
        let container = home.container(target);
        let running = container.start().await;
        running.ask(&Ask::chat(&hello())).await.expect(200);
        assert!(running.exec(&["sh", "-c", "echo a shell"]).well().contains("a shell"));
        // What a request leaves in the log ends with the line about it.
        let told = || Some(running.printed()).filter(|told| told.contains("\"message\":\"request\""));
        let told = eventually("the line of the request", PATIENCE, told).await;
        told.matches("\"level\":\"DEBUG\"").count()
    };

    assert_eq!(told("latest").await, 0);
    assert!(told("debug").await > 0);
}

/// Names of hosts are found as well, which takes more than the program.
#[tokio::test]
async fn the_distroless_image_runs_as_nobody_in_particular_on_a_root_that_cannot_be_written() {
    let upstream = healthy("ok").await;
    let by_name = upstream.url().replace("127.0.0.1", "localhost");
    let home = Home::new(config([channel_at("a", &by_name)]));
    std::fs::create_dir(home.data()).unwrap();
    std::os::unix::fs::chown(home.data(), Some(65532), Some(65532)).unwrap();
    let container = home.container("distroless").read_only();

    let running = container.start().await;
    running.ask(&Ask::chat(&hello())).await.expect(200);
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.process())).unwrap();
    stop(running).await;

    assert!(status.contains("Uid:\t65532\t65532") && status.contains("Groups:\t \n"), "{status}");
    assert_eq!(recorded(&home.data()).await, 1);
    assert!(!container.path("/bin/sh").exists() && !container.path("/usr/bin/sh").exists());
}

#[test]
fn the_distroless_image_takes_at_most_25_megabytes_to_pull() {
    let folder = tempfile::tempdir().unwrap();

    let layers = image::layers(&image::of("distroless"), folder.path());

    let sum = layers.iter().sum::<u64>();
    assert!((5_000_000..25_000_000).contains(&sum), "{layers:?}");
}

/// Promises: `deploy-hf-secret`.
#[tokio::test]
async fn python_is_three_lines_that_run_the_program_for_main_py_and_say_so() {
    assert_eq!(read("deploy/docker/python").lines().count(), 3);
    let container = Container::new(&image::of("latest")).entrypoint(&["python"]);

    let version = container.run(&["main.py", "--version"]);
    assert!(version.printed.contains("this image runs uni-api"), "{}", version.printed);
    assert!(version.well().contains(concat!("uni-api ", env!("CARGO_PKG_VERSION"))));
    let other = container.run(&["-m", "pip"]);
    assert_eq!(other.code, 127);
    assert!(other.printed.contains("there is none"), "{}", other.printed);
}
