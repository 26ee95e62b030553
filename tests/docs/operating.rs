//! Keeps `docs/operating.md` true: its commands are run as they stand, its tables are held to the code.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{between, read, root};

const PAGE: &str = "docs/operating.md";

/// The only things that may stay untried.
const NOT_TRIED: [&str; 3] = ["Grafana", "container engine", "cluster"];

/// A port that nobody has.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address").port()
}

/// The lines of the page that a shell is given.
fn commands() -> Vec<String> {
    let page = read(PAGE);
    let lines = between(&page, "```sh\n", "```").into_iter().flat_map(str::lines);
    let is_tried = |line: &&str| match line.split_once("# not run here") {
        None => true,
        Some((_, reason)) => {
            assert!(NOT_TRIED.iter().any(|what| reason.contains(what)), "no reason to leave it out: {line}");
            false
        }
    };
    lines.filter(|line| !line.trim().is_empty()).filter(is_tried).map(str::to_owned).collect()
}

/// A shell in this folder, where `uni-api` is what was installed there.
fn shell(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).current_dir(folder).env_clear();
    command.env("HOME", folder).env("no_proxy", "*").stdin(Stdio::null());
    command.env("PATH", format!("{}/installed/bin:/usr/local/bin:/usr/bin:/bin", folder.display()));
    command
}

/// `make` in the checkout, with the program that is built already.
fn make(folder: &Path) -> String {
    format!(
        "make() {{ command make -s -C '{}' BINARY='{}' PREFIX='{}/installed' \"$@\"; }}\n",
        root().display(),
        env!("CARGO_BIN_EXE_uni-api"),
        folder.display()
    )
}

#[test]
fn every_command_of_the_page_works_in_its_order() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let (port, metrics) = (free_port(), free_port());
    let mut script = format!(
        "set -eu\ntrap 'kill -KILL $(cat uni-api.pid) 2>/dev/null || true' EXIT\n{}",
        make(folder.path())
    );
    for command in commands() {
        // Others may be listening where the page says.
        let command = command.replace(":8000", &format!(":{port}")).replace(":9464", &format!(":{metrics}"));
        script += &format!("echo \"### \"{}\n{command}\n", quoted(&command));
    }

    let mut shell = shell(folder.path(), &script);
    shell.env("HOST", "127.0.0.1").env("PORT", port.to_string());
    shell.env("METRICS_ADDR", format!("127.0.0.1:{metrics}")).env("LOG_FORMAT", "text");
    let output = shell.output().expect("bash is there");

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{errors}");
    for told in [
        "uni-api 0.",
        "api.yaml: ok",
        "well)",
        "Hello from the mock",
        "uni_api_requests_total",
        "demo for admin: mock is next",
        "streams demo: ",
    ] {
        assert!(out.contains(told), "{told} is missing:\n{out}\n{errors}");
    }
    // What comes at once behind a line may overtake it: a stop the reload, the end of the page the second start, which
    // was asked whether it is ready.
    for told in ["Serving.", "Told to reload", "Stopped."] {
        assert!(errors.contains(told), "{told} is missing:\n{errors}");
    }
    for file in ["backup/api.yaml", "backup/stats.db", "uni-api.1", "installed/share/man/man1/uni-api.1"] {
        assert!(folder.path().join(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn bash_completes_commands_and_options_with_what_is_installed() {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let script = make(folder.path())
        + "make install >/dev/null
. installed/share/bash-completion/completions/uni-api
complete=$(complete -p uni-api | sed 's/.*-F \\([^ ]*\\).*/\\1/')
try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \"$complete\" uni-api \"${!#}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[*]}\"; }
try uni-api doc
try uni-api check --str
try uni-api completions fi
";

    let output = shell(folder.path(), &script).output().expect("bash is there");

    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(out, "doctor\n--strict\nfish\n", "{}", String::from_utf8_lossy(&output.stderr));
}

/// Where variables are read, but those of OpenTelemetry, which have a page of their own.
fn code() -> String {
    ["src/main.rs", "src/config/environment/log.rs", "src/config/environment.rs", "src/app.rs"]
        .map(read)
        .concat()
}

/// The names of variables that the program reads.
fn variables_of_the_code() -> Vec<String> {
    let code = code().split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    let is_name = |text: &&str| text.len() > 2 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let names = between(&code, "(\"", "\"").into_iter().filter(is_name);
    names.filter(|name| *name != "KUBERNETES_SERVICE_HOST").map(str::to_owned).collect()
}

#[test]
fn the_table_of_the_environment_has_what_is_read_and_nothing_else() {
    let page = read(PAGE);
    let table = page.split("\n## Environment").nth(1).expect("there is such a section");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let told: Vec<String> = rows
        .flat_map(|names| names.split(['`', ',', ' ']))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let read = variables_of_the_code();
    assert!(read.len() > 20 && told.len() > 20, "{read:?} {told:?}");

    for name in &read {
        assert!(told.contains(name), "{name} is not explained");
    }
    let all = code();
    for name in &told {
        assert!(all.contains(&format!("\"{name}\"")), "{name} is read nowhere");
    }
}
