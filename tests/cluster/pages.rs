//! The commands of the pages, run as they stand.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::*;
use crate::{read, root};

/// What stands in a page's blocks of commands, without the lines that are marked.
fn scripts(page: &str) -> Vec<String> {
    let text = read(page);
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| {
            let kept = block.lines().filter(|line| !line.contains("# not run here: "));
            kept.map(|line| format!("{line}\n")).collect()
        })
        .collect()
}

/// Runs the commands in a folder that has what they name: the sources and a configuration.
async fn runs(page: &'static str, metrics: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    for name in ["deploy", "grafana"] {
        symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    std::fs::copy(root().join("api.yaml.example"), folder.path().join("api.yaml")).unwrap();
    let mut printed = String::new();
    for script in scripts(page) {
        let script = script.replace("127.0.0.1:9464", metrics);
        let (text, place) = (script.clone(), folder.path().to_owned());
        let run = move || Command::new("sh").args(["-euc", &text]).current_dir(place).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();

        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: {script}\n{told}");
        printed.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    printed
}

#[tokio::test]
async fn the_commands_of_the_page_on_monitoring_run_as_they_stand() {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    gateway.chat(&hello()).await.expect(200);

    let printed = runs("docs/monitoring.md", &gateway.metrics_client().address.to_string()).await;

    assert!(printed.contains("# HELP uni_api_requests_total"), "{printed}");
    assert!(printed.matches("SUCCESS").count() >= 4, "{printed}");
}

#[tokio::test]
async fn the_commands_of_the_page_on_kubernetes_run_as_they_stand() {
    let printed = runs("docs/kubernetes.md", "").await;

    // What the overlay makes.
    for told in [
        "image: registry.your-domain.net/uni-api:distroless",
        "host: llm.your-domain.net",
        "namespace: uni-api",
    ] {
        assert!(printed.contains(told), "{told}: {printed}");
    }
}

#[test]
fn a_command_is_left_out_only_where_it_needs_what_no_test_has() {
    let reasons =
        ["a cluster", "a container engine", "a registry", "a running Grafana", "it runs until it is stopped"];
    for page in ["docs/monitoring.md", "docs/kubernetes.md"] {
        for line in read(page).lines().filter(|line| line.contains("# not run here")) {
            assert!(reasons.iter().any(|reason| line.ends_with(reason)), "{page}: {line}");
        }
    }
}
