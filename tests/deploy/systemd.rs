//! The unit of `deploy/systemd`: systemd finds nothing to say about it, and what it forbids the program does not do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use crate::harness::*;
use crate::shell::{command, run};
use crate::{port, read};

const UNIT: &str = "deploy/systemd/uni-api.service";

/// The values of a setting of the unit.
fn values(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

/// Where the unit has the installed program, it has the built one here.
fn installed(folder: &std::path::Path) -> String {
    let unit = read(UNIT).replace("/usr/local/bin/uni-api", env!("CARGO_BIN_EXE_uni-api"));
    let path = folder.join("uni-api.service");
    std::fs::write(&path, unit).unwrap();
    path.display().to_string()
}

#[test]
fn systemd_reads_the_unit_without_a_word() {
    let folder = tempfile::tempdir().unwrap();

    let said = run(&mut command(&["systemd-analyze", "verify", "--man=no", &installed(folder.path())]));

    // What it says of units of this machine is none of ours.
    let ours: Vec<_> = said.printed.lines().filter(|line| line.contains("uni-api.service")).collect();
    assert!(said.code == 0 && ours.is_empty(), "{}", said.printed);
}

#[test]
fn the_unit_exposes_the_machine_to_little() {
    // In tenths: below 2.0 systemd itself calls it OK.
    let security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT];

    let said = run(&mut command(&security));

    assert_eq!(said.code, 0, "{}", said.printed);
}

#[test]
fn folders_user_and_command_of_the_unit_fit_together_and_the_program() {
    let unit = read(UNIT);
    let only = |name: &str| values(&unit, name).into_iter().next().unwrap_or_else(|| panic!("{name}"));

    let user = only("User");
    let sysusers = read("deploy/systemd/uni-api.sysusers");
    assert!(sysusers.starts_with(&format!("u {user} ")) && sysusers.contains(&only("WorkingDirectory")));
    assert_eq!(only("WorkingDirectory"), format!("/var/lib/{}", only("StateDirectory")));
    assert_eq!(only("ExecStart"), "/usr/local/bin/uni-api --config /etc/uni-api/api.yaml");
    assert!(unit.contains("install -m 0640 -g uni-api api.yaml /etc/uni-api/api.yaml"));
    // It stops by itself before it is killed: see DRAIN_SECONDS.
    assert!(only("TimeoutStopSec").parse::<u32>().unwrap() > 25 + 5);
    assert!(
        read("src/config/environment.rs")
            .contains(r#""DRAIN_SECONDS", false).unwrap_or(Duration::from_secs(25))"#)
    );
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("usr/lib/sysusers.d");
    std::fs::create_dir_all(&users).unwrap();
    std::fs::write(users.join("uni-api.conf"), sysusers).unwrap();
    let root = format!("--root={}", folder.path().display());
    run(&mut command(&["systemd-sysusers", &root, "--dry-run"])).well();
}

/// What is left when nothing is there to serve, systemd does not try again.
#[tokio::test]
async fn no_configuration_ends_with_the_code_that_the_unit_does_not_restart() {
    let told = values(&read(UNIT), "RestartPreventExitStatus");

    let (code, _) = Setup::empty().run().await;

    assert_eq!(told, [code.to_string()]);
}

/// The names of calls that a list of systemd's words stands for.
fn calls(words: &str) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for word in words.split_whitespace() {
        if word.starts_with('@') {
            let listed = run(&mut command(&["systemd-analyze", "syscall-filter", word])).well();
            let inner = listed.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#'));
            calls.extend(self::calls(&inner.collect::<Vec<_>>().join(" ")));
        } else {
            calls.insert(word.to_owned());
        }
    }
    calls
}

#[tokio::test]
async fn the_unit_allows_every_call_that_the_program_makes() {
    let unit = read(UNIT);
    let mut allowed = BTreeSet::new();
    for filter in values(&unit, "SystemCallFilter") {
        match filter.strip_prefix('~') {
            Some(forbidden) => allowed = &allowed - &calls(forbidden),
            None => allowed.extend(calls(&filter)),
        }
    }
    assert!(allowed.contains("read") && !allowed.contains("chroot"), "{allowed:?}");
    let upstream = healthy("ok").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.yaml");
    std::fs::write(&file, config([channel("a", &upstream)]).to_string()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port()));
    // The service is not root, and SQLite does more for root.
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if is_root {
        for path in [folder.path(), &file] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let program = folder.path().join("uni-api");
    std::fs::copy(env!("CARGO_BIN_EXE_uni-api"), &program).unwrap();
    let trace = folder.path().join("trace");
    let mut words = if is_root { other.to_vec() } else { Vec::new() };
    words.extend(["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), program.to_str().unwrap()]);
    let mut traced = command(&words);
    traced
        .current_dir(folder.path())
        .env("PORT", address.port().to_string())
        .env("METRICS_ADDR", "127.0.0.1:0");
    let mut child =
        traced.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "it does not serve");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    let client = Client { address };
    client.chat(&hello()).await.expect(200);
    client.chat(&hello_stream()).await.expect(200);
    std::fs::write(&file, config([channel("b", &upstream)]).to_string()).unwrap();
    let id = child.id();
    let traced = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    for signal in ["HUP", "TERM"] {
        run(&mut command(&["kill", &format!("-{signal}"), traced.trim()])).well();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    eventually("its end", PATIENCE, || child.try_wait().unwrap()).await;

    let trace = std::fs::read_to_string(&trace).unwrap();
    let made: BTreeSet<_> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim().split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        .collect();
    assert!(made.len() > 40 && made.contains("listen"), "{made:?}");
    let forbidden: Vec<_> = made.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "the unit forbids {forbidden:?}");
}
